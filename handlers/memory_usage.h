// What memory is held for: a walk over stores and snapshots that counts every byte once.
//
//   MemoryUsage usage;
//   for each store:    count_all(store, usage);
//   for each snapshot: kept = usage.count([&] { count_all(snapshot, usage); });
//
// `kept` is what neither a store nor a snapshot counted before keeps alive; size_bytes() is what a snapshot represents.
// The sum over all snapshots is what only snapshots keep; to which of several it is put down depends on their order.
// A subtree that several share is walked once: the cost is one step for each extent, not for each
// extent of each snapshot.
//
// A walk may be made in steps (count_memory()), between which stores change: then each snapshot that is counted
// was captured before the walk began, stores go before snapshots, what changed in stores meanwhile may be counted
// as it was, as it is, or not at all, and so may what was saved for a snapshot meanwhile. What a step has begun is
// counted to its end before anything else is.
//
// Owns marks of what was counted (100 bytes for each 2 MiB of memory, 40 for each snapshot and shared node), and of
// nodes that several trees share references, so that none of them becomes another: there may be many to be released at
// the end, which any thread may do. Thread: one at a time, and the loop's where memory stores take part.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

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
  bool enter(const void* object) { return entered_[part_of(object)].insert(object).second; }
  /// The same for one that may be released, and another be in its place, before the walk is over.
  bool enter_and_hold(const base::RefCounted& object) {
    if (!enter(&object)) return false;
    held_.emplace_back(&object);
    return true;
  }
  void add(std::uint64_t bytes) { bytes_ += bytes; }
  /// Adds a chunk's memory, the first time.
  void add(const Chunk& chunk);

  /// Where a step has stopped inside of something that a position in bytes does not tell; 0: it did not.
  std::uint64_t within() const { return within_; }
  void stop_within(std::uint64_t where) { within_ = where; }

 private:
  using Marks = std::bitset<kArenaGranules>;  ///< of the granules of an arena, the first of each chunk

  std::uint64_t bytes_ = 0;
  std::uint64_t within_ = 0;
  /// In parts, so that none grows so large that hashing it anew would take long; nor is what is held moved.
  static constexpr std::size_t kParts = 4096;
  static std::size_t part_of(const void* object) {
    constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;
    return static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(object) * kGolden >> 52);
  }
  std::vector<std::unordered_set<const void*>> entered_ = std::vector<std::unordered_set<const void*>>(kParts);
  std::deque<base::Ref<const base::RefCounted>> held_;
  std::unordered_map<std::uintptr_t, Marks> arenas_;
  std::uintptr_t last_arena_ = 0;  ///< neighbours in a tree are mostly neighbours in memory
  Marks* last_marks_ = nullptr;
};

/// A store or a snapshot, in one step.
template <typename Kept>
void count_all(const Kept& kept, MemoryUsage& usage) {
  std::size_t left = SIZE_MAX;
  kept.count_memory(usage, 0, left);
}

}  // namespace handlers
