// Not tested, and why: SteadyClock (a test of it would have to wait).
#include "base/timer_queue.h"

#include <doctest/doctest.h>

#include <string>

using namespace base;
using namespace std::chrono_literals;

TEST_CASE("a timer fires at its time, not a microsecond before") {
  VirtualClock clock;
  TimerQueue timers;
  int fired = 0;
  timers.at(clock.now() + 10us, [&] { ++fired; });
  clock.advance(9us);
  CHECK(timers.run_due(clock.now()) == 0);
  clock.advance(1us);
  CHECK(timers.run_due(clock.now()) == 1);
  CHECK(fired == 1);
  CHECK_FALSE(timers.next().has_value());
}

TEST_CASE("timers fire in order of time, then of scheduling") {
  VirtualClock clock;
  TimerQueue timers;
  std::string order;
  timers.at(clock.now() + 2us, [&] { order += 'c'; });
  timers.at(clock.now() + 1us, [&] { order += 'a'; });
  timers.at(clock.now() + 1us, [&] { order += 'b'; });
  CHECK(timers.next() == clock.now() + 1us);
  clock.advance(2us);
  timers.run_due(clock.now());
  CHECK(order == "abc");
}

TEST_CASE("a cancelled timer does not fire; cancelling a fired one is harmless") {
  VirtualClock clock;
  TimerQueue timers;
  auto never = timers.at(clock.now(), [] { FAIL("cancelled"); });
  timers.cancel(never);
  auto fired = timers.at(clock.now(), [] {});
  timers.run_due(clock.now());
  timers.cancel(fired);
  timers.cancel(TimerQueue::Id::none);
  CHECK(timers.size() == 0);
}

TEST_CASE("what a timer schedules for now fires in the same run") {
  VirtualClock clock;
  TimerQueue timers;
  int depth = 0;
  timers.at(clock.now(), [&] { timers.at(clock.now(), [&] { ++depth; }); });
  CHECK(timers.run_due(clock.now()) == 2);
  CHECK(depth == 1);
}
