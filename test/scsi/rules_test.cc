// Which commands a rule hits, and when: matching, turns, chance, states.
//
// Not tested, and why: what actions do (rule_actions_test.cc); documents (test/target/rule_document_test.cc).
#include "scsi/rules.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "scsi/journal.h"
#include "scsi/rule_gates.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/copy_fixture.h"

namespace {

using namespace std::chrono_literals;
using scsi::Rule;
using scsi::RuleMatch;
using test::CopyDevice;

struct Fixture : CopyDevice {
  scsi::RuleSet& rules = copies.fabric().rules();
  std::vector<std::string> hits;

  scsi::Journal journal{clock};
  std::shared_ptr<void> reading = journal.subscribe([this](const scsi::Event& event) {
    if (event.kind == scsi::EventKind::rule_hit) hits.push_back(event.rule);
  });

  Fixture() { copies.fabric().set_journal(&journal); }
  ~Fixture() { copies.fabric().set_journal(nullptr); }
  scsi::RuleId add(std::string name, RuleMatch match, std::string set_state = {}) {
    return rules.add({.name = std::move(name), .match = std::move(match), .set_state = std::move(set_state)});
  }
  /// "x" for each of `commands` TEST UNIT READYs that hits, "." for others.
  std::string pattern(int commands) {
    std::string text;
    for (int i = 0; i < commands; ++i) {
      hits.clear();
      run({0, 0, 0, 0, 0, 0});
      text += hits.empty() ? '.' : 'x';
      pass(1s);  // each hit has an event of its own
    }
    return text;
  }
};

RuleMatch of(std::string_view command) { return {.commands = scsi::commands_named(command)}; }

}  // namespace

TEST_CASE("a set concerns the operation codes that its rules are for, and all where one names no command") {
  scsi::RuleSet rules;
  CHECK_FALSE(rules.concern(0x83));
  const auto copy = rules.add({.match = of("WRITE USING TOKEN")});
  rules.add({.match = of("READ")});
  for (unsigned code = 0; code < 256; ++code) {
    CAPTURE(code);
    const bool named = code == 0x83 || code == 0x08 || code == 0x28 || code == 0x88 || code == 0xA8;
    CHECK(rules.concern(static_cast<std::uint8_t>(code)) == named);
  }
  const auto any = rules.add({});
  CHECK(rules.concern(0x00));
  CHECK(rules.concern(0xFF));
  CHECK(rules.remove(any));
  CHECK(rules.remove(copy));
  CHECK_FALSE(rules.concern(0x83));
  CHECK(rules.concern(0x28));
  rules.clear();
  CHECK_FALSE(rules.concern(0x28));
}

TEST_CASE("commands are named by T10's names, for all lengths, and by codes") {
  CHECK(scsi::commands_named("WRITE USING TOKEN") == std::vector<scsi::CommandCode>{{0x83, 0x11}});
  CHECK(scsi::commands_named("write using token").size() == 1);
  CHECK(scsi::commands_named("READ (10)") == std::vector<scsi::CommandCode>{{0x28, {}}});
  CHECK(scsi::commands_named("READ(10)") == scsi::commands_named("READ (10)"));
  CHECK(scsi::commands_named("READ").size() == 4);
  CHECK(scsi::commands_named("2Ah") == std::vector<scsi::CommandCode>{{0x2A, {}}});
  CHECK(scsi::commands_named("83h/11h") == std::vector<scsi::CommandCode>{{0x83, 0x11}});
  for (const char* wrong : {"", "WRITE USING", "83h/20h", "100h", "83h/", "83", "h", "RE"})
    CHECK_MESSAGE(scsi::commands_named(wrong).empty(), wrong);
}

TEST_CASE("a rule is for what its match says, all of it") {
  Fixture device;
  auto hit = [&](RuleMatch match, const std::function<void()>& command) {
    device.rules.clear();
    device.hits.clear();
    device.add("it", std::move(match));
    command();
    return !device.hits.empty();
  };
  auto ready = [&] { device.run({0, 0, 0, 0, 0, 0}); };
  CHECK(hit({}, ready));
  CHECK(hit({.initiator = "iqn.2025-01.example:host"}, ready));
  CHECK(hit({.initiator = "iqn.2025-01.*"}, ready));
  CHECK(hit({.initiator = "*"}, ready));
  CHECK_FALSE(hit({.initiator = "iqn.2025-01.example:hos"}, ready));
  CHECK_FALSE(hit({.initiator = "iqn.2026*"}, ready));
  CHECK(hit({.target = "iqn.2025-01.example:target"}, ready));
  CHECK_FALSE(hit({.target = "iqn.2025-01.example:other"}, ready));
  CHECK(hit({.lun = "0"}, ready));
  CHECK(hit({.lun = "lu0"}, ready));
  CHECK_FALSE(hit({.lun = "1"}, ready));
  CHECK_FALSE(hit({.lun = "lu1"}, ready));
  CHECK(hit(of("TEST UNIT READY"), ready));
  CHECK_FALSE(hit(of("INQUIRY"), ready));
  CHECK_FALSE(hit({.lun = "0", .commands = scsi::commands_named("INQUIRY")}, ready));
  auto read_media = [&] { device.run(test::read_10(100, 8), {}, CopyDevice::kSource); };
  CHECK(hit(of("READ"), read_media));
  CHECK(hit({.lba = {{107, 200}}}, read_media));
  CHECK(hit({.lba = {{0, 100}}}, read_media));
  CHECK_FALSE(hit({.lba = {{0, 99}}}, read_media));
  CHECK_FALSE(hit({.lba = {{108, UINT64_MAX}}}, read_media));
  CHECK_FALSE(hit({.lba = {{0, UINT64_MAX}}}, ready));
  CHECK_FALSE(hit({.token = 1}, ready));
  CHECK(hit({.page = 0x80}, [&] { device.run({0x12, 1, 0x80, 0, 255, 0}); }));
  CHECK_FALSE(hit({.page = 0x83}, [&] { device.run({0x12, 1, 0x80, 0, 255, 0}); }));
  CHECK_FALSE(hit({.page = 0x00}, [&] { device.run({0x12, 0, 0, 0, 255, 0}); }));
}

TEST_CASE("of many hits in a second the first have an event each, and the others are counted in one") {
  Fixture device;
  std::vector<scsi::Event> told;
  auto reading = device.journal.subscribe([&](const scsi::Event& event) {
    if (event.kind == scsi::EventKind::rule_hit) told.push_back(event);
  });
  auto hit = [&](std::uint64_t times) {
    told.clear();
    for (std::uint64_t i = 0; i < times; ++i) device.run({0, 0, 0, 0, 0, 0});
    return told.size();
  };
  constexpr std::uint64_t kTold = scsi::RuleSet::kHitsToldEachSecond;
  const auto id = device.add("busy", {});
  CHECK(hit(kTold) == kTold);
  CHECK(hit(1000) == 0);
  device.pass(1s - 1us);
  CHECK(told.empty());
  device.pass(1us);
  REQUIRE(told.size() == 1);
  CHECK(told.front().left_out == 1000);
  CHECK(told.front().rule == "busy");
  CHECK(device.rules.find(id)->hits == kTold + 1000);  // exact, whatever is told
  CHECK(hit(kTold) == kTold);                          // another second
  device.pass(1s);
  CHECK(hit(0) == 0);  // nothing was left out
  device.pass(1h);
  CHECK(told.empty());
  // The second begins with its first hit, and each rule has its own.
  const auto other = device.add("other", {});
  CHECK(hit(kTold + 1) == 2 * kTold);
  CHECK(device.rules.remove(id));
  REQUIRE(told.size() == 2 * kTold + 1);  // what is left to be told of it is told when it goes
  CHECK((told.back().rule == "busy" && told.back().left_out == 1));
  CHECK(device.rules.find(other)->hits == kTold + 1);
  device.rules.start_over();
  CHECK((told.back().rule == "other" && told.back().left_out == 1));
  CHECK(hit(1) == 1);
  CHECK(!device.copies.timers().next());
}

TEST_CASE("a command that met a rule may outlive the rules and their timers") {
  Fixture device;
  const scsi::Task& task = device.run({0, 0, 0, 0, 0, 0}).task;
  auto timers = std::make_unique<base::TimerQueue>();
  auto rules = std::make_unique<scsi::RuleSet>();
  rules->set_wire_time({&device.clock, timers.get()});
  rules->add({});
  scsi::RuleSet::Hits kept;
  for (unsigned i = 0; i <= scsi::RuleSet::kHitsToldEachSecond; ++i) {
    bool list_awaited = false;
    kept = rules->meet(task, list_awaited);
    REQUIRE(kept.size() == 1);
  }
  CHECK(timers->next());
  rules.reset();
  CHECK(!timers->next());
  timers.reset();
  kept.clear();
}

TEST_CASE("blocks and token of a parameter list are known when it is here") {
  Fixture device;
  auto token = device.token_of({{0, 64}});
  auto other = device.token_of({{64, 64}});
  device.add("token", {.token = 1});
  device.add("blocks", {.lba = {{150, 150}}});
  device.add("elsewhere", {.lba = {{164, 170}}});
  auto sends = [&](const std::function<void()>& command) {
    device.hits.clear();
    command();
    return device.hits;
  };
  using Names = std::vector<std::string>;
  CHECK(sends([&] { device.write_using(1, token, {{100, 64}}); }) == Names{"token", "blocks"});
  CHECK(sends([&] { device.write_using(2, other, {{100, 64}}); }) == Names{"blocks"});
  CHECK(sends([&] { device.populate(3, {{150, 1}}); }) == Names{"blocks"});
  CHECK(sends([&] { device.populate(4, {{170, 1}}); }) == Names{"elsewhere"});
  // A list that is refused names nothing.
  CHECK(sends([&] { device.run(test::out_cdb(0x11, 5, 16), test::Bytes(16), CopyDevice::kDestination); }).empty());
  auto unmap = test::unmap_list({{140, 2}, {150, 1}});
  CHECK(sends([&] {
          device.run(test::unmap_cdb(static_cast<std::uint16_t>(unmap.size())), unmap, CopyDevice::kSource);
        }) == Names{"blocks"});
}

TEST_CASE("SYNCHRONIZE CACHE of no blocks goes to the end") {
  Fixture device;
  device.add("end", {.lba = {{2000, 2000}}});
  device.run(test::cdb_10(0x35, 10, 0), {}, CopyDevice::kSource);
  CHECK(device.hits.size() == 1);
  device.run(test::cdb_10(0x35, 10, 1), {}, CopyDevice::kSource);
  CHECK(device.hits.size() == 1);
}

TEST_CASE("turns: nth, every_nth, count") {
  struct Row {
    RuleMatch match;
    const char* expected;
  };
  const Row rows[] = {
      {{}, "xxxxxxxxxx"},
      {{.nth = 1}, "x........."},
      {{.nth = 3}, "..x......."},
      {{.nth = 3, .count = 2}, "..xx......"},
      {{.every_nth = 1}, "xxxxxxxxxx"},
      {{.every_nth = 3}, "..x..x..x."},
      {{.nth = 2, .every_nth = 3}, ".x..x..x.."},
      {{.nth = 2, .every_nth = 3, .count = 2}, ".x..x....."},
      {{.count = 4}, "xxxx......"},
      {{.nth = 11}, ".........."},
  };
  for (const Row& row : rows) {
    Fixture device;
    auto id = device.add("it", row.match);
    CHECK(device.pattern(10) == row.expected);
    auto listed = device.rules.find(id);
    REQUIRE(listed);
    CHECK(listed->matches == 10);
    CHECK(listed->hits == static_cast<std::uint64_t>(std::ranges::count(std::string_view(row.expected), 'x')));
  }
}

TEST_CASE("only commands that fit have turns") {
  Fixture device;
  device.add("second read", {.commands = scsi::commands_named("READ"), .nth = 2});
  CHECK(device.pattern(3) == "...");
  device.run(test::read_10(0, 1));
  CHECK(device.hits.empty());
  CHECK(device.pattern(1) == ".");
  device.run(test::read_10(0, 1));
  CHECK(device.hits == std::vector<std::string>{"second read"});
}

TEST_CASE("a command that is refused anyway meets no rule") {
  Fixture device;
  device.add("it", {.nth = 1});
  auto nexus = device.server.attach({"iqn.2025-01.example:new", {}, device.server.config().target_name, 1});
  CHECK(device.run({0, 0, 0, 0, 0, 0}, {}, 0, nexus).sense().key == scsi::SenseKey::unit_attention);
  CHECK(device.run({0, 1, 0, 0, 0, 0}).sense().key == scsi::SenseKey::illegal_request);
  CHECK(device.hits.empty());
  CHECK(device.run({0, 0, 0, 0, 0, 0}, {}, 0, nexus).good());
  CHECK(device.hits.size() == 1);
}

TEST_CASE("chance is drawn from the seed: the same in every run, another with another seed") {
  auto draw = [](double probability, std::uint64_t seed) {
    Fixture device;
    device.add("it", {.probability = probability, .seed = seed});
    std::string first = device.pattern(64);
    device.rules.start_over();
    CHECK(device.pattern(64) == first);
    return first;
  };
  CHECK(draw(0.5, 7) == draw(0.5, 7));
  CHECK(draw(0.5, 7) != draw(0.5, 8));
  CHECK(draw(0, 1) == std::string(64, '.'));
  CHECK(draw(1, 1) == std::string(64, 'x'));
  auto often = std::ranges::count(draw(0.9, 3), 'x'), rarely = std::ranges::count(draw(0.1, 3), 'x');
  CHECK(often > 32);
  CHECK(rarely < 32);
}

TEST_CASE("nth alone is one turn, whatever is drawn for it") {
  Fixture device;
  auto id = device.add("it", {.nth = 3, .probability = 0, .seed = 1});
  CHECK(device.pattern(3) == "...");
  CHECK(device.rules.find(id)->spent);
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    device.rules.clear();
    device.add("it", {.nth = 3, .probability = 0.5, .seed = seed});
    CHECK(device.pattern(2) == "..");
    device.pattern(1);
    CHECK(device.pattern(8) == "........");
  }
}

TEST_CASE("count is of hits, not of draws") {
  Fixture device;
  device.add("it", {.count = 3, .probability = 0.5, .seed = 5});
  CHECK(std::ranges::count(device.pattern(64), 'x') == 3);
}

TEST_CASE("states: a hit moves it, for the next command") {
  Fixture device;
  device.add("one", {.when_state = std::string(scsi::RuleSet::kInitialState)}, "first");
  device.add("two", {.when_state = "first"}, "second");
  device.add("three", {.when_state = "second"});
  using Names = std::vector<std::string>;
  device.pattern(1);
  CHECK(device.hits == Names{"one"});
  CHECK(device.rules.state() == "first");
  device.pattern(1);
  CHECK(device.hits == Names{"two"});
  device.pattern(2);
  CHECK(device.hits == Names{"three"});
  device.rules.set_state("first");
  device.pattern(1);
  CHECK(device.hits == Names{"two"});
  device.rules.start_over();
  CHECK(device.rules.state() == "initial");
  CHECK(device.rules.list().front().hits == 0);
}

TEST_CASE("all rules that fit are met, in their order; they can be added and removed from a hit") {
  Fixture device;
  auto one = device.add("one", {});
  auto two = device.add("two", {});
  device.pattern(1);
  CHECK(device.hits == std::vector<std::string>{"one", "two"});
  CHECK(device.rules.remove(one));
  CHECK_FALSE(device.rules.remove(one));
  CHECK_FALSE(device.rules.find(one));
  device.pattern(1);
  CHECK(device.hits == std::vector<std::string>{"two"});
  auto also_reading = device.journal.subscribe([&](const scsi::Event& event) {
    if (event.kind == scsi::EventKind::rule_hit && device.rules.remove(two))
      device.rules.add({.name = "after " + event.rule});
  });
  device.pattern(1);
  REQUIRE(device.rules.list().size() == 1);
  CHECK(device.rules.list().front().rule.name == "after two");
  CHECK(device.rules.list().front().rule.id != two);
}

TEST_CASE("a hit is an event of the journal: the command, the rule and what it does") {
  Fixture device;
  device.rules.add({.name = "slow", .match = of("WRITE USING TOKEN"), .action = scsi::action::ShortCopy{3}});
  device.rules.add({.match = of("READ"), .action = scsi::action::Fail{scsi::Status::busy}});
  device.write_using(7, device.token_of({{0, 8}}), {{100, 8}});
  auto event = std::ranges::find(device.journal.events(), scsi::EventKind::rule_hit, &scsi::Event::kind);
  REQUIRE(event != device.journal.events().end());
  CHECK(event->rule == "slow");
  CHECK(event->command == "WRITE USING TOKEN");
  CHECK(event->list_identifier == 7);
  CHECK(event->lun == scsi::Lun{CopyDevice::kDestination});
  CHECK(event->initiator == "iqn.2025-01.example:host");
  CHECK(event->reason == "rule 1 \"slow\": the copy stops after 3 blocks");
  device.run(test::read_10(0, 1));
  const auto& events = device.journal.events();
  CHECK(events[events.size() - 2].rule == "2");
  CHECK(events.back().kind == scsi::EventKind::refusal);
  CHECK(events.back().status == scsi::Status::busy);
  CHECK(events.back().reason == "rule 2");
}

TEST_CASE("rules of the file are replaced where they are others, and no others are") {
  Fixture device;
  device.add("by hand", {});
  CHECK(device.rules.replace_those_of_file({Rule{.name = "a"}, Rule{.name = "b"}}));
  device.pattern(2);
  CHECK_FALSE(device.rules.replace_those_of_file({Rule{.name = "a"}, Rule{.name = "b"}}));
  CHECK(device.rules.list().back().hits == 2);
  CHECK(device.rules.replace_those_of_file({Rule{.name = "a"}, Rule{.name = "b", .match = {.nth = 2}}}));
  CHECK(device.rules.list().size() == 3);
  CHECK(device.rules.list().back().hits == 0);
  CHECK(device.rules.replace_those_of_file({}));
  REQUIRE(device.rules.list().size() == 1);
  CHECK(device.rules.list().front().rule.name == "by hand");
  CHECK(device.rules.list().front().hits == 2);
}
