// What memory is held for, told apart by a walk.
// Not tested, and why: time (test/bench/store_bench.cc prints it), memory pinned by reads (no store or snapshot has
// it).
#include "handlers/memory_usage.h"

#include <doctest/doctest.h>

#include <random>

#include "handlers/joined_snapshot.h"
#include "store_kinds.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kNode = 1024;  // more than a node costs
/// What is cut out of shared chunks keeps, or gives back, up to one chunk at either end.
constexpr std::uint64_t kEdges = 2 * kMaxChunk;

struct Fixture {
  base::Ref<MemoryPool> pool = MemoryPool::create();
  PoolUser user{pool};  // goes after all that has nodes of the pool
  MemoryUsage usage;

  std::uint64_t count(const BackingStore& store) {
    return usage.count([&] { count_all(store, usage); });
  }
  std::uint64_t count(const SnapshotRef& snapshot) {
    return usage.count([&] { count_all(*snapshot, usage); });
  }
  std::uint64_t used() {
    while (pool->reclaim(1000)) {
    }
    return pool->budget().used() - pool->budget().structure();
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "stores and snapshots together hold what the pool has given out, each byte counted once") {
  MemoryStore first(kGiB, pool);
  MemoryStore second(kGiB, pool);
  std::mt19937_64 random(1);
  std::vector<SnapshotRef> snapshots;
  for (unsigned i = 0; i < 500; ++i) {
    MemoryStore& store = i % 3 == 0 ? second : first;
    std::uint64_t at = random() % (kGiB / 512 - 4096) * 512;
    REQUIRE(store.write(at, content(static_cast<std::size_t>(random() % 200 + 1) * 512, i)));
    if (i % 10 == 0) snapshots.push_back(capture(store, {{at / 2, kMiB}, {0, kGiB}}));
    if (i % 7 == 0 && !snapshots.empty())
      REQUIRE(second.clone(*snapshots[random() % snapshots.size()], {512, 700 * kKiB}, at / 4096 * 512, nullptr));
  }
  count(first);
  count(second);
  std::uint64_t stores = usage.bytes();
  for (const SnapshotRef& snapshot : snapshots) count(snapshot);
  CHECK(usage.bytes() == used());
  CHECK(usage.bytes() > stores);
  for (const SnapshotRef& snapshot : snapshots) CHECK(count(snapshot) == 0);
  snapshots.clear();
  usage = {};  // a walk holds what it met
  CHECK(used() == stores);
}

TEST_CASE_FIXTURE(Fixture, "a snapshot represents its size and keeps only what its store has overwritten since") {
  MemoryStore store(kGiB, pool);
  REQUIRE(store.write(0, content(4 * kMiB, 1)));
  SnapshotRef snapshot = capture(store, {{0, 512 * kMiB}});
  SUBCASE("nothing") {
    count(store);
    CHECK(count(snapshot) < 4 * kNode);
  }
  SUBCASE("a quarter") {
    REQUIRE(store.write(kMiB, content(kMiB, 2)));
    count(store);
    std::uint64_t kept = count(snapshot);
    CHECK(kept >= kMiB - kEdges);
    CHECK(kept < kMiB + kEdges);
  }
  SUBCASE("everything, by unmapping") {
    REQUIRE(store.unmap({0, kGiB}));
    count(store);
    CHECK(count(snapshot) >= 4 * kMiB);
    CHECK(usage.bytes() == used());
  }
  CHECK(snapshot->size_bytes() == 512 * kMiB);
}

TEST_CASE_FIXTURE(Fixture, "what two snapshots keep is put down to the first") {
  MemoryStore store(kGiB, pool);
  REQUIRE(store.write(0, content(4 * kMiB, 1)));
  SnapshotRef first = capture(store, {{0, 4 * kMiB}});
  SnapshotRef second = capture(store, {{kMiB, 4 * kMiB}});
  REQUIRE(store.unmap({0, kGiB}));
  count(store);
  SUBCASE("in one order") {
    CHECK(count(first) >= 4 * kMiB);
    CHECK(count(second) < 8 * kNode);
  }
  SUBCASE("in the other") {
    CHECK(count(second) >= 3 * kMiB - kEdges);
    std::uint64_t rest = count(first);
    CHECK(rest >= kMiB - kEdges);
    CHECK(rest < kMiB + kEdges);
  }
}

TEST_CASE_FIXTURE(Fixture, "what another store still shows is not kept by a snapshot") {
  MemoryStore store(kGiB, pool);
  MemoryStore other(kGiB, pool);
  REQUIRE(store.write(0, content(4 * kMiB, 1)));
  SnapshotRef snapshot = capture(store, {{0, 4 * kMiB}});
  REQUIRE(other.clone(*snapshot, {0, 3 * kMiB}, 5 * 512, nullptr));
  REQUIRE(store.unmap({0, kGiB}));
  count(store);
  count(other);
  std::uint64_t kept = count(snapshot);
  CHECK(kept >= kMiB - kEdges);
  CHECK(kept < kMiB + kEdges);
}

TEST_CASE_FIXTURE(Fixture, "a file's snapshots keep what was saved for them, once, and its store nothing") {
  TemporaryFolder folder;
  FileStoreOptions options;
  options.path = folder.file("disk.img");
  options.create_size = 16 * kMiB;
  options.pool = pool;
  FileStore store(options);
  REQUIRE(store.write(0, content(4 * kMiB, 1)));
  SnapshotRef first = capture(store, {{0, 16 * kMiB}});
  SnapshotRef second = capture(store, {{kMiB, 4 * kMiB}});
  count(store);
  CHECK(usage.bytes() == 0);
  CHECK(count(first) == 0);
  REQUIRE(store.write(kMiB, content(256 * kKiB, 2)));
  REQUIRE(store.write(8 * kMiB, content(256 * kKiB, 2)));  // holes are remembered for nothing
  MemoryUsage later;
  auto kept = [&](const SnapshotRef& snapshot) { return later.count([&] { count_all(*snapshot, later); }); };
  CHECK(kept(second) == 256 * kKiB);
  CHECK(kept(first) == 0);
  CHECK(later.bytes() == used());
}

TEST_CASE_FIXTURE(Fixture, "a shared subtree is walked once however many snapshots refer to it") {
  MemoryStore store(kGiB, pool);
  Content block = content(4096, 1);
  for (std::uint64_t at = 0; at < kGiB; at += kGiB / 4096) REQUIRE(store.write(at, block));
  std::vector<SnapshotRef> snapshots;
  for (std::uint64_t i = 0; i < 5000; ++i) snapshots.push_back(capture(store, {{i * 512, kGiB / 2}}));
  REQUIRE(store.unmap({0, kGiB}));
  count(store);
  std::uint64_t first = count(snapshots.front());
  CHECK(first >= 2048 * 4096);
  // 5000 walks of 2048 extents each would take seconds; each of these takes the few nodes at its ends.
  for (const SnapshotRef& snapshot : snapshots) count(snapshot);
  CHECK(usage.bytes() == used());
}

TEST_CASE_FIXTURE(Fixture, "a walk in steps counts what a walk at once does, a few leaves at a time") {
  MemoryStore first(kGiB, pool);
  MemoryStore second(kGiB, pool);
  std::mt19937_64 random(2);
  std::vector<SnapshotRef> snapshots;
  for (unsigned i = 0; i < 3000; ++i) {
    MemoryStore& store = i % 3 == 0 ? second : first;
    REQUIRE(store.write(random() % (kGiB / 4096) * 4096, content(4096, i)));
    if (i % 100 == 0) snapshots.push_back(capture(store, {{random() % (kGiB / 1024) * 512, kMiB}, {0, kGiB}}));
    if (i % 500 == 499) REQUIRE(second.clone(*snapshots.back(), {512, kGiB / 2}, 4096, nullptr));
  }
  const std::vector<std::uint8_t> pattern(512, 7);
  REQUIRE(second.write_same({kGiB / 2, kGiB / 4}, pattern));  // one subtree over and over
  std::vector<std::uint64_t> at_once;
  at_once.push_back(count(first));
  at_once.push_back(count(second));
  for (const SnapshotRef& snapshot : snapshots) at_once.push_back(count(snapshot));
  for (const std::size_t most : {1, 2, 7, 1000}) {
    MemoryUsage later;
    std::vector<std::uint64_t> in_steps;
    std::size_t steps = 0;
    const auto walk = [&](const auto& what) {
      in_steps.push_back(later.count([&] {
        for (std::uint64_t position = 0; position < what.size_bytes(); ++steps) {
          std::size_t left = most;
          const std::uint64_t stopped = what.count_memory(later, position, left);
          REQUIRE((stopped > position && (left == 0 || stopped == what.size_bytes())));
          position = stopped;
        }
      }));
    };
    walk(first);
    walk(second);
    for (const SnapshotRef& snapshot : snapshots) walk(*snapshot);
    CHECK(in_steps == at_once);
    if (most == 1) CHECK(steps > 3000 / 64);
  }
}

TEST_CASE_FIXTURE(Fixture,
                  "what is saved for files' snapshots is counted in steps as at once, a few pieces at a time") {
  constexpr std::uint64_t kBlocks = 600;
  constexpr ByteRange kAll{0, 2 * kBlocks * 4096};
  FileKind kind;
  kind.pool = pool;
  const auto store = kind.make(kAll.length);
  REQUIRE(store->write(0, content(kAll.length, 1)));
  std::vector<SnapshotRef> snapshots;
  for (std::uint64_t i = 0; i < 3 * kBlocks; ++i) {
    // The second has as many pieces as the first has been left in, and the third is of a part of them.
    if (i == 0 || i == kBlocks) snapshots.push_back(capture(*store, {kAll}));
    if (i == kBlocks * 3 / 2) snapshots.push_back(capture(*store, {{kAll.length / 4 + 512, kAll.length / 2}, kAll}));
    REQUIRE(store->write(i * 7 % (2 * kBlocks) * 4096, content(4096, 2)));
  }
  snapshots.push_back(base::make_ref<const JoinedSnapshot>(snapshots));
  std::swap(snapshots.front(), snapshots.back());
  std::vector<std::uint64_t> at_once;
  for (const SnapshotRef& snapshot : snapshots) at_once.push_back(count(snapshot));
  REQUIRE(usage.bytes() == used());
  REQUIRE(usage.bytes() > 2 * kBlocks * 4096);
  for (const std::size_t most : {1, 2, 7, 100000}) {
    MemoryUsage later;
    std::vector<std::uint64_t> in_steps;
    std::size_t steps = 0;
    for (const SnapshotRef& snapshot : snapshots)
      in_steps.push_back(later.count([&] {
        for (std::uint64_t position = 0; position < snapshot->size_bytes(); ++steps) {
          std::size_t left = most;
          const std::uint64_t before = later.bytes();
          position = snapshot->count_memory(later, position, left);
          REQUIRE((left == 0 || position == snapshot->size_bytes()));
          REQUIRE(later.bytes() - before <= most * 4 * 4096);
        }
      }));
    CHECK(in_steps == at_once);
    if (most == 1) CHECK(steps > 2 * kBlocks / 4);
    if (most == 100000) CHECK(steps == snapshots.size());
  }
}

TEST_CASE_FIXTURE(Fixture, "parts that were counted before are passed by in one step, each for one of its nodes") {
  MemoryStore store(kGiB, pool);
  REQUIRE(store.write(0, content(4096, 1)));
  std::vector<SnapshotRef> parts;
  for (int i = 0; i < 5; ++i) parts.push_back(capture(store, {{0, kMiB}}));
  for (const SnapshotRef& part : parts) count(part);
  const JoinedSnapshot joined(parts);
  std::size_t left = 10;
  CHECK(joined.count_memory(usage, 0, left) == joined.size_bytes());
  CHECK(left == 5);
  left = 2;
  CHECK(joined.count_memory(usage, 0, left) == 2 * kMiB);
  CHECK(left == 0);
}

TEST_CASE_FIXTURE(Fixture, "a store may change between two steps of a walk, and what stays is counted right") {
  MemoryStore store(kGiB, pool);
  MemoryStore other(kGiB, pool);
  for (std::uint64_t i = 0; i < 2000; ++i) REQUIRE(store.write(i * 8192, content(4096, 1)));
  SnapshotRef token = capture(store, {{0, kGiB}});
  SnapshotRef goes = capture(store, {{0, kGiB}});
  REQUIRE(other.clone(*token, {0, kGiB}, 0, nullptr));
  std::mt19937_64 random(3);
  std::size_t steps = 0;
  for (const MemoryStore* walked : {&store, &other})
    for (std::uint64_t position = 0; position < kGiB; ++steps) {
      std::size_t left = 1;
      position = walked->count_memory(usage, position, left);
      // Whatever it does here copies nodes of the shared tree, and frees others.
      REQUIRE(store.write(random() % 2000 * 8192, content(4096, 2)));
      REQUIRE(other.unmap({kGiB / 2 + random() % 1000 * 8192, 4096}));
      if (steps == 5) goes = {};
      pool->reclaim(100);
    }
  CHECK(steps > 60);
  // The other store shows all that the token has, and did all the time.
  CHECK(count(token) < 200 * kNode);
}
