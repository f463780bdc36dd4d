#include "scsi/reservation_changes.h"

#include <utility>

#include "base/log.h"
#include "scsi/reservation_image.h"

namespace scsi {

void ReservationChanges::submit(base::Executor* executor, Change change, Done done) {
  waiting_.push_back({executor, std::move(change), std::move(done)});
  if (busy_) return;
  busy_ = true;
  go_on();
}

void ReservationChanges::go_on() {
  while (!waiting_.empty()) {
    Entry entry = std::move(waiting_.front());
    waiting_.pop_front();
    if (!begin(std::move(entry))) return;
  }
  busy_ = false;
}

bool ReservationChanges::begin(Entry entry) {
  Reservations candidate(reservations_);
  Reservations::Result result = entry.change(candidate);
  PersistentState state = candidate.persistent_state();
  if (!result || state == reservations_.persistent_state()) {
    entry.done(result ? entry.change(reservations_) : std::move(result));
    return true;
  }
  base::Executor* executor = entry.executor;
  auto writing = std::make_shared<Writing>(std::move(entry), reservation_image(state));
  auto write = [this, writing] { writing->outcome = store_->write(writing->image); };
  if (!executor) {
    write();
    conclude(*writing);
    return true;
  }
  executor->post(std::move(write), [this, writing] {
    conclude(*writing);
    go_on();
  });
  return false;
}

void ReservationChanges::conclude(Writing& writing) {
  if (writing.outcome) return writing.entry.done(writing.entry.change(reservations_));
  base::log::error("reservations cannot be kept: {}", writing.outcome.error());
  writing.entry.done(std::unexpected(ReservationError::not_persisted));
}

}  // namespace scsi
