// Task management (RFC 7143, 11.5 and 11.6).
#include <algorithm>

#include "base/log.h"
#include "target/iscsi/session.h"
#include "target/iscsi/session_registry.h"

namespace iscsi {

using scsi::TaskManagementFunction;
using scsi::TaskManagementResponse;

void Session::task_management(const Pdu& pdu) {
  auto bhs = header_as<TaskManagementRequestBhs>(pdu.bhs);
  std::uint8_t code = bhs.function & kTaskManagementFunctionMask;
  if (pdu.bhs.immediate()) ++immediate_in_progress_;
  base::log::info("{} ({}): task management function {}, LUN {}, referenced task tag {:08X}h", link_->peer(),
                  identity_.initiator_name, code,
                  scsi::decode_lun(bhs.lun).transform([](scsi::Lun lun) { return static_cast<int>(lun); }).value_or(-1),
                  bhs.referenced_task_tag.value());
  auto function = static_cast<TaskManagementFunction>(code);
  switch (function) {
    case TaskManagementFunction::abort_task: return abort_task(bhs);
    case TaskManagementFunction::abort_task_set:
    case TaskManagementFunction::clear_aca:
    case TaskManagementFunction::clear_task_set:
    case TaskManagementFunction::logical_unit_reset: {
      auto lun = scsi::decode_lun(bhs.lun);
      if (!lun) return task_management_done(bhs, TaskManagementResponse::lun_does_not_exist);
      return manage(bhs, function, lun, kReservedTag);
    }
    case TaskManagementFunction::target_warm_reset:
    case TaskManagementFunction::target_cold_reset:
    case TaskManagementFunction::task_reassign: return manage(bhs, function, std::nullopt, kReservedTag);
  }
  // QUERY TASK and its like need iSCSIProtocolLevel 2 (RFC 7144, 4.1).
  task_management_done(bhs, TaskManagementResponse::function_not_supported);
}

void Session::abort_task(const TaskManagementRequestBhs& bhs) {
  Command* command = commands_.find(bhs.referenced_task_tag);
  if (!command) {
    bool plugged = abort_unarrived(bhs);
    return task_management_done(
        bhs, plugged ? TaskManagementResponse::function_complete : TaskManagementResponse::task_does_not_exist);
  }
  if (command->phase == Command::Phase::discarding) {
    forget(*command);
    return task_management_done(bhs, TaskManagementResponse::function_complete);
  }
  manage(bhs, TaskManagementFunction::abort_task, command->lun, command->tag);
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

void Session::manage(const TaskManagementRequestBhs& bhs, TaskManagementFunction function, std::optional<scsi::Lun> lun,
                     std::uint32_t tag) {
  if (function != TaskManagementFunction::abort_task) drop_unserved(bhs, lun);
  server_->manage(function, nexus_, lun, tag, [self = shared_from_this(), bhs](TaskManagementResponse response) {
    self->task_management_done(bhs, response);
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
  for (Command* command : discarding) forget(*command);
  for (Held& held : held_) {
    bool selected = !lun || scsi::decode_lun(held.bhs.lun) == lun;
    if (selected && held.bhs.code() == Opcode::scsi_command && held.cmd_sn.before(CmdSn(bhs.cmd_sn))) held.plug = true;
  }
}

void Session::task_management_done(const TaskManagementRequestBhs& request, TaskManagementResponse response) {
  if (header_as<Bhs>(request).immediate()) {
    --immediate_in_progress_;
  } else {
    window_.done();
  }
  if (!link_) return;
  TaskManagementResponseBhs answer;
  answer.initiator_task_tag = request.initiator_task_tag;
  answer.response = static_cast<std::uint8_t>(response);
  stamp_status(answer);
  link_->writer.put(answer);
  link_->output_added();
  bool cold = (request.function & kTaskManagementFunctionMask) ==
              static_cast<std::uint8_t>(TaskManagementFunction::target_cold_reset);
  // A cold reset ends all sessions with the target (RFC 7143, 11.5.1).
  if (cold && response == TaskManagementResponse::function_complete)
    registry_.end_sessions(identity_.target->name, "target cold reset");
}

}  // namespace iscsi
