// What happened in a scenario, line by line, in order: what a failure shows the end of, and what two runs of one seed
// have in common byte for byte. Thread: one.
#pragma once

#include <cstddef>
#include <deque>
#include <string>

#include "base/clock.h"

namespace scenario {

class Timeline {
 public:
  static constexpr std::size_t kKept = 100'000;

  /// "   12.000500  host a        WRITE USING TOKEN: ...", `at` since the scenario began. What happens again at once is
  /// counted in the same line. The oldest line goes when there are too many.
  void add(base::Duration at, const std::string& who, const std::string& what);

  const std::deque<std::string>& lines() const { return lines_; }

 private:
  std::deque<std::string> lines_;
  std::string last_;       ///< the last line, without its count
  std::size_t times_ = 0;  ///< it happened
};

}  // namespace scenario
