// Logical units that are there for some initiators only: for all others every command, every task management function
// and every third-party copy answers as if they were not.
//
// Not tested, and why: who an initiator is, which the login decides (test/iscsi/chap_test.cc).
#include <doctest/doctest.h>

#include <optional>

#include "scsi/command_table.h"
#include "test/scsi/extended_copy_fixture.h"
#include "test/scsi/reservation_fixture.h"

namespace scsi {
namespace {

using test::as_list;
using test::blocks_segment;
using test::Bytes;
using test::Command;
using test::CopyList;
using test::Device;
using test::List;
using enum AdditionalSense;

constexpr std::uint16_t kHidden = 30;   // 512-byte blocks, for the owner only
constexpr std::uint16_t kNowhere = 31;  // no logical unit
constexpr std::uint16_t kOpen = test::ExtendedCopyDevice::kA;
constexpr std::uint16_t kOpenToo = test::ExtendedCopyDevice::kB;
const std::string kOwner = "iqn.2025-01.example:owner";
const Device::Cdb kTestUnitReady = {0x00, 0, 0, 0, 0, 0};

/// Logical units for everybody, and one for the owner. `nexus` is a stranger's.
struct AccessDevice : test::ExtendedCopyDevice {
  explicit AccessDevice(DeviceProfile profile = {}) : ExtendedCopyDevice(std::move(profile)) {
    add(kHidden, {.removable = true, .allowed_initiators = {"iqn.2025-01.example:another", kOwner}});
    nexus = attach("iqn.2025-01.example:stranger");
    owner = attach(kOwner);
    hidden_store().write(0, pattern(hidden_store().bytes().size(), 77)).value();
    before = hidden_store().bytes();
  }
  test::RamStore& hidden_store() { return *stores.back(); }
  List hidden_cscd() { return test::naa_cscd(lu(kHidden).identity().naa); }
  /// Sends a list to `number` as `from`.
  Command& copy_as(NexusId from, const CopyList& list, std::uint16_t number = kOpen) {
    return run(cdb(list.format, list.bytes().size()), list.bytes(), number, from);
  }
  /// What TEST UNIT READY says, which takes one unit attention condition.
  AdditionalSense attention(NexusId of, std::uint16_t number) {
    Command& command = run(kTestUnitReady, {}, number, of);
    return command.good() ? none : command.sense().code;
  }
  bool untouched() { return hidden_store().bytes() == before && lu(kHidden).reservations().registrations().empty(); }

  NexusId owner{};
  Bytes before{};
};

/// Wants the same answer from both, in all that an initiator sees.
void alike(const Command& a, const Command& b) {
  CHECK(a.task.status == b.task.status);
  CHECK(a.task.sense == b.task.sense);
  CHECK(a.data() == b.data());
  CHECK(a.task.data_in_length == b.task.data_in_length);
  CHECK(a.task.data_out_length == b.task.data_out_length);
}

TEST_CASE("every operation code and service action answers as where there is no logical unit") {
  AccessDevice device;
  auto both = [&](const Device::Cdb& cdb) {
    alike(device.run(cdb, Bytes(256, 1), kHidden), device.run(cdb, Bytes(256, 1), kNowhere));
  };
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    CAPTURE(opcode);
    for (std::uint8_t action = 0; action < 32; ++action) both({static_cast<std::uint8_t>(opcode), action});
  }
  CHECK(device.untouched());
  CHECK(device.attention(device.owner, kHidden) == none);
}

TEST_CASE("every row of the command table does with any fields") {
  constexpr std::uint64_t kSeed = 374;
  INFO("seed " << kSeed);
  base::SeededEntropy entropy(kSeed);
  AccessDevice device;
  std::size_t refused = 0;
  for (const CommandDescriptor& row : command_table()) {
    CAPTURE(row.name);
    for (int i = 0; i < 40; ++i) {
      Device::Cdb cdb(row.cdb_length);
      entropy.fill(cdb);
      for (std::size_t byte = 0; byte < cdb.size(); ++byte) cdb[byte] &= row.usage[byte];
      cdb[0] = row.opcode;
      if (row.service_action) cdb[1] = static_cast<std::uint8_t>((cdb[1] & ~kServiceActionMask) | *row.service_action);
      Command& hidden = device.run(cdb, Bytes(256, 1), kHidden);
      alike(hidden, device.run(cdb, Bytes(256, 1), kNowhere));
      if (row.gates.logical_unit) {
        CHECK(hidden.failed_with(SenseKey::illegal_request, logical_unit_not_supported));
        ++refused;
      }
    }
  }
  CHECK(refused > 1000);
  CHECK(device.untouched());
  CHECK(device.attention(device.owner, kHidden) == none);
}

TEST_CASE("the owner finds it: REPORT LUNS, INQUIRY and commands; REPORT LUNS leaves it out for others") {
  AccessDevice device;
  const Device::Cdb report_luns = {0xA0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0};
  const Device::Cdb inquiry = {0x12, 0, 0, 0, 96, 0};
  auto reported = [&](NexusId nexus, std::uint16_t number) {
    Bytes data = device.run(report_luns, {}, number, nexus).data();
    CHECK(base::load<base::be32>(data) == data.size() - 8);
    for (std::size_t at = 8; at < data.size(); at += 8)
      if (data[at + 1] == kHidden) return true;
    return false;
  };
  for (std::uint16_t number : {kOpen, kHidden}) {
    CHECK(reported(device.owner, number));
    CHECK_FALSE(reported(device.nexus, number));
  }
  CHECK(device.run(inquiry, {}, kHidden, device.owner).data()[0] == 0x00);
  CHECK(device.run(inquiry, {}, kHidden).data()[0] == 0x7F);  // qualifier 011b
  CHECK(device.run(kTestUnitReady, {}, kHidden, device.owner).good());
}

TEST_CASE("names are compared whole, and an initiator may be on several lists") {
  AccessDevice device;
  for (const char* name : {"iqn.2025-01.example:owner2", "iqn.2025-01.example:owne", ""})
    CHECK(device.attention(device.attach(name), kHidden) == logical_unit_not_supported);
  CHECK(device.attention(device.attach("iqn.2025-01.example:another"), kHidden) == none);
  CHECK(device.attention(device.attach(kOwner, 2), kHidden) == none);  // whichever port it comes to
}

TEST_CASE("a nexus that left may not use what it might") {
  AccessDevice device;
  device.server.detach(device.owner);
  CHECK(device.attention(device.owner, kHidden) == logical_unit_not_supported);
}

// ---- Unit attentions and task management -------------------------------------------------------------------------

TEST_CASE("REPORTED LUNS DATA HAS CHANGED is for those who find a LUN more") {
  AccessDevice device;
  device.add(40, {.allowed_initiators = {kOwner}});
  CHECK(device.attention(device.nexus, kOpen) == none);
  CHECK(device.attention(device.owner, kOpen) == reported_luns_data_has_changed);
  CHECK(device.attention(device.owner, 40) == power_on_reset_or_bus_device_reset_occurred);
  device.add(41);
  CHECK(device.attention(device.nexus, kOpen) == reported_luns_data_has_changed);
}

std::optional<TaskManagementResponse> managed(AccessDevice& device, TaskManagementFunction function, NexusId nexus,
                                              std::optional<std::uint16_t> lun, std::uint32_t tag = 0) {
  std::optional<TaskManagementResponse> response;
  device.server.manage(function, nexus, lun ? std::optional(Lun{*lun}) : std::nullopt, tag,
                       [&](TaskManagementResponse answer) { response = answer; });
  return response;
}

TEST_CASE("task management functions do not find it, and leave its tasks alone") {
  AccessDevice device;
  device.hidden_store().blocking = true;
  Command& running = device.send({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, kHidden, device.owner);
  using enum TaskManagementFunction;
  for (auto function : {abort_task, abort_task_set, clear_aca, clear_task_set, logical_unit_reset, task_reassign}) {
    CAPTURE(static_cast<int>(function));
    auto response = managed(device, function, device.nexus, kHidden, running.task.tag);
    CHECK(response == managed(device, function, device.nexus, kNowhere, running.task.tag));
    CHECK(response.has_value());
    CHECK(response != TaskManagementResponse::function_complete);
  }
  for (auto function : {target_warm_reset, target_cold_reset})
    CHECK(managed(device, function, device.nexus, {}) == TaskManagementResponse::function_complete);
  CHECK_FALSE(running.done());
  device.executor.run_all();
  CHECK(running.good());
  CHECK(device.attention(device.owner, kHidden) == none);
  CHECK(device.attention(device.owner, kOpen) == power_on_reset_or_bus_device_reset_occurred);
  CHECK_FALSE(device.server.may_use_all(device.nexus));
  CHECK(device.server.may_use_all(device.owner));

  managed(device, target_warm_reset, device.owner, {});
  CHECK(device.attention(device.owner, kHidden) == power_on_reset_or_bus_device_reset_occurred);
}

// ---- Reservations ------------------------------------------------------------------------------------------------

Bytes transport_id(const ITNexus& nexus) {
  Bytes id;
  base::ByteWriter writer(id);
  write_transport_id(writer, nexus);
  return id;
}

TEST_CASE("nobody is registered, and no reservation moved, where the initiator finds no logical unit") {
  AccessDevice device;
  auto send = [&](std::uint8_t action, const Bytes& list) -> Command& {
    return device.run(test::pr_out(action, 0, static_cast<std::uint8_t>(list.size())), list, kHidden, device.owner);
  };
  Bytes stranger = transport_id(device.server.nexus(device.nexus));
  Bytes list = test::pr_list(0, 1, 0x08);
  base::ByteWriter writer(list);
  writer.u32(static_cast<std::uint32_t>(stranger.size()));
  writer.bytes(stranger);
  CHECK(send(test::kRegister, list).sense() == Sense::invalid_field_in_list(28, {}, ""));
  CHECK(device.untouched());

  REQUIRE(send(test::kRegister, test::pr_list(0, 1)).good());
  REQUIRE(device.run(test::pr_out(test::kReserve, 1), test::pr_list(1), kHidden, device.owner).good());
  auto move_to = [](const Bytes& id) {
    Bytes bytes;
    base::ByteWriter out(bytes);
    out.u64(1), out.u64(2), out.u8(0), out.u8(0), out.u16(1), out.u32(static_cast<std::uint32_t>(id.size()));
    out.bytes(id);
    return bytes;
  };
  CHECK(send(test::kRegisterAndMove, move_to(stranger)).sense() == Sense::invalid_field_in_list(24, {}, ""));
  NexusId another = device.attach("iqn.2025-01.example:another");
  CHECK(send(test::kRegisterAndMove, move_to(transport_id(device.server.nexus(another)))).good());
}

// ---- Third-party copy --------------------------------------------------------------------------------------------

/// Each way a CSCD descriptor can name the logical unit.
struct Name {
  std::string what;
  List cscd;
};
std::vector<Name> names_of(const LogicalUnitIdentity& identity) {
  List naa = test::naa_cscd(identity.naa);
  List eui = naa;
  eui[5] = 0x02;
  eui[7] = 8;
  std::fill(eui.begin() + 8, eui.begin() + 28, std::uint8_t{0});
  std::copy(identity.eui64.begin(), identity.eui64.end(), eui.begin() + 8);
  List name = naa;
  name[4] = 0x03;
  name[5] = 0x08;
  name[7] = 20;
  std::string text = eui_name(identity);
  std::copy(text.begin(), text.end(), name.begin() + 8);
  List any_type = naa;
  any_type[1] = 0xE0;
  return {{"NAA", naa}, {"EUI-64", eui}, {"SCSI name", name}, {"NAA, any LU ID TYPE", any_type}};
}

/// Lists that use CSCD descriptor 1 in every way there is: as source, as destination, for all kinds of segment.
struct Use {
  std::string what;
  std::vector<List> segments;
  std::vector<List> more_cscds{};
  bool produces = false;  ///< judged before the first segment, as what another target's logical unit produces
};
std::vector<Use> uses(const ITNexus& to) {
  using test::SegmentOptions;
  constexpr SegmentOptions from{.source = 1, .destination = 0}, into{.source = 0, .destination = 1};
  constexpr SegmentOptions rod_into{.source = 2, .destination = 1};
  constexpr SegmentOptions into_rod{.source = kThisLogicalUnit, .destination = 2};
  return {
      {"blocks from", {blocks_segment(1, 0, 0, from)}},
      {"blocks to", {blocks_segment(1, 0, 0, into)}},
      {"blocks within", {blocks_segment(1, 0, 4, {.source = 1, .destination = 1})}},
      {"blocks from, held", {blocks_segment(1, 0, 0, from, 0x0D)}},
      {"bytes from", {test::bytes_segment({.bytes = 100}, from)}},
      {"bytes to", {test::bytes_segment({.bytes = 100}, into)}},
      {"image from", {test::image_segment(0, 0, 0, from)}},
      {"image to", {test::image_segment(0, 0, 0, into)}},
      {"verify", {test::verify_segment(false, {.source = 1, .destination = 0})}},
      {"verify with TEST UNIT READY", {test::verify_segment(true, {.source = 1, .destination = 0})}},
      {"a ROD that it produces", {test::populate_one_segment(0, 1, into_rod)}, {test::rod_cscd({.producer = 1})}, true},
      {"from a ROD",
       {test::populate_one_segment(0, 1, into_rod), blocks_segment(1, 0, 0, rod_into)},
       {test::rod_cscd()}},
      {"register a key", {test::register_key_segment(0, 5, into)}},
      {"move a reservation", {test::source_nexus_segment(5, 6, to, {}, into)}},
  };
}

TEST_CASE("EXTENDED COPY does not find it, however it is named and whatever is to be done with it (CVE-2020-28374)") {
  for (ListFormat format : {ListFormat::lid1, ListFormat::lid4}) {
    AccessDevice device;
    LogicalUnitIdentity unknown = device.lu(kHidden).identity();
    unknown.naa[15] = unknown.eui64[7] = 0xEE;
    auto hidden_names = names_of(device.lu(kHidden).identity());
    auto unknown_names = names_of(unknown);
    for (const Use& use : uses(device.server.nexus(device.nexus))) {
      CAPTURE(use.what);
      for (std::size_t i = 0; i < hidden_names.size(); ++i) {
        CAPTURE(hidden_names[i].what);
        CopyList list{.format = format, .cscds = {device.cscd(kOpen), hidden_names[i].cscd}, .segments = use.segments};
        list.cscds.insert(list.cscds.end(), use.more_cscds.begin(), use.more_cscds.end());
        Command& hidden = device.copy_as(device.nexus, list);
        list.cscds[1] = unknown_names[i].cscd;
        Command& nobodys = device.copy_as(device.nexus, list);
        INFO(hidden.sense().rule);
        alike(hidden, nobodys);
        CHECK(hidden.status() == Status::check_condition);
        if (use.produces) continue;
        CHECK(hidden.sense().key == SenseKey::copy_aborted);
        CHECK(hidden.sense().code == copy_target_device_not_reachable);
      }
    }
    CHECK(device.untouched());
  }
}

TEST_CASE("the owner's EXTENDED COPY finds it, by each name and in each use") {
  for (ListFormat format : {ListFormat::lid1, ListFormat::lid4}) {
    AccessDevice device;
    for (const Use& use : uses(device.server.nexus(device.nexus))) {
      CAPTURE(use.what);
      for (const Name& name : names_of(device.lu(kHidden).identity())) {
        CAPTURE(name.what);
        CopyList list{.format = format, .cscds = {device.cscd(kOpen), name.cscd}, .segments = use.segments};
        list.cscds.insert(list.cscds.end(), use.more_cscds.begin(), use.more_cscds.end());
        Command& command = device.copy_as(device.owner, list);
        INFO(command.sense().rule);
        // What is refused here is refused for other reasons: the key is taken, the stranger may not use it, and what it
        // produces is not the data of the unit that processes the command.
        bool reservation = use.what == "register a key" || use.what == "move a reservation";
        CHECK(command.sense().code != copy_target_device_not_reachable);
        CHECK(command.sense().code != invalid_token_operation_remote_token_usage_not_supported);
        if (!reservation && !use.produces) CHECK(command.good());
      }
    }
    CHECK_FALSE(device.lu(kHidden).reservations().registrations().empty());
  }
}

TEST_CASE("an operation that goes on after its nexus still finds what its initiator may use") {
  AccessDevice device({.copy_duration = {.latency_us = 1'000'000}});
  device.fill_bytes(kOpen, 0, 512, 3);
  CopyList list{.format = ListFormat::lid4,
                .g_sense_immed = kImmed,
                .cscds = {device.cscd(kOpen), device.hidden_cscd()},
                .segments = {blocks_segment(1, 0, 8, {.source = 0, .destination = 0}), blocks_segment(1, 0, 0)}};
  REQUIRE(device.copy_as(device.owner, list).good());
  CHECK(device.untouched());
  device.server.detach(device.owner);
  device.pass(std::chrono::seconds(5));
  CHECK(Bytes(device.hidden_store().bytes().begin(), device.hidden_store().bytes().begin() + 512) ==
        device.bytes(kOpen, 0, 512));
}

TEST_CASE("across_targets opens other targets' logical units, and not to those they are not there for") {
  AccessDevice device({.extended_copy_across_targets = true});
  DeviceServer second({"iqn.2025-01.example:second", 1}, device.clock, nullptr, device.copies);
  LogicalUnitConfig config;
  config.name = "elsewhere";
  config.identity.naa = {0x60, 9};
  config.allowed_initiators = {kOwner};
  second.add(Lun{0}, std::make_shared<LogicalUnit>(config, std::make_unique<test::SparseStore>(1 << 20)));
  CopyList list{.cscds = {test::naa_cscd(config.identity.naa)}, .segments = {test::verify_segment(false)}};
  CHECK(device.copy_as(device.owner, list).good());
  CHECK(device.copy_as(device.nexus, list).sense().code == copy_target_device_not_reachable);
}

TEST_CASE("only who may use it makes tokens of it and writes to it by tokens; others learn nothing of them") {
  AccessDevice device;
  Bytes populate = test::populate_list({{4, 2}});
  auto populate_as = [&](NexusId from) -> Command& {
    return device.run(test::out_cdb(0x10, 1, populate.size()), populate, kHidden, from);
  };
  CHECK(populate_as(device.nexus).failed_with(SenseKey::illegal_request, logical_unit_not_supported));
  REQUIRE(populate_as(device.owner).good());
  test::CopyResult result(device.run(test::in_cdb(0x07, 1, 805), {}, kHidden, device.owner).data());
  REQUIRE(result.token);
  for (std::uint8_t action : {0x05, 0x07, 0x08})
    for (std::uint16_t number : {kOpen, kHidden}) {
      CAPTURE(action);
      Command& command = device.run(test::in_cdb(action, 1, 805), {}, number);
      if (command.good()) CHECK(command.data() == Bytes{0, 0, 0, 4, 0, 0, 0, 0});  // REPORT ALL ROD TOKENS: none
    }
  tokens::RodToken open = device.token_of({{0, 1}}, {}, kOpen);
  Bytes write = test::write_list(open, {{0, 1}});
  CHECK(device.run(test::out_cdb(0x11, 2, write.size()), write, kHidden)
            .failed_with(SenseKey::illegal_request, logical_unit_not_supported));
  CHECK(device.untouched());
}

TEST_CASE("a token of it works for whoever holds it (docs/decisions/0002)") {
  AccessDevice device;
  Bytes populate = test::populate_list({{4, 2}});
  REQUIRE(device.run(test::out_cdb(0x10, 1, populate.size()), populate, kHidden, device.owner).good());
  test::CopyResult result(device.run(test::in_cdb(0x07, 1, 805), {}, kHidden, device.owner).data());
  REQUIRE(result.token);
  Bytes write = test::write_list(*result.token, {{8, 2}});
  REQUIRE(device.run(test::out_cdb(0x11, 1, write.size()), write, kOpen).good());
  CHECK(device.bytes(kOpen, 8 * 512, 1024) == Bytes(device.before.begin() + 2048, device.before.begin() + 3072));
  CHECK(device.untouched());
}

}  // namespace
}  // namespace scsi
