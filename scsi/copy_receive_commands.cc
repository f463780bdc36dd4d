#include "scsi/copy_receive_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scsi/copy_identity.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/copy_results.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace scsi {

namespace {

using Outcome = std::expected<void, Sense>;
using tokens::CopyOperation;
using tokens::CopyResultPart;

constexpr std::size_t kListIdentifier = offsetof(CopyResultsCdb, list_identifier);
static_assert(kListIdentifier == offsetof(CopyResultsLid1Cdb, list_identifier));

Sense not_known(std::string rule) { return Sense::invalid_field_in_cdb(kListIdentifier, {}, std::move(rule)); }

/// The operation of that name on this nexus, as long as `part` of its result is there.
std::expected<const CopyOperation*, Sense> find(const CommandContext& context, std::uint32_t list_identifier,
                                                CopyResultPart part) {
  const CopyOperation* operation = context.server.copy_manager().operations().find(
      copy_operation_key(context.task.nexus, *context.lu, list_identifier));
  if (!operation)
    return std::unexpected(not_known(fmt::format("nothing is known of list identifier {}", list_identifier)));
  if (!operation->kept(part)) return std::unexpected(not_known("it was delivered or discarded"));
  return operation;
}
std::expected<const CopyOperation*, Sense> find_lid1(const CommandContext& context, CopyResultPart part) {
  return find(context, context.cdb_as<CopyResultsLid1Cdb>().list_identifier, part);
}

/// Answers; `part` is discarded once all of it was given, or with ALLOCATION LENGTH 0 (SPC-4 5.17.4.5, 6.23).
void deliver(CommandContext& context, const CopyOperation& operation, CopyResultPart part,
             std::vector<std::uint8_t> data) {
  std::uint64_t allocation_length = context.cdb_as<CopyResultsCdb>().allocation_length;
  if (allocation_length >= data.size() || allocation_length == 0)
    context.server.copy_manager().operations().discard(operation.key(), part);
  context.respond(std::move(data));
}

CopyStatusLid1 status_lid1(tokens::CopyStatus status) {
  if (tokens::in_progress(status)) return CopyStatusLid1::in_progress;
  bool errors = status == tokens::CopyStatus::completed_with_errors || status == tokens::CopyStatus::terminated;
  return errors ? CopyStatusLid1::completed_with_errors : CopyStatusLid1::completed;
}

}  // namespace

/// SPC-4 6.25. One answer after the end, whatever its length.
std::expected<void, Sense> receive_copy_status_lid1(CommandContext& context) {
  auto operation = find_lid1(context, CopyResultPart::status_lid1);
  if (!operation) return std::unexpected(std::move(operation.error()));
  const tokens::CopyOutcome& outcome = (*operation)->outcome();
  auto data = encode_copy_status_lid1({.status = status_lid1(outcome.status),
                                       .held_data_discarded = outcome.held_data_discarded,
                                       .segments_processed = outcome.segments_processed,
                                       .units = (*operation)->units(),
                                       .transfer_count = outcome.transfer_count});
  context.server.copy_manager().operations().discard((*operation)->key(), CopyResultPart::status_lid1);
  context.respond(std::move(data));
  return {};
}

/// SPC-4 6.21.
std::expected<void, Sense> receive_copy_data_lid1(CommandContext& context) {
  auto operation = find_lid1(context, CopyResultPart::held_data);
  if (!operation) return std::unexpected(std::move(operation.error()));
  if (tokens::in_progress((*operation)->status())) return std::unexpected(not_known("it is being processed"));
  deliver(context, **operation, CopyResultPart::held_data, encode_held_data_lid1((*operation)->outcome().held_data));
  return {};
}

/// SPC-4 6.20. The status comes also while the operation is processed, and then without data.
std::expected<void, Sense> receive_copy_data_lid4(CommandContext& context) {
  auto operation = find(context, context.cdb_as<CopyResultsCdb>().list_identifier, CopyResultPart::held_data);
  if (!operation) return std::unexpected(std::move(operation.error()));
  auto data = encode_held_data_lid4(**operation);
  if (tokens::in_progress((*operation)->status())) {
    context.respond(std::move(data));
  } else {
    deliver(context, **operation, CopyResultPart::held_data, std::move(data));
  }
  return {};
}

/// SPC-4 6.23.
std::expected<void, Sense> receive_copy_failure_details(CommandContext& context) {
  auto operation = find_lid1(context, CopyResultPart::failure_details);
  if (!operation) return std::unexpected(std::move(operation.error()));
  if ((*operation)->command() != tokens::CopyCommand::extended_copy_lid1)
    return std::unexpected(not_known("it is no EXTENDED COPY(LID1)"));
  if (tokens::in_progress((*operation)->status())) return std::unexpected(not_known("it is being processed"));
  const tokens::CopyOutcome& outcome = (*operation)->outcome();
  if (outcome.sense.empty()) {
    context.respond(encode_no_failure_details());
    return {};
  }
  deliver(context, **operation, CopyResultPart::failure_details,
          encode_failure_details(outcome.completion_status, outcome.sense));
  return {};
}

/// SPC-4 6.22.
std::expected<void, Sense> receive_copy_operating_parameters(CommandContext& context) {
  context.respond(encode_copy_operating_parameters(context.server.copy_manager().profile()));
  return {};
}

/// SPC-4 6.31: the valid tokens that the copy manager of this logical unit made, as many as ALLOCATION LENGTH has room
/// for.
/// DEVIATION: kMostReportedTokens at most, so that no command makes others wait for the list of a million.
std::expected<void, Sense> report_all_rod_tokens(CommandContext& context) {
  std::vector<tokens::RodToken> images;
  auto creator = creator_descriptor(*context.lu);
  const std::uint32_t room = context.cdb_as<CopyResultsCdb>().allocation_length;
  const std::size_t most = std::min<std::size_t>(room / kManagementTokenLength + 1, kMostReportedTokens);
  std::size_t all = context.server.copy_manager().tokens().for_each_of(
      context.lu->identity().naa, most, [&](const tokens::TokenManager::Description& token) {
        images.push_back(tokens::TokenManager::image_of(token, creator));
      });
  context.respond(encode_all_rod_tokens(images, all));
  return {};
}

}  // namespace scsi
