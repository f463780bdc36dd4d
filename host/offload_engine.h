// NTFS' part of FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE: the checks of MS-FSA 2.1.5.10.20 and 2.1.5.10.21 in their
// order, the translation of file ranges to disk ranges, and what a result changes (valid data length, the volume's
// offload flags). docs/windows.md has each check, its status, and the choice where Microsoft's texts disagree.
//
// Access rights and filters were judged before (IoManager). Thread: the driver's.
#pragma once

#include "host/io_manager.h"

namespace host {

class OffloadEngine {
 public:
  /// `output_length` is the size of the caller's output buffer; the reply never holds more. Sends one POPULATE TOKEN
  /// and one RECEIVE ROD TOKEN INFORMATION, or nothing.
  static FsctlReply offload_read(FileObject& file, base::Bytes input, std::size_t output_length);
  /// Sends WRITE USING TOKENs, or nothing; then the file's metadata is written.
  static FsctlReply offload_write(FileObject& file, base::Bytes input, std::size_t output_length);
};

}  // namespace host
