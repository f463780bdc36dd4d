// The state of a logical unit's medium: whether it is in, whether it is being formatted or sanitized, whether one of
// these left it unusable, who keeps it from being taken out, and whether the logical unit itself is being removed.
//
// State only: what changes the medium's blocks stands in medium_erasure.h. Thread: the loop's.
#pragma once

#include <cstdint>
#include <optional>
#include <set>

#include "scsi/sense.h"
#include "scsi/status.h"

namespace scsi {

class Medium {
 public:
  /// What changes all of it (SBC-3 4.11, 5.3).
  enum class Operation : std::uint8_t { none, format, sanitize };

  /// What an operation that failed left: until the next one succeeds, commands that need the medium fail.
  enum class Damage : std::uint8_t {
    none,
    format_corrupted,       ///< 03/31/00
    sanitize_restricted,    ///< 03/31/03, AUSE was 0
    sanitize_unrestricted,  ///< 03/31/03, AUSE was 1: EXIT FAILURE MODE ends it
  };

  /// Nothing stands in the way of commands that need the medium. One comparison for each command.
  bool usable() const { return usable_; }
  /// Why not, when it is not: 05/25/00, 02/04/04 and 02/04/1B with progress, 02/3A/00, 03/31/00, 03/31/03.
  Sense condition() const;

  /// The logical unit is being removed: for good.
  bool removed() const { return removed_; }
  void remove();

  bool present() const { return present_; }
  void set_present(bool present);

  Operation operation() const { return operation_; }
  void begin(Operation operation);
  /// In 65536ths (SPC-4 4.5.2.4.4).
  void set_progress(std::uint16_t progress) { progress_ = progress; }
  /// The process ends, or the logical unit is removed: nothing is begun any more.
  void stop_operation() { stopped_ = true; }
  bool operation_stopped() const { return stopped_; }
  /// The operation is over.
  void end(Damage damage);

  Damage damage() const { return damage_; }
  /// EXIT FAILURE MODE.
  void forget_damage();

  /// PREVENT ALLOW MEDIUM REMOVAL (SPC-4 6.15), for each I_T nexus.
  bool removal_prevented() const { return !preventing_.empty(); }
  void prevent_removal(NexusId nexus) { preventing_.insert(nexus); }
  void allow_removal(NexusId nexus) { preventing_.erase(nexus); }
  void allow_removal_for_all() { preventing_.clear(); }

 private:
  void changed() { usable_ = !removed_ && present_ && operation_ == Operation::none && damage_ == Damage::none; }

  bool usable_ = true;
  bool removed_ = false;
  bool present_ = true;
  bool stopped_ = false;
  Operation operation_ = Operation::none;
  Damage damage_ = Damage::none;
  std::uint16_t progress_ = 0;
  std::set<NexusId> preventing_;
};

}  // namespace scsi
