// The array clock in the event loop: what is due on it wakes the loop up at the right wire time. Thread: the loop's.
#pragma once

#include <cstddef>
#include <optional>

#include "base/array_clock.h"

namespace target {

class EventLoop;

/// Timers of the array clock in one turn: whoever else has something to do has a turn in between.
inline constexpr std::size_t kTimersOfATurn = 1;

/// Has the loop fire what is due on the array clock, in turns of its own, whatever the clock's mode; a clock that
/// stands wakes nobody. Of much that is due there is one step between two looks at what else is ready
/// (EventLoop::again()).
class ArrayTime {
 public:
  /// Both outlive it, and it outlives the loop's turns.
  ArrayTime(EventLoop& loop, base::ArrayClock& clock);

 private:
  void settle();

  EventLoop& loop_;
  base::ArrayClock& clock_;
  base::TimerQueue::Id timer_ = base::TimerQueue::Id::none;
  std::optional<base::TimePoint> timer_at_;
  bool stepping_ = false;  ///< a turn follows, with what is due already
};

}  // namespace target
