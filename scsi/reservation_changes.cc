#include "scsi/reservation_changes.h"

#include <optional>
#include <utility>

#include "scsi/reservation_image.h"

namespace scsi {

void ReservationChanges::submit(base::Executor* executor, Change change, Done done) {
  struct Entry {
    Change change;
    Done done;
    std::optional<ReservationError> refused{};
  };
  auto entry = std::make_shared<Entry>(std::move(change), std::move(done));
  auto attempt = [this, entry]() -> std::optional<StateChanges::Image> {
    Reservations candidate(reservations_);
    Reservations::Result result = entry->change(candidate);
    if (!result) {
      entry->refused = result.error();
      return {};
    }
    PersistentState state = candidate.persistent_state();
    if (state == reservations_.persistent_state()) return {};
    return reservation_image(state);
  };
  auto conclude = [this, entry](bool kept) {
    if (entry->refused) return entry->done(std::unexpected(*entry->refused));
    if (!kept) return entry->done(std::unexpected(ReservationError::not_persisted));
    entry->done(entry->change(reservations_));
  };
  changes_.submit(executor, std::move(attempt), std::move(conclude));
}

}  // namespace scsi
