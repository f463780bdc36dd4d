// REPORT LUNS, REPORT SUPPORTED OPERATION CODES, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, REQUEST SENSE.
//
// Not tested, and why: nothing is left out.
#include <doctest/doctest.h>

#include "scsi/command_table.h"
#include "scsi/unit_attentions.h"
#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using Data = std::vector<std::uint8_t>;

const Device::Cdb kTestUnitReady = {0x00, 0, 0, 0, 0, 0};

Device::Cdb report_luns(std::uint8_t select, std::uint8_t allocation_length = 0xFF) {
  return {0xA0, 0, select, 0, 0, 0, 0, 0, 0, allocation_length, 0, 0};
}

TEST_CASE("REPORT LUNS lists every logical unit, by peripheral device or flat space addressing") {
  Device device;
  device.add(300);
  Data expected = {0, 0, 0, 24, 0, 0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0,
                   0, 1, 0, 0,  0, 0, 0, 0, 0x41, 0x2C, 0, 0, 0, 0, 0, 0};
  for (std::uint8_t select : {0x00, 0x02, 0x11}) CHECK(device.run(report_luns(select)).data() == expected);
  CHECK(device.run(report_luns(0), {}, 99).data() == expected);
  CHECK(device.run(report_luns(0, 20)).data() == Data(expected.begin(), expected.begin() + 20));
}

TEST_CASE("REPORT LUNS of well known, administrative or subsidiary logical units lists none") {
  Device device;
  for (std::uint8_t select : {0x01, 0x10, 0x12}) CHECK(device.run(report_luns(select)).data() == Data(8));
  CHECK(device.run(report_luns(0x03)).sense() == Sense::invalid_field_in_cdb(2, {}, ""));
}

TEST_CASE("a new logical unit is announced by REPORTED LUNS DATA HAS CHANGED until REPORT LUNS is sent") {
  Device device;
  device.add(2);
  CHECK(device.run(kTestUnitReady)
            .failed_with(SenseKey::unit_attention, AdditionalSense::reported_luns_data_has_changed));
  device.add(3);
  CHECK(device.run(report_luns(0)).good());
  CHECK(device.run(kTestUnitReady, {}, 0).good());
  CHECK(device.run(kTestUnitReady, {}, 1).good());
}

TEST_CASE("a LUN decodes from peripheral device and flat space addressing of one level, and from nothing else") {
  for (std::uint16_t number : {0, 1, 255, 256, 300, 0x3FFF}) CHECK(decode_lun(encode_lun(Lun{number})) == Lun{number});
  CHECK(decode_lun(Data{0x40, 5, 0, 0, 0, 0, 0, 0}) == Lun{5});
  CHECK_FALSE(decode_lun(Data{0x01, 5, 0, 0, 0, 0, 0, 0}));
  CHECK_FALSE(decode_lun(Data{0x80, 5, 0, 0, 0, 0, 0, 0}));
  CHECK_FALSE(decode_lun(Data{0xC1, 1, 0, 0, 0, 0, 0, 0}));
  CHECK_FALSE(decode_lun(Data{0, 5, 0, 1, 0, 0, 0, 0}));
  CHECK_FALSE(decode_lun(Data{0, 5, 0, 0}));
}

Device::Cdb opcodes(std::uint8_t options, std::uint8_t opcode = 0, std::uint8_t action = 0) {
  return {0xA3, 0x0C, options, opcode, 0, action, 0, 0, 0xFF, 0xFF, 0, 0};
}

TEST_CASE("REPORT SUPPORTED OPERATION CODES lists every row of the command table") {
  Device device(test::every_command());
  Data all = device.run(opcodes(0)).data();
  base::ByteReader reader(all);
  CHECK(reader.u32() == command_table().size() * 8);
  for (const CommandDescriptor& row : command_table()) {
    CAPTURE(row.name);
    CHECK(reader.u8() == row.opcode);
    CHECK(reader.u8() == 0);
    CHECK(reader.u16() == row.service_action.value_or(0));
    CHECK(reader.u8() == 0);
    CHECK(reader.u8() == (row.service_action ? 1 : 0));
    CHECK(reader.u16() == row.cdb_length);
  }
  CHECK(reader.ok());
  CHECK(reader.remaining() == 0);
}

TEST_CASE("with RCTD every descriptor carries a command timeouts descriptor") {
  Device device(test::every_command());
  Data all = device.run(opcodes(0x80)).data();
  CHECK(all.size() == 4 + command_table().size() * 20);
  for (std::size_t at = 4; at < all.size(); at += 20) {
    CHECK((all[at + 5] & 0x02) == 0x02);
    CHECK(Data(all.begin() + static_cast<std::ptrdiff_t>(at) + 8, all.begin() + static_cast<std::ptrdiff_t>(at) + 12) ==
          Data{0, 0x0A, 0, 0});
  }
  Data one = device.run(opcodes(0x81, 0x00)).data();
  REQUIRE(one.size() == 4 + 6 + 12);
  CHECK(Data(one.begin(), one.begin() + 12) == Data{0, 0x83, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0x0A});
}

TEST_CASE("one command is reported with the usage mask of its row") {
  Device device(test::every_command());
  for (const CommandDescriptor& row : command_table()) {
    CAPTURE(row.name);
    std::uint8_t options = row.service_action ? 2 : 1;
    auto action = static_cast<std::uint8_t>(row.service_action.value_or(0));
    Data data = device.run(opcodes(options, row.opcode, action)).data();
    Data expected = {0, 3, 0, row.cdb_length};
    expected.insert(expected.end(), row.usage.begin(), row.usage.begin() + row.cdb_length);
    CHECK(data == expected);
    CHECK(row.usage[0] == row.opcode);
    if (row.service_action) CHECK((row.usage[1] & 0x1F) == *row.service_action);
    CHECK(device.run(opcodes(row.service_action ? 1 : 2, row.opcode, action)).sense() ==
          Sense::invalid_field_in_cdb(2, 2, ""));
  }
}

TEST_CASE("a command that is not supported is reported so") {
  Device device;
  CHECK(device.run(opcodes(1, 0xFF)).data() == Data{0, 1, 0, 0});
  CHECK(device.run(opcodes(2, 0xA3, 0x1E)).data() == Data{0, 1, 0, 0});
  CHECK(device.run(opcodes(4)).sense() == Sense::invalid_field_in_cdb(2, 2, ""));
}

TEST_CASE("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS has those manage() performs") {
  Device device;
  CHECK(device.run({0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0, 0}).data() == Data{0xDA, 0, 0, 0});
  Data extended = {0xDA, 0, 0, 12};
  extended.resize(16);
  CHECK(device.run({0xA3, 0x0D, 0x80, 0, 0, 0, 0, 0, 0, 0xFF, 0, 0}).data() == extended);
}

Device::Cdb request_sense(std::uint8_t desc) { return {0x03, desc, 0, 0, 252, 0}; }

TEST_CASE("REQUEST SENSE reports and clears a unit attention condition, in the format DESC asks for") {
  Device device;
  NexusId late = device.server.attach({});
  Command& fixed = device.run(request_sense(0), {}, 0, late);
  CHECK(fixed.good());
  CHECK(fixed.data() ==
        encode_fixed({SenseKey::unit_attention, AdditionalSense::power_on_reset_or_bus_device_reset_occurred}));
  CHECK(device.run(request_sense(0), {}, 0, late).data() == encode_fixed({}));
  CHECK(device.run(request_sense(1), {}, 0, late).data() == encode_descriptor({}));
  CHECK(device.run(kTestUnitReady, {}, 0, late).good());
}

TEST_CASE("REQUEST SENSE of a LUN without logical unit is GOOD and says so in its data") {
  Device device;
  Command& command = device.run(request_sense(0), {}, 9);
  CHECK(command.good());
  CHECK(command.data() == encode_fixed({SenseKey::illegal_request, AdditionalSense::logical_unit_not_supported}));
}

TEST_CASE("a stopped logical unit is not ready, and REQUEST SENSE says why") {
  Device device;
  device.lu().set_stopped(true);
  Sense stopped{SenseKey::not_ready, AdditionalSense::logical_unit_not_ready_initializing_command_required};
  CHECK(device.run(kTestUnitReady).sense() == stopped);
  CHECK(device.run(request_sense(0)).data() == encode_fixed(stopped));
  CHECK(device.run({0x12, 0, 0, 0, 96, 0}).good());
}

}  // namespace
}  // namespace scsi
