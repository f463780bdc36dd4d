// Memory that file stores are read into, shared by all that have one MemoryPool: what waits for the next read is
// bounded for all of them, however many there are. Thread: any.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>

#include "base/data_buffer.h"

namespace handlers {

class ReadBuffers {
 public:
  /// At least `length` bytes; throws std::bad_alloc when there is no memory.
  base::Ref<base::DataBuffer> take(std::size_t length) {
    base::Ref<base::DataBuffer> idle;
    {
      std::lock_guard lock(mutex_);
      idle = buffers_->take_idle(length);
    }
    return idle ? std::move(idle) : buffers_->make(length);  // nobody waits while the system is asked for memory
  }
  /// Bytes that wait for the next read.
  std::size_t idle_bytes() const { return buffers_->idle_bytes(); }
  static constexpr std::size_t kMostIdleBytes = 32 << 20;  ///< as many as 32 commands of 1 MiB have on their way

 private:
  std::mutex mutex_;
  base::Ref<base::DataBufferPool> buffers_ = base::make_ref<base::DataBufferPool>(kMostIdleBytes);
};

}  // namespace handlers
