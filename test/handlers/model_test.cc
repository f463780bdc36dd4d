// Random sequences of operations on several stores and snapshots, against plain byte arrays.
// Not tested, and why: calls from several threads (file_store_test.cc).
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>
#include <random>

#include "handlers/memory_usage.h"
#include "store_kinds.h"

using namespace handlers;

namespace {

/// One operation: a kind and numbers that pick its stores and ranges, whatever their sizes.
using Op = std::array<std::uint32_t, 6>;

constexpr std::uint32_t kKinds = 8;
enum class Kinds { memory, files, all };

/// Stores, their model, and snapshots with theirs.
class World {
 public:
  World(std::uint64_t size, std::uint32_t alignment, Kinds kinds) : size_(size), alignment_(alignment) {
    if (kinds != Kinds::files) {
      add(std::make_unique<MemoryStore>(size, pool_));
      add(std::make_unique<MemoryStore>(size, pool_));
      add(std::make_unique<MemoryStore>(size, other_pool_));
    }
    for (auto& pool : {pool_, other_pool_}) {
      file_.pool = pool;
      if (kinds != Kinds::memory) add(file_.make(size));
    }
  }

  void apply(const Op& op) {
    Pair& at = stores_[op[1] % stores_.size()];
    ByteRange range = pick(op[2], op[3], size_);
    switch (op[0] % kKinds) {
      case 0: write(at, range, op[5]); break;
      case 1: write_lent(at, range, op[4], op[5]); break;
      case 2: write_same(at, range, op[5]); break;
      case 3: unmap(at, range); break;
      case 4: take(at, range, pick(op[4], op[5], size_), op[5]); break;
      case 5: clone(at, op); break;
      case 6: (op[4] % 2 == 0 ? pool_ : other_pool_)->reclaim(op[5] % 4); break;
      default:
        if (!snapshots_.empty()) snapshots_.erase(snapshots_.begin() + op[2] % snapshots_.size());
    }
    for (auto& store : stores_) check_tree(*store.store);
  }

  /// Data with a hole in every 2 KiB: as many extents as the size allows, or as much saved for a snapshot.
  void fragment() {
    for (auto& store : stores_) {
      write(store, {0, size_}, 1);
      if (!dynamic_cast<MemoryStore*>(store.store.get())) take(store, {0, size_}, {}, 1);
      for (std::uint64_t at = 0; at < size_; at += 2048) unmap(store, {at, 512});
    }
  }

  void check_all() {
    for (auto& store : stores_) {
      if (read_all(*store.store) != store.model) throw std::runtime_error("a store differs from its model");
      check_holes(*store.store, store.model);
    }
    for (auto& snapshot : snapshots_)
      if (read_all(*snapshot.snapshot) != snapshot.model) throw std::runtime_error("a snapshot differs");
  }

  /// Whether the snapshots, all of files, keep what is used of the pools, when nothing is left to be reclaimed.
  bool keep_all_that_is_used() {
    std::uint64_t used = 0;
    for (auto& pool : {pool_, other_pool_}) {
      while (pool->reclaim(1000)) continue;
      used += pool->budget().used() - pool->budget().structure();
    }
    MemoryUsage usage;
    for (auto& snapshot : snapshots_) count_all(*snapshot.snapshot, usage);
    return usage.bytes() == used;
  }

  /// Drops everything in an order that leaves snapshots last; what the pools then hold.
  std::uint64_t drop() {
    stores_.clear();
    snapshots_.clear();
    return pool_->budget().used() + other_pool_->budget().used();
  }

  std::uint64_t extents() { return dynamic_cast<MemoryStore&>(*stores_[0].store).tree().extent_count(); }

 private:
  struct Pair {
    std::unique_ptr<BackingStore> store;
    Content model;
  };
  struct Captured {
    SnapshotRef snapshot;
    Content model;
  };
  static constexpr std::size_t kSnapshots = 6;

  void add(std::unique_ptr<BackingStore> store) {
    stores_.push_back({std::move(store), Content(static_cast<std::size_t>(size_))});
  }

  /// Mostly short ranges, sometimes anything, in units of the alignment.
  ByteRange pick(std::uint32_t a, std::uint32_t b, std::uint64_t size) const {
    std::uint64_t units = size / alignment_;
    std::uint64_t offset = a % (units + 1);
    std::uint64_t most = std::min(units - offset, b % 4 == 0 ? units : 24 * 512 / alignment_ + 1);
    return {offset * alignment_, b / 4 % (most + 1) * alignment_};
  }

  static auto begin_of(Content& bytes, ByteRange range) {
    return bytes.begin() + static_cast<std::ptrdiff_t>(range.offset);
  }

  static void must(const IoResult<void>& result) {
    if (!result) throw std::runtime_error(result.error().reason);
  }

  void write(Pair& at, ByteRange range, unsigned seed) {
    Content data = content(static_cast<std::size_t>(range.length), seed);
    must(at.store->write(range.offset, data));
    std::copy(data.begin(), data.end(), begin_of(at.model, range));
  }

  /// The data in chunks of a pool, its own or not, of up to as many granules as `cut` says.
  void write_lent(Pair& at, ByteRange range, std::uint32_t cut, unsigned seed) {
    const std::uint64_t most = (cut % kMaxChunkGranules + 1) * kGranule;
    Content data = content(static_cast<std::size_t>(range.length), seed);
    for (std::uint64_t done = 0; done < range.length;) {
      Loan loan;
      const std::uint64_t offset = range.offset + done;
      while (done < range.length && loan.size() < kMostLoanParts) {
        auto wanted = static_cast<std::size_t>(std::min(most, range.length - done));
        base::Ref<Chunk> chunk = pool_->lend(wanted);
        for (; !chunk; chunk = pool_->lend(wanted)) wanted = wanted / 2 + 1;  // none so long in one piece
        base::MutableBytes bytes(chunk->data(), std::min<std::size_t>(chunk->size(), range.length - done));
        std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(done), bytes.size(), bytes.begin());
        loan.push_back({bytes, std::move(chunk)});
        done += bytes.size();
      }
      must(at.store->write_lent(offset, loan));
      if (!loan.empty()) throw std::runtime_error("a loan was not taken");
    }
    std::copy(data.begin(), data.end(), begin_of(at.model, range));
  }

  void write_same(Pair& at, ByteRange range, unsigned seed) {
    Content pattern = seed % 3 == 0 ? Content(alignment_) : content(alignment_, seed);
    must(at.store->write_same(range, pattern));
    for (std::uint64_t i = 0; i < range.length; ++i)
      begin_of(at.model, range)[static_cast<std::ptrdiff_t>(i)] = pattern[i % pattern.size()];
  }

  static void unmap(Pair& at, ByteRange range) {
    must(at.store->unmap(range));
    std::fill_n(begin_of(at.model, range), range.length, 0);
  }

  void take(Pair& at, ByteRange first, ByteRange second, unsigned how) {
    std::vector<ByteRange> ranges{first};
    if (how % 2 == 0) ranges.push_back(second);
    if (how % 8 == 1) ranges = {{0, size_}};
    if (snapshots_.size() == kSnapshots) snapshots_.erase(snapshots_.begin());
    Captured captured{capture(*at.store, ranges), {}};
    for (ByteRange range : ranges) {
      auto begin = begin_of(at.model, range);
      captured.model.insert(captured.model.end(), begin, begin + static_cast<std::ptrdiff_t>(range.length));
    }
    snapshots_.push_back(std::move(captured));
  }

  void clone(Pair& at, const Op& op) {
    if (snapshots_.empty()) return;
    Captured& from = snapshots_[op[4] % snapshots_.size()];
    ByteRange range = pick(op[2], op[3], from.model.size());
    std::uint64_t offset = op[5] % ((size_ - std::min(size_, range.length)) / alignment_ + 1) * alignment_;
    range.length = std::min(range.length, size_ - offset);
    std::uint64_t copied = 0;
    must(at.store->clone(*from.snapshot, range, offset, &copied));
    if (copied != range.length) throw std::runtime_error("a clone that succeeded did not copy everything");
    std::copy_n(begin_of(from.model, range), range.length, begin_of(at.model, {offset, range.length}));
  }

  static void check_tree(BackingStore& store) {
    auto* memory = dynamic_cast<MemoryStore*>(&store);
    if (!memory) return;
    if (memory->tree().length() != memory->size_bytes()) throw std::runtime_error("a tree is as long as its store");
    if (std::string rule = memory->tree().broken_rule(); !rule.empty()) throw std::runtime_error(rule);
  }

  static void check_holes(BackingStore& store, const Content& model) {
    for (std::uint64_t at = 0; at < model.size();) {
      auto run = store.provisioning(at);
      if (!run || run->length == 0 || at + run->length > model.size()) throw std::runtime_error("a run is wrong");
      auto begin = model.begin() + static_cast<std::ptrdiff_t>(at);
      at += run->length;
      if (!run->mapped &&
          std::any_of(begin, begin + static_cast<std::ptrdiff_t>(run->length), [](auto b) { return b; }))
        throw std::runtime_error("a hole holds data");
    }
  }

  std::uint64_t size_;
  std::uint32_t alignment_;
  base::Ref<MemoryPool> pool_ = MemoryPool::create();
  base::Ref<MemoryPool> other_pool_ = MemoryPool::create();
  FileKind file_;
  std::vector<Pair> stores_;
  std::vector<Captured> snapshots_;
};

bool agrees(const std::vector<Op>& ops, std::uint32_t alignment) {
  World world(96 * 1024, alignment, Kinds::all);
  for (const Op& op : ops) world.apply(op);
  world.check_all();
  return world.drop() == 0;
}

/// Long runs: trees of several levels, and old data that goes in several slices, which a sequence worth shrinking never
/// builds.
void run_long(std::uint64_t seed, std::uint64_t size, std::uint32_t alignment, int operations, Kinds kinds) {
  std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
  World world(size, alignment, kinds);
  world.fragment();
  if (kinds == Kinds::memory) CHECK(world.extents() > 1024);  // more than two levels of kFanout
  for (int i = 0; i < operations; ++i) {
    Op op;
    for (auto& number : op) number = random();
    if (op[0] % kKinds == 2 && op[1] % 4 != 0) op[0] = 0;  // long fills would keep the trees small
    if (op[3] % 1024 != 0) op[3] |= 1;
    world.apply(op);
    if (i % (operations / 4) == 0) world.check_all();
  }
  world.check_all();
  if (kinds == Kinds::files) CHECK(world.keep_all_that_is_used());
  CHECK(world.drop() == 0);
}

}  // namespace

TEST_CASE("stores and snapshots agree with byte arrays after any sequence of operations on blocks") {
  CHECK(rc::check([](const std::vector<Op>& ops) { RC_ASSERT(agrees(ops, 512)); }));
}

TEST_CASE("stores and snapshots agree with byte arrays after any sequence of operations on single bytes") {
  CHECK(rc::check([](const std::vector<Op>& ops) { RC_ASSERT(agrees(ops, 1)); }));
}

TEST_CASE("deep trees agree with byte arrays after thousands of operations") {
  for (std::uint64_t seed : {1, 2}) {
    CAPTURE(seed);
    run_long(seed, 2 << 20, 512, 500, Kinds::memory);
  }
  run_long(4, 2 << 20, 1, 500, Kinds::memory);
}

TEST_CASE("files agree with byte arrays while what released snapshots left is taken apart between any operations") {
  for (std::uint64_t seed : {1, 2, 3, 4}) {
    CAPTURE(seed);
    run_long(seed, 2 << 20, 512, 1000, Kinds::files);
  }
}

TEST_CASE("at the memory limit a failing write leaves old or new bytes in its range, and all else as it was") {
  constexpr std::uint64_t kSize = 2 << 20;
  for (std::uint64_t seed : {1, 2, 3}) {
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    auto pool = MemoryPool::create(300 * 1024);
    auto store = std::make_unique<MemoryStore>(kSize, pool);
    Content model(kSize);
    SnapshotRef snapshot;
    Content captured;
    int refused = 0;
    bool right = true;
    for (int i = 0; i < 400; ++i) {
      std::uint64_t offset = random() % (kSize / 512) * 512;
      std::uint64_t length = std::min<std::uint64_t>(random() % 60 * 512, kSize - offset);
      auto begin = model.begin() + static_cast<std::ptrdiff_t>(offset);
      if (i % 40 == 20) {
        snapshot = {};
        ByteRange range{0, kSize};
        if (auto taken = store->capture({&range, 1})) {
          snapshot = *taken;
          captured = model;
        }
      } else if (i % 5 == 4) {
        REQUIRE(store->unmap({offset, length}));
        std::fill_n(begin, length, 0);
      } else {
        Content data = content(static_cast<std::size_t>(length), random());
        bool worked = store->write(offset, data).has_value();
        refused += worked ? 0 : 1;
        Content now = read_all(*store, {offset, length});
        for (std::size_t at = 0; at < now.size(); ++at)
          right = right && (now[at] == data[at] || (!worked && now[at] == begin[static_cast<std::ptrdiff_t>(at)]));
        std::copy(now.begin(), now.end(), begin);
      }
      right = right && store->tree().broken_rule().empty();
    }
    CHECK(right);
    CHECK(refused > 10);
    CHECK(read_all(*store) == model);
    if (snapshot) CHECK(read_all(*snapshot) == captured);
    store.reset();
    snapshot = {};
    CHECK(pool->budget().used() == 0);
  }
}
