#include "handlers/memory_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cassert>

namespace handlers {

namespace {

constexpr std::size_t kWordBits = 64;
/// How many arenas are searched for one run long enough before a shorter one is taken.
constexpr std::size_t kArenasSearched = 4;
/// The same for memory to lend, where those that have no run long enough are not searched again.
constexpr std::size_t kArenasTried = 64;
/// Which part of all memory may be free when more is mapped for a whole chunk.
constexpr std::size_t kMostFreePart = 8;
}  // namespace

/// Stands at the start of its own memory.
struct Arena {
  static constexpr std::size_t kUnlisted = SIZE_MAX;

  MemoryPool* pool = nullptr;
  std::size_t free_count = 0;
  std::size_t hint = 0;  ///< where the last allocation ended, so that neighbours in time are neighbours here
  std::size_t available_at = kUnlisted;                          ///< in the pool's list of arenas with free granules
  std::size_t whole_at = kUnlisted;                              ///< in that of those with room for a whole chunk
  std::size_t empty_at = kUnlisted;                              ///< in that of empty ones
  std::array<std::uint64_t, kArenaGranules / kWordBits> free{};  ///< one bit per granule
  /// Where its chunk objects are, each at the index of its first granule.
  std::uint8_t* chunks = nullptr;

  static Arena& of(const Chunk& chunk) {
    return *reinterpret_cast<Arena*>(reinterpret_cast<std::uintptr_t>(&chunk) / kArenaSize * kArenaSize);
  }
  void* chunk_at(std::size_t granule) { return chunks + granule * sizeof(Chunk); }

  bool is_free(std::size_t granule) const { return (free[granule / kWordBits] >> (granule % kWordBits) & 1) != 0; }

  void set(std::size_t first, std::size_t count, bool value) {
    for (std::size_t granule = first; granule < first + count; ++granule) {
      std::uint64_t bit = std::uint64_t{1} << (granule % kWordBits);
      std::uint64_t& word = free[granule / kWordBits];
      word = value ? word | bit : word & ~bit;
    }
    free_count = value ? free_count + count : free_count - count;
  }

  std::size_t next_free(std::size_t from, std::size_t end) const {
    while (from < end) {
      std::uint64_t word = free[from / kWordBits] >> (from % kWordBits);
      if (word != 0) return std::min<std::size_t>(end, from + static_cast<std::size_t>(std::countr_zero(word)));
      from = (from / kWordBits + 1) * kWordBits;
    }
    return end;
  }

  std::size_t run_at(std::size_t from, std::size_t wanted) const {
    std::size_t end = std::min(kArenaGranules, from + wanted);
    std::size_t at = from;
    while (at < end && is_free(at)) ++at;
    return at - from;
  }

  /// The first run of `wanted` free granules after the hint, wrapping, else the longest one seen.
  std::size_t find(std::size_t wanted, std::size_t& first) const {
    std::size_t best = 0;
    for (auto [from, end] : {std::pair{hint, kArenaGranules}, std::pair{std::size_t{0}, hint}}) {
      for (std::size_t at = next_free(from, end); at < end;) {
        std::size_t run = run_at(at, wanted);
        if (run > best) {
          best = run;
          first = at;
          if (best == wanted) return best;
        }
        at = next_free(at + run, end);
      }
    }
    return best;
  }
};

namespace {

static_assert(sizeof(Chunk) == 16);
constexpr std::size_t kChunkTableGranules = kArenaGranules * sizeof(Chunk) / kGranule;
constexpr std::size_t kUsableGranules = kArenaGranules - 1 - kChunkTableGranules;
static_assert(sizeof(Arena) <= kGranule);
constexpr std::size_t kKeptEmpty = 1;

void release_arena(Arena& arena) { munmap(&arena, kArenaSize); }

/// Not under a pool's lock: the first touch of its memory takes from half a millisecond to several.
Arena* map_arena(MemoryPool& pool) {
  // Twice the size is reserved to find an aligned part in it; what surrounds it is given back at once.
  void* reserved = mmap(nullptr, 2 * kArenaSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  auto start = reinterpret_cast<std::uintptr_t>(reserved);
  std::uintptr_t aligned = (start + kArenaSize - 1) / kArenaSize * kArenaSize;
  if (aligned > start) munmap(reserved, aligned - start);
  munmap(reinterpret_cast<void*>(aligned + kArenaSize), start + kArenaSize - aligned);
  madvise(reinterpret_cast<void*>(aligned), kArenaSize, MADV_HUGEPAGE);
  auto* arena = new (reinterpret_cast<void*>(aligned)) Arena;
  arena->pool = &pool;
  // The table stands somewhere else in every arena: at the same place in all, its lines would fight for the same few
  // sets of the processor's caches.
  std::size_t table = 1 + aligned / kArenaSize * kChunkTableGranules % kUsableGranules;
  arena->chunks = reinterpret_cast<std::uint8_t*>(aligned + table * kGranule);
  arena->set(0, kArenaGranules, true);
  arena->set(0, 1, false);
  arena->set(table, kChunkTableGranules, false);
  return arena;
}

}  // namespace

bool Chunk::belongs_to(const MemoryPool& pool) const { return Arena::of(*this).pool == &pool; }

void Chunk::dispose() {
  Arena& arena = Arena::of(*this);
  MemoryPool* pool = arena.pool;
  std::size_t first = first_;
  std::size_t granules = granules_;
  const bool charged = charged_;
  this->~Chunk();  // before its place can be taken by another
  if (charged)
    pool->budget_.refund(granules * kGranule);
  else
    pool->uncharged_.fetch_sub(granules * kGranule, std::memory_order_relaxed);
  {
    std::lock_guard lock(pool->mutex_);
    pool->free_granules(arena, first, granules);
  }
  pool->release();
}

base::Ref<MemoryPool> MemoryPool::create(std::uint64_t limit_bytes) {
  return base::Ref<MemoryPool>(new MemoryPool(limit_bytes));
}

MemoryPool::MemoryPool(std::uint64_t limit_bytes)
    : budget_(limit_bytes),
      available_(&Arena::available_at),
      with_whole_chunk_(&Arena::whole_at),
      empty_(&Arena::empty_at) {
  kept_.reserve(kMostKept);
}

MemoryPool::~MemoryPool() {
  for (Arena* arena : available_.all()) release_arena(*arena);
}

bool MemoryPool::charge_granules(std::size_t& granules) {
  constexpr std::size_t kSlice = 16;
  while (!budget_.try_charge(granules * kGranule)) {
    if (reclaim(kSlice)) continue;
    // Nothing is left that would come free: the rest, however small.
    if (granules == 1) return budget_.try_charge(kGranule);
    granules = 1;
  }
  return true;
}

base::Ref<Chunk> MemoryPool::new_chunk(Arena& arena, std::size_t first, std::size_t granules) {
  retain();
  return base::Ref<Chunk>(new (arena.chunk_at(first)) Chunk(first, granules));
}

base::Ref<Chunk> MemoryPool::allocate(std::size_t bytes) {
  std::size_t granules = std::clamp<std::size_t>((bytes + kGranule - 1) / kGranule, 1, kMaxChunkGranules);
  if (!charge_granules(granules)) return {};
  std::size_t first = 0;
  std::size_t run = 0;
  Arena* arena = nullptr;
  {
    std::unique_lock lock(mutex_);
    while (!(arena = arena_with_space(granules, first, run)) && new_arena(lock)) continue;
    if (arena) take_granules(*arena, first, run);
  }
  budget_.refund((granules - run) * kGranule);
  return arena ? new_chunk(*arena, first, run) : base::Ref<Chunk>();
}

Arena* MemoryPool::arena_with_space(std::size_t granules, std::size_t& first, std::size_t& run) {
  Arena* best = nullptr;
  const std::vector<Arena*>& available = available_.all();
  std::size_t searched = std::min(kArenasSearched, available.size());
  for (std::size_t i = 1; i <= searched; ++i) {
    Arena* arena = available[available.size() - i];
    std::size_t found = 0;
    std::size_t length = arena->find(granules, found);
    if (length <= run) continue;
    best = arena;
    first = found;
    run = length;
    if (run == granules) break;
  }
  return best;
}

/// Null: there is no memory. Others have the lock meanwhile.
Arena* MemoryPool::new_arena(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  Arena* arena = map_arena(*this);
  lock.lock();
  if (!arena) return nullptr;
  try {
    for (ArenaList* list : {&available_, &with_whole_chunk_, &empty_}) list->reserve(arenas_ + 1);
  } catch (const std::bad_alloc&) {
    release_arena(*arena);
    return nullptr;
  }
  enlist(*arena);
  return arena;
}

/// A new arena, all of it free.
void MemoryPool::enlist(Arena& arena) {
  ++arenas_;
  free_granules_ += kUsableGranules;
  available_.add(arena);
  with_whole_chunk_.add(arena);
  empty_.add(arena);
}

void MemoryPool::delist(Arena& arena) {
  available_.remove(arena);
  with_whole_chunk_.remove(arena);
  empty_.remove(arena);
  --arenas_;
  free_granules_ -= kUsableGranules;
}

void MemoryPool::ArenaList::reserve(std::size_t arenas) {
  if (arenas > arenas_.capacity()) arenas_.reserve(2 * arenas);
}

void MemoryPool::ArenaList::add(Arena& arena) {
  if (arena.*place_ != Arena::kUnlisted) return;
  arena.*place_ = arenas_.size();
  arenas_.push_back(&arena);
}

void MemoryPool::ArenaList::remove(Arena& arena) {
  if (arena.*place_ == Arena::kUnlisted) return;
  Arena* last = arenas_.back();
  arenas_[arena.*place_] = last;
  last->*place_ = arena.*place_;
  arenas_.pop_back();
  arena.*place_ = Arena::kUnlisted;
}

void MemoryPool::take_granules(Arena& arena, std::size_t first, std::size_t count) {
  empty_.remove(arena);
  arena.set(first, count, false);
  free_granules_ -= count;
  arena.hint = (first + count) % kArenaGranules;
  if (arena.free_count == 0) available_.remove(arena);
  if (arena.free_count < kMaxChunkGranules) with_whole_chunk_.remove(arena);
}

void MemoryPool::free_granules(Arena& arena, std::size_t first, std::size_t count) {
  if (count == 0) return;
  arena.set(first, count, true);
  free_granules_ += count;
  available_.add(arena);
  if (arena.free_count >= kMaxChunkGranules) with_whole_chunk_.add(arena);
  if (arena.free_count < kUsableGranules) return;
  empty_.add(arena);
  if (empty_.all().size() <= kKeptEmpty) return;
  if (empty_wait_.load(std::memory_order_relaxed)) {
    too_many_empty_.store(true, std::memory_order_relaxed);
    return;
  }
  delist(arena);
  release_arena(arena);
}

void MemoryPool::give_back_empty() {
  Arena* arena = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (empty_.all().size() > kKeptEmpty) {
      arena = empty_.all().back();
      delist(*arena);
    }
    too_many_empty_.store(empty_.all().size() > kKeptEmpty, std::memory_order_relaxed);
  }
  if (arena) release_arena(*arena);
}

std::size_t MemoryPool::grow(Chunk& chunk, std::size_t bytes) {
  std::size_t wanted = std::min((bytes + kGranule - 1) / kGranule, kMaxChunkGranules - chunk.granules_);
  if (wanted == 0 || !budget_.try_charge(wanted * kGranule)) return 0;
  std::lock_guard lock(mutex_);
  Arena& arena = Arena::of(chunk);
  std::size_t next = std::size_t{chunk.first_} + chunk.granules_;
  std::size_t added = arena.run_at(next, wanted);
  if (added > 0) take_granules(arena, next, added);
  chunk.granules_ = static_cast<std::uint8_t>(chunk.granules_ + added);
  budget_.refund((wanted - added) * kGranule);
  return added * kGranule;
}

void MemoryPool::shrink(Chunk& chunk, std::size_t bytes) {
  std::size_t kept = (bytes + kGranule - 1) / kGranule;
  if (kept == chunk.granules_) return;
  budget_.refund((chunk.granules_ - kept) * kGranule);
  std::lock_guard lock(mutex_);
  free_granules(Arena::of(chunk), chunk.first_ + kept, chunk.granules_ - kept);
  chunk.granules_ = static_cast<std::uint8_t>(kept);
}

base::Ref<Chunk> MemoryPool::divide(Chunk& chunk, std::size_t offset) {
  std::size_t kept = offset / kGranule;
  base::Ref<Chunk> second = new_chunk(Arena::of(chunk), chunk.first_ + kept, chunk.granules_ - kept);
  chunk.granules_ = static_cast<std::uint8_t>(kept);
  return second;
}

base::Ref<Chunk> MemoryPool::lend(std::size_t bytes) {
  if (bytes == kMaxChunk && !kept_.empty()) {
    base::Ref<Chunk> chunk = std::move(kept_.back());
    kept_.pop_back();
    return chunk;
  }
  if (uncharged_.load(std::memory_order_relaxed) + bytes > kMostUncharged) return {};
  if (bytes == kMaxChunk) return new_whole_chunk();
  base::Ref<Chunk> chunk = allocate(bytes);
  if (!chunk || chunk->size() < bytes) return {};
  uncharge(*chunk);
  return chunk;
}

base::Ref<Chunk> MemoryPool::new_whole_chunk() {
  std::size_t first = 0;
  Arena* arena = nullptr;
  {
    std::unique_lock lock(mutex_);
    arena = arena_with_whole_chunk(first);
    if (!arena && may_map_for_whole_chunk()) {
      new_arena(lock);
      arena = arena_with_whole_chunk(first);
    }
    if (!arena) return {};
    take_granules(*arena, first, kMaxChunkGranules);
  }
  base::Ref<Chunk> chunk = new_chunk(*arena, first, kMaxChunkGranules);
  budget_.charge(kMaxChunk);
  uncharge(*chunk);
  return chunk;
}

void MemoryPool::uncharge(Chunk& chunk) {
  budget_.refund(chunk.size());
  chunk.charged_ = false;
  uncharged_.fetch_add(chunk.size(), std::memory_order_relaxed);
}

bool MemoryPool::charge(Chunk& chunk) {
  assert(!chunk.charged_);
  if (!budget_.try_charge(chunk.size())) return false;
  chunk.charged_ = true;
  uncharged_.fetch_sub(chunk.size(), std::memory_order_relaxed);
  return true;
}

void MemoryPool::keep(base::Ref<Chunk> chunk) {
  if (kept_.size() == kMostKept) return;
  uncharge(*chunk);
  kept_.push_back(std::move(chunk));
}

Arena* MemoryPool::arena_with_whole_chunk(std::size_t& first) {
  for (std::size_t i = 0; i < kArenasTried && !with_whole_chunk_.all().empty(); ++i) {
    Arena* arena = with_whole_chunk_.all().back();
    if (arena->find(kMaxChunkGranules, first) == kMaxChunkGranules) return arena;
    with_whole_chunk_.remove(*arena);
  }
  return nullptr;
}

/// Though granules are free elsewhere, as long as they are few.
bool MemoryPool::may_map_for_whole_chunk() const {
  return free_granules_ <= arenas_ * kArenaGranules / kMostFreePart && (arenas_ + 1) * kArenaSize <= budget_.limit();
}

void MemoryPool::bury(Sliced* object) {
  std::lock_guard lock(mutex_);
  object->next_buried_ = buried_;
  buried_ = object;
  has_buried_.store(true, std::memory_order_relaxed);
}

bool MemoryPool::reclaim(std::size_t objects) {
  for (; has_buried_.load(std::memory_order_relaxed) && objects > 0; --objects) {
    Sliced* object = nullptr;
    {
      std::lock_guard lock(mutex_);
      object = buried_;
      if (object == nullptr) return false;
      buried_ = object->next_buried_;
      has_buried_.store(buried_ != nullptr, std::memory_order_relaxed);
    }
    // Its children are released with it; the ones nobody else holds are buried in turn and, last in
    // first out, taken next: depth first, so that memory comes back early and the graveyard stays short.
    object->free_slice();
  }
  return has_buried_.load(std::memory_order_relaxed);
}

PoolUser::PoolUser(base::Ref<MemoryPool> pool) : pool_(std::move(pool)) {
  pool_->users_.fetch_add(1, std::memory_order_relaxed);
}

PoolUser::~PoolUser() {
  if (pool_->users_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  pool_->kept_.clear();  // each of them holds the pool
  while (pool_->reclaim(SIZE_MAX)) {
  }
}

}  // namespace handlers
