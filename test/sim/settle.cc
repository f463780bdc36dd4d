#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_layouts.h"
#include "test/sim/simulation.h"
#include "tokens/token_manager.h"

namespace sim {

using scsi::AdditionalSense;
using scsi::Sense;
using scsi::SenseKey;

namespace {

std::string text_of(const Sense& sense) {
  std::string text = scsi::code_text(sense);
  if (sense.field)
    text += fmt::format(" {} byte {} bit {}", sense.field->in_cdb ? "CDB" : "list", sense.field->byte,
                        sense.field->bit ? static_cast<int>(*sense.field->bit) : -1);
  if (sense.information) text += fmt::format(" INFORMATION {}", *sense.information);
  return text;
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
    case Kind::unreachable:  // of another machine's tokens only
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

/// The ranges of a command, but for what a copy that a rule stops never comes to.
Ranges within_reach(const Operation& operation) {
  const auto* cut = operation.met_rule<scsi::action::ShortCopy>();
  if (!cut) return operation.ranges;
  Ranges ranges;
  std::uint64_t left = cut->blocks;
  for (const Range& range : operation.ranges) {
    const std::uint64_t blocks = std::min<std::uint64_t>(left, range.blocks);
    if (blocks > 0) ranges.push_back({range.lba, static_cast<std::uint32_t>(blocks)});
    left -= blocks;
  }
  return ranges;
}

bool is_copy(const Operation& operation) {
  return operation.kind == Kind::populate_token || operation.kind == Kind::write_using_token;
}

constexpr std::uint8_t kCompleted = 0x01, kFailed = 0x02, kPartial = 0x03, kTerminated = 0x60;
constexpr std::uint8_t kInBackground = 0x12;
constexpr std::uint8_t kCheckCondition = 0x02, kTaskAborted = 0x40;
constexpr std::uint64_t kSector = 512;
/// By Simulation::Content.
constexpr const char* kContents[] = {"what the model does", "its own data", "what another writes", "nobody's data"};

}  // namespace

/// What `operation` writes to a block; null: it does not.
const std::uint8_t* Operation::new_block(std::uint64_t lba, std::uint64_t block_length) const {
  std::uint64_t before = 0;
  for (const Range& range : ranges) {
    if (lba >= range.lba && lba < range.lba + range.blocks)
      return new_data.data() + (before + lba - range.lba) * block_length;
    before += range.blocks;
  }
  return nullptr;
}

std::string Simulation::outcome_of(const Operation& operation) const {
  switch (operation.status) {
    case scsi::Status::good: return "good";
    case scsi::Status::task_aborted: return "aborted";
    case scsi::Status::check_condition:
      return fmt::format("{:X}/{:02X}/{:02X}", static_cast<unsigned>(operation.sense.key), operation.sense.asc(),
                         operation.sense.ascq());
    case scsi::Status::reservation_conflict: return "conflict";
    default: return scsi::describe(operation.status);
  }
}

void Simulation::expect_sense(const Operation& operation, const Sense& expected) const {
  if (operation.unseen) return;
  require(operation.status == scsi::Status::check_condition,
          fmt::format("{} ended {}, expected {}", operation.text, outcome_of(operation), text_of(expected)));
  require(operation.sense == expected,
          fmt::format("{} ended with {}, expected {}", operation.text, text_of(operation.sense), text_of(expected)));
}

void Simulation::expect_good(const Operation& operation) const {
  require(operation.unseen || operation.status == scsi::Status::good,
          fmt::format("{} ended {}, expected GOOD", operation.text, text_of(operation.sense)));
}

/// A command has ended.
void Simulation::settle(Operation& operation) {
  require(!operation.completed_once, operation.text + " was completed twice");
  operation.completed_once = true;
  operation.status = operation.task.status;
  operation.sense = operation.task.sense;
  bool goes_on = operation.copies() && (operation.request.flags & scsi::kImmed) != 0 && !operation.aborted;
  if (goes_on) {
    expect_good(operation);
    note(fmt::format("  #{} goes on in the background", operation.number));
    operation.background = true;
    operation.result->status = kInBackground;
    scsi::CopyJob* job = world_.copies.find_job(operation.key);
    require(job != nullptr, operation.text + " is not being processed");
    operation.job = job->weak_from_this();
    return;
  }
  conclude(operation);
}

/// Nothing of it moves any more.
void Simulation::conclude(Operation& operation) {
  std::erase(in_flight_, &operation);
  operation.concluded = true;
  Failures failures = take_failures(operation);
  std::string outcome = operation.unseen ? "unseen" : outcome_of(operation);
  note(fmt::format("  #{} ends: {}", operation.number, outcome));
  report_.ended(fmt::format("{}{}", name_of(operation.kind), operation.background ? ", IMMED" : ""), outcome);
  for (const Failure& failure : failures) report_.call_failed(failure.call);
  if (operation.aborted || operation.stopped) return settle_stopped(operation);
  if (operation.conflict)
    return require(operation.status == scsi::Status::reservation_conflict,
                   operation.text + " ended " + outcome + ", expected RESERVATION CONFLICT");
  if (operation.turned_away)
    return require(
        operation.status == *operation.turned_away,
        fmt::format("{} ended {}, expected {}", operation.text, outcome, scsi::describe(*operation.turned_away)));
  see_through_answer(operation, failures);
  if (operation.refusal) return settle_refused(operation, *operation.refusal);
  if (const Operation* other = in_the_way_of(operation))
    throw Disagreement(fmt::format("{} ended before {}, which began earlier", operation.text, other->text));
  if (!failures.empty()) return settle_failed(operation, failures);
  settle_good(operation);
}

/// All of it was done, and a rule had it answered otherwise: from here on it has the answer it would have had.
void Simulation::see_through_answer(Operation& operation, const Failures& failures) const {
  const auto* fail = operation.met_rule<scsi::action::Fail>();
  if (!fail || fail->moment != scsi::Moment::after) return;
  expect_sense(operation, fail->sense);
  operation.status = scsi::Status::good;
  operation.sense = {};
  if (!operation.refusal && failures.empty()) return;
  operation.status = scsi::Status::check_condition;
  operation.sense = operation.refusal ? *operation.refusal : sense_of(failures.front().kind);
}

/// What went wrong on its logical unit since somebody else was blamed, where it says that something did.
Failures Simulation::take_failures(const Operation& operation) {
  Failures taken;
  bool told = operation.status != scsi::Status::good || operation.unseen;
  if (!told || operation.ranges.empty()) return taken;
  std::erase_if(world_.failures, [&](const Failure& failure) {
    if (failure.lun == operation.lun) taken.push_back(failure);
    return failure.lun == operation.lun;
  });
  return taken;
}

/// Commands that share blocks, and of which one changes them, are done in the order in which they began. One that began
/// earlier than `operation` and has not ended, or null.
const Operation* Simulation::in_the_way_of(const Operation& operation) const {
  if (operation.late) return nullptr;
  const Ranges ranges = within_reach(operation);
  for (const Operation* other : in_flight_) {
    bool earlier = other->lun == operation.lun && other->begun != 0 && other->begun < operation.begun && !other->late;
    if (earlier && (other->changes || operation.changes) && intersect(within_reach(*other), ranges)) return other;
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

// ---- What is on the medium ------------------------------------------------------------------------------------

/// Whether something in flight may have written this to a block.
bool Simulation::another_writes(const Operation& operation, std::uint64_t lba, const std::uint8_t* actual) const {
  std::uint64_t length = model_.logical_units[operation.lun].block_length;
  return std::ranges::any_of(in_flight_, [&](const Operation* other) {
    bool may_write = other != &operation && other->lun == operation.lun && other->begun != 0 && other->changes &&
                     !other->refusal && !other->conflict;
    const std::uint8_t* data = may_write ? other->new_block(lba, length) : nullptr;
    return data && std::equal(data, data + length, actual);
  });
}

/// Whose data a block holds.
Simulation::Content Simulation::look(const Operation& operation, std::uint64_t lba, const std::uint8_t* actual) const {
  const LogicalUnitModel& lu = model_.logical_units[operation.lun];
  auto same = [&](const std::uint8_t* data) { return data && std::equal(data, data + lu.block_length, actual); };
  if (same(lu.bytes.data() + lba * lu.block_length)) return Content::of_model;
  if (same(operation.new_block(lba, lu.block_length))) return Content::of_operation;
  return another_writes(operation, lba, actual) ? Content::of_another : Content::wrong;
}

/// Whether a copy that is being processed has written a block, as far as others have not overwritten it.
bool Simulation::written(const Operation& copy, std::uint64_t lba) {
  const LogicalUnitModel& lu = model_.logical_units[copy.lun];
  Bytes actual = world_.content(copy.lun, {lba * lu.block_length, lu.block_length});
  const std::uint8_t* data = copy.new_block(lba, lu.block_length);
  if (std::equal(actual.begin(), actual.end(), data)) return true;
  return copy.overwritten.contains(lba) || another_writes(copy, lba, actual.data());
}

void Simulation::write_model(Operation& operation, std::uint64_t lba, const std::uint8_t* data) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  bool changes = !std::equal(data, data + lu.block_length, lu.block(lba));
  std::copy_n(data, lu.block_length, lu.block(lba));
  lu.depths.resize(lu.capacity());
  lu.depths[lba] = static_cast<std::uint16_t>(operation.token ? operation.token->depth : 0);
  for (Operation* other : in_flight_)
    if (other != &operation && other->lun == operation.lun && other->copies()) other->overwritten.insert(lba);
  if (changes) model_.source_changes(operation.lun, lba, lba + 1, true);
}

void Simulation::each_block(const Operation& operation, const EachBlock& visit) {
  std::uint64_t length = model_.logical_units[operation.lun].block_length, index = 0;
  Bytes content = world_.content(operation.lun, operation.ranges);
  for (const Range& range : operation.ranges)
    for (std::uint64_t lba = range.lba; lba < range.lba + range.blocks; ++lba, ++index)
      visit(index, lba, content.data() + index * length);
}

/// What copies that change their blocks one after another have written by now of the blocks of `operation`.
void Simulation::observe(const Operation& operation) {
  std::uint64_t length = model_.logical_units[operation.lun].block_length;
  for (Operation* copy : std::vector<Operation*>(in_flight_)) {
    if (!copy->in_pieces || !copy->copies() || copy->lun != operation.lun) continue;
    each_block(operation, [&](std::uint64_t, std::uint64_t lba, const std::uint8_t* actual) {
      const std::uint8_t* data = copy->new_block(lba, length);
      bool new_there = data && std::equal(data, data + length, actual);
      if (new_there && look(*copy, lba, actual) == Content::of_operation) write_model(*copy, lba, actual);
    });
  }
}

/// Whether a COMPARE AND WRITE could have found what it compares with: what the model holds, or what a copy that
/// changes its blocks one after another has written.
bool Simulation::could_match(const Operation& operation) const {
  const LogicalUnitModel& lu = model_.logical_units[operation.lun];
  const std::uint8_t* data = operation.compared.data();
  auto is = [&](const std::uint8_t* block) { return block && std::equal(block, block + lu.block_length, data); };
  for (const Range& range : operation.ranges) {
    for (std::uint64_t lba = range.lba; lba < range.lba + range.blocks; ++lba, data += lu.block_length) {
      bool copied = std::ranges::any_of(in_flight_, [&](const Operation* copy) {
        return copy->in_pieces && copy->copies() && copy->lun == operation.lun &&
               is(copy->new_block(lba, lu.block_length));
      });
      if (!copied && !is(lu.bytes.data() + lba * lu.block_length)) return false;
    }
  }
  return true;
}

/// Each block may have changed or not; the model adopts what is there.
void Simulation::adopt(Operation& operation) {
  bool may_change = operation.kind != Kind::compare_and_write || could_match(operation);
  each_block(operation, [&](std::uint64_t, std::uint64_t lba, const std::uint8_t* actual) {
    Content content = look(operation, lba, actual);
    require(content != Content::wrong && (may_change || content != Content::of_operation),
            fmt::format("{}: its block {} is neither old nor new", operation.text, lba));
    // What it writes may be what was there: it was written over others' data all the same.
    const std::uint8_t* data = operation.new_block(lba, model_.logical_units[operation.lun].block_length);
    bool new_there = data && std::equal(data, data + model_.logical_units[operation.lun].block_length, actual);
    if (content == Content::of_operation || (may_change && new_there)) write_model(operation, lba, actual);
  });
}

/// The first `count` blocks of a copy are written; those after are not.
void Simulation::check_written(Operation& operation, std::uint64_t count, bool torn) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  bool may_be_overwritten = operation.in_pieces || operation.background;
  each_block(operation, [&](std::uint64_t index, std::uint64_t lba, const std::uint8_t* actual) {
    const std::uint8_t* data = operation.new_block(lba, lu.block_length);
    if (index < count) {
      bool there = std::equal(data, data + lu.block_length, actual);
      bool overwritten =
          may_be_overwritten && (operation.overwritten.contains(lba) || another_writes(operation, lba, actual));
      require(there || (overwritten && look(operation, lba, actual) != Content::wrong),
              fmt::format("{}: its block {} is not written, and holds {}", operation.text, lba,
                          kContents[static_cast<std::size_t>(look(operation, lba, actual))]));
      return write_model(operation, lba, actual);
    }
    Content content = look(operation, lba, actual);
    if (content == Content::of_model || content == Content::of_another) return;
    require(torn, fmt::format("{}: block {} is written and not counted", operation.text, lba));
    const std::uint8_t* old = lu.block(lba);
    for (std::uint64_t at = 0; at < lu.block_length; at += kSector)
      require(std::equal(actual + at, actual + at + kSector, old + at) ||
                  std::equal(actual + at, actual + at + kSector, data + at),
              fmt::format("{}: its block {} is neither old nor new", operation.text, lba));
    write_model(operation, lba, actual);
  });
}

// ---- Ends -----------------------------------------------------------------------------------------------------

/// By task management, COPY OPERATION ABORT or a reset. What a copy has written stays, and nothing is added.
void Simulation::settle_stopped(Operation& operation) {
  if (operation.aborted || operation.background) {
    require(operation.unseen || operation.status == scsi::Status::task_aborted,
            operation.text + " was aborted and has another status");
  } else {
    expect_sense(operation, {SenseKey::copy_aborted, AdditionalSense::commands_cleared_by_device_server, {}, {}, {}});
  }
  if (operation.begun == 0) return;
  if (operation.when_aborted) {
    std::uint64_t length = model_.logical_units[operation.lun].block_length;
    each_block(operation, [&](std::uint64_t index, std::uint64_t lba, const std::uint8_t* actual) {
      Content content = look(operation, lba, actual);
      require(content != Content::wrong, fmt::format("{}: block {} is neither old nor new", operation.text, lba));
      // The same data may have come from somebody else, who goes on.
      if (content != Content::of_operation || another_writes(operation, lba, actual)) return;
      require(std::equal(actual, actual + length, operation.when_aborted->data() + index * length),
              fmt::format("{} wrote block {} after it was stopped", operation.text, lba));
      write_model(operation, lba, actual);
    });
  } else if (operation.changes && !in_the_way_of(operation)) {
    adopt(operation);  // behind another it has not touched a block yet, and the other's are not settled
  }
  if (is_copy(operation)) finish_result(operation, kTerminated, 0, {});
  adopt_end_of_token(operation);
  end_use(operation);
}

/// Whether the copy came as far as to delete or lose its token before it was stopped is the array's to say.
void Simulation::adopt_end_of_token(Operation& operation) {
  if (!operation.token) return;
  tokens::TokenId id{operation.token->image->copy_manager_rod_token_identifier.value()};
  tokens::TokenState state = world_.copies.tokens().state(id);
  if (state == tokens::TokenState::deleted && (operation.request.flags & scsi::kDelTkn) != 0)
    end_token(*operation.token, TokenEnd::deleted);
  if (state == tokens::TokenState::cancelled) end_token(*operation.token, TokenEnd::cancelled);
}

void Simulation::settle_refused(Operation& operation, const Sense& expected) {
  Sense unknown = expected;
  unknown.code = AdditionalSense::invalid_token_operation_token_unknown;
  bool reason_lost = operation.reason_may_be_lost && operation.sense == unknown;
  expect_sense(operation, reason_lost ? unknown : expected);
  if (is_copy(operation) && operation.begun != 0) finish_result(operation, kFailed, 0, operation.sense);
  end_use(operation);
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
  if (operation.changes) adopt(operation);
}

/// A WRITE USING TOKEN whose store failed: INFORMATION and TRANSFER COUNT are the blocks that surely are written.
void Simulation::settle_short_write(Operation& operation, const Sense& sense, bool token_lost) {
  std::uint64_t written = 0;
  if (operation.unseen) {
    adopt(operation);
  } else {
    if (operation.sense.key == SenseKey::copy_aborted) {
      written = operation.sense.information.value_or(0);
      require(written > 0 && written < operation.request.blocks(), operation.text + ": INFORMATION is out of range");
      expect_sense(operation,
                   {SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, written, {}, {}});
      report_.count("copies that stopped midway");
    } else {
      expect_sense(operation, sense);
    }
    // A store that is told to fail writes nothing then, and each range is one call. Where old data was lost midway, the
    // last block may be in part what the token held.
    check_written(operation, written, token_lost);
  }
  finish_result(operation, written > 0 ? kPartial : kFailed, written, operation.sense);
  if (token_lost && operation.token) {
    report_.count("tokens lost while they were copied");
    end_token(*operation.token, TokenEnd::cancelled);
  }
  end_use(operation);
}

/// A WRITE USING TOKEN that a rule stopped.
void Simulation::settle_cut(Operation& operation, std::uint64_t blocks) {
  const Sense told{SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, blocks, {}, {}};
  expect_sense(operation, told);
  if (operation.unseen) {
    adopt(operation);
  } else {
    check_written(operation, blocks, false);
  }
  finish_result(operation, kPartial, blocks, told);
  end_use(operation);
}

void Simulation::settle_good(Operation& operation) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  switch (operation.kind) {
    case Kind::read:
      observe(operation);
      expect_good(operation);
      if (operation.delay > base::Duration::zero())
        require(world_.clock.now() >= operation.started + operation.delay, operation.text + " did not wait");
      if (!operation.met_rule<scsi::action::Fail>())
        require(operation.task.data_in.to_vector() == as_read(operation, lu.at(operation.ranges)),
                operation.text + " read something else");
      break;
    case Kind::compare_and_write: {
      if (operation.status != scsi::Status::good) observe(operation);
      Bytes there = lu.at(operation.ranges);
      auto difference = std::ranges::mismatch(there, operation.compared);
      if (operation.status != scsi::Status::good || !could_match(operation))
        return expect_sense(operation, {SenseKey::miscompare,
                                        AdditionalSense::miscompare_during_verify_operation,
                                        static_cast<std::uint64_t>(difference.in1 - there.begin()),
                                        {},
                                        {}});
      [[fallthrough]];
    }
    case Kind::write:
    case Kind::unmap:
    case Kind::write_same:
      expect_good(operation);
      for (const Range& range : operation.ranges)
        for (std::uint64_t lba = range.lba; lba < range.lba + range.blocks; ++lba)
          write_model(operation, lba, operation.new_block(lba, lu.block_length));
      break;
    case Kind::populate_token: settle_populate(operation); break;
    case Kind::write_using_token:
      if (const auto* cut = operation.met_rule<scsi::action::ShortCopy>();
          cut && cut->blocks < operation.request.blocks())
        return settle_cut(operation, cut->blocks);
      expect_good(operation);
      check_time(operation);
      if (operation.unseen) {
        adopt(operation);
      } else {
        check_written(operation, operation.request.blocks(), false);
      }
      finish_result(operation, kCompleted, operation.request.blocks(), {});
      if (operation.token && (operation.request.flags & scsi::kDelTkn)) end_token(*operation.token, TokenEnd::deleted);
      if (operation.token) report_.at_least("copies of copies, deepest", operation.token->depth);
      end_use(operation);
      break;
    case Kind::receive_rod_token_information:
    case Kind::receive_copy_status:
      expect_good(operation);
      settle_receive(operation);
      break;
    case Kind::copy_operation_abort:
    case Kind::persistent_reserve_out:
      expect_good(operation);
      poll();
      for (const Operation* other : in_flight_)
        require(std::ranges::find(operation.targets, other->number) == operation.targets.end(),
                fmt::format("{} was complete before {} had stopped", operation.text, other->text));
      break;
  }
}

void Simulation::settle_populate(Operation& operation) {
  LogicalUnitModel& lu = model_.logical_units[operation.lun];
  resolve_vulnerable();
  bool some = !operation.ranges.empty();
  if (some && !model_.room_for_token())
    return settle_refused(operation, {SenseKey::aborted_command, AdditionalSense::insufficient_resources, {}, {}, {}});
  expect_good(operation);
  if (some) {
    check_time(operation);
    observe(operation);
    TokenRef token = model_.create_token(operation.lun, lu.at(operation.ranges), operation.request.timeout_s);
    token->depth = lu.depth(operation.ranges) + 1;
    if (operation.request.flags & scsi::kRtv) token->type = static_cast<tokens::RodType>(operation.request.rod_type);
    if (token->type == tokens::RodType::point_in_time_any) token->type = tokens::RodType::point_in_time_persistent;
    watch_source(operation, *token);
    operation.result->token = token;
  }
  finish_result(operation, kCompleted, operation.request.blocks(), {});
}

/// A token that a change of its source cancels: what is on its way may be about to.
void Simulation::watch_source(const Operation& operation, TokenModel& token) {
  using enum tokens::RodType;
  const tokens::CopyOperation* copy = world_.copies.operations().find(operation.key);
  if (copy && copy->outcome().tokens.size() == 1)
    token.identifier = copy->outcome().tokens.front().token.copy_manager_rod_token_identifier;
  token.vulnerable = token.type == point_in_time_change_vulnerable ||
                     (traits_.source_write_cancels && token.type == point_in_time_default);
  if (!token.vulnerable) return;
  token.source = operation.ranges;
  require(token.identifier != 0, operation.text + " made no token");
  token.source_may_have_changed = std::ranges::any_of(
      in_flight_, [&](const Operation* other) { return other->lun == operation.lun && other->changes; });
}

/// To the microsecond, where nothing is waited for but the time.
void Simulation::check_time(const Operation& operation) const {
  bool waits = world_.stores[operation.lun]->may_block() ||
               (operation.token && world_.stores[operation.token->lun]->may_block());
  if (waits || operation.ranges.empty() || operation.unseen) return;
  bool populate = operation.kind == Kind::populate_token;
  const scsi::CopyDuration& duration = populate ? traits_.populate_duration : traits_.copy_duration;
  std::uint64_t bytes = operation.request.blocks() * model_.logical_units[operation.lun].block_length;
  std::uint64_t takes = duration.latency_us;
  if (duration.bytes_per_second > 0) takes += bytes * 1'000'000 / duration.bytes_per_second;
  auto took = world_.clock.now() - operation.started;
  require(took == base::Duration(takes), fmt::format("{} took {} us, not {}", operation.text, took.count(), takes));
}

}  // namespace sim
