// The order in which the registrations and reservation of one logical unit change, and that what is to outlive a power
// loss is written before it is so: as scsi/state_changes.h says. Thread: the loop's.
#pragma once

#include <functional>
#include <memory>

#include "scsi/reservations.h"
#include "scsi/state_changes.h"

namespace scsi {

class ReservationChanges {
 public:
  /// A service action on the state it is given: on a copy first, then, with nothing changed between but who is
  /// attached, on the real one.
  using Change = std::move_only_function<Reservations::Result(Reservations&)>;
  using Done = std::move_only_function<void(Reservations::Result)>;

  /// `store` null: nothing can persist (PTPL_C=0).
  ReservationChanges(Reservations& reservations, std::unique_ptr<StateStore> store)
      : reservations_(reservations), changes_(std::move(store), "reservations") {}

  bool can_persist() const { return changes_.can_keep(); }
  bool busy() const { return changes_.busy(); }

  /// Makes `change` after those that were submitted before, then calls `done`, perhaps from inside. `executor` null:
  /// writing does not block. Error of its own: ReservationError::not_persisted.
  void submit(base::Executor* executor, Change change, Done done);

 private:
  Reservations& reservations_;
  StateChanges changes_;
};

}  // namespace scsi
