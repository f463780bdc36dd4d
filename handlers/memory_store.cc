#include "handlers/memory_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "handlers/copy_from_snapshot.h"
#include "handlers/joined_snapshot.h"
#include "handlers/memory_usage.h"

namespace handlers {
namespace {

class MemorySnapshot final : public Snapshot {
 public:
  MemorySnapshot(const PoolUser& pool, ExtentTree tree) : pool_(pool), tree_(std::move(tree)) {
    pool_->budget().charge(sizeof(MemorySnapshot));
  }
  ~MemorySnapshot() override { pool_->budget().refund(sizeof(MemorySnapshot)); }

  std::uint64_t size_bytes() const override { return tree_.length(); }
  IoResult<void> read(ByteRange range, base::Segments& out) const override {
    tree_.read(range.offset, range.length, out);
    return {};
  }
  IoResult<ProvisioningRun> provisioning(std::uint64_t offset) const override {
    ExtentTree::Run run = tree_.run(offset);
    return ProvisioningRun{run.length, run.mapped};
  }
  std::uint64_t count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const override {
    if (from == 0) {
      if (!usage.enter(this)) {
        --left;
        return size_bytes();
      }
      usage.add(sizeof(MemorySnapshot));
    }
    return tree_.count_memory(usage, from, left);
  }

  MemoryPool& pool() const { return *pool_; }
  const ExtentTree& tree() const { return tree_; }

 private:
  PoolUser pool_;
  ExtentTree tree_;
};

void fill(base::MutableBytes out, base::Bytes pattern) {
  for (; !out.empty(); out = out.subspan(pattern.size())) std::memcpy(out.data(), pattern.data(), pattern.size());
}

}  // namespace

MemoryStore::MemoryStore(std::uint64_t size_bytes, base::Ref<MemoryPool> pool)
    : pool_(std::move(pool)), size_(size_bytes), tree_(ExtentTree::hole(*pool_, size_bytes)) {}

IoResult<void> MemoryStore::resize(std::uint64_t size_bytes) {
  reclaim_some();
  if (size_bytes > size_) {
    tree_.append(*pool_, ExtentTree::hole(*pool_, size_bytes - size_));
  } else if (size_bytes < size_) {
    tree_ = tree_.slice(*pool_, 0, size_bytes);
  }
  size_ = size_bytes;
  return {};
}

IoResult<void> MemoryStore::check_budget() const {
  if (!pool_->budget().exhausted()) return {};
  return std::unexpected(IoError{
      IoError::Kind::no_space,
      fmt::format("memory stores hold {} bytes of at most {}", pool_->budget().used(), pool_->budget().limit())});
}

IoResult<void> MemoryStore::read(ByteRange range, base::Segments& out) {
  assert(range.end() <= size_);
  tree_.read(range.offset, range.length, out);
  return {};
}

IoResult<void> MemoryStore::write(std::uint64_t offset, base::Bytes data) {
  assert(offset + data.size() <= size_);
  reclaim_some();
  std::uint64_t written = tree_.write(*pool_, offset, data);
  if (written == data.size()) return {};
  return std::unexpected(IoError{IoError::Kind::no_space,
                                 fmt::format("no memory for {} bytes: stores hold {} of at most {}",
                                             data.size() - written, pool_->budget().used(), pool_->budget().limit())});
}

bool MemoryStore::lend(ByteRange range, Loan& loan) {
  // Between multiples of kMaxChunk, as extents are: less than a whole one is better overwritten in place.
  const std::uint64_t border = (range.offset + kMaxChunk - 1) / kMaxChunk * kMaxChunk;
  if (range.end() < border + kMaxChunk || range.length > kMostLent) return false;
  for (std::uint64_t at = range.offset; at < range.end();) {
    const auto size = static_cast<std::size_t>(std::min(range.end() - at, kMaxChunk - at % kMaxChunk));
    base::Ref<Chunk> chunk = pool_->lend(size);
    if (!chunk) {
      loan.clear();
      return false;
    }
    base::MutableBytes bytes(chunk->data(), size);
    loan.push_back({bytes, std::move(chunk)});
    at += size;
  }
  return true;
}

IoResult<void> MemoryStore::write_lent(std::uint64_t offset, Loan& loan) {
  const LoanEnd end(loan);
  reclaim_some();
  IoResult<void> written;
  for (const LoanPart& part : loan) {
    if (!take_over(offset, part)) written = write(offset, part.bytes);
    if (!written) break;
    offset += part.bytes.size();
  }
  return written;
}

/// False where copying is better, or the memory is no chunk of this pool.
bool MemoryStore::take_over(std::uint64_t offset, const LoanPart& part) {
  base::Ref<Chunk> chunk(dynamic_cast<Chunk*>(part.owner.get()));
  if (!chunk || !chunk->belongs_to(*pool_) || chunk->data() != part.bytes.data()) return false;
  if (chunk->size() - part.bytes.size() >= kGranule) return false;
  if (!pool_->charge(*chunk)) return false;
  if (!tree_.exchange(*pool_, offset, part.bytes.size(), chunk)) {
    pool_->uncharge(*chunk);
    return false;
  }
  if (chunk && chunk->unique() && chunk->size() == kMaxChunk) pool_->keep(std::move(chunk));
  return true;
}

IoResult<void> MemoryStore::write_same(ByteRange range, base::Bytes pattern) {
  if (range.length == 0) return {};
  if (base::all_zeros(pattern)) return unmap(range);
  std::size_t unit = kMaxChunk / pattern.size() * pattern.size();
  if (range.length <= kMaxChunk || unit == 0) {
    // Short enough to be written in place, or a pattern too long to be shared.
    std::vector<std::uint8_t> data(unit == 0 ? pattern.size() : static_cast<std::size_t>(range.length));
    fill(data, pattern);
    for (std::uint64_t done = 0; done < range.length; done += data.size()) {
      if (auto result = write(range.offset + done, data); !result) return result;
    }
    return {};
  }
  reclaim_some();
  base::Ref<Chunk> chunk = pool_->allocate(unit);
  unit = chunk ? std::min(unit, chunk->size()) / pattern.size() * pattern.size() : 0;
  if (unit == 0) {
    return std::unexpected(IoError{IoError::Kind::no_space, "no memory for the pattern of a WRITE SAME"});
  }
  fill({chunk->data(), unit}, pattern);
  ExtentTree once = ExtentTree::extent(*pool_, std::move(chunk), unit);
  tree_.replace(*pool_, range.offset, ExtentTree::repeat(*pool_, once, range.length));
  return {};
}

IoResult<void> MemoryStore::unmap(ByteRange range) {
  reclaim_some();
  if (range.length > 0) tree_.replace(*pool_, range.offset, ExtentTree::hole(*pool_, range.length));
  return {};
}

IoResult<ProvisioningRun> MemoryStore::provisioning(std::uint64_t offset) {
  ExtentTree::Run run = tree_.run(offset);
  return ProvisioningRun{run.length, run.mapped};
}

IoResult<SnapshotRef> MemoryStore::capture(std::span<const ByteRange> ranges) {
  reclaim_some();
  if (auto room = check_budget(); !room) return std::unexpected(room.error());
  ExtentTree captured;
  for (const ByteRange& range : ranges) captured.append(*pool_, tree_.slice(*pool_, range.offset, range.length));
  return base::make_ref<const MemorySnapshot>(pool_, std::move(captured));
}

IoResult<void> MemoryStore::clone(const Snapshot& snapshot, ByteRange range, std::uint64_t offset,
                                  std::uint64_t* copied) {
  if (auto* joined = dynamic_cast<const JoinedSnapshot*>(&snapshot)) {
    std::uint64_t done = 0;
    auto result = joined->visit(range, [&](const Snapshot& part, ByteRange within) {
      std::uint64_t of_part = 0;
      auto cloned = clone(part, within, offset + done, &of_part);
      done += cloned ? within.length : of_part;
      return cloned;
    });
    if (copied) *copied = done;
    return result;
  }
  auto* memory = dynamic_cast<const MemorySnapshot*>(&snapshot);
  if (!memory || &memory->pool() != &*pool_) return copy_from_snapshot(*this, snapshot, range, offset, copied);
  reclaim_some();
  if (copied) *copied = 0;
  if (auto room = check_budget(); !room) return room;
  tree_.replace(*pool_, offset, memory->tree().slice(*pool_, range.offset, range.length));
  if (copied) *copied = range.length;
  return {};
}

IoResult<SnapshotRef> MemoryStore::fetch(const Snapshot& snapshot, ByteRange range) {
  // A store of its own on the same pool, which any thread may use.
  MemoryStore staging(range.length, base::Ref<MemoryPool>(&*pool_));
  if (auto copied = copy_from_snapshot(staging, snapshot, range, 0, nullptr); !copied)
    return std::unexpected(copied.error());
  const ByteRange whole{0, range.length};
  return staging.capture({&whole, 1});
}

}  // namespace handlers
