// Directories, alike on a volume and on this machine: what is there, what is in it, making one.
// Thread: main's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/volume.h"

namespace cli {

enum class FileKind : std::uint8_t {
  missing,
  file,
  directory,
  link,   ///< a symbolic link or another reparse point: it leads elsewhere
  other,  ///< a device, a pipe, NTFS' own metadata
};

/// Nothing for the volume: this machine.
struct TreePlace {
  host::Volume* volume = nullptr;
  std::string path;
  TreePlace operator/(const std::string& name) const {
    return {volume, path.empty() || path.ends_with('/') ? path + name : path + "/" + name};
  }
};

struct TreeEntry {
  std::string name;
  FileKind kind = FileKind::file;
  std::uint64_t size = 0;
  host::NtStatus status = host::NtStatus::success;  ///< else only its name could be read
};

/// Links are followed on this machine, as programs do with what they are given by name.
host::NtResult<TreeEntry> look_at(const TreePlace& place);
/// In order of name.
host::NtResult<std::vector<TreeEntry>> list(const TreePlace& directory);
/// STATUS_OBJECT_NAME_COLLISION when something is there.
host::NtStatus make_directory(const TreePlace& place);
/// Whether that is the directory itself or below it, or would be if it were there.
bool lies_in(const TreePlace& place, const TreePlace& directory);
/// The last name.
std::string name_of(const std::string& path);

}  // namespace cli
