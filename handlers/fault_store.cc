#include "handlers/fault_store.h"

#include <utility>

namespace handlers {

void FaultStore::fail_nth(Call call, std::uint64_t nth, IoError error) {
  std::lock_guard lock(mutex_);
  faults_[static_cast<std::size_t>(call)] = {nth, std::move(error)};
}

void FaultStore::set_full(bool full) {
  std::lock_guard lock(mutex_);
  full_ = full;
}

IoResult<void> FaultStore::count(Call call) {
  std::lock_guard lock(mutex_);
  Fault& fault = faults_[static_cast<std::size_t>(call)];
  if (fault.calls_left > 0 && --fault.calls_left == 0) return std::unexpected(fault.error);
  if (call == Call::write && full_) return std::unexpected(IoError{IoError::Kind::no_space, "told to be full"});
  return {};
}

IoResult<void> FaultStore::read(ByteRange range, base::Segments& out) {
  if (auto fault = count(Call::read); !fault) return fault;
  return store_->read(range, out);
}

IoResult<void> FaultStore::write(std::uint64_t offset, base::Bytes data) {
  if (auto fault = count(Call::write); !fault) return fault;
  return store_->write(offset, data);
}

IoResult<void> FaultStore::write_lent(std::uint64_t offset, Loan& loan) {
  if (auto fault = count(Call::write); !fault) {
    loan.clear();
    return fault;
  }
  return store_->write_lent(offset, loan);
}

IoResult<void> FaultStore::write_same(ByteRange range, base::Bytes pattern) {
  if (auto fault = count(Call::write); !fault) return fault;
  return store_->write_same(range, pattern);
}

IoResult<void> FaultStore::unmap(ByteRange range) {
  if (auto fault = count(Call::unmap); !fault) return fault;
  return store_->unmap(range);
}

IoResult<void> FaultStore::flush() {
  if (auto fault = count(Call::flush); !fault) return fault;
  return store_->flush();
}

IoResult<SnapshotRef> FaultStore::capture(std::span<const ByteRange> ranges) {
  if (auto fault = count(Call::capture); !fault) return std::unexpected(fault.error());
  return store_->capture(ranges);
}

IoResult<void> FaultStore::clone(const Snapshot& snapshot, ByteRange range, std::uint64_t offset,
                                 std::uint64_t* copied) {
  if (copied) *copied = 0;
  if (auto fault = count(Call::write); !fault) return fault;
  return store_->clone(snapshot, range, offset, copied);
}

}  // namespace handlers
