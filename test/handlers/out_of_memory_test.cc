// Stores when operator new fails, in each allocation of an operation, once or from then on: nothing is lost, and what
// throws has changed nothing.
//
// A program of its own, because it replaces operator new.
//
// Not tested, and why: file images, which allocate for messages of errors alone.
#include <doctest/doctest.h>

#include <malloc.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "file_store_fixture.h"
#include "handlers/memory_usage.h"
#include "store_kinds.h"

namespace {

constexpr std::uint64_t kNever = UINT64_MAX;
std::uint64_t until_failure = kNever;  ///< how many allocations work
bool fails_once = false;

/// What is freed stays here: the system takes most of the time to take it back, and to give it again.
[[maybe_unused]] const bool kept_here =
    mallopt(M_MMAP_THRESHOLD, 16 << 20) == 1 && mallopt(M_TRIM_THRESHOLD, 64 << 20) == 1;

}  // namespace

void* operator new(std::size_t size) {
  if (until_failure == 0) {
    if (fails_once) until_failure = kNever;
    throw std::bad_alloc();
  }
  if (until_failure != kNever) --until_failure;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
// Not inline: the compiler would take free() for the wrong way to give back what new has handed out.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace handlers {
namespace {

using file_test::kKiB;
using file_test::kMiB;

using Operation = std::function<IoResult<void>(BackingStore&)>;

enum class Failing { once, from_then_on };

/// How an operation went whose allocation number `allocations` fails.
struct Attempt {
  bool met_failure = false;
  std::optional<IoResult<void>> result{};  ///< none: std::bad_alloc
  bool worked() const { return result && *result; }
};

/// One failure in this thread, which may have kept memory from what it did before; more in a new one, which has not.
Attempt attempt(const Operation& operation, BackingStore& store, std::uint64_t allocations, Failing failing) {
  Attempt attempt;
  const auto try_it = [&] {
    fails_once = failing == Failing::once;
    until_failure = allocations;
    try {
      attempt.result = operation(store);
    } catch (const std::bad_alloc&) {
    }
    attempt.met_failure = until_failure == (fails_once ? kNever : 0);
    until_failure = kNever;
  };
  failing == Failing::once ? try_it() : std::thread(try_it).join();
  return attempt;
}

/// The pool of all worlds: to map memory for each takes long.
const base::Ref<MemoryPool>& all_memory() {
  static const base::Ref<MemoryPool> pool = MemoryPool::create();
  return pool;
}

/// Stores of one pool, and what they are changed with.
struct World {
  base::Ref<MemoryPool> pool = all_memory();
  std::unique_ptr<BackingStore> store{};
  std::unique_ptr<MemoryStore> source{};
  std::vector<SnapshotRef> snapshots{};
  Loan loan{};

  Content all() const { return read_all(*store); }
  std::vector<Content> captured() const {
    std::vector<Content> contents;
    for (const SnapshotRef& snapshot : snapshots) contents.push_back(read_all(*snapshot));
    return contents;
  }
  /// Bytes in use when nothing waits to be freed.
  std::uint64_t used() const {
    while (pool->reclaim(SIZE_MAX)) continue;
    return pool->budget().used();
  }
};

/// Whether each byte is as it was or as it was to be.
bool between(const Content& now, const Content& before, const Content& after) {
  if (now.size() != before.size()) return now == after;
  for (std::size_t i = 0; i < now.size(); ++i)
    if (now[i] != before[i] && (i >= after.size() || now[i] != after[i])) return false;
  return true;
}

void check_structure(const World& world) {
  auto* memory = dynamic_cast<const MemoryStore*>(world.store.get());
  if (!memory) return;
  CHECK(memory->tree().broken_rule() == "");
  const std::uint64_t used = world.used();
  MemoryUsage usage;
  count_all(*memory, usage);
  if (world.source) count_all(*world.source, usage);
  for (const SnapshotRef& snapshot : world.snapshots) count_all(*snapshot, usage);
  CHECK(usage.bytes() == used);
}

/// An operation is done or not, or any part of it may be. Then there may be a little more in use in the end: nodes, and
/// the rest of a granule.
enum class Kind { whole, in_pieces };
constexpr std::uint64_t kLittle = 2 * kGranule;

/// Lets every allocation of `operation` fail in a world of its own, and then does it again; after `other`, where
/// there is one.
void sweep(Kind kind, const std::function<World()>& make, const std::function<Operation(World&)>& operation_in,
           const Operation& other = nullptr) {
  Content after;
  Content after_both;
  std::uint64_t used_after = 0;
  {
    World world = make();
    const Operation operation = operation_in(world);
    REQUIRE(operation(*world.store));
    after = world.all();
    used_after = world.used();
    if (other) {
      REQUIRE(other(*world.store));
      REQUIRE(operation(*world.store));
    }
    after_both = world.all();
  }
  for (Failing failing : {Failing::once, Failing::from_then_on}) {
    CAPTURE(static_cast<int>(failing));
    // A new thread first makes the many nodes of its reserve, one like the other.
    const std::uint64_t step = failing == Failing::once ? 1 : 7;
    for (std::uint64_t allocations = 0;; allocations += allocations < step ? 1 : step) {
      CAPTURE(allocations);
      World world = make();
      const Content before = world.all();
      const Operation operation = operation_in(world);
      const std::vector<Content> captured = world.captured();
      const std::uint64_t used_before = world.used();
      const Attempt tried = attempt(operation, *world.store, allocations, failing);
      REQUIRE(world.store->size_bytes() == (tried.worked() ? after : before).size());
      const Content now = world.all();
      if (tried.worked()) {
        CHECK(now == after);
      } else if (kind == Kind::whole) {
        CHECK(now == before);
        CHECK(world.used() == used_before);
      } else {
        CHECK(between(now, before, after));
      }
      CHECK(world.captured() == captured);
      check_structure(world);
      if (other) {
        REQUIRE(other(*world.store));
        CHECK(world.captured() == captured);
      }
      const Operation again = operation_in(world);
      REQUIRE(again(*world.store));
      CHECK(world.all() == after_both);
      CHECK(world.captured() == captured);
      if (!tried.worked() && !other) {
        if (kind == Kind::whole) CHECK(world.used() == used_after);
        CHECK(world.used() <= used_after + kLittle);
      }
      check_structure(world);
      const base::Ref<MemoryPool> pool = world.pool;
      world = {};
      while (pool->reclaim(SIZE_MAX)) continue;
      CHECK(pool->budget().used() == 0);
      if (!tried.met_failure) break;
    }
  }
}

constexpr std::uint64_t kSize = 256 * kKiB;  ///< of a memory store
constexpr std::uint64_t kFile = 512 * kKiB;
constexpr std::uint64_t kSlots = 32;  ///< of a leaf
constexpr std::uint64_t kStep = 2 * kSize / kSlots;
constexpr std::uint64_t kOther = kSize / 2 + 3 * 512;

const Content& old_data() {
  static const Content data = content(kSize, 1);
  return data;
}
const Content& new_data() {
  static const Content data = content(kFile, 7);
  return data;
}
base::Bytes new_bytes(std::size_t size) { return base::Bytes(new_data()).first(size); }

/// As many extents as fit, in several levels of nodes.
World fragmented(bool shared) {
  World world;
  world.store = std::make_unique<MemoryStore>(kSize, world.pool);
  REQUIRE(world.store->write(0, old_data()));
  for (std::uint64_t at = 0; at < kSize; at += 1024) world.store->unmap({at, 512}).value();
  if (shared) world.snapshots.push_back(capture(*world.store, {{0, kSize}}));
  return world;
}

World solid(bool shared) {
  World world;
  world.store = std::make_unique<MemoryStore>(kSize, world.pool);
  REQUIRE(world.store->write(0, base::Bytes(old_data()).first(kSize / 2)));
  if (shared) world.snapshots.push_back(capture(*world.store, {{0, kSize}}));
  return world;
}

/// A leaf that has no room for more: 4 KiB of data in every `step`, the last of which can grow, and holes.
World full_leaf(std::uint64_t step) {
  World world;
  world.store = std::make_unique<MemoryStore>(kSize, world.pool);
  for (std::uint64_t i = 0; i < kSlots / 2; ++i) REQUIRE(world.store->write(i * step, content(4096, 1)));
  return world;
}

void sweep_memory(Kind kind, const std::function<Operation(World&)>& operation_in) {
  for (World (*make)(bool) : {&fragmented, &solid})
    for (bool shared : {false, true}) {
      CAPTURE(shared);
      sweep(kind, [&] { return make(shared); }, operation_in);
    }
}

void sweep_memory_alike(Kind kind, const Operation& operation) {
  sweep_memory(kind, [&](World&) { return operation; });
}

/// Captures, and lets go of it.
IoResult<void> try_capture(BackingStore& store, std::initializer_list<ByteRange> ranges) {
  auto captured = store.capture(ranges);
  if (!captured) return std::unexpected(captured.error());
  return {};
}

TEST_CASE("memory that runs out in a write to a memory store") {
  for (auto [offset, size] : {std::pair<std::uint64_t, std::size_t>{0, 512},
                              {4096, 4096},
                              {kOther, 700},
                              {kSize / 4 + 1536, kSize / 2},
                              {kSize - 5000, 5000}}) {
    CAPTURE(offset);
    sweep_memory_alike(Kind::in_pieces, [&](BackingStore& store) { return store.write(offset, new_bytes(size)); });
  }
  sweep(
      Kind::in_pieces, [] { return full_leaf(kStep); },
      [](World&) {
        return [](BackingStore& store) { return store.write(kSize - kStep + 4096, new_bytes(3 * kGranule)); };
      });
}

TEST_CASE("memory that runs out where a memory store is given memory that was lent") {
  for (std::uint64_t offset : {std::uint64_t{0}, kSize / 4 + 1536, kSize / 2}) {
    CAPTURE(offset);
    const auto lent = [offset](World& world) -> Operation {
      REQUIRE(world.loan.empty());
      // Where memory is in pieces it is not lent.
      if (!world.store->lend({offset, kSize / 2}, world.loan))
        return [offset](BackingStore& store) { return store.write(offset, new_bytes(kSize / 2)); };
      std::size_t done = 0;
      for (LoanPart& part : world.loan) {
        std::copy_n(new_data().begin() + static_cast<std::ptrdiff_t>(done), part.bytes.size(), part.bytes.begin());
        done += part.bytes.size();
      }
      return [&, offset](BackingStore& store) { return store.write_lent(offset, world.loan); };
    };
    sweep_memory(Kind::in_pieces, lent);
    sweep(Kind::in_pieces, [] { return full_leaf(2 * kGranule); }, lent);
  }
}

TEST_CASE("memory that runs out where a memory store unmaps, or is filled with a pattern") {
  for (ByteRange range :
       {ByteRange{0, 512}, {kOther, 700}, {4096, 2 * kMaxChunk}, {kOther / 2, kSize / 2}, {0, kSize}}) {
    CAPTURE(range.offset);
    CAPTURE(range.length);
    sweep_memory_alike(Kind::whole, [&](BackingStore& store) { return store.unmap(range); });
  }
  sweep_memory_alike(Kind::whole,
                     [](BackingStore& store) { return store.write_same({kOther / 2, kSize / 2}, new_bytes(512)); });
}

TEST_CASE("memory that runs out in a clone") {
  for (auto [range, offset] : {std::pair<ByteRange, std::uint64_t>{{0, kSize / 2}, kOther / 2},
                               {{kOther / 2, kSize / 4}, kSize / 2},
                               {{1024, 512}, 0},
                               {{0, kSize}, 0}}) {
    CAPTURE(offset);
    CAPTURE(range.length);
    sweep_memory(Kind::whole, [&](World& world) -> Operation {
      if (!world.source) {
        world.source = std::make_unique<MemoryStore>(kSize, world.pool);
        for (std::uint64_t at = 0; at < kSize; at += 8192) REQUIRE(world.source->write(at, new_bytes(2048)));
        world.snapshots.push_back(capture(*world.source, {{0, kSize}}));
      }
      return [&, range, offset](BackingStore& store) {
        return store.clone(*world.snapshots.back(), range, offset, nullptr);
      };
    });
  }
}

TEST_CASE("memory that runs out where a memory store is captured or has another size") {
  sweep_memory_alike(Kind::whole, [](BackingStore& store) {
    return try_capture(store, {{kOther, 512}, {0, kSize}, {kOther / 2, kSize / 2}});
  });
  for (std::uint64_t size : {2 * kSize, kOther})
    sweep_memory_alike(Kind::whole, [&](BackingStore& store) { return store.resize(size); });
}

/// A file with some snapshots, whose originals are in pieces.
World file_world(TemporaryFolder& folder) {
  static int number = 0;
  World world;
  FileStoreOptions options;
  options.path = folder.file(std::to_string(number++) + ".img");
  options.create_size = kFile;
  options.pool = world.pool;
  world.store = std::make_unique<FileStore>(options);
  REQUIRE(world.store->write(0, content(kFile / 2, 1)));
  world.snapshots.push_back(capture(*world.store, {{4096, 32 * kKiB}, {64 * kKiB, 128 * kKiB}}));
  REQUIRE(world.store->write(8192, content(4096, 2)));
  REQUIRE(world.store->write(100 * kKiB, content(4096, 2)));
  world.snapshots.push_back(capture(*world.store, {{0, 128 * kKiB}, {kFile / 2, 64 * kKiB}}));
  return world;
}

void sweep_file(Kind kind, const Operation& operation, const Operation& other = nullptr) {
  TemporaryFolder folder;
  sweep(kind, [&] { return file_world(folder); }, [&](World&) { return operation; }, other);
}

TEST_CASE("memory that runs out where a file store keeps what snapshots need") {
  for (ByteRange range : {ByteRange{0, 2048},
                          {4096, 4096},
                          {12 * kKiB, 4096},
                          {20 * kKiB, 4096},
                          {90 * kKiB, 30 * kKiB},
                          {0, 300 * kKiB}}) {
    CAPTURE(range.offset);
    CAPTURE(range.length);
    const Operation write = [&](BackingStore& store) {
      return store.write(range.offset, new_bytes(static_cast<std::size_t>(range.length)));
    };
    sweep_file(Kind::in_pieces, write);
    // A part of it, and what is next to it.
    sweep_file(Kind::in_pieces, write,
               [&](BackingStore& store) { return store.write(range.offset + 1024, new_bytes(512)); });
    sweep_file(Kind::in_pieces, write, [&](BackingStore& store) { return store.write(range.end(), new_bytes(16384)); });
    if (range.offset > 0)
      sweep_file(Kind::in_pieces, write,
                 [&](BackingStore& store) { return store.write(range.offset - 2048, new_bytes(2048)); });
  }
  sweep_file(Kind::in_pieces, [](BackingStore& store) { return store.unmap({2048, 200 * kKiB}); });
}

TEST_CASE("memory that runs out where a file store is captured") {
  sweep_file(Kind::whole, [](BackingStore& store) {
    return try_capture(store, {{2048, 512}, {0, kFile}, {10 * kKiB, kFile / 4}, {300 * kKiB, 512}});
  });
}

/// All chunks of some arenas.
std::vector<base::Ref<Chunk>> fill_arenas(MemoryPool& pool, std::size_t arenas) {
  std::vector<base::Ref<Chunk>> chunks;
  while (chunks.size() < arenas * kArenaGranules) chunks.push_back(pool.allocate(kGranule));
  return chunks;
}

TEST_CASE("memory that runs out where a pool maps more") {
  MemoryStore nothing(0);
  for (Failing failing : {Failing::once, Failing::from_then_on})
    for (std::size_t bytes : {kGranule, kMaxChunk}) {
      base::Ref<MemoryPool> pool = MemoryPool::create();
      std::vector<base::Ref<Chunk>> chunks;
      int failed = 0;
      for (int i = 0; i < 2000; ++i) {
        const std::uint64_t used = pool->budget().used();
        base::Ref<Chunk> chunk;
        const Operation allocate = [&](BackingStore&) -> IoResult<void> {
          chunk = i % 2 == 0 ? pool->allocate(bytes) : pool->lend(bytes);
          return {};
        };
        CHECK(attempt(allocate, nothing, 0, failing).worked());
        if (!chunk) {
          ++failed;
          CHECK(pool->budget().used() == used);
          chunk = pool->allocate(bytes);
        }
        REQUIRE(chunk);
        chunks.push_back(std::move(chunk));
      }
      CHECK(failed > 0);
      chunks.clear();
      CHECK(pool->budget().used() == 0);
    }
}

TEST_CASE("a pool takes chunks back when there is no memory to be had") {
  MemoryStore nothing(0);
  const base::Ref<MemoryPool> pool = MemoryPool::create();
  auto chunks = fill_arenas(*pool, 5);
  CHECK(attempt(
            [&](BackingStore&) -> IoResult<void> {
              for (auto& chunk : chunks) chunk = {};
              return {};
            },
            nothing, 0, Failing::from_then_on)
            .worked());
  CHECK(pool->budget().used() == 0);
}

TEST_CASE("a snapshot is released, and memory given back, when there is no more to be had") {
  TemporaryFolder folder;
  for (int kind = 0; kind < 3; ++kind) {
    CAPTURE(kind);
    World world = kind == 0 ? fragmented(true) : kind == 1 ? solid(true) : file_world(folder);
    const base::Ref<MemoryPool> pool = world.pool;
    attempt(
        [&](BackingStore&) -> IoResult<void> {
          world = {};
          while (pool->reclaim(SIZE_MAX)) continue;
          return {};
        },
        *world.store, 0, Failing::from_then_on);
    CHECK(pool->budget().used() == 0);
  }
}

}  // namespace
}  // namespace handlers
