// A file of this machine as one end of a copy. It lies on no disk of an array, so it is never offloaded.
//
// One stream, no handles, no locks. Thread: one.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "host/file_system.h"

namespace host {

class LocalFile {
 public:
  /// `create` fails with OBJECT_NAME_COLLISION when there is one; `overwrite_or_create` cuts it to nothing. The others
  /// open to read. A directory is FILE_IS_A_DIRECTORY, a device or a pipe ACCESS_DENIED.
  static NtResult<LocalFile> open(const std::string& path, Disposition disposition);
  LocalFile(LocalFile&& other) noexcept;
  LocalFile& operator=(LocalFile&&) = delete;
  ~LocalFile();

  /// Whether the path names this very file.
  bool is(const std::string& path) const;
  /// Device and inode.
  std::pair<std::uint64_t, std::uint64_t> identity() const;

  std::uint64_t size() const;
  NtResult<std::size_t> read(std::uint64_t offset, base::MutableBytes out) const;
  NtStatus write(std::uint64_t offset, base::Bytes data);
  NtStatus set_end_of_file(std::uint64_t length);
  /// The time of the last write, in 100 ns since 1601, and whether it may be written.
  BasicInformation basic_information() const;
  /// Only the time of the last write.
  NtStatus set_last_write_time(std::uint64_t time);
  /// Unlinks it; where the path is a link, the link stays and the file is cut to nothing.
  NtStatus remove();
  NtStatus flush();

 private:
  LocalFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}

  int descriptor_;
  std::string path_;
};

}  // namespace host
