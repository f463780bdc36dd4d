#include <fmt/format.h>

#include <algorithm>

#include "test/sim/simulation.h"

namespace sim {

using scsi::AdditionalSense;
using scsi::TaskManagementFunction;
using scsi::TaskManagementResponse;

/// Whether everything it ends has ended.
bool Simulation::over(const Function& function) const {
  auto ends = [&](const Operation* operation) {
    return std::ranges::find(function.aborted, operation->number) != function.aborted.end();
  };
  bool seen = std::ranges::any_of(in_flight_, [&](const Operation* it) { return !it->unseen && ends(it); });
  // Of copies that nobody can ask for only their number is known.
  auto hidden = unseen_copies();
  auto others = std::ranges::count_if(in_flight_, [&](const Operation* it) { return it->copies() && !ends(it); });
  return !seen &&
         (std::ranges::none_of(hidden, ends) || world_.copies.running_jobs() <= static_cast<std::size_t>(others));
}

void Simulation::stop(Operation& operation) {
  (operation.background ? operation.stopped : operation.aborted) = true;
  operation.waits_for_data = false;
  remember(operation);
}

/// What a copy that is to stop has written by now: nothing may be added.
void Simulation::remember(Operation& operation) {
  bool copy = operation.kind == Kind::write_using_token && operation.begun != 0 && !operation.refusal;
  if (copy && !operation.when_aborted) operation.when_aborted = world_.content(operation.lun, operation.ranges);
}

/// Marks what a function ends, before it does.
void Simulation::select(Function& function, bool resets, const std::function<bool(const Operation&)>& selected) {
  for (Operation* operation : in_flight_) {
    if (!selected(*operation) || (operation->background && !resets)) continue;
    function.aborted.push_back(operation->number);
    if (resets && operation->background) operation->unseen = true;
    stop(*operation);
  }
}

void Simulation::start(std::shared_ptr<Function> function, TaskManagementFunction code, std::size_t nexus,
                       std::size_t lun, std::uint32_t tag) {
  functions_.push_back(function);
  auto expected = TaskManagementResponse::function_complete;
  if (code == TaskManagementFunction::clear_aca) expected = TaskManagementResponse::function_not_supported;
  if (code == TaskManagementFunction::task_reassign)
    expected = TaskManagementResponse::task_allegiance_reassignment_not_supported;
  if (code == TaskManagementFunction::abort_task && function->aborted.empty())
    expected = TaskManagementResponse::task_does_not_exist;
  world_.server.manage(code, nexuses_[nexus].id, scsi::Lun{static_cast<std::uint16_t>(lun)}, tag,
                       [this, function, code, expected](TaskManagementResponse response) {
                         complete(*function, response == expected);
                         bool good = expected == TaskManagementResponse::function_complete;
                         report_.ended(std::string(name_of(code)), good ? "good" : "not done");
                       });
}

void Simulation::complete(Function& function, bool as_expected) {
  poll();
  auto wrong = [&](const char* what) {
    if (!disagreement_) disagreement_ = function.text + what;
  };
  if (!as_expected) wrong(" had another response");
  if (function.done) wrong(" was complete twice");
  if (!over(function)) wrong(" was complete before its tasks had ended");
  function.done = true;
}

void Simulation::manage() {
  std::size_t nexus = pick(nexuses_.size());
  if (!nexuses_[nexus].attached || nexuses_[nexus].leaving) return;
  std::size_t lun = pick(model_.logical_units.size());
  std::uint32_t tag = 0;
  static constexpr TaskManagementFunction kFunctions[] = {
      TaskManagementFunction::abort_task,         TaskManagementFunction::abort_task,
      TaskManagementFunction::abort_task,         TaskManagementFunction::abort_task,
      TaskManagementFunction::abort_task,         TaskManagementFunction::abort_task_set,
      TaskManagementFunction::abort_task_set,     TaskManagementFunction::abort_task_set,
      TaskManagementFunction::clear_task_set,     TaskManagementFunction::clear_task_set,
      TaskManagementFunction::logical_unit_reset, TaskManagementFunction::logical_unit_reset,
      TaskManagementFunction::target_warm_reset,  TaskManagementFunction::target_cold_reset,
      TaskManagementFunction::clear_aca,          TaskManagementFunction::task_reassign};
  TaskManagementFunction code = kFunctions[pick(std::size(kFunctions))];
  if (code == TaskManagementFunction::abort_task && !in_flight_.empty() && !one_in(8)) {
    const Operation& victim = *in_flight_[pick(in_flight_.size())];
    nexus = victim.nexus;
    lun = victim.lun;
    tag = victim.task.tag;
    if (nexuses_[nexus].leaving) return;
  }
  auto function = std::make_shared<Function>();
  function->text = fmt::format("{} of nexus {} LUN {} tag {}", name_of(code), nexus, lun, tag);
  note(function->text);
  std::vector<std::size_t> reset;
  auto resets = [&](std::size_t number, AdditionalSense condition) {
    select(*function, true, [&](const Operation& operation) { return operation.lun == number; });
    for (std::size_t other = 0; other < nexuses_.size(); ++other)
      if (nexuses_[other].attached) model_.establish(other, number, condition);
    reset.push_back(number);
  };
  switch (code) {
    case TaskManagementFunction::abort_task:
      select(*function, false,
             [&](const Operation& it) { return it.lun == lun && it.nexus == nexus && it.task.tag == tag; });
      break;
    case TaskManagementFunction::abort_task_set:
      select(*function, false, [&](const Operation& it) { return it.lun == lun && it.nexus == nexus; });
      break;
    case TaskManagementFunction::clear_task_set:
      select(*function, false, [&](const Operation& it) { return it.lun == lun; });
      for (const Operation* it : in_flight_)
        if (it->lun == lun && it->nexus != nexus && !it->background)
          model_.establish(it->nexus, lun, AdditionalSense::commands_cleared_by_another_initiator);
      break;
    case TaskManagementFunction::logical_unit_reset:
      resets(lun, AdditionalSense::bus_device_reset_function_occurred);
      break;
    case TaskManagementFunction::target_warm_reset:
    case TaskManagementFunction::target_cold_reset:
      for (std::size_t number = 0; number < model_.logical_units.size(); ++number)
        resets(number, AdditionalSense::power_on_reset_or_bus_device_reset_occurred);
      break;
    case TaskManagementFunction::clear_aca:
    case TaskManagementFunction::task_reassign: break;
  }
  start(std::move(function), code, nexus, lun, tag);
  // Results of what was aborted are made first, and then dropped with the others.
  for (std::size_t number : reset) model_.logical_unit_reset(number);
}

void Simulation::lose_nexus() {
  std::size_t nexus = pick(nexuses_.size());
  Nexus& it = nexuses_[nexus];
  if (!it.attached || it.leaving) return;
  it.leaving = true;
  auto function = std::make_shared<Function>();
  function->text = fmt::format("loss of nexus {}", nexus);
  note(function->text);
  select(*function, false, [&](const Operation& operation) { return operation.nexus == nexus; });
  functions_.push_back(function);
  world_.server.abort_all(it.id, [this, function, nexus] {
    complete(*function, true);
    nexuses_[nexus].tasks_gone = true;
    report_.ended("I_T nexus loss", "good");
  });
}

}  // namespace sim
