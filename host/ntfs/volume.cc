// SPDX-License-Identifier: GPL-2.0-or-later
#include "host/ntfs/volume.h"

#include <array>
#include <cerrno>
#include <utility>

#include "host/ntfs/file.h"

namespace host::ntfs {

namespace {

NtStatus from_errno(int error) {
  switch (error) {
    case ENOENT: return NtStatus::object_name_not_found;
    case EEXIST: return NtStatus::object_name_collision;
    case ENOSPC: return NtStatus::disk_full;
    case EROFS: return NtStatus::media_write_protected;
    case EACCES: return NtStatus::access_denied;
    case ENOMEM: return NtStatus::insufficient_resources;
    case ENOTEMPTY: return NtStatus::directory_not_empty;
    case ENOTDIR: return NtStatus::not_a_directory;
    case EOPNOTSUPP: return NtStatus::not_supported;
    case EINVAL: return NtStatus::invalid_parameter;
    default: return NtStatus::file_corrupt_error;
  }
}

/// An inode that has to be written and cannot be is not freed by the library.
void clear_dirty_marks_of(ntfs_inode* inode) {
  if (inode == nullptr) return;
  NInoClearDirty(inode);
  NInoAttrListClearDirty(inode);
  clear_nino_flag(inode, FileNameDirty);
  for (int i = 0; i < inode->nr_extents; ++i) NInoClearDirty(inode->extent_nis[i]);
}

}  // namespace

bool close_inode(ntfs_inode* inode) {
  if (ntfs_inode_close(inode) == 0) return true;
  const int error = errno;
  clear_dirty_marks_of(inode);
  ntfs_inode_close(inode);
  errno = error;
  return false;
}

NtResult<std::shared_ptr<Volume>> Volume::mount(VolumeDevice& device, bool read_only) {
  std::shared_ptr<Volume> volume(new Volume(device, read_only || device.write_protected()));
  const NtStatus status = volume->mount_it();
  if (status != NtStatus::success) return std::unexpected(status);
  return volume;
}

NtStatus Volume::mount_it() {
  std::array<std::uint8_t, kBootSectorLength> sector{};
  constexpr std::uint32_t kLongestSector = 4096;
  if (volume_device_.length() < sector.size() || volume_device_.block_length() > kLongestSector)
    return NtStatus::unrecognized_volume;
  const NtStatus status = volume_device_.read(0, sector);
  if (status != NtStatus::success) return status;
  auto boot = parse_boot_sector(sector, volume_device_.block_length(), volume_device_.length());
  if (!boot) return boot.error();
  boot_ = *boot;

  ntfs_log_set_handler(ntfs_log_handler_null);
  ntfs_device* device = device_.allocate();
  if (device == nullptr) return NtStatus::insufficient_resources;
  begin();
  const ntfs_mount_flags flags = read_only_ ? NTFS_MNT_RDONLY | NTFS_MNT_FORENSIC : 0;
  volume_ = ntfs_device_mount(device, flags);
  if (volume_ == nullptr) {
    const int error = errno;
    ntfs_device_free(device);
    if (device_.error() != NtStatus::success) return device_.error();
    // EPERM: hibernated. EOPNOTSUPP: the log has records to replay. Both only when mounting to write.
    if (!read_only_ && (error == EPERM || error == EOPNOTSUPP)) return NtStatus::volume_dirty;
    return error == ENOMEM ? NtStatus::insufficient_resources : NtStatus::disk_corrupt_error;
  }
  may_clear_mark_ = (volume_->flags & VOLUME_IS_DIRTY) == 0;
  if (ntfs_set_ignore_case(volume_) != 0) return NtStatus::insufficient_resources;  // the destructor unmounts
  return NtStatus::success;
}

Volume::~Volume() { unmount(); }

std::uint64_t Volume::maximum_file_size() const {
  constexpr std::uint64_t kMaximumClusters = 1ull << 32;
  constexpr std::uint64_t kLess = 64 << 10;
  return kMaximumClusters * cluster_length() - kLess;
}

std::uint64_t Volume::free_bytes() {
  if (!mounted()) return 0;
  if (!NVolFreeSpaceKnown(volume_)) ntfs_volume_get_free_space(volume_);
  return volume_->free_clusters > 0 ? static_cast<std::uint64_t>(volume_->free_clusters) * cluster_length() : 0;
}

NtResult<bool> Volume::still_there() {
  if (!mounted()) return false;
  std::array<std::uint8_t, kBootSectorLength> sector{};
  const NtStatus status = volume_device_.read(0, sector);
  if (status != NtStatus::success) return std::unexpected(status);
  auto boot = parse_boot_sector(sector, volume_device_.block_length(), volume_device_.length());
  return boot && boot->serial == boot_.serial;
}

NtStatus Volume::failure() const { return device_.error() != NtStatus::success ? device_.error() : from_errno(errno); }

NtStatus Volume::sync_own_inodes() {
  for (ntfs_inode* inode : {volume_->mft_ni, volume_->mftmirr_ni, volume_->lcnbmp_ni, volume_->vol_ni})
    if (inode != nullptr && (NInoDirty(inode) || NInoAttrListDirty(inode)) && ntfs_inode_sync(inode) != 0)
      return failure();
  return NtStatus::success;
}

NtStatus Volume::flush() {
  if (!mounted()) return NtStatus::volume_dismounted;
  if (read_only_) return NtStatus::success;
  begin();
  NtStatus status = NtStatus::success;
  for (const auto& [record, weak] : files_)
    if (auto file = weak.lock(); file && status == NtStatus::success) status = file->sync();
  if (status == NtStatus::success) status = sync_own_inodes();
  if (status == NtStatus::success && ntfs_device_sync(volume_->dev) != 0) status = failure();
  return status;
}

NtStatus Volume::unmount() {
  if (!mounted()) return NtStatus::success;
  NtStatus status = flush();
  if (status != NtStatus::success) {
    abandon();  // what cannot be written now never will be
    return status;
  }
  begin();
  for (const auto& [record, weak] : files_)
    if (auto file = weak.lock()) file->let_go();
  files_.clear();
  if (ntfs_umount(std::exchange(volume_, nullptr), FALSE) != 0) status = failure();
  return status;
}

void Volume::abandon() {
  if (!mounted()) return;
  device_.let_go();
  clear_dirty_marks();
  for (const auto& [record, weak] : files_)
    if (auto file = weak.lock()) file->let_go();
  files_.clear();
  ntfs_umount(std::exchange(volume_, nullptr), TRUE);
}

void Volume::clear_dirty_marks() {
  for (ntfs_inode* inode :
       {volume_->mft_ni, volume_->mftmirr_ni, volume_->lcnbmp_ni, volume_->vol_ni, volume_->secure_ni})
    clear_dirty_marks_of(inode);
  for (const auto& [record, weak] : files_)
    if (auto file = weak.lock()) clear_dirty_marks_of(file->inode());
}

NtResult<MFT_REF> Volume::look_up(MFT_REF directory, const DiskName& name) {
  if (!valid(name)) return std::unexpected(NtStatus::object_name_invalid);
  begin();
  Inode inode(*this, directory);
  if (!inode) return std::unexpected(failure());
  if ((inode->mrec->flags & MFT_RECORD_IS_DIRECTORY) == 0) return std::unexpected(NtStatus::not_a_directory);
  errno = EIO;  // a corrupt index fails without setting it
  const MFT_REF found = ntfs_inode_lookup_by_name(inode.get(), name.data(), static_cast<int>(name.size()));
  if (found == static_cast<MFT_REF>(-1)) return std::unexpected(failure());
  return found;
}

NtResult<std::shared_ptr<File>> Volume::file(MFT_REF reference) {
  const std::uint64_t record = MREF(reference);
  if (auto found = files_.find(record); found != files_.end())
    if (auto file = found->second.lock()) return file;
  auto file = File::open(shared_from_this(), reference);
  if (file) files_[record] = *file;
  return file;
}

ntfs_inode* Volume::kept_inode(std::uint64_t record) const {
  auto found = files_.find(record);
  if (found == files_.end()) return nullptr;
  auto file = found->second.lock();
  return file ? file->inode() : nullptr;
}

Volume::Inode::Inode(Volume& volume, MFT_REF reference) : inode_(volume.kept_inode(MREF(reference))) {
  kept_ = inode_ != nullptr;
  if (!kept_) inode_ = ntfs_inode_open(volume.raw(), reference);
}

bool Volume::Inode::close() {
  ntfs_inode* inode = std::exchange(inode_, nullptr);
  return inode == nullptr || kept_ || close_inode(inode);
}

Volume::Change::Change(Volume& volume) : volume_(volume), failed_writes_before_(volume.device_.failed_writes()) {
  if (!volume_.mounted())
    started_ = NtStatus::volume_dismounted;
  else if (volume_.read_only())
    started_ = NtStatus::media_write_protected;
  else
    started_ = volume_.write_dirty_flag(true);
}

NtStatus Volume::Change::finish(NtStatus outcome) {
  // What the library itself refused before it wrote. The disk may give one of the same statuses, half-way.
  const bool refused = outcome == NtStatus::success || outcome == NtStatus::disk_full ||
                       outcome == NtStatus::object_name_collision || outcome == NtStatus::directory_not_empty ||
                       outcome == NtStatus::invalid_parameter || outcome == NtStatus::not_supported ||
                       outcome == NtStatus::access_denied;
  if (!refused || volume_.device_.failed_writes() != failed_writes_before_) {
    volume_.may_clear_mark_ = false;
    return outcome;
  }
  NtStatus status = volume_.sync_own_inodes();
  if (status == NtStatus::success) status = volume_.write_dirty_flag(false);
  return outcome == NtStatus::success ? status : outcome;
}

/// Between barriers: the mark is on the medium before the first change, and goes only after the last.
NtStatus Volume::write_dirty_flag(bool dirty) {
  begin();
  if (!may_clear_mark_) return NtStatus::success;
  if (!dirty && ntfs_device_sync(volume_->dev) != 0) return failure();
  const le16 flags = dirty ? volume_->flags | VOLUME_IS_DIRTY : volume_->flags & ~VOLUME_IS_DIRTY;
  if (ntfs_volume_write_flags(volume_, flags) != 0) return failure();
  if (dirty && ntfs_device_sync(volume_->dev) != 0) return failure();
  return NtStatus::success;
}

}  // namespace host::ntfs
