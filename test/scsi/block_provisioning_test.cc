// WRITE SAME, UNMAP, GET LBA STATUS.
//
// Not tested, and why: ANCHOR beyond its refusal, since nothing can be anchored; more than 2^32 blocks of one status,
// which no store of a unit test holds.
#include <doctest/doctest.h>

#include <set>

#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::BlockFlags;
using scsi::FieldPointer;
using scsi::Sense;
using scsi::SenseKey;

namespace {

constexpr std::uint32_t kBlocks = 2048;
constexpr std::uint8_t kUnmap = BlockFlags::kUnmap;
constexpr std::uint8_t kAnchor = 0x10;
constexpr std::uint8_t kNdob = BlockFlags::kNoDataOutBuffer;

Sense out_of_range(std::uint64_t first_invalid) {
  return {SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range, first_invalid, {}, {}};
}

Sense wrong_length() {
  return {SenseKey::illegal_request, AdditionalSense::invalid_field_in_command_information_unit, {}, {}, {}};
}

Sense wrong_list_length() {
  return {SenseKey::illegal_request, AdditionalSense::parameter_list_length_error, {}, {}, {}};
}

std::vector<std::uint8_t> repeated(const std::vector<std::uint8_t>& block, std::size_t count) {
  std::vector<std::uint8_t> blocks;
  for (std::size_t i = 0; i < count; ++i) blocks.insert(blocks.end(), block.begin(), block.end());
  return blocks;
}

DeviceOptions thick() {
  DeviceOptions options;
  options.thin = false;
  return options;
}

struct Run {
  std::uint64_t lba = 0;
  std::uint32_t count = 0;
  bool mapped = false;
  bool operator==(const Run&) const = default;
};

/// GET LBA STATUS, decoded; what it says of its length is checked.
std::vector<Run> status_from(Device& device, std::uint64_t lba, std::uint32_t allocation_length = 8 + 64 * 16) {
  Command& command = device.run(get_lba_status(lba, allocation_length));
  REQUIRE(command.good());
  auto data = command.data();
  base::ByteReader reader(data);
  std::uint32_t length = reader.u32();
  CHECK(length + 4 >= data.size());
  CHECK(reader.u32() == 0);
  std::vector<Run> runs;
  while (reader.remaining() >= sizeof(scsi::LbaStatusDescriptor)) {
    auto descriptor = reader.layout<scsi::LbaStatusDescriptor>();
    CHECK(descriptor.provisioning_status <= scsi::LbaStatusDescriptor::kDeallocated);
    runs.push_back({descriptor.logical_block_address, descriptor.number_of_logical_blocks,
                    descriptor.provisioning_status == scsi::LbaStatusDescriptor::kMapped});
  }
  return runs;
}

/// A store with nothing but provisioning: single bytes are mapped, and runs end at every multiple of `step`, as those
/// of a store that splits its extents do.
class ChoppyStore final : public handlers::BackingStore {
 public:
  ChoppyStore(std::uint64_t size, std::uint64_t step) : size_(size), step_(step) {}
  std::set<std::uint64_t> mapped{};
  std::size_t questions = 0;

  std::uint64_t size_bytes() const override { return size_; }
  bool may_block() const override { return false; }
  bool read_only() const override { return false; }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) override {
    ++questions;
    auto next = mapped.lower_bound(offset);
    if (next != mapped.end() && *next == offset) return handlers::ProvisioningRun{1, true};
    std::uint64_t end = next == mapped.end() ? size_ : *next;
    return handlers::ProvisioningRun{std::min(end - offset, step_ - offset % step_), false};
  }
  handlers::IoResult<void> read(handlers::ByteRange, base::Segments&) override { return fail(); }
  handlers::IoResult<void> write(std::uint64_t, base::Bytes) override { return fail(); }
  handlers::IoResult<void> write_same(handlers::ByteRange, base::Bytes) override { return fail(); }
  handlers::IoResult<void> unmap(handlers::ByteRange) override { return fail(); }
  handlers::IoResult<void> flush() override { return fail(); }
  handlers::IoResult<handlers::SnapshotRef> capture(std::span<const handlers::ByteRange>) override {
    return std::unexpected(handlers::IoError{});
  }
  handlers::IoResult<void> clone(const handlers::Snapshot&, handlers::ByteRange, std::uint64_t,
                                 std::uint64_t*) override {
    return fail();
  }
  std::uint64_t allocated_bytes() const override { return mapped.size(); }

 private:
  static handlers::IoResult<void> fail() { return std::unexpected(handlers::IoError{}); }

  std::uint64_t size_;
  std::uint64_t step_;
};

/// The fixture with one more logical unit, number 2, over a ChoppyStore.
ChoppyStore& add_choppy(Device& device, std::uint64_t step, std::uint32_t block_length) {
  auto store = std::make_unique<ChoppyStore>(1 << 20, step);
  ChoppyStore& choppy = *store;
  scsi::LogicalUnitConfig config;
  config.name = "choppy";
  config.block_length = block_length;
  device.server.add(scsi::Lun{2}, std::make_shared<scsi::LogicalUnit>(config, std::move(store)));
  device.run({0x00, 0, 0, 0, 0, 0}, {}, 2);  // its unit attention
  return choppy;
}

}  // namespace

// ---- WRITE SAME -----------------------------------------------------------------------------------------------

TEST_CASE("WRITE SAME fills its blocks, in both forms and with both block lengths") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    DeviceOptions options;
    options.block_length = block_length;
    Device device(options);
    auto block = pattern(block_length, 1);
    CHECK(device.run(cdb_10(0x41, 3, 5), block).good());
    CHECK(device.run(read_10(3, 5)).data() == repeated(block, 5));
    auto other = pattern(block_length, 2);
    CHECK(device.run(cdb_16(0x93, 4, 2), other).good());
    CHECK(device.run(read_10(3, 1)).data() == block);
    CHECK(device.run(read_10(4, 2)).data() == repeated(other, 2));
    CHECK(device.stores[0]->allocated_bytes() == 5 * block_length);
  }
}

TEST_CASE("WRITE SAME of no blocks fills up to the end, as WSNZ 0 says") {
  Device device;
  auto block = pattern(512, 1);
  CHECK(device.run(cdb_10(0x41, kBlocks - 7, 0), block).good());
  CHECK(device.run(read_10(kBlocks - 7, 7)).data() == repeated(block, 7));
  CHECK(device.stores[0]->allocated_bytes() == 7 * 512);
  CHECK(device.run(cdb_16(0x93, 0, 0, kUnmap), std::vector<std::uint8_t>(512)).good());
  CHECK(device.stores[0]->allocated_bytes() == 0);
  CHECK(device.run(cdb_10(0x41, kBlocks, 0), block).good());
  CHECK(device.run(cdb_10(0x41, kBlocks + 1, 0), block).sense() == out_of_range(kBlocks + 1));
}

TEST_CASE("WRITE SAME with UNMAP deallocates, whatever the block holds") {
  Device device;
  std::vector<std::uint8_t> zeros(512);
  CHECK(device.run(write_10(0, 8), pattern(8 * 512, 1)).good());
  CHECK(device.run(cdb_10(0x41, 1, 2, kUnmap), zeros).good());
  CHECK(device.run(cdb_16(0x93, 5, 1, kUnmap), zeros).good());
  CHECK(status_from(device, 0) ==
        std::vector<Run>{{0, 1, true}, {1, 2, false}, {3, 2, true}, {5, 1, false}, {6, 2, true}, {8, 2040, false}});
  CHECK(device.run(read_10(1, 2)).data() == repeated(zeros, 2));
  CHECK(device.run(cdb_10(0x41, 6, 2, kUnmap), pattern(512, 9)).good());
  CHECK(device.run(read_10(6, 2)).data() == repeated(zeros, 2));
  CHECK(device.stores[0]->allocated_bytes() == 3 * 512);
}

TEST_CASE("WRITE SAME (16) with NDOB takes no data and writes zeros") {
  for (bool thin : {true, false}) {
    DeviceOptions options;
    options.thin = thin;
    Device device(options);
    CHECK(device.run(write_10(0, 4), pattern(4 * 512, 1)).good());
    Command& command = device.prepare(cdb_16(0x93, 1, 2, kNdob));
    device.server.admit(command.task);
    CHECK(command.good());
    CHECK(device.run(read_10(1, 2)).data() == std::vector<std::uint8_t>(1024));
    CHECK(device.stores[0]->allocated_bytes() == (thin ? 2 : 4) * 512);
  }
  Device device;
  CHECK(device.run(cdb_10(0x41, 0, 1, kNdob), pattern(512, 1)).sense() == Sense::invalid_field_in_cdb(1, 0, {}));
}

TEST_CASE("WRITE SAME with ANCHOR, or with UNMAP on a thick logical unit, is 05/24/00 at the bit") {
  Device device;
  for (std::uint8_t flags : {kAnchor, std::uint8_t{kAnchor | kUnmap}}) {
    CHECK(device.run(cdb_10(0x41, 0, 1, flags), pattern(512, 1)).sense() == Sense::invalid_field_in_cdb(1, 4, {}));
    CHECK(device.run(cdb_16(0x93, 0, 1, flags), pattern(512, 1)).sense() == Sense::invalid_field_in_cdb(1, 4, {}));
  }
  Device fully(thick());
  CHECK(fully.run(cdb_10(0x41, 0, 1, kUnmap), pattern(512, 1)).sense() == Sense::invalid_field_in_cdb(1, 3, {}));
  CHECK(fully.run(cdb_16(0x93, 0, 1, kUnmap), pattern(512, 1)).sense() == Sense::invalid_field_in_cdb(1, 3, {}));
  CHECK(fully.run(cdb_10(0x41, 0, 2), std::vector<std::uint8_t>(512)).good());
  CHECK(fully.stores[0]->allocated_bytes() == 1024);
}

TEST_CASE("WRITE SAME wants exactly one block: 05/0E/03") {
  Device device;
  CHECK(device.run(cdb_10(0x41, 0, 4), std::vector<std::uint8_t>(256)).sense() == wrong_length());
  for (std::uint64_t expected : {256ull, 1024ull}) {
    Command& command = device.prepare(cdb_16(0x93, 0, 4, kUnmap));
    command.task.expected_data_length = expected;
    CHECK(device.go(command, std::vector<std::uint8_t>(expected)).sense() == wrong_length());
  }
  Command& exact = device.prepare(cdb_16(0x93, 0, 4));
  exact.task.expected_data_length = 512;
  CHECK(device.go(exact, pattern(512, 1)).good());
}

TEST_CASE("more than MAXIMUM WRITE SAME LENGTH is 05/24/00 at NUMBER OF LOGICAL BLOCKS, also up to the end") {
  DeviceOptions options;
  options.profile.maximum_write_same_bytes = 100 * 512;
  Device device(options);
  auto block = pattern(512, 1);
  CHECK(device.run(cdb_10(0x41, 0, 100), block).good());
  CHECK(device.run(cdb_10(0x41, 0, 101), block).sense() == Sense::invalid_field_in_cdb(7, {}, {}));
  CHECK(device.run(cdb_16(0x93, 0, 101), block).sense() == Sense::invalid_field_in_cdb(10, {}, {}));
  CHECK(device.run(cdb_16(0x93, kBlocks - 101, 0), block).sense() == Sense::invalid_field_in_cdb(10, {}, {}));
  CHECK(device.run(cdb_16(0x93, kBlocks - 100, 0), block).good());
  CHECK(device.run(cdb_10(0x41, kBlocks - 1, 2), block).sense() == out_of_range(kBlocks));
}

// ---- UNMAP ----------------------------------------------------------------------------------------------------

TEST_CASE("UNMAP deallocates what its descriptors name, overlapping ones too") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    DeviceOptions options;
    options.block_length = block_length;
    Device device(options);
    CHECK(device.run(write_10(0, 20), pattern(20 * block_length, 1)).good());
    auto list = unmap_list({{2, 3}, {10, 5}, {3, 4}, {19, 0}, {10, 5}});
    CHECK(device.run(unmap_cdb(static_cast<std::uint16_t>(list.size())), list).good());
    auto runs = status_from(device, 0);
    runs.resize(5);
    CHECK(runs == std::vector<Run>{{0, 2, true}, {2, 5, false}, {7, 3, true}, {10, 5, false}, {15, 5, true}});
    CHECK(device.run(read_10(2, 5)).data() == std::vector<std::uint8_t>(5 * block_length));
  }
}

TEST_CASE("UNMAP of nothing is GOOD: no list, no descriptors, no blocks, no blocks at the capacity") {
  Device device;
  CHECK(device.run(unmap_cdb(0)).good());
  CHECK(device.run(unmap_cdb(8), unmap_list({})).good());
  CHECK(device.run(unmap_cdb(24), unmap_list({{7, 0}})).good());
  CHECK(device.run(unmap_cdb(24), unmap_list({{kBlocks, 0}})).good());
  CHECK(device.run(unmap_cdb(24), unmap_list({{kBlocks + 1, 0}})).sense() == out_of_range(kBlocks + 1));
}

TEST_CASE("UNMAP ignores a descriptor that PARAMETER LIST LENGTH or the header's length cuts off") {
  Device device;
  CHECK(device.run(write_10(0, 4), pattern(4 * 512, 1)).good());
  auto list = unmap_list({{0, 1}, {1, 1}});
  auto cut = list;
  cut.resize(8 + 31);
  CHECK(device.run(unmap_cdb(8 + 31), cut).good());
  CHECK(device.stores[0]->allocated_bytes() == 3 * 512);
  base::store(base::MutableBytes(list), scsi::UnmapHeader{38, 31, {}});
  CHECK(device.run(unmap_cdb(8 + 32), list).good());
  CHECK(device.stores[0]->allocated_bytes() == 3 * 512);
  base::store(base::MutableBytes(list), scsi::UnmapHeader{0xFFFF, 0xFFFF, {}});  // lies
  CHECK(device.run(unmap_cdb(8 + 32), list).good());
  CHECK(device.stores[0]->allocated_bytes() == 2 * 512);
}

TEST_CASE("UNMAP with a list that ends inside its header, or is shorter than said, is 05/1A/00") {
  Device device;
  for (std::uint16_t length = 1; length < 8; ++length)
    CHECK(device.run(unmap_cdb(length), std::vector<std::uint8_t>(length)).sense() == wrong_list_length());
  CHECK(device.run(unmap_cdb(24), unmap_list({})).sense() == wrong_list_length());
  CHECK(device.run(unmap_cdb(24), {}).sense() == wrong_list_length());
}

TEST_CASE("UNMAP beyond its limits is 05/26/00 at the field, and unmaps nothing") {
  DeviceOptions options;
  options.profile.maximum_unmap_descriptors = 3;
  options.profile.maximum_unmap_lba_count = 10;
  Device device(options);
  CHECK(device.run(write_10(0, 20), pattern(20 * 512, 1)).good());
  auto full = unmap_list({{0, 4}, {4, 4}, {8, 2}});
  auto too_many = unmap_list({{0, 1}, {1, 1}, {2, 1}, {3, 1}});
  auto too_much = unmap_list({{0, 4}, {4, 4}, {8, 3}});
  auto sense_at = [](std::size_t byte) { return Sense::invalid_field_in_list(byte, {}, {}); };
  CHECK(device.run(unmap_cdb(8 + 64), too_many).sense() == sense_at(2));
  CHECK(device.run(unmap_cdb(8 + 48), too_much).sense() == sense_at(8 + 32 + 8));
  CHECK(device.stores[0]->allocated_bytes() == 20 * 512);
  CHECK(device.run(unmap_cdb(8 + 48), full).good());
  CHECK(device.stores[0]->allocated_bytes() == 10 * 512);
}

TEST_CASE("UNMAP with one bad descriptor unmaps nothing") {
  Device device;
  CHECK(device.run(write_10(0, 4), pattern(4 * 512, 1)).good());
  auto list = unmap_list({{0, 4}, {kBlocks - 1, 2}});
  CHECK(device.run(unmap_cdb(40), list).sense() == out_of_range(kBlocks));
  CHECK(device.run(unmap_cdb(40), unmap_list({{0, 4}, {~0ull, 2}})).sense() == out_of_range(~0ull));
  CHECK(device.stores[0]->allocated_bytes() == 4 * 512);
}

TEST_CASE("UNMAP with ANCHOR is 05/24/00 at the bit, and unknown to a thick logical unit") {
  Device device;
  auto cdb = unmap_cdb(24);
  cdb[1] = 0x01;
  CHECK(device.run(cdb, unmap_list({{0, 1}})).sense() == Sense::invalid_field_in_cdb(1, 0, {}));
  Device fully(thick());
  CHECK(fully.run(unmap_cdb(24), unmap_list({{0, 1}}))
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
}

TEST_CASE("UNMAP keeps overlapping I/O waiting, from its first to its last block") {
  DeviceOptions options;
  options.blocking = true;
  Device device(options);
  CHECK(device.run(write_10(0, 20), pattern(20 * 512, 1)).good());
  Command& unmap = device.send(unmap_cdb(40), unmap_list({{12, 1}, {4, 1}}));
  Command& read = device.send(read_10(4, 1));
  Command& outside = device.send(read_10(13, 1));
  CHECK(device.executor.held() == 2);
  device.executor.run(1);
  CHECK(outside.good());
  device.executor.run();
  CHECK(unmap.good());
  CHECK_FALSE(read.done());
  device.executor.run_all();
  CHECK(read.data() == std::vector<std::uint8_t>(512));
}

// ---- GET LBA STATUS -------------------------------------------------------------------------------------------

TEST_CASE("GET LBA STATUS begins at the asked LBA, inside a run too") {
  Device device;
  CHECK(device.run(write_10(10, 10), pattern(10 * 512, 1)).good());
  CHECK(status_from(device, 0) == std::vector<Run>{{0, 10, false}, {10, 10, true}, {20, 2028, false}});
  CHECK(status_from(device, 15) == std::vector<Run>{{15, 5, true}, {20, 2028, false}});
  CHECK(status_from(device, kBlocks - 1) == std::vector<Run>{{kBlocks - 1, 1, false}});
}

TEST_CASE("GET LBA STATUS gives what the ALLOCATION LENGTH holds, and cuts it there") {
  Device device;
  CHECK(device.run(write_10(10, 10), pattern(10 * 512, 1)).good());
  CHECK(status_from(device, 0, 24) == std::vector<Run>{{0, 10, false}});
  CHECK(status_from(device, 0, 40) == std::vector<Run>{{0, 10, false}, {10, 10, true}});
  Command& command = device.run(get_lba_status(0, 8));
  CHECK(command.data() == std::vector<std::uint8_t>{0, 0, 0, 20, 0, 0, 0, 0});
  CHECK(device.run(get_lba_status(0, 0)).data().empty());
}

TEST_CASE("GET LBA STATUS at or beyond the capacity is 05/21/00") {
  Device device;
  for (std::uint64_t lba :
       {std::uint64_t{kBlocks}, std::uint64_t{kBlocks + 1}, std::uint64_t{1} << 63, ~std::uint64_t{0}})
    CHECK(device.run(get_lba_status(lba, 24)).sense() == out_of_range(lba));
}

TEST_CASE("GET LBA STATUS of a thick logical unit says that everything is mapped") {
  Device device(thick());
  CHECK(status_from(device, 5) == std::vector<Run>{{5, kBlocks - 5, true}});
}

TEST_CASE("GET LBA STATUS joins what the store splits, and a block with a mapped byte is mapped") {
  Device device;
  ChoppyStore& store = add_choppy(device, 700, 4096);
  store.mapped = {3 * 4096 - 1, 7 * 4096};  // the last byte of block 2, the first of block 7
  auto runs = [&](std::uint64_t lba) {
    Command& command = device.run(get_lba_status(lba, 8 + 64 * 16), {}, 2);
    auto data = command.data();
    base::ByteReader reader(data);
    reader.skip(8);
    std::vector<Run> seen;
    while (reader.remaining() > 0) {
      auto descriptor = reader.layout<scsi::LbaStatusDescriptor>();
      seen.push_back(
          {descriptor.logical_block_address, descriptor.number_of_logical_blocks, descriptor.provisioning_status == 0});
    }
    return seen;
  };
  CHECK(runs(0) == std::vector<Run>{{0, 2, false}, {2, 1, true}, {3, 4, false}, {7, 1, true}, {8, 248, false}});
  CHECK(runs(2).front() == Run{2, 1, true});
}

TEST_CASE("GET LBA STATUS asks a splintered store a bounded number of times") {
  Device device;
  ChoppyStore& store = add_choppy(device, 16, 512);
  Command& command = device.run(get_lba_status(0, 24), {}, 2);
  auto data = command.data();
  auto descriptor = base::load<scsi::LbaStatusDescriptor>(base::Bytes(data).subspan(8));
  CHECK(descriptor.number_of_logical_blocks > 0);
  CHECK(descriptor.number_of_logical_blocks < kBlocks);
  CHECK(store.questions < 5000);
}
