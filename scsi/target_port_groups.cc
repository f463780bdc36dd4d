#include "scsi/target_port_groups.h"

#include <algorithm>

namespace scsi {
namespace {

/// The gate that is just wide enough for a state.
AccessGate needed(AccessState state) {
  switch (state) {
    case AccessState::active_optimized:
    case AccessState::active_non_optimized: return AccessGate::active;
    case AccessState::standby: return AccessGate::standby;
    case AccessState::unavailable: return AccessGate::unavailable;
    case AccessState::transitioning: break;
  }
  return AccessGate::transitioning;
}

Sense not_accessible(AccessGate needed) {
  using enum AdditionalSense;
  switch (needed) {
    case AccessGate::standby:
      return {SenseKey::not_ready, logical_unit_not_accessible_target_port_in_standby_state, {}, {}, "standby"};
    case AccessGate::unavailable:
      return {SenseKey::not_ready, logical_unit_not_accessible_target_port_in_unavailable_state, {}, {}, "unavailable"};
    case AccessGate::active:
    case AccessGate::transitioning: break;
  }
  return {SenseKey::not_ready, logical_unit_not_accessible_asymmetric_access_state_transition, {}, {}, "transitioning"};
}

}  // namespace

const TargetPortGroup* TargetPortGroups::find(std::uint16_t number) const {
  auto found = std::ranges::find(groups_, number, &TargetPortGroup::number);
  return found == groups_.end() ? nullptr : &*found;
}

TargetPortGroup* TargetPortGroups::group(std::uint16_t number) {
  return const_cast<TargetPortGroup*>(std::as_const(*this).find(number));
}

std::optional<Sense> TargetPortGroups::refusal(std::uint16_t port, AccessGate gate) const {
  const TargetPortGroup* group = find(port);
  if (!group || needed(group->state) <= gate) return {};
  return not_accessible(needed(group->state));
}

bool TargetPortGroups::unavailable(std::uint16_t port) const {
  const TargetPortGroup* group = find(port);
  return group && group->state == AccessState::unavailable;
}

bool TargetPortGroups::set_state(std::uint16_t number, AccessState state, AccessChangedBy by) {
  TargetPortGroup* found = group(number);
  if (!found || found->state == state) return false;
  found->state = state;
  found->changed_by = by;
  note_states();
  return true;
}

bool TargetPortGroups::set_preferred(std::uint16_t number, bool preferred) {
  TargetPortGroup* found = group(number);
  if (!found || found->preferred == preferred) return false;
  found->preferred = preferred;
  return true;
}

void TargetPortGroups::note_states() {
  all_active_ = std::ranges::all_of(
      groups_, [](const TargetPortGroup& group) { return needed(group.state) == AccessGate::active; });
}

}  // namespace scsi
