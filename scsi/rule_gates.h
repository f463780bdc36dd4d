// The gates: where the actions of rules take place, and all of them. Command bodies know nothing of rules.
//
//   admission   DeviceServer::admit(), when the CDB is judged and before any data-out is asked for. The rules that the
//               CDB tells are met here: DropCommand, EndConnection at the command, Fail before; and what changes the
//               array (tokens, reachability, third-party copy, memory), after which the CDB is judged again.
//   begin       DeviceServer::run(), when all data-out is here and it is the task's turn, before its body. The rules
//               that a parameter list tells are met here. Delay before; Truncate, WrongData and corrupted tokens of
//               data-out; what admission had no facts for.
//   copy        scsi/copy_data.cc, move_data(), between the pieces of a copy: ShortCopy, WrongData.
//   completion  DeviceServer::finish(), with the outcome, before the task's observer has it. Everything that is to be
//               after; Truncate, WrongData, EditData and WrongResult of data-in.
//   transport   target/iscsi/session_faults.cc: DropResponse, EndConnection, DigestError, AsyncMessage, where the
//               session takes a Data-Out, sends R2Ts, and answers.
//
// What an action does there is what a real cause would do, by the same functions: a token ends in its TokenManager,
// memory is charged to the MemoryBudget, a connection fails through Session::lost(). Without rules a command costs the
// test of RuleSet::empty() and of Task::faults, and nothing is allocated. Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <variant>

#include "base/async.h"
#include "base/timer_queue.h"
#include "scsi/rules.h"
#include "scsi/task.h"

namespace scsi {

class CopyJob;
class DeviceServer;
class LogicalUnit;

/// A wait on behalf of a task; aborted, the task ends at once. Goes with the task's faults, and then is over.
class FaultDelay final : public Abortable {
 public:
  FaultDelay() = default;
  FaultDelay(const FaultDelay&) = delete;
  FaultDelay& operator=(const FaultDelay&) = delete;
  ~FaultDelay() { stop(); }

  /// The task is running until `then` is called, or it is aborted.
  void start(Task& task, const action::Delay& delay, base::TimerQueue::Callback then);
  void abort() override;
  bool waits_for_clock() const override { return !by_wire_; }

 private:
  void stop();
  bool by_wire_ = false;
  Task* task_ = nullptr;
  base::TimerQueue* timers_ = nullptr;
  base::TimerQueue::Id timer_ = base::TimerQueue::Id::none;
};

/// What a task has met, from admission to its end.
struct TaskFaults {
  RuleSet::Hits hits{};
  bool list_awaited = false;                   ///< there may be more when its parameter list is here
  std::size_t admitted = 0;                    ///< hits that the admission gate is done with
  std::size_t begun = 0;                       ///< those the begin gate is done with
  std::size_t completed = 0;                   ///< and the completion gate
  std::expected<void, Sense> outcome{};        ///< while its answer waits
  std::optional<std::uint64_t> transferred{};  ///< bytes of data-out that Truncate left
  FaultDelay delay{};

  // Of the transport gate.
  std::uint32_t data_outs = 0;  ///< that have come
  bool cut = false;             ///< the place where the connection ends is reached
};

/// The first action of that kind that the task has met, or null.
template <typename Kind>
const Kind* find_fault(const Task& task) {
  if (!task.faults) return nullptr;
  for (const auto& rule : task.faults->hits)
    if (const auto* found = std::get_if<Kind>(&rule->action)) return found;
  return nullptr;
}

namespace gate {

/// The task, judged and good, meets rules. What it ends with instead of being admitted, or nothing.
struct Admission {
  std::optional<std::expected<void, Sense>> end{};
  bool judge_again = false;  ///< the array is another than the one the task was judged by
};
Admission admission(RuleSet& rules, Task& task);

/// False: the task has ended, or DeviceServer::resume() follows.
bool begin(Task& task);

/// May change the outcome. False: the task's DeviceServer::finish() follows later.
bool completion(Task& task, std::expected<void, Sense>& outcome);

/// What a copy has of its command's faults, which it outlives. Asked between pieces.
struct Copy {
  std::optional<std::uint64_t> blocks_left{};
  std::optional<action::WrongData::How> wrong_data{};
  std::string rule{};  ///< of the short copy, in words

  bool any() const { return blocks_left || wrong_data; }
  /// How many of `bytes` may be moved next.
  std::uint64_t grant(std::uint64_t bytes, std::uint32_t block_length);
  /// Why no more are: 0A/0D/04.
  Sense stopped() const;
};
Copy copy(const Task& task);
/// Inverts the first bytes of the first block of a range that was just written, in its turn.
base::Async<std::expected<void, Sense>> invert_first_block(CopyJob& job, LogicalUnit& lu, std::uint64_t offset);

}  // namespace gate

}  // namespace scsi
