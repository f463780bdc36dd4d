// The threads that do what may block.
//
// As few are awake as keep up: while there is work and one sleeps, one at a time is woken, and finds work or sleeps
// again; where none sleeps, one is made. So many short jobs that come together cost one wake-up rather than one each,
// and a job that waits for a device holds nobody up. Nobody is woken while a thread that has done its job tells whoever
// waits for it: what is posted in answer is its next. Thread: post() any.
//
// A device that hangs keeps the threads that wait for it, for ever perhaps. So one owner, as a logical unit is, has a
// few of its jobs under way at a time, and the others wait without keeping anybody else's from their turn.
//
// A pool may be nice: then its threads let others go first where they share a processor. What a loop does for a session
// takes microseconds; without this it would wait for the milliseconds that the system lets a copy go on (Linux 6.18).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace target {

class WorkerPool {
 public:
  using Job = std::move_only_function<void()>;

  /// For up to `most_of_owner` jobs of each owner at a time: so many threads, and up to `most` once they are needed.
  /// `nice`: added to that of the process, 0 to 19 (nice(2)).
  WorkerPool(unsigned most, unsigned most_of_owner, int nice = 0);
  /// Does what was posted first.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Does not wait. The jobs of an owner begin in the order of these calls; they throw nothing. `tell`, if any, follows
  /// `job` on the same thread, and does no more than say that it is done. `owner` is compared, not looked at; null is
  /// one, too.
  void post(const void* owner, Job job, Job tell = {});

  /// How often a sleeping thread was woken.
  std::uint64_t wakes() const;
  std::size_t threads() const;

 private:
  struct Posted {
    const void* owner = nullptr;
    Job job, tell;
  };
  struct Owner {
    unsigned begun = 0;         ///< jobs that run, or may
    std::list<Posted> waiting;  ///< behind them
  };

  void run();
  void end();
  bool call_another();
  void wakes_up();
  void add_thread();
  void job_is_over(const void* owner);

  const unsigned most_;
  const unsigned most_of_owner_;
  const int nice_;
  mutable std::mutex mutex_;
  std::condition_variable woken_;
  std::list<Posted> jobs_;                         ///< that may begin
  std::unordered_map<const void*, Owner> owners_;  ///< who have any, or had
  std::list<Posted> spare_;                        ///< so that a warm pool does not allocate
  unsigned asleep_ = 0;
  unsigned telling_ = 0;
  bool waking_ = false;  ///< one is on its way out of its sleep, or is being made
  bool ending_ = false;
  bool told_of_failure_ = false;
  std::uint64_t wakes_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace target
