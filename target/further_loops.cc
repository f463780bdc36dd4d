#include "target/further_loops.h"

#include "target/event_loop.h"

namespace target {

FurtherLoops::FurtherLoops(EventLoop& first, unsigned count) {
  for (unsigned i = 0; i < count; ++i) loops_.push_back(std::make_unique<EventLoop>(first));
}

FurtherLoops::~FurtherLoops() { stop(); }

std::vector<EventLoop*> FurtherLoops::all() const {
  std::vector<EventLoop*> list;
  for (const auto& loop : loops_) list.push_back(loop.get());
  return list;
}

void FurtherLoops::start() {
  for (const auto& loop : loops_) threads_.emplace_back([each = loop.get()] { each->run(); });
}

void FurtherLoops::stop() {
  for (const auto& loop : loops_) loop->stop();
  threads_.clear();
}

}  // namespace target
