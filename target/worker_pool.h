// The threads that do what may block.
//
// As few are awake as keep up: while there is work and one sleeps, one at a time is woken, and finds work or sleeps
// again. So many short jobs that come together cost one wake-up rather than one each, and a job that waits for a device
// holds nobody up. Thread: post() any.
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

  explicit WorkerPool(unsigned threads);
  /// Does what was posted first.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Does not wait. Jobs begin in the order of these calls; they throw nothing.
  void post(Job job);

  /// How often a sleeping thread was woken.
  std::uint64_t wakes() const;

 private:
  void run();
  void wake_one();

  mutable std::mutex mutex_;
  std::condition_variable woken_;
  std::deque<Job> jobs_;
  unsigned asleep_ = 0;
  bool waking_ = false;  ///< one is on its way out of its sleep
  bool ending_ = false;
  std::uint64_t wakes_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace target
