#include "target/tcmu/command_queue.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "target/event_loop.h"

namespace tcmu {
namespace {

int make_eventfd() {
  int made = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (made < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return made;
}

}  // namespace

CommandQueue::CommandQueue(target::EventLoop& loop, std::function<void()> ready)
    : loop_(loop), ready_(std::move(ready)), wakeup_(make_eventfd()), descriptor_(loop.io(), wakeup_) {
  wait();
}

CommandQueue::~CommandQueue() = default;

void CommandQueue::push(LibCommand& command) {
  LibCommand* before = newest_.load(std::memory_order_relaxed);
  do {
    command.hm_private = before;
  } while (!newest_.compare_exchange_weak(before, &command, std::memory_order_acq_rel, std::memory_order_relaxed));
  if (before) return;  // whoever found none has woken the loop
  eventfd_write(wakeup_, 1);
}

LibCommand* CommandQueue::take() {
  LibCommand* newest = newest_.exchange(nullptr, std::memory_order_acq_rel);
  LibCommand* oldest = nullptr;
  while (newest) {
    LibCommand* older = next(*newest);
    newest->hm_private = oldest;
    oldest = std::exchange(newest, older);
  }
  return oldest;
}

void CommandQueue::wait() {
  auto woken = [weak = std::weak_ptr(self_)](const boost::system::error_code& error) {
    auto self = weak.lock();
    if (error || !self) return;
    CommandQueue& queue = **self;
    eventfd_t count = 0;
    eventfd_read(queue.wakeup_, &count);
    queue.wait();
    queue.loop_.turn(queue.ready_);
  };
  descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_read, std::move(woken));
}

}  // namespace tcmu
