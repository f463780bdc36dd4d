// Changes of the array clock from outside: what base::ArrayClock has under these names, with an event of kind `clock`
// in the journal before whatever follows from it. `journal` may be null. Thread: the loop's.
#pragma once

#include <cstddef>
#include <optional>

#include "base/array_clock.h"

namespace scsi {
class Journal;
}

namespace target {

void set_clock_mode(base::ArrayClock& clock, const base::ClockMode& mode, scsi::Journal* journal);
std::size_t advance_clock(base::ArrayClock& clock, base::Duration by, scsi::Journal* journal);
/// Nothing happens and nothing is told where no timer is set.
std::optional<base::TimePoint> advance_clock_to_next(base::ArrayClock& clock, scsi::Journal* journal);

}  // namespace target
