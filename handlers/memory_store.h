// A thin store in memory: an ExtentTree and little else.
//
// Memory used grows with what is written, in granules of 4 KiB; unmapped ranges and ranges filled with zeros by
// write_same() take none. capture() and clone() between memory stores of one pool share, whatever the size; what
// comes from elsewhere is copied. Does not persist anything. Thread: one at a time (the loop's) for the store; a
// snapshot may be read and released on any thread.
#pragma once

#include "handlers/backing_store.h"
#include "handlers/extent_tree.h"
#include "handlers/memory_pool.h"

namespace handlers {

class MemoryStore final : public BackingStore {
 public:
  /// All of it unmapped. Stores of one process share a pool: its limit, and the memory itself.
  explicit MemoryStore(std::uint64_t size_bytes, base::Ref<MemoryPool> pool = MemoryPool::create());

  std::uint64_t size_bytes() const override { return size_; }
  IoResult<void> resize(std::uint64_t size_bytes) override;
  bool may_block() const override { return false; }
  bool read_only() const override { return false; }
  IoResult<void> read(ByteRange range, base::Segments& out) override;
  bool lend(ByteRange range, Loan& loan) override;
  IoResult<void> write_lent(std::uint64_t offset, Loan& loan) override;
  IoResult<void> write(std::uint64_t offset, base::Bytes data) override;
  IoResult<void> write_same(ByteRange range, base::Bytes pattern) override;
  IoResult<void> unmap(ByteRange range) override;
  IoResult<void> flush() override { return {}; }
  IoResult<ProvisioningRun> provisioning(std::uint64_t offset) override;
  IoResult<SnapshotRef> capture(std::span<const ByteRange> ranges) override;
  IoResult<void> clone(const Snapshot& snapshot, ByteRange range, std::uint64_t offset, std::uint64_t* copied) override;
  IoResult<SnapshotRef> fetch(const Snapshot& snapshot, ByteRange range) override;
  /// What the whole pool holds: memory is shared between its stores.
  std::uint64_t allocated_bytes() const override { return pool_->budget().used(); }
  std::optional<std::uint64_t> available_bytes() const override { return pool_->budget().available(); }
  std::uint64_t count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const override {
    return tree_.count_memory(usage, from, left);
  }

  /// For tests: the structure.
  const ExtentTree& tree() const { return tree_; }

 private:
  /// Called by every change: takes apart a little of what earlier ones dropped.
  void reclaim_some() { pool_->reclaim(kReclaimedPerOperation); }
  IoResult<void> check_budget() const;
  bool take_over(std::uint64_t offset, const LoanPart& part);

  static constexpr std::size_t kReclaimedPerOperation = 2;
  static constexpr std::uint64_t kMostLent = (kMostLoanParts - 1) * kMaxChunk;

  PoolUser pool_;
  std::uint64_t size_;
  ExtentTree tree_;
};

}  // namespace handlers
