// One SCSI command on its way through the device server.
//
// A front end owns Task objects and recycles them: nothing here allocates once warm. A Task is admitted
// (judged by its CDB), fed its data-out, executed, and completed exactly once through its TaskObserver, on
// the loop's thread, perhaps from inside admit() or execute().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/segments.h"
#include "handlers/backing_store.h"
#include "scsi/sense.h"
#include "scsi/status.h"

namespace scsi {

class CopyManager;
class DeviceServer;
class LogicalUnit;
struct CommandDescriptor;
class Task;
struct TaskFaults;
struct ForgetFaults {
  void operator()(TaskFaults* faults) const;
};

class TaskObserver {
 public:
  virtual ~TaskObserver() = default;
  /// `task` has its status, sense and data_in. The observer may recycle it at once.
  virtual void completed(Task& task) = 0;
};

/// Long work on behalf of a task.
class Abortable {
 public:
  virtual ~Abortable() = default;
  /// Stops as soon as it can and then finishes the task, perhaps from inside. Called at most once.
  virtual void abort() = 0;
  /// Whether it does nothing before the array clock moves.
  virtual bool waits_for_clock() const { return false; }
};

/// What a copy command is about, as far as its parameter list was read; for the journal.
struct CopySubject {
  const CopyManager* token_of = nullptr;  ///< whose token it names or made; null: nobody's here
  std::uint64_t token = 0;                ///< COPY MANAGER ROD TOKEN IDENTIFIER
  std::uint64_t lba = 0;                  ///< its first range
  std::uint64_t blocks = 0;               ///< of all its ranges; 0: not known
};

/// The longest CDB served here (the standard's variable-length CDBs are refused by the front end).
inline constexpr std::size_t kMaxCdbLength = 16;

class Task {
 public:
  enum class State {
    idle,       ///< not with a device server
    admitted,   ///< its CDB is good; data-out is being gathered
    waiting,    ///< ordered behind other tasks, or behind work on overlapping ranges
    running,    ///< its store work is under way
    completed,  ///< status is set
  };

  // Set by the front end before admit().
  NexusId nexus = NexusId::none;
  Lun lun{};
  std::uint32_t tag = 0;  ///< unique among the nexus's tasks (the iSCSI Initiator Task Tag)
  TaskAttribute attribute = TaskAttribute::simple;
  std::array<std::uint8_t, kMaxCdbLength> cdb{};
  TaskObserver* observer = nullptr;
  /// The initiator's expected data transfer length, where the transport has one (RFC 7143, 11.3.4). Only
  /// commands whose data-out has a single right length look at it (WRITE SAME, COMPARE AND WRITE): a longer one
  /// cannot be seen in data_out, which is cut to data_out_length.
  std::optional<std::uint64_t> expected_data_length{};
  /// Bytes of data-in the initiator takes, where the transport tells. A READ of more reads only the blocks they are in,
  /// so that it takes no memory that the front end does not count.
  std::optional<std::uint64_t> data_in_room{};

  // Set by admit().
  /// Bytes of data-out the CDB asks for; the front end sets data_out and calls execute().
  std::uint64_t data_out_length = 0;
  /// Bytes of data-in the CDB allows (allocation length or transfer length), for residuals.
  std::uint64_t data_in_length = 0;

  // Set by the front end before execute(). Borrowed until completion when `data_out_owner` is set, else
  // only until execute() returns: the device server then copies what it has to keep.
  base::Bytes data_out{};
  base::Ref<const base::RefCounted> data_out_owner{};
  /// In place of data_out, all of it in memory that the store lent (DeviceServer::lend()). The front end keeps it until
  /// completion; the body leaves it empty.
  handlers::Loan* loan = nullptr;
  std::uint64_t loan_length = 0;  ///< bytes

  // The outcome.
  Status status = Status::good;
  Sense sense{};  ///< when status is CHECK CONDITION
  base::Segments data_in{};
  std::uint64_t data_in_unread = 0;  ///< bytes that would follow, had the initiator room for them; for residuals

  // The device server's own.
  State state = State::idle;
  CopySubject copy{};
  const CommandDescriptor* descriptor = nullptr;
  LogicalUnit* logical_unit = nullptr;
  DeviceServer* server = nullptr;
  /// Set by task management; looked at between pieces of long work, on whatever thread does it.
  std::atomic<bool> abort_requested{false};
  Abortable* runner = nullptr;  ///< who finishes the task, when that is no store work of its own
  Task* older = nullptr;        ///< neighbours in the logical unit's task set (scsi/task_set.h)
  Task* younger = nullptr;
  bool dormant = false;  ///< has its data-out, waits for its turn in the task set (SAM-5 8.7)
  /// What rules make of it (scsi/rule_gates.h); null, as it nearly always is: nothing.
  std::unique_ptr<TaskFaults, ForgetFaults> faults{};

  bool has_data_out() const { return data_out_length > 0; }
  /// Bytes of data-out that came.
  std::uint64_t data_out_size() const { return loan ? loan_length : data_out.size(); }

  /// Gives it its own copy of data-out that was only lent.
  void keep_data_out();

  /// Bytes of data-in the command has, read or not.
  std::uint64_t data_in_size() const { return data_in.size() + data_in_unread; }
  void drop_data_in() {
    data_in.clear();
    data_in_unread = 0;
  }

  /// Back to idle, keeping capacity.
  void reset();
};

}  // namespace scsi
