// SPDX-License-Identifier: GPL-2.0-or-later
#include "host/ntfs/device.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "host/ntfs/libntfs.h"

namespace host::ntfs {

namespace {

Device& of(ntfs_device* device) { return *static_cast<Device*>(device->d_private); }

int fail(int error) {
  errno = error;
  return -1;
}

int open(ntfs_device* device, int flags) {
  if (NDevOpen(device)) return fail(EBUSY);
  if ((flags & O_ACCMODE) == O_RDONLY) NDevSetReadOnly(device);
  NDevSetOpen(device);
  return 0;
}

int close(ntfs_device* device) {
  NDevClearOpen(device);
  return 0;
}

s64 seek(ntfs_device* device, s64 offset, int whence) {
  Device& self = of(device);
  const s64 base = whence == SEEK_CUR ? self.position : whence == SEEK_END ? self.length() : 0;
  if (offset > self.length() - base || offset < -base) return fail(EINVAL);
  self.position = base + offset;
  return self.position;
}

s64 read(ntfs_device* device, void* buffer, s64 count) {
  Device& self = of(device);
  const s64 done = self.read_at(buffer, count, self.position);
  if (done > 0) self.position += done;
  return done;
}

s64 write(ntfs_device* device, const void* buffer, s64 count) {
  Device& self = of(device);
  const s64 done = self.write_at(buffer, count, self.position);
  if (done > 0) self.position += done;
  return done;
}

s64 pread(ntfs_device* device, void* buffer, s64 count, s64 offset) {
  return of(device).read_at(buffer, count, offset);
}

s64 pwrite(ntfs_device* device, const void* buffer, s64 count, s64 offset) {
  NDevSetDirty(device);
  return of(device).write_at(buffer, count, offset);
}

int sync(ntfs_device* device) {
  if (!NDevDirty(device) || NDevReadOnly(device)) return 0;
  if (of(device).sync() != 0) return -1;
  NDevClearDirty(device);
  return 0;
}

int status(ntfs_device* device, struct stat* result) {
  *result = {};
  result->st_mode = S_IFREG;
  result->st_size = of(device).length();
  return 0;
}

/// BLKBSZSET and its like: there is no block device below, and the library goes on without.
int control(ntfs_device*, unsigned long, void*) { return fail(ENOTTY); }

ntfs_device_operations operations = {open, close, seek, read, write, pread, pwrite, sync, status, control};

}  // namespace

ntfs_device* Device::allocate() { return ntfs_device_alloc("volume", 0, &operations, this); }

std::int64_t Device::read_at(void* buffer, std::int64_t count, std::int64_t offset) {
  if (let_go_) return fail(EIO);
  if (count < 0 || offset < 0) return fail(EINVAL);
  if (offset >= length()) return 0;
  count = std::min(count, length() - offset);
  const NtStatus result =
      volume_.read(static_cast<std::uint64_t>(offset),
                   base::MutableBytes(static_cast<std::uint8_t*>(buffer), static_cast<std::size_t>(count)));
  if (result == NtStatus::success) return count;
  error_ = result;
  return fail(EIO);
}

std::int64_t Device::write_at(const void* buffer, std::int64_t count, std::int64_t offset) {
  if (let_go_) return count;
  if (read_only_) return fail(EROFS);
  if (count < 0 || offset < 0 || offset > length() || count > length() - offset) return fail(EINVAL);
  const NtStatus result =
      volume_.write(static_cast<std::uint64_t>(offset),
                    base::Bytes(static_cast<const std::uint8_t*>(buffer), static_cast<std::size_t>(count)));
  if (result == NtStatus::success) return count;
  ++failed_writes_;
  error_ = result;
  return fail(EIO);
}

int Device::sync() {
  if (let_go_ || read_only_) return 0;
  const NtStatus result = volume_.flush();
  if (result == NtStatus::success) return 0;
  error_ = result;
  return fail(EIO);
}

}  // namespace host::ntfs
