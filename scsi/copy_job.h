// One copy operation while it is processed: from its command until nothing of it moves any more.
//
// What it does is a coroutine (its body) that awaits store work, time and workers here; straight code, on the loop's
// thread. The job itself keeps the operation's list identifier, answers the command - at its end, or at its start with
// IMMED=1 - and stops when it is told to: by COPY OPERATION ABORT, task management, a reset or a preempted reservation.
// The copy manager owns it while it runs. Thread: the loop's.
#pragma once

#include <atomic>
#include <coroutine>
#include <expected>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <vector>

#include "base/async.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/timer_queue.h"
#include "scsi/command_table.h"
#include "scsi/reservation_changes.h"
#include "scsi/rule_gates.h"
#include "scsi/sense.h"
#include "scsi/task.h"
#include "tokens/copy_operation.h"
#include "tokens/token_events.h"

namespace scsi {

class CopyManager;
class Rendezvous;
enum class EventKind : std::uint8_t;

class CopyJob final : public Abortable, public std::enable_shared_from_this<CopyJob> {
 public:
  using Outcome = std::expected<void, Sense>;

  /// How an operation ends: what is kept of it, and what its command is answered.
  struct End {
    tokens::CopyOutcome outcome;
    Outcome answer{};
    std::optional<Sense> good_sense{};  ///< sense data that goes with GOOD (EXTENDED COPY's G_SENSE)
  };
  using Body = base::Async<End>;

  static End completed(tokens::CopyOutcome outcome);
  /// With errors and nothing transferred; the result repeats the command's sense data. WINDOWS: classpnp asks for that
  /// result and believes it, not the CHECK CONDITION.
  static End failed(Sense sense);
  /// With errors after something was: `outcome` has the status and the counts.
  static End failed(tokens::CopyOutcome outcome, Sense sense);

  /// Takes the list identifier (SPC-4 5.17.4.2); nullopt: LIST ID USAGE 11b. Errors: 05/00/16, which leaves no result;
  /// 0B/55/03 too many operations.
  static std::expected<std::shared_ptr<CopyJob>, Sense> begin(const CommandContext& context,
                                                              tokens::CopyCommand command,
                                                              std::optional<std::uint32_t> list_identifier);
  ~CopyJob() override;

  // Until start(): ends the operation as the body's last act would.
  Outcome end_at_once(End end);
  Outcome refuse(Sense sense) { return end_at_once(failed(std::move(sense))); }

  /// Runs `body`, whose frame may refer to this job. `immediate`: the command is answered GOOD first. To be the last
  /// act of a command body: the task may be gone when it returns.
  Outcome start(CommandContext& context, Body body, bool immediate);

  /// What the operation is about, once that is known; for the journal.
  void is_about(const CopySubject& subject);
  const CopySubject& subject() const { return subject_; }
  /// Who names the tokens it names.
  tokens::TokenUser user() const { return {guard_.operation().command(), initiator_}; }

  CopyManager& manager() const { return manager_; }
  DeviceServer& server() const { return server_; }
  /// The logical unit whose copy manager processes the command.
  LogicalUnit& lu() const { return lu_; }
  NexusId nexus() const { return nexus_; }
  const tokens::CopyOperationKey& key() const { return guard_.operation().key(); }
  /// From start() on: unique among all jobs of the process, in the order they began.
  std::uint64_t number() const { return number_; }
  /// Says that it reads or writes `lu`: what happens to that concerns it from now on.
  void use(const LogicalUnit& lu) { uses_.insert(&lu); }
  bool uses(const LogicalUnit& lu) const { return uses_.contains(&lu); }
  tokens::CopyOperationGuard& operation() { return guard_; }
  const tokens::CopyOperation& progress() const { return guard_.operation(); }

  /// What rules want of its data (scsi/rule_gates.h).
  gate::Copy& faults() { return faults_; }

  /// Whether it is to end as soon as it can, writing nothing more. Any thread.
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }
  const std::atomic<bool>& stop_flag() const { return stopping_; }

  // What a body awaits. After each it looks at stopping().

  /// Work on a logical unit's store, in its turn (CommandContext::start() says how). Gives its outcome.
  class StoreWork;
  StoreWork work(LogicalUnit& lu, Access access, handlers::ByteRange range, CommandContext::Work work);

  /// Until the array clock shows `when`, or the job is to stop.
  class Pause;
  Pause until(base::TimePoint when);

  /// Something that waits for other things than a store of ours, on a worker thread.
  class Elsewhere;
  Elsewhere elsewhere(std::move_only_function<void()> work);

  /// A change of the registrations or reservation of a logical unit, in its turn, and kept where it is to be. What
  /// follows from it for others is told. Gives the error.
  class ReservationWork;
  ReservationWork change_reservations(LogicalUnit& lu, ReservationChanges::Change change);

  // Stopping. `waiter` is let go of when nothing of the operation moves any more, perhaps from inside.

  /// As COPY OPERATION ABORT does: a foreground command ends with 0A/2F/02.
  void stop(std::shared_ptr<Rendezvous> waiter);
  /// Task management: the task ends with TASK ABORTED.
  void abort() override;
  bool waits_for_clock() const override { return timer_ != base::TimerQueue::Id::none; }

 private:
  friend class CopyManager;
  CopyJob(const CommandContext& context, tokens::CopyOperationGuard guard);

  static base::Detached drive(std::shared_ptr<CopyJob> job, Body body);
  void end(End end);
  void record(EventKind kind, const End* end) const;
  void go_on();
  /// The copy manager is going: what waits is dropped, and nothing is answered.
  void abandon();

  CopyManager& manager_;
  DeviceServer& server_;
  LogicalUnit& lu_;
  const NexusId nexus_;
  const Lun lun_;
  const base::Ref<const tokens::InitiatorName> initiator_;
  CopySubject subject_{};
  tokens::CopyOperationGuard guard_;
  std::uint64_t number_ = 0;
  Task* task_;  ///< null once it is answered
  gate::Copy faults_;
  std::set<const LogicalUnit*> uses_;
  std::atomic<bool> stopping_{false};
  std::coroutine_handle<> driver_;
  std::coroutine_handle<> paused_;
  base::TimerQueue::Id timer_ = base::TimerQueue::Id::none;
  std::vector<std::shared_ptr<Rendezvous>> waiters_;
};

class CopyJob::StoreWork {
 public:
  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiting);
  Outcome await_resume() { return std::move(*outcome_); }

 private:
  friend class CopyJob;
  StoreWork(base::Executor* executor, LogicalUnit& lu, Access access, handlers::ByteRange range,
            CommandContext::Work work)
      : executor_(executor), lu_(lu), access_(access), range_(range), work_(std::move(work)) {}

  base::Executor* executor_;
  LogicalUnit& lu_;
  Access access_;
  handlers::ByteRange range_;
  CommandContext::Work work_;
  std::optional<Outcome> outcome_;
};

class CopyJob::Pause {
 public:
  bool await_ready() const;
  void await_suspend(std::coroutine_handle<> waiting);
  void await_resume() const {}

 private:
  friend class CopyJob;
  Pause(CopyJob& job, base::TimePoint when) : job_(job), when_(when) {}
  CopyJob& job_;
  base::TimePoint when_;
};

class CopyJob::Elsewhere {
 public:
  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> waiting);
  void await_resume() const {
    if (out_of_memory_) throw std::bad_alloc();
  }

 private:
  friend class CopyJob;
  void run() noexcept;
  Elsewhere(base::Executor* executor, std::move_only_function<void()> work)
      : executor_(executor), work_(std::move(work)) {}
  base::Executor* executor_;
  std::move_only_function<void()> work_;
  bool out_of_memory_ = false;
};

class CopyJob::ReservationWork {
 public:
  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> waiting);
  std::expected<void, ReservationError> await_resume() const { return *outcome_; }

 private:
  friend class CopyJob;
  ReservationWork(base::Executor* executor, LogicalUnit& lu, ReservationChanges::Change change)
      : executor_(executor), lu_(lu), change_(std::move(change)) {}
  base::Executor* executor_;
  LogicalUnit& lu_;
  ReservationChanges::Change change_;
  std::coroutine_handle<> waiting_{};
  std::optional<std::expected<void, ReservationError>> outcome_{};
};

/// WINDOWS: 0B/55/03 is the only code that becomes STATUS_INSUFFICIENT_RESOURCES (classpnp). SPC-4 names 55h/0Ch and
/// 55h/0Dh.
Sense out_of_resources(std::string rule);

}  // namespace scsi
