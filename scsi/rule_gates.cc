#include "scsi/rule_gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/data_buffer.h"
#include "scsi/command_table.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_job.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "tokens/copy_operation.h"

namespace scsi {

void ForgetFaults::operator()(TaskFaults* faults) const { delete faults; }

void FaultDelay::start(Task& task, const action::Delay& delay, base::TimerQueue::Callback then) {
  CopyManager& manager = task.server->copy_manager();
  const RuleSet::WireTime& wire = manager.fabric().rules().wire_time();
  by_wire_ = delay.wire_clock && wire.timers;
  const base::Clock& clock = by_wire_ ? *wire.clock : manager.clock();
  task_ = &task;
  timers_ = by_wire_ ? wire.timers : &manager.timers();
  task.state = Task::State::running;
  task.runner = this;
  timer_ = timers_->at(clock.now() + delay.time, [this, then = std::move(then)]() mutable {
    timer_ = base::TimerQueue::Id::none;
    task_->runner = nullptr;
    base::TimerQueue::Callback last = std::move(then);
    last();
  });
}

void FaultDelay::abort() {
  stop();
  task_->server->finish(*task_, {});
}

void FaultDelay::stop() {
  if (timers_) timers_->cancel(std::exchange(timer_, base::TimerQueue::Id::none));
}

namespace gate {
namespace {

using Outcome = std::expected<void, Sense>;

bool is_copy_out(const Task& task, CopyOutServiceAction action) {
  return task.cdb[0] == kThirdPartyCopyOut &&
         (task.cdb[kServiceActionByte] & kServiceActionMask) == static_cast<std::uint8_t>(action);
}
bool is_copy_in(const Task& task, CopyInServiceAction action) {
  return task.cdb[0] == kThirdPartyCopyIn &&
         (task.cdb[kServiceActionByte] & kServiceActionMask) == static_cast<std::uint8_t>(action);
}

/// Whether its data-out is what blocks are to hold.
bool writes_blocks(const Task& task) {
  constexpr std::uint8_t kWriteSame10 = 0x41, kWriteSame16 = 0x93;
  return task.descriptor->counted == Counted::write || task.cdb[0] == kWriteSame10 || task.cdb[0] == kWriteSame16;
}

Outcome outcome_of(Task& task, const Rule& rule, const action::Fail& fail) {
  task.status = Status::good;
  if (fail.status == Status::good) return {};
  Sense sense;
  if (fail.status == Status::check_condition) {
    sense = fail.sense;
  } else {
    task.status = fail.status;
  }
  sense.rule = describe(rule);
  return std::unexpected(std::move(sense));
}

/// Nobody learns of it: a front end sends no TASK ABORTED.
Outcome never_came(Task& task, const Rule& rule) {
  task.status = Status::task_aborted;
  return std::unexpected(Sense{.rule = describe(rule)});
}

/// What the action makes of the command before it is executed, if it ends it.
std::optional<Outcome> ended_by(Task& task, const Rule& rule) {
  if (const auto* fail = std::get_if<action::Fail>(&rule.action); fail && fail->moment == Moment::before)
    return outcome_of(task, rule, *fail);
  const auto* end = std::get_if<action::EndConnection>(&rule.action);
  if ((end && end->at == action::EndConnection::At::command) || std::get_if<action::DropCommand>(&rule.action))
    return never_came(task, rule);
  return std::nullopt;
}

struct NamedToken {
  CopyManager* manager;
  tokens::TokenId id;
};

/// The token that the command names, made or is to deliver, if there is one.
std::optional<NamedToken> token_of(Task& task) {
  CopyManager& own = task.server->copy_manager();
  std::optional<tokens::RodToken> token;
  if (is_copy_out(task, CopyOutServiceAction::write_using_token)) {
    constexpr std::size_t kToken = offsetof(WriteUsingTokenList, rod_token);
    if (task.data_out.size() >= kToken + sizeof(tokens::RodToken))
      token = base::load<tokens::RodToken>(task.data_out.subspan(kToken));
  } else if (task.logical_unit) {
    std::uint32_t list_identifier = 0;
    if (is_copy_out(task, CopyOutServiceAction::populate_token))
      list_identifier = base::load<TokenOutCdb>(task.cdb).list_identifier;
    else if (is_copy_in(task, CopyInServiceAction::receive_rod_token_information))
      list_identifier = base::load<CopyResultsCdb>(task.cdb).list_identifier;
    else
      return std::nullopt;
    const auto* operation = own.operations().find(copy_operation_key(task.nexus, *task.logical_unit, list_identifier));
    if (operation && !operation->outcome().tokens.empty()) token = operation->outcome().tokens.front().token;
  }
  if (!token) return std::nullopt;
  CopyManager* creator = own.fabric().creator_of(*token);
  return NamedToken{creator ? creator : &own, tokens::TokenId{token->copy_manager_rod_token_identifier.value()}};
}

void end_token(tokens::TokenManager& manager, tokens::TokenId id, action::EndToken::How how) {
  using How = action::EndToken::How;
  switch (how) {
    case How::expired: return manager.expire(id);
    case How::revoked: return manager.revoke(id);
    case How::cancelled: return manager.cancel(id);
    case How::deleted: return manager.delete_by_client(id);
    case How::corrupted: return;  // that is done to bytes on their way
  }
}

void end_token(Task& task, const action::EndToken& end) {
  if (!end.token) {
    if (auto named = token_of(task)) end_token(named->manager->tokens(), named->id, end.how);
    return;
  }
  tokens::TokenManager& manager = task.server->copy_manager().tokens();
  end_token(manager, manager.id_of(*end.token), end.how);
}

/// What the action does to the array, at its moment. Returns whether commands are to be judged again.
bool change_array(Task& task, const Action& action, Moment moment) {
  CopyManager& manager = task.server->copy_manager();
  if (const auto* reach = std::get_if<action::Reach>(&action); reach && reach->moment == moment) {
    Reachability changed = manager.reachability();
    if (reach->reachable)
      changed.mend(reach->a, reach->b);
    else
      changed.cut(reach->a, reach->b, reach->refusal);
    manager.fabric().set_cuts(changed.cuts());
  }
  if (const auto* pool = std::get_if<action::FillPool>(&action); pool && pool->moment == moment)
    manager.fabric().rules().fill_pool(pool->full);
  if (const auto* offer = std::get_if<action::OfferCopies>(&action); offer && offer->moment == moment) {
    manager.offer_third_party_copy(offer->offered);
    return true;
  }
  return false;
}

/// Its data-out as bytes of its own, to be altered.
base::MutableBytes own_data_out(Task& task) {
  auto copy = base::make_ref<base::Buffer>(std::vector<std::uint8_t>(task.data_out.begin(), task.data_out.end()));
  base::MutableBytes bytes = copy->bytes();
  task.data_out = bytes;
  task.data_out_owner = copy;
  return bytes;
}

constexpr std::size_t kInverted = 8;  // bytes of each block

void make_wrong(base::MutableBytes bytes, action::WrongData::How how, std::size_t block_length) {
  if (how == action::WrongData::How::zeros) {
    std::ranges::fill(bytes, std::uint8_t{0});
    return;
  }
  for (std::size_t block = 0; block < bytes.size(); block += block_length)
    for (std::uint8_t& byte : bytes.subspan(block, std::min(kInverted, bytes.size() - block)))
      byte = static_cast<std::uint8_t>(~byte);
}

void corrupt_data_out(Task& task) {
  constexpr std::size_t kToken = offsetof(WriteUsingTokenList, rod_token);
  if (!is_copy_out(task, CopyOutServiceAction::write_using_token) ||
      task.data_out.size() < kToken + sizeof(tokens::RodToken))
    return;
  own_data_out(task)[kToken + sizeof(tokens::RodToken) - 1] ^= 1;  // a bit of the MAC
}

/// What the action does to data-out that is here. False: the body is not to run, and the task is GOOD.
bool change_data_out(Task& task, const Action& action) {
  if (const auto* truncate = std::get_if<action::Truncate>(&action); truncate && task.has_data_out()) {
    task.faults->transferred = std::min<std::uint64_t>(truncate->bytes, task.data_out.size());
    task.data_out = task.data_out.first(*task.faults->transferred);
  }
  if (const auto* wrong = std::get_if<action::WrongData>(&action)) {
    constexpr std::uint8_t kUnmap = 0x42;
    if (wrong->how == action::WrongData::How::not_written) return !writes_blocks(task) && task.cdb[0] != kUnmap;
    if (writes_blocks(task) && !task.data_out.empty())
      make_wrong(own_data_out(task), wrong->how, task.logical_unit->block_length());
  }
  const auto* token = std::get_if<action::EndToken>(&action);
  if (token && !token->token && token->how == action::EndToken::How::corrupted) corrupt_data_out(task);
  return true;
}

void replace_data_in(Task& task, std::vector<std::uint8_t> data) {
  task.data_in.clear();
  task.data_in.append(std::move(data));
}

void edit(Task& task, const action::EditData& edit) {
  auto data = task.data_in.to_vector();
  if (edit.at > data.size()) return;
  const auto from = data.begin() + static_cast<std::ptrdiff_t>(edit.at);
  const auto to = from + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(edit.cut, data.size() - edit.at));
  const std::vector<std::uint8_t> taken(from, to);
  auto place = data.erase(from, to);
  if (edit.move_to)
    place = data.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(*edit.move_to, data.size()));
  const auto& put = edit.move_to ? taken : edit.put;
  data.insert(place, put.begin(), put.end());
  replace_data_in(task, std::move(data));
}

/// RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS(LID4): AVAILABLE DATA and this.
void change_result(Task& task, const action::WrongResult& wrong) {
  constexpr std::size_t kHeader = sizeof(base::be32);
  auto data = task.data_in.to_vector();
  if (data.size() < kHeader + sizeof(CopyStatusHeader)) return;
  base::MutableBytes at = base::MutableBytes(data).subspan(kHeader);
  auto header = base::load<CopyStatusHeader>(at);
  if (wrong.transfer_count) header.transfer_count = *wrong.transfer_count;
  if (wrong.copy_status) header.copy_operation_status = *wrong.copy_status;
  if (wrong.segments_processed) header.segments_processed = *wrong.segments_processed;
  base::store(at, header);
  base::MutableBytes rest = at.subspan(sizeof header);
  if (wrong.descriptors_length && rest.size() >= header.sense_data_field_length + sizeof(base::be32))
    base::store(rest.subspan(header.sense_data_field_length), base::be32(*wrong.descriptors_length));
  replace_data_in(task, std::move(data));
}

/// Whether RECEIVE ROD TOKEN INFORMATION tells a token: behind sense data and ROD TOKEN DESCRIPTORS LENGTH.
bool has_token(base::Bytes data) {
  constexpr std::size_t kHeader = sizeof(base::be32) + sizeof(CopyStatusHeader);
  if (data.size() < kHeader) return false;
  const auto header = base::load<CopyStatusHeader>(data.subspan(sizeof(base::be32)));
  return data.size() >= kHeader + header.sense_data_field_length + sizeof(base::be32) + sizeof(tokens::RodToken);
}

bool has_copy_result(const Task& task) {
  return is_copy_in(task, CopyInServiceAction::receive_rod_token_information) ||
         is_copy_in(task, CopyInServiceAction::receive_copy_status_lid4);
}

/// What the action does to the data-in of a command that was good.
void change_data_in(Task& task, const Action& action) {
  if (const auto* truncate = std::get_if<action::Truncate>(&action)) {
    const std::uint64_t left = std::min<std::uint64_t>(truncate->bytes, task.data_in_size());
    task.data_in.truncate(truncate->bytes);
    task.data_in_unread = left - task.data_in.size();
  }
  if (task.data_in.empty()) return;
  const auto* wrong = std::get_if<action::WrongData>(&action);
  if (wrong && wrong->how != action::WrongData::How::not_written) {
    auto data = task.data_in.to_vector();
    std::size_t block = task.descriptor->counted == Counted::read ? task.logical_unit->block_length() : data.size();
    make_wrong(data, wrong->how, block);
    replace_data_in(task, std::move(data));
  }
  if (const auto* changed = std::get_if<action::EditData>(&action)) edit(task, *changed);
  if (const auto* result = std::get_if<action::WrongResult>(&action); result && has_copy_result(task))
    change_result(task, *result);
  const auto* token = std::get_if<action::EndToken>(&action);
  if (token && token->how == action::EndToken::How::corrupted &&
      is_copy_in(task, CopyInServiceAction::receive_rod_token_information)) {
    auto data = task.data_in.to_vector();
    if (!has_token(data)) return;
    data.back() ^= 1;  // the last of the token
    replace_data_in(task, std::move(data));
  }
}

/// A token that POPULATE TOKEN makes is there only afterwards.
Moment moment_of(const Task& task, const action::EndToken& end) {
  bool made = !end.token && is_copy_out(task, CopyOutServiceAction::populate_token);
  return made ? Moment::after : end.moment;
}

const action::EndToken* token_end(const Task& task, const Action& action, Moment moment) {
  const auto* end = std::get_if<action::EndToken>(&action);
  return end && moment_of(task, *end) == moment ? end : nullptr;
}

const action::Delay* delay_of(const Action& action, Moment moment) {
  const auto* delay = std::get_if<action::Delay>(&action);
  return delay && delay->moment == moment && delay->time > base::Duration::zero() ? delay : nullptr;
}

}  // namespace

Admission admission(RuleSet& rules, Task& task) {
  bool list_awaited = false;
  RuleSet::Hits hits = rules.meet(task, list_awaited);
  if (hits.empty() && !list_awaited) return {};
  task.faults.reset(new TaskFaults{.hits = std::move(hits), .list_awaited = list_awaited});
  TaskFaults& faults = *task.faults;
  Admission result;
  const bool waits = std::ranges::any_of(
      faults.hits, [](const auto& rule) { return delay_of(rule->action, Moment::after) != nullptr; });
  for (const auto& rule : faults.hits) {
    // What stands behind a wait happens after it; and so does an end, whatever wait is to follow it.
    if (delay_of(rule->action, Moment::before)) break;
    result.end = ended_by(task, *rule);
    if (result.end && waits) {
      task.status = Status::good;
      result.end.reset();
      break;
    }
    result.judge_again |= change_array(task, rule->action, Moment::before);
    ++faults.admitted;
    if (result.end) break;
  }
  return result;
}

bool begin(Task& task) {
  TaskFaults& faults = *task.faults;
  if (std::exchange(faults.list_awaited, false)) {
    RuleSet::Hits more = task.server->copy_manager().fabric().rules().meet_with_list(task);
    faults.hits.insert(faults.hits.end(), more.begin(), more.end());
  }
  while (faults.begun < faults.hits.size()) {
    const bool admitted = faults.begun < faults.admitted;
    const std::shared_ptr<const Rule> rule = faults.hits[faults.begun++];
    if (!admitted) {
      if (auto end = ended_by(task, *rule)) {
        task.server->finish(task, std::move(*end));
        return false;
      }
      change_array(task, rule->action, Moment::before);
    }
    if (const auto* end = token_end(task, rule->action, Moment::before)) end_token(task, *end);
    if (!change_data_out(task, rule->action)) {
      task.server->finish(task, {});
      return false;
    }
    if (const auto* delay = delay_of(rule->action, Moment::before); delay && task.logical_unit) {
      task.keep_data_out();
      faults.delay.start(task, *delay, [&task] { task.server->run(task); });
      return false;
    }
  }
  return true;
}

bool completion(Task& task, Outcome& outcome) {
  TaskFaults& faults = *task.faults;
  if (task.abort_requested.load(std::memory_order_relaxed)) return true;
  while (faults.completed < faults.hits.size()) {
    const std::shared_ptr<const Rule> rule = faults.hits[faults.completed++];
    const Action& action = rule->action;
    change_array(task, action, Moment::after);
    if (const auto* end = token_end(task, action, Moment::after)) end_token(task, *end);
    if (const auto* fail = std::get_if<action::Fail>(&action); fail && fail->moment == Moment::after)
      outcome = outcome_of(task, *rule, *fail);
    if (const auto* copy = std::get_if<action::ShortCopy>(&action); copy && !copy->counted && !outcome)
      outcome.error().information.reset();
    if (outcome) change_data_in(task, action);
    if (const auto* delay = delay_of(action, Moment::after)) {
      faults.outcome = std::move(outcome);
      faults.delay.start(task, *delay, [&task] { task.server->finish(task, std::move(task.faults->outcome)); });
      return false;
    }
  }
  if (faults.transferred) task.data_out_length = std::min(task.data_out_length, *faults.transferred);
  return true;
}

Copy copy(const Task& task) {
  Copy copy;
  if (!task.faults) return copy;
  for (const auto& rule : task.faults->hits) {
    if (const auto* shorter = std::get_if<action::ShortCopy>(&rule->action); shorter && !copy.blocks_left) {
      copy.blocks_left = shorter->blocks;
      copy.rule = describe(*rule);
    }
    if (const auto* wrong = std::get_if<action::WrongData>(&rule->action)) copy.wrong_data = wrong->how;
  }
  return copy;
}

std::uint64_t Copy::grant(std::uint64_t bytes, std::uint32_t block_length) {
  if (!blocks_left) return bytes;
  bytes = std::min(bytes, *blocks_left * block_length);
  *blocks_left -= (bytes + block_length - 1) / block_length;
  return bytes;
}

Sense Copy::stopped() const {
  return {SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, {}, {}, rule};
}

base::Async<Outcome> invert_first_block(CopyJob& job, LogicalUnit& lu, std::uint64_t offset) {
  const handlers::ByteRange block{offset, lu.block_length()};
  Outcome done = co_await job.work(lu, Access::exclusive, block, [&]() -> Outcome {
    base::Segments read;
    if (auto good = lu.store().read(block, read); !good) return io_outcome(std::move(good));
    auto bytes = read.to_vector();
    make_wrong(bytes, action::WrongData::How::inverted, bytes.size());
    return io_outcome(lu.store().write(offset, bytes));
  });
  co_return done;
}

}  // namespace gate
}  // namespace scsi
