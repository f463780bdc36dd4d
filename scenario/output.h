// Results as documents. Thread: any.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "scenario/runner.h"

namespace scenario {

struct OutputOptions {
  std::size_t events = 20;  ///< of the timeline, shown with a failure: so many of the last
  bool all_events = false;  ///< all of them, with every scenario
};

/// "passed", "failed", "skipped".
std::string_view word(Verdict::Kind kind);

/// A line for each scenario, what there is to say about those that failed, and "N passed, N failed, N skipped" at last.
std::string text_of(const std::vector<Result>& results, const OutputOptions& options);

/// Test Anything Protocol, version 13.
std::string tap_of(const std::vector<Result>& results, std::uint64_t seed, const OutputOptions& options);

/// JUnit's XML, a test suite for each file.
std::string junit_of(const std::vector<Result>& results, std::uint64_t seed, const OutputOptions& options);

}  // namespace scenario
