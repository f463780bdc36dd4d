#include "scsi/unit_attentions.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <iterator>

namespace scsi {
namespace {

/// By precedence, highest first (SAM-5 table 56). The resets come first.
constexpr std::array<AdditionalSense, UnitAttentions::kCodes> kUnitAttentionCodes = {
    AdditionalSense::power_on_occurred,
    AdditionalSense::power_on_reset_or_bus_device_reset_occurred,
    AdditionalSense::bus_device_reset_function_occurred,
    AdditionalSense::i_t_nexus_loss_occurred,
    AdditionalSense::commands_cleared_by_another_initiator,
    AdditionalSense::commands_cleared_by_device_server,
    AdditionalSense::commands_cleared_by_iscsi_event,
    AdditionalSense::registrations_preempted,
    AdditionalSense::reservations_preempted,
    AdditionalSense::reservations_released,
    AdditionalSense::not_ready_to_ready_change_medium_may_have_changed,
    AdditionalSense::asymmetric_access_state_changed,
    AdditionalSense::capacity_data_has_changed,
    AdditionalSense::reported_luns_data_has_changed,
    AdditionalSense::inquiry_data_has_changed,
    AdditionalSense::device_identifier_changed,
    AdditionalSense::mode_parameters_changed,
    AdditionalSense::log_parameters_changed,
    AdditionalSense::thin_provisioning_soft_threshold_reached,
};
constexpr std::size_t kResets = 4;

std::size_t rank(AdditionalSense code) {
  auto found = std::ranges::find(kUnitAttentionCodes, code);
  assert(found != kUnitAttentionCodes.end());
  return static_cast<std::size_t>(std::distance(kUnitAttentionCodes.begin(), found));
}

}  // namespace

void UnitAttentions::attach(NexusId nexus, AdditionalSense first) {
  auto [entry, added] = pending_.try_emplace(nexus);
  add(entry->second, first);
}

void UnitAttentions::detach(NexusId nexus) {
  auto found = pending_.find(nexus);
  if (found == pending_.end()) return;
  if (found->second.any()) --nexuses_with_some_;
  pending_.erase(found);
}

void UnitAttentions::establish(NexusId nexus, AdditionalSense code) {
  if (auto found = pending_.find(nexus); found != pending_.end()) add(found->second, code);
}

void UnitAttentions::establish_for_all(AdditionalSense code, NexusId except) {
  for (auto& [nexus, conditions] : pending_)
    if (nexus != except) add(conditions, code);
}

void UnitAttentions::clear(NexusId nexus, AdditionalSense code) {
  auto found = pending_.find(nexus);
  if (found == pending_.end() || !found->second.test(rank(code))) return;
  found->second.reset(rank(code));
  if (found->second.none()) --nexuses_with_some_;
}

std::optional<Sense> UnitAttentions::take(NexusId nexus) {
  if (nexuses_with_some_ == 0) return {};
  auto found = pending_.find(nexus);
  if (found == pending_.end() || found->second.none()) return {};
  std::size_t first = 0;
  while (!found->second.test(first)) ++first;
  found->second.reset(first);
  if (found->second.none()) --nexuses_with_some_;
  return Sense{SenseKey::unit_attention, kUnitAttentionCodes[first]};
}

void UnitAttentions::add(Conditions& pending, AdditionalSense code) {
  if (pending.none()) ++nexuses_with_some_;
  pending.set(rank(code));
  for (std::size_t reset = 0; reset < kResets; ++reset) {
    if (!pending.test(reset)) continue;
    pending.reset();
    pending.set(reset);
  }
}

}  // namespace scsi
