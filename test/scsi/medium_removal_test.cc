// Removable media: START STOP UNIT with LOEJ, PREVENT ALLOW MEDIUM REMOVAL, and what is answered without a medium.
//
// Not tested, and why: PREEMPT AND ABORT, which stands in reservation_commands_test.cc; another medium in the place of
// the first, which a logical unit never gets.
#include <doctest/doctest.h>

#include "scsi/medium.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::Sense;
using scsi::SenseKey;

namespace {

const Device::Cdb kTestUnitReady = {0x00, 0, 0, 0, 0, 0};
const Device::Cdb kEject = {0x1B, 0, 0, 0, 0x02, 0};
const Device::Cdb kEjectNoFlush = {0x1B, 0, 0, 0, 0x06, 0};
const Device::Cdb kLoad = {0x1B, 0, 0, 0, 0x03, 0};
const Device::Cdb kStart = {0x1B, 0, 0, 0, 0x01, 0};
const Device::Cdb kStop = {0x1B, 0, 0, 0, 0x00, 0};
const Device::Cdb kPrevent = {0x1E, 0, 0, 0, 0x01, 0};
const Device::Cdb kAllow = {0x1E, 0, 0, 0, 0x00, 0};
const Device::Cdb kRequestSense = {0x03, 0, 0, 0, 252, 0};

struct Removable : Device {
  Removable() : Device({.removable = true}) {}
  bool no_medium(const Cdb& cdb) {
    return run(cdb).failed_with(SenseKey::not_ready, AdditionalSense::medium_not_present);
  }
  bool prevented(const Cdb& cdb, scsi::NexusId from = scsi::NexusId::none) {
    return run(cdb, {}, 0, from).failed_with(SenseKey::illegal_request, AdditionalSense::medium_removal_prevented);
  }
};

}  // namespace

TEST_CASE("INQUIRY says RMB of removable media only") {
  Removable removable;
  CHECK(removable.run({0x12, 0, 0, 0, 96, 0}).data()[1] == 0x80);
  Device device;
  CHECK(device.run({0x12, 0, 0, 0, 96, 0}).data()[1] == 0x00);
}

TEST_CASE("an ejected medium is 02/3A/00 to every command that needs it, and back it is 06/28/00 to the others") {
  Removable device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  CHECK(device.run(write_10(0, 1), pattern(512, 1)).good());
  CHECK(device.run(kEject).good());
  CHECK(device.stores[0]->flushes == 1);
  for (const Device::Cdb& cdb :
       {kTestUnitReady, read_10(0, 1), write_10(0, 1), cdb_16(0x8B, 0, 1), cdb_10(0x35, 0, 1), cdb_10(0x2F, 0, 1),
        get_lba_status(0, 24), unmap_cdb(0), Device::Cdb{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        Device::Cdb{0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}, Device::Cdb{0x04, 0, 0, 0, 0, 0}, kStart})
    CHECK(device.no_medium(cdb));
  CHECK(scsi::decode(device.run(kRequestSense).data()) ==
        Sense{SenseKey::not_ready, AdditionalSense::medium_not_present});
  CHECK(device.run({0x12, 0, 0, 0, 96, 0}).good());
  CHECK(device.run({0x1A, 0, 0x3F, 0, 255, 0}).good());
  CHECK(device.run(kEject).good());
  CHECK(device.run(kStop).good());
  CHECK(device.run(kTestUnitReady, {}, 1).good());

  CHECK(device.run(kLoad).good());
  CHECK(device.run(kTestUnitReady).good());
  CHECK(device.run(kTestUnitReady, {}, 0, other)
            .failed_with(SenseKey::unit_attention, AdditionalSense::not_ready_to_ready_change_medium_may_have_changed));
  CHECK(device.run(kTestUnitReady, {}, 0, other).good());
  CHECK(device.run(read_10(0, 1)).data() == pattern(512, 1));
}

TEST_CASE("loading a medium that is in only starts, and tells nobody") {
  Removable device;
  CHECK(device.run(kStop).good());
  CHECK(device.run(kLoad).good());
  CHECK(device.run(kTestUnitReady).good());
}

TEST_CASE("ejecting with NO_FLUSH does not flush, and a flush that fails leaves the medium in") {
  Removable device;
  device.stores[0]->write_error = handlers::IoError{handlers::IoError::Kind::medium_write, {}};
  CHECK(device.run(kEject).failed_with(SenseKey::medium_error, AdditionalSense::write_error));
  CHECK(device.run(kTestUnitReady).good());
  CHECK(device.run(kEjectNoFlush).good());
  CHECK(device.no_medium(kTestUnitReady));
}

TEST_CASE("a write whose data comes when the medium is out writes nothing") {
  Removable device;
  Command& write = device.prepare(write_10(0, 1));
  device.server.admit(write.task);
  CHECK_FALSE(write.done());
  CHECK(device.run(kEject).good());
  auto data = pattern(512, 1);
  write.task.data_out = data;
  device.server.execute(write.task);
  CHECK(write.failed_with(SenseKey::not_ready, AdditionalSense::medium_not_present));
  CHECK(device.stores[0]->bytes()[1] == 0);
}

TEST_CASE("a medium is ejected when the writes before it are done, and those after it find none") {
  DeviceOptions options{.blocking = true, .removable = true};
  Device device(options);
  Command& write = device.send(write_10(0, 1), pattern(512, 1));
  Command& eject = device.send(kEject);
  CHECK_FALSE(eject.done());
  device.executor.run_all();
  CHECK((write.good() && eject.good()));
  CHECK(device.run(kTestUnitReady).failed_with(SenseKey::not_ready, AdditionalSense::medium_not_present));
}

TEST_CASE("prevention by any I_T nexus keeps the medium in until each has allowed its removal") {
  Removable device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  CHECK(device.run(kPrevent).good());
  CHECK(device.run(kPrevent, {}, 0, other).good());
  CHECK(device.prevented(kEject));
  CHECK(device.prevented(kEject, other));
  CHECK(device.run(kTestUnitReady).good());
  CHECK(device.run(kAllow).good());
  CHECK(device.prevented(kEject));
  CHECK(device.run(kAllow, {}, 0, other).good());
  CHECK(device.run(kEject).good());
}

TEST_CASE("a medium that is out is not loaded while removal is prevented") {
  Removable device;
  CHECK(device.run(kEject).good());
  CHECK(device.run(kPrevent).good());
  CHECK(device.prevented(kLoad));
  CHECK(device.no_medium(kTestUnitReady));
  CHECK(device.run(kAllow).good());
  CHECK(device.run(kLoad).good());
}

TEST_CASE("prevention ends with the I_T nexus, with a reset of the logical unit or the target") {
  Removable device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  CHECK(device.run(kPrevent, {}, 0, other).good());
  device.server.detach(other);
  CHECK_FALSE(device.lu().medium().removal_prevented());
  for (auto function :
       {scsi::TaskManagementFunction::logical_unit_reset, scsi::TaskManagementFunction::target_warm_reset,
        scsi::TaskManagementFunction::target_cold_reset}) {
    CHECK(device.run(kPrevent).good());
    CHECK(device.prevented(kEject));
    device.server.manage(function, device.nexus, scsi::Lun{0}, 0, [](auto) {});
    device.run(kTestUnitReady);
    CHECK_FALSE(device.lu().medium().removal_prevented());
  }
}

TEST_CASE("PREVENT 10b and 11b are obsolete, and a medium that is not removable has no PREVENT ALLOW MEDIUM REMOVAL") {
  Removable removable;
  for (std::uint8_t prevent : {0x02, 0x03})
    CHECK(removable.run({0x1E, 0, 0, 0, prevent, 0}).sense() == Sense::invalid_field_in_cdb(4, 1, {}));
  Device device;
  CHECK(device.run(kPrevent).failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
  CHECK(device.run({0xA3, 0x0C, 1, 0x1E, 0, 0, 0, 0, 1, 0, 0, 0}).data() == std::vector<std::uint8_t>{0, 1, 0, 0});
}
