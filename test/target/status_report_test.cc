// What SIGUSR1 is answered with.
//
// Not tested, and why: that a signal brings it (the system tests); the walk over memory itself (handlers' tests).
#include "target/status_report.h"

#include <doctest/doctest.h>

#include <array>
#include <boost/json.hpp>
#include <vector>

#include "base/clock.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "target/arrays.h"
#include "tokens/token_manager.h"

namespace {

class NoExecutor final : public base::Executor {
 public:
  void post(std::move_only_function<void()>, std::move_only_function<void()>) override {
    FAIL("nothing may block here");
  }
};

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
  NoExecutor executor;
  target::Arrays arrays{target::parse_config(kTwoArrays, "array.toml"), clock, timers, entropy, executor};

  scsi::LogicalUnit& lu(std::size_t array) { return *arrays.all().at(array)->luns().at(0).logical_unit; }

  void write(std::size_t array, std::uint8_t byte) {
    REQUIRE(lu(array).store().write(0, std::vector<std::uint8_t>(kMiB, byte)));
  }

  /// A token of the first MiB.
  void make_token(std::size_t array) {
    const handlers::ByteRange range{0, kMiB};
    auto snapshot = lu(array).store().capture(std::span(&range, 1));
    REQUIRE(snapshot);
    auto rod = base::make_ref<const tokens::Rod>(tokens::RodType::point_in_time_default, std::move(*snapshot),
                                                 tokens::RodSource{lu(array).config().name, 512});
    REQUIRE(arrays.all().at(array)->copy_manager().tokens().create({.rod = std::move(rod),
                                                                    .inactivity_timeout = std::chrono::seconds(60),
                                                                    .creator = scsi::creator_descriptor(lu(array))}));
  }
};

}  // namespace

TEST_CASE("the report lists the tokens of each array with what they represent and how long they live") {
  World world;
  world.write(0, 1);
  world.make_token(0);
  world.clock.advance(std::chrono::seconds(20));
  target::StatusReport report = target::status_report(world.arrays, world.clock.now());
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
  std::uint64_t shared = target::status_report(world.arrays, world.clock.now()).memory_of_tokens;
  CHECK(shared < 64 << 10);  // nodes at most
  world.write(0, 2);
  target::StatusReport report = target::status_report(world.arrays, world.clock.now());
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
  target::StatusReport report = target::status_report(world.arrays, world.clock.now());
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
  CHECK(value.at("arrays").at(1).at("tokens").at(0).at("bytes").to_number<std::uint64_t>() == kMiB);
  CHECK(value.at("arrays").at(1).at("tokens").at(0).at("source") == "w0");
}
