// RESERVE and RELEASE (SPC-2): the reservation of a whole logical unit, and how it and persistent reservations exclude
// each other (SPC-2 5.5.1, SPC-4 5.12.3).
//
// Not tested, and why: sessions that end (test/iscsi and iscsi-test-cu's Reserve6); here a nexus is detached.
#include <doctest/doctest.h>

#include <array>

#include "scsi/command_table.h"
#include "test/scsi/extended_copy_fixture.h"
#include "test/scsi/reservation_fixture.h"

namespace {

using scsi::AdditionalSense;
using scsi::NexusId;
using scsi::ReservationType;
using scsi::Sense;
using scsi::TaskManagementFunction;
using test::Command;
using test::conflicts;
using test::Device;
using test::ReservationDevice;

constexpr auto kA = ReservationDevice::kKeyA;
constexpr auto kB = ReservationDevice::kKeyB;

const Device::Cdb kReserve6 = {0x16, 0, 0, 0, 0, 0}, kRelease6 = {0x17, 0, 0, 0, 0, 0};
const Device::Cdb kReserve10 = {0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0}, kRelease10 = {0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Device::Cdb kRead = {0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};

struct Units : ReservationDevice {
  Command& from(NexusId id, const Device::Cdb& cdb) { return run(cdb, {}, 0, id); }
  bool is_reserved_by(NexusId id) {
    NexusId another = id == b ? c : b;
    return from(id, kRead).good() && conflicts(from(another, kRead));
  }
  bool is_free() { return from(a, kRead).good() && from(b, kRead).good() && from(c, kRead).good(); }
};

}  // namespace

TEST_CASE_FIXTURE(Units, "RESERVE is one nexus's until it releases, by the 6- or the 10-byte command") {
  for (const auto& reserve : {kReserve6, kReserve10}) {
    for (const auto& release : {kRelease6, kRelease10}) {
      CHECK(from(a, reserve).good());
      CHECK(from(a, reserve).good());
      CHECK(is_reserved_by(a));
      CHECK(conflicts(from(b, kReserve6)));
      CHECK(conflicts(from(b, kReserve10)));
      // Not an error to release what is another's, nor what is not reserved; it changes nothing.
      CHECK(from(b, release).good());
      CHECK(is_reserved_by(a));
      CHECK(from(a, release).good());
      CHECK(is_free());
      CHECK(from(a, release).good());
    }
  }
}

TEST_CASE_FIXTURE(Units, "a reservation is one logical unit's") {
  REQUIRE(from(a, kReserve6).good());
  CHECK(run(kRead, {}, 1, b).good());
}

TEST_CASE_FIXTURE(Units, "third parties, extents and identifications are refused at their bits") {
  auto wrong = [&](const Device::Cdb& cdb, std::size_t byte, std::uint8_t bit) {
    return from(a, cdb).sense() == Sense::invalid_field_in_cdb(byte, bit, "");
  };
  for (std::uint8_t opcode : {0x16, 0x17}) {
    CHECK(wrong({opcode, 0x10, 0, 0, 0, 0}, 1, 4));  // 3RDPTY
    CHECK(wrong({opcode, 0x02, 0, 0, 0, 0}, 1, 1));  // third-party device
    CHECK(wrong({opcode, 0x01, 0, 0, 0, 0}, 1, 0));  // extent
    CHECK(wrong({opcode, 0, 1, 0, 0, 0}, 2, 0));     // reservation identification
  }
  for (std::uint8_t opcode : {0x56, 0x57}) {
    CHECK(wrong({opcode, 0x10, 0, 0, 0, 0, 0, 0, 0, 0}, 1, 4));  // 3RDPTY
    CHECK(wrong({opcode, 0x12, 0, 7, 0, 0, 0, 0, 8, 0}, 1, 4));  // with LONGID and its list
    CHECK(wrong({opcode, 0x02, 0, 0, 0, 0, 0, 0, 0, 0}, 1, 1));  // LONGID
    CHECK(wrong({opcode, 0, 0, 7, 0, 0, 0, 0, 0, 0}, 3, 2));     // THIRD-PARTY DEVICE ID
    CHECK(wrong({opcode, 0, 0, 0, 0, 0, 0, 0, 8, 0}, 8, 3));     // PARAMETER LIST LENGTH
  }
  CHECK(is_free());
}

TEST_CASE_FIXTURE(Units,
                  "every command of the table but a few conflicts while another nexus has reserved (SPC-2 5.5.1)") {
  // INQUIRY, REPORT LUNS, REQUEST SENSE, LOG SENSE and RELEASE.
  constexpr std::array<std::uint8_t, 6> kAllowed = {0x12, 0xA0, 0x03, 0x4D, 0x17, 0x57};
  REQUIRE(from(a, kReserve6).good());
  for (const scsi::CommandDescriptor& row : scsi::command_table()) {
    CAPTURE(row.name);
    Device::Cdb cdb(scsi::kMaxCdbLength);
    cdb[0] = row.opcode;
    if (row.service_action) cdb[1] = static_cast<std::uint8_t>(*row.service_action);
    bool allowed = std::ranges::find(kAllowed, row.opcode) != kAllowed.end();
    CHECK(conflicts(from(b, cdb)) == !allowed);
    // Its own commands never do, but for PERSISTENT RESERVE IN and OUT.
    if (row.opcode == 0x17 || row.opcode == 0x57) continue;
    CHECK(conflicts(from(a, cdb)) == (row.opcode == 0x5E || row.opcode == 0x5F));
  }
  CHECK(lu().reservations().unit_reserved_by_another(b));
}

TEST_CASE_FIXTURE(Units, "while anybody is registered RESERVE and RELEASE conflict, whoever sends them (SPC-2 5.5.1)") {
  REQUIRE(enter(a, kA));
  for (const auto& cdb : {kReserve6, kReserve10, kRelease6, kRelease10})
    for (NexusId each : {a, b}) CHECK(conflicts(from(each, cdb)));
  CHECK(is_free());
}

TEST_CASE("RESERVE and RELEASE from who may do everything by a persistent reservation are GOOD and change nothing") {
  for (ReservationType type : test::kReservationTypes) {
    CAPTURE(static_cast<int>(type));
    Units units;
    REQUIRE(units.enter(units.a, kA));
    REQUIRE(units.enter(units.b, kB));
    REQUIRE(units.reserve(units.a, kA, type));
    bool for_registrants = type != ReservationType::write_exclusive && type != ReservationType::exclusive_access;
    for (const auto& cdb : {kReserve6, kReserve10, kRelease6, kRelease10}) {
      CHECK(units.from(units.a, cdb).good());
      CHECK(conflicts(units.from(units.b, cdb)) == !for_registrants);  // SPC-4 5.12.3 b)
      CHECK(conflicts(units.from(units.c, cdb)));
    }
    CHECK(units.lu().reservations().type() == type);
    CHECK_FALSE(units.lu().reservations().unit_reserved());
  }
}

TEST_CASE_FIXTURE(Units, "the nexus's end ends its reservation, and another's does not") {
  REQUIRE(from(a, kReserve6).good());
  server.detach(b);
  b = attach("iqn.2025-01.example:b");
  CHECK(is_reserved_by(a));
  server.detach(a);
  CHECK(from(b, kRead).good());
  CHECK(from(c, kReserve10).good());
}

TEST_CASE_FIXTURE(Units, "resets of the logical unit and of the target end it, aborts do not") {
  auto manage = [&](TaskManagementFunction function) {
    server.manage(function, b, scsi::Lun{0}, 0, [](auto) {});
    for (NexusId each : {a, b, c}) attention(each);
  };
  for (auto function : {TaskManagementFunction::logical_unit_reset, TaskManagementFunction::target_warm_reset,
                        TaskManagementFunction::target_cold_reset}) {
    REQUIRE(from(a, kReserve6).good());
    manage(function);
    CHECK(is_free());
  }
  REQUIRE(from(a, kReserve6).good());
  manage(TaskManagementFunction::abort_task_set);
  manage(TaskManagementFunction::clear_task_set);
  CHECK(is_reserved_by(a));
}

TEST_CASE_FIXTURE(Units, "a copy meets RESERVE as a conflict of its source or destination") {
  test::CopyList list{
      .cscds = {test::naa_cscd(lu(0).identity().naa, 512, false), test::naa_cscd(lu(1).identity().naa, 512, false)},
      .segments = {test::blocks_segment(1, 0, 0)}};
  auto copy = [&]() -> Command& {
    return run(test::ExtendedCopyDevice::cdb(list.format, list.bytes().size()), list.bytes(), 1, b);
  };
  REQUIRE(copy().good());
  REQUIRE(from(a, kReserve6).good());
  auto fails = [](const Command& command) {
    return command.failed_with(scsi::SenseKey::copy_aborted, AdditionalSense::third_party_device_failure);
  };
  CHECK(fails(copy()));
  std::swap(list.cscds[0], list.cscds[1]);
  CHECK(fails(copy()));
  list.segments = {test::register_key_segment(0, kB)};
  CHECK(fails(copy()));
  CHECK(keys().empty());
  REQUIRE(from(a, kRelease6).good());
  CHECK(copy().good());
  CHECK(keys().size() == 1);
}
