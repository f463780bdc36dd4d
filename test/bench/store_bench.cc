// What stores cost: plain reads and writes, captures, and clones by size and fragmentation. Prints; asserts nothing.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>
#include <stdexcept>
#include <vector>

#include "handlers/memory_store.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kBlock = 4 * kKiB;

void must(const IoResult<void>& result) {
  if (!result) throw std::runtime_error(result.error().reason);
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
BENCHMARK(clone)->ArgNames({"length", "extents"})->ArgsProduct({{kMiB, kGiB, 64 * kGiB}, {1, 1000, 1'000'000}});

BENCHMARK_MAIN();
