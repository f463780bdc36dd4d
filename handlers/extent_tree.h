// A sequence of bytes as a persistent tree: what a memory store and its snapshots are made of.
//
// A B+tree over extents (runs inside chunks, or holes) whose nodes record lengths, never addresses: a subtree means
// the same wherever it is spliced, so that copying a range is split, share and join, O(log n) whatever its size,
// alignment or fragmentation. Nodes and chunks are reference-counted; what one tree alone refers to is changed in
// place, what is shared is copied on the way down (path copying).
//
// What throws std::bad_alloc has changed nothing, but for bytes that write() has come to.
//
// Does not know sizes of stores, snapshots or errors beyond "no memory". Thread: one at a time for a tree; trees
// that share nodes may be used on different threads, because shared nodes never change.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/segments.h"
#include "handlers/memory_pool.h"

namespace handlers {

class ExtentNode;
class MemoryUsage;
using ExtentNodeRef = base::Ref<ExtentNode>;

class ExtentTree {
 public:
  /// No bytes.
  ExtentTree();
  ExtentTree(ExtentTree&& other) noexcept;
  ExtentTree& operator=(ExtentTree&& other) noexcept;
  ~ExtentTree();
  /// `length` bytes of hole.
  static ExtentTree hole(MemoryPool& pool, std::uint64_t length);
  /// `length` bytes (at most its size) of a chunk.
  static ExtentTree extent(MemoryPool& pool, base::Ref<Chunk> chunk, std::uint64_t length);
  /// `unit` over and over until `length`: O(log length).
  static ExtentTree repeat(MemoryPool& pool, const ExtentTree& unit, std::uint64_t length);

  std::uint64_t length() const;

  /// Appends [offset, offset + length) to `out`, pinned; holes as zeros.
  void read(std::uint64_t offset, std::uint64_t length, base::Segments& out) const;
  /// Overwrites bytes. Returns how many were written: fewer than data.size() when memory ran out.
  std::uint64_t write(MemoryPool& pool, std::uint64_t offset, base::Bytes data);
  /// Makes [offset, offset + length) the first `length` bytes of `chunk`, and `chunk` what was there when that was one
  /// extent (null: a hole, or several). False, and nothing changed: that would cut what can as well be overwritten.
  bool exchange(MemoryPool& pool, std::uint64_t offset, std::uint64_t length, base::Ref<Chunk>& chunk);
  /// Makes [offset, offset + with.length()) equal to `with`.
  void replace(MemoryPool& pool, std::uint64_t offset, ExtentTree with);
  /// [offset, offset + length), sharing.
  ExtentTree slice(MemoryPool& pool, std::uint64_t offset, std::uint64_t length) const;
  /// Adds `tail` at the end.
  void append(MemoryPool& pool, ExtentTree tail);

  /// The run at `offset`: its length (it may stop short of the next change) and whether it is mapped.
  struct Run {
    std::uint64_t length = 0;
    bool mapped = false;
  };
  Run run(std::uint64_t offset) const;

  /// Adds nodes and chunks to a walk that has not met them yet, in steps: from the byte `from` on, which is 0 or where
  /// the step before has stopped. `left`, not 0, goes down by the leaves and known subtrees that were met, and at 0 the
  /// step is over. Returns where it stopped; length() at the end.
  std::uint64_t count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const;

  /// For tests: empty when every rule of the structure holds, else the first one broken.
  std::string broken_rule() const;
  /// For tests and figures: extents and holes reachable, shared ones counted each time.
  std::uint64_t extent_count() const;

 private:
  explicit ExtentTree(ExtentNodeRef root);
  void reserve_for(const ExtentTree* other = nullptr) const;
  void put(MemoryPool& pool, std::uint64_t offset, ExtentTree with);

  ExtentNodeRef root_;
};

}  // namespace handlers
