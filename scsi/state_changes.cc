#include "scsi/state_changes.h"

#include <utility>

#include "base/log.h"

namespace scsi {

void StateChanges::submit(base::Executor* executor, Attempt attempt, Conclude conclude) {
  waiting_.push_back({executor, std::move(attempt), std::move(conclude)});
  if (busy_) return;
  busy_ = true;
  go_on();
}

void StateChanges::go_on() {
  while (!waiting_.empty()) {
    Entry entry = std::move(waiting_.front());
    waiting_.pop_front();
    if (!begin(std::move(entry))) return;
  }
  busy_ = false;
}

bool StateChanges::begin(Entry entry) {
  std::optional<Image> image = entry.attempt();
  if (!image) {
    entry.conclude(true);
    return true;
  }
  base::Executor* executor = entry.executor;
  auto writing = std::make_shared<Writing>(std::move(entry), std::move(*image));
  auto write = [this, writing] { writing->outcome = store_->write(writing->image); };
  if (!executor) {
    write();
    conclude(*writing);
    return true;
  }
  executor->post(std::move(write), [this, writing] {
    conclude(*writing);
    go_on();
  });
  return false;
}

void StateChanges::conclude(Writing& writing) {
  if (!writing.outcome) base::log::error("{} cannot be kept: {}", what_, writing.outcome.error());
  writing.entry.conclude(writing.outcome.has_value());
}

}  // namespace scsi
