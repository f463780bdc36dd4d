// What /metrics tells, in Prometheus' text format. Thread: the loop's.
#pragma once

#include <string>

namespace target::control {

struct Steered;

/// Counts and levels that are kept anyway: it walks sessions, LUNs and arrays, not tokens and not memory.
std::string metrics_text(const Steered& steered);

}  // namespace target::control
