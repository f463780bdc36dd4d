// Whether to write on the loop's thread where nothing promises that it does not wait.
//
// A write into the page cache of a local file system hardly ever waits: for a page that has to be read, for the
// journal, or because more is dirty than the system allows. So it is done while none takes long, and one that did is
// paid for: none on the loop's thread for kRest times as long, so that the loop stands still for a small part of its
// time at most. What workers meanwhile see of such waits counts as well: nobody tries again while it goes on.
// (docs/decisions/0013)
//
// Thread: may_begin() and took() the loop's; worker_took() any.
#pragma once

#include <algorithm>
#include <atomic>

#include "base/clock.h"

namespace handlers {

class PromptWrites {
 public:
  /// A write that took less has not waited, or not so that others feel it: many times what 64 KiB take.
  static constexpr base::Duration kLong = std::chrono::microseconds(200);
  /// A worker may stand aside for other threads for a while; what the system makes it wait is more.
  static constexpr base::Duration kLongOnWorker = std::chrono::milliseconds(10);
  static constexpr int kRest = 20;
  /// So that others do hundreds of commands between two waits, however short.
  static constexpr base::Duration kShortestRest = std::chrono::milliseconds(20);

  bool may_begin(base::TimePoint now) const { return now >= not_before_.load(std::memory_order_relaxed); }
  void took(base::TimePoint began, base::TimePoint ended) {
    if (ended - began >= kLong) [[unlikely]]
      rest(ended, ended - began);
  }
  void worker_took(base::TimePoint began, base::TimePoint ended) {
    if (ended - began >= kLongOnWorker) [[unlikely]]
      rest(ended, ended - began);
  }

 private:
  void rest(base::TimePoint now, base::Duration waited) {
    const base::TimePoint time = now + std::max(kRest * waited, kShortestRest);
    base::TimePoint before = not_before_.load(std::memory_order_relaxed);
    while (before < time && !not_before_.compare_exchange_weak(before, time, std::memory_order_relaxed)) {
    }
  }

  std::atomic<base::TimePoint> not_before_{};
};

}  // namespace handlers
