// Real NTFS volumes of hosts: an image that the options grant, put on a disk, or what lies there already. Names no
// implementation of NTFS: whoever runs scripts brings one, or none. Thread: the world's.
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>

#include "host/volume.h"
#include "scenario/config_table.h"

namespace host {
class ClassDriver;
}  // namespace host

namespace scenario {

/// The bytes of a volume in a file, which is only read.
class VolumeImage {
 public:
  /// By the name that scripts have for it. Throws ScriptSkip where no option grants it, ScriptError where it cannot be
  /// read.
  VolumeImage(const FileAccess& access, const std::string& name);

  std::uint64_t bytes() const { return bytes_; }
  /// Has [offset, offset + length) of it lie on the disk, from byte `first` + `offset` on; written only where the disk
  /// holds something else, so that what was never used takes no memory. Throws ScriptError.
  void put(host::ClassDriver& driver, std::uint64_t first, std::uint64_t offset, std::uint64_t length);

 private:
  std::string path_;
  std::ifstream file_;
  std::uint64_t bytes_ = 0;
};

/// Mounts the NTFS volume that lies there. Throws ScriptError: there is none, or it cannot be mounted; ScriptSkip: NTFS
/// was not built.
std::unique_ptr<host::Volume> mount_ntfs(host::ClassDriver& driver, const host::Partition& place,
                                         const FileAccess& access);

}  // namespace scenario
