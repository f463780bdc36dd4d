#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_identity.h"
#include "scsi/copy_layouts.h"
#include "test/scsi/block_cdbs.h"
#include "test/sim/simulation.h"

namespace sim {

using scsi::AdditionalSense;
using scsi::FieldPointer;
using scsi::Sense;
using scsi::SenseKey;

namespace {

Sense invalid_field_in_cdb(std::size_t byte, std::optional<std::uint8_t> bit = {}) {
  return {SenseKey::illegal_request, AdditionalSense::invalid_field_in_cdb, {}, FieldPointer::cdb(byte, bit), {}};
}

}  // namespace

// ---- When a command is sent, and when it begins ---------------------------------------------------------------

/// What the CDB alone is refused for.
void Simulation::judge_cdb(Operation& operation) {
  const LogicalUnitModel& lu = model_.logical_units[operation.lun];
  switch (operation.kind) {
    case Kind::read:
    case Kind::write:
    case Kind::write_same:
    case Kind::compare_and_write: {
      const Range& range = operation.ranges.front();
      operation.refusal = model_.judge_block_range(operation.lun, range.lba, range.blocks);
      bool unmaps = operation.kind == Kind::write_same && (operation.task.cdb[1] & scsi::BlockFlags::kUnmap) != 0;
      if (!operation.refusal && unmaps && !lu.thin)
        operation.refusal = invalid_field_in_cdb(1, scsi::BlockFlags::kUnmapBit);
      break;
    }
    default: break;
  }
}

/// A command that the logical unit does not have is refused before anything else is looked at.
bool Simulation::judge_operation_code(Operation& operation) {
  if (operation.kind != Kind::unmap || model_.logical_units[operation.lun].thin) return true;
  operation.refusal =
      Sense{SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code, {}, FieldPointer::cdb(0), {}};
  return false;
}

/// The device server takes up a command whose data is there.
void Simulation::begin(Operation& operation) {
  operation.begun = ++last_begun_;
  operation.started = world_.clock.now();
  operation.key =
      scsi::copy_operation_key(nexuses_[operation.nexus].id, world_.lu(operation.lun), operation.list_identifier);
  end_named_token(operation);
  switch (operation.kind) {
    case Kind::unmap: operation.refusal = model_.judge_unmap(operation.lun, operation.ranges); break;
    case Kind::write:
      if (ends_inside_a_block(operation))
        operation.refusal =
            Sense{SenseKey::illegal_request, AdditionalSense::invalid_field_in_command_information_unit, {}, {}, {}};
      break;
    case Kind::populate_token: begin_populate(operation); break;
    case Kind::write_using_token: begin_write_using(operation); break;
    case Kind::receive_rod_token_information:
    case Kind::receive_copy_status: begin_receive(operation); break;
    case Kind::copy_operation_abort: begin_abort(operation); break;
    case Kind::persistent_reserve_out: begin_reservation(operation); break;
    default: break;
  }
  if (operation.refusal || !operation.changes || operation.ranges.empty()) return;
  std::uint64_t first = UINT64_MAX, end = 0;
  for (const Range& range : operation.ranges) {
    first = std::min(first, range.lba);
    end = std::max(end, range.lba + range.blocks);
  }
  model_.source_changes(operation.lun, first, end, false);
}

void Simulation::begin_populate(Operation& operation) {
  operation.late = traits_.populate_duration.latency_us > 0;
  operation.refusal =
      model_.begin_operation({operation.nexus, operation.lun, operation.list_identifier}, 0x10, operation.result);
  if (!operation.refusal) operation.refusal = model_.judge_populate(operation.lun, operation.request);
}

void Simulation::begin_write_using(Operation& operation) {
  const scsi::CopyDuration& duration = traits_.copy_duration;
  operation.late = duration.latency_us + duration.bytes_per_second > 0;
  operation.in_pieces =
      duration.bytes_per_second > 0 && duration.completion == scsi::CopyDuration::Completion::scheduled;
  operation.refusal =
      model_.begin_operation({operation.nexus, operation.lun, operation.list_identifier}, 0x11, operation.result);
  if (!operation.refusal) operation.refusal = model_.judge_write_using_list(operation.lun, operation.request);
  if (operation.refusal) return;
  resolve_vulnerable();
  model_.lose_reasons();
  Judged judged = model_.judge_token(operation.request.token);
  operation.refusal = judged.refusal;
  operation.reason_may_be_lost = judged.token && judged.token->reason_may_be_lost;
  if (operation.next_to_a_limit)
    report_.count(operation.refusal ? "tokens refused at or after a limit" : "tokens used just before a limit");
  if (operation.refusal) return;
  std::uint64_t block = model_.logical_units[operation.lun].block_length;
  std::uint64_t size = operation.request.blocks() * block;
  if (!judged.token) {
    operation.new_data = Bytes(size);
    return;
  }
  operation.token = judged.token;
  // What has to be fetched from a file takes its turn when it is there.
  bool waits = world_.stores[operation.token->lun]->may_block() && !world_.stores[operation.lun]->may_block();
  operation.late = operation.late || waits;
  model_.begin_use(*operation.token);
  operation.refusal = model_.judge_rod(operation.lun, operation.request, *operation.token);
  if (operation.refusal) return;
  auto from = operation.token->bytes.begin() + static_cast<std::ptrdiff_t>(operation.request.offset * block);
  operation.new_data = Bytes(from, from + static_cast<std::ptrdiff_t>(size));
}

void Simulation::begin_receive(Operation& operation) {
  operation.result = model_.find_result({operation.nexus, operation.lun, operation.list_identifier});
  bool information = operation.kind == Kind::receive_rod_token_information;
  if (!operation.result || (information && !operation.result->token_information_kept))
    operation.refusal = invalid_field_in_cdb(offsetof(scsi::CopyResultsCdb, list_identifier));
}

void Simulation::begin_abort(Operation& operation) {
  operation.result = model_.find_result({operation.nexus, operation.lun, operation.list_identifier});
  if (!operation.result || !operation.result->in_progress()) {
    operation.refusal = invalid_field_in_cdb(offsetof(scsi::CopyResultsCdb, list_identifier));
    return;
  }
  for (Operation* copy : in_flight_) {
    if (copy->result != operation.result || !copy->copies()) continue;
    operation.targets.push_back(copy->number);
    copy->stopped = true;
    remember(*copy);
  }
}

// ---- Results --------------------------------------------------------------------------------------------------

void Simulation::settle_receive(Operation& operation) {
  ResultModel& result = *operation.result;
  Bytes data = operation.task.data_in.to_vector();
  bool information = operation.kind == Kind::receive_rod_token_information;
  compare_result(operation, data, information && result.token);
  if (result.in_progress() && !operation.met) check_progress(operation, data);
  if (!information || result.in_progress()) return;
  if (data.size() >= result.seen.size()) {
    if (!operation.met) {
      require(std::equal(result.seen.begin(), result.seen.end(), data.begin()),
              operation.text + " differs from what was read before");
      result.seen = data;
    }
  }
  std::uint64_t full = base::load<base::be32>(data.size() < 4 ? Bytes(4) : data) + 4;
  bool delivered = result.token && data.size() >= full && data.size() > 4;
  if (delivered) {
    auto image = base::load<tokens::RodToken>(base::Bytes(data).last(sizeof(tokens::RodToken)));
    std::string wrong = model_.learn(*result.token, image);
    require(wrong.empty(), fmt::format("{} gave a token with a wrong {}", operation.text, wrong));
    report_.count("tokens delivered");
  }
  if (delivered || operation.allocation_length == 0) {
    result.token_information_kept = false;
    result.token.reset();
  }
}

/// The blocks that a copy counts while it is processed have been written.
void Simulation::check_progress(const Operation& operation, const Bytes& data) {
  if (data.size() < 24 || operation.result->service_action != 0x11) return;
  std::uint64_t count = base::load<base::be64>(base::Bytes(data).subspan(16));
  auto copy = std::ranges::find_if(in_flight_, [&](const Operation* it) { return it->result == operation.result; });
  require(copy != in_flight_.end() && count <= (*copy)->request.blocks(), operation.text + ": too high a count");
  if (count > 0) report_.count("copies seen midway");
  for (const Range& range : (*copy)->ranges) {
    for (std::uint64_t lba = range.lba; lba < range.lba + range.blocks && count > 0; ++lba, --count)
      require(written(**copy, lba), fmt::format("{} counts block {} that is not written", operation.text, lba));
  }
}

/// Everything but OPERATION COUNTER, what moves while the copy is in progress, and a token nobody has seen.
void Simulation::compare_result(Operation& operation, const Bytes& data, bool with_token) {
  const ResultModel& result = *operation.result;
  std::size_t sense_field = (result.sense.size() + 3) / 4 * 4;
  scsi::CopyStatusHeader header{};
  header.response_to_service_action = result.service_action;
  header.copy_operation_status = result.status;
  header.estimated_status_update_delay_ms = 0xFFFF'FFFE;
  header.extended_copy_completion_status = result.completion_status;
  header.sense_data_field_length = static_cast<std::uint8_t>(sense_field);
  header.sense_data_length = static_cast<std::uint8_t>(result.sense.size());
  header.transfer_count_units = 0xF1;
  header.transfer_count = result.transfer_count;
  const auto* wrong = operation.met_rule<scsi::action::WrongResult>();
  if (wrong && wrong->transfer_count) header.transfer_count = *wrong->transfer_count;
  if (wrong && wrong->copy_status) header.copy_operation_status = *wrong->copy_status;
  if (wrong && wrong->segments_processed) header.segments_processed = *wrong->segments_processed;
  Bytes expected;
  base::ByteWriter writer(expected);
  {
    auto available_data = writer.length32();
    writer.layout(header);
    writer.bytes(result.sense);
    writer.zeros(sense_field - result.sense.size());
    if (operation.kind == Kind::receive_rod_token_information) {
      auto descriptors_length = writer.length32();
      if (with_token) writer.zeros(2 + sizeof(tokens::RodToken));
    }
  }
  std::size_t unknown_at_the_end = with_token ? sizeof(tokens::RodToken) : 0;
  std::size_t size = std::min<std::size_t>(expected.size(), operation.allocation_length);
  require(data.size() == size, fmt::format("{} gave {} bytes, expected {}", operation.text, data.size(), size));
  for (std::size_t at = 0; at < size; ++at) {
    bool counter = at == 6 || at == 7;
    bool moves = result.in_progress() && ((at >= 8 && at < 12) || (at >= 16 && at < 24));
    moves = moves && !(wrong && wrong->transfer_count && at >= 16);
    if (counter || moves || at >= expected.size() - unknown_at_the_end) continue;
    require(data[at] == expected[at],
            fmt::format("{}: byte {} is {:02X}h, expected {:02X}h", operation.text, at, data[at], expected[at]));
  }
}

}  // namespace sim
