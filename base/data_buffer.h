// Memory for data on its way between a socket and a store: uninitialised, reused, counted.
//
// A buffer goes back to its pool when its last Ref is gone, on whatever thread that happens (a store may keep
// data_out_owner on a worker). The pool outlives its buffers because each holds it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "base/ref.h"

namespace base {

class DataBufferPool;

class DataBuffer final : public RefCounted {
 public:
  std::size_t capacity() const { return capacity_; }
  MutableBytes bytes() { return {memory_.get(), capacity_}; }

 protected:
  void dispose() override;

 private:
  friend class DataBufferPool;
  DataBuffer(std::size_t capacity, std::size_t size_class);

  std::unique_ptr<std::uint8_t[]> memory_;
  std::size_t capacity_;
  std::size_t size_class_;
  Ref<DataBufferPool> pool_;
};

class DataBufferPool final : public RefCounted {
 public:
  /// Keeps at most `max_idle_bytes` of unused buffers.
  explicit DataBufferPool(std::size_t max_idle_bytes) : max_idle_bytes_(max_idle_bytes) {}
  ~DataBufferPool() override;

  /// A buffer of at least `size` bytes; throws std::bad_alloc when there is no memory.
  Ref<DataBuffer> take(std::size_t size);

  std::size_t idle_bytes() const;

 private:
  friend class DataBuffer;
  static constexpr std::array<std::size_t, 5> kClasses{16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20};
  /// Beyond the largest class: allocated to measure, never kept.
  static constexpr std::size_t kUnclassed = kClasses.size();

  void give_back(DataBuffer* buffer);

  mutable std::mutex mutex_;
  std::array<std::vector<DataBuffer*>, kClasses.size()> idle_;
  std::size_t idle_bytes_ = 0;
  std::size_t max_idle_bytes_;
};

}  // namespace base
