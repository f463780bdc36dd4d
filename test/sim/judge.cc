#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_layouts.h"
#include "test/scsi/block_cdbs.h"
#include "test/sim/simulation.h"

namespace sim {

using scsi::AdditionalSense;
using scsi::FieldPointer;
using scsi::Sense;
using scsi::SenseKey;

namespace {

std::string text_of(const Sense& sense) {
  std::string text = fmt::format("{:02X}/{:02X}/{:02X}", static_cast<unsigned>(sense.key), sense.asc(), sense.ascq());
  if (sense.field)
    text += fmt::format(" {} byte {} bit {}", sense.field->in_cdb ? "CDB" : "list", sense.field->byte,
                        sense.field->bit ? static_cast<int>(*sense.field->bit) : -1);
  if (sense.information) text += fmt::format(" INFORMATION {}", *sense.information);
  return text;
}

Sense invalid_field_in_cdb(std::size_t byte, std::optional<std::uint8_t> bit = {}) {
  return {SenseKey::illegal_request, AdditionalSense::invalid_field_in_cdb, {}, FieldPointer::cdb(byte, bit), {}};
}

Sense sense_of(handlers::IoError::Kind kind) {
  using Kind = handlers::IoError::Kind;
  auto made = [](SenseKey key, AdditionalSense code) { return Sense{key, code, {}, {}, {}}; };
  switch (kind) {
    case Kind::no_space: return made(SenseKey::data_protect, AdditionalSense::space_allocation_failed_write_protect);
    case Kind::write_protected: return made(SenseKey::data_protect, AdditionalSense::write_protected);
    case Kind::medium_read: return made(SenseKey::medium_error, AdditionalSense::unrecovered_read_error);
    case Kind::medium_write: return made(SenseKey::medium_error, AdditionalSense::write_error);
    case Kind::snapshot_lost:
      return made(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_cancelled);
    case Kind::unavailable: break;
  }
  return made(SenseKey::not_ready, AdditionalSense::logical_unit_not_ready_cause_not_reportable);
}

bool intersect(const Ranges& some, const Ranges& others) {
  return std::ranges::any_of(some, [&](const Range& a) {
    return std::ranges::any_of(others,
                               [&](const Range& b) { return a.lba < b.lba + b.blocks && b.lba < a.lba + a.blocks; });
  });
}

unsigned depth_of(const Operation& operation) { return operation.token ? operation.token->depth : 0; }

constexpr std::uint8_t kCompleted = 0x01, kFailed = 0x02, kPartial = 0x03, kTerminated = 0x60;
constexpr std::uint8_t kCheckCondition = 0x02, kTaskAborted = 0x40;

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
    case Kind::unmap:
      if (!lu.thin)
        operation.refusal = Sense{
            SenseKey::illegal_request, AdditionalSense::invalid_command_operation_code, {}, FieldPointer::cdb(0), {}};
      break;
    default: break;
  }
}

/// The device server takes up a command whose data is there.
void Simulation::begin(Operation& operation) {
  operation.begun = ++last_begun_;
  switch (operation.kind) {
    case Kind::unmap: operation.refusal = model_.judge_unmap(operation.lun, operation.ranges); break;
    case Kind::populate_token: begin_populate(operation); break;
    case Kind::write_using_token: begin_write_using(operation); break;
    case Kind::receive_rod_token_information:
    case Kind::receive_copy_status: begin_receive(operation); break;
    default: break;
  }
}

void Simulation::begin_populate(Operation& operation) {
  operation.refusal =
      model_.begin_operation({operation.nexus, operation.lun, operation.list_identifier}, 0x10, operation.result);
  if (!operation.refusal) operation.refusal = model_.judge_populate(operation.lun, operation.request);
}

void Simulation::begin_write_using(Operation& operation) {
  operation.refusal =
      model_.begin_operation({operation.nexus, operation.lun, operation.list_identifier}, 0x11, operation.result);
  if (!operation.refusal) operation.refusal = model_.judge_write_using_list(operation.lun, operation.request);
  if (operation.refusal) return;
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

// ---- When a command has ended ---------------------------------------------------------------------------------

std::string Simulation::outcome_of(const Operation& operation) const {
  switch (operation.task.status) {
    case scsi::Status::good: return "good";
    case scsi::Status::task_aborted: return "aborted";
    case scsi::Status::check_condition: {
      Sense sense = operation.task.sense;
      return fmt::format("{:X}/{:02X}/{:02X}", static_cast<unsigned>(sense.key), sense.asc(), sense.ascq());
    }
    default: return "another status";
  }
}

void Simulation::expect_sense(const Operation& operation, const Sense& expected) const {
  require(operation.task.status == scsi::Status::check_condition,
          fmt::format("{} ended {}, expected {}", operation.text, outcome_of(operation), text_of(expected)));
  require(operation.task.sense == expected, fmt::format("{} ended with {}, expected {}", operation.text,
                                                        text_of(operation.task.sense), text_of(expected)));
}

void Simulation::settle(Operation& operation) {
  Failures failures = std::exchange(world_.failures, {});
  require(!operation.completed_once, operation.text + " was completed twice");
  operation.completed_once = true;
  std::erase(in_flight_, &operation);
  std::string outcome = outcome_of(operation);
  note(fmt::format("  #{} ends: {}", operation.number, outcome));
  report_.ended(name_of(operation.kind), outcome);
  for (const Failure& failure : failures) report_.call_failed(failure.call);
  if (operation.aborted) return settle_aborted(operation);
  if (operation.refusal) return settle_refused(operation, *operation.refusal);
  if (const Operation* other = in_the_way_of(operation))
    throw Disagreement(fmt::format("{} ended before {}, which began earlier", operation.text, other->text));
  if (!failures.empty()) return settle_failed(operation, failures);
  settle_good(operation);
}

/// Commands that share blocks, and of which one changes them, are done in the order in which they began. One that began
/// earlier than `operation` and has not ended, or null.
const Operation* Simulation::in_the_way_of(const Operation& operation) const {
  for (const Operation* other : in_flight_) {
    bool earlier = other->lun == operation.lun && other->begun != 0 && other->begun < operation.begun;
    if (earlier && (other->changes || operation.changes) && intersect(other->ranges, operation.ranges)) return other;
  }
  return nullptr;
}

void Simulation::end_use(Operation& operation) {
  if (!operation.token) return;
  model_.end_use(*operation.token);
  operation.token.reset();
}

void Simulation::finish_result(Operation& operation, std::uint8_t status, std::uint64_t count,
                               const std::optional<Sense>& sense) {
  if (!operation.result) return;
  ResultModel& result = *operation.result;
  result.status = status;
  result.transfer_count = count;
  result.completion_status = sense ? kCheckCondition : std::uint8_t{0};
  if (status == kTerminated) result.completion_status = kTaskAborted;
  if (sense) result.sense = scsi::encode_fixed(*sense);
  model_.finish_operation(operation.result);
}

void Simulation::settle_aborted(Operation& operation) {
  require(operation.task.status == scsi::Status::task_aborted, operation.text + " was aborted and has another status");
  if (operation.begun == 0) return;
  if (operation.when_aborted)
    require(world_.content(operation.lun, operation.ranges) == *operation.when_aborted,
            operation.text + " wrote after it was aborted");
  // Behind another it has not touched a block yet, and the other's are not settled.
  if (operation.changes && !in_the_way_of(operation))
    adopt_old_or_new(operation, model_.logical_units[operation.lun].block_length);
  bool copy = operation.kind == Kind::populate_token || operation.kind == Kind::write_using_token;
  if (copy) finish_result(operation, kTerminated, 0, {});
  end_use(operation);
}

void Simulation::settle_refused(Operation& operation, const Sense& expected) {
  Sense unknown = expected;
  unknown.code = AdditionalSense::invalid_token_operation_token_unknown;
  bool reason_lost = operation.reason_may_be_lost && operation.task.sense == unknown;
  expect_sense(operation, reason_lost ? unknown : expected);
  bool copy = operation.kind == Kind::populate_token || operation.kind == Kind::write_using_token;
  if (copy && operation.begun != 0) finish_result(operation, kFailed, 0, operation.task.sense);
  end_use(operation);
}

/// Each `unit` of bytes may have changed or not; the model adopts what is there.
void Simulation::adopt_old_or_new(Operation& operation, std::uint64_t unit) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  Bytes actual = world_.content(operation.lun, operation.ranges);
  Bytes old = lu.at(operation.ranges);
  bool may_be_new = operation.kind != Kind::compare_and_write || old == operation.compared;
  for (std::size_t at = 0; at < actual.size(); at += unit) {
    auto same = [&](const Bytes& other) {
      return std::equal(actual.begin() + static_cast<std::ptrdiff_t>(at),
                        actual.begin() + static_cast<std::ptrdiff_t>(at + unit),
                        other.begin() + static_cast<std::ptrdiff_t>(at));
    };
    require(same(old) || (may_be_new && same(operation.new_data)),
            fmt::format("{}: its block {} is neither old nor new", operation.text, at / lu.block_length));
  }
  lu.put(operation.ranges, actual, depth_of(operation));
}

void Simulation::settle_failed(Operation& operation, const Failures& failures) {
  require(failures.size() == 1, operation.text + " went on after a store had failed");
  Sense sense = sense_of(failures.front().kind);
  if (operation.kind == Kind::populate_token) {
    if (failures.front().kind == handlers::IoError::Kind::no_space)
      sense = {SenseKey::aborted_command, AdditionalSense::insufficient_resources, {}, {}, {}};
    return settle_refused(operation, sense);
  }
  if (operation.kind == Kind::write_using_token)
    return settle_short_write(operation, sense, failures.front().kind == handlers::IoError::Kind::snapshot_lost);
  expect_sense(operation, sense);
  if (operation.changes) adopt_old_or_new(operation, model_.logical_units[operation.lun].block_length);
}

/// A WRITE USING TOKEN whose store failed: INFORMATION and TRANSFER COUNT are the blocks that surely are written.
void Simulation::settle_short_write(Operation& operation, const Sense& sense, bool token_lost) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  const Sense& actual = operation.task.sense;
  std::uint64_t written = 0;
  if (actual.key == SenseKey::copy_aborted) {
    written = actual.information.value_or(0);
    require(written > 0 && written < operation.request.blocks(), operation.text + ": INFORMATION is out of range");
    expect_sense(operation,
                 {SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, written, {}, {}});
    report_.count("copies that stopped midway");
  } else {
    expect_sense(operation, sense);
  }
  auto boundary = static_cast<std::ptrdiff_t>(written * lu.block_length);
  Bytes content = world_.content(operation.lun, operation.ranges);
  Bytes old = lu.at(operation.ranges);
  require(std::equal(content.begin(), content.begin() + boundary, operation.new_data.begin()),
          operation.text + ": not all blocks it counts are written");
  // A store that is told to fail writes nothing then, and each range is one call.
  if (!token_lost)
    require(std::equal(content.begin() + boundary, content.end(), old.begin() + boundary),
            operation.text + ": blocks are written that it does not count");
  // Where old data was lost midway, the last block may be in part what the token held.
  adopt_old_or_new(operation, token_lost ? 512 : lu.block_length);
  finish_result(operation, written > 0 ? kPartial : kFailed, written, actual);
  if (token_lost && operation.token) report_.count("tokens lost while they were copied");
  if (token_lost && operation.token) model_.end(*operation.token, TokenEnd::cancelled);
  end_use(operation);
}

void Simulation::settle_good(Operation& operation) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  if (operation.kind == Kind::populate_token) return settle_populate(operation);
  if (operation.kind == Kind::compare_and_write) {
    Bytes there = lu.at(operation.ranges);
    auto difference = std::ranges::mismatch(there, operation.compared);
    if (difference.in1 != there.end())
      return expect_sense(operation, {SenseKey::miscompare,
                                      AdditionalSense::miscompare_during_verify_operation,
                                      static_cast<std::uint64_t>(difference.in1 - there.begin()),
                                      {},
                                      {}});
  }
  require(operation.task.status == scsi::Status::good,
          fmt::format("{} ended with {}, expected GOOD", operation.text, text_of(operation.task.sense)));
  if (operation.changes) lu.put(operation.ranges, operation.new_data, depth_of(operation));
  switch (operation.kind) {
    case Kind::read:
      require(operation.task.data_in.to_vector() == lu.at(operation.ranges), operation.text + " read something else");
      break;
    case Kind::write_using_token:
      finish_result(operation, kCompleted, operation.request.blocks(), {});
      if (operation.token && (operation.request.flags & scsi::kDelTkn)) model_.end(*operation.token, TokenEnd::deleted);
      if (operation.token) report_.at_least("copies of copies, deepest", operation.token->depth);
      end_use(operation);
      break;
    case Kind::receive_rod_token_information:
    case Kind::receive_copy_status: settle_receive(operation); break;
    default: break;
  }
}

void Simulation::settle_populate(Operation& operation) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  bool some = !operation.ranges.empty();
  if (some && !model_.room_for_token())
    return settle_refused(operation, {SenseKey::aborted_command, AdditionalSense::insufficient_resources, {}, {}, {}});
  require(operation.task.status == scsi::Status::good,
          fmt::format("{} ended with {}, expected GOOD", operation.text, text_of(operation.task.sense)));
  if (some)
    operation.result->token = model_.create_token(operation.lun, lu.at(operation.ranges), operation.request.timeout_s,
                                                  lu.depth(operation.ranges) + 1);
  finish_result(operation, kCompleted, operation.request.blocks(), {});
}

// ---- Results --------------------------------------------------------------------------------------------------

void Simulation::settle_receive(Operation& operation) {
  ResultModel& result = *operation.result;
  Bytes data = operation.task.data_in.to_vector();
  bool information = operation.kind == Kind::receive_rod_token_information;
  compare_result(operation, data, information && result.token);
  if (!information || result.in_progress()) return;
  if (data.size() >= result.seen.size()) {
    require(std::equal(result.seen.begin(), result.seen.end(), data.begin()),
            operation.text + " differs from what was read before");
    result.seen = data;
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

/// Everything but OPERATION COUNTER, the delay while in progress, and a token nobody has seen.
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
    bool delay = result.in_progress() && at >= 8 && at < 12;
    if (counter || delay || at >= expected.size() - unknown_at_the_end) continue;
    require(data[at] == expected[at],
            fmt::format("{}: byte {} is {:02X}h, expected {:02X}h", operation.text, at, data[at], expected[at]));
  }
}

}  // namespace sim
