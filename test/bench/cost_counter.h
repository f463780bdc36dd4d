// What cost_counter.cc counts in one process, for those who read it from another.
#pragma once

#include <cstdint>

namespace bench {

/// As it lies in the file.
struct Costs {
  std::uint64_t allocations;
  std::uint64_t copied_bytes;
  std::uint64_t locks;
  std::uint64_t receives;
  std::uint64_t sends;
  std::uint64_t waits;
};
static_assert(sizeof(Costs) == 48);

}  // namespace bench
