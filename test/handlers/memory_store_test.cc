// What only memory stores promise: what they cost, what they share, and their limit.
// Not tested, and why: time (test/bench/store_bench.cc prints it), the kernel refusing to map memory.
#include "handlers/memory_store.h"
#include "handlers/joined_snapshot.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "store_kinds.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kNode = 1024;  // more than a node costs

std::uint64_t used(const base::Ref<MemoryPool>& pool) { return pool->budget().used(); }

void settle_all(const base::Ref<MemoryPool>& pool) {
  while (pool->reclaim(1000)) {
  }
}

}  // namespace

TEST_CASE("an empty store of a petabyte costs one node") {
  auto pool = MemoryPool::create();
  MemoryStore store(1024 * 1024 * kGiB, pool);
  CHECK(used(pool) <= kNode);
  CHECK(store.allocated_bytes() == used(pool));
  REQUIRE(store.write(1024 * 1024 * kGiB - 512, content(512, 1)));
  CHECK(used(pool) <= kNode + 4 * kKiB);
}

TEST_CASE("scattered small writes cost one granule each and little beside") {
  auto pool = MemoryPool::create();
  MemoryStore store(64 * kGiB, pool);
  std::mt19937_64 random(1);
  constexpr std::uint64_t kWrites = 5000;
  Content block = content(512, 1);
  for (std::uint64_t i = 0; i < kWrites; ++i) REQUIRE(store.write(random() % (64 * kGiB / 512) * 512, block));
  CHECK(used(pool) < kWrites * 4400);
}

namespace {

/// Writes `data` in memory that the store lends. Returns how many pieces of it the store shows now.
std::size_t write_lent(MemoryStore& store, std::uint64_t offset, const Content& data) {
  Loan loan;
  REQUIRE(store.lend({offset, data.size()}, loan));
  std::vector<std::pair<std::uint64_t, const std::uint8_t*>> pieces;
  std::size_t at = 0;
  for (const LoanPart& part : loan) {
    pieces.emplace_back(offset + at, part.bytes.data());
    std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(at), part.bytes.size(), part.bytes.begin());
    at += part.bytes.size();
  }
  CHECK(at == data.size());
  REQUIRE(store.write_lent(offset, loan));
  CHECK(loan.empty());
  return static_cast<std::size_t>(std::ranges::count_if(pieces, [&](const auto& piece) {
    base::Segments read;
    return store.read({piece.first, 1}, read) && read.parts().front().bytes.data() == piece.second;
  }));
}

}  // namespace

TEST_CASE("what is written in lent memory takes the place of what was there, and nothing more") {
  auto pool = MemoryPool::create();
  MemoryStore store(64 * kMiB, pool);
  write_lent(store, kMiB, content(kMiB, 1));
  CHECK(store.tree().extent_count() == kMiB / kMaxChunk + 2);
  write_lent(store, kMiB, content(kMiB, 2));  // in a node that has room for all of it by now
  const std::uint64_t once = used(pool);
  for (unsigned seed = 3; seed < 40; ++seed) {
    const Content data = content(kMiB, seed);
    CHECK(write_lent(store, kMiB, data) == kMiB / kMaxChunk);
    base::Segments read;
    REQUIRE(store.read({kMiB, kMiB}, read));
    CHECK(read.to_vector() == data);
  }
  CHECK(used(pool) == once);
  Loan loan;
  REQUIRE(store.lend({0, kMiB}, loan));
  CHECK(used(pool) == once);
  loan.clear();
  CHECK(used(pool) == once);
}

TEST_CASE("lent memory is copied where it would cut what can be overwritten") {
  auto pool = MemoryPool::create();
  MemoryStore store(64 * kMiB, pool);
  write_lent(store, 0, content(kMiB, 1));
  const std::uint64_t extents = store.tree().extent_count();
  CHECK(write_lent(store, 4096, content(2 * kMaxChunk, 2)) == 1);  // the one in the middle
  CHECK(store.tree().extent_count() == extents);
  base::Segments read;
  REQUIRE(store.read({4096, 2 * kMaxChunk}, read));
  CHECK(read.to_vector() == content(2 * kMaxChunk, 2));
}

TEST_CASE("what a token shows is not in lent memory that was taken over since") {
  auto pool = MemoryPool::create();
  MemoryStore store(64 * kMiB, pool);
  write_lent(store, 0, content(kMiB, 1));
  SnapshotRef before = capture(store, {{0, kMiB}});
  for (std::uint64_t at : {std::uint64_t{0}, 3 * kMaxChunk + 4096}) write_lent(store, at, content(4 * kMaxChunk, 2));
  CHECK(read_all(*before) == content(kMiB, 1));
}

TEST_CASE("nothing is lent that is too short or too long, or what the machine would notice") {
  auto pool = MemoryPool::create();
  MemoryStore store(kGiB, pool);
  Loan loan;
  CHECK_FALSE(store.lend({0, kMaxChunk - 1}, loan));
  CHECK_FALSE(store.lend({512, kMaxChunk}, loan));
  CHECK_FALSE(store.lend({0, kMiB + 1}, loan));
  CHECK(store.lend({0, kMaxChunk}, loan));
  CHECK(loan.size() == 1);
  loan.clear();
  std::vector<Loan> loans(MemoryPool::kMostUncharged / kMiB);
  for (Loan& each : loans) REQUIRE(store.lend({0, kMiB}, each));
  CHECK_FALSE(store.lend({0, kMaxChunk}, loan));
  loans.pop_back();
  CHECK(store.lend({0, kMaxChunk}, loan));
  CHECK(used(pool) <= kNode);
}

TEST_CASE("a store at its limit is overwritten with lent memory, and gets no larger by it") {
  auto pool = MemoryPool::create(16 * kMiB);
  MemoryStore store(kGiB, pool);
  Loan early;
  REQUIRE(store.lend({0, kMiB}, early));
  std::ranges::fill(early.front().bytes, std::uint8_t{9});
  std::uint64_t held = 0;
  while (store.write(held, content(kMiB, 1))) held += kMiB;
  const std::uint64_t full = used(pool);
  REQUIRE(store.write_lent(0, early));
  CHECK(used(pool) == full);
  base::Segments read;
  REQUIRE(store.read({0, kMaxChunk}, read));
  CHECK(read.to_vector() == Content(kMaxChunk, 9));
  Loan small;
  CHECK_FALSE(MemoryStore(kGiB, MemoryPool::create(kMiB)).lend({0, kMiB}, small));
}

TEST_CASE("lent memory of another pool is copied, and a store that fails leaves nothing of a loan") {
  auto pool = MemoryPool::create();
  MemoryStore lender(kMiB, MemoryPool::create());
  MemoryStore store(kMiB, pool);
  Loan loan;
  REQUIRE(lender.lend({0, kMaxChunk}, loan));
  std::ranges::fill(loan.front().bytes, std::uint8_t{7});
  REQUIRE(store.write_lent(0, loan));
  CHECK(loan.empty());
  CHECK(read_all(store) == [] {
    Content all(kMiB);
    std::fill_n(all.begin(), kMaxChunk, 7);
    return all;
  }());
}

TEST_CASE("large writes replace what small ones left, wherever an arena ended") {
  auto pool = MemoryPool::create();
  MemoryStore store(64 * kMiB, pool);
  for (std::uint64_t at = 0; at < 16 * kMiB; at += 24 * kKiB) REQUIRE(store.write(at, content(24 * kKiB, 1)));
  // All but what is in two leaves of the tree.
  std::size_t taken = 0;
  for (std::uint64_t at = 0; at < 16 * kMiB; at += kMiB) taken += write_lent(store, at, content(kMiB, 2));
  CHECK(taken >= 16 * kMiB / kMaxChunk - 16);
}

TEST_CASE("small writes in address order end up in few extents") {
  auto pool = MemoryPool::create();
  MemoryStore store(kGiB, pool);
  Content block = content(4096, 1);
  for (std::uint64_t at = 0; at < 8 * kMiB; at += 4096) REQUIRE(store.write(at, block));
  CHECK(store.tree().extent_count() < 8 * kMiB / kMaxChunk * 5 / 4);
  CHECK(used(pool) < 8 * kMiB * 102 / 100);
}

TEST_CASE("overwriting what nobody shares takes no memory") {
  auto pool = MemoryPool::create();
  MemoryStore store(4 * kMiB, pool);
  REQUIRE(store.write(0, content(4 * kMiB, 1)));
  settle_all(pool);
  std::uint64_t before = used(pool);
  std::uint64_t extents = store.tree().extent_count();
  Content block = content(5000, 2);
  for (std::uint64_t at = 0; at + 5000 < 4 * kMiB; at += 7777) REQUIRE(store.write(at, block));
  CHECK(used(pool) == before);
  CHECK(store.tree().extent_count() == extents);
}

TEST_CASE("unmapped and zero-filled ranges give their memory back") {
  auto pool = MemoryPool::create();
  MemoryStore store(4 * kMiB, pool);
  std::uint64_t empty = used(pool);
  REQUIRE(store.write(0, content(4 * kMiB, 1)));
  // In pieces smaller than a chunk, scattered, so that every chunk is cut.
  for (std::uint64_t at = 4096; at < 4 * kMiB; at += 8192) REQUIRE(store.unmap({at, 4096}));
  settle_all(pool);
  CHECK(used(pool) < 2 * kMiB + 2 * kMiB / 10);
  for (std::uint64_t at = 0; at < 4 * kMiB; at += 8192) REQUIRE(store.write_same({at, 4096}, Content(512)));
  settle_all(pool);
  CHECK(used(pool) < empty + kNode);  // a root that had many extents keeps its room
}

TEST_CASE("capturing and cloning cost nodes, not bytes, whatever the size, alignment and fragmentation") {
  auto pool = MemoryPool::create();
  MemoryStore source(64 * kGiB, pool);
  MemoryStore target(64 * kGiB, pool);
  std::mt19937_64 random(1);
  Content block = content(4096, 1);
  for (int i = 0; i < 4000; ++i) REQUIRE(source.write(random() % (64 * kGiB / 512 - 8) * 512, block));
  settle_all(pool);
  std::uint64_t before = used(pool);
  SnapshotRef whole = capture(source, {{0, 64 * kGiB}});
  CHECK(used(pool) <= before + 256);
  for (std::uint64_t length : {kMiB + 512, 7 * kGiB + 3 * 512, 64 * kGiB - 512}) {
    before = used(pool);
    REQUIRE(target.clone(*whole, {512, length}, 0, nullptr));
    CHECK(used(pool) <= before + 40 * kNode);
    CHECK(target.tree().broken_rule().empty());
  }
  // And the copy is one.
  for (int i = 0; i < 100; ++i) {
    std::uint64_t at = random() % (64 * kGiB / 512 - 32) * 512;
    CHECK(read_all(target, {at, 8192}) == read_all(source, {at + 512, 8192}));
  }
}

TEST_CASE("a small snapshot of a large store keeps its own range and not the store") {
  auto pool = MemoryPool::create();
  MemoryStore store(kGiB, pool);
  Content block = content(4096, 1);
  for (std::uint64_t at = 0; at < kGiB; at += kGiB / 4096) REQUIRE(store.write(at, block));
  std::uint64_t full = used(pool);
  SnapshotRef small = capture(store, {{kGiB / 2 + 512, kMiB}});
  REQUIRE(store.unmap({0, kGiB}));
  settle_all(pool);
  CHECK(used(pool) < 5 * 4096 + 8 * kNode);  // four blocks, one of them cut
  CHECK(full > 4096 * 4096);
  CHECK(small->size_bytes() == kMiB);
}

TEST_CASE("after 10,000 overlapping copies of copies the bytes are right and metadata is bounded by extents") {
  constexpr std::uint64_t kSize = 8 * kMiB;
  constexpr std::uint64_t kMost = 512 * kKiB;
  auto pool = MemoryPool::create();
  MemoryStore store(kSize, pool);
  Content model = content(kSize, 1);
  REQUIRE(store.write(0, model));
  std::mt19937_64 random(11);
  for (int i = 0; i < 10'000; ++i) {
    std::uint64_t length = (random() % (kMost / 512) + 1) * 512;
    std::uint64_t from = random() % ((kSize - length) / 512 + 1) * 512;
    std::uint64_t to = random() % ((kSize - length) / 512 + 1) * 512;
    REQUIRE(store.clone(*capture(store, {{from, length}}), {0, length}, to, nullptr));
    std::memmove(model.data() + to, model.data() + from, static_cast<std::size_t>(length));
  }
  CHECK(read_all(store) == model);
  CHECK(store.tree().broken_rule().empty());
  settle_all(pool);
  // Chunks are as they were written or smaller; what copies added is slots in nodes that are a quarter full or more.
  CHECK(used(pool) < kSize + kSize / 4 + store.tree().extent_count() * kNode / 8);
  // Writing over everything leaves what was written, once, and for each extent less than a granule that it fills
  // partly.
  for (std::uint64_t at = 0; at < kSize; at += kMaxChunk)
    REQUIRE(store.write(at, base::Bytes(model).subspan(static_cast<std::size_t>(at), kMaxChunk)));
  settle_all(pool);
  CHECK(used(pool) < kSize + store.tree().extent_count() * (kGranule + kNode / 8));
  CHECK(read_all(store) == model);
}

TEST_CASE("dropping a large store frees nothing at once, and operations on others a little each") {
  auto pool = MemoryPool::create();
  MemoryStore other(kGiB, pool);
  auto store = std::make_unique<MemoryStore>(1024 * kGiB, pool);
  Content block = content(4096, 1);
  for (std::uint64_t i = 0; i < 20'000; ++i) REQUIRE(store->write(i * 50 * kMiB, block));
  std::uint64_t full = used(pool);
  store.reset();
  CHECK(used(pool) == full);
  // Two objects of at most 32 blocks for each operation, and what it allocates itself.
  for (std::uint64_t last = full, i = 0; i < 100; ++i) {
    REQUIRE(other.write(i * 4096, block));
    CHECK(used(pool) + 2 * (32 * 4096 + kNode) >= last);
    last = used(pool);
  }
  CHECK(used(pool) < full);
  settle_all(pool);
  CHECK(used(pool) < 110 * 4096);
}

TEST_CASE("filling a terabyte with one pattern costs one chunk and some nodes") {
  auto pool = MemoryPool::create();
  MemoryStore store(1024 * kGiB, pool);
  Content pattern = content(512, 1);
  REQUIRE(store.write_same({512, 1024 * kGiB - 512}, pattern));
  settle_all(pool);
  CHECK(used(pool) < kMaxChunk + 200 * kNode);
  CHECK(read_all(store, {1024 * kGiB - 512, 512}) == pattern);
  CHECK(read_all(store, {512 * kGiB + 512, 512}) == pattern);
  CHECK(read_all(store, {0, 512}) == Content(512));
}

TEST_CASE("stores of different pools copy instead of sharing") {
  auto pool = MemoryPool::create();
  auto other = MemoryPool::create();
  MemoryStore store(kMiB, pool);
  MemoryStore elsewhere(kMiB, other);
  Content data = content(kMiB, 1);
  REQUIRE(store.write(0, data));
  REQUIRE(elsewhere.clone(*capture(store, {{0, kMiB}}), {0, kMiB}, 0, nullptr));
  CHECK(used(other) > kMiB);
  CHECK(read_all(elsewhere) == data);
}

TEST_CASE("beyond the limit writes fail with no_space, reads and unmaps go on, and freed memory is used again") {
  auto pool = MemoryPool::create(kMiB);
  MemoryStore store(64 * kMiB, pool);
  Content block = content(64 * kKiB, 1);
  std::uint64_t at = 0;
  IoResult<void> result;
  while ((result = store.write(at, block))) at += block.size();
  CHECK(result.error().kind == IoError::Kind::no_space);
  CHECK(result.error().reason.find("of at most 1048576") != std::string::npos);
  CHECK(at >= kMiB - 128 * kKiB);
  CHECK(used(pool) <= kMiB + 4 * kNode);
  for (std::uint64_t done = 0; done < at; done += block.size()) CHECK(read_all(store, {done, block.size()}) == block);
  // What is mapped can still be overwritten in place.
  CHECK(store.write(0, content(64 * kKiB, 2)));
  REQUIRE(store.unmap({0, 64 * kMiB}));
  CHECK(store.write(32 * kMiB, content(960 * kKiB, 3)));
  CHECK(read_all(store, {32 * kMiB, 960 * kKiB}) == content(960 * kKiB, 3));
}

TEST_CASE("at the limit captures and clones fail too, and cost nothing") {
  auto pool = MemoryPool::create(256 * kKiB);
  MemoryStore store(64 * kMiB, pool);
  REQUIRE(store.write(0, content(64 * kKiB, 1)));
  SnapshotRef snapshot = capture(store, {{0, 64 * kKiB}});
  Content block = content(4096, 1);
  for (std::uint64_t at = kMiB; store.write(at, block);) at += 8192;
  pool->budget().charge(8192);  // whatever is left
  std::uint64_t before = used(pool);
  std::uint64_t copied = 1;
  auto cloned = store.clone(*snapshot, {0, 64 * kKiB}, 8 * kMiB, &copied);
  REQUIRE_FALSE(cloned);
  CHECK(cloned.error().kind == IoError::Kind::no_space);
  CHECK(copied == 0);
  ByteRange range{0, 512};
  auto captured = store.capture({&range, 1});
  REQUIRE_FALSE(captured);
  CHECK(captured.error().kind == IoError::Kind::no_space);
  CHECK(used(pool) == before);
  CHECK(read_all(store, {8 * kMiB, 4096}) == Content(4096));
  pool->budget().refund(8192);
}

TEST_CASE("a snapshot of few extents takes the memory of few") {
  auto pool = MemoryPool::create();
  MemoryStore store(kGiB, pool);
  for (std::uint64_t i = 0; i < 1000; ++i) REQUIRE(store.write(i * kMiB, content(256 * kKiB, 1)));
  settle_all(pool);
  for (std::uint64_t length : {4 * kKiB, 64 * kKiB, 128 * kKiB}) {
    CAPTURE(length);
    std::uint64_t before = used(pool);
    SnapshotRef snapshot = capture(store, {{500 * kMiB, length}});
    CHECK(used(pool) - before < 256);
    CHECK(read_all(*snapshot) == content(static_cast<std::size_t>(length), 1));
    snapshot = {};
    settle_all(pool);
    CHECK(used(pool) == before);
  }
}

TEST_CASE("a large tree is freed in slices") {
  auto pool = MemoryPool::create();
  MemoryStore store(kGiB, pool);
  std::uint64_t empty = used(pool);
  Content block = content(4096, 1);
  for (std::uint64_t at = 0; at < kGiB; at += kGiB / 4096) REQUIRE(store.write(at, block));
  std::uint64_t full = used(pool);
  REQUIRE(store.unmap({0, kGiB}));
  CHECK(used(pool) > full - 64 * 4096);
  int slices = 0;
  for (std::uint64_t last = used(pool); pool->reclaim(8); ++slices) {
    CHECK(used(pool) <= last);
    CHECK(last - used(pool) <= 8 * (32 * 4096 + kNode));
    last = used(pool);
  }
  CHECK(slices > 10);
  CHECK(used(pool) == empty);
}

TEST_CASE("operations free what earlier ones dropped, without the loop's help") {
  auto pool = MemoryPool::create();
  MemoryStore store(kGiB, pool);
  Content block = content(4096, 1);
  for (std::uint64_t at = 0; at < kGiB; at += kGiB / 2048) REQUIRE(store.write(at, block));
  REQUIRE(store.unmap({0, kGiB}));
  for (int i = 0; i < 200; ++i) REQUIRE(store.write(0, block));
  CHECK(used(pool) < 16 * kKiB);
}

TEST_CASE("what a few surviving bytes keep of a shared chunk is bounded") {
  auto pool = MemoryPool::create();
  MemoryStore store(4 * kMiB, pool);
  for (std::uint64_t kept : {std::uint64_t{512}, 4 * kKiB, 12 * kKiB}) {
    CAPTURE(kept);
    REQUIRE(store.write(0, content(4 * kMiB, 1)));
    SnapshotRef snapshot = capture(store, {{0, 4 * kMiB}});
    SUBCASE("after writes") {
      for (std::uint64_t at = 0; at < 4 * kMiB; at += kMaxChunk)
        REQUIRE(store.write(at + kept, content(static_cast<std::size_t>(kMaxChunk - kept), 2)));
      snapshot = {};
      settle_all(pool);
      CHECK(used(pool) < 4 * kMiB * 110 / 100);
    }
    SUBCASE("after unmaps") {
      for (std::uint64_t at = 0; at < 4 * kMiB; at += kMaxChunk) REQUIRE(store.unmap({at + kept, kMaxChunk - kept}));
      snapshot = {};
      settle_all(pool);
      CHECK(used(pool) < 64 * (kept + 4096) * 110 / 100);
    }
    SUBCASE("after small clones") {
      MemoryStore target(4 * kMiB, pool);
      for (std::uint64_t at = 0; at < 4 * kMiB; at += kMaxChunk)
        REQUIRE(target.clone(*snapshot, {at + 1024, kept}, at, nullptr));
      REQUIRE(store.unmap({0, 4 * kMiB}));
      snapshot = {};
      settle_all(pool);
      CHECK(used(pool) < 64 * (kept + 4096) * 110 / 100 + 4 * kNode);
    }
  }
}

TEST_CASE("a pinned read costs its chunk until it is released") {
  auto pool = MemoryPool::create();
  MemoryStore store(kMiB, pool);
  REQUIRE(store.write(0, content(64 * kKiB, 1)));
  std::uint64_t before = used(pool);
  base::Segments sending;
  REQUIRE(store.read({0, 64 * kKiB}, sending));
  CHECK(used(pool) == before);
  REQUIRE(store.write(0, content(64 * kKiB, 2)));
  CHECK(used(pool) >= before + 64 * kKiB);
  CHECK(sending.to_vector() == content(64 * kKiB, 1));
  sending.clear();
  CHECK(used(pool) == before);
}

TEST_CASE("everything dropped, in any order, leaves nothing charged") {
  auto pool = MemoryPool::create();
  base::Segments sending;
  SnapshotRef snapshot;
  {
    MemoryStore first(kGiB, pool);
    MemoryStore second(kGiB, pool);
    for (std::uint64_t at = 0; at + 5000 <= kGiB; at += kGiB / 1000 / 512 * 512)
      REQUIRE(first.write(at, content(5000, 1)));
    snapshot = capture(first, {{5 * kMiB, 100 * kMiB}, {0, kGiB}});
    REQUIRE(second.clone(*snapshot, {0, kGiB}, 0, nullptr));
    REQUIRE(second.write_same({kMiB, 300 * kMiB}, content(512, 3)));
    REQUIRE(second.read({0, kMiB}, sending));
  }
  CHECK(used(pool) > 0);
  snapshot = {};
  CHECK(used(pool) == [&] {
    std::uint64_t pinned = 0;
    const void* last = nullptr;
    for (const auto& part : sending.parts())
      if (part.owner && part.owner.get() != last) {
        last = part.owner.get();
        pinned += static_cast<const Chunk*>(part.owner.get())->size();
      }
    return pinned;
  }());
  sending.clear();
  CHECK(used(pool) == 0);
}

TEST_CASE("snapshots are read and released on other threads while their store changes") {
  auto pool = MemoryPool::create();
  MemoryStore store(4 * kMiB, pool);
  REQUIRE(store.write(0, content(4 * kMiB, 1)));
  Content expected = content(4 * kMiB, 1);
  std::vector<std::thread> readers;
  std::atomic<int> wrong{0};
  for (unsigned i = 0; i < 3; ++i) {
    readers.emplace_back([&, snapshot = capture(store, {{0, 4 * kMiB}})]() mutable {
      for (std::uint64_t at = 0; at < 4 * kMiB; at += 256 * kKiB) {
        base::Segments out;
        if (!snapshot->read({at, 256 * kKiB}, out) ||
            out.to_vector() != Content(expected.begin() + static_cast<std::ptrdiff_t>(at),
                                       expected.begin() + static_cast<std::ptrdiff_t>(at + 256 * kKiB)))
          ++wrong;
      }
      snapshot = {};
    });
  }
  Content block = content(6000, 2);
  for (std::uint64_t at = 0; at + 6000 < 4 * kMiB; at += 5000) REQUIRE(store.write(at, block));
  REQUIRE(store.unmap({kMiB, kMiB}));
  for (auto& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(store.tree().broken_rule().empty());
}

TEST_CASE("fetch() brings a file's snapshot into the pool, holes as holes, without touching the store") {
  auto pool = MemoryPool::create(4 * kMiB);
  MemoryStore store(64 * kMiB, pool);
  FileKind files;
  auto file = files.make(64 * kMiB);
  REQUIRE(file->write(kMiB, content(kMiB, 5)));
  const ByteRange all{0, 64 * kMiB};
  auto snapshot = file->capture({&all, 1});
  REQUIRE(snapshot);
  CHECK((*snapshot)->may_block());

  IoResult<SnapshotRef> fetched;
  std::thread worker([&] { fetched = store.fetch(**snapshot, {kMiB / 2, 2 * kMiB}); });
  REQUIRE(store.write(32 * kMiB, content(4096, 1)));
  worker.join();
  REQUIRE(fetched);
  CHECK_FALSE((*fetched)->may_block());
  CHECK(used(pool) < 2 * kMiB);
  std::uint64_t before = used(pool);
  REQUIRE(store.clone(**fetched, {0, 2 * kMiB}, 0, nullptr));
  CHECK(used(pool) < before + 16 * kNode);  // shared, not copied
  CHECK(read_all(store, {kMiB / 2, kMiB}) == content(kMiB, 5));
  CHECK_FALSE(store.provisioning(0)->mapped);

  // More than the pool has room for.
  REQUIRE(file->write(8 * kMiB, content(8 * kMiB, 6)));
  snapshot = file->capture({&all, 1});
  auto full = store.fetch(**snapshot, all);
  REQUIRE_FALSE(full);
  CHECK(full.error().kind == IoError::Kind::no_space);
}

TEST_CASE("a snapshot of several parts is shared part by part, not copied") {
  auto pool = MemoryPool::create();
  MemoryStore store(64 << 20, pool);
  std::vector<std::uint8_t> data(1 << 20, 7);
  REQUIRE(store.write(0, data));
  REQUIRE(store.write(8 << 20, data));
  const ByteRange first{0, 1 << 20}, second{8 << 20, 1 << 20};
  std::vector<SnapshotRef> parts{store.capture({&first, 1}).value(), store.capture({&second, 1}).value()};
  JoinedSnapshot joined(std::move(parts));
  std::uint64_t before = pool->budget().used(), copied = 0;
  REQUIRE(store.clone(joined, {512, (2 << 20) - 1024}, 16 << 20, &copied));
  CHECK(copied == (2 << 20) - 1024);
  CHECK(pool->budget().used() - before < 64 << 10);
  base::Segments out;
  REQUIRE(store.read({16 << 20, (2 << 20) - 1024}, out));
  CHECK(out.to_vector() == std::vector<std::uint8_t>((2 << 20) - 1024, 7));
}
