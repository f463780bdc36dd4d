// Commands on their way from the daemon's thread of a device to the loop.
//
// push() takes no lock, allocates nothing and does nothing that can fail. Commands link themselves by hm_private, which
// the daemon has no more use for. Order is kept. Thread: push() any one; all else the loop's.
#pragma once

#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>

#include "target/tcmu/runner.h"

namespace target {
class EventLoop;
}

namespace tcmu {

class CommandQueue {
 public:
  /// `ready` is called in a turn of `loop` after commands have come. Throws std::system_error.
  CommandQueue(target::EventLoop& loop, std::function<void()> ready);
  ~CommandQueue();

  void push(LibCommand& command);

  /// All that has come, linked by next(), the oldest first; null when there is none.
  LibCommand* take();
  static LibCommand* next(const LibCommand& command) { return static_cast<LibCommand*>(command.hm_private); }

 private:
  void wait();

  target::EventLoop& loop_;
  std::function<void()> ready_;
  std::atomic<LibCommand*> newest_{nullptr};
  int wakeup_;  ///< an eventfd
  boost::asio::posix::stream_descriptor descriptor_;
  std::shared_ptr<CommandQueue*> self_ = std::make_shared<CommandQueue*>(this);  ///< for what fires after it is gone
};

}  // namespace tcmu
