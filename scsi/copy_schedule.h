// When which byte of a copy is due, so that it seems to take time without anybody working (design.md section 6).
// Pure arithmetic on the array clock. Thread: any.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "scsi/device_profile.h"

namespace scsi {

class CopySchedule {
 public:
  CopySchedule(const CopyDuration& duration, base::TimePoint start) : duration_(duration), start_(start) {}

  /// Whether a copy of `bytes` takes no time at all.
  bool instant() const { return duration_.latency_us == 0 && duration_.bytes_per_second == 0; }

  /// Whether all blocks are to change together.
  bool at_once() const { return !instant() && duration_.completion == CopyDuration::Completion::at_once; }

  /// When `bytes` from the start are done, to the microsecond.
  base::TimePoint due(std::uint64_t bytes) const {
    constexpr std::uint64_t kMicroseconds = 1'000'000;
    std::uint64_t rate = duration_.bytes_per_second, moving = 0;
    if (rate != 0) moving = bytes / rate * kMicroseconds + bytes % rate * kMicroseconds / rate;
    return start_ + base::Duration(duration_.latency_us + moving);
  }

  /// How many of the `left` bytes change together next: all of them, or what a tenth of a second moves, in whole
  /// `unit`s.
  std::uint64_t piece(std::uint64_t left, std::uint64_t unit) const {
    if (duration_.bytes_per_second == 0 || duration_.completion == CopyDuration::Completion::at_once) return left;
    constexpr std::uint64_t kPiecesPerSecond = 10;
    std::uint64_t piece = duration_.bytes_per_second / kPiecesPerSecond / unit * unit;
    return std::min(left, std::max(piece, unit));
  }

 private:
  CopyDuration duration_;
  base::TimePoint start_;
};

}  // namespace scsi
