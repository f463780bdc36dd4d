// The order of store work on one logical unit.
//
// Work on overlapping byte ranges is done in arrival order, unless both only read; a barrier is alone. Work that
// conflicts with nothing and whose store does not block never comes here: CommandContext::start() runs it on the spot.
// Thread: the loop's; the work itself runs where the executor runs it.
#pragma once

#include <cstddef>
#include <list>

#include "base/executor.h"
#include "scsi/command_table.h"

namespace scsi {

/// Does work; memory that runs out in it is 0B/55/03, and the process lives.
std::expected<void, Sense> perform(CommandContext::Work& work);

class WorkQueue {
 public:
  using Work = CommandContext::Work;
  using Then = CommandContext::Then;

  /// Whether work of this kind would have to wait for something already here.
  bool conflicts(Access access, handlers::ByteRange range) const;

  /// Takes work of `task`; the task is finished through its device server when the work is done, never from inside.
  /// `executor` null: the work is done on this thread once nothing is in its way.
  void submit(Task& task, Access access, handlers::ByteRange range, base::Executor* executor, Work work, Then then);

  /// Takes back the work of a waiting task. The caller ends the task and then calls start_ready().
  void withdraw(Task& task);

  /// Begins all work that nothing is in the way of any more.
  void start_ready();

 private:
  struct Entry {
    Task* task = nullptr;
    Access access = Access::shared;
    handlers::ByteRange range{};
    base::Executor* executor = nullptr;
    Work work{};
    Then then{};
    std::expected<void, Sense> outcome{};
    std::size_t blockers = 0;  ///< earlier entries it conflicts with
  };
  using Entries = std::list<Entry>;

  void post(Entries::iterator entry);
  void done(Entries::iterator entry);
  void remove(Entries::iterator entry);

  Entries entries_;  ///< in arrival order
  Entries spare_;    ///< recycled, so that a warm queue does not allocate
};

}  // namespace scsi
