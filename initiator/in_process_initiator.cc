#include "initiator/in_process_initiator.h"

#include <algorithm>
#include <stdexcept>

#include "scsi/rule_gates.h"

namespace initiator {

namespace {

namespace action = scsi::action;

Result broken() {
  Result result;
  result.transport = Transport::connection_lost;
  result.reason = "a rule ends the connection";
  return result;
}

void set_residual(Result& result, std::uint64_t expected, std::uint64_t allowed) {
  if (allowed == expected) return;
  result.residual = allowed < expected ? Result::Residual::underflow : Result::Residual::overflow;
  result.residual_count = static_cast<std::uint32_t>(allowed < expected ? expected - allowed : allowed - expected);
}

}  // namespace

bool InProcessInitiator::run_until_done(base::TimePoint deadline) {
  while (!done_ && clock_.now() < deadline && step_ && step_()) {
  }
  return done_;
}

Result InProcessInitiator::time_out() {
  bool answered = false;
  server_.manage(scsi::TaskManagementFunction::abort_task, nexus_, lun_, task_.tag,
                 [&answered](scsi::TaskManagementResponse) { answered = true; });
  while (!(answered && done_) && step_ && step_()) {
  }
  // The task is a member: leaving it with the device server would let a late completion touch a newer command.
  if (!answered || !done_) throw std::logic_error("a command neither completed nor could be aborted");
  Result result;
  result.transport = Transport::timed_out;
  result.reason = "no answer before the time-out; aborted with ABORT TASK";
  return result;
}

/// Whether a rule ends the connection while data-out is on its way.
bool InProcessInitiator::breaks_before_data() const {
  using At = action::EndConnection::At;
  const auto* end = scsi::find_fault<action::EndConnection>(task_);
  return end && (end->at == At::r2t || end->at == At::data_out);
}

/// What becomes of a command that has ended, but whose answer a rule withholds; nothing for any other.
std::optional<Result> InProcessInitiator::without_answer(base::TimePoint deadline) {
  using At = action::EndConnection::At;
  const auto* end = scsi::find_fault<action::EndConnection>(task_);
  if (end && end->at != At::after_response && end->at != At::r2t && end->at != At::data_out) return broken();
  if (!scsi::find_fault<action::DropResponse>(task_) && !scsi::find_fault<action::DropCommand>(task_))
    return std::nullopt;
  while (clock_.now() < deadline && step_ && step_()) {
  }
  Result result;
  result.transport = Transport::timed_out;
  result.reason = "no answer before the time-out; a rule lost it";
  return result;
}

Result InProcessInitiator::answer(std::uint64_t expected) {
  Result result;
  result.status = static_cast<std::uint8_t>(task_.status);
  if (task_.status == scsi::Status::check_condition) result.sense = scsi::encode_fixed(task_.sense);
  if (task_.has_data_out()) {
    set_residual(result, expected, task_.data_out_length);
  } else if (result.good() || !task_.data_in.empty()) {
    result.data_in = task_.data_in.to_vector();
    set_residual(result, expected, result.data_in.size());
    result.data_in.resize(std::min<std::uint64_t>(result.data_in.size(), expected));
  }
  return result;
}

Result InProcessInitiator::execute(const Command& command) {
  if (command.cdb.size() > scsi::kMaxCdbLength) throw std::invalid_argument("a CDB of more than 16 bytes");
  task_.reset();
  task_.nexus = nexus_;
  task_.lun = lun_;
  task_.tag = next_tag_++;
  task_.attribute = command.untagged ? scsi::TaskAttribute::untagged : scsi::TaskAttribute::simple;
  task_.cdb.fill(0);
  std::ranges::copy(command.cdb, task_.cdb.begin());
  task_.observer = this;
  const std::uint64_t expected = command.data_out.empty() ? command.data_in_length : command.data_out.size();
  task_.expected_data_length = expected;
  done_ = false;

  const base::TimePoint deadline = clock_.now() + command.timeout;
  server_.admit(task_);
  if (!done_ && task_.has_data_out()) {
    if (task_.faults && breaks_before_data()) [[unlikely]] {
      server_.withdraw(task_);
      return broken();
    }
    task_.data_out =
        base::Bytes(command.data_out).first(std::min<std::uint64_t>(command.data_out.size(), task_.data_out_length));
    server_.execute(task_);
  }
  if (!run_until_done(deadline)) return time_out();
  if (task_.faults) [[unlikely]] {
    if (auto withheld = without_answer(deadline)) return *std::move(withheld);
  }
  return answer(expected);
}

}  // namespace initiator
