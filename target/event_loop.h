// The one thread where protocol, SCSI state, tokens and memory stores live, and the few behind it that may block.
//
// Owns the I/O context, the wire clock's timers, the worker threads and the signals. Knows no protocol: target/
// tcp_server.h brings the sockets. Work is done in turns: whatever woke the loop is served, then everything the turn
// left behind (output of any connection, the next timer) is settled once. Work that gives way is done step by step,
// when nothing else is ready. Nothing polls for long; an idle loop sleeps.
#pragma once

#include <csignal>
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
  explicit EventLoop(unsigned workers);
  ~EventLoop() override;

  /// Runs turns until stop().
  void run();
  /// Ends run() after the current turn. Thread: the loop's.
  void stop();

  /// The wire clock and its timers.
  const base::Clock& clock() const;
  base::TimerQueue& timers();

  /// Executor: `work` runs on a worker thread, `done` in a later turn. Thread: the loop's.
  void post(std::move_only_function<void()> work, std::move_only_function<void()> done) override;

  /// Waits until no posted work is left and runs what it left to do; for the end of the process.
  void finish_posted_work();

  /// Called at the end of every turn, in the order of these calls; what it captures lives as long as turns run.
  void at_end_of_turn(std::function<void()> callback);
  /// There is more to do at the end of a turn: another one follows, after what waits already.
  void again();

  /// A turn with `step` in it, once nothing else is ready. When there is always something, it comes all the same:
  /// one such step after everything that is ready, and after kTurnsBeforeStep turns. In the order of these calls.
  void give_way(std::move_only_function<void()> step);
  static constexpr int kTurnsBeforeStep = 16;

  /// One turn: everything that wakes the loop passes through here.
  template <typename Work>
  void turn(Work&& work) {
    work();
    end_turn();
  }

  /// Calls `callback` for the first SIGINT, SIGTERM or SIGHUP; the next one ends the process at once.
  void on_signal(std::function<void(int)> callback);

  /// Calls `callback` each time `signal` comes.
  void on_each_signal(int signal, std::function<void()> callback);

  boost::asio::io_context& io();

 private:
  void end_turn();

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace target
