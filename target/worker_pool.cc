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

void WorkerPool::post(Job job) {
  std::lock_guard lock(mutex_);
  jobs_.push_back(std::move(job));
  wake_one();
}

std::uint64_t WorkerPool::wakes() const {
  std::lock_guard lock(mutex_);
  return wakes_;
}

/// Called with the mutex.
void WorkerPool::wake_one() {
  if (asleep_ == 0 || waking_) return;
  waking_ = true;
  ++wakes_;
  woken_.notify_one();
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
    {
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      if (!jobs_.empty()) wake_one();  // this one may wait
      lock.unlock();
      job();
    }
    lock.lock();
  }
}

}  // namespace target
