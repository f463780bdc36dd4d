// The command table as a whole: every row, every bit, and CDBs of any bytes.
//
// Not tested, and why: service actions outside byte 1, because no row has one.
#include <doctest/doctest.h>

#include <algorithm>

#include "scsi/command_table.h"
#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using Data = std::vector<std::uint8_t>;

/// The least CDB of a row: operation code and service action.
Device::Cdb cdb_of(const CommandDescriptor& row) {
  Device::Cdb cdb(row.cdb_length);
  cdb[0] = row.opcode;
  if (row.service_action) cdb[1] = static_cast<std::uint8_t>(*row.service_action);
  return cdb;
}

TEST_CASE("the rows are sorted, unique, and either all or none of an operation code have service actions") {
  auto rows = command_table();
  REQUIRE(rows.size() > 30);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const CommandDescriptor& before = rows[i - 1];
    const CommandDescriptor& row = rows[i];
    CAPTURE(row.name);
    CHECK(std::pair(before.opcode, before.service_action) < std::pair(row.opcode, row.service_action));
    if (before.opcode == row.opcode) CHECK(before.service_action.has_value() == row.service_action.has_value());
    CHECK(before.name != row.name);
  }
}

TEST_CASE("a row's CDB length is that of its operation code's group (SPC-4 4.3.1)") {
  for (const CommandDescriptor& row : command_table()) {
    CAPTURE(row.name);
    unsigned group = row.opcode / 0x20u;
    unsigned expected = group == 0 ? 6 : group < 3 ? 10 : group == 4 ? 16 : 12;
    CHECK(row.cdb_length == expected);
    CHECK((row.transfer_length == nullptr) == (row.direction == DataDirection::none));
    CHECK(std::all_of(row.usage.begin() + row.cdb_length, row.usage.end(), [](auto byte) { return byte == 0; }));
  }
}

TEST_CASE("what may be received in memory that is lent are the WRITEs, and nothing that does more with its data") {
  std::vector<std::string_view> names;
  for (const CommandDescriptor& row : command_table())
    if (row.takes_loans) names.push_back(row.name);
  CHECK(names == std::vector<std::string_view>{"WRITE (6)", "WRITE (10)", "WRITE (16)", "WRITE (12)"});
}

TEST_CASE("every bit a usage mask forbids is refused with its byte and bit") {
  Device device(test::every_command());
  for (const CommandDescriptor& row : command_table()) {
    CAPTURE(row.name);
    for (std::size_t byte = 1; byte < row.cdb_length; ++byte) {
      for (std::uint8_t bit = 0; bit < 8; ++bit) {
        auto mask = static_cast<std::uint8_t>(1u << bit);
        bool action = row.service_action && byte == kServiceActionByte && (mask & kServiceActionMask);
        if (action || (row.usage[byte] & mask)) continue;
        CAPTURE(byte);
        CAPTURE(bit);
        auto cdb = cdb_of(row);
        cdb[byte] |= mask;
        CHECK(device.run(cdb).sense() == Sense::invalid_field_in_cdb(byte, bit, ""));
      }
    }
  }
}

TEST_CASE("of several forbidden bits the first byte's highest is named") {
  Device device;
  CHECK(device.run({0x00, 0, 0x21, 0xFF, 0, 0}).sense() == Sense::invalid_field_in_cdb(2, 5, ""));
}

TEST_CASE("a service action without row is refused at the service action field") {
  Device device;
  CHECK(device.run({0xA3, 0x1F}).sense() == Sense::invalid_field_in_cdb(1, 4, ""));
  CHECK(device.run({0x9E, 0x1F}).sense() == Sense::invalid_field_in_cdb(1, 4, ""));
}

TEST_CASE("third-party copy commands that are not supported are unknown operation codes") {
  Device device;
  for (auto cdb : {Device::Cdb{0x83, 0x16}, Device::Cdb{0x84, 0x16}}) {
    CHECK(device.run(cdb).failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
  }
}

TEST_CASE("without third-party copy its commands are neither served nor reported") {
  DeviceOptions options;
  options.profile.odx = options.profile.extended_copy = false;
  Device device(options);
  CHECK(
      device.run({0x83, 0x10}).failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
  CHECK(device.run({0xA3, 0x0C, 2, 0x83, 0, 0x10, 0, 0, 1, 0, 0, 0}).data() == Data{0, 1, 0, 0});
  Data all = device.run({0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0}).data();
  for (std::size_t at = 4; at < all.size(); at += 8) CHECK((all[at] != 0x83 && all[at] != 0x84));
}

/// Random bytes; most CDBs are those of some row with only permitted bits set, so that bodies are reached.
class RandomCommands {
 public:
  explicit RandomCommands(std::uint64_t seed) : entropy_(seed) {}

  Device::Cdb cdb() {
    Device::Cdb cdb(kMaxCdbLength);
    entropy_.fill(cdb);
    if (below(8) == 0) return cdb;
    const CommandDescriptor& row = command_table()[below(command_table().size())];
    for (std::size_t i = 0; i < cdb.size(); ++i) cdb[i] &= row.usage[i];
    if (row.service_action) cdb[1] = static_cast<std::uint8_t>((cdb[1] & ~0x1Fu) | *row.service_action);
    // Small numbers, so that ranges are often inside the medium.
    for (std::size_t i = 2; i < cdb.size(); ++i)
      if (below(4)) cdb[i] = below(2) ? 0 : cdb[i] & 0x03;
    cdb[0] = row.opcode;
    return cdb;
  }
  Data data(std::size_t length) {
    Data bytes(length);
    entropy_.fill(bytes);
    for (std::uint8_t& byte : bytes)
      if (below(3)) byte = static_cast<std::uint8_t>(below(32));
    return bytes;
  }
  std::size_t below(std::size_t limit) { return entropy_.u64() % limit; }

 private:
  base::SeededEntropy entropy_;
};

TEST_CASE("a CDB of any bytes completes exactly once") {
  constexpr std::uint64_t kSeed = 20251;
  INFO("seed " << kSeed);
  RandomCommands random(kSeed);
  for (bool blocking : {false, true}) {
    DeviceOptions options = test::every_command();
    options.blocking = blocking;
    options.size_bytes = 64 << 10;
    Device device(options);
    for (int i = 0; i < 4000; ++i) {
      Command& command = device.prepare(random.cdb(), static_cast<std::uint16_t>(random.below(3)));
      command.task.attribute = static_cast<TaskAttribute>(random.below(5));
      device.go(command, random.data(random.below(600)));
      if (random.below(4) == 0) device.executor.run_all();
    }
    device.executor.run_all();
    for (const Command& command : device.commands()) REQUIRE(command.completions == 1);
  }
}

}  // namespace
}  // namespace scsi
