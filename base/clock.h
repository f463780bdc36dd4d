// Time, passed in. Nothing but SteadyClock asks the system.
//
// There are two clocks in an array: the *array clock* (tokens, copy durations, retention) may be
// virtual; the *wire clock* (logins, NOPs, TCP) is always a SteadyClock. Resolution: microseconds.
#pragma once

#include <chrono>

namespace base {

using Duration = std::chrono::microseconds;

/// Microseconds since an origin that only the clock knows; never zero for a clock in use, so that a
/// default TimePoint can mean "never".
struct ClockOrigin {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<ClockOrigin>;
};
using TimePoint = std::chrono::time_point<ClockOrigin>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
};

/// CLOCK_MONOTONIC. Thread: any.
class SteadyClock final : public Clock {
 public:
  TimePoint now() const override {
    return TimePoint(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()) +
                     Duration(1));
  }
};

/// Moves only when told to. Thread: the one that advances it.
class VirtualClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  void advance(Duration by) { now_ += by; }

 private:
  TimePoint now_{Duration(1)};
};

}  // namespace base
