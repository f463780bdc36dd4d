// Gives memory back that nobody needs any more, little by little. Thread: the loop's; a worker's for what may take
// long.
#pragma once

#include <chrono>
#include <memory>

#include "base/clock.h"

namespace target {

class Arrays;
class EventLoop;

/// Memory of what ended comes back in small pieces, after the turns that have other work. A piece takes a few
/// microseconds. Where it takes more than `quick` (memory not touched for long may cost a virtual machine a tenth of a
/// millisecond, and whoever shares the processor may want it) and somebody else had a turn since one did, there is a
/// pause. The system gets memory back from a worker, which it may keep from a processor for a quarter of a millisecond
/// for each 2 MiB, with pauses too. They are so long that neither takes more than a hundredth of the time, or 50 ms.
class Housekeeping {
 public:
  /// Both outlive it, and it outlives the loop's turns. A worker may still be at work for it when it is gone.
  Housekeeping(EventLoop& loop, Arrays& arrays, base::Duration quick = std::chrono::microseconds(25));

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace target
