// Dispatch: which rule refuses a command first, and with what (SAM-5 5, SPC-4 4.3).
//
// Not tested, and why: reservations, which reservation_conflict_test.cc is about.
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

/// Uses its task again as soon as it is completed, as a front end does.
class Recycler final : public TaskObserver {
 public:
  Recycler(Device& device, unsigned rounds) : device_(device), rounds_(rounds) {}
  void completed(Task& task) override {
    statuses.push_back(task.status);
    if (statuses.size() < rounds_) send(task);
  }
  void send(Task& task) {
    task.reset();
    task.nexus = device_.nexus;
    task.tag = static_cast<std::uint32_t>(statuses.size());
    task.observer = this;
    task.cdb[0] = 0x28;  // READ(10)
    task.cdb[8] = 1;
    device_.server.admit(task);
  }
  std::vector<Status> statuses{};

 private:
  Device& device_;
  unsigned rounds_;
};

TEST_CASE("an observer may use its task again from inside completed()") {
  for (bool blocking : {false, true}) {
    test::DeviceOptions options;
    options.blocking = blocking;
    Device device(options);
    Recycler recycler(device, 5);
    Task task;
    recycler.send(task);
    device.executor.run_all();
    CHECK(recycler.statuses == std::vector<Status>(5, Status::good));
  }
}

TEST_CASE("attach numbers nexuses across device servers, and a detached one is forgotten") {
  Device one;
  Device two;
  CHECK(one.nexus != two.nexus);
  one.server.detach(one.nexus);
  NexusId again = one.server.attach({});
  CHECK(again != one.nexus);
  CHECK(again != two.nexus);
}

TEST_CASE("a LUN is given out once") {
  Device device;
  CHECK_THROWS_AS(device.add(1), std::invalid_argument);
}

TEST_CASE("LOGICAL BLOCK ADDRESS OUT OF RANGE is answered before data-out is asked for") {
  Device device;
  auto& command = device.prepare({0x2A, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 1, 0});
  device.server.admit(command.task);
  CHECK(command.failed_with(SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range));
}

}  // namespace
}  // namespace scsi
