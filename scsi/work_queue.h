// The order of store work on one logical unit.
//
// Work on overlapping byte ranges is done in arrival order, unless both only read; a barrier is alone. Work that
// conflicts with nothing and whose store does not block is done on the spot. Work that is to be durable waits, when it
// is done, for a flush that begins after it; one flush at a time is under way, and the next one is for all who wait
// when the loop has served what it has at hand. Whoever watches the logical unit's data is told of each change before
// it begins. Thread: the loop's; the work itself, and a flush, run where the executor runs them.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <optional>
#include <vector>

#include "base/executor.h"
#include "scsi/command_table.h"

namespace scsi {

/// Does work; memory that runs out in it is 0B/55/03, and the process lives.
std::expected<void, Sense> perform(CommandContext::Work& work);

/// From the lowest first byte to the highest last one: what is asked for where several ranges are to be had together.
handlers::ByteRange hull(const std::vector<handlers::ByteRange>& ranges);

class LogicalUnit;

class WorkQueue {
 public:
  using Work = CommandContext::Work;
  using Then = CommandContext::Then;
  using Outcome = std::expected<void, Sense>;

  explicit WorkQueue(LogicalUnit& lu) : lu_(lu) {}

  /// Does `work` now, when nothing here is in its way and the store does not block; else nothing: the same is then to
  /// be passed to submit(). `executor` null: nothing blocks.
  std::optional<Outcome> try_now(Access access, handlers::ByteRange range, base::Executor* executor, Work& work,
                                 Durability durability = Durability::cached);

  /// Whether `at_once` could do now what is asked for; not where something here is in its way. If so, the work of
  /// `task` is done, and flush_at_once() or submit_flush() follows.
  bool try_at_once(Access access, handlers::ByteRange range, Task& task, CommandContext::AtOnce at_once);

  /// Whether what was done at once is as durable as asked for, after a flush at once where it takes one.
  bool flush_at_once(Access access, Durability durability);

  /// Takes the rest of what was done at once: the flush. As submit().
  void submit_flush(Task& task, Access access, handlers::ByteRange range, base::Executor& executor, Then then);

  /// Takes work of `task`; the task is finished through its device server when the work is done, never from inside.
  /// `then` as in CommandContext::start(), and so `at_once`: it is asked first where the executor has an aside().
  void submit(Task& task, Access access, handlers::ByteRange range, base::Executor* executor, Work work, Then then,
              Durability durability, CommandContext::AtOnce at_once = nullptr);

  using Done = std::move_only_function<void(Outcome)>;
  /// Takes work that is no task's of this logical unit (a copy's); `done` is called on this thread, never from inside.
  void submit(Access access, handlers::ByteRange range, base::Executor* executor, Work work, Done done);

  /// Calls `changing` with each range before it is changed, until it returns false; null: nobody watches.
  void watch(std::move_only_function<bool(handlers::ByteRange)> changing) { changing_ = std::move(changing); }

  /// Takes back the work of a waiting task. The caller ends the task and then calls start_ready().
  void withdraw(Task& task);

  bool idle() const { return entries_.empty(); }

  /// Begins all work that nothing is in the way of any more.
  void start_ready();

 private:
  struct Entry {
    Task* task = nullptr;  ///< null: a copy's work, or a spare entry
    bool running = false;
    Access access = Access::shared;
    handlers::ByteRange range{};
    base::Executor* executor = nullptr;
    Work work{};
    CommandContext::AtOnce at_once = nullptr;
    bool done_at_once = false;
    Then then{};
    Done done{};
    Durability durability = Durability::cached;
    Outcome outcome{};
    std::size_t blockers = 0;  ///< earlier entries it conflicts with
  };
  using Entries = std::list<Entry>;

  bool conflicts(Access access, handlers::ByteRange range) const;
  Entry& add(Access access, handlers::ByteRange range, base::Executor* executor, Work work, Durability durability);
  /// What work is held to: more than it asks for when changes may not stay in a cache.
  Durability durability_of(Access access, Durability asked) const;
  Outcome flush_store();
  void announce(Access access, handlers::ByteRange range);
  void start(Entries::iterator entry);
  void post(Entries::iterator entry);
  void worked(Entries::iterator entry);
  void await_flush(Entries::iterator entry);
  void start_flush_soon(base::Executor& executor);
  void start_flush(base::Executor& executor);
  void flushed(base::Executor& executor);
  void done(Entries::iterator entry);
  void remove(Entries::iterator entry);

  LogicalUnit& lu_;
  std::move_only_function<bool(handlers::ByteRange)> changing_;
  Entries entries_;  ///< in arrival order
  Entries spare_;    ///< recycled, so that a warm queue does not allocate

  using Group = std::vector<Entries::iterator>;  // of entries that are running still, their work done
  Group unflushed_;                              ///< wait for the next flush
  Group flushing_;                               ///< wait for the flush under way; empty: there is none
  Group answering_;                              ///< empty but for a moment
  Outcome flush_outcome_{};                      ///< the worker's until it is done
};

}  // namespace scsi
