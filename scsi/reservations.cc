#include "scsi/reservations.h"

#include <algorithm>
#include <iterator>
#include <set>

namespace scsi {
namespace {

using enum ReservationType;

bool write_exclusive_kind(ReservationType type) {
  return type == write_exclusive || type == write_exclusive_registrants_only || type == write_exclusive_all_registrants;
}
/// Registrants only and all registrants: whoever is registered may do everything.
bool for_registrants(ReservationType type) { return type != write_exclusive && type != exclusive_access; }

}  // namespace

bool all_registrants(ReservationType type) {
  return type == write_exclusive_all_registrants || type == exclusive_access_all_registrants;
}

std::optional<ReservationType> reservation_type(std::uint8_t code) {
  auto type = static_cast<ReservationType>(code);
  switch (type) {
    case write_exclusive:
    case exclusive_access:
    case write_exclusive_registrants_only:
    case exclusive_access_registrants_only:
    case write_exclusive_all_registrants:
    case exclusive_access_all_registrants: return type;
  }
  return {};
}

Reservations::Reservations(const Reservations& other)
    : registrations_(other.registrations_),
      type_(other.type_),
      generation_(other.generation_),
      persist_through_power_loss_(other.persist_through_power_loss_),
      unit_holder_(other.unit_holder_) {
  for (Registrant& each : registrations_)
    if (each.second.attached != NexusId::none) attached_[each.second.attached] = &each;
  if (other.holder_) holder_ = find(other.holder_->first);
}

PersistentState Reservations::persistent_state() const {
  PersistentState state;
  if (!persist_through_power_loss_) return state;
  state.activated = true;
  state.type = type_;
  for (const Registrant& each : registrations_) {
    if (&each == holder_) state.holder = static_cast<std::uint32_t>(state.registrations.size());
    state.registrations.push_back(
        {each.first.initiator_name, each.first.isid, each.first.target_portal_group_tag, each.second.key});
  }
  return state;
}

void Reservations::restore(const PersistentState& state, const std::string& target_name) {
  persist_through_power_loss_ = state.activated;
  type_ = state.type;
  std::uint32_t index = 0;
  for (const PersistentState::Registration& each : state.registrations) {
    Registrant& registrant =
        enter({{each.initiator_name, each.isid, target_name, each.relative_target_port}}, each.key);
    if (state.holder == index++) holder_ = &registrant;
  }
}

void Reservations::forget() {
  attached_.clear();
  holder_ = nullptr;
  registrations_.clear();
  type_.reset();
  persist_through_power_loss_ = false;
  end_unit_reservation();
}

void Reservations::lose_power() {
  if (!persist_through_power_loss_) forget();
  generation_ = 0;
}

void Reservations::attach(NexusId id, const ITNexus& name) {
  auto found = registrations_.find(name);
  if (found == registrations_.end()) return;
  attached_.erase(found->second.attached);
  found->second.attached = id;
  attached_[id] = &*found;
}

void Reservations::detach(NexusId id) {
  if (unit_holder_ == id) end_unit_reservation();
  auto found = attached_.find(id);
  if (found == attached_.end()) return;
  found->second->second.attached = NexusId::none;
  attached_.erase(found);
}

const Reservations::Registrant* Reservations::find(NexusId id) const {
  auto found = attached_.find(id);
  return found == attached_.end() ? nullptr : found->second;
}

const Reservations::Registrant* Reservations::find(const ITNexus& name) const {
  auto found = registrations_.find(name);
  return found == registrations_.end() ? nullptr : &*found;
}

bool Reservations::holds(const Registrant& registrant) const {
  return type_ && (all_registrants(*type_) || holder_ == &registrant);
}

bool Reservations::may_write(const Registrant* registrant) const {
  return !type_ || (registrant && (for_registrants(*type_) || holder_ == registrant));
}

bool Reservations::may_read(const Registrant* registrant) const {
  return may_write(registrant) || write_exclusive_kind(*type_);
}

Reservations::Registrant* Reservations::authorized(const ITNexus& nexus, std::uint64_t key) {
  auto found = registrations_.find(nexus);
  return found != registrations_.end() && found->second.key == key ? &*found : nullptr;
}

Reservations::Registrant& Reservations::enter(const Nexus& nexus, std::uint64_t key) {
  Registrant& registrant = *registrations_.try_emplace(nexus.name).first;
  registrant.second.key = key;
  if (nexus.id != NexusId::none) attach(nexus.id, nexus.name);
  return registrant;
}

void Reservations::erase(const Registrant& registrant) {
  attached_.erase(registrant.second.attached);
  registrations_.erase(registrations_.find(registrant.first));
}

void Reservations::tell_others(Consequences& consequences, const Registrant* sender, AdditionalSense code) const {
  for (const Registrant& each : registrations_)
    if (&each != sender && each.second.attached != NexusId::none)
      consequences.attentions.push_back({each.second.attached, code});
}

/// The reservation ends; its registrants learn that it did, where it was one for registrants (SPC-4 5.12.11.2).
Reservations::Consequences Reservations::drop_reservation(const Registrant* sender) {
  Consequences consequences;
  if (for_registrants(*type_)) tell_others(consequences, sender, AdditionalSense::reservations_released);
  type_.reset();
  holder_ = nullptr;
  return consequences;
}

/// SPC-4 5.12.11.3: with its only holder a reservation goes.
Reservations::Consequences Reservations::unregister(const Registrant& registrant) {
  Consequences consequences;
  bool last = registrations_.size() == 1;
  if (holds(registrant) && (last || !all_registrants(*type_))) consequences = drop_reservation(&registrant);
  erase(registrant);
  return consequences;
}

void Reservations::put(const Nexus& nexus, std::uint64_t new_key, Consequences& consequences) {
  if (new_key != 0) {
    enter(nexus, new_key);
  } else if (const Registrant* registered = find(nexus.name)) {
    auto more = unregister(*registered);
    std::ranges::move(more.attentions, std::back_inserter(consequences.attentions));
  }
}

Reservations::Result Reservations::register_key(const Nexus& nexus, std::uint64_t key, std::uint64_t new_key,
                                                std::optional<std::span<const Nexus>> others,
                                                std::span<const Nexus> ports) {
  auto key_of = [this](const ITNexus& name) {
    const Registrant* registered = find(name);
    return registered ? registered->second.key : 0;
  };
  if (key_of(nexus.name) != key) return std::unexpected(ReservationError::conflict);
  if (find(nexus.name) && others) return std::unexpected(ReservationError::already_registered);
  std::vector<Nexus> changed;
  std::ranges::copy_if(ports, std::back_inserter(changed), [&](const Nexus& port) { return key_of(port.name) == key; });
  if (others && new_key != 0) std::ranges::copy(*others, std::back_inserter(changed));
  return register_and_ignore_existing_key(nexus, new_key, changed);
}

Reservations::Result Reservations::register_and_ignore_existing_key(const Nexus& nexus, std::uint64_t new_key,
                                                                    std::span<const Nexus> ports) {
  if (unit_reserved()) return std::unexpected(ReservationError::conflict);  // SPC-2 5.5.1
  std::set<ITNexus> added;
  if (new_key != 0) {
    if (!find(nexus.name)) added.insert(nexus.name);
    for (const Nexus& port : ports)
      if (!find(port.name)) added.insert(port.name);
  }
  if (registrations_.size() + added.size() > kMaximumRegistrants)
    return std::unexpected(ReservationError::too_many_registrants);
  Consequences consequences;
  put(nexus, new_key, consequences);
  for (const Nexus& port : ports) put(port, new_key, consequences);
  ++generation_;
  return consequences;
}

Reservations::Result Reservations::reserve(const ITNexus& nexus, std::uint64_t key, ReservationType type) {
  const Registrant* sender = authorized(nexus, key);
  if (!sender) return std::unexpected(ReservationError::conflict);
  if (type_ && (!holds(*sender) || *type_ != type)) return std::unexpected(ReservationError::conflict);
  type_ = type;
  holder_ = all_registrants(type) ? nullptr : sender;
  return Consequences{};
}

Reservations::Result Reservations::release(const ITNexus& nexus, std::uint64_t key,
                                           std::optional<ReservationType> type) {
  const Registrant* sender = authorized(nexus, key);
  if (!sender) return std::unexpected(ReservationError::conflict);
  if (!holds(*sender)) return Consequences{};
  if (type != type_) return std::unexpected(ReservationError::invalid_release);
  return drop_reservation(sender);
}

Reservations::Result Reservations::clear(const ITNexus& nexus, std::uint64_t key) {
  const Registrant* sender = authorized(nexus, key);
  if (!sender) return std::unexpected(ReservationError::conflict);
  Consequences consequences;
  tell_others(consequences, sender, AdditionalSense::reservations_preempted);
  type_.reset();
  holder_ = nullptr;
  attached_.clear();
  registrations_.clear();
  ++generation_;
  return consequences;
}

Reservations::Result Reservations::preempt(const ITNexus& nexus, std::uint64_t key, std::uint64_t victims_key,
                                           std::optional<ReservationType> type) {
  const Registrant* sender = authorized(nexus, key);
  if (!sender) return std::unexpected(ReservationError::conflict);
  bool all_hold = type_ && all_registrants(*type_);
  // SPC-4 5.12.11.4.1: 0 means everybody, where everybody holds the reservation.
  if (victims_key == 0 && !all_hold) return std::unexpected(ReservationError::no_service_action_key);
  bool takes_over = type_ && (all_hold ? victims_key == 0 : holder_->second.key == victims_key);
  if (takes_over && !type) return std::unexpected(ReservationError::invalid_type);

  std::vector<const Registrant*> victims;
  for (const Registrant& each : registrations_)
    if ((victims_key == 0 || each.second.key == victims_key) && !(takes_over && &each == sender))
      victims.push_back(&each);
  if (victims.empty() && !takes_over) return std::unexpected(ReservationError::conflict);

  Consequences consequences;
  for (const Registrant* victim : victims) {
    NexusId id = victim->second.attached;
    if (victim != sender && id != NexusId::none) {
      consequences.attentions.push_back({id, AdditionalSense::registrations_preempted});
      consequences.preempted.push_back(id);
    }
    erase(*victim);
  }
  if (takes_over) {
    if (*type_ != *type) tell_others(consequences, sender, AdditionalSense::reservations_released);
    type_ = type;
    holder_ = all_registrants(*type) ? nullptr : sender;
  } else if (registrations_.empty()) {
    type_.reset();  // of all registrants: the holder of any other was not among the victims
  }
  ++generation_;
  return consequences;
}

Reservations::Result Reservations::register_and_move(const ITNexus& nexus, std::uint64_t key, std::uint64_t new_key,
                                                     const Nexus& destination, bool unregister) {
  const Registrant* sender = authorized(nexus, key);
  if (!sender) return std::unexpected(ReservationError::conflict);
  if (!type_) return std::unexpected(ReservationError::no_reservation);
  if (holder_ != sender) return std::unexpected(ReservationError::conflict);
  if (new_key == 0) return std::unexpected(ReservationError::no_service_action_key);
  if (destination.name == nexus) return std::unexpected(ReservationError::moved_to_itself);
  if (!find(destination.name) && registrations_.size() - (unregister ? 1 : 0) == kMaximumRegistrants)
    return std::unexpected(ReservationError::too_many_registrants);
  holder_ = &enter(destination, new_key);
  if (unregister) erase(*sender);
  ++generation_;
  return Consequences{};
}

bool Reservations::unit_commands_do_nothing(NexusId nexus) const {
  const Registrant* registrant = find(nexus);
  return registrant && type_ && (holds(*registrant) || for_registrants(*type_));
}

bool Reservations::reserve_unit(NexusId nexus) {
  // SPC-2 5.5.1: while anybody is registered RESERVE and RELEASE are conflicts, whoever sends them.
  if (!registrations_.empty()) return unit_commands_do_nothing(nexus);
  if (unit_reserved_by_another(nexus)) return false;
  unit_holder_ = nexus;
  return true;
}

bool Reservations::release_unit(NexusId nexus) {
  if (!registrations_.empty()) return unit_commands_do_nothing(nexus);
  if (unit_holder_ == nexus) end_unit_reservation();
  return true;
}

}  // namespace scsi
