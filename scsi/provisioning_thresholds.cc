#include "scsi/provisioning_thresholds.h"

#include <algorithm>
#include <limits>

#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"
#include "scsi/unit_attentions.h"

namespace scsi {
namespace {

constexpr std::uint64_t kLeastSetBytes = 1 << 20;

/// SBC-4 6.6.6: the capacity has to be less than 2 to the 32 sets.
std::uint8_t threshold_exponent(const LogicalUnit& lu) {
  const handlers::BackingStore& store = lu.store();
  if (!lu.config().thin || store.may_block() || !store.available_bytes()) return 0;
  std::uint8_t exponent = 0;
  while ((std::uint64_t{lu.block_length()} << exponent) < kLeastSetBytes ||
         (lu.capacity().value >> exponent) > std::numeric_limits<std::uint32_t>::max())
    ++exponent;
  return exponent;
}

}  // namespace

ProvisioningThresholds::ProvisioningThresholds(LogicalUnit& lu) : lu_(lu), exponent_(threshold_exponent(lu)) {}

std::uint32_t ProvisioningThresholds::sets(std::uint64_t bytes) const {
  const std::uint64_t set = std::uint64_t{lu_.block_length()} << exponent_;
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::min(bytes / set + (bytes % set != 0), kMost));
}

void ProvisioningThresholds::look(NexusId nexus) {
  const auto page = lu_.mode_pages().current_as<ProvisioningModePage>(
      {ProvisioningModePage::kPageCode, ProvisioningModePage::kSubpageCode});
  for (std::size_t i = 0; i < kThresholds; ++i) {
    Watched& watched = watched_[i];
    if (watched.descriptor != page.thresholds[i]) watched = {page.thresholds[i]};
    if (!watched.descriptor.enabled() || !reached(watched)) continue;
    notified_ = offsetof(ProvisioningModePage, thresholds) + i * sizeof(ThresholdDescriptor);
    constexpr AdditionalSense kReached = AdditionalSense::thin_provisioning_soft_threshold_reached;
    if (page.flags & ProvisioningModePage::kSitua) {
      lu_.unit_attentions().establish(nexus, kReached);
    } else {
      lu_.unit_attentions().establish_for_all(kReached);
    }
  }
}

bool ProvisioningThresholds::reached(Watched& watched) const {
  const ThresholdDescriptor& descriptor = watched.descriptor;
  const bool decreasing = (descriptor.flags & ThresholdDescriptor::kArming) == ThresholdDescriptor::kDecreasing;
  const std::uint64_t value = descriptor.resource == ThresholdDescriptor::kAvailable
                                  ? lu_.store().available_bytes().value_or(0)
                                  : lu_.store().allocated_bytes();
  const std::uint64_t set = std::uint64_t{lu_.block_length()} << exponent_;
  const std::uint64_t center = descriptor.count * set;
  const std::uint64_t least = center - std::min(center, set / 2);
  const std::uint64_t most = center + set / 2;
  const bool beyond = decreasing ? value <= least : value >= most;
  const bool back = decreasing ? value >= most : value <= least;
  if (back && !beyond) watched.armed = true;
  return beyond && std::exchange(watched.armed, false);
}

}  // namespace scsi
