// What the actions of rules do at the gates of the device server, and that delayed tasks end whatever happens to them.
//
// Not tested, and why: what a transport does (test/iscsi/rules_test.cc); what hosts see (test/target/rules_test.py).
#include <doctest/doctest.h>

#include <functional>

#include "scsi/rule_gates.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/copy_fixture.h"

namespace {

using namespace std::chrono_literals;
namespace action = scsi::action;
using scsi::AdditionalSense;
using scsi::Moment;
using scsi::SenseKey;
using scsi::Status;
using test::Bytes;
using test::Command;
using test::CopyDevice;

struct Fixture : CopyDevice {
  scsi::RuleSet& rules = copies.fabric().rules();

  scsi::RuleId on(std::string_view command, scsi::Action act) {
    return rules.add({.name = "test", .match = {.commands = scsi::commands_named(command)}, .action = std::move(act)});
  }
  Command& read_blocks(std::uint32_t lba, std::uint16_t blocks) { return run(test::read_10(lba, blocks), {}, kSource); }
  Command& write_blocks(std::uint32_t lba, const Bytes& data) {
    return run(test::write_10(lba, static_cast<std::uint16_t>(data.size() / 512)), data, kSource);
  }
  bool idle() {
    for (std::uint16_t lun : {kSource, kDestination})
      if (!lu(lun).idle()) return false;
    return !copies.timers().next();
  }
};

action::Fail sense_of(SenseKey key, AdditionalSense code, Moment moment = Moment::before) {
  return {Status::check_condition, {key, code}, moment};
}

const Bytes kMarked = test::pattern(1024, 3);

}  // namespace

TEST_CASE("a status or sense before: nothing is done, and no data is asked for") {
  Fixture device;
  for (Status status : {Status::busy, Status::task_set_full, Status::reservation_conflict, Status::task_aborted,
                        Status::aca_active, Status{0x22}}) {
    auto id = device.on("WRITE", action::Fail{status});
    Command& command = device.prepare(test::write_10(0, 2), CopyDevice::kSource);
    device.server.admit(command.task);
    CHECK(command.done());
    CHECK(command.status() == status);
    device.rules.remove(id);
  }
  auto sense = sense_of(SenseKey::medium_error, AdditionalSense::write_error);
  sense.sense.information = 77;
  device.on("WRITE", sense);
  Command& command = device.write_blocks(0, kMarked);
  CHECK(command.failed_with(SenseKey::medium_error, AdditionalSense::write_error));
  CHECK(command.sense().information == 77);
  CHECK(command.sense().rule == "rule 7 \"test\"");
  CHECK(device.read_blocks(0, 2).data() == Bytes(1024));
  CHECK(device.idle());
}

TEST_CASE("a status after: all is done, and the answer says something else") {
  Fixture device;
  device.on("WRITE", sense_of(SenseKey::hardware_error, AdditionalSense::internal_target_failure, Moment::after));
  CHECK(
      device.write_blocks(0, kMarked).failed_with(SenseKey::hardware_error, AdditionalSense::internal_target_failure));
  CHECK(device.read_blocks(0, 2).data() == kMarked);
  device.rules.clear();
  device.on("WRITE", action::Fail{Status::busy, {}, Moment::after});
  CHECK(device.write_blocks(0, Bytes(512)).status() == Status::busy);
  CHECK(device.read_blocks(0, 1).data() == Bytes(512));
}

TEST_CASE("a delay before: the command begins later; after: it is answered later") {
  for (Moment moment : {Moment::before, Moment::after}) {
    Fixture device;
    device.on("WRITE", action::Delay{4100ms, moment});
    Command& command = device.send(test::write_10(0, 2), kMarked, CopyDevice::kSource);
    CHECK_FALSE(command.done());
    CHECK((device.read(CopyDevice::kSource, {0, 2}) == kMarked) == (moment == Moment::after));
    device.pass(4100ms - 1us);
    CHECK_FALSE(command.done());
    device.pass(1us);
    CHECK(command.good());
    CHECK(device.read(CopyDevice::kSource, {0, 2}) == kMarked);
    CHECK(device.idle());
  }
}

TEST_CASE("a delayed read has its data") {
  for (Moment moment : {Moment::before, Moment::after}) {
    Fixture device;
    device.write_blocks(0, kMarked);
    device.on("READ", action::Delay{1s, moment});
    Command& command = device.send(test::read_10(0, 2), {}, CopyDevice::kSource);
    CHECK_FALSE(command.done());
    device.pass(1s);
    CHECK(command.good());
    CHECK(command.data() == kMarked);
  }
}

TEST_CASE("delays add up, with what stands between them, in the order of the rules") {
  Fixture device;
  device.on("WRITE", action::Delay{1s, Moment::before});
  device.on("WRITE", action::Delay{2s, Moment::before});
  device.on("WRITE", action::Delay{3s, Moment::after});
  device.on("WRITE", action::Fail{Status::busy});
  Command& command = device.send(test::write_10(0, 2), kMarked, CopyDevice::kSource);
  device.pass(6s - 1us);
  CHECK_FALSE(command.done());
  device.pass(1us);
  CHECK(command.status() == Status::busy);
  CHECK(device.read(CopyDevice::kSource, {0, 2}) == Bytes(1024));
}

TEST_CASE("a delay by the wire clock does not wait for the array's") {
  base::VirtualClock wire;
  base::TimerQueue timers;  // outlives the tasks that wait by it
  Fixture device;
  device.rules.set_wire_time({&wire, &timers});
  device.on("TEST UNIT READY", action::Delay{1s, Moment::before, true});
  Command& command = device.send({0, 0, 0, 0, 0, 0});
  device.pass(1h);
  CHECK_FALSE(command.done());
  wire.advance(1s);
  timers.run_due(wire.now());
  CHECK(command.good());
}

TEST_CASE("a delayed task can be aborted in every way, and leaves no timer") {
  for (Moment moment : {Moment::before, Moment::after}) {
    Fixture device;
    device.on("WRITE", action::Delay{1h, moment});
    auto delayed = [&]() -> Command& {
      Command& command = device.send(test::write_10(0, 2), kMarked, CopyDevice::kSource);
      CHECK_FALSE(command.done());
      return command;
    };
    auto check_ended = [&](Command& command) {
      CHECK(command.completions == 1);
      CHECK(command.status() == Status::task_aborted);
      CHECK(device.idle());
    };
    bool complete = false;
    auto done = [&](scsi::TaskManagementResponse response) {
      complete = response == scsi::TaskManagementResponse::function_complete;
    };
    using enum scsi::TaskManagementFunction;
    for (auto function : {abort_task, abort_task_set, clear_task_set, logical_unit_reset, target_warm_reset}) {
      complete = false;
      Command& command = delayed();
      device.server.manage(function, device.nexus, scsi::Lun{CopyDevice::kSource}, command.task.tag, done);
      CHECK(complete);
      check_ended(command);
      device.run({0, 0, 0, 0, 0, 0}, {}, CopyDevice::kSource);  // takes the unit attention of a reset
    }
    Command& of_session = delayed();
    device.server.abort_all(device.nexus, [&] { complete = true; });
    check_ended(of_session);
    Command& with_its_unit = delayed();
    device.server.remove(scsi::Lun{CopyDevice::kSource});
    device.pass(1h);
    CHECK(with_its_unit.completions == 1);
    if (moment == Moment::before)
      CHECK(with_its_unit.failed_with(SenseKey::illegal_request, AdditionalSense::logical_unit_not_supported));
  }
}

TEST_CASE("what comes behind a delayed ORDERED task waits for it") {
  Fixture device;
  device.on("WRITE", action::Delay{1s});
  Command& ordered = device.send(test::write_10(0, 2), kMarked, CopyDevice::kSource, scsi::NexusId::none,
                                 scsi::TaskAttribute::ordered);
  Command& younger = device.send(test::read_10(0, 2), {}, CopyDevice::kSource);
  CHECK_FALSE(younger.done());
  device.pass(1s);
  CHECK(ordered.good());
  CHECK(younger.data() == kMarked);
}

TEST_CASE("a task waits for the array clock by itself or behind others which all do") {
  base::VirtualClock wire;
  base::TimerQueue timers;  // outlives the tasks that wait by it
  Fixture device;
  device.rules.set_wire_time({&wire, &timers});
  for (Moment moment : {Moment::before, Moment::after}) {
    device.on("WRITE", action::Delay{1s, moment});
    Command& delayed = device.send(test::write_10(0, 2), kMarked, CopyDevice::kSource);
    Command& behind =
        device.send(test::read_10(0, 2), {}, CopyDevice::kSource, scsi::NexusId::none, scsi::TaskAttribute::ordered);
    CHECK((scsi::waits_for_clock(delayed.task) && scsi::waits_for_clock(behind.task)));
    device.pass(1s);
    CHECK((delayed.good() && behind.good()));
    CHECK(!scsi::waits_for_clock(delayed.task));
    device.rules.clear();
  }
  device.on("WRITE", action::Delay{1s, Moment::before, true});
  Command& by_wire = device.send(test::write_10(0, 2), kMarked, CopyDevice::kSource);
  Command& behind =
      device.send(test::read_10(0, 2), {}, CopyDevice::kSource, scsi::NexusId::none, scsi::TaskAttribute::ordered);
  CHECK((!scsi::waits_for_clock(by_wire.task) && !scsi::waits_for_clock(behind.task)));
  wire.advance(1s);
  timers.run_due(wire.now());
  CHECK((by_wire.good() && behind.good()));
}

TEST_CASE("truncate: a read has less, a write is served for as much, a parameter list is too short") {
  Fixture device;
  device.write_blocks(0, kMarked);
  device.on("READ", action::Truncate{700});
  Command& command = device.read_blocks(0, 2);
  CHECK(command.good());
  CHECK(command.data() == Bytes(kMarked.begin(), kMarked.begin() + 700));
  device.rules.clear();
  device.on("WRITE", action::Truncate{512});
  Command& write = device.write_blocks(0, Bytes(1024, 0x55));
  CHECK(write.good());
  CHECK(write.task.data_out_length == 512);
  device.rules.clear();
  Bytes half(512, 0x55);
  half.insert(half.end(), kMarked.begin() + 512, kMarked.end());
  CHECK(device.read_blocks(0, 2).data() == half);
  device.on("POPULATE TOKEN", action::Truncate{20});
  CHECK(device.populate(1, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
}

TEST_CASE("data-in is edited whole, before it is cut to what the command allows") {
  Fixture device;
  const Bytes data{0, 1, 2, 3, 4, 5, 6, 7};
  Bytes block = data;
  block.resize(512);
  device.write_blocks(0, block);
  auto edited = [&](action::EditData edit) {
    device.rules.clear();
    device.on("READ", std::move(edit));
    return device.read_blocks(0, 1).data();
  };
  /// What `head` begins, and the rest of the block behind its first eight bytes.
  auto block_of = [](Bytes head, std::size_t length = 512) {
    head.resize(length);
    return head;
  };
  CHECK(edited({.at = 2, .cut = 2, .put = {9, 8}}) == block_of({0, 1, 9, 8, 4, 5, 6, 7}));
  CHECK(edited({.at = 2, .cut = 0, .put = {9}}) == block_of({0, 1, 9, 2, 3, 4, 5, 6, 7}));
  CHECK(edited({.at = 2, .cut = 3}) == block_of({0, 1, 5, 6, 7}, 509));
  CHECK(edited({.at = 6, .cut = 2, .move_to = 0}) == block_of({6, 7, 0, 1, 2, 3, 4, 5}));
  CHECK(edited({.at = 0, .cut = 2, .move_to = 3}) == block_of({2, 3, 4, 0, 1, 5, 6, 7}));
  Bytes last = block_of({2, 3, 4, 5, 6, 7});
  last.back() = 1;
  CHECK(edited({.at = 0, .cut = 2, .move_to = UINT64_MAX}) == last);  // 0 and 1 are the last two
  CHECK(edited({.at = 500, .cut = UINT64_MAX}) == block_of(data, 500));
  CHECK(edited({.at = 513, .cut = 1}) == block);
  CHECK(edited({.at = UINT64_MAX, .cut = 0, .put = {1}}) == block);
  device.rules.clear();
  CHECK(device.read_blocks(0, 1).data() == block);

  const Bytes all{0x12, 1, 0x8F, 4, 0, 0}, begin{0x12, 1, 0x8F, 0, 40, 0};
  const Bytes page = device.run(all, {}, CopyDevice::kSource).data();
  device.on("INQUIRY", action::EditData{.at = 4, .cut = 36, .move_to = 65536});
  Bytes moved = page;
  std::rotate(moved.begin() + 4, moved.begin() + 40, moved.end());
  CHECK(device.run(all, {}, CopyDevice::kSource).data() == moved);
  moved.resize(40);
  CHECK(device.run(begin, {}, CopyDevice::kSource).data() == moved);
  // Nothing of a command that has no data, or fails.
  CHECK(device.run({0x12, 1, 0x8E, 1, 0, 0}, {}, CopyDevice::kSource).sense().code ==
        AdditionalSense::invalid_field_in_cdb);
  device.on("TEST UNIT READY", action::EditData{.put = {1}});
  CHECK(device.run({0, 0, 0, 0, 0, 0}).data().empty());
}

TEST_CASE("wrong data of reads and writes") {
  Fixture device;
  device.write_blocks(0, kMarked);
  Bytes inverted = kMarked;
  for (std::size_t block : {0, 512})
    for (std::size_t i = 0; i < 8; ++i) inverted[block + i] ^= 0xFF;
  using How = action::WrongData::How;

  device.on("READ", action::WrongData{How::zeros});
  CHECK(device.read_blocks(0, 2).data() == Bytes(1024));
  device.rules.clear();
  device.on("READ", action::WrongData{How::inverted});
  CHECK(device.read_blocks(0, 2).data() == inverted);
  device.rules.clear();
  CHECK(device.read_blocks(0, 2).data() == kMarked);

  device.on("WRITE", action::WrongData{How::not_written});
  CHECK(device.write_blocks(0, Bytes(1024, 9)).good());
  CHECK(device.read_blocks(0, 2).data() == kMarked);
  device.rules.clear();
  device.on("WRITE", action::WrongData{How::inverted});
  CHECK(device.write_blocks(0, kMarked).good());
  CHECK(device.read_blocks(0, 2).data() == inverted);
  device.rules.clear();
  device.on("WRITE", action::WrongData{How::zeros});
  CHECK(device.write_blocks(0, kMarked).good());
  CHECK(device.read_blocks(0, 2).data() == Bytes(1024));
}

TEST_CASE("wrong data of a copy: zeros, the first block inverted, nothing written; the answer is GOOD") {
  using How = action::WrongData::How;
  for (How how : {How::zeros, How::inverted, How::not_written}) {
    scsi::DeviceProfile profile;
    SUBCASE("at once") {}
    SUBCASE("in pieces") { profile.copy_duration = {.bytes_per_second = 5120}; }
    struct Device : CopyDevice {
      using CopyDevice::CopyDevice;
    } device(profile);
    scsi::RuleSet& rules = device.copies.fabric().rules();
    device.fill(CopyDevice::kSource, {0, 4}, 0x11);
    device.fill(CopyDevice::kDestination, {0, 4}, 0x22);
    const Bytes source = device.read(CopyDevice::kSource, {0, 4});
    const Bytes before = device.read(CopyDevice::kDestination, {0, 4});
    auto token = device.token_of({{0, 4}});
    rules.add({.action = action::WrongData{how}});
    Bytes list = test::write_list(token, {{0, 4}});
    Command& command = device.send(test::out_cdb(0x11, 1, list.size()), list, CopyDevice::kDestination);
    device.pass(1s);
    CHECK(command.good());
    rules.clear();
    Bytes after = device.read(CopyDevice::kDestination, {0, 4});
    if (how == How::zeros) CHECK(after == Bytes(2048));
    if (how == How::not_written) CHECK(after == before);
    if (how == How::inverted) {
      Bytes expected = source;
      for (std::uint8_t& byte : expected) byte = &byte - expected.data() < 8 ? static_cast<std::uint8_t>(~byte) : byte;
      CHECK(after == expected);
    }
  }
}

TEST_CASE("a short copy ends as SBC-4 has it, and its result tells the same") {
  for (bool counted : {true, false}) {
    Fixture device;
    device.fill(CopyDevice::kSource, {0, 8}, 0x11);
    auto token = device.token_of({{0, 8}});
    device.on("WRITE USING TOKEN", action::ShortCopy{5, counted});
    Command& command = device.write_using(1, token, {{0, 3}, {100, 5}});
    CHECK(command.failed_with(SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun));
    CHECK(command.sense().information == (counted ? std::optional<std::uint64_t>(5) : std::nullopt));
    auto result = device.result(1, CopyDevice::kDestination);
    CHECK(result.header.copy_operation_status == 0x03);
    CHECK(result.header.transfer_count == 5);
    const Bytes source = device.read(CopyDevice::kSource, {0, 8});
    Bytes copied = device.read(CopyDevice::kDestination, {0, 3});
    Bytes second = device.read(CopyDevice::kDestination, {100, 3});
    copied.insert(copied.end(), second.begin(), second.begin() + 1024);
    CHECK(copied == Bytes(source.begin(), source.begin() + 5 * 512));
    CHECK(Bytes(second.begin() + 1024, second.end()) == Bytes(512));
  }
}

TEST_CASE("a short copy of no blocks wrote nothing; one of all blocks is a whole one") {
  Fixture device;
  auto token = device.token_of({{0, 8}});
  auto id = device.on("WRITE USING TOKEN", action::ShortCopy{0});
  CHECK(device.write_using(1, token, {{0, 8}})
            .failed_with(SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun));
  CHECK(device.result(1, CopyDevice::kDestination).header.transfer_count == 0);
  device.rules.remove(id);
  device.on("WRITE USING TOKEN", action::ShortCopy{8});
  CHECK(device.write_using(2, token, {{0, 8}}).good());
}

TEST_CASE("a wrong result is only in what is told") {
  Fixture device;
  auto token = device.token_of({{0, 8}});
  CHECK(device.write_using(1, token, {{0, 8}}).good());
  device.on("RECEIVE ROD TOKEN INFORMATION",
            action::WrongResult{.transfer_count = 99, .copy_status = 0x11, .segments_processed = 3});
  auto result = device.result(1, CopyDevice::kDestination);
  CHECK(result.header.transfer_count == 99);
  CHECK(result.header.copy_operation_status == 0x11);
  CHECK(result.header.segments_processed == 3);
  CHECK(result.complete);
  device.rules.clear();
  CHECK(device.result(1, CopyDevice::kDestination).header.transfer_count == 8);
  device.on("RECEIVE ROD TOKEN INFORMATION", action::WrongResult{.descriptors_length = 512});
  CHECK(device.populate(2, {{0, 8}}).good());
  CHECK(device.result(2, CopyDevice::kSource).descriptors_length == 512);
}

TEST_CASE("the token a command names ends, before or after it") {
  struct Row {
    action::EndToken::How how;
    AdditionalSense code;
  };
  using How = action::EndToken::How;
  using enum AdditionalSense;
  for (const Row& row : {Row{How::expired, invalid_token_operation_token_expired},
                         Row{How::revoked, invalid_token_operation_token_revoked},
                         Row{How::cancelled, invalid_token_operation_token_cancelled},
                         Row{How::deleted, invalid_token_operation_token_deleted},
                         Row{How::corrupted, invalid_token_operation_token_corrupt}}) {
    Fixture device;
    auto token = device.token_of({{0, 8}});
    const auto id = tokens::TokenId{token.copy_manager_rod_token_identifier.value()};
    device.on("WRITE USING TOKEN", action::EndToken{row.how});
    CHECK(device.write_using(1, token, {{0, 8}}).failed_with(SenseKey::illegal_request, row.code));
    device.rules.clear();
    if (row.how == How::corrupted) {  // only what was sent was altered
      CHECK(device.write_using(2, token, {{0, 8}}).good());
      continue;
    }
    CHECK(device.write_using(2, token, {{0, 8}}).failed_with(SenseKey::illegal_request, row.code));

    auto second = device.token_of({{0, 8}});
    device.on("WRITE USING TOKEN", action::EndToken{row.how, Moment::after});
    CHECK(device.write_using(3, second, {{0, 8}}).good());
    CHECK(device.write_using(4, second, {{0, 8}}).failed_with(SenseKey::illegal_request, row.code));
    device.rules.clear();

    device.on("POPULATE TOKEN", action::EndToken{row.how});
    auto third = device.token_of({{0, 8}});
    CHECK(device.write_using(5, third, {{0, 8}}).failed_with(SenseKey::illegal_request, row.code));
    device.rules.clear();

    auto fourth = device.token_of({{0, 8}});
    const auto fourth_id =
        device.copies.tokens().number(tokens::TokenId{fourth.copy_manager_rod_token_identifier.value()});
    device.on("TEST UNIT READY", action::EndToken{row.how, Moment::before, fourth_id});
    CHECK(device.run({0, 0, 0, 0, 0, 0}).good());
    CHECK(device.write_using(6, fourth, {{0, 8}}).failed_with(SenseKey::illegal_request, row.code));
    CHECK(device.copies.tokens().state(id) != tokens::TokenState::valid);
  }
}

TEST_CASE("a token corrupted on its way to the host") {
  Fixture device;
  auto id = device.on("RECEIVE ROD TOKEN INFORMATION", action::EndToken{action::EndToken::How::corrupted});
  auto token = device.token_of({{0, 8}});
  device.rules.remove(id);
  CHECK(device.write_using(1, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_corrupt));
}

TEST_CASE("an answer without a token is not altered by corrupt_token") {
  Fixture device;
  auto token = device.token_of({{0, 8}});
  device.write_using(1, token, {{0, 8}});
  const Bytes told = device.receive_rod_token(1, CopyDevice::kDestination).data();
  device.on("RECEIVE ROD TOKEN INFORMATION", action::EndToken{action::EndToken::How::corrupted});
  device.write_using(2, token, {{0, 8}});
  CHECK(device.receive_rod_token(2, CopyDevice::kDestination).data() == told);
}

TEST_CASE("a pair becomes unreachable, for the command that meets the rule already, and reachable again") {
  Fixture device;
  auto token = device.token_of({{0, 8}});
  const std::string source = device.lu(CopyDevice::kSource).config().name;
  const std::string destination = device.lu(CopyDevice::kDestination).config().name;
  auto id = device.on("WRITE USING TOKEN", action::Reach{.a = source, .b = destination});
  CHECK(device.write_using(1, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::unreachable_copy_target));
  device.rules.remove(id);
  CHECK(device.write_using(2, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::unreachable_copy_target));
  device.on("TEST UNIT READY", action::Reach{.a = destination, .b = source, .reachable = true});
  device.run({0, 0, 0, 0, 0, 0});
  CHECK(device.write_using(3, token, {{0, 8}}).good());
  device.rules.clear();
  device.on("TEST UNIT READY", action::Reach{.a = source,
                                             .b = destination,
                                             .refusal = scsi::UnreachableRefusal::copy_target_device_not_reachable,
                                             .moment = Moment::after});
  device.run({0, 0, 0, 0, 0, 0});
  CHECK(device.write_using(4, token, {{0, 8}})
            .failed_with(SenseKey::copy_aborted, AdditionalSense::copy_target_device_not_reachable));
}

TEST_CASE("third-party copy is gone: the hosts are told, commands are unknown, VPD page 8Fh is not there") {
  Fixture device;
  auto token = device.token_of({{0, 8}});
  const Bytes vpd_8f{0x12, 1, 0x8F, 1, 0, 0};
  auto id = device.on("POPULATE TOKEN", action::OfferCopies{false});
  // The command that meets the rule, too.
  CHECK(device.populate(1, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
  for (std::uint16_t lun : {0, 1, 10, 11, 12})
    CHECK(device.run({0, 0, 0, 0, 0, 0}, {}, lun)
              .failed_with(SenseKey::unit_attention, AdditionalSense::inquiry_data_has_changed));
  CHECK(device.write_using(2, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code));
  CHECK(device.run(vpd_8f, {}, CopyDevice::kSource)
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_field_in_cdb));
  CHECK((device.run({0x12, 0, 0, 0, 36, 0}, {}, CopyDevice::kSource).data()[5] & 0x08) == 0);
  device.rules.remove(id);
  device.on("TEST UNIT READY", action::OfferCopies{true, Moment::after});
  device.run({0, 0, 0, 0, 0, 0});
  device.rules.clear();
  for (std::uint16_t lun : {CopyDevice::kSource, CopyDevice::kDestination})
    CHECK(device.run({0, 0, 0, 0, 0, 0}, {}, lun).sense().code == AdditionalSense::inquiry_data_has_changed);
  CHECK(device.run(vpd_8f, {}, CopyDevice::kSource).good());
  CHECK(device.write_using(3, token, {{0, 8}}).good());
}

TEST_CASE("third-party copy that is offered already, or gone already, is no change: nobody is told") {
  Fixture device;
  auto ready = [&] { return device.run({0, 0, 0, 0, 0, 0}, {}, CopyDevice::kSource).good(); };
  device.on("TEST UNIT READY", action::OfferCopies{true, Moment::after});
  CHECK((ready() && ready()));
  device.rules.clear();
  auto id = device.on("TEST UNIT READY", action::OfferCopies{false, Moment::after});
  CHECK(ready());
  CHECK(!ready());  // told once
  CHECK((ready() && ready()));
  device.rules.remove(id);
  CHECK(ready());
}

TEST_CASE("the pool is filled by whoever has it") {
  Fixture device;
  std::vector<bool> calls;
  device.rules.on_fill_pool([&](bool full) { calls.push_back(full); });
  device.on("TEST UNIT READY", action::FillPool{true});
  device.on("READ", action::FillPool{false, Moment::after});
  device.run({0, 0, 0, 0, 0, 0});
  device.read_blocks(0, 1);
  CHECK(calls == std::vector<bool>{true, false});
}

TEST_CASE("a command that never came is not executed, and ends as one that a front end does not answer") {
  for (const scsi::Action& act :
       {scsi::Action(action::DropCommand{}), scsi::Action(action::EndConnection{action::EndConnection::At::command})}) {
    Fixture device;
    device.on("WRITE", act);
    CHECK(device.write_blocks(0, kMarked).status() == Status::task_aborted);
    device.rules.clear();
    CHECK(device.read_blocks(0, 2).data() == Bytes(1024));
  }
}

TEST_CASE("a command that never came is not executed, whatever is to be waited for") {
  for (Moment moment : {Moment::before, Moment::after}) {
    Fixture device;
    device.on("WRITE", action::DropCommand{});
    device.on("WRITE", action::Delay{1s, moment});
    Command& command = device.send(test::write_10(0, 2), kMarked, CopyDevice::kSource);
    device.pass(1s);
    CHECK(command.completions == 1);
    CHECK(command.status() == Status::task_aborted);
    CHECK(device.read(CopyDevice::kSource, {0, 2}) == Bytes(1024));
    CHECK(device.idle());
  }
}

TEST_CASE("what only a transport can do changes nothing here") {
  Fixture device;
  for (const scsi::Action& act :
       {scsi::Action(action::DropResponse{}), scsi::Action(action::EndConnection{}),
        scsi::Action(action::DigestError{}), scsi::Action(action::AsyncMessage{}), scsi::Action(action::Nothing{})}) {
    auto id = device.on("WRITE", act);
    CHECK(device.write_blocks(0, kMarked).good());
    device.rules.remove(id);
  }
  CHECK(device.read_blocks(0, 2).data() == kMarked);
}

TEST_CASE("a rule of a command's list comes too late for no data, and in time for everything else") {
  Fixture device;
  auto token = device.token_of({{0, 8}});
  device.rules.add({.match = {.lba = {{100, 100}}}, .action = action::Fail{Status::busy}});
  CHECK(device.write_using(1, token, {{0, 8}}).good());
  CHECK(device.write_using(2, token, {{100, 8}}).status() == Status::busy);
  CHECK(device.receive_rod_token(2, CopyDevice::kDestination)
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_field_in_cdb));
}

TEST_CASE("a background copy goes on as the rule wants after its command was answered") {
  Fixture device;
  auto token = device.token_of({{0, 8}});
  device.on("WRITE USING TOKEN", action::ShortCopy{3});
  CHECK(device.write_using(1, token, {{0, 8}}, 0, 0x01).good());
  device.rules.clear();
  auto result = device.result(1, CopyDevice::kDestination);
  CHECK(result.header.copy_operation_status == 0x03);
  CHECK(result.header.transfer_count == 3);
}
