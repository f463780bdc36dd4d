#include "scsi/logical_unit.h"

#include "scsi/mode_pages.h"
#include "scsi/reservations.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "scsi/work_queue.h"

namespace scsi {

LogicalUnit::LogicalUnit(LogicalUnitConfig config, std::unique_ptr<handlers::BackingStore> store)
    : config_(std::move(config)),
      store_(std::move(store)),
      unit_attentions_(std::make_unique<UnitAttentions>()),
      mode_pages_(std::make_unique<ModePages>()),
      reservations_(std::make_unique<Reservations>()),
      tasks_(std::make_unique<TaskSet>()),
      work_(std::make_unique<WorkQueue>(*this)) {}

LogicalUnit::~LogicalUnit() = default;

base::BlockCount LogicalUnit::capacity() const { return base::BlockCount(store_->size_bytes() / block_length()); }

bool LogicalUnit::contains(base::Lba lba, base::BlockCount count) const {
  return lba.value <= capacity().value && count.value <= capacity().value - lba.value;
}

}  // namespace scsi
