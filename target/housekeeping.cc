#include "target/housekeeping.h"

#include <algorithm>
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
  State(EventLoop& its_loop, handlers::MemoryPool& its_pool) : loop(its_loop), pool(&its_pool) {}

  void give_back() {
    giving_back = true;
    auto work = [self = shared_from_this()] {
      const base::TimePoint began = self->loop.clock().now();
      self->pool->give_back_empty();
      self->took = self->loop.clock().now() - began;
    };
    loop.long_work().post(std::move(work), [self = shared_from_this()] {
      EventLoop& its_loop = self->loop;
      its_loop.timers().at(its_loop.clock().now() + std::min(kPause * self->took, kLongestPause),
                           [self] { self->giving_back = false; });
    });
  }

  EventLoop& loop;
  const base::Ref<handlers::MemoryPool> pool;
  bool giving_back = false;
  base::Duration took{};
};

Housekeeping::Housekeeping(EventLoop& loop, Arrays& arrays) : state_(std::make_shared<State>(loop, arrays.memory())) {
  arrays.memory().let_empty_wait();
  loop.at_end_of_any_turn([&loop, &arrays, state = state_] {
    if (arrays.reclaim()) loop.again();
    if (state->pool->has_empty() && !state->giving_back) state->give_back();
  });
}

}  // namespace target
