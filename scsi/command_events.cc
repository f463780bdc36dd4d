#include "scsi/command_events.h"

#include <fmt/format.h>

#include "scsi/block_cdb.h"
#include "scsi/command_table.h"
#include "scsi/copy_fabric.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/device_profile.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "tokens/token_manager.h"

namespace scsi {
namespace {

constexpr std::uint8_t kInquiry = 0x12;
constexpr std::uint8_t kEvpd = 0x01;
constexpr std::uint8_t kThirdPartyCopyPageCode = 0x8F;

std::optional<std::uint32_t> list_identifier(const Task& task) {
  const unsigned service_action = task.cdb[kServiceActionByte] & kServiceActionMask;
  if (task.cdb[0] == kThirdPartyCopyOut) {
    switch (static_cast<CopyOutServiceAction>(service_action)) {
      case CopyOutServiceAction::populate_token:
      case CopyOutServiceAction::write_using_token: return base::load<TokenOutCdb>(task.cdb).list_identifier;
      case CopyOutServiceAction::copy_operation_abort: return base::load<CopyResultsCdb>(task.cdb).list_identifier;
      case CopyOutServiceAction::extended_copy_lid1:
      case CopyOutServiceAction::extended_copy_lid4: break;  // in the parameter list
    }
    return {};
  }
  switch (static_cast<CopyInServiceAction>(service_action)) {
    case CopyInServiceAction::receive_copy_status_lid4:
    case CopyInServiceAction::receive_copy_data_lid4:
    case CopyInServiceAction::receive_rod_token_information:
      return base::load<CopyResultsCdb>(task.cdb).list_identifier;
    case CopyInServiceAction::receive_copy_status_lid1:
    case CopyInServiceAction::receive_copy_data_lid1:
    case CopyInServiceAction::receive_copy_failure_details:
      return base::load<CopyResultsLid1Cdb>(task.cdb).list_identifier;
    case CopyInServiceAction::receive_copy_operating_parameters:
    case CopyInServiceAction::report_all_rod_tokens: break;
  }
  return {};
}

bool is_copy(const Task& task) { return task.cdb[0] == kThirdPartyCopyOut || task.cdb[0] == kThirdPartyCopyIn; }

bool asks_for_copy_page(const Task& task) {
  return task.cdb[0] == kInquiry && (task.cdb[1] & kEvpd) && task.cdb[2] == kThirdPartyCopyPageCode;
}

void add_command(Event& event, const Task& task) {
  event.opcode = task.cdb[0];
  if (task.descriptor) {
    event.command = task.descriptor->name;
    event.service_action = task.descriptor->service_action;
    if (task.descriptor->counted != Counted::nothing) {
      BlockCdb cdb = parse_block_cdb(task.cdb);
      event.lba = cdb.lba.value;
      event.blocks = cdb.count.value;
    }
  } else {
    event.command = fmt::format("CDB {:02X}h", task.cdb[0]);
    if (is_copy(task)) event.service_action = task.cdb[kServiceActionByte] & kServiceActionMask;
  }
  if (is_copy(task)) event.list_identifier = list_identifier(task);
  if (task.cdb[0] == kInquiry && (task.cdb[1] & kEvpd)) event.page = task.cdb[2];
}

}  // namespace

void add_subject(Event& event, const CopySubject& subject) {
  if (subject.token_of) {
    const tokens::TokenId id{subject.token};
    event.token = EventToken{subject.token_of->array_name(), subject.token_of->tokens().number(id), id};
  }
  if (subject.blocks > 0) {
    event.lba = subject.lba;
    event.blocks = subject.blocks;
  }
}

Event event_of(EventKind kind, const DeviceServer& server, const Task& task) {
  Event event{.kind = kind,
              .array = server.copy_manager().array_name(),
              .target = server.config().target_name,
              .lun = task.lun};
  const LogicalUnit* lu = task.logical_unit ? task.logical_unit : server.find(task.nexus, task.lun);
  if (lu) event.logical_unit = lu->config().name;
  auto nexus = server.nexuses().find(task.nexus);
  if (nexus != server.nexuses().end()) event.initiator = nexus->second.initiator_name;
  add_command(event, task);
  add_subject(event, task.copy);
  return event;
}

void record_outcome(Journal& journal, const DeviceServer& server, const Task& task, const std::string& rule) {
  // A rule may say TASK ABORTED, too (scsi/rules.h).
  const bool refused = task.status != Status::good && (task.status != Status::task_aborted || !rule.empty());
  Event event = event_of(refused ? EventKind::refusal : EventKind::command, server, task);
  event.status = task.status;
  if (task.status == Status::check_condition) {
    event.sense = task.sense;
    event.sense->rule.clear();
    event.reason = rule.empty() ? describe(task.sense) : rule;
  } else if (refused) {
    event.reason = rule.empty() ? describe(task.status) : rule;
  } else if (task.status == Status::task_aborted) {
    event.reason = "aborted by task management";
  } else if (asks_for_copy_page(task)) {
    event.reason = server.copy_manager().profile().odx ? "VPD page 8Fh offers ODX"
                                                       : "VPD page 8Fh offers EXTENDED COPY only, no ODX";
  }
  journal.record(std::move(event));
}

bool is_recorded(const Task& task) { return is_copy(task) || asks_for_copy_page(task); }

void record_nexus(Journal& journal, EventKind kind, const DeviceServer& server, const ITNexus& nexus) {
  journal.record({.kind = kind,
                  .array = server.copy_manager().array_name(),
                  .target = nexus.target_name,
                  .initiator = nexus.initiator_name,
                  .reason = kind == EventKind::login ? "the initiator has logged in" : "its session has ended"});
}

void record_function(Journal& journal, const DeviceServer& server, TaskManagementFunction function, NexusId nexus,
                     std::optional<Lun> lun) {
  Event event{.kind = EventKind::task_management,
              .array = server.copy_manager().array_name(),
              .target = server.config().target_name,
              .lun = lun};
  if (const LogicalUnit* lu = lun ? server.find(nexus, *lun) : nullptr) event.logical_unit = lu->config().name;
  auto known = server.nexuses().find(nexus);
  if (known != server.nexuses().end()) event.initiator = known->second.initiator_name;
  event.command = name_of(function);
  event.reason = fmt::format("{} was asked for", event.command);
  journal.record(std::move(event));
}

}  // namespace scsi
