#include "target/clock_changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scsi/journal.h"
#include "scsi/token_words.h"
#include "target/config_clock.h"

namespace target {
namespace {

void tell(scsi::Journal* journal, std::string reason) {
  if (journal) journal->record({.kind = scsi::EventKind::clock, .reason = std::move(reason)});
}

}  // namespace

void set_clock_mode(base::ArrayClock& clock, const base::ClockMode& mode, scsi::Journal* journal) {
  clock.set_mode(mode);
  tell(journal, fmt::format("the array clock is {}", clock_mode_text(mode)));
}

std::size_t advance_clock(base::ArrayClock& clock, base::Duration by, scsi::Journal* journal) {
  tell(journal, fmt::format("the array clock is moved on by {}", scsi::duration_words(by)));
  return clock.advance(by);
}

std::optional<base::TimePoint> advance_clock_to_next(base::ArrayClock& clock, scsi::Journal* journal) {
  auto next = clock.timers().next();
  if (!next) return std::nullopt;
  auto by = std::max(*next - clock.now(), base::Duration(0));
  tell(journal, fmt::format("the array clock is moved on by {}, to what is due next", scsi::duration_words(by)));
  return clock.advance_to_next();
}

}  // namespace target
