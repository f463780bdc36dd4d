#include "scsi/work_queue.h"

#include <algorithm>
#include <cassert>
#include <new>

#include "scsi/device_server.h"

namespace scsi {
namespace {

bool conflict(Access a, handlers::ByteRange range_a, Access b, handlers::ByteRange range_b) {
  if (a == Access::barrier || b == Access::barrier) return true;
  if (a == Access::shared && b == Access::shared) return false;
  return range_a.offset < range_b.end() && range_b.offset < range_a.end();
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

bool WorkQueue::conflicts(Access access, handlers::ByteRange range) const {
  return std::ranges::any_of(entries_,
                             [&](const Entry& entry) { return conflict(entry.access, entry.range, access, range); });
}

void WorkQueue::submit(Task& task, Access access, handlers::ByteRange range, base::Executor* executor, Work work,
                       Then then) {
  auto blockers = static_cast<std::size_t>(std::ranges::count_if(
      entries_, [&](const Entry& entry) { return conflict(entry.access, entry.range, access, range); }));
  if (spare_.empty()) spare_.emplace_back();
  entries_.splice(entries_.end(), spare_, spare_.begin());
  Entry& entry = entries_.back();
  entry.task = &task;
  entry.access = access;
  entry.range = range;
  entry.executor = executor;
  entry.work = std::move(work);
  entry.then = std::move(then);
  entry.blockers = blockers;
  task.state = Task::State::waiting;
  assert(executor || blockers > 0);
  if (blockers == 0) post(std::prev(entries_.end()));
}

void WorkQueue::post(Entries::iterator entry) {
  entry->task->state = Task::State::running;
  entry->executor->post([entry] { entry->outcome = perform(entry->work); }, [this, entry] { done(entry); });
}

void WorkQueue::done(Entries::iterator entry) {
  Task& task = *entry->task;
  std::expected<void, Sense> outcome = std::move(entry->outcome);
  if (entry->then) outcome = entry->then(std::move(outcome));
  remove(entry);
  task.server->finish(task, std::move(outcome));
  start_ready();
}

void WorkQueue::remove(Entries::iterator entry) {
  for (auto later = std::next(entry); later != entries_.end(); ++later)
    if (conflict(entry->access, entry->range, later->access, later->range)) --later->blockers;
  entry->task = nullptr;
  entry->work = nullptr;
  entry->then = nullptr;
  entry->outcome = {};
  spare_.splice(spare_.begin(), entries_, entry);
}

void WorkQueue::withdraw(Task& task) {
  auto entry = std::ranges::find(entries_, &task, &Entry::task);
  assert(entry != entries_.end() && task.state == Task::State::waiting);
  remove(entry);
}

void WorkQueue::start_ready() {
  auto ready = [](const Entry& entry) { return entry.blockers == 0 && entry.task->state == Task::State::waiting; };
  for (auto entry = std::ranges::find_if(entries_, ready); entry != entries_.end();
       entry = std::ranges::find_if(entries_, ready)) {
    if (entry->executor) {
      post(entry);
    } else {
      entry->task->state = Task::State::running;
      entry->outcome = perform(entry->work);
      done(entry);
    }
  }
}

}  // namespace scsi
