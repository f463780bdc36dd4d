// The event loop: turns, timers, work that may block, signals.
//
// Not tested, and why: a second signal (it ends the process; the system tests do it); how late a timer is (the
// machine's business).
#include "target/event_loop.h"

#include <doctest/doctest.h>

#include <csignal>
#include <thread>
#include <vector>

using target::EventLoop;

TEST_CASE("posted work runs on another thread and its completion on the loop's") {
  EventLoop loop(2);
  std::thread::id worker, completion;
  loop.turn([&] {
    loop.post([&] { worker = std::this_thread::get_id(); },
              [&] {
                completion = std::this_thread::get_id();
                loop.stop();
              });
  });
  loop.run();
  CHECK(worker != std::this_thread::get_id());
  CHECK(completion == std::this_thread::get_id());
}

TEST_CASE("a completion is never called from inside post()") {
  EventLoop loop(1);
  bool done = false;
  loop.turn([&] {
    loop.post([] {}, [&] { done = true; });
    CHECK_FALSE(done);
  });
  loop.finish_posted_work();
  CHECK(done);
}

TEST_CASE("work that completions post is finished too") {
  EventLoop loop(2);
  int finished = 0;
  constexpr int kPosts = 100;
  std::function<void()> post_next = [&] {
    if (++finished < kPosts) loop.post([] {}, [&] { post_next(); });
  };
  loop.post([] {}, [&] { post_next(); });
  loop.finish_posted_work();
  CHECK(finished == kPosts);
}

TEST_CASE("timers fire in order of time, also those that timers add") {
  EventLoop loop(1);
  std::vector<int> fired;
  auto now = loop.clock().now();
  loop.timers().at(now + base::Duration(2000), [&] {
    fired.push_back(2);
    loop.timers().at(loop.clock().now() + base::Duration(1000), [&] {
      fired.push_back(3);
      loop.stop();
    });
  });
  loop.timers().at(now + base::Duration(1000), [&] { fired.push_back(1); });
  loop.run();
  CHECK(fired == std::vector{1, 2, 3});
}

TEST_CASE("a cancelled timer does not hold up an earlier or a later one") {
  EventLoop loop(1);
  auto now = loop.clock().now();
  bool cancelled_fired = false;
  auto id = loop.timers().at(now + base::Duration(500), [&] { cancelled_fired = true; });
  loop.timers().at(now + base::Duration(1000), [&] { loop.stop(); });
  loop.turn([] {});
  loop.turn([&] { loop.timers().cancel(id); });
  loop.run();
  CHECK_FALSE(cancelled_fired);
}

TEST_CASE("what a turn leaves behind is settled once, when it ends") {
  EventLoop loop(1);
  int settled = 0;
  loop.at_end_of_turn([&] { ++settled; });
  loop.turn([&] { CHECK(settled == 0); });
  CHECK(settled == 1);
}

TEST_CASE("a turn that left something to do is followed by one more, however often it says so") {
  EventLoop loop(1);
  int turns = 0;
  loop.at_end_of_turn([&] {
    if (++turns == 3) return loop.stop();
    loop.again();
    loop.again();
  });
  loop.run();
  CHECK(turns == 3);
}

TEST_CASE("a signal that is asked for again and again is a call in a turn of its own each time") {
  EventLoop loop(1);
  int calls = 0;
  loop.on_each_signal(SIGUSR1, [&] {
    if (++calls == 3) return loop.stop();
    std::raise(SIGUSR1);
  });
  std::raise(SIGUSR1);
  loop.run();
  CHECK(calls == 3);
}

TEST_CASE("SIGTERM is a call on the loop") {
  EventLoop loop(1);
  int received = 0;
  loop.on_signal([&](int signal) {
    received = signal;
    loop.stop();
  });
  std::raise(SIGTERM);
  loop.run();
  CHECK(received == SIGTERM);
}
