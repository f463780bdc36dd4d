// WRITE ATOMIC (16).
//
// Not tested, and why: that nothing tears when the machine loses power, since only stores that are gone then have it.
#include <doctest/doctest.h>

#include "handlers/fault_store.h"
#include "handlers/memory_store.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::BlockFlags;
using scsi::Sense;
using scsi::SenseKey;

namespace {

Device::Cdb write_atomic(std::uint64_t lba, std::uint16_t count, std::uint8_t flags = 0, std::uint16_t boundary = 0) {
  return cdb_of(scsi::WriteAtomic16Cdb{0x9C, flags, lba, boundary, count, 0, 0});
}

}  // namespace

TEST_CASE("WRITE ATOMIC writes what it is given, with both block lengths, a boundary or FUA") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    Device device({.block_length = block_length});
    auto data = pattern(3 * block_length, 1);
    CHECK(device.run(write_atomic(5, 3), data).good());
    CHECK(device.run(read_10(5, 3)).data() == data);
    CHECK(device.run(write_atomic(9, 3, BlockFlags::kFua | BlockFlags::kDpo, 2), data).good());
    CHECK(device.run(read_10(9, 3)).data() == data);
    CHECK(device.stores[0]->flushes == 1);
    CHECK(device.run(write_atomic(0, 0)).good());
  }
}

TEST_CASE("WRITE ATOMIC beyond what VPD B0h says is 05/24/00 at the field") {
  DeviceOptions options;
  options.profile.maximum_atomic_bytes = 8 * 512;
  Device device(options);
  CHECK(device.run(write_atomic(0, 8, 0, 8), pattern(8 * 512, 1)).good());
  CHECK(device.run(write_atomic(0, 9)).sense() == Sense::invalid_field_in_cdb(12, {}, {}));
  CHECK(device.run(write_atomic(0, 1, 0, 9)).sense() == Sense::invalid_field_in_cdb(10, {}, {}));
  CHECK(device.run(write_atomic(0, 1, 0x20)).sense() == Sense::invalid_field_in_cdb(1, 7, {}));
  Command& beyond = device.run(write_atomic(2047, 2));
  CHECK(beyond.failed_with(SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range));
  CHECK(beyond.sense().information == 2048u);
  Device read_only({.read_only = true});
  CHECK(read_only.run(write_atomic(0, 1)).failed_with(SenseKey::data_protect, AdditionalSense::write_protected));
}

TEST_CASE("atomic writes are of whole physical blocks") {
  Device device({.physical_exponent = 3});
  CHECK(device.run(write_atomic(8, 16, 0, 8), pattern(16 * 512, 1)).good());
  CHECK(device.run(write_atomic(4, 8)).sense() == Sense::invalid_field_in_cdb(2, {}, {}));
  CHECK(device.run(write_atomic(8, 8, 0, 4)).sense() == Sense::invalid_field_in_cdb(10, {}, {}));
  CHECK(device.run(write_atomic(8, 4)).sense() == Sense::invalid_field_in_cdb(12, {}, {}));
  auto page = base::load<scsi::BlockLimitsPage>(device.run({0x12, 0x01, 0xB0, 0, 64, 0}).data());
  CHECK(page.atomic_alignment == 8);
  CHECK(page.atomic_transfer_length_granularity == 8);
  CHECK(page.maximum_atomic_transfer_length == 2048);
}

TEST_CASE("a WRITE ATOMIC with less data than it wants writes nothing") {
  Device device;
  auto wrong = AdditionalSense::invalid_field_in_command_information_unit;
  CHECK(device.run(write_atomic(0, 2), pattern(512, 1)).failed_with(SenseKey::illegal_request, wrong));
  Command& announced = device.prepare(write_atomic(0, 2));
  announced.task.expected_data_length = 512;
  CHECK(device.go(announced, pattern(512, 1)).failed_with(SenseKey::illegal_request, wrong));
  CHECK(device.run(read_10(0, 1)).data() == std::vector<std::uint8_t>(512));
}

TEST_CASE("a WRITE ATOMIC that the memory does not suffice for leaves what was there") {
  Device device;
  auto pool = handlers::MemoryPool::create(1 << 20);
  scsi::LogicalUnitConfig config;
  config.name = "small";
  device.server.add(scsi::Lun{7}, std::make_shared<scsi::LogicalUnit>(
                                      config, std::make_unique<handlers::MemoryStore>(8 << 20, pool)));
  device.run({0x00, 0, 0, 0, 0, 0}, {}, 7);
  // Until one does not fit: between its first and its last block there is room for some.
  std::uint64_t lba = 0;
  constexpr std::uint16_t kCount = 512;
  while (device.run(write_atomic(lba, kCount), pattern(kCount * 512, 3), 7).good()) lba += kCount;
  CHECK(device.commands().back().failed_with(SenseKey::data_protect,
                                             AdditionalSense::space_allocation_failed_write_protect));
  CHECK(lba > 0);
  CHECK(device.run(cdb_16(0x88, lba, kCount), {}, 7).data() == std::vector<std::uint8_t>(kCount * 512));
  CHECK(device.run(cdb_16(0x88, 0, kCount), {}, 7).data() == pattern(kCount * 512, 3));
}

TEST_CASE("a store that may block has no WRITE ATOMIC, and B0h no limits of it") {
  Device device({.blocking = true});
  CHECK(device.run(write_atomic(0, 1))
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
  CHECK(device.run({0xA3, 0x0C, 1, 0x9C, 0, 0, 0, 0, 1, 0, 0, 0}).data() == std::vector<std::uint8_t>{0, 1, 0, 0});
  auto page = device.run({0x12, 0x01, 0xB0, 0, 64, 0}).data();
  CHECK(base::load<scsi::BlockLimitsPage>(page).maximum_atomic_transfer_length == 0);
}
