// What stores cost: plain reads and writes, captures and clones by size and fragmentation, memory for each extent, how
// long the loop stands still while large trees are freed, and reads and writes after many copies. Prints; asserts
// nothing.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <ctime>
#include <random>
#include <stdexcept>
#include <vector>

#include "handlers/memory_store.h"
#include "handlers/memory_usage.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kTiB = 1024 * kGiB;
constexpr std::uint64_t kBlock = 4 * kKiB;
constexpr std::size_t kObjectsPerTurn = 16;  // of Array::reclaim

void must(const IoResult<void>& result) {
  if (!result) throw std::runtime_error(result.error().reason);
}

/// Of this thread's CPU, which other programs do not add to.
double microseconds(auto&& work) {
  auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
  };
  double start = now();
  work();
  return now() - start;
}

SnapshotRef capture(BackingStore& store, ByteRange range) {
  auto snapshot = store.capture({&range, 1});
  if (!snapshot) throw std::runtime_error(snapshot.error().reason);
  return *snapshot;
}

/// 1 GiB, written in pieces of `piece` bytes, in address order or not.
std::unique_ptr<MemoryStore> written(std::uint64_t piece, bool in_order) {
  auto store = std::make_unique<MemoryStore>(kGiB);
  std::vector<std::uint8_t> data(piece, 0x5a);
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t at = 0; at < kGiB; at += piece) offsets.push_back(at);
  std::mt19937_64 random(1);
  if (!in_order) std::shuffle(offsets.begin(), offsets.end(), random);
  for (std::uint64_t at : offsets) must(store->write(at, data));
  return store;
}

void read_4k(benchmark::State& state) {
  auto store = written(static_cast<std::uint64_t>(state.range(0)), state.range(1) != 0);
  std::mt19937_64 random(2);
  base::Segments out;
  for (auto _ : state) {
    out.clear();
    must(store->read({random() % (kGiB / kBlock) * kBlock, kBlock}, out));
    benchmark::DoNotOptimize(out.parts().data());
  }
  state.counters["extents"] = static_cast<double>(store->tree().extent_count());
}

void overwrite_4k(benchmark::State& state) {
  auto store = written(static_cast<std::uint64_t>(state.range(0)), state.range(1) != 0);
  std::mt19937_64 random(2);
  std::vector<std::uint8_t> data(kBlock, 1);
  for (auto _ : state) must(store->write(random() % (kGiB / kBlock) * kBlock, data));
}

void first_write_4k(benchmark::State& state) {
  bool in_order = state.range(0) != 0;
  std::mt19937_64 random(2);
  std::vector<std::uint8_t> data(kBlock, 1);
  MemoryStore store(64 * kGiB);
  std::uint64_t next = 0;
  for (auto _ : state) must(store.write(in_order ? next++ * kBlock : random() % (64 * kGiB / kBlock) * kBlock, data));
  state.counters["bytes_per_write"] =
      static_cast<double>(store.allocated_bytes()) / static_cast<double>(state.iterations());
}

/// Overwrites right after a capture of everything: each copies the path, once, and gets new memory.
void overwrite_4k_captured(benchmark::State& state) {
  auto store = written(kMiB, true);
  SnapshotRef snapshot = capture(*store, {0, kGiB});
  std::mt19937_64 random(2);
  std::vector<std::uint8_t> data(kBlock, 1);
  std::uint64_t before = store->allocated_bytes();
  for (auto _ : state) must(store->write(random() % (kGiB / kBlock) * kBlock, data));
  state.counters["extents"] = static_cast<double>(store->tree().extent_count());
  state.counters["bytes_per_write"] =
      static_cast<double>(store->allocated_bytes() - before) / static_cast<double>(state.iterations());
}

/// 64 GiB in which `extents` blocks of 4 KiB, all sharing one chunk, lie at equal distances.
std::unique_ptr<MemoryStore> fragmented(const base::Ref<MemoryPool>& pool, std::uint64_t extents) {
  constexpr std::uint64_t kSize = 64 * kGiB;
  auto store = std::make_unique<MemoryStore>(kSize, pool);
  must(store->write(0, std::vector<std::uint8_t>(kBlock, 1)));
  SnapshotRef block = capture(*store, {0, kBlock});
  for (std::uint64_t i = 1; i < extents; ++i)
    must(store->clone(*block, {0, kBlock}, kSize / extents / kBlock * kBlock * i, nullptr));
  return store;
}

void capture_whole(benchmark::State& state) {
  auto store = fragmented(MemoryPool::create(), static_cast<std::uint64_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(capture(*store, {0, store->size_bytes()}));
}

/// A megabyte from within a block of a granule, as far into the store as chance has it.
void capture_part(benchmark::State& state) {
  auto store = fragmented(MemoryPool::create(), static_cast<std::uint64_t>(state.range(0)));
  std::mt19937_64 random(2);
  for (auto _ : state)
    benchmark::DoNotOptimize(capture(*store, {random() % ((store->size_bytes() - kMiB) / 512) * 512, kMiB}));
}

/// Scattered writes, each its own extent: what an extent costs beside its data.
void memory_per_extent(benchmark::State& state) {
  auto extents = static_cast<std::uint64_t>(state.range(0));
  auto pool = MemoryPool::create();
  MemoryStore store(kTiB, pool);
  std::mt19937_64 random(2);
  std::vector<std::uint8_t> data(kBlock, 1);
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < extents; ++i) must(store.write(random() % (kTiB / kBlock) * kBlock, data));
  }
  MemoryUsage usage;
  double walk = microseconds([&] { count_all(store, usage); });
  auto found = static_cast<double>(store.tree().extent_count());
  state.counters["extents_and_holes"] = found;
  state.counters["bytes_beside_data"] =
      static_cast<double>(usage.bytes()) / static_cast<double>(extents) - static_cast<double>(kBlock);
  state.counters["walk_ns_per_extent"] = walk * 1000 / found;
}

/// A store of a terabyte with `extents` runs of `piece` bytes of memory of their own is dropped whole. `slice` is what
/// the loop does between two turns (Array::reclaim), `write` what a command waits for that finds the graveyard full.
void drop(benchmark::State& state) {
  auto extents = static_cast<std::uint64_t>(state.range(0));
  std::vector<std::uint8_t> data(static_cast<std::size_t>(state.range(1)), 1);
  auto pool = MemoryPool::create();
  MemoryStore other(kGiB, pool);
  double dropped = 0, slice = 0, write = 0, total = 0;
  for (auto _ : state) {
    auto store = std::make_unique<MemoryStore>(kTiB, pool);
    for (std::uint64_t i = 0; i < extents; ++i) must(store->write(kTiB / extents / 512 * 512 * i, data));
    dropped = microseconds([&] { store.reset(); });
    std::vector<std::uint8_t> block(kBlock, 1);
    for (std::uint64_t i = 0; i < 1000; ++i)
      write = std::max(write, microseconds([&] { must(other.write(i * kBlock, block)); }));
    for (bool more = true; more;) {
      double took = microseconds([&] { more = pool->reclaim(kObjectsPerTurn); });
      slice = std::max(slice, took);
      total += took;
    }
  }
  state.counters["drop_us"] = dropped;
  state.counters["longest_slice_us"] = slice;
  state.counters["longest_write_us"] = write;
  state.counters["all_slices_ms"] = total / 1000;
}

/// A written GiB in which ranges of one block to 16 MiB are copied `copies` times from
/// anywhere to anywhere, so that copies of copies overlap.
std::unique_ptr<MemoryStore> copied(std::uint64_t copies) {
  auto store = written(kMiB, true);
  std::mt19937_64 random(7);
  for (std::uint64_t i = 0; i < copies; ++i) {
    std::uint64_t length = (random() % (16 * kMiB / 512) + 1) * 512;
    std::uint64_t from = random() % ((kGiB - length) / 512) * 512;
    std::uint64_t to = random() % ((kGiB - length) / 512) * 512;
    must(store->clone(*capture(*store, {from, length}), {0, length}, to, nullptr));
  }
  return store;
}

void read_after_copies(benchmark::State& state) {
  auto store = copied(static_cast<std::uint64_t>(state.range(0)));
  auto size = static_cast<std::uint64_t>(state.range(1));
  std::mt19937_64 random(2);
  base::Segments out;
  std::vector<std::uint8_t> to(size);
  for (auto _ : state) {
    out.clear();
    must(store->read({random() % (kGiB / size) * size, size}, out));
    out.copy_to(0, to);
  }
  state.counters["extents"] = static_cast<double>(store->tree().extent_count());
}

/// The same on a store nobody has written to: what a write costs a fresh logical unit.
void write_fresh(benchmark::State& state) {
  auto size = static_cast<std::uint64_t>(state.range(0));
  std::vector<std::uint8_t> data(size, 1);
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t at = 0; at < kGiB; at += size) offsets.push_back(at);
  std::mt19937_64 random(2);
  std::shuffle(offsets.begin(), offsets.end(), random);
  auto pool = MemoryPool::create();
  auto store = std::make_unique<MemoryStore>(kGiB, pool);
  std::size_t next = 0;
  for (auto _ : state) {
    if (next == offsets.size()) {
      state.PauseTiming();
      store = std::make_unique<MemoryStore>(kGiB, pool);
      next = 0;
      state.ResumeTiming();
    }
    must(store->write(offsets[next++], data));
  }
}

void write_after_copies(benchmark::State& state) {
  auto store = copied(static_cast<std::uint64_t>(state.range(0)));
  auto size = static_cast<std::uint64_t>(state.range(1));
  std::mt19937_64 random(2);
  std::vector<std::uint8_t> data(size, 1);
  for (auto _ : state) must(store->write(random() % (kGiB / size) * size, data));
  state.counters["extents"] = static_cast<double>(store->tree().extent_count());
}

void clone(benchmark::State& state) {
  auto length = static_cast<std::uint64_t>(state.range(0));
  auto pool = MemoryPool::create();
  auto source = fragmented(pool, static_cast<std::uint64_t>(state.range(1)));
  MemoryStore target(64 * kGiB, pool);
  std::mt19937_64 random(2);
  for (auto _ : state) {
    // Not aligned to anything but blocks, and what the last round cloned is dropped within this one.
    std::uint64_t slack = (64 * kGiB - length) / 512 + 1;
    SnapshotRef snapshot = capture(*source, {random() % slack * 512, length});
    must(target.clone(*snapshot, {0, length}, random() % slack * 512, nullptr));
  }
}

}  // namespace

BENCHMARK(read_4k)->ArgNames({"piece", "in_order"})->Args({kMiB, 1})->Args({kBlock, 1})->Args({kBlock, 0});
BENCHMARK(overwrite_4k)->ArgNames({"piece", "in_order"})->Args({kMiB, 1})->Args({kBlock, 1})->Args({kBlock, 0});
BENCHMARK(first_write_4k)->ArgName("in_order")->Arg(1)->Arg(0)->Iterations(200'000);
BENCHMARK(overwrite_4k_captured)->Iterations(100'000);
BENCHMARK(capture_whole)->ArgName("extents")->Arg(1)->Arg(1000)->Arg(1'000'000);
BENCHMARK(capture_part)->ArgName("extents")->Arg(1)->Arg(1000)->Arg(1'000'000);
BENCHMARK(memory_per_extent)->ArgName("extents")->Arg(1000)->Arg(1'000'000)->Iterations(1);
BENCHMARK(drop)->ArgNames({"extents", "piece"})->Args({1'000'000, kBlock})->Args({65'536, 16 * kBlock})->Iterations(1);
BENCHMARK(read_after_copies)->ArgNames({"copies", "size"})->ArgsProduct({{0, 10'000}, {kBlock, kMiB}});
BENCHMARK(write_fresh)->ArgName("size")->Arg(kBlock)->Arg(kMiB);
BENCHMARK(write_after_copies)->ArgNames({"copies", "size"})->ArgsProduct({{0, 10'000}, {kBlock, kMiB}});
BENCHMARK(clone)->ArgNames({"length", "extents"})->ArgsProduct({{kMiB, kGiB, 64 * kGiB}, {1, 1000, 1'000'000}});

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  // A virtual machine gets memory from its host when it touches it first, which costs more than all that is measured.
  constexpr std::size_t kTouched = 5 * kGiB;
  std::make_unique<std::uint8_t[]>(kTouched);
  benchmark::RunSpecifiedBenchmarks();
}
