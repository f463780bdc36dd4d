#include "base/timer_queue.h"

namespace base {

TimerQueue::Id TimerQueue::at(TimePoint when, Callback callback) {
  Id id{++last_id_};
  timers_.emplace(Key(when, id), std::move(callback));
  by_id_.emplace(id, when);
  return id;
}

void TimerQueue::cancel(Id id) {
  auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  timers_.erase(Key(found->second, id));
  by_id_.erase(found);
}

std::optional<TimePoint> TimerQueue::next() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first.first;
}

bool TimerQueue::run_one(TimePoint now) {
  if (timers_.empty() || timers_.begin()->first.first > now) return false;
  auto node = timers_.extract(timers_.begin());
  by_id_.erase(node.key().second);
  node.mapped()();
  return true;
}

std::size_t TimerQueue::run_due(TimePoint now) {
  std::size_t fired = 0;
  while (run_one(now)) ++fired;
  return fired;
}

}  // namespace base
