// The array clock: tokens, copies and whatever else happens in the array at its time. It runs with the wire clock, or
// faster or slower, or only when it is told to.
//
// Owns the array's timers and fires them, each at its own time: while a callback runs, now() is the time it was due.
// Never goes back, whatever is done to it. Does not wait: target/array_time.h has the event loop wake up when something
// is due, a test or a scenario calls advance(). Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/timer_queue.h"

namespace base {

/// How the array clock moves.
struct ClockMode {
  enum class Kind : std::uint8_t {
    real,    ///< with the wire clock
    manual,  ///< only by advance()
    scaled,  ///< `factor` times as fast as the wire clock
  };
  Kind kind = Kind::real;
  double factor = 1;  ///< of scaled; kMinimumFactor to kMaximumFactor

  static constexpr double kMinimumFactor = 0.001;
  static constexpr double kMaximumFactor = 100'000;  ///< overflows after three years of wire time
  bool operator==(const ClockMode&) const = default;
};

class ArrayClock final : public Clock {
 public:
  /// What it shows first, whatever the wire clock shows.
  static constexpr TimePoint kStart{Duration(1)};
  /// For documents: how long after its start `time` is.
  static constexpr Duration since_start(TimePoint time) { return time - kStart; }

  /// `wire` outlives it.
  explicit ArrayClock(const Clock& wire, ClockMode mode = {});

  TimePoint now() const override;
  TimerQueue& timers() { return timers_; }
  const TimerQueue& timers() const { return timers_; }

  ClockMode mode() const { return mode_; }
  /// From now on; the time it shows stays.
  void set_mode(ClockMode mode);

  /// Moves on by `by`, to 100'000 years, in any mode; fires what is due until then in order of time, what callbacks add
  /// included. Returns how many fired. From inside a callback: moves on when that has returned, and returns 0.
  std::size_t advance(Duration by);

  /// The same step by step: fires nothing itself. run_due() does, as often as it takes, and `done` is called behind the
  /// last that was due; where nothing is, from inside. Until then the clock stands at the time of what fired last, so
  /// that whoever is served between two steps sees no time that has not come. Not from inside a callback.
  void begin_advance(Duration by, std::move_only_function<void()> done);

  /// Moves on to when the earliest timer is due and fires all that is due then. Returns that time. Where there is none
  /// at or before `limit` moves on to `limit` (unless that is forever) and returns nothing. Not from inside a callback.
  std::optional<TimePoint> advance_to_next(TimePoint limit = TimePoint::max());

  /// Fires what is due by now, at most `most` timers; next_wake() tells when there are more.
  std::size_t run_due(std::size_t most = SIZE_MAX);

  /// The time of the *wire* clock at which run_due() has something to do; nothing while nothing is due and the clock
  /// stands.
  std::optional<TimePoint> next_wake() const;

 private:
  /// What it shows by its mode alone.
  TimePoint running() const;
  std::size_t fire(std::size_t most);
  /// Where the last step of begin_advance() was made, says so.
  void end_advance();

  const Clock& wire_;
  TimerQueue timers_;
  ClockMode mode_;
  std::uint64_t rate_ = 0;   ///< microseconds for each second of the wire clock
  TimePoint base_ = kStart;  ///< what it showed ...
  TimePoint wire_base_;      ///< ... at this time of the wire clock
  std::optional<TimePoint> firing_;
  std::vector<std::move_only_function<void()>> advancing_;  ///< who is told when what is due by advance_to_ has fired
  TimePoint advance_to_ = kStart;
  mutable TimePoint shown_ = kStart;  ///< the latest anybody has seen
};

}  // namespace base
