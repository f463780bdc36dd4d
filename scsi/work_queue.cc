#include "scsi/work_queue.h"

#include <algorithm>
#include <cassert>
#include <new>

#include "scsi/device_server.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"

namespace scsi {
namespace {

bool conflict(Access a, handlers::ByteRange range_a, Access b, handlers::ByteRange range_b) {
  if (a == Access::barrier || b == Access::barrier) return true;
  if (a == Access::shared && b == Access::shared) return false;
  return range_a.offset < range_b.end() && range_b.offset < range_a.end();
}

bool attempt(CommandContext::AtOnce at_once, Task& task, handlers::ByteRange range) {
  try {
    return at_once(task, range);
  } catch (const std::bad_alloc&) {
    return false;  // the work will say so
  }
}

}  // namespace

std::expected<void, Sense> perform(CommandContext::Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return std::unexpected(
        Sense{SenseKey::aborted_command, AdditionalSense::insufficient_resources, {}, {}, "out of memory"});
  }
}

handlers::ByteRange hull(const std::vector<handlers::ByteRange>& ranges) {
  handlers::ByteRange hull = ranges.empty() ? handlers::ByteRange{} : ranges.front();
  for (const handlers::ByteRange& range : ranges) {
    std::uint64_t end = std::max(hull.end(), range.end());
    hull.offset = std::min(hull.offset, range.offset);
    hull.length = end - hull.offset;
  }
  return hull;
}

bool WorkQueue::conflicts(Access access, handlers::ByteRange range) const {
  return std::ranges::any_of(entries_,
                             [&](const Entry& entry) { return conflict(entry.access, entry.range, access, range); });
}

Durability WorkQueue::durability_of(Access access, Durability asked) const {
  if (access != Access::exclusive || lu_.mode_pages().write_cache_enabled()) [[likely]]
    return asked;
  return Durability::flushed;  // WCE is zero: what changes is on the medium before it is answered (SBC-3 6.5.5).
}

WorkQueue::Outcome WorkQueue::flush_store() {
  Work flush = [this] { return io_outcome(lu_.store().flush()); };
  return perform(flush);
}

void WorkQueue::announce(Access access, handlers::ByteRange range) {
  if (changing_ && access == Access::exclusive) [[unlikely]] {
    if (!changing_(range)) changing_ = nullptr;
  }
}

std::optional<WorkQueue::Outcome> WorkQueue::try_now(Access access, handlers::ByteRange range, base::Executor* executor,
                                                     Work& work, Durability durability) {
  if ((executor && lu_.store().may_block()) || conflicts(access, range)) return {};
  announce(access, range);
  Work now = std::move(work);
  Outcome outcome = perform(now);
  if (outcome && durability_of(access, durability) == Durability::flushed) outcome = flush_store();
  return outcome;
}

bool WorkQueue::try_at_once(Access access, handlers::ByteRange range, Task& task, CommandContext::AtOnce at_once) {
  if (conflicts(access, range)) return false;
  announce(access, range);
  return attempt(at_once, task, range);
}

bool WorkQueue::flush_at_once(Access access, Durability durability) {
  return durability_of(access, durability) == Durability::cached || lu_.store().flush_at_once();
}

WorkQueue::Entry& WorkQueue::add(Access access, handlers::ByteRange range, base::Executor* executor, Work work,
                                 Durability durability) {
  auto blockers = static_cast<std::size_t>(std::ranges::count_if(
      entries_, [&](const Entry& entry) { return conflict(entry.access, entry.range, access, range); }));
  if (spare_.empty()) spare_.emplace_back();
  entries_.splice(entries_.end(), spare_, spare_.begin());
  Entry& entry = entries_.back();
  entry.access = access;
  entry.range = range;
  entry.executor = lu_.store().may_block() ? executor : nullptr;
  entry.work = std::move(work);
  entry.durability = durability_of(access, durability);
  entry.blockers = blockers;
  entry.running = false;
  assert(entry.executor || blockers > 0);
  return entry;
}

void WorkQueue::submit(Task& task, Access access, handlers::ByteRange range, base::Executor* executor, Work work,
                       Then then, Durability durability, CommandContext::AtOnce at_once) {
  Entry& entry = add(access, range, executor, std::move(work), durability);
  entry.at_once = at_once;
  entry.task = &task;
  entry.then = std::move(then);
  task.state = Task::State::waiting;
  if (entry.blockers == 0) start(std::prev(entries_.end()));
}

void WorkQueue::submit_flush(Task& task, Access access, handlers::ByteRange range, base::Executor& executor,
                             Then then) {
  Entry& entry = add(access, range, &executor, {}, Durability::flushed);
  entry.task = &task;
  entry.then = std::move(then);
  entry.running = true;
  task.state = Task::State::running;
  await_flush(std::prev(entries_.end()));
}

void WorkQueue::submit(Access access, handlers::ByteRange range, base::Executor* executor, Work work, Done done) {
  Entry& entry = add(access, range, executor, std::move(work), Durability::cached);
  entry.done = std::move(done);
  if (entry.blockers == 0) start(std::prev(entries_.end()));
}

void WorkQueue::start(Entries::iterator entry) {
  entry->running = true;
  if (entry->task) entry->task->state = Task::State::running;
  announce(entry->access, entry->range);
  if (base::Executor* aside = entry->executor && entry->at_once ? entry->executor->aside() : nullptr) {
    aside->post([entry] { entry->done_at_once = attempt(entry->at_once, *entry->task, entry->range); },
                [this, entry] { entry->done_at_once ? worked(entry) : post(entry); });
  } else if (entry->executor) {
    post(entry);
  } else {
    entry->outcome = perform(entry->work);
    if (entry->outcome && entry->durability == Durability::flushed) entry->outcome = flush_store();
    done(entry);
  }
}

void WorkQueue::post(Entries::iterator entry) {
  entry->executor->post_of(&lu_, [entry] { entry->outcome = perform(entry->work); }, [this, entry] { worked(entry); });
}

void WorkQueue::worked(Entries::iterator entry) {
  if (!entry->outcome || entry->durability == Durability::cached) return done(entry);
  await_flush(entry);
}

void WorkQueue::await_flush(Entries::iterator entry) {
  unflushed_.push_back(entry);
  if (flushing_.empty() && unflushed_.size() == 1) start_flush_soon(*entry->executor);
}

void WorkQueue::start_flush_soon(base::Executor& executor) {
  executor.soon([this, &executor] { start_flush(executor); });
}

void WorkQueue::start_flush(base::Executor& executor) {
  flushing_.swap(unflushed_);
  executor.post_of(&lu_, [this] { flush_outcome_ = flush_store(); }, [this, &executor] { flushed(executor); });
}

void WorkQueue::flushed(base::Executor& executor) {
  answering_.swap(flushing_);
  const Outcome outcome = std::move(flush_outcome_);
  if (!unflushed_.empty()) start_flush_soon(executor);
  for (Entries::iterator entry : answering_) {
    entry->outcome = outcome;
    done(entry);
  }
  answering_.clear();
}

void WorkQueue::done(Entries::iterator entry) {
  Task* task = entry->task;
  Outcome outcome = std::move(entry->outcome);
  if (entry->then) outcome = entry->then(std::move(outcome));
  Done tell = std::move(entry->done);
  remove(entry);
  if (task) task->server->finish(*task, std::move(outcome));
  if (tell) tell(std::move(outcome));
  start_ready();
}

void WorkQueue::remove(Entries::iterator entry) {
  for (auto later = std::next(entry); later != entries_.end(); ++later)
    if (conflict(entry->access, entry->range, later->access, later->range)) --later->blockers;
  entry->task = nullptr;
  entry->work = nullptr;
  entry->at_once = nullptr;
  entry->done_at_once = false;
  entry->then = nullptr;
  entry->done = nullptr;
  entry->outcome = {};
  spare_.splice(spare_.begin(), entries_, entry);
}

void WorkQueue::withdraw(Task& task) {
  auto entry = std::ranges::find(entries_, &task, &Entry::task);
  assert(entry != entries_.end() && task.state == Task::State::waiting);
  remove(entry);
}

void WorkQueue::start_ready() {
  auto ready = [](const Entry& entry) { return entry.blockers == 0 && !entry.running; };
  for (auto entry = std::ranges::find_if(entries_, ready); entry != entries_.end();
       entry = std::ranges::find_if(entries_, ready))
    start(entry);
}

}  // namespace scsi
