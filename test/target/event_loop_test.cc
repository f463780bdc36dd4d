// The event loop: turns, timers, work that may block, signals; and loops beside each other.
//
// Not tested, and why: a second signal (it ends the process; the system tests do it); how late a timer is (the
// machine's business).
#include "target/event_loop.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "target/further_loops.h"

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

TEST_CASE("work that hangs keeps nobody's but its owner's from a worker") {
  EventLoop loop(2);
  const int hung = 0, other = 0;
  std::latch go_on(1);
  int over = 0;
  loop.turn([&] {
    for (int i = 0; i < 8; ++i) loop.post_of(&hung, [&] { go_on.wait(); }, [&] { ++over; });
    // What nobody owns, and another's: each ends the loop only when both are done.
    auto done = [&, left = std::make_shared<int>(2)] {
      if (--*left == 0) loop.stop();
    };
    loop.post([] {}, done);
    loop.post_of(&other, [] {}, done);
  });
  loop.run();
  CHECK(over == 0);
  go_on.count_down();
  loop.finish_posted_work();
  CHECK(over == 8);
}

TEST_CASE("long work runs on threads of its own, which let others go first") {
  EventLoop loop(1, 1);
  std::thread::id usual, own, completion;
  int nice_of_usual = -1, nice_of_own = -1;
  const int here = getpriority(PRIO_PROCESS, 0);
  loop.turn([&] {
    loop.post(
        [&] {
          usual = std::this_thread::get_id();
          nice_of_usual = getpriority(PRIO_PROCESS, 0);
        },
        [] {});
    loop.long_work().post(
        [&] {
          own = std::this_thread::get_id();
          nice_of_own = getpriority(PRIO_PROCESS, 0);
        },
        [&] { completion = std::this_thread::get_id(); });
  });
  loop.finish_posted_work();
  CHECK(own != usual);
  CHECK(completion == std::this_thread::get_id());
  CHECK(nice_of_usual == here);
  CHECK(nice_of_own > nice_of_usual);
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

TEST_CASE("what is to be done soon is done in a turn behind what is ready, and before the loop is finished with") {
  EventLoop loop(1);
  std::vector<int> done;
  loop.turn([&] {
    loop.soon([&] { done.push_back(2); });
    done.push_back(1);
  });
  CHECK(done == std::vector{1});
  loop.finish_posted_work();
  CHECK(done == std::vector{1, 2});
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
    other.async_wait([&](const boost::system::error_code&) { loop.io().stop(); });
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

TEST_CASE("turns are counted but for those that only follow because something is left to do") {
  EventLoop loop(1);
  EventLoop second(loop);
  for (int i = 0; i < 3; ++i) loop.turn([] {});
  second.turn([] {});
  CHECK(loop.turns_of_others() == 4);
  CHECK(second.turns_of_others() == 4);
  int turns = 0;
  loop.at_end_of_turn([&] {
    if (++turns == 5) return loop.stop();
    loop.again();
  });
  loop.run();
  CHECK(loop.turns_of_others() == 5);  // run() begins with one of its own
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

TEST_CASE("a turn is followed by one with the work it was left") {
  EventLoop loop(1);
  std::string done;
  loop.at_end_of_turn([&] { done += '.'; });
  loop.turn([&] {
    loop.again([&] {
      done += 'b';
      loop.again([&] { loop.stop(); });
    });
    done += 'a';
  });
  loop.run();
  CHECK(done == "a..b..");  // run() begins with one of its own
}

TEST_CASE("steps give way, whichever loop's turn asks for them, and none is waited for at the end") {
  EventLoop loop(1);
  EventLoop further(loop);
  std::string done;
  base::Executor& executor = loop;
  further.turn([&] {
    executor.later([&] {
      CHECK(loop.has_turn());
      done += '1';
      executor.later([&] {
        done += '2';
        loop.stop();
      });
      boost::asio::post(loop.io(), [&] { loop.turn([&] { done += 'a'; }); });
    });
  });
  loop.run();
  CHECK(done == "1a2");
  loop.turn([&] { executor.later([&] { done += '3'; }); });
  loop.finish_posted_work();
  CHECK(done == "1a2");
}

TEST_CASE("of steps left for later few wait for a timer where nobody else has a turn") {
  EventLoop loop(1);
  base::Executor& executor = loop;
  constexpr int kMany = 1000;
  int done = 0, timers = 0;
  std::function<void()> step = [&] {
    if (++done == kMany) return loop.stop();
    executor.later([&] { step(); });
  };
  loop.at_end_of_any_turn([&] { timers += loop.timers().size() > 0; });
  executor.later([&] { step(); });
  loop.run();
  CHECK(done == kMany);
  CHECK(timers >= kMany / EventLoop::kStepsWithoutRest - 1);
  CHECK(timers <= kMany / EventLoop::kStepsWithoutRest + 5);
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

namespace {

/// The loop of this thread, and one beside it that runs.
struct TwoLoops {
  TwoLoops() { further.start(); }
  /// Runs the first loop until something stops it, `work` in its first turn.
  template <typename Work>
  void run(Work work) {
    boost::asio::post(first.io(), [this, work] { first.turn(work); });
    first.run();
  }

  EventLoop first{1};
  target::FurtherLoops further{first, 1};
  EventLoop& second = *further.all().front();
};

}  // namespace

TEST_CASE("a loop has no turn while another has one, but while that is outside of it") {
  TwoLoops loops;
  std::atomic<bool> served = false;
  loops.run([&] {
    loops.second.call([&] {
      served = true;
      served.notify_all();
    });
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    CHECK_FALSE(served);
    CHECK(loops.first.has_turn());
    loops.first.outside_turn([&] { served.wait(false); });
    CHECK(loops.first.has_turn());
    loops.first.stop();
  });
  CHECK(served);
}

TEST_CASE("what is called after a turn comes outside of it, behind what ends it and before what is ready") {
  EventLoop first(1), second(first);
  std::string called;
  bool turn_is_free = false;
  first.at_end_of_turn([&] { called += 'e'; });
  first.after_turn([&] {
    called += 'a';
    if (std::exchange(turn_is_free, true)) return;
    CHECK_FALSE(first.has_turn());
    std::jthread([&] { second.turn([&] { called += '2'; }); }).join();
  });
  boost::asio::post(first.io(), [&] { first.turn([&] { called += 't'; }); });
  boost::asio::post(first.io(), [&] {
    called += 'r';
    first.io().stop();
  });
  first.io().run();
  CHECK(called == "tea2r");
}

TEST_CASE("what several threads ask of a loop is done by its thread, what each asks in its order") {
  constexpr int kThreads = 4, kCalls = 2000;
  EventLoop loop(1);
  std::array<int, kThreads> done{};
  int in_order = 0, left = kThreads * kCalls;
  const auto mine = std::this_thread::get_id();
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kCalls; ++i) {
        loop.call([&, thread, i] {
          if (std::exchange(done[static_cast<std::size_t>(thread)], i + 1) == i && std::this_thread::get_id() == mine)
            ++in_order;
          if (--left == 0) loop.stop();
        });
      }
    });
  }
  loop.run();
  CHECK(in_order == kThreads * kCalls);
}

TEST_CASE("another thread may stop a loop that sleeps, and one that does not run yet") {
  EventLoop loop(1);
  std::jthread other([&] { loop.stop(); });
  loop.run();
  EventLoop later(1);
  std::jthread([&] { later.stop(); }).join();
  later.run();
}

TEST_CASE("work in a turn of another loop is done by its thread, work in one of its own at once") {
  TwoLoops loops;
  std::thread::id whose;
  bool at_once = false;
  loops.run([&] {
    loops.second.in_turn([&] {
      whose = std::this_thread::get_id();
      loops.second.in_turn([&] { at_once = true; });
      CHECK(at_once);
      loops.first.stop();
    });
    CHECK(whose == std::thread::id());
  });
  loops.further.stop();
  CHECK(whose != std::thread::id());
  CHECK(whose != std::this_thread::get_id());
}

TEST_CASE("a loop that sleeps wakes for a timer that another one's turn gave it") {
  TwoLoops loops;
  std::thread::id whose;
  loops.run([&] {
    loops.second.timers().at(loops.first.clock().now(), [&] {
      whose = std::this_thread::get_id();
      loops.first.stop();
    });
  });
  loops.further.stop();
  CHECK(whose != std::thread::id());
  CHECK(whose != std::this_thread::get_id());
}

TEST_CASE("work posted in a turn of any loop is completed in a turn of the first") {
  TwoLoops loops;
  std::thread::id whose;
  bool first_has_turn = false;
  loops.run([&] {
    loops.second.in_turn([&] {
      loops.second.post([] {},
                        [&] {
                          whose = std::this_thread::get_id();
                          first_has_turn = loops.first.has_turn();
                          loops.first.stop();
                        });
    });
  });
  CHECK(whose == std::this_thread::get_id());
  CHECK(first_has_turn);
}

TEST_CASE("what is done aside leaves the turn to others, and is answered before its own is over") {
  TwoLoops loops;
  std::atomic<bool> served = false;
  std::string order;
  std::thread::id whose;
  loops.first.at_end_of_turn([&] { order += 'e'; });
  loops.run([&] {
    order += 'w';
    REQUIRE(loops.first.aside());
    auto aside = [&] {
      served.wait(false);
      whose = std::this_thread::get_id();
    };
    loops.first.aside()->post(aside, [&] {
      CHECK(loops.first.has_turn());
      order += 'd';
      loops.first.aside()->post([&] { order += 'a'; }, [&] { order += 'D'; });
    });
    CHECK(order.back() == 'w');
    loops.second.call([&] {
      order += '2';
      served = true;
      served.notify_all();
    });
    loops.first.stop();
  });
  loops.further.stop();
  CHECK(order.ends_with("w2daDe"));
  CHECK(whose == std::this_thread::get_id());
}

TEST_CASE("what the end of a turn brings forth to be done aside is done, and is followed by another end") {
  EventLoop first(1), second(first);
  std::string order;
  second.at_end_of_turn([&] {
    order += 'e';
    if (order == "te") first.aside()->post([&] { order += 'a'; }, [&] { order += 'd'; });
  });
  second.turn([&] { order += 't'; });
  CHECK(order == "teade");
}

TEST_CASE("a loop that is alone does nothing aside") {
  EventLoop loop(1);
  CHECK(loop.aside() == nullptr);
}

TEST_CASE("what is called at the end of any turn comes behind what is called at the end of the loop's own") {
  EventLoop first(1), second(first);
  std::string called;
  first.at_end_of_any_turn([&] { called += '*'; });
  first.at_end_of_turn([&] { called += '1'; });
  second.at_end_of_turn([&] { called += '2'; });
  first.turn([] {});
  second.turn([] {});
  CHECK(called == "1*2*");
}
