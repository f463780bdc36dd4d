// The order in which the registrations and reservation of one logical unit change, and that what is to outlive a power
// loss is written before it is so.
//
// One change at a time. It is tried on a copy; where it changes what persists, that is written by a ReservationStore,
// on a worker; then it is made. A change that cannot be written is not made. Nobody sees a state that is not kept;
// commands that come meanwhile are judged by the old one. Thread: the loop's.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/executor.h"
#include "scsi/reservations.h"

namespace scsi {

/// Where the bytes of scsi/reservation_image.h are kept for one logical unit.
class ReservationStore {
 public:
  virtual ~ReservationStore() = default;
  /// Puts `image` in the place of what was kept; it survives a loss of power when this returns. May block; one call at
  /// a time. Else the reason, and what was kept before is kept still.
  virtual std::expected<void, std::string> write(base::Bytes image) = 0;
};

class ReservationChanges {
 public:
  /// A service action on the state it is given: on a copy first, then, with nothing changed between but who is
  /// attached, on the real one.
  using Change = std::move_only_function<Reservations::Result(Reservations&)>;
  using Done = std::move_only_function<void(Reservations::Result)>;

  /// `store` null: nothing can persist (PTPL_C=0).
  ReservationChanges(Reservations& reservations, std::unique_ptr<ReservationStore> store)
      : reservations_(reservations), store_(std::move(store)) {}

  bool can_persist() const { return store_ != nullptr; }
  bool busy() const { return busy_; }

  /// Makes `change` after those that were submitted before, then calls `done`, perhaps from inside. `executor` null:
  /// writing does not block. Error of its own: ReservationError::not_persisted.
  void submit(base::Executor* executor, Change change, Done done);

 private:
  struct Entry {
    base::Executor* executor;
    Change change;
    Done done;
  };
  struct Writing {
    Entry entry;
    std::vector<std::uint8_t> image;
    std::expected<void, std::string> outcome{};
  };

  void go_on();
  /// False: it is being written, and go_on() is called when it is.
  bool begin(Entry entry);
  void conclude(Writing& writing);

  Reservations& reservations_;
  std::unique_ptr<ReservationStore> store_;
  std::deque<Entry> waiting_;
  bool busy_ = false;
};

}  // namespace scsi
