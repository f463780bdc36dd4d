#include "target/worker_pool.h"

#include <unistd.h>

#include <utility>

namespace target {

WorkerPool::WorkerPool(unsigned threads, int nice) {
  for (unsigned i = 0; i < threads; ++i)
    threads_.emplace_back([this, nice] {
      // Of this thread alone on Linux. Refused by no system; if it were, the thread would work as others do.
      if (nice > 0) [[maybe_unused]]
        int now = ::nice(nice);
      run();
    });
}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  woken_.notify_all();
  threads_.clear();
}

void WorkerPool::post(Job job, Job tell) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back({std::move(job), std::move(tell)});
    wake = has_to_wake();
  }
  if (wake) woken_.notify_one();
}

std::uint64_t WorkerPool::wakes() const {
  std::lock_guard lock(mutex_);
  return wakes_;
}

/// Called with the mutex. When true, one is woken without it: whoever wakes may take the waker's processor at once, and
/// would give it back to wait for the mutex.
bool WorkerPool::has_to_wake() {
  if (asleep_ == 0 || waking_ || telling_ > 0) return false;
  waking_ = true;
  ++wakes_;
  return true;
}

void WorkerPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (jobs_.empty() && !ending_) {
      ++asleep_;
      woken_.wait(lock);
      --asleep_;
      waking_ = false;
    }
    if (jobs_.empty()) return;
    Posted next = std::move(jobs_.front());
    jobs_.pop_front();
    const bool wake = !jobs_.empty() && has_to_wake();  // this one may wait
    lock.unlock();
    if (wake) woken_.notify_one();
    next.job();
    next.job = nullptr;
    lock.lock();
    if (!next.tell) continue;
    ++telling_;
    lock.unlock();
    next.tell();
    next.tell = nullptr;
    lock.lock();
    --telling_;
  }
}

}  // namespace target
