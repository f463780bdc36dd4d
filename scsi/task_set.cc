#include "scsi/task_set.h"

#include <algorithm>
#include <cassert>

namespace scsi {

bool waits_for_clock(const Task& task) {
  if (!task.dormant) return task.state == Task::State::running && task.runner && task.runner->waits_for_clock();
  for (const Task* before = task.older; before; before = before->older)
    if (!before->dormant && !waits_for_clock(*before)) return false;
  return true;
}

void TaskSet::enter(Task& task) {
  bool first = task.attribute == TaskAttribute::head_of_queue || !oldest_;
  task.older = first ? nullptr : youngest_;
  task.younger = first ? oldest_ : nullptr;
  (task.older ? task.older->younger : oldest_) = &task;
  (task.younger ? task.younger->older : youngest_) = &task;
  if (task.attribute == TaskAttribute::ordered) ++ordered_;
}

void TaskSet::leave(Task& task) {
  (task.older ? task.older->younger : oldest_) = task.younger;
  (task.younger ? task.younger->older : youngest_) = task.older;
  task.older = task.younger = nullptr;
  if (task.attribute == TaskAttribute::ordered) --ordered_;
  if (task.dormant) --dormant_;
  task.dormant = false;
  for (Wait& wait : waits_) std::erase(wait.tasks, &task);
}

bool TaskSet::may_begin_among_ordered(const Task& task) const {
  if (task.attribute == TaskAttribute::head_of_queue) return true;
  if (task.attribute == TaskAttribute::ordered) return task.older == nullptr;
  for (const Task* before = task.older; before; before = before->older)
    if (before->attribute == TaskAttribute::ordered) return false;
  return true;
}

void TaskSet::sleep(Task& task) {
  assert(!task.dormant);
  task.dormant = true;
  ++dormant_;
}

Task* TaskSet::next_to_begin() {
  for (Task* task = oldest_; task; task = task->younger) {
    bool ordered = task->attribute == TaskAttribute::ordered;
    bool aborted = task->abort_requested.load(std::memory_order_relaxed);  // its end is near, and it does not begin
    if (task->dormant && !aborted && (!ordered || task == oldest_)) {
      task->dormant = false;
      --dormant_;
      return task;
    }
    if (ordered) return nullptr;
  }
  return nullptr;
}

Task* TaskSet::find(NexusId nexus, std::uint32_t tag) const {
  for (Task* task = oldest_; task; task = task->younger)
    if (task->nexus == nexus && task->tag == tag) return task;
  return nullptr;
}

void TaskSet::wait_for(std::vector<const Task*> tasks, std::shared_ptr<Rendezvous> rendezvous) {
  if (!tasks.empty()) waits_.push_back({std::move(tasks), std::move(rendezvous)});
}

void TaskSet::collect_stopped() {
  if (waits_.empty()) return;
  auto stopped = std::ranges::stable_partition(waits_, [](const Wait& wait) { return !wait.tasks.empty(); });
  std::vector<Wait> done(std::make_move_iterator(stopped.begin()), std::make_move_iterator(stopped.end()));
  waits_.erase(stopped.begin(), stopped.end());
}

}  // namespace scsi
