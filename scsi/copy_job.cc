#include "scsi/copy_job.h"

#include <fmt/format.h>

#include <new>
#include <utility>

#include "scsi/command_events.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_commands.h"
#include "scsi/task_set.h"
#include "scsi/token_words.h"
#include "scsi/work_queue.h"

namespace scsi {

using tokens::CopyStatus;

Sense out_of_resources(std::string rule) {
  return {SenseKey::aborted_command, AdditionalSense::insufficient_resources, {}, {}, std::move(rule)};
}

CopyJob::End CopyJob::completed(tokens::CopyOutcome outcome) {
  outcome.completion_status = static_cast<std::uint8_t>(Status::good);
  return {.outcome = std::move(outcome)};
}

CopyJob::End CopyJob::failed(Sense sense) {
  return failed({.status = CopyStatus::completed_with_errors}, std::move(sense));
}

CopyJob::End CopyJob::failed(tokens::CopyOutcome outcome, Sense sense) {
  outcome.completion_status = static_cast<std::uint8_t>(Status::check_condition);
  outcome.sense = encode_fixed(sense);
  return {.outcome = std::move(outcome), .answer = std::unexpected(std::move(sense))};
}

CopyJob::CopyJob(const CommandContext& context, tokens::CopyOperationGuard guard)
    : manager_(context.server.copy_manager()),
      server_(context.server),
      lu_(*context.lu),
      nexus_(context.task.nexus),
      lun_(context.task.lun),
      initiator_(context.server.initiator(context.task.nexus)),
      guard_(std::move(guard)),
      task_(&context.task),
      faults_(gate::copy(context.task)),
      uses_{context.lu} {}

CopyJob::~CopyJob() = default;

std::expected<std::shared_ptr<CopyJob>, Sense> CopyJob::begin(const CommandContext& context,
                                                              tokens::CopyCommand command,
                                                              std::optional<std::uint32_t> list_identifier) {
  tokens::CopyOperations& operations = context.server.copy_manager().operations();
  auto key = copy_operation_key(context.task.nexus, *context.lu, list_identifier.value_or(0));
  auto guard = list_identifier ? operations.begin(key, command) : operations.begin_unlisted(key, command);
  if (guard) return std::shared_ptr<CopyJob>(new CopyJob(context, std::move(*guard)));
  if (guard.error() == tokens::CopyStartError::too_many_operations) {
    End end = failed(out_of_resources("the limit on copy operations being processed is reached"));
    // WINDOWS: a host that is refused a WRITE USING TOKEN asks for its result, and reports what that says.
    if (list_identifier) operations.refused(key, command, std::move(end.outcome));
    return std::unexpected(std::move(end.answer.error()));
  }
  return std::unexpected(Sense::illegal_request(
      AdditionalSense::operation_in_progress, fmt::format("list identifier {} is being processed", *list_identifier)));
}

CopyJob::Outcome CopyJob::end_at_once(End end) {
  guard_.finish(std::move(end.outcome));
  return std::move(end.answer);
}

CopyJob::Outcome CopyJob::start(CommandContext& context, Body body, bool immediate) {
  auto self = shared_from_this();
  manager_.add(self);
  driver_ = drive(self, std::move(body)).handle();
  context.defer(*this);
  if (immediate) {
    guard_.continue_in_background();
    server_.finish(*std::exchange(task_, nullptr), {});
  }
  driver_.resume();
  if (driver_ && manager_.journal()) record(EventKind::copy_started, nullptr);
  return {};
}

void CopyJob::is_about(const CopySubject& subject) {
  subject_ = subject;
  if (task_) task_->copy = subject;
}

void CopyJob::record(EventKind kind, const End* end) const {
  Event event{.kind = kind,
              .array = manager_.array_name(),
              .target = server_.config().target_name,
              .lun = lun_,
              .logical_unit = lu_.config().name,
              .initiator = initiator_ ? initiator_->text() : "",
              .command = std::string(name_of(guard_.operation().command())),
              .list_identifier = key().list_identifier};
  add_subject(event, subject_);
  if (end) {
    event.copy_status = end->outcome.status;
    event.transfer_count = end->outcome.transfer_count;
    event.transfer_count_units = guard_.operation().units();
    if (!end->answer) event.reason = end->answer.error().rule;
    if (event.reason.empty()) event.reason = end->answer ? "completed" : describe(end->answer.error());
  } else {
    event.reason = "it takes its time";
  }
  manager_.journal()->record(std::move(event));
}

base::Detached CopyJob::drive(std::shared_ptr<CopyJob> job, Body body) {
  std::optional<End> end;
  {
    Body running = std::move(body);  // what its frame holds (a token's use) is let go of before the answer
    try {
      end.emplace(co_await running);
    } catch (const std::bad_alloc&) {
      end.emplace(failed(out_of_resources("out of memory")));
    }
  }
  job->end(std::move(*end));
}

void CopyJob::end(End end) {
  driver_ = nullptr;
  manager_.remove(*this);
  if (stopping())
    end = {.outcome = {.status = CopyStatus::terminated, .completion_status = tokens::kTaskAbortedStatus},
           .answer = std::unexpected(Sense{SenseKey::copy_aborted,
                                           AdditionalSense::commands_cleared_by_device_server,
                                           {},
                                           {},
                                           "stopped by COPY OPERATION ABORT or a reset"})};
  if (manager_.journal()) record(EventKind::copy_ended, &end);
  guard_.finish(std::move(end.outcome));
  if (Task* task = std::exchange(task_, nullptr)) {
    if (end.good_sense) task->sense = std::move(*end.good_sense);
    server_.finish(*task, std::move(end.answer));
  }
  waiters_.clear();
}

void CopyJob::stop(std::shared_ptr<Rendezvous> waiter) {
  auto self = shared_from_this();
  waiters_.push_back(std::move(waiter));
  stopping_.store(true, std::memory_order_relaxed);
  go_on();
}

void CopyJob::abort() {
  auto self = shared_from_this();
  stopping_.store(true, std::memory_order_relaxed);
  go_on();
}

void CopyJob::go_on() {
  manager_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
  if (auto paused = std::exchange(paused_, nullptr)) paused.resume();
}

void CopyJob::abandon() {
  manager_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
  for (const auto& waiter : waiters_) waiter->dismiss();
  if (auto driver = std::exchange(driver_, nullptr)) driver.destroy();
}

CopyJob::StoreWork CopyJob::work(LogicalUnit& lu, Access access, handlers::ByteRange range, CommandContext::Work work) {
  use(lu);
  return {server_.long_work(), lu, access, range, std::move(work)};
}

bool CopyJob::StoreWork::await_ready() {
  outcome_ = lu_.work().try_now(access_, range_, executor_, work_);
  return outcome_.has_value();
}

void CopyJob::StoreWork::await_suspend(std::coroutine_handle<> waiting) {
  lu_.work().submit(access_, range_, executor_, std::move(work_), [this, waiting](Outcome outcome) {
    outcome_ = std::move(outcome);
    waiting.resume();
  });
}

CopyJob::Pause CopyJob::until(base::TimePoint when) { return {*this, when}; }

bool CopyJob::Pause::await_ready() const { return job_.stopping() || job_.manager_.clock().now() >= when_; }

void CopyJob::Pause::await_suspend(std::coroutine_handle<> waiting) {
  job_.paused_ = waiting;
  job_.timer_ = job_.manager_.timers().at(when_, [job = &job_] { job->go_on(); });
}

CopyJob::Elsewhere CopyJob::elsewhere(std::move_only_function<void()> work) {
  return {server_.long_work(), std::move(work)};
}

/// Memory that runs out on a worker is told to the coroutine; the process lives.
void CopyJob::Elsewhere::run() noexcept {
  try {
    work_();
  } catch (const std::bad_alloc&) {
    out_of_memory_ = true;
  }
}

bool CopyJob::Elsewhere::await_suspend(std::coroutine_handle<> waiting) {
  if (!executor_) {
    run();
    return false;
  }
  executor_->post([this] { run(); }, [waiting] { waiting.resume(); });
  return true;
}

CopyJob::ReservationWork CopyJob::change_reservations(LogicalUnit& lu, ReservationChanges::Change change) {
  return {server_.executor(), lu, std::move(change)};
}

bool CopyJob::ReservationWork::await_suspend(std::coroutine_handle<> waiting) {
  lu_.reservation_changes().submit(executor_, std::move(change_), [this](Reservations::Result result) {
    if (result) announce(lu_, *result);
    outcome_ = result ? std::expected<void, ReservationError>() : std::unexpected(result.error());
    if (waiting_) waiting_.resume();
  });
  if (outcome_) return false;
  waiting_ = waiting;
  return true;
}

}  // namespace scsi
