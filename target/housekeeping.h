// Gives memory back that nobody needs any more, little by little. Thread: the loop's; a worker's for what may take
// long.
#pragma once

#include <memory>

namespace target {

class Arrays;
class EventLoop;

/// Memory of what ended comes back in small pieces, after the turns that have other work. A piece takes a microsecond
/// or two; where it takes more than ten (memory not touched for long may cost a virtual machine a tenth of a
/// millisecond, and whoever shares the processor may want it) and somebody else had a turn since that was so the last
/// time, there is a pause. The system gets memory back from a worker, which it may keep from a processor for a quarter
/// of a millisecond for each 2 MiB. Each pause is so long that this, and what takes long, take no more than a hundredth
/// of the time.
class Housekeeping {
 public:
  /// Both outlive it, and it outlives the loop's turns. A worker may still be at work for it when it is gone.
  Housekeeping(EventLoop& loop, Arrays& arrays);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace target
