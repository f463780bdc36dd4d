// The journal: which events there are, what they say, and when (docs/journal.md).
//
// Not tested here, and why: JSON (test/target/journal_document_test.cc); that a journal costs READ and WRITE nothing
// (allocation_test.cc).
#include "scsi/journal.h"

#include <doctest/doctest.h>

#include "scsi/copy_fabric.h"
#include "test/scsi/copy_fixture.h"

namespace scsi {
namespace {

using test::CopyDevice;
using Kind = EventKind;
using namespace std::chrono_literals;

constexpr std::string_view kHost = "iqn.2025-01.example:host";

struct JournalDevice : CopyDevice {
  explicit JournalDevice(DeviceProfile profile = {}) : CopyDevice(std::move(profile)) {
    copies.fabric().set_journal(&journal);
  }
  std::vector<Kind> kinds(std::uint64_t after = 0) const {
    std::vector<Kind> all;
    for (const Event& event : journal.since(after)) all.push_back(event.kind);
    return all;
  }
  const Event& last() const { return journal.events().back(); }
  /// The last of that kind; the test fails when there is none.
  Event last(Kind kind) const {
    for (auto event = journal.events().rbegin(); event != journal.events().rend(); ++event)
      if (event->kind == kind) return *event;
    FAIL("no such event");
    return {};
  }

  Journal journal{clock};
};

tokens::TokenId id_of(const tokens::RodToken& token) {
  return tokens::TokenId{token.copy_manager_rod_token_identifier.value()};
}

}  // namespace

TEST_CASE("an offloaded copy is in the journal from its token to its end") {
  JournalDevice d;
  REQUIRE(d.populate(7, {{100, 8}, {200, 8}}, {.timeout_s = 60}).good());
  CHECK(d.kinds() == std::vector{Kind::token_created, Kind::copy_ended, Kind::command});
  Event created = d.last(Kind::token_created);
  CHECK(created.token == EventToken{"", 1, created.token->id});
  CHECK(created.bytes == 8192);
  CHECK(created.reason == "token 1 represents 8192 bytes of sparse10, inactivity timeout 60 s");
  const Event populate = d.last();
  CHECK(populate.command == "POPULATE TOKEN");
  CHECK(populate.opcode == 0x83);
  CHECK(populate.service_action == 0x10);
  CHECK(populate.list_identifier == 7);
  CHECK(populate.initiator == kHost);
  CHECK(populate.target == "iqn.2025-01.example:target");
  CHECK(populate.lun == Lun{CopyDevice::kSource});
  CHECK(populate.logical_unit == "sparse10");
  CHECK(populate.status == Status::good);
  CHECK(populate.token == created.token);
  CHECK(populate.lba == 100);
  CHECK(populate.blocks == 16);
  CHECK(populate.sequence == 3);

  auto token = d.result(7, CopyDevice::kSource).token.value();
  CHECK(d.last().command == "RECEIVE ROD TOKEN INFORMATION");
  CHECK(d.last().list_identifier == 7);
  REQUIRE(d.write_using(8, token, {{0, 16}}).good());
  CHECK(d.kinds(4) == std::vector{Kind::token_used, Kind::copy_ended, Kind::command});
  CHECK(d.last(Kind::token_used).reason == "token 1 is used by WRITE USING TOKEN");
  Event ended = d.last(Kind::copy_ended);
  CHECK(ended.copy_status == tokens::CopyStatus::completed);
  CHECK(ended.transfer_count == 16);
  CHECK(ended.command == "WRITE USING TOKEN");
  CHECK(ended.list_identifier == 8);
  CHECK(ended.token == created.token);
  CHECK(ended.lun == Lun{CopyDevice::kDestination});
}

TEST_CASE("a token that expired says for how long, why, and who used it last") {
  JournalDevice d;
  auto token = d.token_of({{0, 8}}, {.timeout_s = 60});
  d.pass(10s);
  REQUIRE(d.write_using(1, token, {{0, 8}}).good());
  d.pass(72s);
  auto before = d.journal.last();
  CHECK(d.last().kind == Kind::token_ended);
  CHECK(d.last().time == d.clock.now() - 12s);
  CHECK(d.last().token_state == tokens::TokenState::expired);
  const std::string why = ": inactivity timeout 60 s, last used by WRITE USING TOKEN from iqn.2025-01.example:host";
  CHECK(d.last().reason == "token 1 expired" + why);

  auto& refused = d.write_using(2, token, {{0, 8}});
  CHECK(refused.failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_expired));
  CHECK(refused.sense().rule == "token 1 expired 12 s ago" + why);
  CHECK(d.kinds(before) == std::vector{Kind::refusal});
  CHECK(d.last().reason == "token 1 expired 12 s ago" + why);
  CHECK(d.last().status == Status::check_condition);
  CHECK(d.last().sense == refused.sense());
  CHECK(d.last().token->number == 1);
}

TEST_CASE("a token nobody used since it was made says so, and one too old says its lifetime") {
  JournalDevice d({.token_lifetime_s = 100});
  d.token_of({{0, 8}}, {.timeout_s = 60});
  d.pass(60s);
  CHECK(d.last().reason ==
        "token 1 expired: inactivity timeout 60 s, never used since it was made by POPULATE TOKEN from "
        "iqn.2025-01.example:host");
  auto old = d.token_of({{0, 8}}, {.timeout_s = 90});
  d.pass(89s);
  REQUIRE(d.write_using(1, old, {{0, 8}}).good());
  d.pass(11s);
  CHECK(d.last(Kind::token_ended).reason ==
        "token 2 expired: lifetime 100 s, last used by WRITE USING TOKEN from iqn.2025-01.example:host");
}

TEST_CASE("whatever ended a token is the reason of later refusals") {
  struct Row {
    std::string_view reason;
    void (*end)(JournalDevice&, tokens::TokenId);
    DeviceProfile profile = {};
  };
  const Row rows[] = {
      {"revoked 5 s ago: on demand", [](auto& d, auto id) { d.copies.tokens().revoke(id); }},
      {"expired 5 s ago: on demand", [](auto& d, auto id) { d.copies.tokens().expire(id); }},
      {"cancelled 5 s ago: on demand", [](auto& d, auto id) { d.copies.tokens().cancel(id); }},
      {"deleted 5 s ago: a command said so (DEL_TKN), never used since it was made by POPULATE TOKEN from "
       "iqn.2025-01.example:host",
       [](auto& d, auto id) { d.copies.tokens().delete_by_client(id); }},
      {"cancelled 5 s ago: its source was formatted, sanitized or ejected",
       [](auto& d, auto) { d.copies.medium_lost(d.lu(CopyDevice::kSource)); }},
      {"cancelled 5 s ago: its source was written",
       [](auto& d, auto) {
         REQUIRE(d.run({0x2A, 0, 0, 0, 0, 3, 0, 0, 1, 0}, test::Bytes(512, 1), CopyDevice::kSource).good());
       },
       {.source_write_cancels = true}},
  };
  for (const Row& row : rows) {
    JournalDevice d(row.profile);
    auto token = d.token_of({{0, 8}}, {.timeout_s = 60});
    row.end(d, id_of(token));
    CHECK(d.last(Kind::token_ended).token->number == 1);
    d.pass(5s);
    CHECK(d.write_using(1, token, {{0, 8}}).sense().rule == "token 1 " + std::string(row.reason));
    CHECK(d.last().reason == "token 1 " + std::string(row.reason));
  }
}

TEST_CASE("a token is forgotten when twice its lifetime has passed, and its number still tells that it was ours") {
  JournalDevice d({.token_lifetime_s = 100});
  auto token = d.token_of({{0, 8}}, {.timeout_s = 60});
  d.pass(200s);
  CHECK(d.last().kind == Kind::token_forgotten);
  CHECK(d.last().time == base::TimePoint(base::Duration(1)) + 200s);
  CHECK(d.write_using(1, token, {{0, 8}}).sense().rule ==
        "token 1 is forgotten: how a token ended is remembered until twice its lifetime has passed");
}

TEST_CASE("an altered token says which one it was made from") {
  JournalDevice d;
  auto token = d.token_of({{0, 8}});
  token.extended.secure_random[0] ^= 1;
  CHECK(d.write_using(1, token, {{0, 8}}).sense().rule == "the token was altered: it says it is token 1");
}

TEST_CASE("a token that ends is in the journal before what was refused for it, though nobody ran timers") {
  JournalDevice d;
  auto token = d.token_of({{0, 8}}, {.timeout_s = 60});
  auto before = d.journal.last();
  d.clock.advance(61s);
  d.write_using(1, token, {{0, 8}});
  CHECK(d.kinds(before) == std::vector{Kind::token_ended, Kind::refusal});
}

TEST_CASE("ends of tokens and copies come in the order of their times") {
  // 8 MiB at 1 MiB a second: 8 s.
  JournalDevice d({.copy_duration = {.bytes_per_second = 1 << 20}});
  d.token_of({{0, 8}}, {.timeout_s = 5});
  auto second = d.token_of({{0, 16384}}, {.timeout_s = 60});
  d.token_of({{0, 8}}, {.timeout_s = 10});
  auto before = d.journal.last();
  auto list = test::write_list(second, {{0, 16384}});
  test::Command& copy = d.send(test::out_cdb(0x11, 9, list.size()), list, CopyDevice::kDestination);
  CHECK(d.kinds(before) == std::vector{Kind::token_used, Kind::copy_started});
  base::TimePoint start = d.clock.now();
  d.pass(3600s);
  CHECK(copy.good());
  auto events = d.journal.since(before + 2);
  std::vector<std::pair<Kind, base::Duration>> told;
  for (const Event& event : events) told.emplace_back(event.kind, event.time - start);
  CHECK(told == std::vector<std::pair<Kind, base::Duration>>{{Kind::token_ended, 5s},
                                                             {Kind::copy_ended, 8s},
                                                             {Kind::command, 8s},
                                                             {Kind::token_ended, 10s},
                                                             {Kind::token_ended, 68s}});
}

TEST_CASE("a copy that is stopped says so") {
  JournalDevice d({.copy_duration = {.bytes_per_second = 1 << 20}});
  auto token = d.token_of({{0, 16384}}, {.timeout_s = 60});
  auto list = test::write_list(token, {{0, 16384}}, 0, 0x02);
  d.send(test::out_cdb(0x11, 9, list.size()), list, CopyDevice::kDestination);
  d.pass(1s);
  REQUIRE(d.abort_copy(9, CopyDevice::kDestination).good());
  Event ended = d.last(Kind::copy_ended);
  CHECK(ended.copy_status == tokens::CopyStatus::terminated);
  CHECK(ended.reason == "stopped by COPY OPERATION ABORT or a reset");
  CHECK(d.last().command == "COPY OPERATION ABORT");
  CHECK(d.last().list_identifier == 9);
}

TEST_CASE("every refusal is in the journal, with the rule; what succeeds is not, unless it is about copies") {
  JournalDevice d;
  REQUIRE(d.run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, CopyDevice::kSource).good());
  REQUIRE(d.run({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, test::Bytes(512, 1), CopyDevice::kSource).good());
  REQUIRE(d.run({0x12, 1, 0x83, 0, 255, 0}, {}, CopyDevice::kSource).good());
  CHECK(d.journal.last() == 0);

  REQUIRE(d.run({0x12, 1, 0x8F, 1, 0, 0}, {}, CopyDevice::kSource).good());
  CHECK(d.last().kind == Kind::command);
  CHECK(d.last().page == 0x8F);
  CHECK(d.last().reason == "VPD page 8Fh offers ODX");

  auto& read = d.run({0x28, 0, 0xFF, 0xFF, 0xFF, 0xF0, 0, 0, 16, 0}, {}, CopyDevice::kSource);
  CHECK(d.last().kind == Kind::refusal);
  CHECK(d.last().command == "READ (10)");
  CHECK(d.last().lba == 0xFFFF'FFF0);
  CHECK(d.last().blocks == 16);
  CHECK(d.last().sense == read.sense());
  CHECK(d.last().reason == read.sense().rule);

  d.run({0xC0, 0, 0, 0, 0, 0});
  CHECK(d.last().command == "CDB C0h");
  CHECK(d.last().reason == "operation code C0h is not supported");
  d.run({0x16, 0, 0, 0, 0, 0});  // RESERVE(6)
  auto other = d.attach("iqn.2025-01.example:other");
  d.run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, 0, other);
  CHECK(d.last().status == Status::reservation_conflict);
  CHECK(d.last().reason == "the logical unit is reserved");
  CHECK(d.last().initiator == "iqn.2025-01.example:other");
  CHECK_FALSE(d.last().sense.has_value());
}

TEST_CASE("logins, logouts and task management functions are in the journal") {
  JournalDevice d;
  auto nexus = d.server.attach({"iqn.2025-01.example:other", {}, "iqn.2025-01.example:target", 1});
  CHECK(d.last().kind == Kind::login);
  CHECK(d.last().initiator == "iqn.2025-01.example:other");
  d.server.manage(TaskManagementFunction::logical_unit_reset, nexus, Lun{0}, 0, [](TaskManagementResponse) {});
  CHECK(d.last().kind == Kind::task_management);
  CHECK(d.last().command == "LOGICAL UNIT RESET");
  CHECK(d.last().logical_unit == "lu0");
  d.server.detach(nexus);
  CHECK(d.last().kind == Kind::logout);
  CHECK(d.last().initiator == "iqn.2025-01.example:other");
}

TEST_CASE("cuts are in the journal when they come and go, and so is what was refused for them") {
  JournalDevice d;
  auto token = d.token_of({{0, 8}});
  auto before = d.journal.last();
  d.copies.fabric().set_cuts({{"sparse10", "sparse11"}, {"sparse10", "sparse12"}});
  d.copies.fabric().set_cuts({{"sparse10", "sparse11"}});
  auto events = d.journal.since(before);
  REQUIRE(events.size() == 3);
  CHECK(events[0].reason == "sparse10 and sparse11 cannot reach each other");
  CHECK(events[2].reason == "sparse10 and sparse12 can reach each other again");
  d.write_using(1, token, {{0, 8}});
  CHECK(d.last().reason == "sparse10 cannot be reached from sparse11");
}

TEST_CASE("the journal keeps the last events, and numbers have no gaps") {
  base::VirtualClock clock;
  Journal journal(clock, 20);
  for (int i = 1; i <= 50; ++i) {
    CHECK(journal.record({.reason = std::to_string(i)}) == static_cast<std::uint64_t>(i));
    clock.advance(1us);
  }
  CHECK(journal.events().size() == 20);
  CHECK(journal.since(0).front().sequence == 31);
  auto some = journal.since(40, 3);
  REQUIRE(some.size() == 3);
  CHECK(some.front().sequence == 41);
  CHECK(some.front().reason == "41");
  CHECK(some.front().time == base::TimePoint(base::Duration(1)) + 40us);
  CHECK(journal.since(50).empty());
  CHECK(journal.since(1000).empty());
  journal.clear();
  CHECK(journal.since(0).empty());
  CHECK(journal.record({}) == 51);
  CHECK(Journal(clock, 0).capacity() == Journal::kLeastEvents);
}

TEST_CASE("subscribers see each event once, in order, what a subscriber records included") {
  base::VirtualClock clock;
  Journal journal(clock);
  std::vector<std::uint64_t> first, second;
  auto one = journal.subscribe([&](const Event& event) {
    first.push_back(event.sequence);
    if (event.sequence == 1) journal.record({.kind = EventKind::rule_hit});
  });
  auto two = journal.subscribe([&](const Event& event) { second.push_back(event.sequence); });
  journal.record({});
  CHECK(first == std::vector<std::uint64_t>{1, 2});
  CHECK(second == std::vector<std::uint64_t>{1, 2});
  one.reset();
  journal.record({});
  CHECK(first.size() == 2);
  CHECK(second == std::vector<std::uint64_t>{1, 2, 3});
}

TEST_CASE("every kind has a name of its own that is found again") {
  for (int kind = 0; kind <= static_cast<int>(EventKind::rule_hit); ++kind) {
    auto each = static_cast<EventKind>(kind);
    CHECK_FALSE(name_of(each).empty());
    CHECK(find_event_kind(name_of(each)) == each);
  }
  CHECK_FALSE(find_event_kind("nothing").has_value());
}

}  // namespace scsi
