#include "base/array_clock.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace base {
namespace {

__extension__ using Wide = unsigned __int128;
constexpr std::uint64_t kMicro = 1'000'000;
/// Where advance() stops, so that whoever adds a duration to the time can.
constexpr TimePoint kEnd{std::chrono::years(100'000)};

std::uint64_t rate_of(const ClockMode& mode) {
  switch (mode.kind) {
    case ClockMode::Kind::manual: return 0;
    case ClockMode::Kind::real: return kMicro;
    case ClockMode::Kind::scaled: break;
  }
  double factor = std::clamp(mode.factor, ClockMode::kMinimumFactor, ClockMode::kMaximumFactor);
  return static_cast<std::uint64_t>(std::llround(factor * kMicro));
}

}  // namespace

ArrayClock::ArrayClock(const Clock& wire, ClockMode mode)
    : wire_(wire), mode_(mode), rate_(rate_of(mode)), wire_base_(wire.now()) {}

TimePoint ArrayClock::running() const {
  if (rate_ == 0) return base_;
  auto elapsed = static_cast<std::uint64_t>((wire_.now() - wire_base_).count());
  return base_ + Duration(static_cast<std::int64_t>(Wide(elapsed) * rate_ / kMicro));
}

TimePoint ArrayClock::now() const {
  if (firing_) shown_ = *firing_;
  if (!firing_ && advancing_.empty()) shown_ = std::max(shown_, running());
  return shown_;
}

void ArrayClock::set_mode(ClockMode mode) {
  base_ = std::max(running(), shown_);
  wire_base_ = wire_.now();
  mode_ = mode;
  rate_ = rate_of(mode);
}

std::size_t ArrayClock::fire(std::size_t most) {
  std::size_t fired = 0;
  for (; fired < most; ++fired) {
    // Afresh each time: a callback may add what is due earlier than the next, or move the clock on.
    auto due = timers_.next();
    if (!due || *due > running()) break;
    // Somebody may have seen a later time already, where nobody looked at the timers when they were due.
    firing_ = std::max(*due, shown_);
    shown_ = *firing_;
    timers_.run_one(*due);
  }
  firing_.reset();
  end_advance();
  return fired;
}

void ArrayClock::end_advance() {
  if (auto due = timers_.next(); due && *due <= advance_to_) return;
  for (auto& done : std::exchange(advancing_, {})) done();
}

void ArrayClock::begin_advance(Duration by, std::move_only_function<void()> done) {
  assert(!firing_);
  now();  // where it stands from now on
  if (by > Duration::zero() && base_ < kEnd) base_ += std::min(by, kEnd - base_);
  advance_to_ = std::max(advance_to_, running());
  advancing_.push_back(std::move(done));
  end_advance();
}

std::size_t ArrayClock::advance(Duration by) {
  if (by > Duration::zero() && base_ < kEnd) base_ += std::min(by, kEnd - base_);
  return firing_ ? 0 : fire(SIZE_MAX);
}

std::optional<TimePoint> ArrayClock::advance_to_next(TimePoint limit) {
  assert(!firing_);
  auto due = timers_.next();
  if (due && *due <= limit) {
    // Not fire(): where the clock runs, what comes due meanwhile waits for its turn.
    TimePoint at = std::max(*due, shown_);
    if (at > running()) base_ += at - running();
    firing_ = shown_ = at;
    timers_.run_due(*due);
    firing_.reset();
    end_advance();
    return at;
  }
  if (limit != TimePoint::max() && limit > running()) base_ += limit - running();
  return std::nullopt;
}

std::size_t ArrayClock::run_due(std::size_t most) { return firing_ ? 0 : fire(most); }

std::optional<TimePoint> ArrayClock::next_wake() const {
  auto due = timers_.next();
  if (!due) return std::nullopt;
  if (*due <= base_) return wire_base_;
  if (rate_ == 0) return std::nullopt;
  auto left = static_cast<std::uint64_t>((*due - base_).count());
  Wide wire = (Wide(left) * kMicro + rate_ - 1) / rate_;
  auto longest = static_cast<std::uint64_t>((TimePoint::max() - wire_base_).count());
  return wire_base_ + Duration(static_cast<std::int64_t>(std::min(wire, Wide(longest))));
}

}  // namespace base
