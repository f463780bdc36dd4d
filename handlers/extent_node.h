// The nodes of an ExtentTree and the three operations everything is built from: join, split, slice.
// Private to extent_node.cc and extent_tree.cc. Thread: as ExtentTree.
#pragma once

#include <boost/container/static_vector.hpp>
#include <cstdint>
#include <new>
#include <utility>

#include "handlers/extent_tree.h"

namespace handlers {

constexpr std::size_t kFanout = 32;
/// Fewest slots in a node that is not a root. A quarter: joins leave slack on both sides of the seam, so that
/// alternating changes do not split and merge the same nodes over and over.
constexpr std::size_t kMinFill = kFanout / 4;
/// A node of so few slots has room for no more: only a root has, and most snapshots are such a root and nothing else.
/// One that is to have more is made anew.
constexpr std::size_t kFewSlots = 4;
static_assert(kFewSlots < kMinFill);

/// A slot that shows less than this part of a shared chunk is copied rather than left holding the chunk.
constexpr std::size_t kSliverPart = 4;

/// One entry of a node: in a leaf a run of bytes in a chunk (no target: a hole), above it a subtree.
struct Slot {
  std::uint64_t length = 0;
  base::Ref<base::RefCounted> target{};
  std::uint32_t offset = 0;  ///< where the run starts in its chunk
};
using SlotList = boost::container::static_vector<Slot, 2 * kFanout + 2>;

class ExtentNode final : public Sliced {
  using Target = base::Ref<base::RefCounted>;

 public:
  /// With room for `slots` and maybe some more, in memory of its own size.
  static ExtentNode* make(MemoryPool& pool, unsigned height, std::size_t slots);
  /// Sees to it that this thread can make so many more though memory runs out: for who is about to take a tree apart.
  /// What is not used, which is nearly always all of it, stays with the thread: some 700 bytes for each. Throws
  /// std::bad_alloc.
  static void reserve(std::size_t nodes);
  ~ExtentNode() override;
  static void operator delete(void* memory) { ::operator delete(memory); }

  bool leaf() const { return height_ == 0; }
  unsigned height() const { return height_; }
  std::size_t count() const { return count_; }
  std::size_t capacity() const { return capacity_; }
  /// What it takes of the budget: its memory, with malloc's header.
  std::uint64_t cost() const { return memory_for(capacity_) + 16; }
  std::uint64_t length() const { return count_ == 0 ? 0 : ends()[count_ - 1]; }
  std::uint64_t start(std::size_t i) const { return i == 0 ? 0 : ends()[i - 1]; }
  std::uint64_t end(std::size_t i) const { return ends()[i]; }
  std::uint64_t slot_length(std::size_t i) const { return end(i) - start(i); }
  std::uint32_t offset(std::size_t i) const { return offsets()[i]; }
  Chunk* chunk(std::size_t i) const { return static_cast<Chunk*>(targets()[i].get()); }
  ExtentNode* child(std::size_t i) const { return static_cast<ExtentNode*>(targets()[i].get()); }

  /// The slot that holds the byte at `position`, which is less than length().
  std::size_t find(std::uint64_t position) const;
  /// Whether the bytes of slot `i` may be overwritten where they are (this node itself being unshared).
  bool writable(std::size_t i) const { return targets()[i] && targets()[i]->unique(); }

  /// Appends slots [first, last) to `out`, merging runs that continue each other: moved out where this node is
  /// `own` (then it is to be assigned or dropped), else shared.
  void gather(std::size_t first, std::size_t last, bool own, SlotList& out);
  /// Replaces all slots.
  void assign(Slot* first, Slot* last);
  /// Makes slot `i` show as many bytes from the start of `chunk`, and hands out what it had: null for a hole.
  base::Ref<Chunk> exchange(std::size_t i, base::Ref<Chunk> chunk);
  /// Moves slot `i` out, to be replaced.
  Slot take(std::size_t i);
  /// Replaces slots [first, last] by those of `slots`, which together are as long.
  void splice(std::size_t first, std::size_t last, SlotList& slots);
  /// Child `i`, copied first when it is shared.
  ExtentNode* own_child(MemoryPool& pool, std::size_t i) {
    Target& target = targets()[i];
    if (!target->unique()) copy_child(pool, i);
    return static_cast<ExtentNode*>(target.get());
  }

 private:
  ExtentNode(MemoryPool& pool, unsigned height, std::size_t capacity);
  void dispose() override;
  void copy_child(MemoryPool& pool, std::size_t i);

  static constexpr std::size_t memory_for(std::size_t capacity) {
    return sizeof(ExtentNode) + capacity * (sizeof(std::uint64_t) + sizeof(Target) + sizeof(std::uint32_t));
  }
  // Three arrays of capacity() follow the node in its memory.
  /// Where each slot ends, from the start of this node.
  std::uint64_t* ends() const { return reinterpret_cast<std::uint64_t*>(const_cast<ExtentNode*>(this) + 1); }
  Target* targets() const { return reinterpret_cast<Target*>(ends() + capacity_); }
  std::uint32_t* offsets() const { return reinterpret_cast<std::uint32_t*>(targets() + capacity_); }

  MemoryPool* pool_;
  std::uint8_t height_;  ///< 0: leaf
  std::uint8_t count_ = 0;
  const std::uint8_t capacity_;
};

/// More nodes than are made where a tree takes the place of a part of another, or is appended to it; of `height` is the
/// higher of both. Two splits make 2 nodes on each side of every level, and to join what they leave 5, since each
/// join is of trees that are about as high; the last two joins and four copied paths make 8 for each level.
constexpr std::size_t most_new_nodes(unsigned height) { return std::size_t{32} * (height + 1); }

/// Appends a slot, merging it with the last one where both are holes or one continues the other in its chunk.
void push(SlotList& list, Slot slot, bool leaf);
/// Cuts `slot` at `at` and returns what follows. A chunk that only this slot refers to is cut too where the
/// place allows it, so that each part can be freed without the other.
Slot cut_slot(MemoryPool& pool, Slot& slot, std::uint64_t at);
/// Frees what a slot that has been cut keeps for nothing: memory of an exclusively owned chunk outside what it
/// shows, or its share in a chunk of which it shows less than a quarter, by copying that.
void settle_slot(MemoryPool& pool, Slot& slot);

/// A tree of these slots, all of one height: null for none, the subtree itself for one.
ExtentNodeRef tree_of(MemoryPool& pool, unsigned height, Slot* first, Slot* last);
ExtentNodeRef copy_node(MemoryPool& pool, ExtentNode& node);
ExtentNodeRef join(MemoryPool& pool, ExtentNodeRef a, ExtentNodeRef b);
std::pair<ExtentNodeRef, ExtentNodeRef> split(MemoryPool& pool, ExtentNodeRef node, std::uint64_t at);
/// Bytes [from, to) of `node`, sharing what it can.
ExtentNodeRef slice(MemoryPool& pool, ExtentNode& node, std::uint64_t from, std::uint64_t to);

}  // namespace handlers
