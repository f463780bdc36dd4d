#include "scsi/logical_unit.h"

#include <algorithm>

#include "scsi/medium.h"
#include "scsi/provisioning_thresholds.h"
#include "scsi/reservation_changes.h"
#include "scsi/reservations.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "scsi/unit_settings.h"
#include "scsi/work_queue.h"

namespace scsi {

namespace {

ModePages::Options page_options(const LogicalUnitConfig& config, const ProvisioningThresholds& thresholds,
                                const StateStores& kept) {
  return {kept.settings != nullptr, thresholds.exponent() != 0, thresholds.sets(config.soft_threshold_bytes)};
}

}  // namespace

LogicalUnit::LogicalUnit(LogicalUnitConfig config, std::unique_ptr<handlers::BackingStore> store)
    : LogicalUnit(std::move(config), std::move(store), StateStores{}) {}

LogicalUnit::LogicalUnit(LogicalUnitConfig config, std::unique_ptr<handlers::BackingStore> store, StateStores kept)
    : config_(std::move(config)),
      store_(std::move(store)),
      capacity_(store_->size_bytes() / config_.block_length),
      unit_attentions_(std::make_unique<UnitAttentions>()),
      thresholds_(std::make_unique<ProvisioningThresholds>(*this)),
      settings_(new UnitSettings{ModePages(page_options(config_, *thresholds_, kept))}),
      mode_pages_(&settings_->mode_pages),
      settings_changes_(std::make_unique<SettingsChanges>(*settings_, std::move(kept.settings))),
      reservations_(std::make_unique<Reservations>()),
      reservation_changes_(std::make_unique<ReservationChanges>(*reservations_, std::move(kept.reservations))),
      medium_(std::make_unique<Medium>()),
      tasks_(std::make_unique<TaskSet>()),
      work_(std::make_unique<WorkQueue>(*this)) {}

LogicalUnit::~LogicalUnit() = default;

bool LogicalUnit::allows(const std::string& initiator_name) const {
  return !restricted() ||
         std::ranges::find(config_.allowed_initiators, initiator_name) != config_.allowed_initiators.end();
}

bool LogicalUnit::contains(base::Lba lba, base::BlockCount count) const {
  return lba.value <= capacity().value && count.value <= capacity().value - lba.value;
}

void LogicalUnit::set_capacity(base::BlockCount capacity) {
  has_shrunk_ = has_shrunk_ || capacity.value < capacity_.value;
  capacity_ = capacity;
}

void LogicalUnit::set_read_only(bool read_only) {
  bool before = this->read_only();
  config_.read_only = read_only;
  if (this->read_only() != before) unit_attentions_->establish_for_all(AdditionalSense::mode_parameters_changed);
}

bool LogicalUnit::idle() const {
  return !tasks_->oldest() && work_->idle() && !reservation_changes_->busy() && !settings_changes_->busy() &&
         medium_->operation() == Medium::Operation::none;
}

std::optional<Sense> LogicalUnit::why_not_ready() const {
  if (!medium_->usable()) return medium_->condition();
  if (!stopped_) return {};
  return Sense{SenseKey::not_ready,
               AdditionalSense::logical_unit_not_ready_initializing_command_required,
               {},
               {},
               "stopped by START STOP UNIT"};
}

}  // namespace scsi
