#include "scsi/token_commands.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "scsi/copy_data.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_job.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/copy_parameter_list.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"
#include "scsi/token_words.h"

namespace scsi {

namespace {

using Outcome = std::expected<void, Sense>;
using tokens::CopyCommand;
using tokens::CopyStatus;
using tokens::RodType;
using Body = CopyJob::Body;

constexpr std::size_t kToken = offsetof(WriteUsingTokenList, rod_token);

Sense plain(SenseKey key, AdditionalSense code, std::string rule) { return {key, code, {}, {}, std::move(rule)}; }

CopySubject subject_of(const CopyRanges& ranges, const LogicalUnit& lu) {
  if (ranges.ranges.empty()) return {};
  return {.lba = ranges.ranges.front().offset / lu.block_length(), .blocks = ranges.total_bytes / lu.block_length()};
}

std::uint32_t list_identifier(const CommandContext& context) { return context.cdb_as<TokenOutCdb>().list_identifier; }

Body populate(CopyJob& job, PopulateTokenRequest request, tokens::NewToken token) {
  CopyManager& manager = job.manager();
  CopySchedule schedule(manager.profile().populate_duration, manager.clock().now());
  // Captured when the time is over: the token holds the writes answered before this command is.
  co_await job.until(schedule.due(request.ranges.total_bytes));
  RodType type = made_type(manager.profile(), request.rod_type);
  handlers::SnapshotRef data;
  if (type != RodType::access_upon_reference && !job.stopping()) {
    Captured captured = co_await capture(job, job.lu(), request.ranges.ranges);
    if (!captured) co_return CopyJob::failed(std::move(captured.error()));
    data = std::move(*captured);
  }
  if (job.stopping()) co_return CopyJob::completed({});
  tokens::RodSource source{.name = job.lu().config().name,
                           .block_length = job.lu().block_length(),
                           .logical_unit = job.lu().identity().naa,
                           .ranges = request.ranges.ranges};
  token.rod = base::make_ref<const tokens::Rod>(type, std::move(data), std::move(source));
  auto made = create_token(job, std::move(token));
  if (!made) co_return CopyJob::failed(token_sense(made.error(), kToken));
  co_return CopyJob::completed({.transfer_count = request.ranges.total_bytes / job.lu().block_length(),
                                .operation_counter = 1,
                                .tokens = {{.token = *made}}});
}

/// How many bytes may be written: all that are asked for or, where the profile follows SBC-4 5.59, what the ROD still
/// holds, in whole blocks of the destination, the last one padded with zeros.
struct Extent {
  std::uint64_t offset = 0;   ///< into the ROD, bytes
  std::uint64_t data = 0;     ///< bytes from the ROD
  std::uint64_t padding = 0;  ///< zeros after them
  bool all = true;            ///< all that was asked for
};

std::expected<Extent, Sense> extent_of(const WriteUsingTokenRequest& request, std::uint64_t size, const CopyJob& job) {
  std::uint64_t block_length = job.lu().block_length();
  std::uint64_t offset = request.offset_into_rod_blocks;
  if (offset > size / block_length || offset * block_length >= size)
    return std::unexpected(Sense::invalid_field_in_list(
        offsetof(WriteUsingTokenList, offset_into_rod), {},
        fmt::format("OFFSET INTO ROD {} blocks of {}, the ROD has {} bytes", offset, block_length, size)));
  Extent extent{.offset = offset * block_length, .data = request.ranges.total_bytes};
  std::uint64_t left = size - extent.offset;
  if (extent.data <= left) return extent;
  if (!job.manager().profile().partial_write) {
    // DEVIATION: SBC-4 5.59 writes what there is and pads with zeros. WINDOWS: the HLK demands that nothing is written.
    Sense sense = plain(SenseKey::illegal_request, AdditionalSense::copy_target_device_data_underrun,
                        fmt::format("{} bytes asked for, {} are left in the ROD", extent.data, left));
    sense.information = 0;
    return std::unexpected(std::move(sense));
  }
  extent.data = left;
  extent.padding = (block_length - left % block_length) % block_length;
  extent.all = false;
  return extent;
}

/// SBC-4 4.28.2: what is said of a write that moved `moved` bytes of the `asked` ones.
CopyJob::End written(const CopyJob& job, CopyMoved moved, std::uint64_t asked) {
  std::uint64_t blocks = moved.bytes / job.lu().block_length();
  if (moved.result && moved.bytes == asked)
    return CopyJob::completed({.transfer_count = blocks, .operation_counter = moved.steps});
  if (blocks == 0 && !moved.result) return CopyJob::failed(std::move(moved.result.error()));
  Sense sense = plain(SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun,
                      moved.result ? "the ROD ends here" : moved.result.error().rule);
  sense.information = blocks;
  return CopyJob::failed(
      {.status = CopyStatus::completed_partial, .transfer_count = blocks, .operation_counter = moved.steps},
      std::move(sense));
}

Body write(CopyJob& job, WriteUsingTokenRequest request, JudgedToken judged, Extent extent) {
  CopyManager& manager = job.manager();
  CopySchedule schedule(manager.profile().copy_duration, manager.clock().now());
  Captured data = co_await data_of(job, judged, request.token, kToken);
  if (!data) co_return CopyJob::failed(std::move(data.error()));

  std::vector<handlers::ByteRange> ranges = std::move(request.ranges.ranges);
  std::uint64_t asked = request.ranges.total_bytes;
  if (extent.padding > 0) {
    // The block that holds the end of the ROD: cleared first, so that whatever is read of it later is data or zeros.
    auto upto = ranges;
    auto head = take_front(upto, extent.data + extent.padding);
    std::uint64_t block = job.lu().block_length();
    std::vector<handlers::ByteRange> last(1, {head.back().end() - block, block});
    CopySchedule at_once({}, manager.clock().now());
    CopyMoved cleared = co_await move_data(job, job.lu(), CopySource(), std::move(last), at_once);
    if (!cleared.result) co_return CopyJob::failed(std::move(cleared.result.error()));
  }
  std::vector<handlers::ByteRange> head = take_front(ranges, extent.data);
  CopySource source{std::move(*data), extent.offset};
  CopyMoved moved = co_await move_data(job, job.lu(), std::move(source), std::move(head), schedule);
  if (moved.result && moved.bytes == extent.data) moved.bytes += extent.padding;
  if (judged.use && moved.data_lost) judged.use->cancel();
  if (judged.use && request.delete_token && moved.result && moved.bytes == asked) judged.use->delete_by_client();
  co_return written(job, std::move(moved), asked);
}

std::expected<handlers::SnapshotRef, Sense> remote_refused(const CopyJob& job, const RemoteRods::Refusal& refusal,
                                                           std::size_t byte) {
  if (refusal.token) return std::unexpected(token_sense(*refusal.token, byte, refusal.reason));
  if (!refusal.creator_known)
    return std::unexpected(token_sense(tokens::TokenError::remote_not_supported, byte, refusal.reason));
  if (job.manager().profile().unreachable_refusal == UnreachableRefusal::remote_token_usage_not_supported)
    return std::unexpected(token_sense(tokens::TokenError::remote_not_supported, byte, refusal.reason));
  return std::unexpected(
      plain(SenseKey::copy_aborted, AdditionalSense::copy_target_device_not_reachable, refusal.reason));
}

/// Judges the token and what is asked of it, as far as that needs no waiting.
std::expected<std::pair<JudgedToken, Extent>, Sense> judge(CopyJob& job, const WriteUsingTokenRequest& request) {
  CopyManager& manager = job.manager();
  auto judged = judge_token(job, request.token, kToken);
  if (!judged) return std::unexpected(std::move(judged.error()));
  if (judged->use && judged->use->zero())
    return std::pair(std::move(*judged), Extent{.data = request.ranges.total_bytes});
  auto extent = extent_of(request, size_of(*judged, request.token), job);
  if (!extent) return std::unexpected(std::move(extent.error()));
  if (judged->use) {
    if (auto sense = unreachable(manager, judged->use->rod()->source().name, job.lu().config().name))
      return std::unexpected(std::move(*sense));
  }
  return std::pair(std::move(*judged), *extent);
}

}  // namespace

Sense token_sense(tokens::TokenError error, std::size_t byte, std::string why) {
  using enum tokens::TokenError;
  auto refused = [&](AdditionalSense code, std::string rule, std::size_t within = 0) {
    return Sense::illegal_request(code, why.empty() ? std::move(rule) : std::move(why),
                                  FieldPointer::list(byte + within));
  };
  switch (error) {
    case unsupported_type:
      return refused(AdditionalSense::invalid_token_operation_unsupported_token_type, "ROD TYPE is not supported");
    case invalid_length:
      return refused(AdditionalSense::invalid_token_operation_invalid_token_length, "ROD TOKEN LENGTH is not 01F8h",
                     offsetof(tokens::RodToken, rod_token_length));
    case remote_not_supported:
      return refused(AdditionalSense::invalid_token_operation_remote_token_usage_not_supported,
                     "the token's creator is no logical unit this array can reach");
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

std::expected<tokens::TokenUse, tokens::TokenError> use_token(CopyJob& job, const tokens::RodToken& token) {
  CopyManager& manager = job.manager();
  auto use = manager.tokens().use(token, job.user());
  if (use || use.error() != tokens::TokenError::remote_not_supported) return use;
  CopyManager* creator = manager.fabric().creator_of(token);
  if (!creator || manager.profile().remote_tokens == 0) return use;
  return creator->tokens().use(token, job.user());
}

std::expected<JudgedToken, Sense> judge_token(CopyJob& job, const tokens::RodToken& token, std::size_t byte) {
  CopyManager& manager = job.manager();
  JudgedToken judged;
  if (const CopyManager* maker = manager.fabric().creator_of(token)) {
    CopySubject subject = job.subject();
    subject.token_of = maker;
    subject.token = token.copy_manager_rod_token_identifier.value();
    job.is_about(subject);
  }
  auto use = use_token(job, token);
  if (use) {
    judged.use.emplace(std::move(*use));
    return judged;
  }
  if (use.error() == tokens::TokenError::remote_not_supported && manager.profile().remote_tokens != 0)
    judged.remote = manager.fabric().remote_rods();
  if (!judged.remote)
    return std::unexpected(token_sense(use.error(), byte, refusal_words(manager, token, use.error())));
  return judged;
}

std::uint64_t size_of(const JudgedToken& judged, const tokens::RodToken& token) {
  return judged.use ? judged.use->rod()->size_bytes() : token.number_of_bytes_represented.value();
}

base::Async<Captured> data_of(CopyJob& job, const JudgedToken& judged, const tokens::RodToken& token,
                              std::size_t byte) {
  if (judged.use && judged.use->zero()) co_return handlers::SnapshotRef{};
  if (judged.use) co_return co_await data_of(job, *judged.use->rod());
  std::expected<handlers::SnapshotRef, RemoteRods::Refusal> opened{};
  co_await job.elsewhere([&] { opened = judged.remote->open(token, job.stop_flag()); });
  if (!opened) co_return remote_refused(job, opened.error(), byte);
  co_return std::move(*opened);
}

std::optional<Sense> unreachable(CopyManager& manager, const std::string& source, const std::string& destination) {
  auto names = [&](const std::string& lu) {
    std::vector<std::string> both{lu};
    if (auto place = manager.fabric().find(lu); place && !place->manager->array_name().empty())
      both.push_back(place->manager->array_name());
    return both;
  };
  const Reachability::Cut* cut = manager.reachability().find(names(source), names(destination));
  if (!cut) return {};
  std::string rule = fmt::format("{} cannot be reached from {}", source, destination);
  switch (cut->refusal.value_or(manager.profile().unreachable_refusal)) {
    case UnreachableRefusal::remote_token_usage_not_supported:
      return Sense::illegal_request(AdditionalSense::invalid_token_operation_remote_token_usage_not_supported,
                                    std::move(rule), FieldPointer::list(kToken));
    case UnreachableRefusal::copy_target_device_not_reachable:
      return plain(SenseKey::copy_aborted, AdditionalSense::copy_target_device_not_reachable, std::move(rule));
    case UnreachableRefusal::unreachable_copy_target: break;
  }
  return plain(SenseKey::illegal_request, AdditionalSense::unreachable_copy_target, std::move(rule));
}

RodType made_type(const DeviceProfile& profile, RodType asked) {
  if (asked != RodType::point_in_time_any) return asked;
  // Persistent if it can be, else change vulnerable (SPC-4 table 110), else what POPULATE TOKEN makes.
  for (RodType type : {RodType::point_in_time_persistent, RodType::point_in_time_change_vulnerable}) {
    const auto* row = tokens::find_rod_type(profile.rod_types, static_cast<std::uint32_t>(type));
    if (row && row->token_in) return type;
  }
  return profile.populate_token_type;
}

std::expected<tokens::RodToken, tokens::TokenError> create_token(CopyJob& job, tokens::NewToken token) {
  CopyManager& manager = job.manager();
  tokens::RodRef rod = token.rod;
  token.maker = job.user();
  auto made = manager.tokens().create(std::move(token));
  if (made && ends_by_change(manager.profile(), rod->type()))
    manager.watch(job.lu(), rod->source().ranges, tokens::TokenId{made->copy_manager_rod_token_identifier.value()});
  if (made) {
    CopySubject subject = job.subject();
    subject.token_of = &manager;
    subject.token = made->copy_manager_rod_token_identifier.value();
    job.is_about(subject);
  }
  return made;
}

std::optional<Sense> write_protection(LogicalUnit& lu) {
  if (lu.read_only()) return plain(SenseKey::data_protect, AdditionalSense::write_protected, "read-only");
  if (lu.mode_pages().software_write_protect())
    return plain(SenseKey::data_protect, AdditionalSense::logical_unit_software_write_protected, "SWP is one");
  return {};
}

std::expected<void, Sense> populate_token(CommandContext& context) {
  if (!context.task.has_data_out()) return {};
  auto job = CopyJob::begin(context, CopyCommand::populate_token, list_identifier(context));
  if (!job) return std::unexpected(std::move(job.error()));
  CopyJob& copy = **job;
  auto list = context.parameter_list();
  if (!list) return copy.refuse(std::move(list.error()));
  auto request = parse_populate_token(*list, copy.lu(), copy.manager().profile());
  if (!request) return copy.refuse(std::move(request.error()));
  copy.is_about(subject_of(request->ranges, copy.lu()));
  // No blocks, no data to stand for: "zero or one" token is zero.
  if (request->ranges.ranges.empty()) return copy.end_at_once(CopyJob::completed({}));

  tokens::NewToken token{.inactivity_timeout = std::chrono::seconds(request->inactivity_timeout_s),
                         .creator = creator_descriptor(copy.lu()),
                         .block_device = block_device_rod_data(copy.lu()),
                         .target_device_descriptor = target_device_descriptor(context.server.config().target_name)};
  bool immediate = request->immediate;
  return copy.start(context, populate(copy, std::move(*request), std::move(token)), immediate);
}

std::expected<void, Sense> write_using_token(CommandContext& context) {
  if (!context.task.has_data_out()) return {};
  auto job = CopyJob::begin(context, CopyCommand::write_using_token, list_identifier(context));
  if (!job) return std::unexpected(std::move(job.error()));
  CopyJob& copy = **job;
  // Judged here and not by the row's gate, so that the refusal leaves a result.
  if (auto sense = write_protection(copy.lu())) return copy.refuse(std::move(*sense));
  auto list = context.parameter_list();
  if (!list) return copy.refuse(std::move(list.error()));
  auto request = parse_write_using_token(*list, copy.lu(), copy.manager().profile());
  if (!request) return copy.refuse(std::move(request.error()));
  copy.is_about(subject_of(request->ranges, copy.lu()));
  auto judged = judge(copy, *request);
  if (!judged) return copy.refuse(std::move(judged.error()));

  auto& [token, extent] = *judged;
  bool immediate = request->immediate;
  return copy.start(context, write(copy, std::move(*request), std::move(token), extent), immediate);
}

}  // namespace scsi
