// Task management functions (SAM-5 7): who ends, who is told, and when it is answered.
//
// Not tested, and why: QUERY TASK and the other functions of RFC 7144, which are not offered.
#include <doctest/doctest.h>

#include <optional>

#include "scsi/mode_pages.h"
#include "scsi/task_set.h"
#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using Data = std::vector<std::uint8_t>;
using enum TaskManagementFunction;
using enum TaskManagementResponse;

DeviceOptions blocking() {
  DeviceOptions options;
  options.blocking = true;
  return options;
}

Device::Cdb write(std::uint8_t lba) { return {0x2A, 0, 0, 0, 0, lba, 0, 0, 1, 0}; }
Device::Cdb read(std::uint8_t lba) { return {0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0}; }
const Device::Cdb kTestUnitReady = {0x00, 0, 0, 0, 0, 0};
const Data kBlock(512, 9);

/// A function that was asked for, and its answer when there is one.
struct Managed {
  std::optional<TaskManagementResponse> response;
  void start(Device& device, TaskManagementFunction function, std::optional<std::uint16_t> lun = 0,
             std::uint32_t tag = 0, NexusId nexus = NexusId::none) {
    device.server.manage(function, nexus == NexusId::none ? device.nexus : nexus,
                         lun ? std::optional(Lun{*lun}) : std::nullopt, tag, [this](TaskManagementResponse answer) {
                           CHECK_FALSE(response);
                           response = answer;
                         });
  }
};

bool aborted(const Command& command) { return command.completions == 1 && command.status() == Status::task_aborted; }

TEST_CASE("ABORT TASK ends a task whose data-out is awaited, at once") {
  Device device;
  Command& command = device.prepare(write(0));
  device.server.admit(command.task);
  Managed managed;
  managed.start(device, abort_task, 0, command.task.tag);
  CHECK(aborted(command));
  CHECK(managed.response == function_complete);
}

TEST_CASE("ABORT TASK withdraws work that waits, and what waited behind it goes on") {
  Device device(blocking());
  Command& running = device.send(read(0));
  Command& waiting = device.send(write(0), kBlock);
  Command& behind = device.send(read(0));
  Managed managed;
  managed.start(device, abort_task, 0, waiting.task.tag);
  CHECK(aborted(waiting));
  CHECK(managed.response == function_complete);
  CHECK(device.executor.held() == 2);
  device.executor.run_all();
  CHECK(running.good());
  CHECK(behind.data() == Data(512));
}

TEST_CASE("ABORT TASK of work under way is answered once it has stopped, and its status is not sent") {
  Device device(blocking());
  Command& command = device.send(write(0), kBlock);
  Managed managed;
  managed.start(device, abort_task, 0, command.task.tag);
  CHECK_FALSE(managed.response);
  CHECK_FALSE(command.done());
  CHECK(command.task.abort_requested);
  device.executor.run_all();
  CHECK(aborted(command));
  CHECK(managed.response == function_complete);
}

TEST_CASE("ABORT TASK does not find an ended task, another nexus's, or one of another logical unit") {
  Device device(blocking());
  NexusId other = device.attach("iqn.2025-01.example:other");
  Command& command = device.send(read(0));
  auto response = [&](std::uint16_t lun, std::uint32_t tag, NexusId nexus) {
    Managed managed;
    managed.start(device, abort_task, lun, tag, nexus);
    return managed.response;
  };
  CHECK(response(0, command.task.tag, other) == task_does_not_exist);
  CHECK(response(1, command.task.tag, device.nexus) == task_does_not_exist);
  CHECK(response(0, command.task.tag + 1, device.nexus) == task_does_not_exist);
  device.executor.run_all();
  CHECK(command.good());
  CHECK(response(0, command.task.tag, device.nexus) == task_does_not_exist);
}

TEST_CASE("ABORT TASK ends a task held back by an ORDERED one") {
  Device device(blocking());
  Command& ordered = device.send(read(0), {}, 0, NexusId::none, TaskAttribute::ordered);
  Command& dormant = device.send(write(1), kBlock);
  Managed managed;
  managed.start(device, abort_task, 0, dormant.task.tag);
  CHECK(aborted(dormant));
  CHECK(managed.response == function_complete);
  device.executor.run_all();
  CHECK(ordered.good());
  CHECK(device.stores[0]->bytes()[512] == 0);
}

TEST_CASE("ABORT TASK SET ends every task of the nexus on the logical unit, and no other") {
  Device device(blocking());
  NexusId other = device.attach("iqn.2025-01.example:other");
  Command& mine = device.send(write(0), kBlock);
  Command& mine_too = device.send(write(0), kBlock);
  Command& elsewhere = device.send(read(0), {}, 1);
  Command& others = device.send(read(5), {}, 0, other);
  Managed managed;
  managed.start(device, abort_task_set);
  CHECK(aborted(mine_too));
  CHECK_FALSE(managed.response);
  device.executor.run_all();
  CHECK(aborted(mine));
  CHECK(managed.response == function_complete);
  CHECK(elsewhere.good());
  CHECK(others.good());
  CHECK(device.run(kTestUnitReady, {}, 0, other).good());
}

TEST_CASE("CLEAR TASK SET ends all tasks and tells each other nexus that lost one") {
  Device device(blocking());
  NexusId other = device.attach("iqn.2025-01.example:other");
  NexusId idle = device.attach("iqn.2025-01.example:idle");
  Command& mine = device.send(read(0));
  Command& others = device.send(read(5), {}, 0, other);
  Managed managed;
  managed.start(device, clear_task_set);
  device.executor.run_all();
  CHECK(managed.response == function_complete);
  CHECK(aborted(mine));
  CHECK(aborted(others));
  CHECK(device.run(kTestUnitReady, {}, 0, other)
            .failed_with(SenseKey::unit_attention, AdditionalSense::commands_cleared_by_another_initiator));
  CHECK(device.run(kTestUnitReady, {}, 0, idle).good());
  CHECK(device.run(kTestUnitReady).good());
}

TEST_CASE("LOGICAL UNIT RESET ends all tasks, resets its state and tells every nexus") {
  Device device(blocking());
  NexusId other = device.attach("iqn.2025-01.example:other");
  Data swp = {0, 0, 0, 0, 0x0A, 0x0A, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0};
  CHECK(device.run({0x15, 0x10, 0, 0, 16, 0}, swp).good());
  device.lu().set_stopped(true);
  Command& others = device.prepare(kTestUnitReady, 0, other);
  device.run({0x03, 0, 0, 0, 18, 0}, {}, 0, other);
  device.lu().set_stopped(false);
  Command& running = device.send(read(0));
  device.go(others);
  device.lu().set_stopped(true);
  Managed managed;
  managed.start(device, logical_unit_reset);
  CHECK_FALSE(managed.response);
  device.executor.run_all();
  CHECK(managed.response == function_complete);
  CHECK(aborted(running));
  CHECK_FALSE(device.lu().stopped());
  CHECK_FALSE(device.lu().mode_pages().software_write_protect());
  for (NexusId nexus : {device.nexus, other}) {
    CHECK(device.run(kTestUnitReady, {}, 0, nexus)
              .failed_with(SenseKey::unit_attention, AdditionalSense::bus_device_reset_function_occurred));
    CHECK(device.run(kTestUnitReady, {}, 0, nexus).good());
    CHECK(device.run(kTestUnitReady, {}, 1, nexus).good());
  }
}

TEST_CASE("a target reset is a reset of every logical unit") {
  for (auto function : {target_warm_reset, target_cold_reset}) {
    Device device(blocking());
    Command& first = device.send(read(0));
    Command& second = device.send(read(0), {}, 1);
    Managed managed;
    managed.start(device, function, {});
    CHECK_FALSE(managed.response);
    device.executor.run();
    CHECK_FALSE(managed.response);
    device.executor.run();
    CHECK(managed.response == function_complete);
    CHECK(aborted(first));
    CHECK(aborted(second));
    for (std::uint16_t lun : {std::uint16_t{0}, std::uint16_t{1}})
      CHECK(device.run(kTestUnitReady, {}, lun)
                .failed_with(SenseKey::unit_attention, AdditionalSense::power_on_reset_or_bus_device_reset_occurred));
  }
}

TEST_CASE("functions that are not offered, and LUNs that do not exist, are answered so") {
  Device device;
  auto response = [&](TaskManagementFunction function, std::optional<std::uint16_t> lun) {
    Managed managed;
    managed.start(device, function, lun);
    return managed.response;
  };
  CHECK(response(clear_aca, 0) == function_not_supported);
  CHECK(response(task_reassign, 0) == task_allegiance_reassignment_not_supported);
  for (auto function : {abort_task, abort_task_set, clear_task_set, logical_unit_reset}) {
    CHECK(response(function, 9) == lun_does_not_exist);
    CHECK(response(function, {}) == lun_does_not_exist);
  }
  CHECK(response(abort_task_set, 0) == function_complete);
}

TEST_CASE("two functions that wait for one task are both answered when it stops") {
  Device device(blocking());
  Command& command = device.send(write(0), kBlock);
  Managed abort;
  Managed reset;
  abort.start(device, abort_task, 0, command.task.tag);
  reset.start(device, logical_unit_reset);
  CHECK_FALSE(abort.response);
  CHECK_FALSE(reset.response);
  device.executor.run_all();
  CHECK(aborted(command));
  CHECK(abort.response == function_complete);
  CHECK(reset.response == function_complete);
}

TEST_CASE("abort_all ends a nexus's tasks on every logical unit before it says so") {
  Device device(blocking());
  NexusId other = device.attach("iqn.2025-01.example:other");
  Command& one = device.send(read(0));
  Command& two = device.send(write(0), kBlock, 1);
  Command& others = device.send(read(9), {}, 0, other);
  bool done = false;
  device.server.abort_all(device.nexus, [&] { done = true; });
  CHECK_FALSE(done);
  device.executor.run_all();
  CHECK(done);
  CHECK(aborted(one));
  CHECK(aborted(two));
  CHECK(others.good());
  device.server.detach(device.nexus);
}

TEST_CASE("a reset through one target ends and tells the tasks and nexuses of another target on the logical unit") {
  Device device(blocking());
  DeviceServer second({"iqn.2025-01.example:second", 1}, device.clock, &device.executor, device.copies);
  second.add(Lun{5}, device.server.logical_units().at(Lun{0}));
  NexusId nexus = second.attach({"iqn.2025-01.example:host2", {}, "iqn.2025-01.example:second", 1});
  CHECK(nexus != device.nexus);
  Command& through_second = device.prepare({0x03, 0, 0, 0, 18, 0}, 5, nexus);
  second.admit(through_second.task);
  CHECK(through_second.good());
  Command& reading = device.prepare(read(0), 5, nexus);
  second.admit(reading.task);
  Managed managed;
  managed.start(device, logical_unit_reset);
  device.executor.run_all();
  CHECK(managed.response == function_complete);
  CHECK(aborted(reading));
  Command& after = device.prepare(kTestUnitReady, 5, nexus);
  second.admit(after.task);
  CHECK(after.failed_with(SenseKey::unit_attention, AdditionalSense::bus_device_reset_function_occurred));
}

}  // namespace
}  // namespace scsi
