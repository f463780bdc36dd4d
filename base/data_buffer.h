// Memory for data on its way between a socket and a store: uninitialised, reused, counted.
//
// A buffer goes back to its pool when its last Ref is gone, on whatever thread that happens (a store may keep
// data_out_owner on a worker), without a lock. Buffers are taken by one thread at a time. The pool outlives its buffers
// because each holds it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ref.h"

namespace base {

class DataBufferPool;

class DataBuffer final : public RefCounted {
 public:
  std::size_t capacity() const { return capacity_; }
  /// They begin at a multiple of kAlignment: the kernel takes a third longer to copy 64 KiB to 16 bytes behind one.
  MutableBytes bytes() { return {data_, capacity_}; }
  static constexpr std::size_t kAlignment = 64;

 protected:
  void dispose() override;

 private:
  friend class DataBufferPool;
  DataBuffer(std::size_t capacity, std::size_t size_class);

  std::unique_ptr<std::uint8_t[]> memory_;
  std::uint8_t* data_;  ///< in it
  std::size_t capacity_;
  std::size_t size_class_;
  Ref<DataBufferPool> pool_;
  DataBuffer* next_ = nullptr;  // of those given back
};

class DataBufferPool final : public RefCounted {
 public:
  /// Keeps at most `max_idle_bytes` of unused buffers.
  explicit DataBufferPool(std::size_t max_idle_bytes) : max_idle_bytes_(max_idle_bytes) {}
  ~DataBufferPool() override;

  /// A buffer of at least `size` bytes; throws std::bad_alloc when there is no memory. Thread: one at a time.
  Ref<DataBuffer> take(std::size_t size) {
    Ref<DataBuffer> idle = take_idle(size);
    return idle ? std::move(idle) : make(size);
  }
  /// One that was used before; null: there is none. Thread: one at a time.
  Ref<DataBuffer> take_idle(std::size_t size);
  /// A new one; throws. Thread: any.
  Ref<DataBuffer> make(std::size_t size);

  /// Thread: any.
  std::size_t idle_bytes() const { return idle_bytes_.load(std::memory_order_relaxed); }

 private:
  friend class DataBuffer;
  static constexpr std::array<std::size_t, 5> kClasses{16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20};
  /// Beyond the largest class: allocated to measure, never kept.
  static constexpr std::size_t kUnclassed = kClasses.size();

  static std::size_t class_of(std::size_t size);
  void give_back(DataBuffer* buffer);
  void sort_returned();

  std::array<std::vector<DataBuffer*>, kClasses.size()> idle_;
  std::atomic<DataBuffer*> returned_ = nullptr;  // the last one given back and not sorted yet, and those before it
  std::atomic<std::size_t> idle_bytes_ = 0;      // both of those
  std::size_t max_idle_bytes_;
};

}  // namespace base
