#include "cli/file_tree.h"

#include <algorithm>
#include <filesystem>
#include <optional>

namespace cli {

namespace {

namespace fs = std::filesystem;
using host::NtStatus;

NtStatus to_nt_status(const std::error_code& error) {
  if (error == std::errc::no_such_file_or_directory) return NtStatus::object_name_not_found;
  if (error == std::errc::not_a_directory) return NtStatus::object_path_not_found;
  if (error == std::errc::permission_denied) return NtStatus::access_denied;
  if (error == std::errc::file_exists) return NtStatus::object_name_collision;
  if (error == std::errc::no_space_on_device) return NtStatus::disk_full;
  return NtStatus::io_device_error;
}

FileKind kind_of(fs::file_type type) {
  switch (type) {
    case fs::file_type::not_found: return FileKind::missing;
    case fs::file_type::regular: return FileKind::file;
    case fs::file_type::directory: return FileKind::directory;
    case fs::file_type::symlink: return FileKind::link;
    default: return FileKind::other;
  }
}

host::NtResult<TreeEntry> look_at_local(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error && status.type() != fs::file_type::not_found) return std::unexpected(to_nt_status(error));
  TreeEntry entry{name_of(path), kind_of(status.type())};
  if (entry.kind == FileKind::file) entry.size = fs::file_size(path, error);
  return entry;
}

host::NtResult<std::vector<TreeEntry>> list_local(const std::string& path) {
  std::vector<TreeEntry> entries;
  std::error_code error, no_size;
  for (fs::directory_iterator each(path, error); !error && each != fs::directory_iterator(); each.increment(error)) {
    TreeEntry entry{each->path().filename().string(), kind_of(each->symlink_status(no_size).type())};
    if (entry.kind == FileKind::file) entry.size = each->file_size(no_size);
    entries.push_back(std::move(entry));
  }
  if (error) return std::unexpected(to_nt_status(error));
  return entries;
}

host::NtResult<std::vector<TreeEntry>> list_volume(const TreePlace& directory) {
  if (directory.volume->file_system() == nullptr) return std::unexpected(NtStatus::unrecognized_volume);
  auto found = directory.volume->file_system()->list(directory.path);
  if (!found) return std::unexpected(found.error());
  std::vector<TreeEntry> entries;
  for (const host::DirectoryEntry& each : *found) {
    TreeEntry entry{each.name, each.directory ? FileKind::directory : FileKind::file, each.sizes.end_of_file,
                    each.status};
    if ((each.basic.attributes & host::kFileAttributeReparsePoint) != 0) entry.kind = FileKind::link;
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

std::string name_of(const std::string& path) {
  const std::size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return {};
  const std::size_t slash = path.rfind('/', end);
  const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(begin, end + 1 - begin);
}

host::NtResult<TreeEntry> look_at(const TreePlace& place) {
  if (place.volume == nullptr) return look_at_local(place.path);
  if (place.volume->file_system() == nullptr) return std::unexpected(NtStatus::unrecognized_volume);
  auto stream = place.volume->file_system()->open({place.path}, host::Disposition::open);
  TreeEntry entry{name_of(place.path)};
  if (!stream &&
      (stream.error() == NtStatus::object_name_not_found || stream.error() == NtStatus::object_path_not_found)) {
    entry.kind = FileKind::missing;
    return entry;
  }
  if (!stream) return std::unexpected(stream.error());
  entry.size = (*stream)->sizes().end_of_file;
  const host::StreamKind kind = (*stream)->kind();
  if (kind.directory)
    entry.kind = FileKind::directory;
  else if (kind.metadata)
    entry.kind = FileKind::other;
  return entry;
}

host::NtResult<std::vector<TreeEntry>> list(const TreePlace& directory) {
  auto entries = directory.volume == nullptr ? list_local(directory.path) : list_volume(directory);
  if (entries) std::ranges::sort(*entries, {}, &TreeEntry::name);
  return entries;
}

bool lies_in(const TreePlace& place, const TreePlace& directory) {
  if (place.volume != directory.volume) return false;
  if (place.volume == nullptr) {
    std::error_code error;
    const fs::path inner = fs::weakly_canonical(place.path, error), outer = fs::canonical(directory.path, error);
    return !outer.empty() && std::ranges::mismatch(outer, inner).in1 == outer.end();
  }
  // By number: case and what else makes no difference to a name is the file system's.
  host::FileSystem* file_system = place.volume->file_system();
  if (file_system == nullptr) return false;
  const auto number = [&](const std::string& path) -> std::optional<std::uint64_t> {
    auto stream = file_system->open({path}, host::Disposition::open);
    return stream ? std::optional((*stream)->file_number()) : std::nullopt;
  };
  const auto outer = number(directory.path);
  std::optional<std::uint64_t> inner = number({});
  for (std::size_t end = 0; outer && inner != outer && end < place.path.size(); ++end) {
    end = std::min(place.path.find('/', end), place.path.size());
    inner = number(place.path.substr(0, end));
  }
  return outer && inner == outer;
}

host::NtStatus make_directory(const TreePlace& place) {
  if (place.volume != nullptr)
    return place.volume->file_system() == nullptr ? NtStatus::unrecognized_volume
                                                  : place.volume->file_system()->create_directory(place.path);
  std::error_code error;
  if (fs::create_directory(place.path, error)) return NtStatus::success;
  return error ? to_nt_status(error) : NtStatus::object_name_collision;
}

}  // namespace cli
