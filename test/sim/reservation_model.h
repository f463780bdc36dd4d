// The persistent reservation of one logical unit, as SPC-4 5.12 has it: who is registered and who holds what. I_T
// nexuses are numbers; their keys never change. Thread: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "scsi/sense.h"

namespace sim {

class ReservationModel {
 public:
  struct Attention {
    std::size_t nexus;
    scsi::AdditionalSense code;
  };
  /// What a service action does: the unit attentions it establishes; nothing: RESERVATION CONFLICT.
  using Result = std::optional<std::vector<Attention>>;

  bool registered(std::size_t nexus) const { return registered_.contains(nexus); }
  std::uint8_t type() const { return type_; }  ///< 0: no reservation
  bool holds(std::size_t nexus) const { return type_ != 0 && registered(nexus) && (all_hold() || holder_ == nexus); }
  bool may_write(std::size_t nexus) const {
    return type_ == 0 || (registered(nexus) && (for_registrants() || holder_ == nexus));
  }
  bool may_read(std::size_t nexus) const { return may_write(nexus) || type_ == 1 || type_ == 5 || type_ == 7; }

  Result enter(std::size_t nexus);
  Result leave(std::size_t nexus);
  Result reserve(std::size_t nexus, std::uint8_t type);
  /// Of the type it has.
  Result release(std::size_t nexus);
  Result clear(std::size_t nexus);
  Result preempt(std::size_t nexus, std::size_t victim, std::uint8_t type);

 private:
  bool all_hold() const { return type_ == 7 || type_ == 8; }
  bool for_registrants() const { return type_ >= 5; }
  std::vector<Attention> others(std::size_t nexus, scsi::AdditionalSense code) const;
  std::vector<Attention> drop(std::size_t nexus);

  std::set<std::size_t> registered_{};
  std::uint8_t type_ = 0;
  std::size_t holder_ = 0;
};

}  // namespace sim
