// Not tested, and why: the kernel refusing to map memory (it does not, it overcommits).
#include "handlers/memory_pool.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

using namespace handlers;

TEST_CASE("a chunk is as long as asked, in whole granules, up to the largest") {
  auto pool = MemoryPool::create();
  CHECK(pool->allocate(1)->size() == kGranule);
  CHECK(pool->allocate(kGranule + 1)->size() == 2 * kGranule);
  CHECK(pool->allocate(10 * kMaxChunk)->size() == kMaxChunk);
  CHECK(pool->budget().used() == 0);
}

TEST_CASE("a chunk grows into free granules behind it, and only those") {
  auto pool = MemoryPool::create();
  // Two neighbours of full length: an arena's own table stands between others, at a place its address decides.
  auto chunk = pool->allocate(kMaxChunk);
  auto behind = pool->allocate(kMaxChunk);
  while (chunk->size() != kMaxChunk || behind->size() != kMaxChunk || behind->data() != chunk->data() + kMaxChunk) {
    chunk = std::move(behind);
    behind = pool->allocate(kMaxChunk);
  }
  pool->shrink(*chunk, kGranule);
  behind = {};
  CHECK(pool->grow(*chunk, 2 * kGranule) == 2 * kGranule);
  CHECK(chunk->size() == 3 * kGranule);
  CHECK(pool->grow(*chunk, kGranule) == kGranule);
  auto next = pool->divide(*chunk, 3 * kGranule);
  CHECK(next->data() == chunk->data() + 3 * kGranule);
  CHECK(pool->grow(*chunk, kGranule) == 0);
  CHECK(pool->grow(*next, 2 * kMaxChunk) == kMaxChunk - kGranule);
  CHECK(pool->grow(*next, kGranule) == 0);
  CHECK(pool->budget().used() == 19 * kGranule);
}

TEST_CASE("a chunk is shortened and divided in place") {
  auto pool = MemoryPool::create();
  auto chunk = pool->allocate(kMaxChunk);
  for (std::size_t i = 0; i < kMaxChunk; ++i) chunk->data()[i] = static_cast<std::uint8_t>(i / kGranule);
  auto tail = pool->divide(*chunk, 10 * kGranule);
  CHECK(chunk->size() == 10 * kGranule);
  CHECK(tail->size() == 6 * kGranule);
  CHECK(tail->data()[0] == 10);
  pool->shrink(*tail, kGranule + 1);
  CHECK(tail->size() == 2 * kGranule);
  CHECK(pool->budget().used() == 12 * kGranule);
  chunk = {};
  CHECK(tail->data()[kGranule] == 11);
  CHECK(pool->budget().used() == 2 * kGranule);
}

TEST_CASE("every free granule is found before more memory is mapped") {
  constexpr std::uint64_t kLimit = 4 << 20;
  auto pool = MemoryPool::create(kLimit);
  std::vector<base::Ref<Chunk>> chunks;
  while (auto chunk = pool->allocate(kGranule)) chunks.push_back(std::move(chunk));
  CHECK(chunks.size() == kLimit / kGranule);
  // Every second granule is freed: no run of two is left, yet long requests are served, in pieces.
  for (std::size_t i = 0; i < chunks.size(); i += 2) chunks[i] = {};
  std::uint64_t served = 0;
  std::vector<base::Ref<Chunk>> more;
  while (auto chunk = pool->allocate(kMaxChunk)) {
    served += chunk->size();
    more.push_back(std::move(chunk));
  }
  CHECK(served == kLimit / 2);
}

TEST_CASE("chunks never overlap, whatever is allocated, grown, cut and freed") {
  std::mt19937 random(1);
  auto pool = MemoryPool::create();
  struct Owned {
    base::Ref<Chunk> chunk;
    std::uint8_t mark;
  };
  std::vector<Owned> owned;
  auto mark = [&](Owned& one) { std::memset(one.chunk->data(), one.mark, one.chunk->size()); };
  auto intact = [&](const Owned& one) {
    return std::all_of(one.chunk->data(), one.chunk->data() + one.chunk->size(),
                       [&](std::uint8_t byte) { return byte == one.mark; });
  };
  bool all_intact = true;
  for (int i = 0; i < 4000; ++i) {
    std::size_t at = owned.empty() ? 0 : random() % owned.size();
    switch (owned.empty() ? 0 : random() % 6) {
      case 0:
      case 1:
        owned.push_back({pool->allocate(1 + random() % kMaxChunk), static_cast<std::uint8_t>(random())});
        mark(owned.back());
        break;
      case 2:
        pool->grow(*owned[at].chunk, random() % kMaxChunk);
        mark(owned[at]);
        break;
      case 3:
        if (owned[at].chunk->size() > kGranule)
          owned.push_back({pool->divide(*owned[at].chunk, kGranule), owned[at].mark});
        break;
      case 4: pool->shrink(*owned[at].chunk, 1 + random() % owned[at].chunk->size()); break;
      default:
        all_intact = all_intact && intact(owned[at]);
        std::swap(owned[at], owned.back());
        owned.pop_back();
    }
  }
  std::uint64_t sum = 0;
  for (const Owned& one : owned) {
    all_intact = all_intact && intact(one);
    sum += one.chunk->size();
  }
  CHECK(all_intact);
  CHECK(pool->budget().used() == sum);
}

TEST_CASE("empty arenas go back to the system when the last of them is freed, or wait for who has the time") {
  constexpr std::size_t kChunks = 4 * kArenaSize / kMaxChunk;
  auto mapped = [](const std::vector<void*>& granules) {
    unsigned char resident = 0;
    return std::ranges::count_if(granules, [&](void* granule) { return mincore(granule, kGranule, &resident) == 0; });
  };
  for (bool wait : {false, true}) {
    CAPTURE(wait);
    auto pool = MemoryPool::create();
    if (wait) pool->let_empty_wait();
    std::vector<base::Ref<Chunk>> chunks;
    std::vector<void*> places;
    for (std::size_t i = 0; i < kChunks; ++i) {
      chunks.push_back(pool->allocate(kMaxChunk));
      places.push_back(chunks.back()->data());
    }
    CHECK_FALSE(pool->has_empty());
    chunks.clear();
    CHECK(pool->has_empty() == wait);
    CHECK((mapped(places) == kChunks) == wait);
    std::size_t given_back = 0;
    for (; pool->has_empty(); ++given_back) pool->give_back_empty();
    CHECK((given_back >= 3) == wait);
    CHECK(mapped(places) <= kArenaSize / kMaxChunk + 1);  // one is kept
    CHECK(pool->budget().used() == 0);
    auto again = pool->allocate(kMaxChunk);
    std::memset(again->data(), 1, again->size());
  }
}
