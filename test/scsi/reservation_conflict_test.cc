// Which commands meet RESERVATION CONFLICT: SPC-4 tables 65 and 66 and SBC-3 table 13, row by row.
//
// Not tested, and why: what a reservation made with RESERVE stops (unit_reservation_test.cc).
#include <doctest/doctest.h>

#include <algorithm>
#include <string_view>

#include "scsi/command_table.h"
#include "scsi/unit_attentions.h"
#include "test/scsi/reservation_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::ReservationDevice;
using test::ReservationType;

/// A row of the standards' tables: A is allowed, C is RESERVATION CONFLICT. Columns: write exclusive and exclusive
/// access from any other nexus; registrants only and all registrants from a registered nexus; write exclusive and
/// exclusive access of these from one that is not.
struct Row {
  std::uint8_t opcode;
  std::optional<std::uint16_t> service_action;
  std::string_view columns;
  Device::Cdb cdb = {};  ///< nothing: the least CDB
};

constexpr std::string_view kAlways = "AAAAA";
constexpr std::string_view kReads = "ACAAC";
constexpr std::string_view kWrites = "CCACC";

/// Third-party copy commands that have no row (yet, or by profile) are passed over.
const Row kTable[] = {
    // SPC-4 table 65
    {0x00, {}, kAlways},  // TEST UNIT READY
    {0x03, {}, kAlways},  // REQUEST SENSE
    {0x12, {}, kAlways},  // INQUIRY
    {0x15, {}, kWrites},  // MODE SELECT(6)
    {0x55, {}, kWrites},  // MODE SELECT(10)
    {0x1A, {}, kReads},   // MODE SENSE(6)
    {0x5A, {}, kReads},   // MODE SENSE(10)
    {0x4C, {}, kWrites},  // LOG SELECT
    {0x4D, {}, kAlways},  // LOG SENSE
    {0x1D, {}, kWrites},  // SEND DIAGNOSTIC
    {0x16, {}, kWrites},  // RESERVE(6), RELEASE(6), RESERVE(10), RELEASE(10): SPC-4 5.12.3
    {0x17, {}, kWrites},
    {0x56, {}, kWrites},
    {0x57, {}, kWrites},
    {0x5E, 0x00, kAlways},  // PERSISTENT RESERVE IN
    {0x5E, 0x01, kAlways},
    {0x5E, 0x02, kAlways},
    {0x5E, 0x03, kAlways},
    {0xA0, {}, kAlways},                            // REPORT LUNS
    {0xA3, 0x05, kAlways},                          // REPORT IDENTIFYING INFORMATION
    {0xA3, 0x0A, kAlways},                          // REPORT TARGET PORT GROUPS
    {0xA4, 0x0A, kWrites},                          // SET TARGET PORT GROUPS
    {0xA4, 0x06, kWrites},                          // SET IDENTIFYING INFORMATION
    {0x1E, {}, kAlways, {0x1E, 0, 0, 0, 0x00, 0}},  // PREVENT ALLOW MEDIUM REMOVAL, PREVENT=0
    {0x1E, {}, kWrites, {0x1E, 0, 0, 0, 0x01, 0}},  // PREVENT not 0
    {0xA3, 0x0C, kReads},                           // REPORT SUPPORTED OPERATION CODES
    {0xA3, 0x0D, kReads},                           // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    {0x83, 0x00, kWrites},                          // EXTENDED COPY(LID1)
    {0x83, 0x01, kWrites},                          // EXTENDED COPY(LID4)
    {0x83, 0x1C, kWrites},                          // COPY OPERATION ABORT
    {0x84, 0x00, kAlways},                          // RECEIVE COPY STATUS(LID1)
    {0x84, 0x01, kAlways},                          // RECEIVE COPY DATA(LID1)
    {0x84, 0x03, kAlways},                          // RECEIVE COPY OPERATING PARAMETERS
    {0x84, 0x04, kAlways},                          // RECEIVE COPY FAILURE DETAILS(LID1)
    {0x84, 0x05, kAlways},                          // RECEIVE COPY STATUS(LID4)
    {0x84, 0x06, kAlways},                          // RECEIVE COPY DATA(LID4)
    {0x84, 0x07, kAlways},                          // RECEIVE ROD TOKEN INFORMATION
    {0x84, 0x08, kAlways},                          // REPORT ALL ROD TOKENS
    // SBC-3 table 13
    {0x08, {}, kReads},  // READ (6), (10), (12), (16)
    {0x28, {}, kReads},
    {0xA8, {}, kReads},
    {0x88, {}, kReads},
    {0x0A, {}, kWrites},  // WRITE (6), (10), (12), (16)
    {0x2A, {}, kWrites},
    {0xAA, {}, kWrites},
    {0x8A, {}, kWrites},
    {0x2E, {}, kWrites},  // WRITE AND VERIFY (10), (12), (16)
    {0xAE, {}, kWrites},
    {0x8E, {}, kWrites},
    {0x8B, {}, kWrites},    // ORWRITE (16)
    {0x9C, {}, kWrites},    // WRITE ATOMIC (16)
    {0x04, {}, kWrites},    // FORMAT UNIT
    {0x48, 0x01, kWrites},  // SANITIZE
    {0x48, 0x02, kWrites},
    {0x48, 0x03, kWrites},
    {0x48, 0x1F, kWrites},
    {0x37, {}, kReads},  // READ DEFECT DATA (10), (12)
    {0xB7, {}, kReads},
    {0x2F, {}, kReads},  // VERIFY (10), (12), (16)
    {0xAF, {}, kReads},
    {0x8F, {}, kReads},
    {0x89, {}, kWrites},  // COMPARE AND WRITE
    {0x41, {}, kWrites},  // WRITE SAME (10), (16)
    {0x93, {}, kWrites},
    {0x42, {}, kWrites},   // UNMAP
    {0x9E, 0x12, kReads},  // GET LBA STATUS
    {0x35, {}, kWrites},   // SYNCHRONIZE CACHE (10), (16)
    {0x91, {}, kWrites},
    {0x34, {}, kReads},  // PRE-FETCH (10), (16)
    {0x90, {}, kReads},
    {0x25, {}, kAlways},  // READ CAPACITY (10), (16)
    {0x9E, 0x10, kAlways},
    {0x1B, {}, kAlways, {0x1B, 0, 0, 0, 0x01, 0}},  // START STOP UNIT, START=1
    {0x1B, {}, kWrites, {0x1B, 0, 0, 0, 0x00, 0}},  // START=0
    {0x1B, {}, kWrites, {0x1B, 0, 0, 0, 0x11, 0}},  // POWER CONDITION not 0
    {0x83, 0x10, kReads},                           // POPULATE TOKEN
    {0x83, 0x11, kWrites},                          // WRITE USING TOKEN
};

Device::Cdb cdb_of(const Row& row) {
  if (!row.cdb.empty()) return row.cdb;
  Device::Cdb cdb(kMaxCdbLength);
  cdb[0] = row.opcode;
  if (row.service_action) cdb[1] = static_cast<std::uint8_t>(*row.service_action);
  return cdb;
}

/// The column of the standards' table for a reservation of `type` held by another nexus.
std::size_t column(ReservationType type, bool registered) {
  bool exclusive_access = type == ReservationType::exclusive_access ||
                          type == ReservationType::exclusive_access_registrants_only ||
                          type == ReservationType::exclusive_access_all_registrants;
  if (type == ReservationType::write_exclusive || type == ReservationType::exclusive_access)
    return exclusive_access ? 1 : 0;
  return registered ? 2 : exclusive_access ? 4 : 3;
}

/// A holds a reservation of `type`, B is registered, C is not.
struct Reserved {
  ReservationDevice device;
  explicit Reserved(ReservationType type) {
    REQUIRE(device.enter(device.a, device.kKeyA));
    REQUIRE(device.enter(device.b, device.kKeyB));
    REQUIRE(device.reserve(device.a, device.kKeyA, type));
  }
};

TEST_CASE("every command of the table is stood up for by what the standards' tables say of it") {
  for (const CommandDescriptor& row : command_table()) {
    CAPTURE(row.name);
    if (row.opcode == 0x5F) continue;
    CHECK(std::ranges::any_of(kTable, [&](const Row& each) {
      return each.opcode == row.opcode && each.service_action == row.service_action;
    }));
  }
}

TEST_CASE("commands from a nexus that does not hold the reservation (SPC-4 table 65, SBC-3 table 13)") {
  for (ReservationType type : test::kReservationTypes) {
    Reserved reserved(type);
    ReservationDevice& device = reserved.device;
    for (const Row& row : kTable) {
      auto cdb = cdb_of(row);
      if (!find_command(cdb).row) continue;
      for (bool registered : {true, false}) {
        CAPTURE(find_command(cdb).row->name);
        CAPTURE(static_cast<int>(type));
        CAPTURE(registered);
        Command& command = device.run(cdb, {}, 0, registered ? device.b : device.c);
        CHECK(test::conflicts(command) == (row.columns[column(type, registered)] == 'C'));
      }
    }
  }
}

TEST_CASE("the holder's own commands never conflict") {
  for (ReservationType type : test::kReservationTypes) {
    Reserved reserved(type);
    for (const Row& row : kTable) CHECK_FALSE(test::conflicts(reserved.device.run(cdb_of(row))));
  }
}

TEST_CASE("without a reservation registrations stop nothing but RESERVE and RELEASE (SPC-2 5.5.1)") {
  ReservationDevice device;
  REQUIRE(device.enter(device.a, device.kKeyA));
  for (const Row& row : kTable) {
    bool unit_reservation = row.opcode == 0x16 || row.opcode == 0x17 || row.opcode == 0x56 || row.opcode == 0x57;
    CHECK(test::conflicts(device.run(cdb_of(row), {}, 0, device.c)) == unit_reservation);
  }
}

TEST_CASE("PERSISTENT RESERVE OUT from who is not registered may only register (SPC-4 table 66)") {
  for (bool reserved : {false, true}) {
    ReservationDevice device;
    REQUIRE(device.enter(device.a, device.kKeyA));
    if (reserved) REQUIRE(device.reserve(device.a, device.kKeyA, ReservationType::write_exclusive));
    for (std::uint8_t action : {test::kReserve, test::kRelease, test::kClear, test::kPreempt, test::kPreemptAndAbort,
                                test::kRegisterAndMove}) {
      CAPTURE(static_cast<int>(action));
      CHECK(test::conflicts(device.out(device.c, action, 0, device.kKeyA, 1)));
    }
    CHECK(device.out(device.c, test::kRegister, 0, device.kKeyC).good());
    CHECK(device.out(device.c, test::kRegisterAndIgnore, 0, 0).good());
    CHECK(device.keys() == std::vector{device.kKeyA});
  }
}

TEST_CASE("PERSISTENT RESERVE OUT from a registered nexus that holds nothing (SPC-4 table 66)") {
  for (std::uint8_t action : {test::kRegister, test::kReserve, test::kRelease, test::kClear, test::kPreempt,
                              test::kPreemptAndAbort, test::kRegisterAndIgnore}) {
    CAPTURE(static_cast<int>(action));
    Reserved reserved(ReservationType::write_exclusive);
    Command& command = reserved.device.out(reserved.device.b, action, reserved.device.kKeyB, reserved.device.kKeyA, 1);
    if (action == test::kReserve) CHECK(test::conflicts(command));
    if (action != test::kReserve) CHECK(command.good());
  }
}

TEST_CASE("a unit attention condition is reported before a conflict, and the conflict does not take the next one") {
  Reserved reserved(ReservationType::write_exclusive);
  ReservationDevice& device = reserved.device;
  device.lu().unit_attentions().establish(device.c, AdditionalSense::mode_parameters_changed);
  Device::Cdb write = {0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  CHECK(device.run(write, {}, 0, device.c)
            .failed_with(SenseKey::unit_attention, AdditionalSense::mode_parameters_changed));
  CHECK(test::conflicts(device.run(write, {}, 0, device.c)));
}

TEST_CASE("a conflict is found before data-out is asked for, and before the state of the logical unit") {
  Reserved reserved(ReservationType::write_exclusive);
  ReservationDevice& device = reserved.device;
  device.lu().set_stopped(true);
  Command& command = device.prepare({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 0, device.c);
  device.server.admit(command.task);
  CHECK(test::conflicts(command));
  CHECK(device.stores[0]->bytes()[0] == 0);
}

TEST_CASE("a reservation is one logical unit's") {
  Reserved reserved(ReservationType::exclusive_access);
  ReservationDevice& device = reserved.device;
  CHECK(device.run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, 1, device.c).good());
}

}  // namespace
}  // namespace scsi
