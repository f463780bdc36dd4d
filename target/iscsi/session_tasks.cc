// Task management (RFC 7143, 11.5 and 11.6).
#include <algorithm>

#include "base/log.h"
#include "target/iscsi/session.h"
#include "target/iscsi/session_registry.h"

namespace iscsi {

using scsi::TaskManagementFunction;
using scsi::TaskManagementResponse;

namespace {

bool ends_task_sets(TaskManagementFunction function) {
  switch (function) {
    case TaskManagementFunction::abort_task_set:
    case TaskManagementFunction::clear_task_set:
    case TaskManagementFunction::logical_unit_reset:
    case TaskManagementFunction::target_warm_reset:
    case TaskManagementFunction::target_cold_reset: return true;
    case TaskManagementFunction::abort_task:
    case TaskManagementFunction::clear_aca:
    case TaskManagementFunction::task_reassign: return false;
  }
  return false;
}

}  // namespace

void Session::task_management(Link& link, const Pdu& pdu) {
  auto bhs = header_as<TaskManagementRequestBhs>(pdu.bhs);
  std::uint8_t code = bhs.function & kTaskManagementFunctionMask;
  if (pdu.bhs.immediate()) ++immediate_in_progress_;
  base::log::info("{} ({}): task management function {}, LUN {}, referenced task tag {:08X}h", link.peer(),
                  identity_.initiator_name, code,
                  scsi::decode_lun(bhs.lun).transform([](scsi::Lun lun) { return static_cast<int>(lun); }).value_or(-1),
                  bhs.referenced_task_tag.value());
  auto function = static_cast<TaskManagementFunction>(code);
  switch (function) {
    case TaskManagementFunction::abort_task: return abort_task(link, bhs);
    case TaskManagementFunction::abort_task_set:
    case TaskManagementFunction::clear_aca:
    case TaskManagementFunction::clear_task_set:
    case TaskManagementFunction::logical_unit_reset: {
      auto lun = scsi::decode_lun(bhs.lun);
      if (!lun) return task_management_done(link.number, bhs, TaskManagementResponse::lun_does_not_exist);
      return manage(link, bhs, function, lun, kReservedTag);
    }
    case TaskManagementFunction::target_warm_reset:
    case TaskManagementFunction::target_cold_reset:
    case TaskManagementFunction::task_reassign: return manage(link, bhs, function, std::nullopt, kReservedTag);
  }
  // QUERY TASK and its like need iSCSIProtocolLevel 2 (RFC 7144, 4.1).
  task_management_done(link.number, bhs, TaskManagementResponse::function_not_supported);
}

void Session::abort_task(Link& link, const TaskManagementRequestBhs& bhs) {
  Command* command = commands_.find(bhs.referenced_task_tag);
  if (!command) {
    bool plugged = abort_unarrived(bhs);
    return task_management_done(
        link.number, bhs,
        plugged ? TaskManagementResponse::function_complete : TaskManagementResponse::task_does_not_exist);
  }
  if (command->phase == Command::Phase::discarding || command->phase == Command::Phase::fenced) {
    forget(*command);
    return task_management_done(link.number, bhs, TaskManagementResponse::function_complete);
  }
  manage(link, bhs, TaskManagementFunction::abort_task, command->lun, command->tag);
}

/// ABORT TASK of a command that has not come, or not had its turn: its CmdSN counts as received (RFC 7143, 11.5.1).
bool Session::abort_unarrived(const TaskManagementRequestBhs& bhs) {
  auto held = std::ranges::find_if(held_, [&](const Held& each) {
    return !each.plug && each.bhs.code() == Opcode::scsi_command &&
           each.bhs.initiator_task_tag == bhs.referenced_task_tag;
  });
  if (held != held_.end()) {
    held->plug = true;
    return true;
  }
  CmdSn referenced(bhs.ref_cmd_sn);
  bool in_window = !referenced.before(window_.expected()) && !referenced.after(window_.max());
  if (!in_window || !referenced.before(CmdSn(bhs.cmd_sn))) return false;
  if (std::ranges::find(held_, referenced, &Held::cmd_sn) != held_.end()) return false;
  Held plug;
  plug.cmd_sn = referenced;
  plug.plug = true;
  held_.push_back(std::move(plug));
  held_more(held_.back().size());
  return true;
}

void Session::manage(Link& link, const TaskManagementRequestBhs& bhs, TaskManagementFunction function,
                     std::optional<scsi::Lun> lun, std::uint32_t tag) {
  if (ends_task_sets(function)) drop_unserved(bhs, lun);
  if (ending_) return;
  server_->manage(function, nexus_, lun, tag,
                  [self = shared_from_this(), number = link.number, bhs](TaskManagementResponse response) {
                    self->task_management_done(number, bhs, response);
                  });
}

/// Ends the tasks the device server does not know: those that only swallow data, and those before their turn. `lun`
/// nothing: of all logical units.
void Session::drop_unserved(const TaskManagementRequestBhs& bhs, std::optional<scsi::Lun> lun) {
  std::vector<Command*> discarding;
  commands_.for_each([&](Command& command) {
    bool selected = !lun || scsi::decode_lun(command.lun_field) == lun;
    if (selected && command.phase == Command::Phase::discarding) discarding.push_back(&command);
  });
  for (Command* command : discarding) {
    forget(*command);
    if (ending_) return;  // by the rule of another command, which got room for its data; no command is left
  }
  for (Held& held : held_) {
    bool selected = !lun || scsi::decode_lun(held.bhs.lun) == lun;
    if (selected && held.bhs.code() == Opcode::scsi_command && held.cmd_sn.before(CmdSn(bhs.cmd_sn))) held.plug = true;
  }
  overtake(CmdSn(bhs.cmd_sn), lun);
}

/// An immediate request may overtake commands that were sent before it on other connections: these are its business
/// all the same (RFC 7143, 4.2.3.3). They end when they come.
void Session::overtake(CmdSn before, std::optional<scsi::Lun> lun) {
  if (!before.after(window_.expected()) || before.after(window_.max() + 1)) return;
  if (lun && !server_->find(*lun)) return;
  auto known = std::ranges::find(overtaken_, lun, &Overtaken::lun);
  if (known == overtaken_.end()) {
    overtaken_.push_back({before, lun});
  } else if (before.after(known->before)) {
    known->before = before;
  }
}

/// Whether the command that is next in order was ended by a task management function before it came.
bool Session::was_overtaken(const Bhs& bhs) {
  // window_.expected() is past the command already.
  std::erase_if(overtaken_, [&](const Overtaken& each) { return each.before.before(window_.expected()); });
  return bhs.code() == Opcode::scsi_command && std::ranges::any_of(overtaken_, [&](const Overtaken& each) {
           return !each.lun || scsi::decode_lun(bhs.lun) == each.lun;
         });
}

void Session::task_management_done(std::uint32_t link_number, const TaskManagementRequestBhs& request,
                                   TaskManagementResponse response) {
  Link* link = find_number(link_number);
  bool answered = link && !link->closing;
  auto function = static_cast<TaskManagementFunction>(request.function & kTaskManagementFunctionMask);
  if (answered && links_.size() > 1 && ends_task_sets(function)) return answer_fenced(*link, request, response);
  leave_order(request);
  if (answered) answer_task_management(*link, request, response);
}

/// The request takes no room any more.
void Session::leave_order(const TaskManagementRequestBhs& request) {
  if (header_as<Bhs>(request).immediate()) {
    --immediate_in_progress_;
  } else {
    window_.done();
  }
}

void Session::answer_task_management(Link& link, const TaskManagementRequestBhs& request,
                                     TaskManagementResponse response) {
  TaskManagementResponseBhs answer;
  answer.initiator_task_tag = request.initiator_task_tag;
  answer.response = static_cast<std::uint8_t>(response);
  stamp_status(link, answer);
  link.writer.put(answer);
  link.output_added();
  bool cold = (request.function & kTaskManagementFunctionMask) ==
              static_cast<std::uint8_t>(TaskManagementFunction::target_cold_reset);
  if (!cold || response != TaskManagementResponse::function_complete) return;
  // A cold reset ends all sessions with the target (RFC 7143, 11.5.1); but others use what is not there for this
  // initiator, and for it they go on.
  const std::string why = "target cold reset";
  if (server_->may_use_all(nexus_)) return registry_.end_sessions(identity_.target->name, why);
  drop(true, why);
}

}  // namespace iscsi
