// VERIFY and COMPARE AND WRITE.
//
// Not tested, and why: protection information, which there is none of; VERIFY on a medium that lies, which no store is.
#include <doctest/doctest.h>

#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::BlockFlags;
using scsi::Sense;
using scsi::SenseKey;

namespace {

constexpr std::uint8_t kEach = BlockFlags::kByteCheckEach;
constexpr std::uint8_t kOneBlock = BlockFlags::kByteCheckOneBlock;

Sense miscompare(std::optional<std::uint64_t> information = {}) {
  return {SenseKey::miscompare, AdditionalSense::miscompare_during_verify_operation, information, {}, {}};
}

Sense wrong_length() {
  return {SenseKey::illegal_request, AdditionalSense::invalid_field_in_command_information_unit, {}, {}, {}};
}

std::vector<std::uint8_t> joined(std::vector<std::uint8_t> a, const std::vector<std::uint8_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<std::uint8_t> repeated(const std::vector<std::uint8_t>& block, std::size_t count) {
  std::vector<std::uint8_t> blocks;
  for (std::size_t i = 0; i < count; ++i) blocks = joined(std::move(blocks), block);
  return blocks;
}

}  // namespace

TEST_CASE("VERIFY with BYTCHK 0 takes no data, flushes and reads what is mapped") {
  Device device;
  CHECK(device.run(write_10(3, 2), pattern(1024, 1)).good());
  for (const auto& cdb : {cdb_10(0x2F, 0, 10), cdb_12(0xAF, 0, 10), cdb_16(0x8F, 0, 10), cdb_10(0x2F, 0, 0)}) {
    Command& command = device.prepare(cdb);
    device.server.admit(command.task);
    CHECK(command.good());
    CHECK(command.task.data_out_length == 0);
  }
  CHECK(device.stores[0]->flushes == 3);
  device.stores[0]->read_error = handlers::IoError{handlers::IoError::Kind::medium_read, {}};
  CHECK(device.run(cdb_10(0x2F, 100, 10)).good());
  CHECK(device.run(cdb_10(0x2F, 0, 10)).failed_with(SenseKey::medium_error, AdditionalSense::unrecovered_read_error));
}

TEST_CASE("VERIFY with BYTCHK 1 compares each block, in every form and with both block lengths") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    DeviceOptions options;
    options.block_length = block_length;
    Device device(options);
    auto data = pattern(3 * block_length, 4);
    CHECK(device.run(write_10(7, 3), data).good());
    for (std::size_t byte : {std::size_t{0}, std::size_t{block_length}, data.size() - 1}) {
      auto other = data;
      other[byte] ^= 0x80;
      for (const auto& cdb : {cdb_10(0x2F, 7, 3, kEach), cdb_12(0xAF, 7, 3, kEach), cdb_16(0x8F, 7, 3, kEach)}) {
        CHECK(device.run(cdb, data).good());
        CHECK(device.run(cdb, other).sense() == miscompare());
      }
    }
  }
}

TEST_CASE("VERIFY compares unmapped blocks as the zeros they read as, which VBULS says") {
  Device device;
  CHECK(device.run(cdb_10(0x2F, 0, 2, kEach), std::vector<std::uint8_t>(1024)).good());
  CHECK(device.run(cdb_10(0x2F, 0, 2, kEach), pattern(1024, 1)).sense() == miscompare());
}

TEST_CASE("VERIFY with BYTCHK 3 compares every block with the one that came") {
  DeviceOptions options;
  options.size_bytes = 3 << 20;
  Device device(options);
  auto block = pattern(512, 3);
  const std::uint16_t count = 4099;  // more than two pieces, and not a multiple of one
  CHECK(device.run(write_10(1, count), repeated(block, count)).good());
  Command& command = device.run(cdb_10(0x2F, 1, count, kOneBlock), block);
  CHECK(command.good());
  CHECK(command.task.data_out_length == 512);
  CHECK(device.run(cdb_16(0x8F, 0, 2, kOneBlock), block).sense() == miscompare());
  CHECK(device.run(cdb_12(0xAF, count, 2, kOneBlock), block).sense() == miscompare());
  CHECK(device.run(cdb_10(0x2F, 1, 0, kOneBlock)).good());
}

TEST_CASE("VERIFY with BYTCHK 2 is 05/24/00 at the field") {
  Device device;
  CHECK(device.run(cdb_10(0x2F, 0, 1, 0x04), pattern(512, 1)).sense() == Sense::invalid_field_in_cdb(1, 2, {}));
}

TEST_CASE("VERIFY with less data than it compares is 05/0E/03") {
  Device device;
  CHECK(device.run(cdb_10(0x2F, 0, 2, kEach), std::vector<std::uint8_t>(512)).sense() == wrong_length());
  CHECK(device.run(cdb_10(0x2F, 0, 2, kOneBlock), std::vector<std::uint8_t>(511)).sense() == wrong_length());
}

TEST_CASE("COMPARE AND WRITE writes when everything is equal, with both block lengths") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    DeviceOptions options;
    options.block_length = block_length;
    Device device(options);
    auto old_data = pattern(2 * block_length, 1);
    auto new_data = pattern(2 * block_length, 2);
    CHECK(device.run(write_10(5, 2), old_data).good());
    CHECK(device.run(compare_and_write(5, 2), joined(old_data, new_data)).good());
    CHECK(device.run(read_10(5, 2)).data() == new_data);
    CHECK(device.stores[0]->flushes == 0);
  }
}

TEST_CASE("COMPARE AND WRITE tells the offset of the first unequal byte and writes nothing") {
  Device device;
  auto old_data = pattern(3 * 512, 1);
  CHECK(device.run(write_10(5, 3), old_data).good());
  for (std::size_t byte : {0u, 1u, 511u, 512u, 1300u, 1535u}) {
    auto compared = old_data;
    compared[byte] ^= 1;
    compared[1535] ^= 4;
    Command& command = device.run(compare_and_write(5, 3), joined(compared, pattern(3 * 512, 9)));
    CHECK(command.sense() == miscompare(byte));
    CHECK(device.run(read_10(5, 3)).data() == old_data);
  }
}

TEST_CASE("COMPARE AND WRITE compares never written blocks with zeros") {
  Device device;
  std::vector<std::uint8_t> zeros(512);
  CHECK(device.run(compare_and_write(9, 1), joined(pattern(512, 1), zeros)).sense() == miscompare(0));
  CHECK(device.run(compare_and_write(9, 1), joined(zeros, pattern(512, 1))).good());
  CHECK(device.run(read_10(9, 1)).data() == pattern(512, 1));
}

TEST_CASE("COMPARE AND WRITE has a limit, which is 05/24/00 at NUMBER OF LOGICAL BLOCKS beyond it") {
  DeviceOptions options;
  options.profile.maximum_compare_and_write_blocks = 4;
  Device device(options);
  CHECK(device.run(compare_and_write(0, 4), std::vector<std::uint8_t>(8 * 512)).good());
  CHECK(device.run(compare_and_write(0, 5)).sense() == Sense::invalid_field_in_cdb(13, {}, {}));
  Device unlimited;
  CHECK(unlimited.run(compare_and_write(0, 255), std::vector<std::uint8_t>(510 * 512)).good());
}

TEST_CASE("COMPARE AND WRITE of 256 blocks, whose count has wrapped to 0, is 05/24/00") {
  Device device;
  Command& command = device.prepare(compare_and_write(0, 0));
  command.task.expected_data_length = 2 * 256 * 512;
  CHECK(device.go(command).sense() == Sense::invalid_field_in_cdb(13, {}, {}));
}

TEST_CASE("COMPARE AND WRITE of no blocks is GOOD, whatever comes with it") {
  Device device;
  Command& command = device.prepare(compare_and_write(0, 0));
  command.task.expected_data_length = 512;
  CHECK(device.go(command).good());
  CHECK(command.task.data_out_length == 0);
}

TEST_CASE("COMPARE AND WRITE wants exactly two times its blocks: 05/0E/03") {
  Device device;
  std::vector<std::uint8_t> data(8 * 512);
  for (std::uint8_t count : {1, 3}) {
    Command& command = device.prepare(compare_and_write(0, count));
    command.task.expected_data_length = 4 * 512;
    CHECK(device.go(command, data).sense() == wrong_length());
  }
  CHECK(device.run(compare_and_write(0, 2), std::vector<std::uint8_t>(2 * 512)).sense() == wrong_length());
  Command& exact = device.prepare(compare_and_write(0, 2));
  exact.task.expected_data_length = 4 * 512;
  CHECK(device.go(exact, data).good());
  CHECK(device.run(compare_and_write(2047, 2), data)
            .failed_with(SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range));
}

TEST_CASE("COMPARE AND WRITE is atomic against overlapping WRITE and COMPARE AND WRITE") {
  DeviceOptions options;
  options.blocking = true;
  Device device(options);
  auto zero = std::vector<std::uint8_t>(2 * 512);
  auto one = pattern(2 * 512, 1);
  auto two = pattern(2 * 512, 2);
  auto block = pattern(512, 3);

  Command& first = device.send(compare_and_write(10, 2), joined(zero, one));
  Command& second = device.send(compare_and_write(10, 2), joined(zero, two));  // sees what the first wrote
  Command& write = device.send(write_10(11, 1), block);
  Command& third = device.send(compare_and_write(10, 2), joined(one, two));  // sees the write
  Command& elsewhere = device.send(compare_and_write(20, 2), joined(zero, two));
  CHECK(device.executor.held() == 2);  // first and elsewhere
  device.executor.run(1);
  CHECK(elsewhere.good());
  device.executor.run_all();
  CHECK(first.good());
  CHECK(second.failed_with(SenseKey::miscompare, AdditionalSense::miscompare_during_verify_operation));
  CHECK(write.good());
  CHECK(third.sense() == miscompare(512));
  auto expected = joined({one.begin(), one.begin() + 512}, block);
  CHECK(device.run(read_10(10, 2)).data() == expected);
}
