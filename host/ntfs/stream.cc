// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "host/ntfs/file.h"

namespace host::ntfs {

namespace {

constexpr auto kLargestOffset = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

std::uint64_t positive(s64 value) { return value > 0 ? static_cast<std::uint64_t>(value) : 0; }

}  // namespace

NtStatus Stream::open() {
  if (file_->directory() || removed_) return NtStatus::success;
  const NtStatus status = file_->usable();
  if (status != NtStatus::success) return status;
  file_->volume().begin();
  attribute_ = ntfs_attr_open(file_->inode(), AT_DATA, name_.empty() ? AT_UNNAMED : name_.data(),
                              static_cast<u32>(name_.size()));
  if (attribute_ == nullptr) return file_->volume().failure();
  if (attribute_->name_len == name_.size()) return NtStatus::success;
  close();  // asked for the unnamed stream, the library takes any
  return NtStatus::object_name_not_found;
}

void Stream::close() {
  if (attribute_ != nullptr) ntfs_attr_close(std::exchange(attribute_, nullptr));
}

NtStatus Stream::usable() const {
  const NtStatus status = file_->usable();
  if (status != NtStatus::success) return status;
  if (removed_) return NtStatus::file_deleted;
  if (file_->directory()) return NtStatus::invalid_device_request;
  return attribute_ != nullptr ? NtStatus::success : NtStatus::file_corrupt_error;
}

NtStatus Stream::changeable() const {
  const NtStatus status = usable();
  return status == NtStatus::success ? file_->changeable() : status;
}

/// The flags of the file speak for its unnamed stream, which has its own only once it has data.
bool Stream::has_flag(ATTR_FLAGS of_attribute, FILE_ATTR_FLAGS of_file) const {
  if (attribute_ == nullptr) return false;
  return (attribute_->data_flags & of_attribute) != 0 || (name_.empty() && (file_flags(file_->inode()) & of_file) != 0);
}

StreamKind Stream::kind() const {
  StreamKind kind;
  kind.directory = file_->directory();
  kind.metadata = file_->metadata();
  kind.sparse = has_flag(ATTR_IS_SPARSE, FILE_ATTR_SPARSE_FILE);
  kind.compressed = has_flag(ATTR_COMPRESSION_MASK, FILE_ATTR_COMPRESSED);
  kind.encrypted = has_flag(ATTR_IS_ENCRYPTED, FILE_ATTR_ENCRYPTED);
  kind.resident = attribute_ != nullptr && NAttrNonResident(attribute_) == 0;
  kind.deduplicated = file_->deduplicated();
  kind.transacted = file_->transacted();
  return kind;
}

StreamSizes Stream::sizes() const {
  if (attribute_ == nullptr) return {};
  StreamSizes sizes;
  sizes.end_of_file = positive(attribute_->data_size);
  sizes.valid_data_length = std::min(positive(attribute_->initialized_size), sizes.end_of_file);
  // Where clusters may be missing, allocated_size counts them too.
  constexpr auto kMayHaveHoles = ATTR_IS_SPARSE | ATTR_COMPRESSION_MASK;
  const bool holes = NAttrNonResident(attribute_) != 0 && (attribute_->data_flags & kMayHaveHoles) != 0;
  sizes.allocation = positive(holes ? attribute_->compressed_size : attribute_->allocated_size);
  return sizes;
}

NtResult<std::vector<Extent>> Stream::extents(std::uint64_t offset, std::uint64_t length) {
  const NtStatus status = usable();
  if (status != NtStatus::success) return std::unexpected(status);
  std::vector<Extent> extents;
  if (NAttrNonResident(attribute_) == 0 || length == 0) return extents;
  Volume& volume = file_->volume();
  volume.begin();
  if (ntfs_attr_map_whole_runlist(attribute_) != 0) return std::unexpected(volume.failure());

  const std::uint64_t cluster = volume.cluster_length();
  const std::uint64_t clusters = positive(volume.raw()->nr_clusters);
  const std::uint64_t allocated = positive(attribute_->allocated_size) / cluster;
  const std::uint64_t first = std::min(offset / cluster, allocated);
  const std::uint64_t last = offset > kLargestOffset || length > kLargestOffset
                                 ? allocated
                                 : std::min((offset + length + cluster - 1) / cluster, allocated);
  std::uint64_t next = 0;
  for (const runlist_element* run = attribute_->rl; run != nullptr && run->length > 0 && next < last; ++run) {
    const std::uint64_t begin = positive(run->vcn);
    const std::uint64_t count = positive(run->length);
    const bool hole = run->lcn == LCN_HOLE;
    const std::uint64_t place = positive(run->lcn);
    if (begin != next || (!hole && (run->lcn < 0 || place > clusters || count > clusters - place)))
      return std::unexpected(NtStatus::file_corrupt_error);
    next = begin + count;
    const std::uint64_t from = std::max(begin, first);
    const std::uint64_t to = std::min(next, last);
    if (from >= to) continue;
    Extent extent{.file_offset = from * cluster, .length = (to - from) * cluster};
    if (!hole) extent.volume_offset = (place + from - begin) * cluster;
    extents.push_back(extent);
  }
  if (next < last) return std::unexpected(NtStatus::file_corrupt_error);
  return extents;
}

NtResult<std::size_t> Stream::read(std::uint64_t offset, base::MutableBytes out) {
  const NtStatus status = usable();
  if (status != NtStatus::success) return std::unexpected(status);
  const std::uint64_t end = sizes().end_of_file;
  if (offset >= end || out.empty()) return 0;
  out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), end - offset)));
  file_->volume().begin();
  errno = EIO;
  const s64 count = ntfs_attr_pread(attribute_, static_cast<s64>(offset), static_cast<s64>(out.size()), out.data());
  if (count != static_cast<s64>(out.size())) return std::unexpected(file_->volume().failure());
  return out.size();
}

NtStatus Stream::put(std::uint64_t offset, base::Bytes data) {
  errno = EIO;
  const s64 count = ntfs_attr_pwrite(attribute_, static_cast<s64>(offset), static_cast<s64>(data.size()), data.data());
  return count == static_cast<s64>(data.size()) ? NtStatus::success : file_->volume().failure();
}

NtStatus Stream::write(std::uint64_t offset, base::Bytes data) {
  NtStatus status = changeable();
  if (status != NtStatus::success || data.empty()) return status;
  const std::uint64_t most = file_->volume().maximum_file_size();
  if (offset > most || data.size() > most - offset) return NtStatus::invalid_parameter;
  const bool in_place = offset + data.size() <= sizes().end_of_file &&
                        !has_flag(ATTR_IS_SPARSE, FILE_ATTR_SPARSE_FILE) &&
                        !has_flag(ATTR_COMPRESSION_MASK, FILE_ATTR_COMPRESSED);
  if (!in_place) return write_changing_allocation(offset, data);
  file_->volume().begin();
  status = put(offset, data);
  if (status == NtStatus::success) file_->touch();  // reaches the disk with the next flush or the last close
  return status;
}

NtStatus Stream::write_changing_allocation(std::uint64_t offset, base::Bytes data) {
  Volume::Change change(file_->volume());
  if (change.started() != NtStatus::success) return change.started();
  const bool compressed = has_flag(ATTR_COMPRESSION_MASK, FILE_ATTR_COMPRESSED);
  NtStatus status = NtStatus::success;
  // Allocating first keeps the library from making a hole between the old end and `offset`.
  const std::uint64_t end = offset + data.size();
  const std::uint64_t old_end = sizes().end_of_file;
  if (!compressed && end > old_end) status = grow(end);
  if (status == NtStatus::success) status = put(offset, data);
  return change.finish(settle(status));
}

NtStatus Stream::settle(NtStatus outcome) {
  Volume& volume = file_->volume();
  const bool compressed = (attribute_->data_flags & ATTR_COMPRESSION_MASK) != 0;
  if (compressed && NAttrNonResident(attribute_) != 0) {
    // The last compression unit is packed when the attribute is closed, and only then.
    if (ntfs_attr_pclose(attribute_) != 0 && outcome == NtStatus::success) outcome = volume.failure();
    close();
    const NtStatus status = open();
    if (outcome == NtStatus::success) outcome = status;
  }
  if (outcome == NtStatus::success) file_->touch();
  const NtStatus status = file_->sync();
  if (outcome == NtStatus::success) outcome = status;
  file_->reopen_others(this);
  return outcome;
}

NtStatus Stream::grow(std::uint64_t length) {
  const auto new_length = static_cast<s64>(length);
  const s64 old_length = attribute_->data_size;
  if (ntfs_attr_truncate_solid(attribute_, new_length) == 0) return NtStatus::success;
  const NtStatus status = file_->volume().failure();
  if (status != NtStatus::disk_full || length - positive(attribute_->allocated_size) > file_->volume().free_bytes())
    return status;
  return grow_in_steps(old_length, new_length);
}

/// The library's allocator takes one run from each 4 KiB of the bitmap in one call, so that on a fragmented volume it
/// finds no space where there is enough.
NtStatus Stream::grow_in_steps(std::int64_t old_length, std::int64_t length) {
  const std::int64_t cluster = file_->volume().cluster_length();
  std::int64_t step = std::max(cluster, (length - attribute_->data_size) / 2 / cluster * cluster);
  while (attribute_->data_size < length) {
    const std::int64_t next = std::min(length, attribute_->data_size + step);
    if (ntfs_attr_truncate_solid(attribute_, next) == 0) {
      step *= 2;
      continue;
    }
    const NtStatus status = file_->volume().failure();
    if (status != NtStatus::disk_full || step == cluster) {
      ntfs_attr_truncate_solid(attribute_, old_length);
      return status;
    }
    step = std::max(cluster, step / 2 / cluster * cluster);
  }
  return NtStatus::success;
}

NtStatus Stream::resize(std::uint64_t length) {
  const std::uint64_t old = sizes().end_of_file;
  const bool compressed = has_flag(ATTR_COMPRESSION_MASK, FILE_ATTR_COMPRESSED);
  if (compressed && length > old) {
    // The library makes a compressed stream longer only by writing its last byte.
    constexpr std::uint8_t kZero = 0;
    return put(length - 1, base::Bytes(&kZero, 1));
  }
  if (length > old) {
    const NtStatus status = clear_rest_of_sector(sizes().valid_data_length);
    return status == NtStatus::success ? grow(length) : status;
  }
  return ntfs_attr_truncate_solid(attribute_, static_cast<s64>(length)) == 0 ? NtStatus::success
                                                                             : file_->volume().failure();
}

/// An offload read takes whole sectors: what shares one with the last valid byte has to be zeros on the disk too.
NtStatus Stream::clear_rest_of_sector(std::uint64_t valid_length) {
  Volume& volume = file_->volume();
  const std::uint64_t sector = volume.boot().sector_length;
  const std::uint64_t rest = (sector - valid_length % sector) % sector;
  if (rest == 0) return NtStatus::success;
  auto place = extents(valid_length, rest);
  if (!place) return place.error();
  if (place->empty() || !place->front().volume_offset) return NtStatus::success;  // resident, or a hole
  const std::uint64_t offset = *place->front().volume_offset + valid_length % volume.cluster_length();
  const std::vector<std::uint8_t> zeros(static_cast<std::size_t>(rest));
  const s64 count = ntfs_pwrite(volume.raw()->dev, static_cast<s64>(offset), static_cast<s64>(rest), zeros.data());
  return count == static_cast<s64>(rest) ? NtStatus::success : volume.failure();
}

NtStatus Stream::set_end_of_file(std::uint64_t length) {
  const NtStatus status = changeable();
  if (status != NtStatus::success || length == sizes().end_of_file) return status;
  if (length > file_->volume().maximum_file_size()) return NtStatus::invalid_parameter;
  if (has_flag(ATTR_IS_ENCRYPTED, FILE_ATTR_ENCRYPTED)) return NtStatus::access_denied;
  Volume::Change change(file_->volume());
  if (change.started() != NtStatus::success) return change.started();
  return change.finish(settle(resize(length)));
}

NtStatus Stream::set_valid_data_length(std::uint64_t length) {
  const NtStatus status = changeable();
  if (status != NtStatus::success) return status;
  const StreamSizes now = sizes();
  length = std::max(std::min(length, now.end_of_file), now.valid_data_length);
  file_->volume().begin();
  if (length > now.valid_data_length && length < now.end_of_file) {
    const NtStatus cleared = clear_rest_of_sector(length);
    if (cleared != NtStatus::success) return cleared;
  }
  return put_valid_data_length(static_cast<std::int64_t>(length));
}

/// One write for almost every file: length and times lie in the base record. Where the attribute begins in another
/// record that one goes first, and the times after it; between the two the volume is as sound as before and after. What
/// the directory repeats of this is brought up to date with the next flush or the last close, as Windows does.
NtStatus Stream::put_valid_data_length(std::int64_t length) {
  Volume& volume = file_->volume();
  ntfs_inode* base = file_->inode();
  ntfs_attr_search_ctx* context = ntfs_attr_get_search_ctx(base, nullptr);
  if (context == nullptr) return volume.failure();
  ntfs_inode* holder = base;
  if (NAttrNonResident(attribute_) != 0) {
    if (ntfs_attr_lookup(AT_DATA, name_.empty() ? AT_UNNAMED : name_.data(), static_cast<u32>(name_.size()),
                         CASE_SENSITIVE, 0, nullptr, 0, context) != 0) {
      const NtStatus status = volume.failure();
      ntfs_attr_put_search_ctx(context);
      return status;
    }
    context->attr->initialized_size = static_cast<sle64>(cpu_to_le64(static_cast<std::uint64_t>(length)));
    attribute_->initialized_size = length;
    holder = context->ntfs_ino;
  }
  file_->touch();
  ntfs_attr_reinit_search_ctx(context);
  if (ntfs_attr_lookup(AT_STANDARD_INFORMATION, AT_UNNAMED, 0, CASE_SENSITIVE, 0, nullptr, 0, context) == 0 &&
      context->attr->non_resident == 0) {
    auto* information = reinterpret_cast<STANDARD_INFORMATION*>(reinterpret_cast<std::uint8_t*>(context->attr) +
                                                                le16_to_cpu(context->attr->value_offset));
    information->last_data_change_time = base->last_data_change_time;
    information->last_mft_change_time = base->last_mft_change_time;
    std::memcpy(&information->file_attributes, &base->flags, sizeof(base->flags));  // see file_flags()
  }
  ntfs_attr_put_search_ctx(context);
  bool written = true;
  if (holder != base) written = ntfs_mft_record_write(volume.raw(), holder->mft_no, holder->mrec) == 0;
  written = written && ntfs_mft_record_write(volume.raw(), base->mft_no, base->mrec) == 0;
  return written ? NtStatus::success : volume.failure();
}

NtStatus Stream::overwrite() {
  NtStatus status = changeable();
  if (status != NtStatus::success) return status;
  Volume& volume = file_->volume();
  Volume::Change change(volume);
  if (change.started() != NtStatus::success) return change.started();
  ntfs_inode* inode = file_->inode();
  // A new attribute instead of an emptied one: the library cannot take sparse, compressed or encrypted off it.
  if (ntfs_attr_rm(attribute_) != 0) return change.finish(volume.failure());
  close();
  if (name_.empty()) {
    constexpr le32 kOfData = FILE_ATTR_SPARSE_FILE | FILE_ATTR_COMPRESSED | FILE_ATTR_ENCRYPTED;
    set_file_flags(inode, file_flags(inode) & ~kOfData);
    static DiskName encryption = to_disk("$EFS");
    ntfs_attr_remove(inode, AT_LOGGED_UTILITY_STREAM, encryption.data(), static_cast<u32>(encryption.size()));
    inode->data_size = inode->allocated_size = 0;
    NInoFileNameSetDirty(inode);
  }
  if (ntfs_attr_add(inode, AT_DATA, name_.empty() ? AT_UNNAMED : name_.data(), static_cast<u8>(name_.size()), nullptr,
                    0) != 0)
    status = volume.failure();
  if (status == NtStatus::success) status = open();
  if (status != NtStatus::success) return change.finish(status);
  return change.finish(settle(status));
}

NtResult<std::vector<std::string>> Stream::stream_names() const {
  auto names = file_->stream_names();
  if (!names) return std::unexpected(names.error());
  std::vector<std::string> result;
  for (const DiskName& name : *names) result.push_back(from_disk(name));
  return result;
}

NtStatus Stream::remove() {
  if (file_->directory() || name_.empty()) return file_->remove();
  NtStatus status = changeable();
  if (status != NtStatus::success) return status;
  Volume::Change change(file_->volume());
  if (change.started() != NtStatus::success) return change.started();
  if (ntfs_attr_rm(attribute_) != 0) status = file_->volume().failure();
  close();
  removed_ = true;
  file_->touch();
  const NtStatus synced = file_->sync();
  if (status == NtStatus::success) status = synced;
  file_->reopen_others(this);
  return change.finish(status);
}

NtStatus Stream::flush() {
  const NtStatus status = file_->usable();
  return status == NtStatus::success ? file_->volume().flush() : status;
}

}  // namespace host::ntfs
