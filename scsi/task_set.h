// The task set of one logical unit (SAM-5 8): every task admitted and not yet ended, in order, whichever I_T nexus and
// target it came through.
//
// It decides when a task may begin by its task attribute; ranges are ordered later, by the work queue. It also knows
// who waits for aborted tasks to stop. It completes nothing itself. Thread: the loop's.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "scsi/task.h"

namespace scsi {

/// Something to be done when several things are: `then` runs when the last reference to it is dropped.
class Rendezvous {
 public:
  explicit Rendezvous(std::move_only_function<void()> then) : then_(std::move(then)) {}
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;
  ~Rendezvous() {
    if (then_) then_();
  }
  /// There is nobody left for whom it is to be done.
  void dismiss() { then_ = nullptr; }

 private:
  std::move_only_function<void()> then_;
};

/// The runner of a command that waits for others to stop, which is near: aborted, it still waits for them.
class WaitsForOthers final : public Abortable {
  void abort() override {}
};
inline WaitsForOthers waits_for_others;

/// Whether nothing becomes of a task, on its way to its end, before the array clock moves: it waits for that itself, or
/// is dormant behind others which all do.
bool waits_for_clock(const Task& task);

class TaskSet {
 public:
  /// Adds a task: the youngest, or the oldest when its attribute is HEAD OF QUEUE.
  void enter(Task& task);

  /// Removes a task that ended or is withdrawn.
  void leave(Task& task);

  /// Whether SAM-5 8.6 lets the task begin: nothing older is left before an ORDERED one, no ORDERED one before a
  /// SIMPLE one.
  bool may_begin(const Task& task) const { return ordered_ == 0 || may_begin_among_ordered(task); }

  /// Marks a task that has its data-out but may not begin.
  void sleep(Task& task);

  /// Calls `run` for each dormant task that may begin, no longer dormant. Called again from inside `run` it does
  /// nothing: the outer call goes on.
  template <typename Run>
  void wake(Run run) {
    if (dormant_ == 0 || waking_) return;
    waking_ = true;
    while (Task* task = next_to_begin()) run(*task);
    waking_ = false;
  }

  Task* oldest() const { return oldest_; }
  Task* find(NexusId nexus, std::uint32_t tag) const;

  /// Holds on to `rendezvous` until every one of `tasks` has left and collect_stopped() was called.
  void wait_for(std::vector<const Task*> tasks, std::shared_ptr<Rendezvous> rendezvous);

  /// Lets go of everything whose tasks have all left; to be called when those tasks are completed.
  void collect_stopped();

 private:
  struct Wait {
    std::vector<const Task*> tasks;
    std::shared_ptr<Rendezvous> rendezvous;
  };

  bool may_begin_among_ordered(const Task& task) const;
  Task* next_to_begin();

  Task* oldest_ = nullptr;
  Task* youngest_ = nullptr;
  std::size_t ordered_ = 0;
  std::size_t dormant_ = 0;
  bool waking_ = false;
  std::vector<Wait> waits_;
};

}  // namespace scsi
