// SPDX-License-Identifier: GPL-2.0-or-later
// A volume that libntfs-3g has mounted, shared by the file system and its open files: one inode for each file record
// that is in use, and the order in which things reach the disk.
//
// The library has no journal. What changes allocation or directories is therefore bracketed by Change: the volume is
// marked dirty on the disk first and clean again when all of it is on the disk, so that chkdsk looks at a volume whose
// host died in between. Raising a valid data length is one record written in place and needs no bracket.
//
// Two inodes for one file record would overwrite each other. Files keep theirs while they are open; directories,
// which the library opens by itself when it updates an index, are opened for one operation only.
// Thread: the file system's.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "host/file_system.h"
#include "host/ntfs/boot_sector.h"
#include "host/ntfs/device.h"
#include "host/ntfs/libntfs.h"
#include "host/ntfs/names.h"

namespace host::ntfs {

class File;

/// Closes it even when what was changed cannot be written, where the library would leave it open: then false.
bool close_inode(ntfs_inode* inode);

class Volume : public std::enable_shared_from_this<Volume> {
 public:
  static NtResult<std::shared_ptr<Volume>> mount(VolumeDevice& device, bool read_only);
  ~Volume();
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  bool mounted() const { return volume_ != nullptr; }
  bool read_only() const { return read_only_; }
  ntfs_volume* raw() const { return volume_; }
  const BootSector& boot() const { return boot_; }
  std::uint32_t cluster_length() const { return boot_.cluster_length; }
  /// 2^32 clusters less 64 KiB (Windows 8.1 and later).
  std::uint64_t maximum_file_size() const;
  std::uint64_t free_bytes();
  NtResult<bool> still_there();

  /// Before calling the library: errors are those of this operation.
  void begin() { device_.forget_errors(); }
  /// What went wrong since begin(): the driver's word if it refused anything, else by errno.
  NtStatus failure() const;

  NtStatus flush();
  NtStatus unmount();
  void abandon();

  /// Finds the record a name leads to; case does not matter. STATUS_OBJECT_NAME_NOT_FOUND, NOT_A_DIRECTORY, ...
  NtResult<MFT_REF> look_up(MFT_REF directory, const DiskName& name);

  /// The open file of a record, opened when it is not.
  NtResult<std::shared_ptr<File>> file(MFT_REF reference);
  /// Its inode if it is open and keeps one, else nothing.
  ntfs_inode* kept_inode(std::uint64_t record) const;
  void forget(std::uint64_t record) { files_.erase(record); }

  /// An inode for one operation: the kept one of an open file, or one that is closed again.
  class Inode {
   public:
    Inode(Volume& volume, MFT_REF reference);
    ~Inode() { close(); }
    Inode(const Inode&) = delete;
    Inode& operator=(const Inode&) = delete;
    explicit operator bool() const { return inode_ != nullptr; }
    ntfs_inode* get() const { return inode_; }
    ntfs_inode* operator->() const { return inode_; }
    /// False, with errno, when what was changed could not be written.
    bool close();
    void release() { inode_ = nullptr; }  ///< the library has closed it

   private:
    ntfs_inode* inode_ = nullptr;
    bool kept_ = false;
  };

  /// See above. finish() must be told how the operation went.
  class Change {
   public:
    explicit Change(Volume& volume);
    NtStatus started() const { return started_; }
    /// `outcome` itself, unless making the volume clean again fails. After a failure that may have left something half
    /// done, and after any write that the disk refused, the volume stays dirty.
    NtStatus finish(NtStatus outcome);

   private:
    Volume& volume_;
    const std::uint64_t failed_writes_before_;
    NtStatus started_ = NtStatus::success;
  };

 private:
  Volume(VolumeDevice& device, bool read_only)
      : volume_device_(device), device_(device, read_only), read_only_(read_only) {}
  NtStatus mount_it();
  NtStatus sync_own_inodes();
  NtStatus write_dirty_flag(bool dirty);
  void clear_dirty_marks();

  VolumeDevice& volume_device_;
  Device device_;
  const bool read_only_;
  BootSector boot_;
  ntfs_volume* volume_ = nullptr;
  /// The volume was clean when it was mounted, and no Change has failed half-way since: only chkdsk takes the mark off
  /// otherwise.
  bool may_clear_mark_ = false;
  std::map<std::uint64_t, std::weak_ptr<File>> files_;
};

}  // namespace host::ntfs
