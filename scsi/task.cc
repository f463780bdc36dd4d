#include "scsi/task.h"

namespace scsi {

void Task::reset() {
  nexus = NexusId::none;
  lun = {};
  tag = 0;
  attribute = TaskAttribute::simple;
  cdb = {};
  observer = nullptr;
  expected_data_length.reset();
  data_out_length = 0;
  data_in_length = 0;
  data_out = {};
  data_out_owner = {};
  status = Status::good;
  if (sense.key != SenseKey::no_sense) sense = {};
  data_in.clear();
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
}

}  // namespace scsi
