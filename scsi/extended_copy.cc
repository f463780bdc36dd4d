#include "scsi/extended_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scsi/copy_identity.h"
#include "scsi/copy_job.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/extended_copy_list.h"
#include "scsi/extended_copy_segments.h"
#include "scsi/logical_unit.h"
#include "scsi/token_commands.h"
#include "tokens/copy_operation.h"

namespace scsi {

namespace {

using Outcome = std::expected<void, Sense>;
using tokens::CopyCommand;

CopyCommand command_of(ListFormat format) {
  return format == ListFormat::lid1 ? CopyCommand::extended_copy_lid1 : CopyCommand::extended_copy;
}

/// A list identifier names one operation, whichever form it came in; the other form is told so in words of its own
/// (SPC-4 6.4.3.2).
std::optional<Sense> other_form_in_progress(const CommandContext& context, const ExtendedCopyHeader& header) {
  const auto* running = context.server.copy_manager().operations().find(
      copy_operation_key(context.task.nexus, *context.lu, header.list_identifier));
  if (!running || !tokens::in_progress(running->status())) return {};
  bool lid1 = header.format == ListFormat::lid1;
  if (running->command() != command_of(lid1 ? ListFormat::lid4 : ListFormat::lid1)) return {};
  return Sense::invalid_field_in_list(
      lid1 ? offsetof(ExtendedCopyLid1Header, list_identifier) : offsetof(ExtendedCopyLid4Header, list_identifier), {},
      fmt::format("list identifier {} is being processed in the other form", header.list_identifier));
}

/// Tokens in the inline data are judged before the first segment: what fails then transfers nothing (SPC-4
/// 5.17.6.5.2).
std::expected<std::vector<ListRod>, Sense> judge_tokens(CopyJob& job, const ExtendedCopyList& list) {
  std::vector<ListRod> rods(list.cscds.size());
  for (std::size_t i = 0; i < rods.size(); ++i) {
    const auto* rod = std::get_if<RodCscd>(&list.cscds[i].what);
    if (!rod || !rod->token) continue;
    auto judged = judge_token(job, *rod->token, rod->token_offset);
    if (!judged) return std::unexpected(std::move(judged.error()));
    rods[i].token.emplace(std::move(*judged));
  }
  return rods;
}

/// ROD PRODUCER CSCD DESCRIPTOR ID of a logical unit that is none of this target's (SPC-4 table 144), or not there for
/// the initiator.
std::optional<Sense> check_producers(const CopyJob& job, const ExtendedCopyList& list) {
  for (const CscdDescriptor& cscd : list.cscds) {
    const auto* rod = std::get_if<RodCscd>(&cscd.what);
    if (!rod || rod->producer >= list.cscds.size()) continue;
    FieldPointer field = FieldPointer::list(cscd.offset + offsetof(RodCscdDescriptor, rod_producer_cscd_descriptor_id));
    const auto* producer = std::get_if<LogicalUnitCscd>(&list.cscds[rod->producer].what);
    if (!producer)
      return Sense::illegal_request(AdditionalSense::invalid_field_in_parameter_list, "a ROD produces no RODs", field);
    bool here = std::ranges::any_of(job.server().logical_units(), [&](const auto& entry) {
      const LogicalUnit& lu = *entry.second;
      return designates(*producer, lu.identity()) && DeviceServer::may_use(job.nexus(), lu);
    });
    if (here) continue;
    if (job.manager().remote_tokens() == 0)
      return Sense::illegal_request(AdditionalSense::invalid_token_operation_remote_token_usage_not_supported,
                                    "the ROD's producer is another target's", field);
    if (rod->return_token)
      return Sense::illegal_request(AdditionalSense::invalid_token_operation_remote_rod_token_creation_not_supported,
                                    "the ROD's producer is another target's", field);
    if (rod->rod_type != 0)
      return Sense::illegal_request(AdditionalSense::invalid_field_in_parameter_list,
                                    "the ROD's producer is another target's", field);
  }
  return {};
}

CopyJob::Body run(CopyJob& job, ExtendedCopyList list, std::vector<ListRod> rods) {
  ExtendedCopy copy(job, std::move(list), std::move(rods));
  co_return co_await copy.run();
}

Outcome extended_copy(CommandContext& context, ListFormat format) {
  if (!context.task.has_data_out()) return {};
  const DeviceProfile& profile = context.server.copy_manager().profile();
  auto bytes = context.parameter_list();
  if (!bytes) return std::unexpected(std::move(bytes.error()));
  auto header = parse_extended_copy_header(*bytes, format, profile);
  if (!header) return std::unexpected(std::move(header.error()));
  std::optional<std::uint32_t> list_identifier;
  if (header->usage != ListIdUsage::none) {
    if (auto other = other_form_in_progress(context, *header)) return std::unexpected(std::move(*other));
    list_identifier = header->list_identifier;
  }
  auto job = CopyJob::begin(context, command_of(format), list_identifier);
  if (!job) return std::unexpected(std::move(job.error()));
  CopyJob& copy = **job;
  copy.operation().count_in(tokens::TransferCountUnits::bytes);

  auto list = parse_extended_copy(*bytes, format, profile);
  if (!list) return copy.refuse(std::move(list.error()));
  if (auto refusal = check_producers(copy, *list)) return copy.refuse(std::move(*refusal));
  auto rods = judge_tokens(copy, *list);
  if (!rods) return copy.refuse(std::move(rods.error()));
  bool immediate = list->header.immediate;
  return copy.start(context, run(copy, std::move(*list), std::move(*rods)), immediate);
}

}  // namespace

std::expected<void, Sense> check_extended_copy(const CommandContext& context) {
  constexpr std::uint64_t kLongest = sizeof(ExtendedCopyLid4Header) + 3 * 0xFFFF;
  if (context.task.data_out_length <= kLongest) return {};
  return std::unexpected(Sense::illegal_request(
      AdditionalSense::parameter_list_length_error,
      fmt::format("PARAMETER LIST LENGTH {} is more than {}", context.task.data_out_length, kLongest)));
}

std::expected<void, Sense> extended_copy_lid1(CommandContext& context) {
  return extended_copy(context, ListFormat::lid1);
}
std::expected<void, Sense> extended_copy_lid4(CommandContext& context) {
  return extended_copy(context, ListFormat::lid4);
}

}  // namespace scsi
