// READ and WRITE of a store that may block but has in memory what they need: answered on the spot, in order all the
// same.
//
// Not tested, and why: which stores can (test/handlers/file_at_once_test.cc).
#include <doctest/doctest.h>

#include <memory>
#include <new>

#include "handlers/memory_store.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/work_queue.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using handlers::ByteRange;
using handlers::IoResult;
using test::Command;

/// Keeps its bytes in memory, and says that all may block but what is asked for at once.
class CachedStore final : public handlers::BackingStore {
 public:
  bool cached = true;
  bool out_of_memory = false;
  bool flushes_at_once = false;
  std::optional<handlers::IoError> flush_error;  ///< of flush()
  unsigned at_once = 0;
  unsigned flushes = 0;
  unsigned flushed_at_once = 0;

  std::uint64_t size_bytes() const override { return store_.size_bytes(); }
  bool may_block() const override { return true; }
  bool read_only() const override { return false; }
  IoResult<void> read(ByteRange range, base::Segments& out) override { return store_.read(range, out); }
  IoResult<void> write(std::uint64_t offset, base::Bytes data) override { return store_.write(offset, data); }
  bool read_at_once(ByteRange range, base::Segments& out) override {
    if (out_of_memory) throw std::bad_alloc();
    return cached && ++at_once > 0 && store_.read(range, out);
  }
  bool write_at_once(std::uint64_t offset, base::Bytes data) override {
    return cached && ++at_once > 0 && store_.write(offset, data);
  }
  IoResult<void> write_same(ByteRange range, base::Bytes pattern) override { return store_.write_same(range, pattern); }
  IoResult<void> unmap(ByteRange range) override { return store_.unmap(range); }
  IoResult<void> flush() override {
    ++flushes;
    if (flush_error) return std::unexpected(*flush_error);
    return {};
  }
  bool flush_at_once() override { return flushes_at_once && ++flushed_at_once > 0; }
  IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) override {
    return store_.provisioning(offset);
  }
  IoResult<handlers::SnapshotRef> capture(std::span<const ByteRange> ranges) override { return store_.capture(ranges); }
  IoResult<void> clone(const handlers::Snapshot& snapshot, ByteRange range, std::uint64_t offset,
                       std::uint64_t* copied) override {
    return store_.clone(snapshot, range, offset, copied);
  }
  std::uint64_t allocated_bytes() const override { return store_.allocated_bytes(); }

 private:
  handlers::MemoryStore store_{1 << 20};
};

constexpr std::uint16_t kLun = 7;

struct CachedDevice : test::Device {
  CachedDevice() {
    auto owned = std::make_unique<CachedStore>();
    store = owned.get();
    LogicalUnitConfig config;
    config.name = "cached";
    server.add(Lun{kLun}, std::make_shared<LogicalUnit>(config, std::move(owned)));
    run({0x00, 0, 0, 0, 0, 0}, {}, kLun);
  }
  Command& write(std::uint32_t lba, std::uint8_t fill, std::uint8_t flags = 0) {
    return send(test::write_10(lba, 1, flags), std::vector<std::uint8_t>(512, fill), kLun);
  }
  Command& read(std::uint32_t lba, std::uint8_t flags = 0) { return send(test::read_10(lba, 1, flags), {}, kLun); }
  CachedStore* store = nullptr;
};

std::vector<std::uint8_t> block_of(std::uint8_t fill) { return std::vector<std::uint8_t>(512, fill); }

TEST_CASE("what needs no device is answered without a worker") {
  CachedDevice device;
  CHECK(device.write(5, 0x11).good());
  Command& read = device.read(5);
  CHECK(read.good());
  CHECK(read.data() == block_of(0x11));
  CHECK(device.executor.held() == 0);
  CHECK(device.store->at_once == 2);
}

TEST_CASE("what needs one goes to a worker, and so does what finds no memory") {
  CachedDevice device;
  device.store->cached = false;
  Command& write = device.write(5, 0x11);
  CHECK_FALSE(write.done());
  CHECK(device.executor.held() == 1);
  device.executor.run_all();
  CHECK(write.good());
  device.store->out_of_memory = true;
  Command& read = device.read(5);
  CHECK_FALSE(read.done());
  device.executor.run_all();
  CHECK(read.good());
  CHECK(read.data() == block_of(0x11));
  CHECK(device.store->at_once == 0);
}

TEST_CASE("nothing at once passes what came before it and is in its way") {
  CachedDevice device;
  device.store->cached = false;
  Command& write = device.write(5, 0x11);
  device.store->cached = true;
  Command& read = device.read(5);
  Command& rewrite = device.write(5, 0x22);
  CHECK_FALSE(read.done());
  CHECK_FALSE(rewrite.done());
  CHECK(device.write(6, 0x33).good());  // not in its way
  device.executor.run_all();
  CHECK(write.good());
  CHECK(read.data() == block_of(0x11));
  CHECK(rewrite.good());
  CHECK(device.read(5).data() == block_of(0x22));
}

TEST_CASE("what is to be on the medium is done at once, and answered after a flush that a worker does") {
  CachedDevice device;
  Command& fua = device.write(5, 0x11, BlockFlags::kFua);
  CHECK_FALSE(fua.done());
  CHECK(device.store->at_once == 1);
  CHECK(device.executor.held() == 1);
  // Nothing passes it meanwhile.
  Command& rewrite = device.write(5, 0x22);
  CHECK_FALSE(rewrite.done());
  device.executor.run_all();
  CHECK(fua.good());
  CHECK(rewrite.good());
  CHECK(device.store->flushes == 1);
  Command& read = device.read(5, BlockFlags::kFua);
  CHECK_FALSE(read.done());
  device.executor.run_all();
  CHECK(read.data() == block_of(0x22));
  CHECK(device.store->flushes == 2);
}

TEST_CASE("what is done at once in one turn shares a flush") {
  CachedDevice device;
  std::vector<Command*> commands;
  for (std::uint8_t lba = 0; lba < 8; ++lba) commands.push_back(&device.write(lba, lba, BlockFlags::kFua));
  commands.push_back(&device.read(20, BlockFlags::kFua));
  commands.push_back(&device.send({0x35, 0, 0, 0, 0, 30, 0, 0, 1, 0}, {}, kLun));
  CHECK(device.executor.held() == 1);
  device.executor.run_all();
  for (Command* command : commands) CHECK(command->good());
  CHECK(device.store->flushes == 1);
}

TEST_CASE("a flush that fails fails what was done at once, and no data goes out") {
  CachedDevice device;
  device.store->flush_error = handlers::IoError{handlers::IoError::Kind::medium_write, "told to fail"};
  Command& write = device.write(5, 0x11, BlockFlags::kFua);
  Command& read = device.read(6, BlockFlags::kFua);
  device.executor.run_all();
  CHECK(write.sense() == io_error_sense(*device.store->flush_error));
  CHECK(read.sense() == io_error_sense(*device.store->flush_error));
  CHECK(read.data().empty());
}

TEST_CASE("a flush that needs no device is done at once, too") {
  CachedDevice device;
  device.store->flushes_at_once = true;
  CHECK(device.write(5, 0x11, BlockFlags::kFua).good());
  CHECK(device.read(5, BlockFlags::kFua).data() == block_of(0x11));
  CHECK(device.send({0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {}, kLun).good());
  CHECK(device.write(5, 0x22).good());
  CHECK(device.store->flushed_at_once == 3);
  CHECK(device.store->flushes == 0);
  CHECK(device.executor.held() == 0);
}

TEST_CASE("without a write cache each change at once is flushed") {
  CachedDevice device;
  std::vector<std::uint8_t> caching(4 + 20);  // the header, and the Caching page with WCE 0
  caching[4] = 0x08;
  caching[5] = 0x12;
  REQUIRE(device.run({0x15, 0x10, 0, 0, static_cast<std::uint8_t>(caching.size()), 0}, caching, kLun).good());
  Command& write = device.write(5, 0x11);
  CHECK_FALSE(write.done());
  CHECK(device.store->at_once == 1);
  device.executor.run_all();
  CHECK(write.good());
  CHECK(device.store->flushes == 1);
  CHECK(device.read(5).good());
  CHECK(device.store->flushes == 1);
}

TEST_CASE("SYNCHRONIZE CACHE flushes what was written at once") {
  CachedDevice device;
  CHECK(device.write(5, 0x11).good());
  CHECK(device.store->flushes == 0);
  CHECK(device.run({0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {}, kLun).good());
  CHECK(device.store->flushes == 1);
}

TEST_CASE("who watches the data hears of a change at once before it begins") {
  CachedDevice device;
  std::vector<ByteRange> told;
  LogicalUnit& lu = *device.server.find(Lun{kLun});
  lu.work().watch([&](ByteRange range) {
    CHECK(device.store->at_once == told.size());
    told.push_back(range);
    return true;
  });
  CHECK(device.write(5, 0x11).good());
  CHECK(device.read(5).good());
  CHECK(told == std::vector<ByteRange>{{5 * 512, 512}});
}

/// Where others could have their turn meanwhile.
struct SharedDevice : CachedDevice {
  SharedDevice() { executor.asides = std::make_unique<test::HeldExecutor>(); }
  test::HeldExecutor& asides() { return *executor.asides; }
};

TEST_CASE("where others could have their turn, a read at once is done aside, a write on the spot") {
  SharedDevice device;
  CHECK(device.write(5, 0x11).good());
  CHECK(device.store->at_once == 1);
  Command& first = device.read(5);
  Command& second = device.read(5);
  CHECK_FALSE(first.done());
  CHECK(device.store->at_once == 1);
  REQUIRE(device.asides().held() == 2);
  device.asides().run(1);
  CHECK(second.data() == block_of(0x11));
  CHECK_FALSE(first.done());
  device.asides().run();
  CHECK(first.data() == block_of(0x11));
  CHECK(device.store->at_once == 3);
  CHECK(device.executor.held() == 0);
}

TEST_CASE("what cannot be done aside goes to a worker") {
  SharedDevice device;
  CHECK(device.write(5, 0x11).good());
  device.store->cached = false;
  Command& read = device.read(5);
  device.asides().run_all();
  CHECK_FALSE(read.done());
  device.store->cached = true;
  device.store->out_of_memory = true;
  Command& other = device.read(5);
  device.asides().run_all();
  CHECK_FALSE(other.done());
  CHECK(device.executor.held() == 2);
  device.executor.run_all();
  CHECK(read.data() == block_of(0x11));
  CHECK(other.data() == block_of(0x11));
}

TEST_CASE("nothing passes a read aside that is in its way, nor does that") {
  SharedDevice device;
  Command& read = device.read(5);
  Command& write = device.write(5, 0x22);
  Command& reread = device.read(5);
  CHECK(device.write(6, 0x33).good());
  CHECK_FALSE(write.done());
  CHECK(device.asides().held() == 1);
  device.asides().run();
  CHECK(read.data() == block_of(0));
  CHECK_FALSE(write.done());
  device.executor.run_all();
  CHECK(write.good());
  CHECK_FALSE(reread.done());
  device.asides().run_all();
  CHECK(reread.data() == block_of(0x22));
}

TEST_CASE("a read aside that is to be on the medium is answered after a flush") {
  SharedDevice device;
  Command& read = device.read(5, BlockFlags::kFua);
  device.asides().run_all();
  CHECK_FALSE(read.done());
  CHECK(device.executor.held() == 1);
  device.executor.run_all();
  CHECK(read.good());
  CHECK(device.store->flushes == 1);
}

}  // namespace
}  // namespace scsi
