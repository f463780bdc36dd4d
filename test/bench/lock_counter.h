// What lock_counter.cc counts in one process, for those who read it from another.
#pragma once

#include <cstdint>

namespace bench {

/// Of the threads that wait for events, as it lies in the file.
struct Locks {
  std::uint64_t taken;      ///< mutexes locked
  std::uint64_t waited;     ///< of these, those that somebody else had
  std::uint64_t held_ns;    ///< time between locking and unlocking
  std::uint64_t waited_ns;  ///< time until they were had
};
static_assert(sizeof(Locks) == 32);

}  // namespace bench
