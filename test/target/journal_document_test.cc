// Events as JSON, and that the same happenings give the same journal.
//
// Not tested, and why: every kind's keys one by one (an event that has all of them is).
#include "target/journal_document.h"

#include <doctest/doctest.h>

#include <boost/json/parse.hpp>

#include "test/target/journal_world.h"

namespace json = boost::json;
using namespace std::chrono_literals;
using scsi::Event;
using test::JournalWorld;

TEST_CASE("an event has its keys in their order, and none for what it does not have") {
  Event event{.sequence = 9,
              .time = base::ArrayClock::kStart + 3600s + 1us,
              .kind = scsi::EventKind::refusal,
              .array = "east",
              .target = "iqn.t",
              .lun = scsi::Lun{3},
              .logical_unit = "lun3",
              .initiator = "iqn.i",
              .command = "WRITE USING TOKEN",
              .opcode = 0x83,
              .service_action = 0x11,
              .list_identifier = 7,
              .token = scsi::EventToken{"east", 17, tokens::TokenId{0xFEDCBA9876543210}},
              .lba = 1,
              .blocks = 2,
              .bytes = 1024,
              .status = scsi::Status::check_condition,
              .sense = scsi::Sense::illegal_request(scsi::AdditionalSense::invalid_token_operation_token_expired,
                                                    "not shown", scsi::FieldPointer::list(16, 7)),
              .copy_status = tokens::CopyStatus::completed_with_errors,
              .transfer_count = 0,
              .transfer_count_units = tokens::TransferCountUnits::blocks,
              .token_state = tokens::TokenState::expired,
              .rule = "r",
              .reason = "token 17 \"expired\""};
  CHECK(target::event_line(event) ==
        R"({"sequence":9,"time_us":3600000001,"kind":"refusal","array":"east","target":"iqn.t","lun":3,)"
        R"("logical_unit":"lun3","initiator":"iqn.i","command":"WRITE USING TOKEN","opcode":131,"service_action":17,)"
        R"("list_identifier":7,"token":17,"token_array":"east","token_id":"fedcba9876543210","lba":1,"blocks":2,)"
        R"("bytes":1024,"status":"CHECK CONDITION","sense":{"code":"05/23/07","key":5,"asc":35,"ascq":7,)"
        R"("text":"ILLEGAL REQUEST, INVALID TOKEN OPERATION, TOKEN EXPIRED","field":{"in":"data-out","byte":16,)"
        R"("bit":7}},"copy_status":"completed with errors","copy_status_code":2,"transfer_count":0,)"
        R"("transfer_count_units":"blocks","token_state":"expired","rule":"r","reason":"token 17 \"expired\""})"
        "\n");
  CHECK(target::event_line({.sequence = 1, .time = base::ArrayClock::kStart, .kind = scsi::EventKind::clock}) ==
        "{\"sequence\":1,\"time_us\":0,\"kind\":\"clock\"}\n");
}

TEST_CASE("the same commands, seed and times give the same journal, byte for byte") {
  auto run = [](std::uint64_t seed) {
    JournalWorld w(test::kTwoDisks, seed);
    auto first = w.token_of(1);
    w.clock.advance(10s);
    auto second = w.token_of(2, 30);
    w.write_using(3, first);
    w.write_using(4, second, 65);  // longer than the token
    w.clock.advance(90s);
    w.write_using(5, first);
    w.arrays.set_unreachable({{"lun0", "lun1", {}}});
    w.write_using(6, w.token_of(7));
    w.send(0, {0x28, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 1, 0}, {}, 512);
    w.clock.advance(3h);
    return w.lines();
  };
  const std::string once = run(7);
  CHECK(once == run(7));
  CHECK(once != run(8));  // token identifiers are random
  std::size_t lines = 0;
  for (std::size_t at = 0, end = 0; (end = once.find('\n', at)) != std::string::npos; at = end + 1, ++lines)
    CHECK(json::parse(once.substr(at, end - at)).as_object().at("sequence").to_number<std::size_t>() == lines + 1);
  CHECK(lines > 20);
  for (std::string_view kind : {"command", "refusal", "token_created", "token_used", "token_ended", "token_forgotten",
                                "copy_ended", "reachability"})
    CHECK(once.contains("\"kind\":\"" + std::string(kind) + "\""));
}

TEST_CASE("a copy that takes its time is told when it starts and when it ends") {
  JournalWorld w(std::string(test::kTwoDisks) + "[copy]\nrate = 1024\n");  // 64 blocks: 32 s
  auto token = w.token_of(1, 600);
  auto before = w.journal.last();
  base::TimePoint start = w.clock.now();
  CHECK(w.write_using(2, token).good());
  w.clock.advance(2h);
  std::vector<std::pair<scsi::EventKind, base::Duration>> told;
  for (const Event& event : w.journal.since(before)) told.emplace_back(event.kind, event.time - start);
  using Kind = scsi::EventKind;
  CHECK(told == std::vector<std::pair<Kind, base::Duration>>{{Kind::token_used, 0s},
                                                             {Kind::copy_started, 0s},
                                                             {Kind::copy_ended, 32s},
                                                             {Kind::command, 32s},
                                                             {Kind::token_ended, 632s},
                                                             {Kind::token_forgotten, 7200s}});
}
