// SPDX-License-Identifier: GPL-2.0-or-later
// The device libntfs-3g reads and writes: a VolumeDevice behind its callbacks. It keeps what the driver answered, since
// the library knows only errno, and it can be told to let go.
// Thread: the file system's.
#pragma once

#include <cstdint>

#include "host/nt_status.h"
#include "host/volume_device.h"

struct ntfs_device;

namespace host::ntfs {

class Device {
 public:
  Device(VolumeDevice& volume, bool read_only) : volume_(volume), read_only_(read_only) {}
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// One for ntfs_device_mount, which frees it with the volume; this object outlives it. Nothing: no memory.
  ntfs_device* allocate();

  /// What the driver said last when it refused since forget_errors().
  NtStatus error() const { return error_; }
  void forget_errors() { error_ = NtStatus::success; }
  /// Writes that the driver refused, since the device was made.
  std::uint64_t failed_writes() const { return failed_writes_; }

  /// From now on nothing reaches the disk: reads fail, and writes only look as if they had been done, so that the
  /// library takes its structures down without complaint.
  void let_go() { let_go_ = true; }
  bool gone() const { return let_go_; }

  // The callbacks, with the results of read(2) and write(2).
  std::int64_t read_at(void* buffer, std::int64_t count, std::int64_t offset);
  std::int64_t write_at(const void* buffer, std::int64_t count, std::int64_t offset);
  int sync();
  std::int64_t length() const { return static_cast<std::int64_t>(volume_.length()); }
  std::int64_t position = 0;

 private:
  VolumeDevice& volume_;
  const bool read_only_;
  bool let_go_ = false;
  NtStatus error_ = NtStatus::success;
  std::uint64_t failed_writes_ = 0;
};

}  // namespace host::ntfs
