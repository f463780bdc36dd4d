#include "target/clock_changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scsi/journal.h"
#include "scsi/token_words.h"
#include "target/array_time.h"
#include "target/config_clock.h"

namespace target {
namespace {

void tell(scsi::Journal* journal, std::string reason) {
  if (journal) journal->record({.kind = scsi::EventKind::clock, .reason = std::move(reason)});
}

void move_on(base::ArrayClock& clock, base::Duration by, std::move_only_function<void()> done) {
  clock.begin_advance(by, std::move(done));
  clock.run_due(kTimersOfATurn);
}

}  // namespace

void set_clock_mode(base::ArrayClock& clock, const base::ClockMode& mode, scsi::Journal* journal) {
  clock.set_mode(mode);
  tell(journal, fmt::format("the array clock is {}", clock_mode_text(mode)));
}

void advance_clock(base::ArrayClock& clock, base::Duration by, scsi::Journal* journal,
                   std::move_only_function<void()> done) {
  tell(journal, fmt::format("the array clock is moved on by {}", scsi::duration_words(by)));
  move_on(clock, by, std::move(done));
}

void advance_clock_to_next(base::ArrayClock& clock, scsi::Journal* journal, std::move_only_function<void()> done) {
  auto by = std::max(clock.timers().next().value() - clock.now(), base::Duration(0));
  tell(journal, fmt::format("the array clock is moved on by {}, to what is due next", scsi::duration_words(by)));
  move_on(clock, by, std::move(done));
}

}  // namespace target
