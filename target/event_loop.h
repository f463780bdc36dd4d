// The turns in which protocol, SCSI state, tokens and memory stores are touched, and the few threads behind them that
// may block.
//
// Owns the I/O context, the wire clock's timers, the worker threads and the signals. Knows no protocol: target/
// tcp_server.h brings the sockets. Work is done in turns: whatever woke the loop is served, then everything the turn
// left behind (output of any connection, the next timer) is settled once. Work that gives way is done step by step,
// when nothing else is ready. Nothing polls for long; an idle loop sleeps.
//
// There may be further loops beside the first, each with a thread, sockets and timers of its own. Only one of them has
// its turn at a time, so what is touched in turns alone needs no lock; system calls on sockets leave the turn to
// others (outside_turn()). With one loop there is nothing to exclude. What other threads have for a loop they leave
// behind a mutex that the loop takes only when it was woken for it, so that no turn of I/O takes a lock.
#pragma once

#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/executor.h"
#include "base/timer_queue.h"

namespace boost::asio {
class io_context;
}

namespace target {

class EventLoop final : public base::Executor {
 public:
  /// With up to so many threads for post() and for each owner of post_of(), kMostWorkers in all; and for long_work().
  explicit EventLoop(unsigned workers, unsigned long_workers = 1);
  /// A further loop: its turns and those of `first` exclude each other, and the workers of `first` are its own. Made
  /// before any of them runs; `first` outlives it.
  explicit EventLoop(EventLoop& first);
  ~EventLoop() override;

  /// Runs turns until stop().
  void run();
  /// Ends run() after the current turn. Thread: any.
  void stop();
  /// `work` in a turn of this loop, soon. Thread: any.
  void call(std::move_only_function<void()> work);

  /// The wire clock and its timers.
  const base::Clock& clock() const;
  base::TimerQueue& timers();

  /// Executor: `work` runs on a worker thread, `done` in a later turn of the first loop. Called in a turn of any.
  void post(std::move_only_function<void()> work, std::move_only_function<void()> done) override;
  void post_of(const void* owner, std::move_only_function<void()> work, std::move_only_function<void()> done) override;
  static constexpr unsigned kMostWorkers = 64;
  /// Its workers have a tenth of the weight of other threads.
  base::Executor& long_work() override;
  /// Where there are further loops. Called in a turn of any: what that loop is given there, it does at the end of the
  /// turn, outside of it, and the turn goes on.
  base::Executor* aside() override;
  /// In a turn of the first loop, behind what is ready by now.
  void soon(std::move_only_function<void()> call) override;
  /// give_way() of the first loop, with rests. Called in a turn of any.
  void later(std::move_only_function<void()> step) override;

  /// Waits until no posted work is left and runs what it left to do; for the end of the process.
  void finish_posted_work();

  /// Called at the end of every turn of this loop, in the order of these calls; what it captures lives as long as turns
  /// run.
  void at_end_of_turn(std::function<void()> callback);
  /// Called after every turn of this loop, outside of it and before anything else that the loop does: for system calls
  /// that the turn leaves to be made.
  void after_turn(std::function<void()> callback);
  /// Called at the end of the turns of all loops, behind those of the loop whose turn it is.
  void at_end_of_any_turn(std::function<void()> callback);
  /// There is more to do at the end of a turn: another one follows, after what waits already. Called in a turn of any
  /// loop.
  void again();
  /// The same, with `work` in that turn; none follows once the loop has ended. It is one of many steps, and there are
  /// rests: the loop sleeps for a moment when somebody else had a turn since the last step, and after
  /// kStepsWithoutRest. One that never sleeps keeps whoever shares its processor from it for milliseconds, until the
  /// scheduler takes it away; to sleep costs more than a step.
  void again(std::move_only_function<void()> work);
  static constexpr int kStepsWithoutRest = 16;
  /// The turns of all loops so far without those of again() with no work. Called in a turn of any.
  std::uint64_t turns_of_others() const;

  /// A turn with `step` in it, once nothing else is ready. When there is always something, it comes all the same:
  /// one such step after everything that is ready, and after kTurnsBeforeStep turns. In the order of these calls.
  void give_way(std::move_only_function<void()> step);
  static constexpr int kTurnsBeforeStep = 16;

  /// One turn: everything that wakes the loop passes through here. Thread: the loop's.
  template <typename Work>
  void turn(Work&& work) {
    {
      const Turn turn(*this);
      work();
      settle();
    }
    turn_is_over();
  }
  /// Whether the turn is this loop's; asked in a turn of any.
  bool has_turn() const;
  /// `work` in a turn of this loop: at once when it has the turn, else soon. Called in a turn of any.
  void in_turn(std::move_only_function<void()> work);
  /// Called in a turn of this loop: others may have theirs while `work` runs, which touches only what stays in place
  /// meanwhile.
  template <typename Work>
  void outside_turn(Work&& work) {
    leave_turn();
    work();
    take_turn();
  }

  /// Calls `callback` for the first SIGINT, SIGTERM or SIGHUP; the next one ends the process at once.
  void on_signal(std::function<void(int)> callback);

  /// Calls `callback` each time `signal` comes.
  void on_each_signal(int signal, std::function<void()> callback);

  /// Thread: the loop's alone; even posting to it needs call() from others.
  boost::asio::io_context& io();

 private:
  struct Turn {
    explicit Turn(EventLoop& its_loop) : loop(its_loop) { loop.take_turn(); }
    ~Turn() { loop.leave_turn(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    EventLoop& loop;
  };

  void take_turn();
  void leave_turn();
  void settle();
  void do_asides();
  void end_turn();
  void turn_is_over();

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace target
