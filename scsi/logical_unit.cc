#include "scsi/logical_unit.h"

#include "scsi/medium.h"
#include "scsi/mode_pages.h"
#include "scsi/reservation_changes.h"
#include "scsi/reservations.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "scsi/work_queue.h"

namespace scsi {

LogicalUnit::LogicalUnit(LogicalUnitConfig config, std::unique_ptr<handlers::BackingStore> store)
    : LogicalUnit(std::move(config), std::move(store), nullptr) {}

LogicalUnit::LogicalUnit(LogicalUnitConfig config, std::unique_ptr<handlers::BackingStore> store,
                         std::unique_ptr<ReservationStore> reservation_store)
    : config_(std::move(config)),
      store_(std::move(store)),
      capacity_(store_->size_bytes() / config_.block_length),
      unit_attentions_(std::make_unique<UnitAttentions>()),
      mode_pages_(std::make_unique<ModePages>()),
      reservations_(std::make_unique<Reservations>()),
      reservation_changes_(std::make_unique<ReservationChanges>(*reservations_, std::move(reservation_store))),
      medium_(std::make_unique<Medium>()),
      tasks_(std::make_unique<TaskSet>()),
      work_(std::make_unique<WorkQueue>(*this)) {}

LogicalUnit::~LogicalUnit() = default;

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
  return !tasks_->oldest() && work_->idle() && !reservation_changes_->busy() &&
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
