// Gives memory back that nobody needs any more, little by little. Thread: the loop's; a worker's for what may take
// long.
#pragma once

#include <memory>

namespace target {

class Arrays;
class EventLoop;

/// Memory of what ended comes back in small pieces, after the turns that have other work. The system gets it back from
/// a worker, which it may keep from a processor for a quarter of a millisecond for each 2 MiB: with pauses, so that
/// this takes no more than a hundredth of the time.
class Housekeeping {
 public:
  /// Both outlive it, and it outlives the loop's turns. A worker may still be at work for it when it is gone.
  Housekeeping(EventLoop& loop, Arrays& arrays);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace target
