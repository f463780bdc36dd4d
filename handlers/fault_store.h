// A store that fails when told to, around one that works.
//
// The nth call of a kind fails once with the error given, or the medium is full until told otherwise. A failing
// write has written nothing. Does not delay. Thread: the wrapped store's; faults may be set on any.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "handlers/backing_store.h"

namespace handlers {

class FaultStore final : public BackingStore {
 public:
  /// What a fault waits for. `write` is any change but an unmap: write, write same, clone.
  enum class Call { read, write, unmap, flush, capture };

  explicit FaultStore(std::unique_ptr<BackingStore> store) : store_(std::move(store)) {}

  /// The nth `call` from now (1: the next) fails with `error`; one fault per kind of call waits at a time.
  void fail_nth(Call call, std::uint64_t nth, IoError error);
  /// While set, every write fails with no_space.
  void set_full(bool full);

  BackingStore& wrapped() { return *store_; }

  std::uint64_t size_bytes() const override { return store_->size_bytes(); }
  IoResult<void> resize(std::uint64_t size_bytes) override { return store_->resize(size_bytes); }
  IoResult<std::uint64_t> measure() const override { return store_->measure(); }
  bool may_block() const override { return store_->may_block(); }
  bool read_only() const override { return store_->read_only(); }
  IoResult<void> read(ByteRange range, base::Segments& out) override;
  bool lend(ByteRange range, Loan& loan) override { return store_->lend(range, loan); }
  IoResult<void> write_lent(std::uint64_t offset, Loan& loan) override;
  IoResult<void> write(std::uint64_t offset, base::Bytes data) override;
  IoResult<void> write_same(ByteRange range, base::Bytes pattern) override;
  IoResult<void> unmap(ByteRange range) override;
  IoResult<void> flush() override;
  IoResult<ProvisioningRun> provisioning(std::uint64_t offset) override { return store_->provisioning(offset); }
  IoResult<SnapshotRef> capture(std::span<const ByteRange> ranges) override;
  IoResult<void> clone(const Snapshot& snapshot, ByteRange range, std::uint64_t offset, std::uint64_t* copied) override;
  IoResult<SnapshotRef> fetch(const Snapshot& snapshot, ByteRange range) override {
    return store_->fetch(snapshot, range);
  }
  std::uint64_t allocated_bytes() const override { return store_->allocated_bytes(); }
  std::optional<std::uint64_t> available_bytes() const override { return store_->available_bytes(); }
  std::uint64_t count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const override {
    return store_->count_memory(usage, from, left);
  }

 private:
  struct Fault {
    std::uint64_t calls_left = 0;  ///< 0: none waits
    IoError error;
  };
  static constexpr std::size_t kCalls = 5;

  /// Counts a call; the error when its turn has come.
  IoResult<void> count(Call call);

  std::unique_ptr<BackingStore> store_;
  std::mutex mutex_;
  std::array<Fault, kCalls> faults_{};
  bool full_ = false;
};

}  // namespace handlers
