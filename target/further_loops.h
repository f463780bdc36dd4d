// Event loops beside the first one, each run by a thread of its own, for connections.
//
// Owns the loops and their threads. Thread: the first loop's.
#pragma once

#include <memory>
#include <thread>
#include <vector>

namespace target {

class EventLoop;

class FurtherLoops {
 public:
  /// `count` loops, none of which runs yet. `first` outlives them, and does not run yet.
  FurtherLoops(EventLoop& first, unsigned count);
  ~FurtherLoops();
  FurtherLoops(const FurtherLoops&) = delete;
  FurtherLoops& operator=(const FurtherLoops&) = delete;

  std::vector<EventLoop*> all() const;

  void start();
  /// Ends them after their current turns, and returns when they have ended; not in a turn.
  void stop();

 private:
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::vector<std::jthread> threads_;
};

}  // namespace target
