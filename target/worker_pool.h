// The threads that do what may block.
//
// As few are awake as keep up: while there is work and one sleeps, one at a time is woken, and finds work or sleeps
// again. So many short jobs that come together cost one wake-up rather than one each, and a job that waits for a device
// holds nobody up. Nobody is woken while a thread that has done its job tells whoever waits for it: what is posted in
// answer is its next. Thread: post() any.
//
// A pool may be nice: then its threads let others go first where they share a processor. What a loop does for a session
// takes microseconds; without this it would wait for the milliseconds that the system lets a copy go on (Linux 6.18).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace target {

class WorkerPool {
 public:
  using Job = std::move_only_function<void()>;

  /// `nice`: added to that of the process, 0 to 19 (nice(2)).
  explicit WorkerPool(unsigned threads, int nice = 0);
  /// Does what was posted first.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Does not wait. Jobs begin in the order of these calls; they throw nothing. `tell`, if any, follows `job` on the
  /// same thread, and does no more than say that it is done.
  void post(Job job, Job tell = {});

  /// How often a sleeping thread was woken.
  std::uint64_t wakes() const;

 private:
  struct Posted {
    Job job, tell;
  };

  void run();
  bool has_to_wake();

  mutable std::mutex mutex_;
  std::condition_variable woken_;
  std::deque<Posted> jobs_;
  unsigned asleep_ = 0;
  unsigned telling_ = 0;
  bool waking_ = false;  ///< one is on its way out of its sleep
  bool ending_ = false;
  std::uint64_t wakes_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace target
