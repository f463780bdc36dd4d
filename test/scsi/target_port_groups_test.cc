// Asymmetric logical unit access (SPC-4 5.15.2): REPORT and SET TARGET PORT GROUPS, and what each state lets through.
//
// Not tested, and why: the states offline and logical block dependent, which do not occur; IMPLICIT ASYMMETRIC ACCESS
// STATE TRANSITION FAILED, since a change by the array cannot fail; which port a session comes through (test/iscsi).
#include <doctest/doctest.h>

#include <algorithm>
#include <string_view>

#include "scsi/command_table.h"
#include "scsi/unit_attentions.h"
#include "test/scsi/copy_fixture.h"
#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using test::hex;
using Data = std::vector<std::uint8_t>;
using enum AccessState;

constexpr Device::Cdb::value_type kLengthOnly = 0x0A, kExtended = 0x2A;

Device::Cdb report(std::uint8_t format = kLengthOnly, std::uint8_t allocation_length = 0xFF) {
  return {0xA3, format, 0, 0, 0, 0, 0, 0, 0, allocation_length, 0, 0};
}

struct Wish {
  std::uint8_t state;
  std::uint16_t group;
};

Data list_of(const std::vector<Wish>& wishes) {
  Data list;
  base::ByteWriter writer(list);
  writer.u32(0);
  for (const Wish& wish : wishes) writer.u8(wish.state), writer.u8(0), writer.u16(wish.group);
  return list;
}

Device::Cdb set_cdb(std::size_t length) {
  return {0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(length), 0, 0};
}

DeviceOptions two_groups(AccessChanges changes, AccessState second = active_optimized) {
  DeviceOptions options = test::every_command();
  options.further_portal_group_tags = {2};
  options.target_port_groups = {changes, {{.number = 1, .preferred = true}, {.number = 2, .state = second}}};
  return options;
}

/// Two ports; `nexus` came through port 1, `other` through port 2.
struct TwoPorts : Device {
  explicit TwoPorts(AccessState second = active_optimized, AccessChanges changes = AccessChanges::by_either_side)
      : Device(two_groups(changes, second)) {
    other = server.attach({"iqn.2025-01.example:host", {}, server.config().target_name, 2});
    for (auto& [number, unit] : server.logical_units()) unit->unit_attentions().take(other);
  }
  NexusId other{};

  Command& set(const std::vector<Wish>& wishes, NexusId from = NexusId::none) {
    Data list = list_of(wishes);
    return run(set_cdb(list.size()), list, 0, from);
  }
  AccessState state(std::uint16_t group, std::uint16_t number = 0) {
    return lu(number).target_port_groups().find(group)->state;
  }
  /// Takes one unit attention condition, whatever the access state.
  AdditionalSense attention(NexusId of, std::uint16_t number = 0) {
    auto sense = lu(number).unit_attentions().take(of);
    return sense ? sense->code : AdditionalSense::none;
  }
};

TEST_CASE_FIXTURE(TwoPorts, "REPORT TARGET PORT GROUPS, length only header (SPC-4 6.37)") {
  const Data expected =
      hex("00 00 00 18"
          " 80 8F 00 01 00 00 00 01  00 00 00 01"
          " 00 8F 00 02 00 00 00 01  00 00 00 02");
  CHECK(run(report()).data() == expected);
  CHECK(run(report(), {}, 0, other).data() == expected);
  CHECK(run(report(kLengthOnly, 6)).data() == Data(expected.begin(), expected.begin() + 6));
}

TEST_CASE_FIXTURE(TwoPorts, "REPORT TARGET PORT GROUPS, extended header; states, and what changed them") {
  lu().target_port_groups().set_state(1, transitioning, AccessChangedBy::the_array);
  lu().target_port_groups().set_preferred(1, false);
  lu().target_port_groups().set_preferred(2, true);
  lu().target_port_groups().set_state(2, active_non_optimized, AccessChangedBy::set_target_port_groups);
  CHECK(run(report(kExtended)).data() == hex("00 00 00 1C 10 00 00 00"
                                             " 0F 8F 00 01 00 02 00 01  00 00 00 01"
                                             " 81 8F 00 02 00 01 00 01  00 00 00 02"));
  lu().target_port_groups().set_state(1, standby, AccessChangedBy::the_array);
  lu().target_port_groups().set_state(2, unavailable, AccessChangedBy::the_array);
  CHECK(run(report()).data() == hex("00 00 00 18"
                                    " 02 8F 00 01 00 02 00 01  00 00 00 01"
                                    " 83 8F 00 02 00 02 00 01  00 00 00 02"));
}

TEST_CASE_FIXTURE(TwoPorts, "a PARAMETER DATA FORMAT that is reserved is refused at the field") {
  for (std::uint8_t format = 2; format < 8; ++format)
    CHECK(run(report(static_cast<std::uint8_t>(format << 5 | 0x0A))).sense() == Sense::invalid_field_in_cdb(1, 7, ""));
}

TEST_CASE("TPGS says who changes access states, and which of the two commands there are follows from it") {
  struct Row {
    AccessChanges changes;
    std::uint8_t tpgs;
    bool reports, sets;
  };
  for (const Row& row :
       {Row{AccessChanges::none, 0x00, false, false}, Row{AccessChanges::implicitly, 0x10, true, false},
        Row{AccessChanges::explicitly, 0x20, true, true}, Row{AccessChanges::by_either_side, 0x30, true, true}}) {
    CAPTURE(row.tpgs);
    TwoPorts device(active_optimized, row.changes);
    Data inquiry = device.run({0x12, 0, 0, 0, 96, 0}).data();
    CHECK((inquiry[5] & 0x30) == row.tpgs);
    CHECK((inquiry[6] & 0x10) == 0x10);  // MULTIP
    CHECK(device.run(report()).good() == row.reports);
    CHECK(device.run(set_cdb(0)).good() == row.sets);
    for (auto [opcode, offered] : {std::pair{0xA3, row.reports}, std::pair{0xA4, row.sets}}) {
      Data support =
          device.run({0xA3, 0x0C, 2, static_cast<std::uint8_t>(opcode), 0, 0x0A, 0, 0, 0, 0xFF, 0, 0}).data();
      CHECK((support[1] & 7) == (offered ? 3 : 1));
    }
  }
  Device one;
  CHECK((one.run({0x12, 0, 0, 0, 96, 0}).data()[6] & 0x10) == 0);
}

TEST_CASE_FIXTURE(TwoPorts, "VPD page 83h differs between ports in the designators of the port alone") {
  auto designators = [&](NexusId from) {
    Data data = run({0x12, 1, 0x83, 0, 0xFF, 0}, {}, 0, from).data();
    std::vector<Data> all;
    for (std::size_t at = 4; at < data.size(); at += 4u + data[at + 3])
      all.emplace_back(data.begin() + static_cast<std::ptrdiff_t>(at),
                       data.begin() + static_cast<std::ptrdiff_t>(at + 4u + data[at + 3]));
    return all;
  };
  auto first = designators(nexus), second = designators(other);
  REQUIRE(first.size() == second.size());
  std::size_t of_the_port = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    bool port = (first[i][1] & 0x30) == 0x10;
    of_the_port += port;
    CHECK((first[i] != second[i]) == port);
  }
  CHECK(of_the_port == 3);
  auto has = [](const std::vector<Data>& all, const Data& one) { return std::ranges::find(all, one) != all.end(); };
  CHECK(has(second, hex("51 94 00 04 00 00 00 02")));  // relative target port identifier
  CHECK(has(second, hex("51 95 00 04 00 00 00 02")));  // target port group
  for (std::uint8_t page : {0x00, 0x80, 0x86, 0x8F, 0xB0, 0xB1, 0xB2}) {
    CAPTURE(page);
    const Device::Cdb cdb{0x12, 1, page, 2, 0, 0};
    CHECK(run(cdb).data() == run(cdb, {}, 0, other).data());
  }
}

// ---- What each state lets through ------------------------------------------------------------------------------

/// A command that is served while its target port is in standby, unavailable or transitioning, by SPC-4 5.15.2.4.
struct Served {
  std::uint8_t opcode;
  std::optional<std::uint16_t> service_action;
  std::string_view states;  ///< S, U, T
};
const Served kServed[] = {
    {0x12, {}, "SUT"},    // INQUIRY
    {0xA0, {}, "SUT"},    // REPORT LUNS
    {0x03, {}, "SUT"},    // REQUEST SENSE
    {0xA3, 0x0A, "SUT"},  // REPORT TARGET PORT GROUPS
    {0xA4, 0x0A, "SU"},   // SET TARGET PORT GROUPS
    {0x4D, {}, "S"},      // LOG SENSE
    {0x15, {}, "S"},      // MODE SELECT(6), (10), MODE SENSE(6), (10)
    {0x55, {}, "S"},
    {0x1A, {}, "S"},
    {0x5A, {}, "S"},
    {0x5E, {}, "S"},  // PERSISTENT RESERVE IN
    {0x5F, {}, "S"},  // PERSISTENT RESERVE OUT
    // What the standard leaves open: a host that comes by such a port first learns the capacity and the commands.
    {0x25, {}, "S"},
    {0x9E, 0x10, "S"},  // READ CAPACITY (10), (16)
    {0xA3, 0x0C, "S"},
    {0xA3, 0x0D, "S"},  // REPORT SUPPORTED ...
};

bool served(const CommandDescriptor& row, char state) {
  return std::ranges::any_of(kServed, [&](const Served& each) {
    bool same = each.opcode == row.opcode && (!each.service_action || each.service_action == row.service_action);
    return same && each.states.contains(state);
  });
}

Device::Cdb least_cdb(const CommandDescriptor& row) {
  Device::Cdb cdb(row.cdb_length);
  cdb[0] = row.opcode;
  if (row.service_action) cdb[1] = static_cast<std::uint8_t>(*row.service_action);
  if (row.name == "INQUIRY" || row.name == "REQUEST SENSE") cdb[4] = 96;
  return cdb;
}

/// Both nexuses are registered, so that PERSISTENT RESERVE OUT meets no conflict; then port 2 is in `second`.
struct Registered : TwoPorts {
  explicit Registered(AccessState second) {
    for (NexusId each : {nexus, other})
      run({0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0}, hex("0000000000000000 00000000000000AB 0000000000000000"), 0, each);
    lu().target_port_groups().set_state(2, second, AccessChangedBy::the_array);
  }
};

struct Restricted {
  AccessState state;
  char letter;
  AdditionalSense code;
};
const Restricted kRestricted[] = {
    {standby, 'S', AdditionalSense::logical_unit_not_accessible_target_port_in_standby_state},
    {unavailable, 'U', AdditionalSense::logical_unit_not_accessible_target_port_in_unavailable_state},
    {transitioning, 'T', AdditionalSense::logical_unit_not_accessible_asymmetric_access_state_transition},
};

TEST_CASE("every command of the table, through a port in each state: served as the standard says, else NOT READY") {
  CHECK(static_cast<unsigned>(AdditionalSense::logical_unit_not_accessible_asymmetric_access_state_transition) ==
        0x040A);
  CHECK(static_cast<unsigned>(AdditionalSense::logical_unit_not_accessible_target_port_in_standby_state) == 0x040B);
  CHECK(static_cast<unsigned>(AdditionalSense::logical_unit_not_accessible_target_port_in_unavailable_state) == 0x040C);
  for (const Restricted& each : kRestricted) {
    CAPTURE(each.letter);
    for (const CommandDescriptor& row : command_table()) {
      CAPTURE(row.name);
      Registered device(each.state);
      Command& command = device.run(least_cdb(row), Data(64), 0, device.other);
      CHECK(command.failed_with(SenseKey::not_ready, each.code) == !served(row, each.letter));
      // Through the other port nothing of it is felt.
      Registered again(each.state);
      Command& elsewhere = again.run(least_cdb(row), Data(64), 0, again.nexus);
      CHECK_FALSE(elsewhere.failed_with(SenseKey::not_ready, each.code));
    }
  }
}

TEST_CASE("every command of the table is served through a port that is active, optimized or not") {
  for (const CommandDescriptor& row : command_table()) {
    CAPTURE(row.name);
    TwoPorts device(active_non_optimized);
    CHECK(device.run(least_cdb(row), Data(64), 0, device.other).sense().key != SenseKey::not_ready);
  }
}

TEST_CASE("REQUEST SENSE through a port that is not active says why other commands would fail") {
  for (const Restricted& each : kRestricted) {
    TwoPorts device(each.state);
    auto sense = decode(device.run({0x03, 0, 0, 0, 252, 0}, {}, 0, device.other).data());
    CHECK((sense && sense->key == SenseKey::not_ready && sense->code == each.code));
    sense = decode(device.run({0x03, 0, 0, 0, 252, 0}).data());
    CHECK((sense && sense->code == AdditionalSense::none));
  }
}

TEST_CASE("through an unavailable port, and no other, INQUIRY says that no disk is connected (SPC-4 5.15.2.4.5)") {
  for (AccessState state : {active_optimized, active_non_optimized, standby, unavailable, transitioning}) {
    TwoPorts device(state);
    for (const Device::Cdb& cdb : {Device::Cdb{0x12, 0, 0, 0, 96, 0}, Device::Cdb{0x12, 1, 0x83, 0, 96, 0}}) {
      CHECK(device.run(cdb, {}, 0, device.other).data()[0] == (state == unavailable ? 0x20 : 0x00));
      CHECK(device.run(cdb).data()[0] == 0x00);
    }
  }
}

TEST_CASE("a command that was taken in before its port went to standby is served") {
  TwoPorts device;
  Command& write = device.prepare({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 0, device.other);
  device.server.admit(write.task);
  REQUIRE_FALSE(write.done());
  REQUIRE(device.set({{2, 2}}).good());
  Data block(512, 0x5A);
  write.task.data_out = block;
  device.server.execute(write.task);
  device.executor.run_all();
  CHECK(write.good());
}

// ---- SET TARGET PORT GROUPS ------------------------------------------------------------------------------------

TEST_CASE_FIXTURE(TwoPorts, "SET TARGET PORT GROUPS changes the groups it names, of this logical unit") {
  CHECK(set({{1, 1}, {2, 2}}).good());
  CHECK(state(1) == active_non_optimized);
  CHECK(state(2) == standby);
  CHECK(state(1, 1) == active_optimized);
  CHECK(lu().target_port_groups().find(2)->changed_by == AccessChangedBy::set_target_port_groups);
  // Through a port in standby, too: that is how a host fails over.
  REQUIRE(attention(other) == AdditionalSense::asymmetric_access_state_changed);
  CHECK(set({{2, 1}, {0, 2}}, other).good());
  CHECK(state(1) == standby);
  CHECK(state(2) == active_optimized);
  CHECK(set({{3, 1}}, other).good());
  CHECK(state(1) == unavailable);
  CHECK(attention(nexus) == AdditionalSense::asymmetric_access_state_changed);
  CHECK(set({{0, 1}}).good());  // and through one that is unavailable
  CHECK(state(1) == active_optimized);
}

TEST_CASE_FIXTURE(TwoPorts, "ASYMMETRIC ACCESS STATE CHANGED is for every I_T nexus but the one that asked, once") {
  NexusId third = attach("iqn.2025-01.example:b", 1);
  CHECK(set({{1, 2}}).good());
  CHECK(attention(nexus) == AdditionalSense::none);
  for (NexusId each : {other, third}) {
    Command& told = run({0x00, 0, 0, 0, 0, 0}, {}, 0, each);
    CHECK(told.failed_with(SenseKey::unit_attention, AdditionalSense::asymmetric_access_state_changed));
    CHECK((told.sense().asc() == 0x2A && told.sense().ascq() == 0x06));
    CHECK(run({0x00, 0, 0, 0, 0, 0}, {}, 0, each).good());
    CHECK(attention(each, 1) == AdditionalSense::none);  // the other logical unit's states have not changed
  }
  // What is so already is no change.
  CHECK(set({{1, 2}, {0, 1}}).good());
  for (NexusId each : {nexus, other, third}) CHECK(attention(each) == AdditionalSense::none);
}

TEST_CASE_FIXTURE(TwoPorts, "a list that cannot be followed changes nothing, and the field is named") {
  struct Row {
    std::vector<Wish> wishes;
    std::size_t byte;
    std::optional<std::uint8_t> bit;
  };
  for (const Row& row : {Row{{{4, 1}}, 4, 3},  // logical block dependent
                         Row{{{0xE, 1}}, 4, 3}, Row{{{0xF, 1}}, 4, 3}, Row{{{5, 1}}, 4, 3}, Row{{{2, 1}, {9, 2}}, 8, 3},
                         Row{{{2, 3}}, 6, {}}, Row{{{2, 0}}, 6, {}}, Row{{{2, 1}, {2, 0xFFFF}}, 10, {}},
                         Row{{{2, 1}, {0, 1}}, 10, {}}}) {
    CHECK(set(row.wishes).sense() == Sense::invalid_field_in_list(row.byte, row.bit, ""));
    CHECK(state(1) == active_optimized);
    CHECK(attention(other) == AdditionalSense::none);
  }
}

TEST_CASE_FIXTURE(TwoPorts, "a parameter list of no bytes, or without descriptors, is no error; one that is cut is") {
  CHECK(run(set_cdb(0)).good());
  CHECK(run(set_cdb(4), Data(4)).good());
  for (std::size_t length : {1, 3, 5, 6, 7, 9, 255})
    CHECK(run(set_cdb(length), Data(length))
              .failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
  // The initiator sent less than the CDB says.
  CHECK(run(set_cdb(8), Data(4)).failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
  CHECK(run({0xA4, 0x0A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFC, 0, 0})
            .failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
}

TEST_CASE("a group that the array is moving to another state cannot be set: SET TARGET PORT GROUPS COMMAND FAILED") {
  TwoPorts device(transitioning);
  for (const std::vector<Wish>& wishes : {std::vector<Wish>{{0, 2}}, std::vector<Wish>{{2, 1}, {0, 2}}}) {
    Command& command = device.set(wishes);
    CHECK(command.failed_with(SenseKey::hardware_error, AdditionalSense::set_target_port_groups_command_failed));
    CHECK((command.sense().asc() == 0x67 && command.sense().ascq() == 0x0A));
    CHECK(device.state(1) == active_optimized);
  }
  CHECK(device.set({{2, 1}}).good());
}

// ---- Copies over several ports ---------------------------------------------------------------------------------

TEST_CASE("a token made through one port is used through another, and its result is asked for through the same port") {
  TwoPorts device;
  device.run({0x2A, 0, 0, 0, 0, 0, 0, 0, 4, 0}, Data(4 * 512, 0x77));
  const test::Bytes populate = test::populate_list({{0, 4}});
  REQUIRE(device.run(test::out_cdb(0x10, 5, populate.size()), populate).good());
  // List identifiers are an I_T nexus's.
  CHECK(device.run(test::in_cdb(0x07, 5, 1024), {}, 0, device.other)
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_field_in_cdb));
  const tokens::RodToken token = test::CopyResult(device.run(test::in_cdb(0x07, 5, 1024)).data()).token.value();
  const test::Bytes write = test::write_list(token, {{8, 4}});
  CHECK(device.run(test::out_cdb(0x11, 5, write.size()), write, 1, device.other).good());
  CHECK(device.run({0x28, 0, 0, 0, 0, 8, 0, 0, 4, 0}, {}, 1).data() == Data(4 * 512, 0x77));
  // In standby a copy is refused as any command that needs the medium, and leaves no result.
  device.lu(1).target_port_groups().set_state(2, standby, AccessChangedBy::the_array);
  CHECK(
      device.run(test::out_cdb(0x11, 6, write.size()), write, 1, device.other)
          .failed_with(SenseKey::not_ready, AdditionalSense::logical_unit_not_accessible_target_port_in_standby_state));
  CHECK(device.run(test::out_cdb(0x11, 6, write.size()), write, 1).good());
}

}  // namespace
}  // namespace scsi
