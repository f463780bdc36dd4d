// Old data that a file store keeps for its snapshots: where it is saved, what is freed and counted, several threads.
// Not tested here: that the system's memory ends before the limit does (out_of_memory_test.cc).
#include <doctest/doctest.h>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <thread>

#include "file_store_fixture.h"
#include "handlers/file_originals.h"
#include "handlers/memory_usage.h"
#include "handlers/open_error.h"

using namespace handlers;
using namespace handlers::file_test;

TEST_CASE_FIXTURE(Fixture, "old data is saved where snapshots need it, once for all of them") {
  auto store = make(4 * kMiB);
  REQUIRE(store->write(0, content(4 * kMiB, 1)));
  REQUIRE(store->write(0, content(kMiB, 2)));
  CHECK(used() == 0);
  SnapshotRef first = capture(*store, {{kMiB, kMiB}});
  SnapshotRef second = capture(*store, {{kMiB, kMiB}, {3 * kMiB, 4096}});
  CHECK(used() == 0);
  REQUIRE(store->write(0, content(kMiB, 3)));
  REQUIRE(store->write(2 * kMiB, content(kMiB, 3)));
  CHECK(used() == 0);
  REQUIRE(store->write(kMiB + 64 * kKiB, content(64 * kKiB, 3)));
  CHECK(used() == 64 * kKiB);
  REQUIRE(store->write(kMiB + 64 * kKiB, content(64 * kKiB, 4)));
  CHECK(used() == 64 * kKiB);
  // A later snapshot needs what the earlier ones do not.
  SnapshotRef third = capture(*store, {{kMiB, 256 * kKiB}});
  REQUIRE(store->unmap({kMiB + 64 * kKiB, 64 * kKiB}));
  CHECK(used() == 128 * kKiB);
  Content then = content(4 * kMiB, 1);
  Content middle(then.begin() + kMiB, then.begin() + 2 * kMiB);
  CHECK(read_all(*first) == middle);
  first = {};
  CHECK(used() == 128 * kKiB);
  Content both = middle;
  both.insert(both.end(), then.begin() + 3 * kMiB, then.begin() + 3 * kMiB + 4096);
  CHECK(read_all(*second) == both);
  second = {};
  CHECK(used() == 64 * kKiB);
  Content newer = content(64 * kKiB, 4);
  std::copy(newer.begin(), newer.end(), middle.begin() + 64 * kKiB);
  middle.resize(256 * kKiB);
  CHECK(read_all(*third) == middle);
  third = {};
  CHECK(used() == 0);
  REQUIRE(store->write(kMiB, content(kMiB, 5)));
  CHECK(used() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a hole is saved as a hole") {
  auto store = make(64 * kMiB);
  SnapshotRef snapshot = capture(*store, {{0, 64 * kMiB}});
  REQUIRE(store->write(kMiB, content(kMiB, 1)));
  CHECK(used() == 0);
  auto run = snapshot->provisioning(kMiB);
  REQUIRE(run);
  CHECK_FALSE(run->mapped);
  base::Segments out;
  REQUIRE(snapshot->read({kMiB - 512, 1024}, out));
  CHECK(out.to_vector() == Content(1024));
}

TEST_CASE_FIXTURE(Fixture, "when old data cannot be kept the snapshot is lost, the write succeeds, others live on") {
  pool = MemoryPool::create(128 * kKiB);
  auto store = make(4 * kMiB);
  REQUIRE(store->write(0, content(4 * kMiB, 1)));
  SnapshotRef lost = capture(*store, {{0, 2 * kMiB}});
  SnapshotRef other = capture(*store, {{3 * kMiB, kMiB}});
  SUBCASE("no memory") { REQUIRE(store->write(0, content(256 * kKiB, 2))); }
  SUBCASE("not readable") {
    calls->read_error = EIO;
    REQUIRE(store->write(0, content(4096, 2)));
    calls->read_error = 0;
  }
  CHECK(kind_of(try_read(*lost)) == IoError::Kind::snapshot_lost);
  auto run = lost->provisioning(0);
  REQUIRE_FALSE(run);
  CHECK(run.error().kind == IoError::Kind::snapshot_lost);
  CHECK(used() == 0);
  CHECK(try_read(*other));
  std::uint64_t copied = 1;
  CHECK(kind_of(store->clone(*lost, {0, kMiB}, 2 * kMiB, &copied)) == IoError::Kind::snapshot_lost);
  CHECK(copied == 0);
  // The next capture of the same range is whole again.
  Content now = read_all(*store, {0, 64 * kKiB});
  SnapshotRef next = capture(*store, {{0, 64 * kKiB}});
  REQUIRE(store->write(0, content(64 * kKiB, 4)));
  CHECK(read_all(*next) == now);
}

TEST_CASE_FIXTURE(Fixture, "the image stays locked until the last snapshot is gone") {
  auto store = make(kMiB);
  SnapshotRef snapshot = capture(*store, {{0, 4096}});
  store.reset();
  CHECK_THROWS_AS(make(kMiB), OpenError);
  CHECK(read_all(*snapshot) == Content(4096));
  snapshot = {};
  CHECK(make(kMiB)->write(0, content(512, 1)));
}

TEST_CASE_FIXTURE(Fixture, "what was saved for a snapshot is freed in slices, while the image can be opened again") {
  const PoolUser user(pool);
  constexpr std::uint64_t kBlocks = 2000;
  auto store = make(2 * kBlocks * 4096);
  scatter(*store, kBlocks, 1);
  SnapshotRef snapshot = capture(*store, {{0, 2 * kBlocks * 4096}});
  scatter(*store, kBlocks, 2);
  REQUIRE(used() == kBlocks * 4096);
  SUBCASE("of its store's last") { store.reset(); }
  SUBCASE("of one among several") {
    // It shares what has not been overwritten, in as many pieces.
    SnapshotRef other = capture(*store, {{0, 2 * kBlocks * 4096}});
    Content expected = read_all(*other);
    snapshot = {};
    CHECK(used() >= kBlocks * 4096 - kSlice);
    CHECK(reclaim_all() > static_cast<int>(kBlocks / 64) - 2);
    CHECK(used() == 0);
    scatter(*store, kBlocks, 3);
    CHECK(used() == kBlocks * 4096);
    CHECK(read_all(*other) == expected);
    snapshot = std::move(other);
  }
  snapshot = {};
  CHECK(used() >= kBlocks * 4096 - kSlice);
  if (!store) CHECK(make(2 * kBlocks * 4096)->write(0, content(512, 1)));
  CHECK(reclaim_all() > static_cast<int>(kBlocks / 64) - 2);
  CHECK(used() == 0);
}

TEST_CASE_FIXTURE(Fixture, "what says where the data of snapshots is counts against the limit") {
  pool = MemoryPool::create(4 * kMiB);
  const PoolUser user(pool);
  constexpr std::uint64_t kBlocks = 4096;
  const ByteRange all{0, 2 * kBlocks * 4096};
  auto store = make(all.length);  // nothing but holes: no data is saved
  std::vector<SnapshotRef> snapshots{capture(*store, {all})};
  scatter(*store, kBlocks, 1);
  CHECK(used() == 0);
  CHECK(pool->budget().used() >= kBlocks * 2 * 48);  // saved holes, and what is between them
  IoResult<SnapshotRef> captured{};
  for (int i = 0; i < 100 && captured; ++i) {
    captured = store->capture(std::span(&all, 1));
    if (captured) snapshots.push_back(*captured);
  }
  REQUIRE_FALSE(captured);
  CHECK(captured.error().kind == IoError::Kind::no_space);
  CHECK(captured.error().reason.find("memory limit of 4194304 bytes") != std::string::npos);
  CHECK(pool->budget().used() < 4 * kMiB + 64 * kKiB);  // one step of a capture more
  CHECK(read_all(*snapshots.front()) == Content(all.length));
  // The write goes on, what would have to be saved is lost, a hole too.
  for (bool more = true; more;) more = pool->reclaim(1);  // what the refused one had
  while (!pool->budget().exhausted()) snapshots.push_back(capture(*store, {{0, 4096}}));
  REQUIRE(store->write(4096, content(4096, 2)));
  base::Segments out;
  CHECK(snapshots.front()->read({4096, 4096}, out).error().kind == IoError::Kind::snapshot_lost);
  captured = SnapshotRef{};
  snapshots.clear();
  for (bool more = true; more;) more = pool->reclaim(1);
  CHECK(pool->budget().used() == 0);
  CHECK(store->capture(std::span(&all, 1)));
}

namespace {

/// A thread of whose work it can be told whether it waits.
class Watched {
 public:
  explicit Watched(std::function<void()> work)
      : thread_([this, work = std::move(work)] {
          id_ = gettid();
          work();
          done_ = true;
        }) {}
  ~Watched() { thread_.join(); }

  /// Returns when it sleeps, or is done.
  void until_it_waits() const {
    while (!done_ && !sleeps()) std::this_thread::yield();
  }
  bool done() const { return done_; }

 private:
  bool sleeps() const {
    if (id_ == 0) return false;
    std::ifstream file(fmt::format("/proc/self/task/{}/stat", id_.load()));
    std::string number, name, state;  // proc_pid_stat(5)
    file >> number >> name >> state;
    return state == "S";
  }

  std::atomic<pid_t> id_{0};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a write waits for who reads old data, not for who comes later") {
  const PoolUser user(pool);
  auto store = make(2 * kMiB);
  REQUIRE(store->write(0, content(2 * kMiB, 1)));
  SnapshotRef snapshot = capture(*store, {{0, 2 * kMiB}});
  std::atomic<bool> reads{false}, may_go{false}, second_reads{false};
  calls->while_reading = [&] {
    if (!reads.exchange(true))
      may_go.wait(false);
    else
      second_reads = true;
  };
  calls->acts = true;
  const Watched reader([&] { read_all(*snapshot); });
  while (!reads) std::this_thread::yield();
  const Watched writer([&] { CHECK(store->write(0, content(4096, 2))); });
  writer.until_it_waits();
  CHECK_FALSE(writer.done());
  calls->acts = true;
  const Watched second([&] {
    base::Segments out;
    CHECK(snapshot->read({kMiB, 4096}, out));
  });
  second.until_it_waits();
  CHECK_FALSE(second_reads);
  CHECK_FALSE(second.done());
  may_go = true;
  may_go.notify_all();
}

TEST_CASE_FIXTURE(Fixture, "a run of a snapshot is as long as it is, however far that is") {
  constexpr std::uint64_t kSize = std::uint64_t{4} << 30;
  auto store = make(kSize);
  SnapshotRef snapshot = capture(*store, {{0, kSize}});
  CHECK(snapshot->provisioning(0)->length == kSize);
  CHECK_FALSE(snapshot->provisioning(0)->mapped);
  REQUIRE(store->write(kSize / 2, content(4096, 1)));
  CHECK(snapshot->provisioning(4096)->length == kSize / 2 - 4096);
  CHECK_FALSE(snapshot->provisioning(kSize / 2)->mapped);
  int runs = 0;
  for (std::uint64_t at = 0; at < kSize; ++runs) at += snapshot->provisioning(at)->length;
  CHECK(runs == 3);
}

TEST_CASE_FIXTURE(Fixture, "a small snapshot is freed at once") {
  const PoolUser user(pool);
  auto store = make(4 * kMiB);
  REQUIRE(store->write(0, content(4 * kMiB, 1)));
  SnapshotRef snapshot = capture(*store, {{0, 4 * kMiB}, {kMiB, 4096}});
  REQUIRE(store->write(0, content(2 * kMiB, 2)));
  REQUIRE(used() == 2 * kMiB);
  snapshot = {};
  CHECK(used() == 0);
  CHECK_FALSE(pool->reclaim(1));
}

TEST_CASE_FIXTURE(Fixture, "nothing is saved for a snapshot that was released, though not all of it is taken apart") {
  const PoolUser user(pool);
  constexpr std::uint64_t kBlocks = 1000;
  auto store = make(2 * kBlocks * 4096);
  scatter(*store, kBlocks, 1);
  SnapshotRef first = capture(*store, {{0, 2 * kBlocks * 4096}});
  scatter(*store, kBlocks, 2);
  SnapshotRef second = capture(*store, {{0, 2 * kBlocks * 4096}});
  SUBCASE("the first: what the second has is saved for it") {
    Content expected = read_all(*second);
    first = {};
    std::uint64_t before = used();
    scatter(*store, 10, 3);
    CHECK(used() == before + std::uint64_t{10} * 4096);
    CHECK(read_all(*second) == expected);
  }
  SUBCASE("the second, in many pieces: what the first has is not live any more") {
    second = {};
    std::uint64_t before = used();
    scatter(*store, kBlocks, 3);
    CHECK(used() == before);
    CHECK(used() == kBlocks * 4096);
  }
  SUBCASE("both: nothing") {
    second = {};
    first = {};
    std::uint64_t before = used();
    REQUIRE(store->write(0, content(2 * kBlocks * 4096, 3)));
    CHECK(used() == before);
  }
  first = second = {};
  while (pool->reclaim(1)) continue;
  CHECK(used() == 0);
  // A new one is right, whatever the old ones left.
  SnapshotRef next = capture(*store, {{0, 2 * kBlocks * 4096}});
  Content now = read_all(*next);
  scatter(*store, kBlocks, 4);
  CHECK(read_all(*next) == now);
}

TEST_CASE_FIXTURE(Fixture, "a snapshot of what another one leaves is whole, however far that has been taken apart") {
  const PoolUser user(pool);
  constexpr std::uint64_t kBlocks = 300;
  auto store = make(2 * kBlocks * 4096);
  REQUIRE(store->write(0, content(2 * kBlocks * 4096, 1)));
  for (std::size_t slices = 0; slices < 12; ++slices) {
    CAPTURE(slices);
    SnapshotRef old = capture(*store, {{0, 2 * kBlocks * 4096}});
    scatter(*store, kBlocks, 2);
    old = {};
    pool->reclaim(slices);
    SnapshotRef next = capture(*store, {{4096, kBlocks * 4096}, {0, 2 * kBlocks * 4096}});
    Content expected = read_all(*next);
    pool->reclaim(3);
    scatter(*store, kBlocks, 3, slices % 2);
    reclaim_all();
    CHECK(read_all(*next) == expected);
    next = {};
    reclaim_all();
    CHECK(used() == 0);
  }
}

TEST_CASE_FIXTURE(Fixture, "what released snapshots keep is freed when there is no other memory for old data") {
  pool = MemoryPool::create(600 * 4096);
  const PoolUser user(pool);
  constexpr std::uint64_t kBlocks = 500;
  auto store = make(2 * kBlocks * 4096);
  auto other = make(2 * kBlocks * 4096, "other.img");
  for (FileStore* each : {store.get(), other.get()}) scatter(*each, kBlocks, 1);
  SnapshotRef old = capture(*store, {{0, 2 * kBlocks * 4096}});
  scatter(*store, kBlocks, 2);
  // Of this store itself, and of another.
  for (FileStore* each : {store.get(), other.get(), store.get()}) {
    SnapshotRef next = capture(*each, {{0, 2 * kBlocks * 4096}});
    Content expected = read_all(*next);
    old = {};
    REQUIRE(used() > 400 * 4096);
    scatter(*each, kBlocks, 3);
    CHECK(read_all(*next) == expected);
    old = std::move(next);
  }
}

TEST_CASE_FIXTURE(Fixture, "whoever waits for the device holds up no release and no count") {
  const PoolUser user(pool);
  constexpr std::uint64_t kBlocks = 200;
  auto store = make(2 * kBlocks * 4096);
  REQUIRE(store->write(0, content(2 * kBlocks * 4096, 1)));
  SnapshotRef kept = capture(*store, {{0, 2 * kBlocks * 4096}});
  scatter(*store, kBlocks, 2);
  SnapshotRef dropped = capture(*store, {{0, 2 * kBlocks * 4096}});
  const Content expected = read_all(*kept);
  bool acted = false;
  calls->while_reading = [&] {
    dropped = {};
    reclaim_all();
    MemoryUsage usage;
    count_all(*kept, usage);
    CHECK(usage.bytes() == kBlocks * 4096);
    acted = true;
  };
  calls->acts = true;
  SUBCASE("to read a snapshot") { CHECK(read_all(*kept) == expected); }
  SUBCASE("to save old data") { REQUIRE(store->write(4096, content(4096, 3))); }
  CHECK(acted);
  CHECK(read_all(*kept) == expected);
}

TEST_CASE_FIXTURE(Fixture, "what is being saved for a snapshot that is released meanwhile is not kept") {
  auto store = make(kMiB);
  REQUIRE(store->write(0, content(kMiB, 1)));
  SnapshotRef other = capture(*store, {{kMiB / 2, 4096}, {kMiB / 2 + 8192, 4096}});
  SnapshotRef snapshot = capture(*store, {{0, kMiB}});
  const Content expected = read_all(*other);
  calls->while_reading = [&] { snapshot = {}; };
  calls->acts = true;
  REQUIRE(store->write(4096, content(4096, 2)));
  CHECK_FALSE(snapshot);
  CHECK(used() == 0);
  REQUIRE(store->write(0, content(kMiB, 3)));
  CHECK(read_all(*other) == expected);
}

TEST_CASE_FIXTURE(Fixture, "what was saved for a snapshot that is lost is freed in slices, and the next one is whole") {
  constexpr std::uint64_t kBlocks = 1000;
  const auto needed = [&] {  // for all but 100 of them, with what says where they are
    auto store = make(2 * kBlocks * 4096);
    scatter(*store, kBlocks, 1);
    SnapshotRef snapshot = capture(*store, {{0, 2 * kBlocks * 4096}});
    scatter(*store, kBlocks - 100, 2);
    return pool->budget().used();
  };
  pool = MemoryPool::create(needed());
  const PoolUser user(pool);
  auto store = make(2 * kBlocks * 4096);
  scatter(*store, kBlocks, 1);
  SnapshotRef lost = capture(*store, {{0, 2 * kBlocks * 4096}});
  scatter(*store, kBlocks - 99, 2);
  CHECK(kind_of(try_read(*lost)) == IoError::Kind::snapshot_lost);
  CHECK(used() >= (kBlocks - 100) * 4096 - kSlice);
  const std::uint64_t before = used();
  scatter(*store, kBlocks, 3);
  CHECK(used() == before);
  SUBCASE("before it is taken apart") {}
  SUBCASE("when it has been") {
    CHECK(reclaim_all() > 10);
    CHECK(used() == 0);
  }
  SUBCASE("when it is released as well") { lost = {}; }
  SnapshotRef next = capture(*store, {{4096, kBlocks * 4096}});
  Content expected = read_all(*next);
  scatter(*store, kBlocks / 2, 4);
  CHECK(read_all(*next) == expected);
  next = lost = {};
  reclaim_all();
  CHECK(used() == 0);
}

TEST_CASE_FIXTURE(Fixture, "writers on ranges of their own and readers of snapshots run at once") {
  constexpr unsigned kWriters = 3;
  constexpr std::uint64_t kShare = 256 * kKiB;
  auto store = make(kWriters * kShare);
  std::atomic<int> wrong{0};
  std::vector<SnapshotRef> snapshots;
  std::vector<Content> contents;
  for (unsigned round = 0; round < 4; ++round) {
    // A capture is alone, as the logical unit has it.
    snapshots.push_back(capture(*store, {{round * 4096, 2 * kShare}, {0, kWriters * kShare}}));
    Content all = read_all(*store);
    contents.emplace_back(all.begin() + round * 4096,
                          all.begin() + static_cast<std::ptrdiff_t>(round * 4096 + 2 * kShare));
    contents.back().insert(contents.back().end(), all.begin(), all.end());
    std::vector<std::thread> threads;
    for (unsigned writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        std::uint64_t start = writer * kShare;
        for (unsigned i = 0; i < 30; ++i) {
          std::uint64_t offset = start + (i * 37 + round) % 60 * 4096;
          bool worked = i % 7 == 6   ? store->unmap({offset, 8192}).has_value()
                        : i % 5 == 4 ? store->write_same({offset, 8192}, content(512, i)).has_value()
                                     : store->write(offset, content(10000, round * 100 + i)).has_value();
          if (!worked) ++wrong;
        }
      });
    }
    for (unsigned reader = 0; reader < 2; ++reader) {
      threads.emplace_back([&, reader] {
        for (std::size_t i = reader; i < snapshots.size() + reader; ++i) {
          std::size_t which = i % snapshots.size();
          if (read_all(*snapshots[which]) != contents[which]) ++wrong;
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  CHECK(wrong == 0);
  for (std::size_t i = 0; i < snapshots.size(); ++i) CHECK(read_all(*snapshots[i]) == contents[i]);
  snapshots.clear();
  while (pool->reclaim(1)) continue;
  CHECK(used() == 0);
}

TEST_CASE_FIXTURE(Fixture, "snapshots are released, taken apart and counted while others are read and overwritten") {
  constexpr std::uint64_t kBlocks = 500;
  constexpr ByteRange kAll{0, 4 * kBlocks * 4096};
  const PoolUser user(pool);
  auto store = make(kAll.length);
  REQUIRE(store->write(0, content(kAll.length, 1)));
  std::atomic<int> wrong{0};
  for (unsigned round = 0; round < 8; ++round) {
    SnapshotRef kept = capture(*store, {kAll});
    Content expected = read_all(*kept);
    std::vector<SnapshotRef> dropped(round % 4 + 1, kept);
    if (round % 2 == 0) scatter(*store, kBlocks, round);
    for (SnapshotRef& each : dropped) each = capture(*store, {{4096, kAll.length - 4096}});
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (unsigned writer = 0; writer < 2; ++writer)
      threads.emplace_back([&, writer] {
        for (std::uint64_t i = 0; i < kBlocks; ++i)
          if (!store->write((i * 4 + writer * 2 + round % 2) * 4096, content(4096, round))) ++wrong;
      });
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i)
        if (read_all(*kept) != expected) ++wrong;
    });
    threads.emplace_back([&] {
      for (SnapshotRef& each : dropped) each = {};
    });
    std::thread loop([&] {
      while (!stop) {
        MemoryUsage usage;
        for (std::uint64_t at = 0; at < kAll.length;) {
          std::size_t left = 4;
          at = kept->count_memory(usage, at, left);
          pool->reclaim(2);
        }
      }
    });
    for (auto& thread : threads) thread.join();
    stop = true;
    loop.join();
    CHECK(read_all(*kept) == expected);
  }
  CHECK(wrong == 0);
  while (pool->reclaim(1)) continue;
  CHECK(used() == 0);
}
