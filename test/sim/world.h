// The array under test: a device server, its copy manager, logical units of both block lengths over both kinds of
// store, a virtual clock, and an executor that does held work in whatever order it is told to. No socket, no thread.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/executor.h"
#include "handlers/fault_store.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "test/handlers/store_kinds.h"
#include "test/sim/model.h"

namespace sim {

/// What differs from run to run.
struct Traits {
  bool tight =
      false;  ///< so little memory for old data of file stores that tokens are lost when their source is written
  bool source_write_cancels = false;
  bool background = false;  ///< IMMED may be one
  scsi::CopyDuration copy_duration{}, populate_duration{};
};

/// An error that a store gave back.
struct Failure {
  std::size_t lun = 0;
  std::string call;
  handlers::IoError::Kind kind{};
};
using Failures = std::vector<Failure>;

/// Passes everything on and writes down which calls failed, so that a command's outcome can be foretold from them.
class WatchedStore final : public handlers::BackingStore {
 public:
  WatchedStore(std::unique_ptr<handlers::BackingStore> store, std::size_t lun, Failures& failures)
      : fault_(std::move(store)), lun_(lun), failures_(failures) {}

  handlers::FaultStore& fault() { return fault_; }
  /// The store below all faults.
  handlers::BackingStore& bare() { return fault_.wrapped(); }

  std::uint64_t size_bytes() const override { return fault_.size_bytes(); }
  bool may_block() const override { return fault_.may_block(); }
  bool read_only() const override { return fault_.read_only(); }
  handlers::IoResult<void> read(handlers::ByteRange range, base::Segments& out) override {
    return seen("read", fault_.read(range, out));
  }
  handlers::IoResult<void> write(std::uint64_t offset, base::Bytes data) override {
    return seen("write", fault_.write(offset, data));
  }
  handlers::IoResult<void> write_same(handlers::ByteRange range, base::Bytes pattern) override {
    return seen("write same", fault_.write_same(range, pattern));
  }
  handlers::IoResult<void> unmap(handlers::ByteRange range) override { return seen("unmap", fault_.unmap(range)); }
  handlers::IoResult<void> flush() override { return seen("flush", fault_.flush()); }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) override {
    return fault_.provisioning(offset);
  }
  handlers::IoResult<handlers::SnapshotRef> capture(std::span<const handlers::ByteRange> ranges) override {
    return seen("capture", fault_.capture(ranges));
  }
  handlers::IoResult<void> clone(const handlers::Snapshot& snapshot, handlers::ByteRange range, std::uint64_t offset,
                                 std::uint64_t* copied) override {
    return seen("clone", fault_.clone(snapshot, range, offset, copied));
  }
  handlers::IoResult<handlers::SnapshotRef> fetch(const handlers::Snapshot& snapshot,
                                                  handlers::ByteRange range) override {
    return seen("fetch", fault_.fetch(snapshot, range));
  }
  std::uint64_t allocated_bytes() const override { return fault_.allocated_bytes(); }

 private:
  template <typename Result>
  Result seen(const char* call, Result result) {
    if (!result) failures_.push_back({lun_, call, result.error().kind});
    return result;
  }

  handlers::FaultStore fault_;
  std::size_t lun_;
  Failures& failures_;
};

/// Does held work one step at a time: a job's work, and later what follows it on the loop.
class RandomExecutor final : public base::Executor {
 public:
  explicit RandomExecutor(Failures& failures) : failures_(failures) {}

  void post(std::move_only_function<void()> work, std::move_only_function<void()> done) override {
    jobs_.push_back({std::move(work), std::move(done)});
  }
  std::size_t held() const { return jobs_.size(); }
  /// Works on the job `index` after the oldest; with `to_the_end` it is over afterwards.
  void step(std::size_t index, bool to_the_end);

 private:
  struct Job {
    std::move_only_function<void()> work;
    std::move_only_function<void()> done;
    Failures failures{};  ///< of its work
  };
  std::vector<Job> jobs_{};
  Failures& failures_;
};

class World {
 public:
  World(std::uint64_t seed, const Limits& limits, const Traits& traits);

  Failures failures{};  ///< that no command was blamed for yet
  base::VirtualClock clock{};
  base::SeededEntropy entropy;
  scsi::CopyManager copies;
  scsi::DeviceServer server;
  RandomExecutor executor{failures};  ///< what it still holds at the end goes first
  std::vector<WatchedStore*> stores{};

  scsi::LogicalUnit& lu(std::size_t lun) { return *server.find(scsi::Lun{static_cast<std::uint16_t>(lun)}); }
  /// What is on the medium now, whatever is in flight.
  Bytes content(std::size_t lun, handlers::ByteRange range);
  Bytes content(std::size_t lun, const Ranges& ranges);

 private:
  void add(const std::string& name, std::uint32_t block_length, bool thin,
           std::unique_ptr<handlers::BackingStore> store);

  handlers::TemporaryFolder folder_{};
};

}  // namespace sim
