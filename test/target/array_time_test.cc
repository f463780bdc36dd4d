// The array clock in the event loop, [clock] and --clock, and events of the clock's changes.
//
// Not tested, and why: how late a timer is (the machine's business). That logins and NOP-Ins do not follow the array
// clock is in clock_test.py.
#include "target/array_time.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <vector>

#include "scsi/journal.h"
#include "target/clock_changes.h"
#include "target/config_clock.h"
#include "target/event_loop.h"

using namespace std::chrono_literals;
using base::ArrayClock;
using base::ClockMode;
using Kind = base::ClockMode::Kind;
using target::EventLoop;

namespace {

constexpr std::string_view kSmallest = "[[target]]\n[[target.lun]]\nstore = \"memory:1G\"\n";

std::string error_of(const std::string& top) {
  try {
    target::parse_config(top + std::string(kSmallest), "array.toml");
  } catch (const target::ConfigError& error) {
    return error.what();
  }
  return "";
}

target::Config parsed(const std::string& top) {
  return target::parse_config(top + std::string(kSmallest), "array.toml");
}

}  // namespace

TEST_CASE("hours of array time pass in the loop as fast as the clock is scaled, each timer at its time") {
  EventLoop loop(1);
  ArrayClock clock(loop.clock(), {Kind::scaled, 100'000});
  target::ArrayTime time(loop, clock);
  std::vector<base::Duration> fired;
  for (auto at : {5min, 1min, 2min})
    clock.timers().at(ArrayClock::kStart + at, [&, at] {
      fired.push_back(at);
      CHECK(ArrayClock::since_start(clock.now()) >= at);
      if (fired.size() == 3) loop.stop();
    });
  loop.run();
  CHECK(fired == std::vector<base::Duration>{1min, 2min, 5min});
}

TEST_CASE("a clock that stands wakes nobody; what an advance leaves due happens in the loop's next turns") {
  EventLoop loop(1);
  ArrayClock clock(loop.clock(), {Kind::manual});
  target::ArrayTime time(loop, clock);
  bool fired = false;
  clock.timers().at(ArrayClock::kStart + 1s, [&] { fired = true; });
  loop.turn([] {});
  CHECK(loop.timers().size() == 0);
  clock.advance(1s);
  CHECK(fired);
  // More than one turn does at once.
  constexpr int kMany = 1000;
  int count = 0;
  for (int i = 0; i < kMany; ++i)
    clock.timers().at(clock.now(), [&] {
      if (++count == kMany) loop.stop();
    });
  loop.run();
  CHECK(count == kMany);
}

TEST_CASE("a long advance leaves turns to others, and is over when all that was due has happened") {
  EventLoop loop(1);
  ArrayClock clock(loop.clock(), {Kind::manual});
  target::ArrayTime time(loop, clock);
  constexpr std::size_t kMany = 1000;
  std::size_t fired = 0, before = 0, most = 0;
  for (std::size_t i = 0; i < kMany; ++i)
    clock.timers().at(ArrayClock::kStart + 1s, [&] {
      ++fired;
      CHECK(ArrayClock::since_start(clock.now()) == 1s);
    });
  loop.at_end_of_turn([&] {
    most = std::max(most, fired - before);
    before = fired;
  });
  loop.timers().at(loop.clock().now(), [&] {
    target::advance_clock(clock, 5s, nullptr, [&] {
      CHECK(fired == kMany);
      CHECK(ArrayClock::since_start(clock.now()) == 5s);
      loop.stop();
    });
    CHECK(fired <= target::kTimersOfATurn);
    CHECK(ArrayClock::since_start(clock.now()) == 1s);  // for whoever is served meanwhile
  });
  loop.run();
  CHECK(fired == kMany);
  CHECK(most <= target::kTimersOfATurn);
}

TEST_CASE("what is due already is done in turns of its own, few of which wait for a timer") {
  EventLoop loop(1);
  ArrayClock clock(loop.clock(), {Kind::manual});
  target::ArrayTime time(loop, clock);
  constexpr int kMany = 1000;
  int fired = 0, timers = 0;
  for (int i = 0; i < kMany; ++i)
    clock.timers().at(ArrayClock::kStart + 1s, [&] {
      if (++fired == kMany) loop.stop();
    });
  loop.at_end_of_any_turn([&] { timers += loop.timers().size() > 0; });  // behind what sets it
  loop.timers().at(loop.clock().now(), [&] { target::advance_clock(clock, 5s, nullptr, [] {}); });
  loop.run();
  CHECK(fired == kMany);
  CHECK(timers >= kMany / EventLoop::kStepsWithoutRest - 1);
  CHECK(timers <= kMany / EventLoop::kStepsWithoutRest + 5);
}

TEST_CASE("what is due already leaves others their turn") {
  EventLoop loop(1);
  ArrayClock clock(loop.clock(), {Kind::manual});
  target::ArrayTime time(loop, clock);
  constexpr int kMany = 1000;
  int fired = 0, others = 0, longest = 0, since_other = 0;
  for (int i = 0; i < kMany; ++i)
    clock.timers().at(ArrayClock::kStart + 1s, [&] {
      longest = std::max(longest, ++since_other);
      if (++fired == kMany) loop.stop();
    });
  std::function<void()> other = [&] {  // what is ready all the time
    loop.turn([&] {
      ++others;
      since_other = 0;
    });
    boost::asio::post(loop.io(), other);
  };
  loop.timers().at(loop.clock().now(), [&] {
    target::advance_clock(clock, 5s, nullptr, [] {});
    boost::asio::post(loop.io(), other);
  });
  loop.run();
  CHECK(fired == kMany);
  CHECK(longest <= 2);
  CHECK(others >= kMany / 2);
}

TEST_CASE("a change of the clock's mode wakes the loop for what is due then") {
  EventLoop loop(1);
  ArrayClock clock(loop.clock(), {Kind::manual});
  target::ArrayTime time(loop, clock);
  clock.timers().at(ArrayClock::kStart + 60s, [&] { loop.stop(); });
  loop.timers().at(loop.clock().now(), [&] { clock.set_mode({Kind::scaled, 100'000}); });
  loop.run();
  CHECK(ArrayClock::since_start(clock.now()) >= 60s);
}

TEST_CASE("changes of the clock are in the journal, before what they lead to") {
  base::VirtualClock wire;
  ArrayClock clock(wire, {Kind::manual});
  scsi::Journal journal(clock);
  clock.timers().at(ArrayClock::kStart + 90s, [&] { journal.record({.kind = scsi::EventKind::token_ended}); });
  int done = 0;
  target::advance_clock(clock, 60s, &journal, [&] { ++done; });
  target::advance_clock_to_next(clock, &journal, [&] { ++done; });
  CHECK(clock.now() == ArrayClock::kStart + 90s);
  target::set_clock_mode(clock, {Kind::scaled, 60}, &journal);
  target::advance_clock(clock, 1500ms, nullptr, [&] { ++done; });
  CHECK(done == 3);
  std::vector<std::string> told;
  for (const scsi::Event& event : journal.events())
    told.push_back(std::string(scsi::name_of(event.kind)) + ": " + event.reason);
  CHECK(told == std::vector<std::string>{"clock: the array clock is moved on by 60 s",
                                         "clock: the array clock is moved on by 30 s, to what is due next",
                                         "token_ended: ", "clock: the array clock is scaled:60"});
}

TEST_CASE("a clock's mode is read and written as text") {
  for (std::string_view text : {"real", "manual", "scaled:60", "scaled:0.5", "scaled:100000"})
    CHECK(target::clock_mode_text(target::parse_clock_mode(text).value()) == text);
  for (std::string_view text :
       {"", "fast", "scaled", "scaled:", "scaled:0", "scaled:-1", "scaled:1e9", "scaled:2x", "scaled:nan"})
    CHECK_FALSE(target::parse_clock_mode(text).has_value());
}

TEST_CASE("[clock] and [journal] are read, and their errors named") {
  CHECK(parsed("").clock == ClockMode{});
  CHECK(parsed("").journal == target::JournalConfig{4096, ""});
  CHECK(parsed("[clock]\nmode = \"manual\"\n").clock == ClockMode{Kind::manual});
  CHECK(parsed("[clock]\nmode = \"scaled\"\nfactor = 60\n").clock == ClockMode{Kind::scaled, 60});
  CHECK(parsed("[clock]\nmode = \"scaled\"\nfactor = 0.5\n").clock == ClockMode{Kind::scaled, 0.5});
  CHECK(parsed("[journal]\nevents = 100\nfile = \"j\"\n").journal == target::JournalConfig{100, "j"});
  CHECK(parsed("[journal]\nevents = 0\n").journal.events == 0);
  CHECK(error_of("[clock]\n") == "array.toml:1:1: clock.mode is missing; expected \"real\", \"manual\" or \"scaled\"");
  CHECK(error_of("[clock]\nmode = \"fast\"\n") ==
        "array.toml:2:8: clock.mode is \"fast\"; expected \"real\", \"manual\" or \"scaled\"");
  CHECK(error_of("[clock]\nmode = \"scaled\"\n") ==
        "array.toml:1:1: clock.factor is missing; expected how many times as fast as real time the array clock goes");
  CHECK(error_of("[clock]\nmode = \"scaled\"\nfactor = 0\n") ==
        "array.toml:3:10: clock.factor is 0; expected a number from 0.001 to 100000");
  CHECK(error_of("[clock]\nmode = \"real\"\nfactor = 2\n") == "array.toml:3:10: clock.factor is for mode = \"scaled\"");
  CHECK(error_of("[journal]\nevents = 3\n") ==
        "array.toml:2:10: journal.events is 3; expected 0 for no journal, or 16 to 1000000");
  CHECK(error_of("[journal]\nevents = 0\nfile = \"j\"\n") ==
        "array.toml:3:8: journal.file is for a journal; expected events of 16 or more");
}
