// READ CAPACITY, START STOP UNIT, VPD pages B0h, B1h, B2h: golden bytes.
//
// Not tested, and why: the pages as sg_vpd decodes them stand in test/interop; INQUIRY around them has its own test.
#include <doctest/doctest.h>

#include "scsi/block_vpd.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::Sense;
using scsi::SenseKey;

namespace {

using Bytes = std::vector<std::uint8_t>;

const Bytes kReadCapacity10 = {0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Bytes kStop = {0x1B, 0, 0, 0, 0x00, 0};
const Bytes kStopNoFlush = {0x1B, 0, 0, 0, 0x04, 0};
const Bytes kStart = {0x1B, 0, 0, 0, 0x01, 0};
const Bytes kTestUnitReady = {0x00, 0, 0, 0, 0, 0};

Bytes read_capacity_16(std::uint32_t allocation_length) {
  return cdb_of(scsi::ServiceActionIn16Cdb{0x9E, 0x10, 0, allocation_length, 0, 0});
}

/// A store that only has a size.
class HollowStore final : public handlers::BackingStore {
 public:
  explicit HollowStore(std::uint64_t size) : size_(size) {}
  std::uint64_t size_bytes() const override { return size_; }
  bool may_block() const override { return false; }
  bool read_only() const override { return false; }
  handlers::IoResult<void> read(handlers::ByteRange range, base::Segments& out) override {
    out.append_zeros(range.length);
    return {};
  }
  handlers::IoResult<void> write(std::uint64_t, base::Bytes) override { return {}; }
  handlers::IoResult<void> write_same(handlers::ByteRange, base::Bytes) override { return {}; }
  handlers::IoResult<void> unmap(handlers::ByteRange) override { return {}; }
  handlers::IoResult<void> flush() override { return {}; }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) override {
    return handlers::ProvisioningRun{size_ - offset, false};
  }
  handlers::IoResult<handlers::SnapshotRef> capture(std::span<const handlers::ByteRange>) override {
    return std::unexpected(handlers::IoError{});
  }
  handlers::IoResult<void> clone(const handlers::Snapshot&, handlers::ByteRange, std::uint64_t,
                                 std::uint64_t*) override {
    return std::unexpected(handlers::IoError{});
  }
  std::uint64_t allocated_bytes() const override { return 0; }

 private:
  std::uint64_t size_;
};

scsi::LogicalUnit hollow(std::uint64_t size, std::uint32_t block_length, std::uint8_t exponent, bool thin = true) {
  scsi::LogicalUnitConfig config;
  config.name = "hollow";
  config.block_length = block_length;
  config.blocks_per_physical_exponent = exponent;
  config.thin = thin;
  return {config, std::make_unique<HollowStore>(size)};
}

/// The fixture with a logical unit 2 of this size over a HollowStore.
void add_hollow(Device& device, std::uint64_t size, std::uint32_t block_length, std::uint8_t exponent) {
  scsi::LogicalUnitConfig config;
  config.name = "hollow";
  config.block_length = block_length;
  config.blocks_per_physical_exponent = exponent;
  device.server.add(scsi::Lun{2}, std::make_shared<scsi::LogicalUnit>(config, std::make_unique<HollowStore>(size)));
  device.run(kTestUnitReady, {}, 2);  // its unit attention
}

Bytes padded(Bytes bytes, std::size_t size) {
  bytes.resize(size);
  return bytes;
}

}  // namespace

// ---- READ CAPACITY --------------------------------------------------------------------------------------------

TEST_CASE("READ CAPACITY (10) is the last LBA and the block length") {
  Device device;
  CHECK(device.run(kReadCapacity10).data() == Bytes{0, 0, 0x07, 0xFF, 0, 0, 0x02, 0});
  DeviceOptions options;
  options.block_length = 4096;
  Device large(options);
  CHECK(large.run(kReadCapacity10).data() == Bytes{0, 0, 0, 0xFF, 0, 0, 0x10, 0});
}

TEST_CASE("READ CAPACITY (10) of more than 2^32 blocks is FFFFFFFFh, READ CAPACITY (16) tells") {
  Device device;
  add_hollow(device, 16ull << 40, 512, 3);
  CHECK(device.run(kReadCapacity10, {}, 2).data() == Bytes{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x02, 0});
  CHECK(device.run(read_capacity_16(32), {}, 2).data() ==
        padded({0, 0, 0, 0x07, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x02, 0, 0, 0x03, 0xC0, 0}, 32));
}

TEST_CASE("READ CAPACITY (10) just below the limit is exact") {
  Device device;
  add_hollow(device, (1ull << 32) * 512 - 512, 512, 0);
  CHECK(device.run(kReadCapacity10, {}, 2).data() == Bytes{0xFF, 0xFF, 0xFF, 0xFE, 0, 0, 0x02, 0});
}

TEST_CASE("READ CAPACITY (16) has LBPME and LBPRZ when thin, and is cut to the allocation length") {
  Device device;
  CHECK(device.run(read_capacity_16(32)).data() ==
        padded({0, 0, 0, 0, 0, 0, 0x07, 0xFF, 0, 0, 0x02, 0, 0, 0, 0xC0, 0}, 32));
  CHECK(device.run(read_capacity_16(12)).data() == Bytes{0, 0, 0, 0, 0, 0, 0x07, 0xFF, 0, 0, 0x02, 0});
  CHECK(device.run(read_capacity_16(0)).good());
  CHECK(device.run(read_capacity_16(255)).data().size() == 32);
  DeviceOptions options;
  options.thin = false;
  Device thick(options);
  CHECK(thick.run(read_capacity_16(32)).data() ==
        padded({0, 0, 0, 0, 0, 0, 0x07, 0xFF, 0, 0, 0x02, 0, 0, 0, 0, 0}, 32));
}

TEST_CASE("READ CAPACITY with an address and without PMI is 05/24/00 at the address") {
  Device device;
  CHECK(device.run({0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0}).sense() == Sense::invalid_field_in_cdb(2, {}, {}));
  CHECK(device.run({0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0}).data() == Bytes{0, 0, 0x07, 0xFF, 0, 0, 0x02, 0});
  auto cdb = read_capacity_16(32);
  cdb[9] = 1;
  CHECK(device.run(cdb).sense() == Sense::invalid_field_in_cdb(2, {}, {}));
  cdb[14] = 1;
  CHECK(device.run(cdb).good());
}

// ---- START STOP UNIT ------------------------------------------------------------------------------------------

TEST_CASE("a stopped logical unit is 02/04/02 until it is started") {
  Device device;
  CHECK(device.run(kStop).good());
  CHECK(device.stores[0]->flushes == 1);
  for (const auto& cdb : {kTestUnitReady, read_10(0, 1), write_10(0, 1), cdb_10(0x35, 0, 0), get_lba_status(0, 24)}) {
    CAPTURE(cdb[0]);
    CHECK(device.run(cdb).failed_with(SenseKey::not_ready,
                                      AdditionalSense::logical_unit_not_ready_initializing_command_required));
  }
  CHECK(device.run(kReadCapacity10).good());
  CHECK(device.run(kTestUnitReady, {}, 1).good());
  CHECK(device.run(kStart).good());
  CHECK(device.run(read_10(0, 1)).good());
  CHECK(device.run(kStopNoFlush).good());
  CHECK(device.stores[0]->flushes == 1);
  CHECK(device.lu().stopped());
}

TEST_CASE("a stop waits for the work before it") {
  DeviceOptions options;
  options.blocking = true;
  Device device(options);
  Command& write = device.send(write_10(0, 1), pattern(512, 1));
  Command& stop = device.send(kStop);
  CHECK(device.executor.held() == 1);
  CHECK_FALSE(device.lu().stopped());
  device.executor.run_all();
  CHECK(write.good());
  CHECK(stop.good());
  CHECK(device.lu().stopped());
}

TEST_CASE("START STOP UNIT with LOEJ or a POWER CONDITION is 05/24/00 at the field, IMMED is taken") {
  Device device;
  for (std::uint8_t flags : {0x02, 0x03, 0x06})
    CHECK(device.run({0x1B, 0, 0, 0, flags, 0}).sense() == Sense::invalid_field_in_cdb(4, 1, {}));
  for (std::uint8_t flags : {0x10, 0x20, 0x30, 0x70, 0xA0, 0xB0, 0xF1, 0x12})
    CHECK(device.run({0x1B, 0, 0, 0, flags, 0}).sense() == Sense::invalid_field_in_cdb(4, 7, {}));
  CHECK_FALSE(device.lu().stopped());
  CHECK(device.run({0x1B, 0x01, 0, 0, 0x01, 0}).good());
}

// ---- VPD ------------------------------------------------------------------------------------------------------

TEST_CASE("VPD B0h of a thin 512-byte logical unit") {
  const Bytes golden = {
      0x00, 0xB0, 0x00, 0x3C, 0x00, 0xFF, 0x00, 0x01,  // WSNZ 0, COMPARE AND WRITE 255, granularity 1
      0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00,  // MAXIMUM TRANSFER LENGTH not reported, OPTIMAL 1 MiB
      0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF,  // UNMAP: any number of blocks
      0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x08,  // in 256 descriptors, 4 KiB
      0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  // from 0; WRITE SAME: 512 MiB
      0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00,  // WRITE ATOMIC: 1 MiB, anywhere
      0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  // of any length
      0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x08, 0x00,  // with boundaries too
  };
  CHECK(scsi::block_limits_page(hollow(1 << 20, 512, 0), {}) == padded(golden, 64));
}

TEST_CASE("VPD B0h follows the block length, the physical block and the profile") {
  auto advanced = scsi::block_limits_page(hollow(1 << 20, 512, 3), {});
  CHECK(base::load<scsi::BlockLimitsPage>(advanced).optimal_transfer_length_granularity == 8);
  CHECK(base::load<scsi::BlockLimitsPage>(advanced).optimal_unmap_granularity == 8);
  auto large = base::load<scsi::BlockLimitsPage>(scsi::block_limits_page(hollow(1 << 20, 4096, 0), {}));
  CHECK(large.optimal_transfer_length == 256);
  CHECK(large.optimal_unmap_granularity == 1);

  scsi::DeviceProfile profile;
  profile.maximum_compare_and_write_blocks = 7;
  profile.maximum_transfer_bytes = 1 << 20;
  profile.maximum_unmap_lba_count = 1000;
  profile.maximum_unmap_descriptors = 10;
  profile.maximum_write_same_bytes = 1ull << 40;
  auto limited = base::load<scsi::BlockLimitsPage>(scsi::block_limits_page(hollow(1 << 20, 4096, 0), profile));
  CHECK(limited.maximum_compare_and_write_length == 7);
  CHECK(limited.maximum_transfer_length == 256);
  CHECK(limited.maximum_unmap_lba_count == 1000);
  CHECK(limited.maximum_unmap_block_descriptor_count == 10);
  CHECK(limited.maximum_write_same_length == 1ull << 28);
}

TEST_CASE("VPD B0h has no UNMAP limits and B2h is empty when the logical unit is not thin") {
  auto thick = hollow(1 << 20, 512, 0, false);
  auto limits = base::load<scsi::BlockLimitsPage>(scsi::block_limits_page(thick, {}));
  CHECK(limits.maximum_unmap_lba_count == 0);
  CHECK(limits.maximum_unmap_block_descriptor_count == 0);
  CHECK(limits.optimal_unmap_granularity == 0);
  CHECK(limits.unmap_granularity_alignment == 0);
  CHECK(scsi::logical_block_provisioning_page(thick, {}) == Bytes{0x00, 0xB2, 0x00, 0x04, 0, 0, 0, 0});
}

TEST_CASE("VPD B1h is non-rotating and read after BLOCK ERASE, B2h thin with UNMAP and WRITE SAME") {
  auto thin = hollow(1 << 20, 512, 0);
  CHECK(scsi::block_device_characteristics_page(thin, {}) ==
        padded({0x00, 0xB1, 0x00, 0x3C, 0x00, 0x01, 0x00, 0x40, 0x01}, 64));
  CHECK(scsi::logical_block_provisioning_page(thin, {}) == Bytes{0x00, 0xB2, 0x00, 0x04, 0x00, 0xE4, 0x02, 0x00});
}
