// The SCSI target device: logical units by number, I_T nexuses, dispatch, and task management.
//
// Takes tasks, gives completions; knows no socket and no thread. It owns the LUN map of one target; logical
// units and the copy manager belong to the array and may be shared by several targets.
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/log.h"
#include "scsi/status.h"
#include "scsi/task.h"
#include "tokens/token_events.h"

namespace scsi {

class CommandCounts;
class CopyManager;
class LogicalUnit;
class Rendezvous;

/// SAM-5 7; the values are those of RFC 7143, 11.5.1 and RFC 7144.
enum class TaskManagementFunction : std::uint8_t {
  abort_task = 1,
  abort_task_set = 2,
  clear_aca = 3,
  clear_task_set = 4,
  logical_unit_reset = 5,
  target_warm_reset = 6,
  target_cold_reset = 7,
  task_reassign = 8,
};

/// "LOGICAL UNIT RESET".
std::string_view name_of(TaskManagementFunction function);

/// RFC 7143, 11.6.1.
enum class TaskManagementResponse : std::uint8_t {
  function_complete = 0,
  task_does_not_exist = 1,
  lun_does_not_exist = 2,
  task_still_allegiant = 3,
  task_allegiance_reassignment_not_supported = 4,
  function_not_supported = 5,
  function_authorization_failed = 6,
  function_rejected = 255,
};

class DeviceServer {
 public:
  struct Config {
    std::string target_name;  ///< the SCSI target device name, for VPD 83h and ITNexus
    std::uint16_t target_portal_group_tag = 1;
    std::vector<std::uint16_t> further_portal_group_tags{};  ///< the target's other ports (RFC 7143, 4.4.2)
  };

  /// `executor` may be null when no store may block. All references outlive the server.
  DeviceServer(Config config, const base::Clock& array_clock, base::Executor* executor, CopyManager& copy_manager);
  ~DeviceServer();

  const Config& config() const;
  /// Relative target port identifiers: a portal group is a port (RFC 7143, 4.4.2).
  std::vector<std::uint16_t> target_ports() const;
  /// The port a nexus is of.
  std::uint16_t target_port(NexusId id) const;

  /// Adds a logical unit; every I_T nexus learns it on the others (06/3F/0E). Throws std::invalid_argument when the
  /// number is taken.
  void add(Lun lun, std::shared_ptr<LogicalUnit> logical_unit);
  /// Removes one: every I_T nexus learns it on the others (06/3F/0E). What its commands have begun to do is finished;
  /// those that have not begun, and all that come later, are 05/25/00. Copies that use it are stopped, its tokens
  /// cancelled, its reservations and saved settings gone. The object stays with this server until nothing uses it.
  void remove(Lun lun);
  /// Of those removed, the ones that nothing uses any more; this server knows them no longer.
  std::vector<std::shared_ptr<LogicalUnit>> take_unused();
  /// Those removed that take_unused() did not give yet.
  const std::vector<std::shared_ptr<LogicalUnit>>& leaving() const;
  LogicalUnit* find(Lun lun) const;
  /// What `nexus` means by a LUN: every command and task management function finds its logical unit so. Null where
  /// there is none that the nexus may use: one that it may not use is not there for it.
  LogicalUnit* find(NexusId nexus, Lun lun) const;
  /// Whether the initiator is among those for whom the logical unit, one of this server's, is there.
  static bool may_use(NexusId nexus, const LogicalUnit& lu);
  /// Whether it may use all of them.
  bool may_use_all(NexusId nexus) const;
  const std::map<Lun, std::shared_ptr<LogicalUnit>>& logical_units() const;

  /// A new session: the returned id is passed with every task. Establishes POWER ON, RESET, OR BUS DEVICE
  /// RESET OCCURRED (06/29/00) for the nexus on each logical unit that it may use (SAM-5 5.14).
  NexusId attach(ITNexus nexus);
  const ITNexus& nexus(NexusId id) const;
  const std::map<NexusId, ITNexus>& nexuses() const;  ///< all attached ones
  /// The name of an attached nexus's initiator, to be remembered after it is gone; null for any other.
  base::Ref<const tokens::InitiatorName> initiator(NexusId id) const;

  /// The session is gone (SAM-5 6.3.4 I_T nexus loss): its unit attentions and copy results are dropped; its
  /// tasks must have been aborted by the caller first. Running copy operations go on.
  void detach(NexusId id);

  /// Judges a task by its CDB: logical unit, operation code, usage bits, gates, ranges. Afterwards either
  /// the task is completed, or it waits for `data_out_length` bytes of data-out and execute().
  /// A task without data-out is executed at once.
  void admit(Task& task);

  /// Memory of the logical unit's store for all data-out of a command with this CDB, admitted or not yet; false: none,
  /// as where that is not `length` bytes. Only a WRITE that no rule is for may be given it, as Task::loan.
  bool lend(NexusId nexus, Lun lun, base::Bytes cdb, std::uint64_t length, handlers::Loan& loan);

  /// Runs an admitted task whose data_out is set. data_out shorter than data_out_length (the initiator's
  /// expected transfer length was smaller) is served for as many whole blocks as there are only by commands
  /// that can; parameter lists too short are 05/1A/00.
  void execute(Task& task);

  /// Runs a task whose turn it is: from inside, and when what a rule made it wait for is over (scsi/rule_gates.h).
  void run(Task& task);

  /// Withdraws an admitted task that will get no execute() (its session ended). Not completed.
  void withdraw(Task& task);

  using TaskManagementDone = std::move_only_function<void(TaskManagementResponse)>;
  /// Performs a task management function; `done` is called once no affected task can change data any more,
  /// perhaps from inside. Aborted tasks of the same nexus are completed with Status::task_aborted, which a
  /// front end does not send (SAM-5 5.3.1, TAS=0); tasks of other nexuses likewise, and their nexus gets
  /// COMMANDS CLEARED BY ANOTHER INITIATOR (06/2F/00). `tag` only for abort_task.
  void manage(TaskManagementFunction function, NexusId nexus, std::optional<Lun> lun, std::uint32_t tag,
              TaskManagementDone done);

  /// What the loss of power makes of `lu`, one of this server's, while its I_T nexuses stay attached: its tasks are
  /// aborted, copies that use it stopped and results dropped, mode pages are as saved, registrations and reservations
  /// gone that need not persist, its medium in. Every I_T nexus is told (06/29/00). Its data and its tokens are the
  /// caller's. `waiter` is held until nothing moves any more. Not while its medium is being erased.
  void power_cycle(LogicalUnit& lu, const std::shared_ptr<Rendezvous>& waiter);

  /// Aborts everything of a nexus (session end), then calls `done`.
  void abort_all(NexusId nexus, std::move_only_function<void()> done);

  /// Aborts every task of the preempted `nexuses` on a logical unit, and stops what they copy there in the background,
  /// then calls `done`, perhaps from inside (SPC-4 5.12.11.5). Tells nobody: REGISTRATIONS PREEMPTED is the unit
  /// attention condition for it.
  void abort_preempted(LogicalUnit& lu, const std::vector<NexusId>& nexuses, std::move_only_function<void()> done);

  /// Completes a task: status, sense, data cut to data_in_length, a line in the log when it was refused, and the
  /// observer, once; where a rule wants that, later. For bodies' work that ended later (scsi/work_queue.h) and for task
  /// management.
  void finish(Task& task, std::expected<void, Sense> outcome);

  /// For the journal: a task that a front end answered itself, with the reason in words.
  void record_answered(const Task& task, const std::string& reason) const;

  /// Sense data of a completed task as its logical unit encodes it: fixed format, or descriptor format while D_SENSE is
  /// one in the Control mode page (SPC-4 7.5.8).
  std::vector<std::uint8_t> sense_data(const Task& task) const;

  CopyManager& copy_manager() const;
  /// Of every task that finish() completed, or whose answer a transport then loses. Not of what a front end answers.
  const CommandCounts& counts() const;
  const base::Clock& clock() const;
  base::Executor* executor() const;
  /// The same for work that moves much data.
  base::Executor* long_work() const;

 private:
  /// Everything that is judged before data-out: logical unit, row, usage bits, gates, lengths, the row's own check.
  std::expected<void, Sense> judge(Task& task);
  std::optional<std::expected<void, Sense>> meet_rules(Task& task);
  /// After a task left: whoever waited for it goes on.
  void wake_dormant(LogicalUnit& lu);
  /// Sets status and sense data; a line in the log, and an event.
  void tell_refusal(Task& task, Sense sense);
  /// Third-party copy commands are worth an event, and a line at level debug, also when they succeed: few, and what a
  /// test is about.
  void tell_copy(const Task& task) const;
  void log_task(base::log::Level level, const Task& task, std::string_view outcome) const;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Decodes an 8-byte LUN field (SAM-5 4.7.3): peripheral device addressing with bus 0, or flat space
/// addressing. Nothing for other methods and for more than one level.
std::optional<Lun> decode_lun(base::Bytes field);

/// The 8-byte form: peripheral device addressing below 256, else flat space.
std::array<std::uint8_t, 8> encode_lun(Lun lun);

}  // namespace scsi
