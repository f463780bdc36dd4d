// The order in which what is kept of a logical unit changes, and that it is written before it is so.
//
// One change at a time. It is tried on a copy; where it changes what is kept, that is written by a StateStore, on a
// worker; then it is made. A change that cannot be written is not made. Nobody sees a state that is not kept; commands
// that come meanwhile are judged by the old one. Knows no state of its own: reservation_changes.h and
// unit_settings.h do. Thread: the loop's.
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

namespace scsi {

/// Where the bytes of one kind (scsi/state_image.h) are kept for one logical unit.
class StateStore {
 public:
  virtual ~StateStore() = default;
  /// Puts `image` in the place of what was kept; it survives a loss of power when this returns. May block; one call at
  /// a time. Else the reason, and what was kept before is kept still.
  virtual std::expected<void, std::string> write(base::Bytes image) = 0;
};

/// Those of one logical unit; null: not kept.
struct StateStores {
  std::unique_ptr<StateStore> reservations{};
  std::unique_ptr<StateStore> settings{};
};

class StateChanges {
 public:
  using Image = std::vector<std::uint8_t>;
  /// Tries a change on a copy: what is to be kept when it is made; nothing: as much as is kept now.
  using Attempt = std::move_only_function<std::optional<Image>()>;
  /// Makes it; with `kept` false it could not be written, and is not to be made.
  using Conclude = std::move_only_function<void(bool kept)>;

  /// `store` null: nothing is kept, and no attempt returns an image. `what` is kept, for the log.
  StateChanges(std::unique_ptr<StateStore> store, std::string what)
      : store_(std::move(store)), what_(std::move(what)) {}

  bool can_keep() const { return store_ != nullptr; }
  /// A change is being written.
  bool busy() const { return busy_; }

  /// Attempts and concludes after those that were submitted before, perhaps from inside. `executor` null: writing does
  /// not block.
  void submit(base::Executor* executor, Attempt attempt, Conclude conclude);

 private:
  struct Entry {
    base::Executor* executor;
    Attempt attempt;
    Conclude conclude;
  };
  struct Writing {
    Entry entry;
    Image image;
    std::expected<void, std::string> outcome{};
  };

  void go_on();
  /// False: it is being written, and go_on() is called when it is.
  bool begin(Entry entry);
  void conclude(Writing& writing);

  std::unique_ptr<StateStore> store_;
  std::string what_;
  std::deque<Entry> waiting_;
  bool busy_ = false;
};

}  // namespace scsi
