// The byte-range locks on one stream (LockFile), and what they keep others from (MS-FSA 2.1.4.10, 2.1.5.8, 2.1.5.9).
// Thread: as the stream.
#pragma once

#include <cstdint>
#include <vector>

#include "host/nt_status.h"

namespace host {

class ByteRangeLocks {
 public:
  enum class Intent : std::uint8_t { read, write };

  /// STATUS_INVALID_LOCK_RANGE for a range that ends beyond 64 bits, STATUS_LOCK_NOT_GRANTED when it conflicts.
  NtStatus lock(std::uint64_t owner, std::uint64_t offset, std::uint64_t length, bool exclusive);
  /// The very range, an exclusive lock first. STATUS_INVALID_LOCK_RANGE, STATUS_RANGE_NOT_LOCKED.
  NtStatus unlock(std::uint64_t owner, std::uint64_t offset, std::uint64_t length);
  /// The owner is gone.
  void release(std::uint64_t owner);

  struct Lock {
    std::uint64_t offset;
    std::uint64_t length;
    bool exclusive;
    std::uint64_t owner;  ///< the open's number
  };
  /// The first lock that forbids this open to read or write the range; null when none does. Exclusive locks forbid both
  /// to everybody else, shared ones forbid writing to all, their owner included. Good until the next change.
  const Lock* conflict(std::uint64_t owner, std::uint64_t offset, std::uint64_t length, Intent intent) const;

 private:
  static bool valid(std::uint64_t offset, std::uint64_t length);
  static bool overlap(const Lock& lock, std::uint64_t offset, std::uint64_t length);

  std::vector<Lock> locks_;
};

}  // namespace host
