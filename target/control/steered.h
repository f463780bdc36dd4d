// What the control interface steers, and what of the process it tells. All of it is others' and outlives it. Thread:
// the loop's.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/array_clock.h"
#include "base/executor.h"
#include "target/arrays.h"
#include "target/config.h"
#include "target/iscsi/session_registry.h"
#include "target/snapshots.h"
#include "target/status_report.h"

namespace target {
class EventLoop;
}

namespace target::control {

/// Where logical units are reached in a portal group.
struct ServedPortal {
  std::uint16_t group = 1;
  std::string address;  ///< "ADDR:PORT"
};

struct Steered {
  Arrays& arrays;
  iscsi::SessionRegistry& sessions;
  Snapshots& snapshots;
  StatusReporter& reporter;
  base::ArrayClock& array_clock;
  EventLoop& loop;                                         ///< its clock is the wire clock
  base::Executor& executor;                                ///< for answers that take several turns
  const Config& started;                                   ///< the configuration at the start
  std::vector<ServedPortal> portals;                       ///< one of each portal group
  bool ready = false;                                      ///< logins are served
  std::set<std::array<std::uint8_t, 16>> luns_at_start{};  ///< designators
  std::string version{};
  base::TimePoint started_at{};  ///< wire clock
};

}  // namespace target::control
