// SPDX-License-Identifier: GPL-2.0-or-later
#include "host/ntfs/file_system.h"

#include <cerrno>

#include "host/ntfs/mount.h"

namespace host::ntfs {

namespace {

/// Records before it are the file system's own, but for the root directory.
constexpr std::uint64_t kFirstUserRecord = 24;

bool is_metadata(MFT_REF reference) {
  const std::uint64_t record = MREF(reference);
  return record < kFirstUserRecord && record != FILE_root;
}

struct NameInDirectory {
  MFT_REF reference;
  std::string name;
};

int collect(void* into, const ntfschar* name, int length, int name_type, s64, MFT_REF reference, unsigned) {
  if (name_type == FILE_NAME_DOS || MREF(reference) < kFirstUserRecord) return 0;
  std::string text = from_disk(name, static_cast<std::size_t>(length));
  if (text != "." && text != "..")
    static_cast<std::vector<NameInDirectory>*>(into)->push_back({reference, std::move(text)});
  return 0;
}

}  // namespace

NtResult<std::unique_ptr<FileSystem>> mount(VolumeDevice& device, bool read_only) {
  auto volume = Volume::mount(device, read_only);
  if (!volume) return std::unexpected(volume.error());
  return std::make_unique<NtfsFileSystem>(std::move(*volume));
}

NtfsFileSystem::NtfsFileSystem(std::shared_ptr<Volume> volume) : volume_(std::move(volume)) {
  information_.name = "NTFS";
  information_.serial = volume_->boot().serial;
  if (volume_->raw()->vol_name != nullptr) information_.label = volume_->raw()->vol_name;
  information_.sector_length = volume_->boot().sector_length;
  information_.cluster_length = volume_->boot().cluster_length;
  information_.maximum_file_size = volume_->maximum_file_size();
  information_.read_only = volume_->read_only();
}

FileSystem::Information NtfsFileSystem::information() const {
  Information information = information_;
  information.free_bytes = volume_->free_bytes();
  return information;
}

NtResult<NtfsFileSystem::Place> NtfsFileSystem::find(std::string_view path) {
  if (!volume_->mounted()) return std::unexpected(NtStatus::volume_dismounted);
  Place place;
  place.found = FILE_root;
  while (!path.empty()) {
    // The name before was not the last one: it has to be a directory.
    if (!place.found) return std::unexpected(NtStatus::object_path_not_found);
    const std::size_t slash = path.find('/');
    place.directory = *place.found;
    place.name = to_disk(path.substr(0, slash));
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    auto found = volume_->look_up(place.directory, place.name);
    if (!found && found.error() == NtStatus::not_a_directory) return std::unexpected(NtStatus::object_path_not_found);
    if (!found && found.error() != NtStatus::object_name_not_found) return std::unexpected(found.error());
    place.found = found ? std::optional<MFT_REF>(*found) : std::nullopt;
    if (found) place.metadata = place.metadata || is_metadata(*found);
  }
  return place;
}

NtResult<MFT_REF> NtfsFileSystem::create(const Place& place, mode_t type) {
  if (volume_->read_only()) return std::unexpected(NtStatus::media_write_protected);
  if (place.metadata) return std::unexpected(NtStatus::access_denied);
  Volume::Change change(*volume_);
  if (change.started() != NtStatus::success) return std::unexpected(change.started());
  Volume::Inode directory(*volume_, place.directory);
  if (!directory) return std::unexpected(change.finish(volume_->failure()));
  ntfs_inode* inode = ntfs_create(directory.get(), 0, place.name.data(), static_cast<u8>(place.name.size()), type);
  if (inode == nullptr) return std::unexpected(change.finish(volume_->failure()));
  const MFT_REF reference = MK_MREF(inode->mft_no, le16_to_cpu(inode->mrec->sequence_number));
  ntfs_inode_update_times(directory.get(), static_cast<ntfs_time_update_flags>(NTFS_UPDATE_MCTIME));
  NtStatus status = NtStatus::success;
  if (ntfs_inode_close_in_dir(inode, directory.get()) != 0) {
    status = volume_->failure();
    close_inode(inode);
  }
  if (!directory.close() && status == NtStatus::success) status = volume_->failure();
  status = change.finish(status);
  if (status != NtStatus::success) return std::unexpected(status);
  return reference;
}

NtResult<std::shared_ptr<FileStream>> NtfsFileSystem::open(const StreamName& name, Disposition disposition) {
  auto place = find(name.path);
  if (!place) return std::unexpected(place.error());
  const DiskName stream = to_disk(name.stream);
  if (!stream.empty() && !valid(stream)) return std::unexpected(NtStatus::object_name_invalid);
  const bool new_file = !place->found;
  if (new_file) {
    if (disposition == Disposition::open) return std::unexpected(NtStatus::object_name_not_found);
    auto created = create(*place, S_IFREG);
    if (!created) return std::unexpected(created.error());
    place->found = *created;
  }
  auto file = volume_->file(*place->found);
  if (!file) return std::unexpected(file.error());
  (*file)->found_at({place->directory, place->name}, place->metadata);
  if (!(*file)->directory()) return open_stream(**file, stream, disposition, new_file);

  if (!stream.empty()) return std::unexpected(NtStatus::not_supported);
  if (disposition == Disposition::create) return std::unexpected(NtStatus::object_name_collision);
  if (disposition == Disposition::overwrite_or_create) return std::unexpected(NtStatus::file_is_a_directory);
  return (*file)->stream({});
}

NtResult<std::shared_ptr<FileStream>> NtfsFileSystem::open_stream(File& file, const DiskName& name,
                                                                  Disposition disposition, bool new_file) {
  auto names = file.stream_names();
  if (!names) return std::unexpected(names.error());
  const ntfs_volume* raw = volume_->raw();
  auto there = std::ranges::find_if(*names, [&](const DiskName& other) {
    return ntfs_names_are_equal(other.data(), other.size(), name.data(), name.size(), IGNORE_CASE, raw->upcase,
                                raw->upcase_len) != 0;
  });
  if (there == names->end()) {
    if (disposition == Disposition::open) return std::unexpected(NtStatus::object_name_not_found);
    const NtStatus status = file.add_stream(name);
    if (status != NtStatus::success) return std::unexpected(status);
    return file.stream(name);
  }
  if (disposition == Disposition::create && !new_file) return std::unexpected(NtStatus::object_name_collision);
  auto stream = file.stream(*there);
  if (!stream) return std::unexpected(stream.error());
  if (disposition == Disposition::overwrite_or_create && !new_file) {
    const NtStatus status = (*stream)->overwrite();
    if (status != NtStatus::success) return std::unexpected(status);
  }
  return stream;
}

NtStatus NtfsFileSystem::create_directory(std::string_view path) {
  auto place = find(path);
  if (!place) return place.error();
  if (place->found) return NtStatus::object_name_collision;
  auto created = create(*place, S_IFDIR);
  return created ? NtStatus::success : created.error();
}

NtResult<std::vector<DirectoryEntry>> NtfsFileSystem::list(std::string_view path) {
  auto place = find(path);
  if (!place) return std::unexpected(place.error());
  if (!place->found) return std::unexpected(NtStatus::object_name_not_found);
  std::vector<NameInDirectory> names;
  {
    volume_->begin();
    Volume::Inode directory(*volume_, *place->found);
    if (!directory) return std::unexpected(volume_->failure());
    if ((directory->mrec->flags & MFT_RECORD_IS_DIRECTORY) == 0) return std::unexpected(NtStatus::not_a_directory);
    s64 position = 0;
    errno = EIO;
    // While it ignores case, the library hands out names in lower case.
    NVolSetCaseSensitive(directory->vol);
    const int failed = ntfs_readdir(directory.get(), &position, &names, collect);
    NVolClearCaseSensitive(directory->vol);
    if (failed != 0) return std::unexpected(volume_->failure());
  }
  std::vector<DirectoryEntry> entries;
  for (NameInDirectory& name : names) entries.push_back(describe(name.reference, std::move(name.name)));
  return entries;
}

DirectoryEntry NtfsFileSystem::describe(MFT_REF reference, std::string name) {
  DirectoryEntry entry;
  entry.name = std::move(name);
  auto file = volume_->file(reference);
  if (!file) {
    entry.status = file.error();
    return entry;
  }
  entry.directory = (*file)->directory();
  entry.basic = (*file)->basic_information();
  auto stream = (*file)->stream({});
  if (stream)
    entry.sizes = (*stream)->sizes();
  else if (stream.error() != NtStatus::object_name_not_found)  // a file may have no unnamed stream
    entry.status = stream.error();
  return entry;
}

}  // namespace host::ntfs
