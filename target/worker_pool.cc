#include "target/worker_pool.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace target {

WorkerPool::WorkerPool(unsigned most, unsigned most_of_owner, int nice)
    : most_(most), most_of_owner_(most_of_owner), nice_(nice) {
  try {
    std::lock_guard lock(mutex_);
    while (threads_.size() < std::min(most, most_of_owner)) add_thread();
  } catch (const std::exception&) {
    end();  // else those that began would be waited for
    throw;
  }
}

WorkerPool::~WorkerPool() { end(); }

void WorkerPool::end() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  woken_.notify_all();
  threads_.clear();
}

void WorkerPool::post(const void* owner, Job job, Job tell) {
  std::list<Posted> posted;
  posted.push_back({owner, std::move(job), std::move(tell)});
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    Owner& its = owners_[owner];
    if (its.begun == most_of_owner_) return its.waiting.splice(its.waiting.end(), posted);
    ++its.begun;
    jobs_.splice(jobs_.end(), posted);
    wake = has_to_wake();
  }
  if (wake) woken_.notify_one();
}

std::uint64_t WorkerPool::wakes() const {
  std::lock_guard lock(mutex_);
  return wakes_;
}

std::size_t WorkerPool::threads() const {
  std::lock_guard lock(mutex_);
  return threads_.size();
}

/// Called with the mutex. When true, one is woken without it: whoever wakes may take the waker's processor at once, and
/// would give it back to wait for the mutex.
bool WorkerPool::has_to_wake() {
  if (waking_ || telling_ > 0 || ending_) return false;
  waking_ = asleep_ > 0;
  if (waking_) {
    ++wakes_;
    return true;
  }
  try {
    waking_ = threads_.size() < most_;
    if (waking_) add_thread();
  } catch (const std::exception&) {
    waking_ = false;  // those there are do it
  }
  return false;
}

/// Called with the mutex. It begins like one that is woken.
void WorkerPool::add_thread() {
  threads_.emplace_back([this] { run(); });
  ++asleep_;
}

/// Called with the mutex. What its owner has waiting may begin.
void WorkerPool::job_is_over(const void* owner) {
  const auto its = owners_.find(owner);
  auto& [begun, waiting] = its->second;
  if (!waiting.empty()) {
    jobs_.splice(jobs_.end(), waiting, waiting.begin());
  } else if (--begun == 0) {
    owners_.erase(its);
  }
}

void WorkerPool::wakes_up() {
  --asleep_;
  waking_ = false;
}

void WorkerPool::run() {
  // Of this thread alone on Linux. Refused by no system; if it were, the thread would work as others do.
  if (nice_ > 0) [[maybe_unused]]
    int now = ::nice(nice_);
  std::unique_lock lock(mutex_);
  wakes_up();
  for (;;) {
    while (jobs_.empty() && !ending_) {
      ++asleep_;
      woken_.wait(lock);
      wakes_up();
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
    job_is_over(next.owner);
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
