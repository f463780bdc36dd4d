// SPDX-License-Identifier: GPL-2.0-or-later
// An open file of a mounted volume, and its streams. The file keeps the one inode of its record (a directory keeps
// none, see volume.h); each stream keeps an attribute of it. All opens of a stream share the object. Thread: the file
// system's.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/file_system.h"
#include "host/ntfs/libntfs.h"
#include "host/ntfs/names.h"
#include "host/ntfs/volume.h"

namespace host::ntfs {

class Stream;

/// The attributes in a record, in the disk's byte order. Somebody else's volume may hold bits that FILE_ATTR_FLAGS has
/// no room for, so that in C++ it cannot be read or set as that type.
le32 file_flags(const ntfs_inode* inode);
void set_file_flags(ntfs_inode* inode, le32 flags);

class File : public std::enable_shared_from_this<File> {
 public:
  /// Where it was found, which is where remove() takes it away.
  struct Link {
    MFT_REF directory = 0;
    DiskName name{};
  };

  static NtResult<std::shared_ptr<File>> open(std::shared_ptr<Volume> volume, MFT_REF reference);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// The one object of a stream there is, or of a directory.
  NtResult<std::shared_ptr<Stream>> stream(const DiskName& name);
  NtStatus add_stream(const DiskName& name);
  /// Those on the disk, without the directory's index.
  NtResult<std::vector<DiskName>> stream_names() const;
  MFT_REF reference() const { return reference_; }
  BasicInformation basic_information() const;
  NtStatus set_basic_information(const BasicInformation& information);
  NtStatus remove();

  /// Writes what only the inode in memory knows.
  NtStatus sync();
  /// The volume goes: closes attributes and inode.
  void let_go();
  /// Sets the times and the archive attribute, as a change of data does; not yet on the disk.
  void touch();
  /// The library may have moved attributes of the same record: all but `changed` are opened anew.
  void reopen_others(const Stream* changed);

  Volume& volume() const { return *volume_; }
  ntfs_inode* inode() const { return inode_; }
  bool directory() const { return directory_; }
  bool metadata() const { return metadata_; }
  bool deduplicated() const { return deduplicated_; }
  bool transacted() const { return transacted_; }
  /// VOLUME_DISMOUNTED, FILE_DELETED, or success.
  NtStatus usable() const;
  /// The same, and whether it may be changed: MEDIA_WRITE_PROTECTED, ACCESS_DENIED.
  NtStatus changeable() const;
  void found_at(Link link, bool metadata);

 private:
  File(std::shared_ptr<Volume> volume, MFT_REF reference) : volume_(std::move(volume)), reference_(reference) {}

  std::shared_ptr<Volume> volume_;
  MFT_REF reference_;
  ntfs_inode* inode_ = nullptr;  ///< nothing: a directory, removed, or the volume is gone
  bool directory_ = false;
  bool metadata_ = false;
  bool deduplicated_ = false;
  bool transacted_ = false;
  bool removed_ = false;
  Link link_{};
  std::map<DiskName, std::weak_ptr<Stream>> streams_;
};

class Stream final : public FileStream {
 public:
  Stream(std::shared_ptr<File> file, DiskName name) : file_(std::move(file)), name_(std::move(name)) {}
  ~Stream() override { close(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  NtStatus open();
  void close();
  /// FILE_OVERWRITE: an empty stream without the attributes that only a stream with data has.
  NtStatus overwrite();

  std::uint64_t file_number() const override { return file_->reference(); }
  StreamKind kind() const override;
  StreamSizes sizes() const override;
  NtResult<std::vector<Extent>> extents(std::uint64_t offset, std::uint64_t length) override;
  NtResult<std::size_t> read(std::uint64_t offset, base::MutableBytes out) override;
  NtStatus write(std::uint64_t offset, base::Bytes data) override;
  NtStatus set_end_of_file(std::uint64_t length) override;
  NtStatus set_valid_data_length(std::uint64_t length) override;
  BasicInformation basic_information() const override { return file_->basic_information(); }
  NtStatus set_basic_information(const BasicInformation& information) override {
    return file_->set_basic_information(information);
  }
  NtResult<std::vector<std::string>> stream_names() const override;
  NtStatus remove() override;
  NtStatus flush() override;

 private:
  NtStatus usable() const;
  NtStatus changeable() const;
  NtStatus grow(std::uint64_t length);
  NtStatus grow_in_steps(std::int64_t old_length, std::int64_t length);
  NtStatus put(std::uint64_t offset, base::Bytes data);
  NtStatus resize(std::uint64_t length);
  NtStatus clear_rest_of_sector(std::uint64_t valid_length);
  NtStatus write_changing_allocation(std::uint64_t offset, base::Bytes data);
  /// After an operation of the library on attribute_: times, the record, other streams.
  NtStatus settle(NtStatus outcome);
  NtStatus put_valid_data_length(std::int64_t length);
  bool has_flag(ATTR_FLAGS of_attribute, FILE_ATTR_FLAGS of_file) const;

  std::shared_ptr<File> file_;
  DiskName name_;  ///< empty: the unnamed one
  ntfs_attr* attribute_ = nullptr;
  bool removed_ = false;
};

}  // namespace host::ntfs
