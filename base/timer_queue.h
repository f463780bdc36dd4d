// What is due when. Owns callbacks, not time: the event loop (or a test) asks next(), waits however it
// likes, and calls run_due(). Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/clock.h"

namespace base {

class TimerQueue {
 public:
  enum class Id : std::uint64_t { none = 0 };
  using Callback = std::move_only_function<void()>;

  /// Calls `callback` once, from the first run_due() at or after `when`. Equal times fire in the order
  /// they were scheduled.
  Id at(TimePoint when, Callback callback);

  /// Forgets a timer; one that fired already or was never given out is ignored.
  void cancel(Id id);

  /// When the earliest timer is due.
  std::optional<TimePoint> next() const;

  /// Fires everything due at `now`, in order of time, including what the callbacks add that is due.
  /// Returns how many fired.
  std::size_t run_due(TimePoint now);
  /// Fires the earliest timer if it is due at `now`. Returns whether it was.
  bool run_one(TimePoint now);

  std::size_t size() const { return by_id_.size(); }

 private:
  using Key = std::pair<TimePoint, Id>;
  std::map<Key, Callback> timers_;
  std::unordered_map<Id, TimePoint> by_id_;
  std::uint64_t last_id_ = 0;
};

}  // namespace base
