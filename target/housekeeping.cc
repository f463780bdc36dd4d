#include "target/housekeeping.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "handlers/memory_pool.h"
#include "target/arrays.h"
#include "target/event_loop.h"

namespace target {
namespace {

constexpr base::Duration kQuick = std::chrono::microseconds(10);
constexpr base::Duration kLongestPause = std::chrono::milliseconds(50);

base::Duration pause_after(base::Duration what_took) { return std::min(99 * what_took, kLongestPause); }

}  // namespace

/// Shared with the job that was posted: where odxd ends by an error, that is run or thrown away after all else is gone
/// but the loop.
struct Housekeeping::State : std::enable_shared_from_this<State> {
  State(EventLoop& its_loop, handlers::MemoryPool& its_pool) : loop(its_loop), pool(&its_pool) {}

  void give_back() {
    giving_back = true;
    auto work = [self = shared_from_this()] {
      const base::TimePoint began = self->loop.clock().now();
      self->pool->give_back_empty();
      self->giving_took = self->loop.clock().now() - began;
    };
    loop.long_work().post(std::move(work), [self = shared_from_this()] {
      EventLoop& its_loop = self->loop;
      its_loop.timers().at(its_loop.clock().now() + pause_after(self->giving_took),
                           [self] { self->giving_back = false; });
    });
  }

  /// Asks for the time only while there is something to free.
  void free_some(Arrays& arrays) {
    if (resting) return;
    const bool timed = freeing;
    const base::TimePoint began = timed ? loop.clock().now() : base::TimePoint();
    freeing = arrays.reclaim();
    if (!freeing) return;
    const base::Duration took = timed ? loop.clock().now() - began : base::Duration();
    if (took <= kQuick || !others_had_turns()) return loop.again();
    resting = true;
    loop.timers().at(began + took + pause_after(took), [self = shared_from_this()] {
      self->resting = false;
      self->others = self->loop.turns_of_others() + 1;  // this is one
    });
  }

  /// Since it was asked last, or since the last rest.
  bool others_had_turns() {
    const std::uint64_t before = std::exchange(others, loop.turns_of_others());
    return others != before;
  }

  EventLoop& loop;
  const base::Ref<handlers::MemoryPool> pool;
  bool giving_back = false;
  base::Duration giving_took{};
  bool freeing = false;
  bool resting = false;
  std::uint64_t others = 0;  ///< their turns, when they were last counted
};

Housekeeping::Housekeeping(EventLoop& loop, Arrays& arrays) : state_(std::make_shared<State>(loop, arrays.memory())) {
  arrays.memory().let_empty_wait();
  loop.at_end_of_any_turn([&arrays, state = state_] {
    state->free_some(arrays);
    if (state->pool->has_empty() && !state->giving_back) state->give_back();
  });
}

}  // namespace target
