#include "scsi/capacity_change.h"

#include <cassert>

#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/unit_attentions.h"
#include "scsi/work_queue.h"

namespace scsi {

void change_capacity(LogicalUnit& lu, CopyManager& copies, std::uint64_t size_bytes) {
  assert(lu.medium().operation() == Medium::Operation::none);
  const base::BlockCount capacity(size_bytes / lu.block_length());
  if (capacity == lu.capacity()) return;
  const bool shrinks = capacity.value < lu.capacity().value;
  lu.set_capacity(capacity);
  lu.unit_attentions().establish_for_all(AdditionalSense::capacity_data_has_changed);
  if (!shrinks) return;
  copies.logical_unit_shrunk(lu);
  assert(!lu.store().may_block() && lu.work().idle());
  [[maybe_unused]] auto cut = lu.store().resize(size_bytes);
  assert(cut && "memory is only given back");
}

}  // namespace scsi
