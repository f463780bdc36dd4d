#include "scsi/copy_commands.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "scsi/copy_identity.h"
#include "scsi/copy_job.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/copy_parameter_list.h"
#include "scsi/copy_receive_commands.h"
#include "scsi/copy_results.h"
#include "scsi/device_server.h"
#include "scsi/extended_copy.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/logical_unit.h"
#include "scsi/task_set.h"
#include "scsi/token_commands.h"
#include "tokens/copy_operation.h"

namespace scsi {

namespace {

using Outcome = std::expected<void, Sense>;

/// The operation a RECEIVE command asks for. 05/24/00 when there is none of that name on this nexus.
std::expected<const tokens::CopyOperation*, Sense> find_operation(const CommandContext& context) {
  std::uint32_t list_identifier = context.cdb_as<CopyResultsCdb>().list_identifier;
  const auto* operation = context.server.copy_manager().operations().find(
      copy_operation_key(context.task.nexus, *context.lu, list_identifier));
  if (operation) return operation;
  return std::unexpected(
      Sense::invalid_field_in_cdb(offsetof(CopyResultsCdb, list_identifier), {},
                                  fmt::format("nothing is known of list identifier {}", list_identifier)));
}

/// SPC-4 6.26. The token is given away once: a transfer of all of it, or ALLOCATION LENGTH 0, discards it; one that was
/// cut keeps it. What has no token is kept like the copy status.
Outcome receive_rod_token_information(CommandContext& context) {
  auto operation = find_operation(context);
  if (operation && !(*operation)->kept(tokens::CopyResultPart::rod_token_information))
    operation = std::unexpected(Sense::invalid_field_in_cdb(offsetof(CopyResultsCdb, list_identifier), {},
                                                            "the ROD token information was delivered or discarded"));
  if (!operation) return std::unexpected(std::move(operation.error()));
  std::vector<std::uint8_t> data = encode_rod_token_information(**operation);
  std::uint64_t allocation_length = context.cdb_as<CopyResultsCdb>().allocation_length;
  bool delivered = !(*operation)->outcome().tokens.empty() && allocation_length >= data.size();
  if (delivered || allocation_length == 0)
    context.server.copy_manager().operations().discard((*operation)->key(),
                                                       tokens::CopyResultPart::rod_token_information);
  context.respond(std::move(data));
  return {};
}

/// SPC-4 6.24. Consumes nothing.
Outcome receive_copy_status(CommandContext& context) {
  auto operation = find_operation(context);
  if (!operation) return std::unexpected(std::move(operation.error()));
  context.respond(encode_copy_status(**operation));
  return {};
}

/// SPC-4 6.3. Equals ABORT TASK for the operation of that name: complete when nothing of it moves any more. 05/24/00
/// when none is being processed.
Outcome copy_operation_abort(CommandContext& context) {
  std::uint32_t list_identifier = context.cdb_as<CopyResultsCdb>().list_identifier;
  CopyJob* job =
      context.server.copy_manager().find_job(copy_operation_key(context.task.nexus, *context.lu, list_identifier));
  if (!job)
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(CopyResultsCdb, list_identifier), {},
        fmt::format("no operation with list identifier {} is being processed", list_identifier)));
  context.defer(waits_for_others);
  job->stop(
      std::make_shared<Rendezvous>([&server = context.server, task = &context.task] { server.finish(*task, {}); }));
  return {};
}

bool offers_odx(const DeviceProfile& profile, const LogicalUnit*) { return profile.odx; }
bool offers_third_party_copy(const DeviceProfile& profile, const LogicalUnit*) { return profile.third_party_copy(); }
bool offers_extended_copy(const DeviceProfile& profile, const LogicalUnit*) { return profile.extended_copy; }
bool offers_held_data(const DeviceProfile& profile, const LogicalUnit*) {
  return profile.extended_copy && profile.held_data_limit_bytes > 0;
}
/// ROD tokens come from POPULATE TOKEN, and from EXTENDED COPY where it knows RODs.
bool offers_tokens(const DeviceProfile& profile, const LogicalUnit*) {
  return profile.odx || (profile.extended_copy && !profile.rod_types.empty());
}
bool offers_background(const DeviceProfile& profile, const LogicalUnit*) {
  return profile.third_party_copy() && profile.background;
}

/// 05/1A/00 for a list longer than its own length field can say, before any of it is asked for.
Outcome check_copy_command(const CommandContext& context) {
  if (context.task.data_out_length > kMaximumTokenParameterList)
    return std::unexpected(
        Sense::illegal_request(AdditionalSense::parameter_list_length_error,
                               fmt::format("PARAMETER LIST LENGTH {} is more than {}", context.task.data_out_length,
                                           kMaximumTokenParameterList)));
  return {};
}

std::uint64_t parameter_list_length(const Task& task, const LogicalUnit*) {
  return base::load<TokenOutCdb>(task.cdb).parameter_list_length;
}
std::uint64_t extended_copy_length(const Task& task, const LogicalUnit*) {
  return base::load<ExtendedCopyCdb>(task.cdb).parameter_list_length;
}
std::uint64_t allocation_length(const Task& task, const LogicalUnit*) {
  return base::load<CopyResultsCdb>(task.cdb).allocation_length;
}

using Usage = std::array<std::uint8_t, kMaxCdbLength>;
// GROUP NUMBER (byte 14, bits 4-0) is tolerated and not looked at. Byte 1 is the service action's.
constexpr Usage kTokenOutUsage{0x83, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0};
constexpr Usage kExtendedCopyUsage{0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};
constexpr Usage kCopyAbortUsage{0x83, 0, 0xFF, 0xFF, 0xFF, 0xFF};
constexpr Usage kCopyResultsUsage{0x84, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};

constexpr Usage kCopyResultsLid1Usage{0x84, 0, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};
constexpr Usage kNoListIdentifierUsage{0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};

template <typename ServiceAction>
constexpr Usage with_action(Usage usage, ServiceAction action) {
  usage[kServiceActionByte] = static_cast<std::uint8_t>(action);
  return usage;
}

// Results can be asked for whatever the reservation and state of the medium (SPC-4 table 65).
constexpr Gates kResultGates{.reservation = ReservationGate::none, .ready = false};

/// A row of the THIRD-PARTY COPY IN commands.
constexpr CommandDescriptor results_row(std::string_view name, CopyInServiceAction action, Usage usage,
                                        CommandBody body, bool (*offered)(const DeviceProfile&, const LogicalUnit*)) {
  return {.name = name,
          .opcode = kThirdPartyCopyIn,
          .service_action = static_cast<std::uint16_t>(action),
          .cdb_length = 16,
          .usage = with_action(usage, action),
          .direction = DataDirection::in,
          .gates = kResultGates,
          .transfer_length = allocation_length,
          .body = body,
          .offered = offered};
}

constexpr CommandDescriptor extended_copy_row(std::string_view name, CopyOutServiceAction action, CommandBody body) {
  return {.name = name,
          .opcode = kThirdPartyCopyOut,
          .service_action = static_cast<std::uint16_t>(action),
          .cdb_length = 16,
          .usage = with_action(kExtendedCopyUsage, action),
          .direction = DataDirection::out,
          .gates = {},
          .transfer_length = extended_copy_length,
          .body = body,
          .check = check_extended_copy,
          .offered = offers_extended_copy};
}

constexpr CommandDescriptor kRows[] = {
    extended_copy_row("EXTENDED COPY(LID1)", CopyOutServiceAction::extended_copy_lid1, extended_copy_lid1),
    extended_copy_row("EXTENDED COPY(LID4)", CopyOutServiceAction::extended_copy_lid4, extended_copy_lid4),
    {.name = "POPULATE TOKEN",
     .opcode = kThirdPartyCopyOut,
     .service_action = static_cast<std::uint16_t>(CopyOutServiceAction::populate_token),
     .cdb_length = 16,
     .usage = with_action(kTokenOutUsage, CopyOutServiceAction::populate_token),
     .direction = DataDirection::out,
     .gates = {.reservation = ReservationGate::read},
     .transfer_length = parameter_list_length,
     .body = populate_token,
     .check = check_copy_command,
     .offered = offers_odx},
    {.name = "WRITE USING TOKEN",
     .opcode = kThirdPartyCopyOut,
     .service_action = static_cast<std::uint16_t>(CopyOutServiceAction::write_using_token),
     .cdb_length = 16,
     .usage = with_action(kTokenOutUsage, CopyOutServiceAction::write_using_token),
     .direction = DataDirection::out,
     .gates = {.reservation = ReservationGate::write},
     .transfer_length = parameter_list_length,
     .body = write_using_token,
     .check = check_copy_command,
     .offered = offers_odx},
    {.name = "COPY OPERATION ABORT",
     .opcode = kThirdPartyCopyOut,
     .service_action = static_cast<std::uint16_t>(CopyOutServiceAction::copy_operation_abort),
     .cdb_length = 16,
     .usage = with_action(kCopyAbortUsage, CopyOutServiceAction::copy_operation_abort),
     .direction = DataDirection::none,
     .gates = {.ready = false},
     .transfer_length = nullptr,
     .body = copy_operation_abort,
     .offered = offers_background},
    results_row("RECEIVE COPY STATUS(LID1)", CopyInServiceAction::receive_copy_status_lid1, kCopyResultsLid1Usage,
                receive_copy_status_lid1, offers_extended_copy),
    results_row("RECEIVE COPY DATA(LID1)", CopyInServiceAction::receive_copy_data_lid1, kCopyResultsLid1Usage,
                receive_copy_data_lid1, offers_held_data),
    results_row("RECEIVE COPY OPERATING PARAMETERS", CopyInServiceAction::receive_copy_operating_parameters,
                kNoListIdentifierUsage, receive_copy_operating_parameters, offers_extended_copy),
    results_row("RECEIVE COPY FAILURE DETAILS(LID1)", CopyInServiceAction::receive_copy_failure_details,
                kCopyResultsLid1Usage, receive_copy_failure_details, offers_extended_copy),
    results_row("RECEIVE COPY STATUS(LID4)", CopyInServiceAction::receive_copy_status_lid4, kCopyResultsUsage,
                receive_copy_status, offers_third_party_copy),
    results_row("RECEIVE COPY DATA(LID4)", CopyInServiceAction::receive_copy_data_lid4, kCopyResultsUsage,
                receive_copy_data_lid4, offers_held_data),
    results_row("RECEIVE ROD TOKEN INFORMATION", CopyInServiceAction::receive_rod_token_information, kCopyResultsUsage,
                receive_rod_token_information, offers_tokens),
    results_row("REPORT ALL ROD TOKENS", CopyInServiceAction::report_all_rod_tokens, kNoListIdentifierUsage,
                report_all_rod_tokens, offers_tokens),
};

}  // namespace

std::span<const CommandDescriptor> copy_commands() { return kRows; }

}  // namespace scsi
