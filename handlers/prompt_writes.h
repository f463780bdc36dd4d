// Whether to write on the loop's thread where nothing promises that it does not wait.
//
// A write into the page cache of a local file system hardly ever waits: for a page that has to be read, for the
// journal, or because more is dirty than the system allows. So it is done while none takes long. One that did may have
// waited, or others may have had the processor meanwhile; so those that follow are watched, for kRest times as long.
// Where one of them takes long because it waited, that is paid for: none on the loop's thread for kRest times as long,
// and what follows is watched for as long again. So the loop stands still for one part in ten of its time at most.
// What workers meanwhile see of such waits counts as well: nobody tries again while it goes on. (docs/decisions/0013)
//
// Thread: worker_took_long() any, all others the loop's.
#pragma once

#include <algorithm>
#include <atomic>

#include "base/clock.h"

namespace handlers {

class PromptWrites {
 public:
  /// A write that took less has not waited, or not so that others feel it: many times what 64 KiB take.
  static constexpr base::Duration kLong = std::chrono::microseconds(200);
  /// A worker may wait for other workers for a while; what the system makes it wait is more.
  static constexpr base::Duration kLongOnWorker = std::chrono::milliseconds(10);
  static constexpr int kRest = 20;
  /// So that others do hundreds of commands between two waits, however short.
  static constexpr base::Duration kShortestRest = std::chrono::milliseconds(20);

  bool may_begin(base::TimePoint now) const { return now >= not_before_.load(std::memory_order_relaxed); }
  /// Whether to find out why a write that begins now takes long, should it.
  bool watched(base::TimePoint now) const { return now < watched_until_; }
  static bool long_for_loop(base::Duration took) { return took >= kLong; }
  static bool long_for_worker(base::Duration took) { return took >= kLongOnWorker; }

  /// `waited`: that is known to be why; else others had the processor, or nobody looked.
  void took_long(base::TimePoint began, base::TimePoint ended, bool waited) {
    const base::Duration while_after = pause(ended - began);
    watched_until_ = std::max(watched_until_, ended + while_after);
    if (!waited) return;
    rest_until(ended + while_after);
    watched_until_ = std::max(watched_until_, ended + 2 * while_after);
  }
  /// A write of a worker, which waited.
  void worker_took_long(base::TimePoint began, base::TimePoint ended) { rest_until(ended + pause(ended - began)); }

 private:
  static base::Duration pause(base::Duration waited) { return std::max(kRest * waited, kShortestRest); }
  void rest_until(base::TimePoint time) {
    base::TimePoint before = not_before_.load(std::memory_order_relaxed);
    while (before < time && !not_before_.compare_exchange_weak(before, time, std::memory_order_relaxed)) {
    }
  }

  std::atomic<base::TimePoint> not_before_{};
  base::TimePoint watched_until_{};
};

}  // namespace handlers
