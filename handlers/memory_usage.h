// What memory is held for: a walk over stores and snapshots that counts every byte once.
//
//   MemoryUsage usage;
//   for each store:    store.count_memory(usage);
//   for each snapshot: kept = usage.count([&] { snapshot.count_memory(usage); });
//
// `kept` is what neither a store nor a snapshot counted before keeps alive; size_bytes() is what a snapshot represents.
// The sum over all snapshots is what only snapshots keep; to which of several it is put down depends on their order.
// A subtree that several share is walked once: the cost is one step for each extent, not for each
// extent of each snapshot.
//
// Owns marks of what was counted (100 bytes for each 2 MiB of memory, 40 for each shared node) and no references: what
// it has been shown must not be released while it lives. Thread: one at a time, and the loop's where memory stores take
// part.
#pragma once

#include <bitset>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "handlers/memory_pool.h"

namespace handlers {

class MemoryUsage {
 public:
  /// All that has been counted.
  std::uint64_t bytes() const { return bytes_; }

  /// How much bytes() grows by what `walk` counts.
  template <typename Walk>
  std::uint64_t count(Walk&& walk) {
    std::uint64_t before = bytes_;
    std::forward<Walk>(walk)();
    return bytes_ - before;
  }

  /// For what is counted. Whether `object`, which several may refer to, is met for the first time.
  bool enter(const void* object) { return entered_.insert(object).second; }
  void add(std::uint64_t bytes) { bytes_ += bytes; }
  /// Adds a chunk's memory, the first time.
  void add(const Chunk& chunk);

 private:
  using Marks = std::bitset<kArenaGranules>;  ///< of the granules of an arena, the first of each chunk

  std::uint64_t bytes_ = 0;
  std::unordered_set<const void*> entered_;
  std::unordered_map<std::uintptr_t, Marks> arenas_;
  std::uintptr_t last_arena_ = 0;  ///< neighbours in a tree are mostly neighbours in memory
  Marks* last_marks_ = nullptr;
};

}  // namespace handlers
