// What SIGUSR1 is answered with.
//
// Not tested, and why: that a signal brings it (the system tests); the walk over memory itself (handlers' tests); how
// long a step takes.
#include "target/status_report.h"

#include <doctest/doctest.h>

#include <array>
#include <boost/json.hpp>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "target/arrays.h"
#include "test/scsi/device_fixture.h"
#include "tokens/token_manager.h"

namespace {

constexpr std::string_view kTwoArrays = R"(
memory_limit = "1G"
[[array]]
name = "east"
id = "e"
[[array]]
name = "west"
id = "w"
[[target]]
array = "east"
name = "iqn.2026-11.org.example:east"
[[target.lun]]
name = "e0"
store = "memory:1G"
[[target]]
array = "west"
name = "iqn.2026-11.org.example:west"
[[target.lun]]
name = "w0"
store = "memory:1G"
)";

constexpr std::uint64_t kMiB = 1 << 20;

struct World {
  base::VirtualClock clock;
  base::TimerQueue timers;
  base::SeededEntropy entropy{7};
  test::HeldExecutor executor;
  target::Arrays arrays{target::parse_config(kTwoArrays, "array.toml"), clock, timers, entropy, executor};

  target::StatusReporter reporter{arrays, clock, executor};

  target::StatusReport report() {
    std::optional<target::StatusReport> made;
    reporter.report([&](const target::StatusReport& report) { made = report; });
    executor.run_all();
    REQUIRE(made);
    return *made;
  }
  scsi::LogicalUnit& lu(std::size_t array) { return *arrays.all().at(array)->luns().at(0).logical_unit; }

  void write(std::size_t array, std::uint8_t byte) {
    REQUIRE(lu(array).store().write(0, std::vector<std::uint8_t>(kMiB, byte)));
  }

  tokens::TokenManager& tokens(std::size_t array) { return arrays.all().at(array)->copy_manager().tokens(); }
  /// A token of the first MiB, or so much.
  tokens::TokenId make_token(std::size_t array, handlers::ByteRange range = {0, kMiB}) {
    auto snapshot = lu(array).store().capture(std::span(&range, 1));
    REQUIRE(snapshot);
    auto rod = base::make_ref<const tokens::Rod>(tokens::RodType::point_in_time_default, std::move(*snapshot),
                                                 tokens::RodSource{lu(array).config().name, 512});
    auto token = tokens(array).create({.rod = std::move(rod),
                                       .inactivity_timeout = std::chrono::seconds(60),
                                       .creator = scsi::creator_descriptor(lu(array))});
    REQUIRE(token);
    return tokens::TokenId{token->copy_manager_rod_token_identifier.value()};
  }
};

}  // namespace

TEST_CASE("the report lists the tokens of each array with what they represent and how long they live") {
  World world;
  world.write(0, 1);
  world.make_token(0);
  world.clock.advance(std::chrono::seconds(20));
  target::StatusReport report = world.report();
  REQUIRE(report.arrays.size() == 2);
  CHECK(report.memory_limit == 1u << 30);
  CHECK(report.arrays[0].name == "east");
  CHECK(report.arrays[1].tokens.empty());
  REQUIRE(report.arrays[0].tokens.size() == 1);
  const target::TokenReport& token = report.arrays[0].tokens[0];
  CHECK(token.source == "e0");
  CHECK(token.type == "point-in-time-default");
  CHECK(token.bytes == kMiB);
  CHECK(token.left == std::chrono::seconds(40));
}

TEST_CASE("the memory of tokens is what no LUN shows any more") {
  World world;
  world.write(0, 1);
  world.make_token(0);
  world.make_token(0);
  std::uint64_t shared = world.report().memory_of_tokens;
  CHECK(shared < 64 << 10);  // nodes at most
  world.write(0, 2);
  target::StatusReport report = world.report();
  CHECK(report.memory_of_tokens >= kMiB);
  CHECK(report.memory_of_tokens < 2 * kMiB);
  // Both represent the old data; it is put down to the first.
  CHECK(report.arrays[0].tokens[0].memory >= kMiB);
  CHECK(report.arrays[0].tokens[1].memory < kMiB);
  CHECK(report.memory_used >= 2 * kMiB);
}

TEST_CASE("the report is a table for people and one line of JSON for programs") {
  World world;
  world.write(1, 1);
  world.make_token(1);
  target::StatusReport report = world.report();
  std::string text = target::status_text(report);
  CHECK(text.starts_with("memory: "));
  CHECK(text.contains("array east, e: 0 tokens, 0 copies under way, 0 results\n"));
  CHECK(text.contains("array west, w: 1 tokens"));
  CHECK(text.contains("w0"));
  CHECK(text.contains("1.0 MiB"));
  CHECK(text.contains("60.0 s"));
  std::string line = target::status_json(report);
  CHECK_FALSE(line.contains('\n'));
  boost::json::value value = boost::json::parse(line);
  CHECK(value.at("event") == "status");
  CHECK(value.at("arrays").at(1).at("token_count") == 1);
  CHECK(value.at("arrays").at(1).at("tokens").at(0).at("bytes").to_number<std::uint64_t>() == kMiB);
  CHECK(value.at("arrays").at(1).at("tokens").at(0).at("source") == "w0");
}

TEST_CASE("a report of much is made in steps, of the tokens there were when it began") {
  World world;
  constexpr std::uint64_t kBlock = 4096;
  constexpr std::size_t kTokens = 2000;
  for (std::uint64_t i = 0; i < kTokens; ++i)  // memory of its own for each
    REQUIRE(world.lu(0).store().write(2 * i * kBlock, std::vector<std::uint8_t>(kBlock, 1)));
  std::vector<tokens::TokenId> all;
  for (std::uint64_t i = 0; i < kTokens; ++i) all.push_back(world.make_token(0, {2 * i * kBlock, kBlock}));
  REQUIRE(world.lu(0).store().unmap({0, 2 * kTokens * kBlock}));
  const tokens::TokenId other = world.make_token(1);
  const std::uint64_t used = world.arrays.memory().budget().used();

  std::optional<target::StatusReport> made;
  world.reporter.report([&](const target::StatusReport& report) { made = report; });
  CHECK_FALSE(made);
  world.make_token(0);  // too late
  std::size_t turns = 0;
  for (; !made && world.executor.end_turn(); ++turns) {
    if (turns == 10) world.tokens(0).revoke(all.back());
    CHECK(turns < kTokens);
  }
  REQUIRE(made);
  CHECK(turns >= kTokens / 64);
  CHECK(made->memory_used == used);
  CHECK(made->arrays[0].token_count == kTokens - 1);
  CHECK(made->arrays[1].token_count == 1);
  CHECK(made->arrays[1].tokens.at(0).id == static_cast<std::uint64_t>(other));
  CHECK(made->arrays[0].tokens.size() == target::StatusReporter::kMostTokens);
  CHECK(made->memory_of_tokens >= (kTokens - 1) * kBlock);
  CHECK(target::status_text(*made).contains(
      "  and " + std::to_string(kTokens - 1 - target::StatusReporter::kMostTokens) + " more"));
  world.executor.run_all();
}

TEST_CASE("the tokens that keep most are told, in the order they were made") {
  World world;
  constexpr std::size_t kTokens = 3 * target::StatusReporter::kMostTokens;
  std::vector<std::uint64_t> large;
  for (std::size_t i = 0; i < kTokens; ++i) {
    world.write(0, static_cast<std::uint8_t>(1 + i % 200));
    const bool is_large = i % 3 == 1;
    const tokens::TokenId id = world.make_token(0, {0, is_large ? kMiB : 4096});
    if (is_large) large.push_back(static_cast<std::uint64_t>(id));
  }
  REQUIRE(world.lu(0).store().unmap({0, kMiB}));
  const target::StatusReport report = world.report();
  std::vector<std::uint64_t> told;
  for (const target::TokenReport& token : report.arrays[0].tokens) told.push_back(token.id);
  CHECK(told == large);
  CHECK(report.arrays[0].token_count == kTokens);
}

TEST_CASE("who asks while a report is made gets the next one, however many ask") {
  World world;
  for (int i = 0; i < 500; ++i) world.make_token(0);
  std::vector<std::size_t> counts;
  const auto note = [&](const target::StatusReport& report) { counts.push_back(report.arrays[0].token_count); };
  world.reporter.report(note);
  world.make_token(0);
  world.reporter.report(note);
  world.make_token(0);
  world.reporter.report(note);
  CHECK(counts.empty());
  std::size_t turns = 0;
  for (; counts.size() < 3 && turns < 1000; ++turns) {
    world.executor.end_turn();
    if (counts.size() == 1) CHECK(turns < 100);
  }
  CHECK(counts == std::vector<std::size_t>{500, 502, 502});
  world.reporter.report(note);
  world.executor.run_all();
  CHECK(counts.back() == 502);
}

TEST_CASE("a reporter that goes while it counts leaves nothing that is done later") {
  World world;
  for (int i = 0; i < 500; ++i) world.make_token(0);
  {
    target::StatusReporter reporter(world.arrays, world.clock, world.executor);
    reporter.report([](const target::StatusReport&) { FAIL("nobody is there"); });
  }
  world.executor.run_all();
}
