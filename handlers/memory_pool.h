// The memory that memory stores keep blocks in: refcounted chunks, cut from large arenas, counted against a
// budget.
//
// A chunk is a run of 1 to 16 granules of 4 KiB. Why these sizes: a granule is the page and NTFS's cluster, so
// scattered small writes cost what they write (at most 4 KiB for 512 bytes); 64 KiB is large enough for big reads
// to leave in few pieces and for a full terabyte to need few extents, and small enough to bound what one
// surviving sliver can hold. Arenas are 2 MiB, aligned, so that the kernel can back each with one huge page. Any
// free granule serves any request (a chunk may come out shorter than asked), so free memory is never out of
// reach and a new arena is mapped only when all are full; or for memory to lend, which is wanted whole, while an eighth
// at most is free. The counts stand at an arena's start, in the same huge page as the data they are about.
//
// Also the graveyard: tree nodes nobody refers to, and what released snapshots of files leave, wait here and are taken
// apart a few at a time, so that dropping a terabyte stalls nothing.
//
// Does not know what a chunk's bytes mean or who shares them. Thread: any, but for what is lent.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "base/ref.h"
#include "handlers/memory_budget.h"
#include "handlers/read_buffers.h"

namespace handlers {

class MemoryPool;
struct Arena;

constexpr std::size_t kGranule = 4096;
constexpr std::size_t kMaxChunkGranules = 16;
constexpr std::size_t kMaxChunk = kGranule * kMaxChunkGranules;

/// Memory. A reference is a pin: bytes change only while their changer holds the one reference.
class Chunk final : public base::RefCounted {
 public:
  std::uint8_t* data() const;
  std::size_t size() const { return granules_ * kGranule; }
  bool belongs_to(const MemoryPool& pool) const;

 private:
  friend class MemoryPool;
  friend struct Arena;
  Chunk(std::size_t first, std::size_t granules)
      : first_(static_cast<std::uint16_t>(first)), granules_(static_cast<std::uint8_t>(granules)) {}
  void dispose() override;

  std::uint16_t first_;  ///< granule in the arena; the chunk object itself stands in the arena, too
  std::uint8_t granules_;
  bool charged_ = true;  ///< counted against the budget; not while it is lent, or kept to be
};

constexpr std::size_t kArenaGranules = 512;
constexpr std::size_t kArenaSize = kArenaGranules * kGranule;

inline std::uint8_t* Chunk::data() const {
  auto arena = reinterpret_cast<std::uintptr_t>(this) / kArenaSize * kArenaSize;
  return reinterpret_cast<std::uint8_t*>(arena + first_ * kGranule);
}

/// Something with children, freed by the pool in slices.
class Sliced : public base::RefCounted {
 private:
  friend class MemoryPool;
  /// Frees it but for what is buried again: children, or itself. Thread: any, and whoever calls reclaim() or
  /// allocate() holds no lock that this takes.
  virtual void free_slice() { delete this; }
  Sliced* next_buried_ = nullptr;
};

class MemoryPool final : public base::RefCounted {
 public:
  static base::Ref<MemoryPool> create(std::uint64_t limit_bytes = MemoryBudget::kUnlimited);

  MemoryBudget& budget() { return budget_; }
  ReadBuffers& read_buffers() { return read_buffers_; }

  /// A chunk of at least one granule and at most `bytes` (rounded up) or kMaxChunk; shorter where memory is
  /// fragmented, so callers loop. Its content is arbitrary. Null: the limit, or the machine's memory, is reached.
  base::Ref<Chunk> allocate(std::size_t bytes);

  /// Extends a chunk in place by up to `bytes`; returns how many were added (none when what follows is taken).
  /// The caller holds its only reference; so it does for the next two.
  std::size_t grow(Chunk& chunk, std::size_t bytes);
  /// Frees the granules beyond the first `bytes`.
  void shrink(Chunk& chunk, std::size_t bytes);
  /// Cuts a chunk in two at `offset`, a multiple of kGranule inside it; returns the second part.
  base::Ref<Chunk> divide(Chunk& chunk, std::size_t offset);

  /// A chunk of at least `bytes` (at most kMaxChunk) that is to be filled and will perhaps be part of a store. It is
  /// not charged. Null where there is none in one piece, or so many are lent that the machine would notice. Thread:
  /// this and the next three one at a time, for all stores of the pool.
  base::Ref<Chunk> lend(std::size_t bytes);
  /// A chunk that was lent becomes part of a store. False: the limit is reached.
  bool charge(Chunk& chunk);
  /// It does not, or no longer.
  void uncharge(Chunk& chunk);
  /// Keeps a chunk of kMaxChunk bytes that nobody else refers to, to be lent without a lock.
  void keep(base::Ref<Chunk> chunk);
  static constexpr std::size_t kMostKept = 256;
  static constexpr std::uint64_t kMostUncharged = 64 << 20;  ///< bytes, lent and kept

  /// From now on arenas that are empty wait for give_back_empty(): giving one back takes some hundred microseconds of
  /// whoever frees its last granule.
  void let_empty_wait() { empty_wait_.store(true, std::memory_order_relaxed); }
  /// Whether give_back_empty() has something to do.
  bool has_empty() const { return too_many_empty_.load(std::memory_order_relaxed); }
  /// Gives the system back an arena that is empty, unless it is the only one.
  void give_back_empty();

  /// Takes over an object nobody refers to any more; it is freed by later reclaim()s.
  void bury(Sliced* object);
  /// Frees up to `objects` buried ones (a node with its up to 32 references: about 5 microseconds) or slices of them.
  /// For the loop to call when idle; stores call it in small amounts themselves. Returns whether more wait.
  bool reclaim(std::size_t objects);

 private:
  friend class Chunk;
  friend class PoolUser;

  explicit MemoryPool(std::uint64_t limit_bytes);
  ~MemoryPool() override;

  bool charge_granules(std::size_t& granules);
  base::Ref<Chunk> new_whole_chunk();
  base::Ref<Chunk> new_chunk(Arena& arena, std::size_t first, std::size_t granules);
  Arena* arena_with_space(std::size_t granules, std::size_t& first, std::size_t& run);
  Arena* arena_with_whole_chunk(std::size_t& first);
  bool may_map_for_whole_chunk() const;
  void take_granules(Arena& arena, std::size_t first, std::size_t count);
  void free_granules(Arena& arena, std::size_t first, std::size_t count);
  Arena* new_arena(std::unique_lock<std::mutex>& lock);
  void enlist(Arena& arena);
  void delist(Arena& arena);

  MemoryBudget budget_;
  ReadBuffers read_buffers_;
  std::mutex mutex_;
  /// Arenas, each of which knows its place in a list; the last is served from first.
  class ArenaList {
   public:
    explicit ArenaList(std::size_t Arena::* place) : place_(place) {}
    const std::vector<Arena*>& all() const { return arenas_; }
    /// Sees to it that so many can be added without memory.
    void reserve(std::size_t arenas);
    void add(Arena& arena);
    void remove(Arena& arena);

   private:
    std::size_t Arena::* place_;
    std::vector<Arena*> arenas_;
  };
  ArenaList available_;         ///< with free granules
  ArenaList with_whole_chunk_;  ///< perhaps with enough in one piece for a whole chunk
  ArenaList empty_;             ///< one is kept, so that a store at its edge maps nothing
  std::atomic<bool> empty_wait_{false};
  std::atomic<bool> too_many_empty_{false};
  std::size_t arenas_ = 0;              ///< mapped
  std::size_t free_granules_ = 0;       ///< in them
  std::vector<base::Ref<Chunk>> kept_;  ///< whole chunks
  std::atomic<std::uint64_t> uncharged_{0};
  Sliced* buried_ = nullptr;
  std::atomic<bool> has_buried_{false};
  std::atomic<std::size_t> users_{0};
};

/// Held by whatever owns trees (stores, snapshots). The last one to go empties the graveyard, because nobody is
/// left to call reclaim().
class PoolUser {
 public:
  explicit PoolUser(base::Ref<MemoryPool> pool);
  PoolUser(const PoolUser& other) : PoolUser(other.pool_) {}
  PoolUser& operator=(const PoolUser&) = delete;
  ~PoolUser();
  MemoryPool& operator*() const { return *pool_; }
  MemoryPool* operator->() const { return pool_.get(); }

 private:
  base::Ref<MemoryPool> pool_;
};

}  // namespace handlers
