#include "target/worker_pool.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/log.h"

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
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    Owner& its = owners_[owner];
    if (spare_.empty()) spare_.emplace_back();
    spare_.front() = {owner, std::move(job), std::move(tell)};
    const bool begins = its.begun < most_of_owner_;
    std::list<Posted>& where = begins ? jobs_ : its.waiting;
    where.splice(where.end(), spare_, spare_.begin());
    if (!begins) return;
    ++its.begun;
    wake = call_another();
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

/// Called with the mutex, where there is a job. When true, one is woken without it: whoever wakes may take the waker's
/// processor at once, and would give it back to wait for the mutex.
bool WorkerPool::call_another() {
  if (waking_ || telling_ > 0 || ending_) return false;
  waking_ = asleep_ > 0;
  if (waking_) {
    ++wakes_;
    return true;
  }
  try {
    waking_ = threads_.size() < most_;
    if (waking_) add_thread();
  } catch (const std::exception& error) {
    waking_ = false;
    if (!std::exchange(told_of_failure_, true))
      base::log::warning("{} worker threads do what {} may: {}", threads_.size(), most_, error.what());
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
  } else if (--begun == 0 && owners_.size() > most_) {
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
    spare_.splice(spare_.end(), jobs_, jobs_.begin());
    const bool wake = !jobs_.empty() && call_another();  // this one may wait
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
