#include "host/byte_range_locks.h"

#include <algorithm>
#include <limits>

namespace host {

bool ByteRangeLocks::valid(std::uint64_t offset, std::uint64_t length) {
  return length == 0 || length - 1 <= std::numeric_limits<std::uint64_t>::max() - offset;
}

/// A range of no bytes lies between two bytes and overlaps what holds both of them; the one at 0 overlaps nothing.
bool ByteRangeLocks::overlap(const Lock& lock, std::uint64_t offset, std::uint64_t length) {
  if ((offset == 0 && length == 0) || (lock.offset == 0 && lock.length == 0)) return false;
  return offset <= lock.offset + lock.length - 1 && lock.offset <= offset + length - 1;
}

NtStatus ByteRangeLocks::lock(std::uint64_t owner, std::uint64_t offset, std::uint64_t length, bool exclusive) {
  if (!valid(offset, length)) return NtStatus::invalid_lock_range;
  for (const Lock& lock : locks_) {
    if (!overlap(lock, offset, length)) continue;
    // An owner's shared lock may lie on its exclusive one, and nothing else.
    if (exclusive || (lock.exclusive && lock.owner != owner)) return NtStatus::lock_not_granted;
  }
  locks_.push_back({offset, length, exclusive, owner});
  return NtStatus::success;
}

NtStatus ByteRangeLocks::unlock(std::uint64_t owner, std::uint64_t offset, std::uint64_t length) {
  if (!valid(offset, length)) return NtStatus::invalid_lock_range;
  auto found = locks_.end();
  for (auto lock = locks_.begin(); lock != locks_.end(); ++lock) {
    if (lock->owner != owner || lock->offset != offset || lock->length != length) continue;
    found = lock;
    if (lock->exclusive) break;
  }
  if (found == locks_.end()) return NtStatus::range_not_locked;
  locks_.erase(found);
  return NtStatus::success;
}

void ByteRangeLocks::release(std::uint64_t owner) {
  std::erase_if(locks_, [owner](const Lock& lock) { return lock.owner == owner; });
}

const ByteRangeLocks::Lock* ByteRangeLocks::conflict(std::uint64_t owner, std::uint64_t offset, std::uint64_t length,
                                                     Intent intent) const {
  auto found = std::ranges::find_if(locks_, [&](const Lock& lock) {
    return overlap(lock, offset, length) && (lock.exclusive ? lock.owner != owner : intent == Intent::write);
  });
  return found == locks_.end() ? nullptr : &*found;
}

}  // namespace host
