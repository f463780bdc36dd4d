// Changes of the array clock from outside, with an event of kind `clock` in the journal before whatever follows from
// it. `journal` may be null. What is due on a clock that is moved happens at once as far as one turn goes, and then in
// later turns (array_time.h); `done` is called behind the last of it, perhaps from inside. Thread: the loop's.
#pragma once

#include <functional>

#include "base/array_clock.h"

namespace scsi {
class Journal;
}

namespace target {

void set_clock_mode(base::ArrayClock& clock, const base::ClockMode& mode, scsi::Journal* journal);
void advance_clock(base::ArrayClock& clock, base::Duration by, scsi::Journal* journal,
                   std::move_only_function<void()> done);
/// To when something is due: some timer is set.
void advance_clock_to_next(base::ArrayClock& clock, scsi::Journal* journal, std::move_only_function<void()> done);

}  // namespace target
