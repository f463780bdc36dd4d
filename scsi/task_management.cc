// Task management functions (SAM-5 7): which tasks end, who is told, and when the function is complete.
#include <utility>

#include "scsi/command_events.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/mode_pages.h"
#include "scsi/reservation_changes.h"
#include "scsi/reservations.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "scsi/work_queue.h"

namespace scsi {
namespace {

using Selector = bool (*)(const Task&, NexusId nexus, std::uint32_t tag);

bool one_task(const Task& task, NexusId nexus, std::uint32_t tag) { return task.nexus == nexus && task.tag == tag; }
bool tasks_of_nexus(const Task& task, NexusId nexus, std::uint32_t) { return task.nexus == nexus; }
bool every_task(const Task&, NexusId, std::uint32_t) { return true; }

/// The oldest task that is to be aborted and touches the store no more.
Task* next_stopped(TaskSet& tasks) {
  for (Task* task = tasks.oldest(); task; task = task->younger) {
    bool marked = task->abort_requested.load(std::memory_order_relaxed);
    if (marked && task->state != Task::State::running) return task;
  }
  return nullptr;
}

/// Whoever works for a task that is to be aborted is told; the task ends then, or later.
void stop_runners(TaskSet& tasks) {
  auto marked = [](const Task& task) { return task.runner && task.abort_requested.load(std::memory_order_relaxed); };
  for (Task* task = tasks.oldest(); task;) {
    if (!marked(*task)) {
      task = task->younger;
      continue;
    }
    std::exchange(task->runner, nullptr)->abort();
    task = tasks.oldest();
  }
}

/// Ends the selected tasks of a logical unit with TASK ABORTED: at once, or when the work under way has stopped. Holds
/// `rendezvous` until the last of them has. The list is walked afresh after each completion, because an observer may
/// send or withdraw other tasks.
void abort_tasks(LogicalUnit& lu, Selector selected, NexusId nexus, std::uint32_t tag,
                 const std::shared_ptr<Rendezvous>& rendezvous) {
  TaskSet& tasks = lu.tasks();
  for (Task* task = tasks.oldest(); task; task = task->younger)
    if (selected(*task, nexus, tag)) task->abort_requested.store(true, std::memory_order_relaxed);
  while (Task* task = next_stopped(tasks)) {
    if (task->state == Task::State::waiting && !task->dormant) lu.work().withdraw(*task);
    task->server->finish(*task, {});
  }
  stop_runners(tasks);
  std::vector<const Task*> running;
  for (const Task* task = tasks.oldest(); task; task = task->younger)
    if (task->abort_requested.load(std::memory_order_relaxed) && selected(*task, nexus, tag)) running.push_back(task);
  tasks.wait_for(std::move(running), rendezvous);
  lu.work().start_ready();
}

/// COMMANDS CLEARED BY ANOTHER INITIATOR for every other nexus that loses a task (SAM-5 7.5, TAS=0).
void announce_clearing(LogicalUnit& lu, NexusId nexus) {
  for (const Task* task = lu.tasks().oldest(); task; task = task->younger) {
    if (task->nexus != nexus)
      lu.unit_attentions().establish(task->nexus, AdditionalSense::commands_cleared_by_another_initiator);
  }
}

/// SAM-5 6.3.3: logical unit reset, with the condition that every I_T nexus is told.
void reset(LogicalUnit& lu, CopyManager& copy_manager, AdditionalSense condition,
           const std::shared_ptr<Rendezvous>& rendezvous) {
  abort_tasks(lu, every_task, NexusId::none, 0, rendezvous);
  copy_manager.logical_unit_reset(lu, rendezvous);
  lu.mode_pages().reset();
  lu.reservations().end_unit_reservation();
  lu.set_stopped(false);
  lu.medium().allow_removal_for_all();
  lu.unit_attentions().establish_for_all(condition);
}

}  // namespace

std::string_view name_of(TaskManagementFunction function) {
  switch (function) {
    case TaskManagementFunction::abort_task: return "ABORT TASK";
    case TaskManagementFunction::abort_task_set: return "ABORT TASK SET";
    case TaskManagementFunction::clear_aca: return "CLEAR ACA";
    case TaskManagementFunction::clear_task_set: return "CLEAR TASK SET";
    case TaskManagementFunction::logical_unit_reset: return "LOGICAL UNIT RESET";
    case TaskManagementFunction::target_warm_reset: return "TARGET WARM RESET";
    case TaskManagementFunction::target_cold_reset: return "TARGET COLD RESET";
    case TaskManagementFunction::task_reassign: break;
  }
  return "TASK REASSIGN";
}

void DeviceServer::manage(TaskManagementFunction function, NexusId nexus, std::optional<Lun> lun, std::uint32_t tag,
                          TaskManagementDone done) {
  using enum TaskManagementFunction;
  using enum TaskManagementResponse;
  if (Journal* journal = copy_manager().journal()) record_function(*journal, *this, function, nexus, lun);
  if (function == clear_aca) return done(function_not_supported);  // NORMACA is zero (SPC-4 6.4.2)
  if (function == task_reassign) return done(task_allegiance_reassignment_not_supported);
  bool whole_target = function == target_warm_reset || function == target_cold_reset;
  LogicalUnit* lu = lun ? find(nexus, *lun) : nullptr;
  if (!whole_target && !lu) return done(lun_does_not_exist);
  if (function == abort_task && !lu->tasks().find(nexus, tag)) return done(task_does_not_exist);

  auto rendezvous = std::make_shared<Rendezvous>([done = std::move(done)]() mutable { done(function_complete); });
  switch (function) {
    case abort_task: return abort_tasks(*lu, one_task, nexus, tag, rendezvous);
    case abort_task_set: return abort_tasks(*lu, tasks_of_nexus, nexus, tag, rendezvous);
    case clear_task_set: announce_clearing(*lu, nexus); return abort_tasks(*lu, every_task, nexus, tag, rendezvous);
    case logical_unit_reset:
      return reset(*lu, copy_manager(), AdditionalSense::bus_device_reset_function_occurred, rendezvous);
    case target_warm_reset:
    case target_cold_reset:
      for (auto& [number, each] : logical_units())
        if (may_use(nexus, *each))
          reset(*each, copy_manager(), AdditionalSense::power_on_reset_or_bus_device_reset_occurred, rendezvous);
      return;
    case clear_aca:
    case task_reassign: return;
  }
}

void DeviceServer::power_cycle(LogicalUnit& lu, const std::shared_ptr<Rendezvous>& waiter) {
  // Behind changes that are just being written: nothing may come between what they were judged by and their end.
  lu.reservation_changes().submit(
      executor(),
      [](Reservations& reservations) {
        reservations.lose_power();
        return Reservations::Result();
      },
      [waiter](const Reservations::Result&) {});
  lu.medium().set_present(true);
  reset(lu, copy_manager(), AdditionalSense::power_on_reset_or_bus_device_reset_occurred, waiter);
}

void DeviceServer::abort_preempted(LogicalUnit& lu, const std::vector<NexusId>& nexuses,
                                   std::move_only_function<void()> done) {
  auto rendezvous = std::make_shared<Rendezvous>(std::move(done));
  for (NexusId nexus : nexuses) {
    abort_tasks(lu, tasks_of_nexus, nexus, 0, rendezvous);
    copy_manager().stop_using(lu, nexus, rendezvous);
    lu.medium().allow_removal(nexus);  // SPC-4 6.15
  }
}

void DeviceServer::abort_all(NexusId nexus, std::move_only_function<void()> done) {
  auto rendezvous = std::make_shared<Rendezvous>(std::move(done));
  for (auto& [number, lu] : logical_units()) abort_tasks(*lu, tasks_of_nexus, nexus, 0, rendezvous);
  for (const auto& lu : leaving()) abort_tasks(*lu, tasks_of_nexus, nexus, 0, rendezvous);
}

}  // namespace scsi
