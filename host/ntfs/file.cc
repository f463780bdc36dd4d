// SPDX-License-Identifier: GPL-2.0-or-later
#include "host/ntfs/file.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/bytes.h"

namespace host::ntfs {

namespace {

constexpr std::uint32_t kDedupTag = 0x80000013;       // IO_REPARSE_TAG_DEDUP, MS-FSCC 2.1.2.1
constexpr std::uint32_t kDirectoryAttribute = 0x10;   // FILE_ATTRIBUTE_DIRECTORY, MS-FSCC 2.6
constexpr std::uint32_t kNormalAttribute = 0x80;      // FILE_ATTRIBUTE_NORMAL
constexpr std::uint32_t kVisibleAttributes = 0x7FFF;  // what Windows shows of the flags in the record
constexpr std::uint32_t kSettableAttributes =
    0x3127;  // read-only, hidden, system, archive, temporary, offline, no index

bool has_dedup_reparse_point(ntfs_inode* inode) {
  if ((file_flags(inode) & FILE_ATTR_REPARSE_POINT) == 0) return false;
  s64 length = 0;
  void* value = ntfs_attr_readall(inode, AT_REPARSE_POINT, nullptr, 0, &length);
  const base::Bytes bytes(static_cast<const std::uint8_t*>(value),
                          value == nullptr ? 0 : static_cast<std::size_t>(length));
  const bool dedup = bytes.size() >= sizeof(base::le32) && base::load<base::le32>(bytes) == kDedupTag;
  std::free(value);  // NOLINT: the library's malloc
  return dedup;
}

bool has_transaction_data(ntfs_inode* inode) {
  static DiskName name = to_disk("$TXF_DATA");
  return ntfs_attr_exist(inode, AT_LOGGED_UTILITY_STREAM, name.data(), static_cast<u32>(name.size())) != 0;
}

BasicInformation basic_information_of(const ntfs_inode* inode) {
  BasicInformation information;
  information.creation_time = static_cast<std::uint64_t>(sle64_to_cpu(inode->creation_time));
  information.last_access_time = static_cast<std::uint64_t>(sle64_to_cpu(inode->last_access_time));
  information.last_write_time = static_cast<std::uint64_t>(sle64_to_cpu(inode->last_data_change_time));
  information.change_time = static_cast<std::uint64_t>(sle64_to_cpu(inode->last_mft_change_time));
  std::uint32_t attributes = le32_to_cpu(file_flags(inode)) & kVisibleAttributes;
  if ((inode->mrec->flags & MFT_RECORD_IS_DIRECTORY) != 0) attributes |= kDirectoryAttribute;
  information.attributes = attributes != 0 ? attributes : kNormalAttribute;
  return information;
}

/// Zero and -1 leave a time as it is (MS-FSCC 2.4.7).
void set_time(ntfs_time& field, std::uint64_t value) {
  if (value != 0 && value != ~0ull) field = static_cast<ntfs_time>(cpu_to_le64(value));
}

}  // namespace

le32 file_flags(const ntfs_inode* inode) {
  le32 flags = 0;
  std::memcpy(&flags, &inode->flags, sizeof(flags));
  return flags;
}

void set_file_flags(ntfs_inode* inode, le32 flags) { std::memcpy(&inode->flags, &flags, sizeof(flags)); }

NtResult<std::shared_ptr<File>> File::open(std::shared_ptr<Volume> volume, MFT_REF reference) {
  volume->begin();
  ntfs_inode* inode = ntfs_inode_open(volume->raw(), reference);
  if (inode == nullptr) return std::unexpected(volume->failure());
  std::shared_ptr<File> file(new File(std::move(volume), reference));
  file->directory_ = (inode->mrec->flags & MFT_RECORD_IS_DIRECTORY) != 0;
  file->deduplicated_ = has_dedup_reparse_point(inode);
  file->transacted_ = has_transaction_data(inode);
  if (file->directory_)
    ntfs_inode_close(inode);
  else
    file->inode_ = inode;
  return file;
}

File::~File() {
  if (!removed_ && volume_->mounted()) volume_->forget(MREF(reference_));
  let_go();
}

NtStatus File::usable() const {
  if (!volume_->mounted()) return NtStatus::volume_dismounted;
  return removed_ ? NtStatus::file_deleted : NtStatus::success;
}

NtStatus File::changeable() const {
  const NtStatus status = usable();
  if (status != NtStatus::success) return status;
  if (volume_->read_only()) return NtStatus::media_write_protected;
  return metadata_ ? NtStatus::access_denied : NtStatus::success;
}

void File::found_at(Link link, bool metadata) {
  link_ = std::move(link);
  metadata_ = metadata;
}

NtResult<std::vector<DiskName>> File::stream_names() const {
  if (directory_) return std::vector<DiskName>{};
  const NtStatus status = usable();
  if (status != NtStatus::success) return std::unexpected(status);
  volume_->begin();
  ntfs_attr_search_ctx* context = ntfs_attr_get_search_ctx(inode_, nullptr);
  if (context == nullptr) return std::unexpected(volume_->failure());
  std::vector<DiskName> names;
  while (ntfs_attr_lookup(AT_DATA, nullptr, 0, CASE_SENSITIVE, 0, nullptr, 0, context) == 0) {
    const ATTR_RECORD* attribute = context->attr;
    if (attribute->non_resident != 0 && sle64_to_cpu(attribute->lowest_vcn) != 0)
      continue;  // goes on from another record
    const auto* units = reinterpret_cast<const std::uint8_t*>(attribute) + le16_to_cpu(attribute->name_offset);
    DiskName name(attribute->name_length);
    std::copy_n(units, name.size() * sizeof(std::uint16_t), reinterpret_cast<std::uint8_t*>(name.data()));
    names.push_back(std::move(name));
  }
  const bool complete = errno == ENOENT;
  ntfs_attr_put_search_ctx(context);
  if (!complete) return std::unexpected(volume_->failure());
  return names;
}

NtResult<std::shared_ptr<Stream>> File::stream(const DiskName& name) {
  if (auto found = streams_.find(name); found != streams_.end())
    if (auto stream = found->second.lock()) return stream;
  auto stream = std::make_shared<Stream>(shared_from_this(), name);
  const NtStatus status = stream->open();
  if (status != NtStatus::success) return std::unexpected(status);
  streams_[name] = stream;
  return stream;
}

NtStatus File::add_stream(const DiskName& name) {
  NtStatus status = changeable();
  if (status != NtStatus::success) return status;
  Volume::Change change(*volume_);
  if (change.started() != NtStatus::success) return change.started();
  DiskName copy = name;  // the library takes no const
  if (ntfs_attr_add(inode_, AT_DATA, copy.data(), static_cast<u8>(copy.size()), nullptr, 0) != 0)
    status = volume_->failure();
  if (status == NtStatus::success) {
    touch();
    status = sync();
  }
  reopen_others(nullptr);
  return change.finish(status);
}

BasicInformation File::basic_information() const {
  if (inode_ != nullptr) return basic_information_of(inode_);
  if (usable() != NtStatus::success) return {};
  Volume::Inode inode(*volume_, reference_);
  return inode ? basic_information_of(inode.get()) : BasicInformation{};
}

NtStatus File::set_basic_information(const BasicInformation& information) {
  const NtStatus status = changeable();
  if (status != NtStatus::success) return status;
  volume_->begin();
  Volume::Inode inode(*volume_, reference_);
  if (!inode) return volume_->failure();
  set_time(inode->creation_time, information.creation_time);
  set_time(inode->last_access_time, information.last_access_time);
  set_time(inode->last_data_change_time, information.last_write_time);
  set_time(inode->last_mft_change_time, information.change_time);
  if (information.attributes != 0) {
    const std::uint32_t old = le32_to_cpu(file_flags(inode.get()));
    set_file_flags(inode.get(),
                   cpu_to_le32((old & ~kSettableAttributes) | (information.attributes & kSettableAttributes)));
  }
  NInoFileNameSetDirty(inode.get());
  NInoSetDirty(inode.get());
  if (ntfs_inode_sync(inode.get()) != 0 || !inode.close()) return volume_->failure();
  return NtStatus::success;
}

NtStatus File::remove() {
  NtStatus status = changeable();
  if (status != NtStatus::success) return status;
  if (link_.name.empty()) return NtStatus::access_denied;  // the root directory
  Volume::Change change(*volume_);
  if (change.started() != NtStatus::success) return change.started();
  Volume::Inode directory(*volume_, link_.directory);
  if (!directory) return change.finish(volume_->failure());
  ntfs_inode* inode = directory_ ? ntfs_inode_open(volume_->raw(), reference_) : inode_;
  if (inode == nullptr) return change.finish(volume_->failure());
  for (auto& [name, weak] : streams_)
    if (auto stream = weak.lock()) stream->close();
  // The library closes both inodes, whatever comes of it.
  inode_ = nullptr;
  const int result = ntfs_delete(volume_->raw(), nullptr, inode, directory.get(), link_.name.data(),
                                 static_cast<u8>(link_.name.size()));
  directory.release();
  if (result != 0) status = volume_->failure();
  if (status == NtStatus::success || !directory_) {
    removed_ = true;
    volume_->forget(MREF(reference_));
  }
  return change.finish(status);
}

NtStatus File::sync() {
  if (inode_ == nullptr || (!NInoDirty(inode_) && !NInoAttrListDirty(inode_))) return NtStatus::success;
  return ntfs_inode_sync(inode_) == 0 ? NtStatus::success : volume_->failure();
}

void File::let_go() {
  for (auto& [name, weak] : streams_)
    if (auto stream = weak.lock()) stream->close();
  if (inode_ != nullptr) close_inode(std::exchange(inode_, nullptr));
}

void File::touch() {
  set_file_flags(inode_, file_flags(inode_) | FILE_ATTR_ARCHIVE);
  ntfs_inode_update_times(inode_, static_cast<ntfs_time_update_flags>(NTFS_UPDATE_MCTIME));
}

void File::reopen_others(const Stream* changed) {
  for (auto& [name, weak] : streams_)
    if (auto stream = weak.lock(); stream && stream.get() != changed) {
      stream->close();
      stream->open();
    }
}

}  // namespace host::ntfs
