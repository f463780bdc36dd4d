// Logical units that come, go and change their size while commands and copies use them.
//
// Not tested, and why: stores that are closed (test/target: the array closes them); other threads (the executor here
// holds work back on the test's thread; the system tests have real ones).
#include <doctest/doctest.h>

#include "scsi/capacity_change.h"
#include "scsi/reservations.h"
#include "test/scsi/copy_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::SenseKey;

namespace {

using Cdb = Device::Cdb;

const Cdb kTestUnitReady(6);
const Cdb kReportLuns{0xA0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0};
const Cdb kReadCapacity{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0};

Cdb write10(std::uint8_t lba, std::uint8_t blocks = 1) { return {0x2A, 0, 0, 0, 0, lba, 0, 0, blocks, 0}; }
Cdb read10(std::uint8_t lba, std::uint8_t blocks = 1) { return {0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0}; }

bool luns_changed(const Command& command) {
  return command.failed_with(SenseKey::unit_attention, AdditionalSense::reported_luns_data_has_changed);
}
bool capacity_changed(const Command& command) {
  return command.failed_with(SenseKey::unit_attention, AdditionalSense::capacity_data_has_changed);
}
bool not_supported(const Command& command) {
  return command.failed_with(SenseKey::illegal_request, AdditionalSense::logical_unit_not_supported);
}
bool out_of_range(const Command& command) {
  return command.failed_with(SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range);
}
bool cancelled(const Command& command) {
  return command.failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_cancelled);
}

}  // namespace

TEST_CASE("a logical unit that is added is told on the others to every nexus, once, and REPORT LUNS clears it") {
  Device device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  device.add(5);
  CHECK(device.run(kReportLuns).good());
  CHECK(device.run(kTestUnitReady).good());
  CHECK(device.run(kTestUnitReady, {}, 1).good());
  CHECK(luns_changed(device.run(kTestUnitReady, {}, 0, other)));
  CHECK(luns_changed(device.run(kTestUnitReady, {}, 1, other)));
  CHECK(device.run(kTestUnitReady, {}, 0, other).good());
  CHECK(device.run(kTestUnitReady, {}, 5).sense().code == AdditionalSense::power_on_reset_or_bus_device_reset_occurred);
  CHECK(device.run(kTestUnitReady, {}, 5).good());
}

TEST_CASE("a logical unit that is removed is LOGICAL UNIT NOT SUPPORTED, and told on the others") {
  Device device;
  device.server.remove(scsi::Lun{1});
  CHECK(not_supported(device.run(kTestUnitReady, {}, 1)));
  CHECK(luns_changed(device.run(kTestUnitReady)));
  CHECK(device.run(kReportLuns).data().size() == 16);
  CHECK(device.server.take_unused().size() == 1);
  CHECK(device.server.take_unused().empty());
  device.server.remove(scsi::Lun{1});  // there is none
  CHECK(device.run(kTestUnitReady).good());
}

TEST_CASE("removal: what is worked on is finished, what waits for data or its turn is not supported") {
  Device device({.blocking = true});
  Command& worked_on = device.send(write10(3), Bytes(512, 7));
  Command& queued = device.send(read10(3));
  Command& gathering = device.prepare(write10(9));
  device.server.admit(gathering.task);
  REQUIRE(gathering.task.state == scsi::Task::State::admitted);
  Command& dormant = device.send(read10(5), {}, 0, scsi::NexusId::none, scsi::TaskAttribute::ordered);
  REQUIRE(dormant.task.dormant);
  device.server.remove(scsi::Lun{0});
  CHECK(not_supported(gathering));
  CHECK(not_supported(dormant));
  CHECK_FALSE(worked_on.done());
  CHECK(device.server.take_unused().empty());
  CHECK(not_supported(device.send(read10(3))));
  device.executor.run_all();
  CHECK(worked_on.good());
  CHECK(queued.data() == Bytes(512, 7));
  CHECK(device.server.take_unused().size() == 1);
}

TEST_CASE("removal: a session that ends meanwhile waits for its commands there") {
  Device device({.blocking = true});
  Command& worked_on = device.send(write10(3), Bytes(512, 7));
  device.server.remove(scsi::Lun{0});
  bool ended = false;
  device.server.abort_all(device.nexus, [&] { ended = true; });
  CHECK_FALSE(ended);
  device.executor.run_all();
  CHECK(ended);
  CHECK(worked_on.status() == scsi::Status::task_aborted);
  CHECK(device.server.take_unused().size() == 1);
}

TEST_CASE("removal: data that was read outlives the logical unit") {
  Device device;
  device.run(write10(3), Bytes(512, 7));
  Command& read = device.run(read10(3));
  device.server.remove(scsi::Lun{0});
  device.server.take_unused().clear();
  CHECK(read.data() == Bytes(512, 7));
  CHECK(device.server.sense_data(read.task).size() == 18);
}

TEST_CASE("a number that is used again is another logical unit, with what it has and what it is told by") {
  Device device;
  device.run(write10(3), Bytes(512, 7));
  device.server.remove(scsi::Lun{0});
  device.add(0);
  CHECK(device.run(kTestUnitReady).sense().code == AdditionalSense::power_on_reset_or_bus_device_reset_occurred);
  CHECK(device.run(read10(3)).data() == Bytes(512));
  CHECK(device.server.take_unused().size() == 1);
}

TEST_CASE("removal drops reservations, where they persist too") {
  KeptState::Kept kept;
  Device device({.kept = &kept});
  Bytes list(24);
  list[15] = 0x11;  // SERVICE ACTION RESERVATION KEY
  list[20] = 1;     // APTPL
  REQUIRE(device.run({0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0}, list).good());
  REQUIRE(kept.writes == 1);
  Bytes registered = *kept.image;
  device.server.remove(scsi::Lun{0});
  CHECK(kept.writes == 2);
  CHECK(kept.image->size() < registered.size());
  CHECK(device.server.take_unused().front()->reservations().registrations().empty());
}

TEST_CASE("removal drops saved settings") {
  KeptState::Kept kept;
  Device device({.kept_settings = &kept});
  const Bytes information{'d', 'i', 's', 'k'};
  REQUIRE(device.run({0xA4, 0x06, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0}, information).good());
  REQUIRE(kept.writes == 1);
  Bytes set = *kept.image;
  device.server.remove(scsi::Lun{0});
  CHECK(kept.writes == 2);
  CHECK(kept.image->size() < set.size());
  CHECK(device.server.take_unused().front()->settings().identifying.identifier.empty());
}

TEST_CASE("a logical unit that comes or goes is told to those who may use it") {
  Device device;
  device.run(kTestUnitReady);
  scsi::LogicalUnitConfig config;
  config.name = "of somebody else";
  config.allowed_initiators = {"iqn.2025-01.example:somebody-else"};
  device.server.add(scsi::Lun{5}, std::make_shared<scsi::LogicalUnit>(config, std::make_unique<SparseStore>(1 << 20)));
  CHECK(device.run(kTestUnitReady).good());
  device.server.remove(scsi::Lun{5});
  CHECK(device.run(kTestUnitReady).good());
}

TEST_CASE("removal: tokens are cancelled, results gone, and copies from and to it stopped") {
  constexpr std::uint16_t kSource = CopyDevice::kSource, kDestination = CopyDevice::kDestination;
  scsi::DeviceProfile profile;
  profile.copy_duration.bytes_per_second = 4096;
  for (std::uint16_t gone : {kSource, kDestination}) {
    CAPTURE(gone);
    CopyDevice device(profile);
    tokens::RodToken token = device.token_of({{0, 64}});
    tokens::RodToken other = device.token_of({{0, 8}}, {}, CopyDevice::kLarge);
    Bytes list = write_list(token, {{0, 64}});
    Command& copy = device.send(out_cdb(0x11, 1, list.size()), list, kDestination);
    device.pass(std::chrono::seconds(1));
    REQUIRE_FALSE(copy.done());
    device.server.remove(scsi::Lun{gone});
    // A captured source is not used while it is copied: its copy goes on, but no later one begins.
    if (gone == kDestination) {
      CHECK(copy.failed_with(SenseKey::copy_aborted, AdditionalSense::commands_cleared_by_device_server));
    } else {
      CHECK(luns_changed(device.run(kTestUnitReady, {}, kDestination)));
      CHECK(cancelled(device.write_using(2, token, {{64, 8}})));
    }
    CHECK(device.server.take_unused().size() == 1);
    CHECK(not_supported(device.run(in_cdb(0x07, 1, 805), {}, gone)));
    device.pass(std::chrono::seconds(10));
    CHECK(copy.done());
    CHECK(device.copies.running_jobs() == 0);
    std::uint16_t left = gone == kSource ? kDestination : kSource;
    if (gone == kDestination) CHECK(luns_changed(device.run(kTestUnitReady, {}, left)));
    Bytes use = write_list(other, {{0, 1}});
    device.send(out_cdb(0x11, 3, use.size()), use, left);
    device.pass(std::chrono::seconds(10));
    CHECK(device.commands().back().good());
  }
}

TEST_CASE("removal: FORMAT UNIT ends where it is") {
  scsi::DeviceProfile profile;
  profile.erase_bytes_per_second = 4096;
  Device device({.size_bytes = 1 << 20, .profile = profile});
  Command& format = device.send({0x04, 0, 0, 0, 0, 0});
  REQUIRE_FALSE(format.done());
  device.server.remove(scsi::Lun{0});
  CHECK(device.server.take_unused().empty());
  device.clock.advance(std::chrono::seconds(1));
  device.copies.timers().run_due(device.clock.now());
  device.executor.run_all();
  CHECK(not_supported(format));
  CHECK(device.server.take_unused().size() == 1);
}

TEST_CASE("a logical unit that grows: every nexus is told, and there are more blocks at once") {
  Device device({.size_bytes = 8 * 512});
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  CHECK(out_of_range(device.run(write10(8), Bytes(512, 1))));
  REQUIRE(device.lu().store().resize(16 * 512));
  scsi::change_capacity(device.lu(), device.copies, 16 * 512);
  for (scsi::NexusId nexus : {device.nexus, other}) {
    CHECK(capacity_changed(device.run(kTestUnitReady, {}, 0, nexus)));
    CHECK(device.run(kReadCapacity, {}, 0, nexus).data() == hex("00 00 00 0F 00 00 02 00"));
  }
  CHECK(device.run(kTestUnitReady, {}, 1).good());
  CHECK(device.run(write10(15), Bytes(512, 1)).good());
  CHECK(out_of_range(device.run(write10(16), Bytes(512, 1))));
  scsi::change_capacity(device.lu(), device.copies, 16 * 512);  // nothing changed
  CHECK(device.run(kTestUnitReady).good());
}

TEST_CASE("a logical unit that shrinks: a write whose data comes late is judged again") {
  Device device({.size_bytes = 16 * 512});
  Command& inside = device.prepare(write10(7));
  Command& beyond = device.prepare(write10(7, 2));
  device.server.admit(inside.task);
  device.server.admit(beyond.task);
  scsi::change_capacity(device.lu(), device.copies, 8 * 512);
  CHECK(device.stores[0]->size_bytes() == 8 * 512);
  Bytes data(1024, 5);
  for (Command* command : {&inside, &beyond}) {
    command->task.data_out = base::Bytes(data).first(command->task.data_out_length);
    device.server.execute(command->task);
  }
  CHECK(inside.good());
  CHECK(out_of_range(beyond));
  CHECK(capacity_changed(device.run(kTestUnitReady)));
  CHECK(device.run(kReadCapacity).data() == hex("00 00 00 07 00 00 02 00"));
  CHECK(device.run(read10(7)).data() == Bytes(512, 5));
  CHECK(out_of_range(device.run(read10(8))));
}

TEST_CASE("a logical unit that shrinks stops the copies that use it") {
  scsi::DeviceProfile profile;
  profile.copy_duration.bytes_per_second = 4096;
  CopyDevice device(profile);
  tokens::RodToken token = device.token_of({{0, 64}});
  Bytes list = write_list(token, {{64, 64}});
  Command& copy = device.send(out_cdb(0x11, 1, list.size()), list, CopyDevice::kDestination);
  device.pass(std::chrono::seconds(1));
  REQUIRE_FALSE(copy.done());
  scsi::change_capacity(device.lu(CopyDevice::kDestination), device.copies, 100 * 512);
  CHECK(copy.failed_with(SenseKey::copy_aborted, AdditionalSense::commands_cleared_by_device_server));
}

TEST_CASE("read-only is told as changed mode parameters, and refuses what comes later") {
  Device device;
  device.lu().set_read_only(false);
  CHECK(device.run(kTestUnitReady).good());
  device.lu().set_read_only(true);
  CHECK(device.run(kTestUnitReady).failed_with(SenseKey::unit_attention, AdditionalSense::mode_parameters_changed));
  CHECK(device.run(write10(0), Bytes(512)).failed_with(SenseKey::data_protect, AdditionalSense::write_protected));
  device.lu().set_read_only(false);
  CHECK(device.run(kTestUnitReady).sense().code == AdditionalSense::mode_parameters_changed);
  CHECK(device.run(write10(0), Bytes(512)).good());
}
