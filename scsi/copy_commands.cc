#include "scsi/copy_commands.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "scsi/copy_identity.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/copy_parameter_list.h"
#include "scsi/copy_results.h"
#include "scsi/device_server.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace scsi {

namespace {

using Outcome = std::expected<void, Sense>;
using tokens::CopyCommand;
using tokens::CopyStatus;

Sense plain(SenseKey key, AdditionalSense code, std::string rule) { return {key, code, {}, {}, std::move(rule)}; }

/// WINDOWS: the only code that becomes STATUS_INSUFFICIENT_RESOURCES (classpnp). SPC-4 names 55h/0Ch and 55h/0Dh.
Sense out_of_resources(std::string rule) {
  return plain(SenseKey::aborted_command, AdditionalSense::insufficient_resources, std::move(rule));
}

constexpr std::size_t kToken = offsetof(WriteUsingTokenList, rod_token);

/// SPC-4 5.17.6.5.2.
Sense token_sense(tokens::TokenError error) {
  using enum tokens::TokenError;
  auto refused = [](AdditionalSense code, std::string rule, std::size_t byte = kToken) {
    return Sense::illegal_request(code, std::move(rule), FieldPointer::list(byte));
  };
  switch (error) {
    case unsupported_type:
      return refused(AdditionalSense::invalid_token_operation_unsupported_token_type, "ROD TYPE is not supported");
    case invalid_length:
      return refused(AdditionalSense::invalid_token_operation_invalid_token_length, "ROD TOKEN LENGTH is not 01F8h",
                     kToken + offsetof(tokens::RodToken, rod_token_length));
    case remote_not_supported:
      return refused(AdditionalSense::invalid_token_operation_remote_token_usage_not_supported,
                     "the token's creator is no logical unit of this array");
    case unknown:
      return refused(AdditionalSense::invalid_token_operation_token_unknown,
                     "no such token, or one of an earlier start");
    case corrupt: return refused(AdditionalSense::invalid_token_operation_token_corrupt, "the token was altered");
    case revoked: return refused(AdditionalSense::invalid_token_operation_token_revoked, "the token was revoked");
    case expired: return refused(AdditionalSense::invalid_token_operation_token_expired, "the token has expired");
    case cancelled: return refused(AdditionalSense::invalid_token_operation_token_cancelled, "the token was cancelled");
    case deleted: return refused(AdditionalSense::invalid_token_operation_token_deleted, "the token was deleted");
    case too_many_tokens: break;
  }
  return out_of_resources("the limit on tokens is reached");
}

/// What both originating commands share: where results go. Lives until the command ends; when it does so without an
/// outcome (it was aborted), the operation counts as terminated.
struct CopyJob {
  CopyJob(CommandContext& context, tokens::CopyOperationGuard its_guard)
      : manager(context.server.copy_manager()), lu(*context.lu), task(context.task), guard(std::move(its_guard)) {}

  CopyManager& manager;
  LogicalUnit& lu;
  Task& task;
  tokens::CopyOperationGuard guard;

  bool aborted() const { return task.abort_requested.load(std::memory_order_relaxed); }

  /// Ends the operation without errors.
  Outcome complete(std::uint64_t blocks, std::uint16_t steps, std::optional<tokens::RodToken> token = {}) {
    guard.finish({.status = CopyStatus::completed,
                  .transfer_count = blocks,
                  .operation_counter = steps,
                  .completion_status = static_cast<std::uint8_t>(Status::good),
                  .token = std::move(token)});
    return {};
  }

  /// Ends the operation with errors and nothing transferred; its result repeats the command's sense data. WINDOWS:
  /// classpnp asks for that result and believes it, not the CHECK CONDITION.
  std::unexpected<Sense> fail(Sense sense) { return end(CopyStatus::completed_with_errors, 0, 0, std::move(sense)); }

  /// Ends an operation that stopped after `blocks` (not 0), SBC-4 4.28.2.
  std::unexpected<Sense> fall_short(std::uint64_t blocks, std::uint16_t steps, std::string rule) {
    Sense sense = plain(SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, std::move(rule));
    sense.information = blocks;
    return end(CopyStatus::completed_partial, blocks, steps, std::move(sense));
  }

 private:
  std::unexpected<Sense> end(CopyStatus status, std::uint64_t blocks, std::uint16_t steps, Sense sense) {
    guard.finish({.status = status,
                  .transfer_count = blocks,
                  .operation_counter = steps,
                  .completion_status = static_cast<std::uint8_t>(Status::check_condition),
                  .sense = encode_fixed(sense)});
    return std::unexpected(std::move(sense));
  }
};

/// Takes the list identifier (SPC-4 5.17.4.2). Failures leave no result: the identifier is not the command's.
std::expected<tokens::CopyOperationGuard, Sense> begin(const CommandContext& context, CopyCommand command) {
  std::uint32_t list_identifier = context.cdb_as<TokenOutCdb>().list_identifier;
  auto guard = context.server.copy_manager().operations().begin(
      copy_operation_key(context.task.nexus, *context.lu, list_identifier), command);
  if (guard) return std::move(*guard);
  if (guard.error() == tokens::CopyStartError::too_many_operations)
    return std::unexpected(out_of_resources("the limit on copy operations being processed is reached"));
  return std::unexpected(plain(SenseKey::illegal_request, AdditionalSense::operation_in_progress,
                               fmt::format("list identifier {} is being processed", list_identifier)));
}

struct PopulateJob : CopyJob {
  using CopyJob::CopyJob;
  std::vector<handlers::ByteRange> ranges;
  std::uint64_t blocks = 0;
  tokens::RodType type{};
  tokens::NewToken token;  ///< all but its ROD
  handlers::IoResult<handlers::SnapshotRef> snapshot;

  Outcome finish() {
    if (!snapshot && snapshot.error().kind == handlers::IoError::Kind::no_space)
      return fail(out_of_resources(snapshot.error().reason));
    if (!snapshot) return fail(io_error_sense(snapshot.error()));
    token.rod = base::make_ref<const tokens::Rod>(type, std::move(*snapshot),
                                                  tokens::RodSource{lu.config().name, lu.block_length()});
    auto made = manager.tokens().create(std::move(token));
    if (!made) return fail(token_sense(made.error()));
    return complete(blocks, 1, *made);
  }
};

/// SBC-4 5.12. Errors: 05/00/16; those of parse_populate_token(); 0B/55/03 out of tokens or of room to capture; those
/// of the store.
Outcome populate_token(CommandContext& context) {
  if (!context.task.has_data_out()) return {};
  auto guard = begin(context, CopyCommand::populate_token);
  if (!guard) return std::unexpected(std::move(guard.error()));
  auto job = std::make_shared<PopulateJob>(context, std::move(*guard));

  auto list = context.parameter_list();
  if (!list) return job->fail(std::move(list.error()));
  auto request = parse_populate_token(*list, job->lu, job->manager.profile());
  if (!request) return job->fail(std::move(request.error()));
  // No blocks, no data to stand for: "zero or one" token is zero.
  if (request->ranges.ranges.empty()) return job->complete(0, 0);

  job->ranges = std::move(request->ranges.ranges);
  job->blocks = request->ranges.total_bytes / job->lu.block_length();
  job->type = request->rod_type;
  job->token = {.inactivity_timeout = std::chrono::seconds(request->inactivity_timeout_s),
                .creator = creator_descriptor(job->lu),
                .block_device = block_device_rod_data(job->lu),
                .target_device_descriptor = target_device_descriptor(context.server.config().target_name)};
  // A barrier, so that the token holds exactly the writes answered before it.
  context.start(
      Access::barrier, {0, job->lu.store().size_bytes()},
      [job]() -> Outcome {
        job->snapshot = job->lu.store().capture(job->ranges);
        return {};
      },
      [job](Outcome outcome) {
        if (job->aborted()) return outcome;
        return outcome ? job->finish() : job->fail(std::move(outcome.error()));
      });
  return {};
}

struct WriteJob : CopyJob {
  using CopyJob::CopyJob;
  std::vector<handlers::ByteRange> ranges;
  std::uint64_t offset_into_rod = 0;  ///< bytes
  bool delete_token = false;
  std::optional<tokens::TokenUse> use;
  handlers::SnapshotRef fetched;  ///< the data in a form that does not block; null: the ROD's is used
  std::uint64_t done = 0;         ///< bytes, from the first of the first range on
  std::uint16_t steps = 0;
  handlers::IoResult<void> result;

  handlers::IoResult<void> zero_fill(handlers::ByteRange range) {
    if (lu.config().thin) return lu.store().unmap(range);
    return lu.store().write_same(range, std::vector<std::uint8_t>(lu.block_length()));
  }

  handlers::IoResult<void> write(handlers::ByteRange range, std::uint64_t& copied) {
    if (use->zero()) return zero_fill(range);
    if (fetched) return lu.store().clone(*fetched, {done, range.length}, range.offset, &copied);
    return lu.store().clone(use->rod()->data(), {offset_into_rod + done, range.length}, range.offset, &copied);
  }

  /// Whether the ROD's data has to be waited for, and the logical unit's store must not be kept waiting.
  bool fetches() const { return !use->zero() && use->rod()->data().may_block() && !lu.store().may_block(); }

  void fetch(std::uint64_t length) {
    auto brought = lu.store().fetch(use->rod()->data(), {offset_into_rod, length});
    if (brought) fetched = std::move(*brought);
    if (!brought) result = std::unexpected(std::move(brought.error()));
  }

  void write_ranges() {
    for (const handlers::ByteRange& range : ranges) {
      if (aborted()) return;
      std::uint64_t copied = 0;
      result = write(range, copied);
      done += result ? range.length : copied;
      if (result || copied > 0) ++steps;
      if (!result) return;
    }
  }

  Outcome finish() {
    std::uint64_t blocks = done / lu.block_length();
    if (result) {
      if (delete_token && !use->zero()) manager.tokens().delete_by_client(use->id());
      return complete(blocks, steps);
    }
    if (result.error().kind == handlers::IoError::Kind::snapshot_lost) manager.tokens().cancel(use->id());
    if (blocks > 0) return fall_short(blocks, steps, result.error().reason);
    return fail(io_error_sense(result.error()));
  }

  Outcome end_of_work(Outcome outcome) {
    if (aborted()) return outcome;
    return outcome ? finish() : fail(std::move(outcome.error()));
  }
};

/// What keeps a logical unit from being written to. Judged here and not by the row's gate, so that the refusal leaves a
/// result.
std::optional<Sense> write_protection(LogicalUnit& lu) {
  if (lu.read_only()) return plain(SenseKey::data_protect, AdditionalSense::write_protected, "read-only");
  if (lu.mode_pages().software_write_protect())
    return plain(SenseKey::data_protect, AdditionalSense::logical_unit_software_write_protected, "SWP is one");
  return {};
}

/// Whether the ROD holds what is asked for and may be brought here.
std::optional<Sense> check_rod(const tokens::Rod& rod, const WriteUsingTokenRequest& request, const CopyJob& job) {
  std::uint64_t block_length = job.lu.block_length();
  std::uint64_t offset = request.offset_into_rod_blocks;
  if (offset > rod.size_bytes() / block_length || offset * block_length >= rod.size_bytes())
    return Sense::invalid_field_in_list(
        offsetof(WriteUsingTokenList, offset_into_rod), {},
        fmt::format("OFFSET INTO ROD {} blocks of {}, the ROD has {} bytes", offset, block_length, rod.size_bytes()));
  std::uint64_t left = rod.size_bytes() - offset * block_length;
  if (request.ranges.total_bytes > left) {
    // DEVIATION: SBC-4 5.59 writes what there is and pads with zeros. WINDOWS: the HLK demands that nothing is written.
    Sense sense = plain(SenseKey::illegal_request, AdditionalSense::copy_target_device_data_underrun,
                        fmt::format("{} bytes asked for, {} are left in the ROD", request.ranges.total_bytes, left));
    sense.information = 0;
    return sense;
  }
  if (!job.manager.reachability().reachable(rod.source().name, job.lu.config().name))
    return plain(SenseKey::illegal_request, AdditionalSense::unreachable_copy_target,
                 fmt::format("{} cannot be reached from {}", rod.source().name, job.lu.config().name));
  return {};
}

/// SBC-4 5.59. Errors: 05/00/16; 07/27/00 and 07/27/02; those of parse_write_using_token(); 05/23/xx of the token;
/// 05/26/00 OFFSET INTO ROD; 05/0D/04 more than the ROD holds; 05/08/04 unreachable; 0A/0D/04 stopped midway,
/// INFORMATION = blocks written; 0B/55/03; those of the store.
Outcome write_using_token(CommandContext& context) {
  if (!context.task.has_data_out()) return {};
  auto guard = begin(context, CopyCommand::write_using_token);
  if (!guard) return std::unexpected(std::move(guard.error()));
  auto job = std::make_shared<WriteJob>(context, std::move(*guard));

  if (auto sense = write_protection(job->lu)) return job->fail(std::move(*sense));
  auto list = context.parameter_list();
  if (!list) return job->fail(std::move(list.error()));
  auto request = parse_write_using_token(*list, job->lu, job->manager.profile());
  if (!request) return job->fail(std::move(request.error()));

  auto use = job->manager.tokens().use(request->token);
  if (!use) return job->fail(token_sense(use.error()));
  job->use.emplace(std::move(*use));
  if (!job->use->zero()) {
    if (auto sense = check_rod(*job->use->rod(), *request, *job)) return job->fail(std::move(*sense));
    job->offset_into_rod = request->offset_into_rod_blocks * job->lu.block_length();
  }
  job->delete_token = request->delete_token;
  if (request->ranges.ranges.empty()) return job->finish();

  handlers::ByteRange hull = request->ranges.hull();
  std::uint64_t length = request->ranges.total_bytes;
  job->ranges = std::move(request->ranges.ranges);
  // One lock over all ranges and what lies between: it cannot deadlock with a command that names the same ranges in
  // another order, and cloning is a matter of metadata. The source needs none: its snapshot never changes.
  if (job->fetches()) {
    context.start(
        Access::exclusive, hull,
        [job, length]() -> Outcome {
          job->fetch(length);
          return {};
        },
        [job](Outcome outcome) {
          if (outcome && job->result) job->write_ranges();
          return job->end_of_work(std::move(outcome));
        },
        CommandContext::Where::worker);
    return {};
  }
  context.start(
      Access::exclusive, hull,
      [job]() -> Outcome {
        job->write_ranges();
        return {};
      },
      [job](Outcome outcome) { return job->end_of_work(std::move(outcome)); });
  return {};
}

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
  if (operation && !(*operation)->rod_token_information_kept())
    operation = std::unexpected(Sense::invalid_field_in_cdb(offsetof(CopyResultsCdb, list_identifier), {},
                                                            "the ROD token information was delivered or discarded"));
  if (!operation) return std::unexpected(std::move(operation.error()));
  std::vector<std::uint8_t> data = encode_rod_token_information(**operation);
  std::uint64_t allocation_length = context.cdb_as<CopyResultsCdb>().allocation_length;
  bool delivered = (*operation)->outcome().token.has_value() && allocation_length >= data.size();
  if (delivered || allocation_length == 0)
    context.server.copy_manager().operations().discard_rod_token_information((*operation)->key());
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

bool offers_odx(const DeviceServer& server) { return server.copy_manager().profile().odx; }

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
std::uint64_t allocation_length(const Task& task, const LogicalUnit*) {
  return base::load<CopyResultsCdb>(task.cdb).allocation_length;
}

using Usage = std::array<std::uint8_t, kMaxCdbLength>;
// GROUP NUMBER (byte 14, bits 4-0) is tolerated and not looked at. Byte 1 is the service action's.
constexpr Usage kTokenOutUsage{0x83, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0};
constexpr Usage kCopyResultsUsage{0x84, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};

template <typename ServiceAction>
constexpr Usage with_action(Usage usage, ServiceAction action) {
  usage[kServiceActionByte] = static_cast<std::uint8_t>(action);
  return usage;
}

// Results can be asked for whatever the reservation and state of the medium (SPC-4 table 65).
constexpr Gates kResultGates{.reservation = false, .ready = false};

constexpr CommandDescriptor kRows[] = {
    {.name = "POPULATE TOKEN",
     .opcode = kThirdPartyCopyOut,
     .service_action = static_cast<std::uint16_t>(CopyOutServiceAction::populate_token),
     .cdb_length = 16,
     .usage = with_action(kTokenOutUsage, CopyOutServiceAction::populate_token),
     .direction = DataDirection::out,
     .gates = {},
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
     .gates = {},
     .transfer_length = parameter_list_length,
     .body = write_using_token,
     .check = check_copy_command,
     .offered = offers_odx},
    {.name = "RECEIVE COPY STATUS(LID4)",
     .opcode = kThirdPartyCopyIn,
     .service_action = static_cast<std::uint16_t>(CopyInServiceAction::receive_copy_status_lid4),
     .cdb_length = 16,
     .usage = with_action(kCopyResultsUsage, CopyInServiceAction::receive_copy_status_lid4),
     .direction = DataDirection::in,
     .gates = kResultGates,
     .transfer_length = allocation_length,
     .body = receive_copy_status,
     .check = check_copy_command,
     .offered = offers_odx},
    {.name = "RECEIVE ROD TOKEN INFORMATION",
     .opcode = kThirdPartyCopyIn,
     .service_action = static_cast<std::uint16_t>(CopyInServiceAction::receive_rod_token_information),
     .cdb_length = 16,
     .usage = with_action(kCopyResultsUsage, CopyInServiceAction::receive_rod_token_information),
     .direction = DataDirection::in,
     .gates = kResultGates,
     .transfer_length = allocation_length,
     .body = receive_rod_token_information,
     .check = check_copy_command,
     .offered = offers_odx},
};

}  // namespace

std::span<const CommandDescriptor> copy_commands() { return kRows; }

}  // namespace scsi
