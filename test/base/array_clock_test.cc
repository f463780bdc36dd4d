// Not tested, and why: that somebody wakes up at next_wake() (test/target/array_time_test.cc, with the event loop).
#include "base/array_clock.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace base;
using namespace std::chrono_literals;
using Kind = ClockMode::Kind;

namespace {

constexpr ClockMode kManual{Kind::manual};

struct ClockFixture {
  VirtualClock wire;
  ArrayClock clock;
  std::vector<std::pair<char, Duration>> fired;

  explicit ClockFixture(ClockMode mode = {}) : clock(started(wire), mode) {}

  static VirtualClock& started(VirtualClock& wire) {
    wire.advance(77h);  // a machine that is up for days
    return wire;
  }
  Duration time() const { return ArrayClock::since_start(clock.now()); }
  void at(Duration when, char name) {
    clock.timers().at(ArrayClock::kStart + when, [this, name] { fired.emplace_back(name, time()); });
  }
  /// Wire time from now until something is due.
  std::optional<Duration> wake_in() const {
    auto wake = clock.next_wake();
    return wake ? std::optional(*wake - wire.now()) : std::nullopt;
  }
};

using Fired = std::vector<std::pair<char, Duration>>;

}  // namespace

TEST_CASE("the array clock starts at its start, whatever the wire clock shows") {
  for (ClockMode mode : {ClockMode{}, kManual, ClockMode{Kind::scaled, 60}}) {
    ClockFixture f(mode);
    CHECK(f.time() == 0us);
  }
}

TEST_CASE("a real clock goes with the wire clock, a manual one stands") {
  ClockFixture real, manual(kManual);
  real.wire.advance(5s);
  manual.wire.advance(5s);
  CHECK(real.time() == 5s);
  CHECK(manual.time() == 0us);
}

TEST_CASE("a scaled clock is exact to the microsecond") {
  ClockFixture fast({Kind::scaled, 3600});
  fast.wire.advance(1us);
  CHECK(fast.time() == 3600us);
  fast.wire.advance(100h - 1us);
  CHECK(fast.time() == 360'000h);
  ClockFixture slow({Kind::scaled, 0.001});
  slow.wire.advance(999us);
  CHECK(slow.time() == 0us);
  slow.wire.advance(1us);
  CHECK(slow.time() == 1us);
}

TEST_CASE("advancing fires what is due, in order, each at its own time") {
  ClockFixture f(kManual);
  f.at(3s, 'c');
  f.at(1s, 'a');
  f.at(1s, 'b');
  f.at(10s, 'd');
  CHECK(f.clock.advance(10s - 1us) == 3);
  CHECK(f.fired == Fired{{'a', 1s}, {'b', 1s}, {'c', 3s}});
  CHECK(f.time() == 10s - 1us);
  CHECK(f.clock.advance(1us) == 1);
  CHECK(f.fired.back() == std::pair('d', Duration(10s)));
}

TEST_CASE("an advance step by step shows no time that has not come, and says when it is over") {
  ClockFixture f(kManual);
  f.at(1s, 'a');
  f.at(2s, 'b');
  f.at(3s, 'd');
  f.at(11s, 'z');
  int done = 0;
  f.clock.begin_advance(10s, [&] { ++done; });
  CHECK(f.time() == 0us);
  CHECK(f.clock.run_due(2) == 2);
  CHECK(f.time() == 2s);
  f.at(2s + 1us, 'c');  // of somebody who was served in between
  CHECK(f.clock.run_due(1) == 1);
  CHECK(done == 0);
  CHECK(f.clock.run_due(1) == 1);
  CHECK(f.fired == Fired{{'a', 1s}, {'b', 2s}, {'c', 2s + 1us}, {'d', 3s}});
  CHECK(done == 1);
  CHECK(f.time() == 10s);
  f.clock.begin_advance(500ms, [&] { ++done; });
  CHECK(done == 2);
  CHECK(f.time() == 10s + 500ms);
}

TEST_CASE("two advances under way are over together, and the clock has moved by both") {
  ClockFixture f(kManual);
  f.at(1s, 'a');
  int done = 0;
  f.clock.begin_advance(2s, [&] { ++done; });
  f.clock.begin_advance(3s, [&] { ++done; });
  CHECK(done == 0);
  CHECK(f.clock.run_due() == 1);
  CHECK(done == 2);
  CHECK(f.time() == 5s);
}

TEST_CASE("what a callback adds fires in the same advance, at its time, before what is due later") {
  ClockFixture f(kManual);
  f.clock.timers().at(ArrayClock::kStart + 1s, [&] {
    f.at(1s, 'a');
    f.at(2s, 'b');
    f.at(20s, 'z');
  });
  f.at(3s, 'c');
  CHECK(f.clock.advance(10s) == 4);
  CHECK(f.fired == Fired{{'a', 1s}, {'b', 2s}, {'c', 3s}});
}

TEST_CASE("a timer that a callback cancels does not fire") {
  ClockFixture f(kManual);
  TimerQueue::Id never{};
  f.at(1s, 'a');
  f.clock.timers().at(ArrayClock::kStart + 2s, [&] { f.clock.timers().cancel(never); });
  never = f.clock.timers().at(ArrayClock::kStart + 2s, [] { FAIL("cancelled"); });
  CHECK(f.clock.advance(3s) == 2);
}

TEST_CASE("advance_to_next stops at each event") {
  ClockFixture f(kManual);
  f.at(1s, 'a');
  f.at(1s, 'b');
  f.at(4s, 'c');
  CHECK(f.clock.advance_to_next() == ArrayClock::kStart + 1s);
  CHECK(f.fired == Fired{{'a', 1s}, {'b', 1s}});
  CHECK(f.time() == 1s);
  CHECK_FALSE(f.clock.advance_to_next(ArrayClock::kStart + 3s).has_value());
  CHECK(f.time() == 3s);
  CHECK(f.clock.advance_to_next(ArrayClock::kStart + 4s) == ArrayClock::kStart + 4s);
  CHECK(f.fired.size() == 3);
  CHECK_FALSE(f.clock.advance_to_next().has_value());
  CHECK(f.time() == 4s);
}

TEST_CASE("a running clock can be advanced too, and goes on from there") {
  ClockFixture f;
  f.at(3s, 'a');
  f.wire.advance(1s);
  CHECK(f.clock.advance(5s) == 1);
  CHECK(f.fired == Fired{{'a', 3s}});
  f.wire.advance(1s);
  CHECK(f.time() == 7s);
  f.at(10s, 'b');
  CHECK(f.clock.advance_to_next() == ArrayClock::kStart + 10s);
  f.wire.advance(1s);
  CHECK(f.time() == 11s);
}

TEST_CASE("an advance from inside a callback happens when the callback has returned") {
  ClockFixture f(kManual);
  f.clock.timers().at(ArrayClock::kStart + 1s, [&] {
    CHECK(f.clock.advance(10s) == 0);
    CHECK(f.time() == 1s);
  });
  f.at(5s, 'a');
  f.at(12s, 'b');
  CHECK(f.clock.advance(2s) == 3);
  CHECK(f.fired == Fired{{'a', 5s}, {'b', 12s}});
  CHECK(f.time() == 12s);
}

TEST_CASE("no change of mode moves time back or lets it jump") {
  ClockFixture f;
  Duration last{};
  auto change = [&](ClockMode mode) {
    f.clock.set_mode(mode);
    CHECK(f.clock.mode() == mode);
    CHECK(f.time() == last);
  };
  f.wire.advance(10s);
  last = 10s;
  change(kManual);
  f.wire.advance(1h);
  CHECK(f.time() == last);
  change({Kind::scaled, 0.5});
  f.wire.advance(4s);
  last += 2s;
  CHECK(f.time() == last);
  change({});
  f.wire.advance(1s);
  last += 1s;
  change({Kind::scaled, 1000});
  f.wire.advance(1ms);
  last += 1s;
  change(kManual);
}

TEST_CASE("time is not seen to go back by a timer that fires late") {
  ClockFixture f;
  f.at(1s, 'a');
  f.at(3s, 'b');
  f.wire.advance(2s);
  CHECK(f.time() == 2s);  // somebody asks before the loop has come round to the timer
  f.wire.advance(2s);
  f.clock.run_due();
  CHECK(f.fired == Fired{{'a', 2s}, {'b', 3s}});
  CHECK(f.time() == 4s);
}

TEST_CASE("next_wake is the wire time at which something is due, rounded up") {
  ClockFixture real;
  CHECK_FALSE(real.wake_in().has_value());
  real.at(10s, 'a');
  real.wire.advance(4s);
  CHECK(real.wake_in() == 6s);
  real.wire.advance(6s - 1us);
  CHECK(real.clock.run_due() == 0);
  real.wire.advance(1us);
  CHECK(real.clock.run_due() == 1);

  ClockFixture scaled({Kind::scaled, 3});
  scaled.at(10us, 'a');
  CHECK(scaled.wake_in() == 4us);
  scaled.wire.advance(3us);
  CHECK(scaled.clock.run_due() == 0);
  scaled.wire.advance(1us);
  CHECK(scaled.clock.run_due() == 1);
  CHECK(scaled.fired == Fired{{'a', 10us}});
}

TEST_CASE("a standing clock wakes nobody, unless something is due already") {
  ClockFixture f(kManual);
  f.at(1s, 'a');
  CHECK_FALSE(f.wake_in().has_value());
  f.clock.advance(500ms);
  f.at(500ms, 'b');
  CHECK(f.wake_in() <= 0us);
  CHECK(f.clock.run_due() == 1);
  CHECK_FALSE(f.wake_in().has_value());
}

TEST_CASE("what is never due is far away on the wire clock, not in its past") {
  ClockFixture f({Kind::scaled, 0.001});
  f.clock.timers().at(TimePoint::max(), [] {});
  CHECK(f.clock.next_wake() == TimePoint::max());
}

TEST_CASE("a clock that is moved on for ever shows its last time, and still goes on from there with nothing lost") {
  ClockFixture f(kManual);
  for (int i = 0; i < 20; ++i) {
    const TimePoint before = f.clock.now();
    f.clock.advance(base::Duration::max());
    CHECK(f.clock.now() >= before);
  }
  CHECK(f.clock.now() < TimePoint::max() - std::chrono::years(100'000));
  const TimePoint due = f.clock.now() + 1s;
  f.clock.timers().at(due, [] {});
  CHECK(f.clock.advance_to_next() == due);
}

TEST_CASE("run_due can be told to stop after some; the others are due at once") {
  ClockFixture f;
  for (char name : {'a', 'b', 'c'}) f.at(1s, name);
  f.wire.advance(1s);
  CHECK(f.clock.run_due(2) == 2);
  CHECK(f.wake_in() <= 0us);
  CHECK(f.clock.run_due(2) == 1);
  CHECK(f.fired == Fired{{'a', 1s}, {'b', 1s}, {'c', 1s}});
}
