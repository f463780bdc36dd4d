#include "scenario/timeline.h"

#include <fmt/format.h>

namespace scenario {

void Timeline::add(base::Duration at, const std::string& who, const std::string& what) {
  constexpr long long kMicroseconds = 1'000'000;
  const long long time = at.count();
  const std::string line = fmt::format("{:6}.{:06}  {:<12} {}", time / kMicroseconds, time % kMicroseconds, who, what);
  if (line == last_) {
    lines_.back() = fmt::format("{} ({} times)", line, ++times_);
    return;
  }
  last_ = line;
  times_ = 1;
  lines_.push_back(line);
  if (lines_.size() > kKept) lines_.pop_front();
}

}  // namespace scenario
