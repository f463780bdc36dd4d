// Dispatch: which rule refuses a command first, and with what (SAM-5 5, SPC-4 4.3).
//
// Not tested, and why: reservations, because no command here makes one.
#include <doctest/doctest.h>

#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Device;

TEST_CASE("TEST UNIT READY is GOOD on a logical unit that is ready") {
  Device device;
  CHECK(device.run({0x00, 0, 0, 0, 0, 0}).good());
}

TEST_CASE("an operation code without row is INVALID COMMAND OPERATION CODE") {
  Device device;
  auto& command = device.run({0xFF});
  CHECK(command.failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
}

TEST_CASE("a LUN without logical unit is LOGICAL UNIT NOT SUPPORTED, whatever else is wrong") {
  Device device;
  auto not_supported = [&](Device::Cdb cdb) {
    return device.run(cdb, {}, 7).failed_with(SenseKey::illegal_request, AdditionalSense::logical_unit_not_supported);
  };
  CHECK(not_supported({0x00, 0, 0, 0, 0, 0}));
  CHECK(not_supported({0x00, 1, 0, 0, 0, 4}));
  CHECK(not_supported({0xFF}));
}

TEST_CASE("NACA in the CONTROL byte is refused with its byte and bit") {
  Device device;
  auto& command = device.run({0x00, 0, 0, 0, 0, 0x04});
  CHECK(command.sense() == Sense::invalid_field_in_cdb(5, 2, ""));
}

TEST_CASE("a new nexus gets POWER ON, RESET, OR BUS DEVICE RESET OCCURRED once from each logical unit") {
  Device device;
  NexusId late = device.server.attach({"iqn.2025-01.example:late", {}, "t", 1});
  for (std::uint16_t lun : {std::uint16_t{0}, std::uint16_t{1}}) {
    CHECK(device.run({0x00, 0, 0, 0, 0, 0}, {}, lun, late)
              .failed_with(SenseKey::unit_attention, AdditionalSense::power_on_reset_or_bus_device_reset_occurred));
    CHECK(device.run({0x00, 0, 0, 0, 0, 0}, {}, lun, late).good());
  }
}

}  // namespace
}  // namespace scsi
