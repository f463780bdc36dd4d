#include "scsi/task.h"

namespace scsi {

void Task::keep_data_out() {
  if (data_out.empty() || data_out_owner) return;
  auto kept = base::make_ref<base::Buffer>(std::vector<std::uint8_t>(data_out.begin(), data_out.end()));
  data_out = kept->bytes();
  data_out_owner = kept;
}

void Task::reset() {
  nexus = NexusId::none;
  lun = {};
  tag = 0;
  attribute = TaskAttribute::simple;
  cdb = {};
  observer = nullptr;
  expected_data_length.reset();
  data_in_room.reset();
  data_out_length = 0;
  data_in_length = 0;
  data_out = {};
  data_out_owner = {};
  loan = nullptr;
  loan_length = 0;
  status = Status::good;
  if (sense.key != SenseKey::no_sense) sense = {};
  drop_data_in();
  state = State::idle;
  copy = {};
  descriptor = nullptr;
  logical_unit = nullptr;
  server = nullptr;
  abort_requested.store(false, std::memory_order_relaxed);
  runner = nullptr;
  older = nullptr;
  younger = nullptr;
  dormant = false;
  faults.reset();
}

}  // namespace scsi
