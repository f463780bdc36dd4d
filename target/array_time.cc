#include "target/array_time.h"

#include <utility>

#include "target/event_loop.h"

namespace target {

ArrayTime::ArrayTime(EventLoop& loop, base::ArrayClock& clock) : loop_(loop), clock_(clock) {
  loop.at_end_of_any_turn([this] { settle(); });
}

void ArrayTime::settle() {
  if (stepping_) return;  // the end of that turn looks for more
  auto next = clock_.next_wake();
  if (next == timer_at_) return;
  loop_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
  timer_at_ = next;
  if (!next) return;
  if (*next <= loop_.clock().now()) {
    stepping_ = true;
    timer_at_.reset();
    loop_.again([this] {
      stepping_ = false;
      clock_.run_due(kTimersOfATurn);
    });
    return;
  }
  timer_ = loop_.timers().at(*next, [this] {
    timer_ = base::TimerQueue::Id::none;
    timer_at_.reset();
    clock_.run_due(kTimersOfATurn);  // the end of this turn looks for more
  });
}

}  // namespace target
