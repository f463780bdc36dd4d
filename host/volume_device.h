// The bytes of one volume: a disk from an offset on, as a file system sees it. Any offset and length will do; what
// does not fill whole blocks is read, changed and written back.
//
// It caches nothing and recognises nothing. Thread: the driver's.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "host/class_driver.h"

namespace host {

/// A target may claim blocks of any length. Looking for volumes on a disk reads single blocks, and not of gigabytes.
inline constexpr std::uint32_t kLongestVolumeBlock = 64 << 10;

/// To the next multiple of `unit`; modulo 2^64.
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return value + (unit - value % unit) % unit;
}

class VolumeDevice {
 public:
  /// `first_byte` and `length` are multiples of the disk's block length and lie on the disk. The driver is started and
  /// outlives the device.
  VolumeDevice(ClassDriver& driver, std::uint64_t first_byte, std::uint64_t length)
      : driver_(driver), first_byte_(first_byte), length_(length) {}

  /// STATUS_NONEXISTENT_SECTOR beyond the volume, else what the driver says.
  NtStatus read(std::uint64_t offset, base::MutableBytes out);
  NtStatus write(std::uint64_t offset, base::Bytes data);
  NtStatus flush() { return driver_.flush(); }

  std::uint64_t length() const { return length_; }
  std::uint32_t block_length() const { return driver_.disk().block_length; }
  bool write_protected() const { return driver_.disk().write_protected; }

  /// Where a range of the volume lies on the disk (what the volume manager adds).
  DataSetRange on_disk(std::uint64_t offset, std::uint64_t length) const { return {first_byte_ + offset, length}; }
  ClassDriver& driver() { return driver_; }

 private:
  bool inside(std::uint64_t offset, std::uint64_t length) const {
    return offset <= length_ && length <= length_ - offset;
  }

  ClassDriver& driver_;
  std::uint64_t first_byte_;
  std::uint64_t length_;
};

}  // namespace host
