#include "target/housekeeping.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "handlers/memory_pool.h"
#include "target/arrays.h"
#include "target/event_loop.h"

namespace target {
namespace {

constexpr int kPause = 99;  // times what it took
constexpr base::Duration kLongestPause = std::chrono::milliseconds(50);

}  // namespace

/// Shared with the job that was posted: where odxd ends by an error, that is run or thrown away after all else is gone
/// but the loop.
struct Housekeeping::State : std::enable_shared_from_this<State> {
  State(EventLoop& its_loop, handlers::MemoryPool& its_pool, base::Duration its_quick)
      : loop(its_loop), pool(&its_pool), quick(its_quick) {}

  void give_back() {
    giving_back = true;
    auto work = [self = shared_from_this()] {
      const base::TimePoint began = self->loop.clock().now();
      self->pool->give_back_empty();
      self->giving_took = self->loop.clock().now() - began;
    };
    loop.long_work().post(std::move(work), [self = shared_from_this()] {
      ++self->own_turns;
      self->pause(self->giving_took, [self] { self->giving_back = false; });
    });
  }

  void pause(base::Duration after, std::move_only_function<void()> over) {
    loop.timers().at(loop.clock().now() + std::min(kPause * after, kLongestPause),
                     [self = shared_from_this(), over = std::move(over)]() mutable {
                       ++self->own_turns;
                       over();
                     });
  }

  /// Asks for the time only while there is something to free.
  void free_some() {
    if (resting) return;
    const bool timed = freeing;
    const base::TimePoint began = timed ? loop.clock().now() : base::TimePoint();
    freeing = pool->reclaim(Arrays::kObjectsOfATurn);
    if (!freeing) return;
    const base::Duration took = timed ? loop.clock().now() - began : base::Duration::min();
    if (took <= quick || !others_had_turns()) return loop.again();
    resting = true;
    pause(took, [this] { resting = false; });
  }

  /// Since it was asked last.
  bool others_had_turns() {
    const std::uint64_t before = std::exchange(others, loop.turns_of_others() - own_turns);
    return others != before;
  }

  EventLoop& loop;
  const base::Ref<handlers::MemoryPool> pool;
  const base::Duration quick;
  bool giving_back = false;
  base::Duration giving_took{};
  bool freeing = false;
  bool resting = false;
  std::uint64_t own_turns = 0;
  std::uint64_t others = 0;  ///< their turns, when they were last counted
};

Housekeeping::Housekeeping(EventLoop& loop, Arrays& arrays, base::Duration quick)
    : state_(std::make_shared<State>(loop, arrays.memory(), quick)) {
  arrays.memory().let_empty_wait();
  loop.at_end_of_any_turn([&loop, &arrays, state = state_] {
    if (arrays.let_go()) loop.again();
    state->free_some();
    if (state->pool->has_empty() && !state->giving_back) state->give_back();
  });
}

}  // namespace target
