// The event loop: turns, timers, work that may block, signals.
//
// Not tested, and why: a second signal (it ends the process; the system tests do it); how late a timer is (the
// machine's business).
#include "target/event_loop.h"

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <functional>
#include <string>
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

TEST_CASE("a timer that is centuries away lets the loop sleep") {
  EventLoop loop(1);
  int turns = 0;
  loop.at_end_of_turn([&] { ++turns; });
  for (auto when : {loop.clock().now() + std::chrono::hours(24 * 365 * 500), base::TimePoint::max()}) {
    auto id = loop.timers().at(when, [] {});
    boost::asio::steady_timer other(loop.io(), std::chrono::milliseconds(5));
    other.async_wait([&](const boost::system::error_code&) { loop.stop(); });
    turns = 0;
    loop.run();
    CHECK(turns == 1);
    loop.timers().cancel(id);
    loop.io().restart();
  }
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

TEST_CASE("work that gives way is done in its order, each step after everything that is ready") {
  EventLoop loop(1);
  std::string done;
  int turns = 0;
  loop.at_end_of_turn([&] { ++turns; });
  auto ready = [&](char name) { boost::asio::post(loop.io(), [&, name] { loop.turn([&] { done += name; }); }); };
  loop.give_way([&] {
    done += '1';
    loop.give_way([&] {
      done += '3';
      loop.stop();
    });
    ready('b');
    ready('c');
  });
  loop.give_way([&] { done += '2'; });
  ready('a');
  loop.run();
  CHECK(done == "a1bc23");
  CHECK(turns == 7);  // run() begins with one of its own
}

TEST_CASE("work that gives way goes on when there is always something ready") {
  EventLoop loop(1);
  int turns = 0, steps = 0;
  std::function<void()> always = [&] {
    loop.turn([&] { ++turns; });
    boost::asio::post(loop.io(), always);
  };
  std::function<void()> step = [&] {
    if (++steps == 10) return loop.stop();
    loop.give_way(step);
  };
  always();
  loop.give_way(step);
  loop.run();
  CHECK(turns >= 9 * EventLoop::kTurnsBeforeStep);
  CHECK(turns <= 10 * (EventLoop::kTurnsBeforeStep + 2));
}

TEST_CASE("work that gives way and was left when the loop stopped is done when it runs again") {
  EventLoop loop(1);
  int steps = 0;
  for (int i = 0; i < 2; ++i) {
    loop.give_way([&] {
      ++steps;
      loop.stop();
    });
  }
  loop.run();
  CHECK(steps == 1);
  loop.io().restart();
  loop.run();
  CHECK(steps == 2);
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
