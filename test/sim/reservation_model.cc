#include "test/sim/reservation_model.h"

namespace sim {

using scsi::AdditionalSense;

std::vector<ReservationModel::Attention> ReservationModel::others(std::size_t nexus, AdditionalSense code) const {
  std::vector<Attention> attentions;
  for (std::size_t other : registered_)
    if (other != nexus) attentions.push_back({other, code});
  return attentions;
}

/// The reservation ends; where it was one for registrants they are told.
std::vector<ReservationModel::Attention> ReservationModel::drop(std::size_t nexus) {
  auto attentions =
      for_registrants() ? others(nexus, AdditionalSense::reservations_released) : std::vector<Attention>{};
  type_ = 0;
  return attentions;
}

ReservationModel::Result ReservationModel::enter(std::size_t nexus) {
  registered_.insert(nexus);
  return std::vector<Attention>{};
}

ReservationModel::Result ReservationModel::leave(std::size_t nexus) {
  std::vector<Attention> attentions;
  if (holds(nexus) && (!all_hold() || registered_.size() == 1)) attentions = drop(nexus);
  registered_.erase(nexus);
  return attentions;
}

ReservationModel::Result ReservationModel::reserve(std::size_t nexus, std::uint8_t type) {
  if (!registered(nexus) || (type_ != 0 && (!holds(nexus) || type_ != type))) return {};
  type_ = type;
  holder_ = nexus;
  return std::vector<Attention>{};
}

ReservationModel::Result ReservationModel::release(std::size_t nexus) {
  if (!registered(nexus)) return {};
  return holds(nexus) ? drop(nexus) : std::vector<Attention>{};
}

ReservationModel::Result ReservationModel::clear(std::size_t nexus) {
  if (!registered(nexus)) return {};
  auto attentions = others(nexus, AdditionalSense::reservations_preempted);
  type_ = 0;
  registered_.clear();
  return attentions;
}

ReservationModel::Result ReservationModel::preempt(std::size_t nexus, std::size_t victim, std::uint8_t type) {
  if (!registered(nexus) || !registered(victim)) return {};
  bool takes_over = type_ != 0 && !all_hold() && holder_ == victim;
  std::vector<Attention> attentions{{victim, AdditionalSense::registrations_preempted}};
  registered_.erase(victim);
  if (!takes_over) return attentions;
  if (type_ != type)
    for (Attention attention : others(nexus, AdditionalSense::reservations_released)) attentions.push_back(attention);
  type_ = type;
  holder_ = nexus;
  return attentions;
}

}  // namespace sim
