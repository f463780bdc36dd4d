#include "base/data_buffer.h"

#include <utility>

namespace base {

DataBuffer::DataBuffer(std::size_t capacity, std::size_t size_class)
    : memory_(std::make_unique_for_overwrite<std::uint8_t[]>(capacity + kAlignment - 1)),
      data_(memory_.get() + -reinterpret_cast<std::uintptr_t>(memory_.get()) % kAlignment),
      capacity_(capacity),
      size_class_(size_class) {}

void DataBuffer::dispose() {
  // The pool may die with this reference, after it has taken the buffer.
  Ref<DataBufferPool> pool = std::move(pool_);
  pool->give_back(this);
}

DataBufferPool::~DataBufferPool() {
  sort_returned();
  for (auto& list : idle_)
    for (DataBuffer* buffer : list) delete buffer;
}

std::size_t DataBufferPool::class_of(std::size_t size) {
  std::size_t size_class = 0;
  while (size_class < kUnclassed && kClasses[size_class] < size) ++size_class;
  return size_class;
}

Ref<DataBuffer> DataBufferPool::take_idle(std::size_t size) {
  const std::size_t size_class = class_of(size);
  if (size_class == kUnclassed) return {};
  auto& list = idle_[size_class];
  if (returned_.load(std::memory_order_relaxed)) sort_returned();  // the last one is the likeliest to be in the cache
  if (list.empty()) return {};
  DataBuffer* buffer = list.back();
  list.pop_back();
  idle_bytes_.fetch_sub(buffer->capacity(), std::memory_order_relaxed);
  buffer->pool_ = Ref<DataBufferPool>(this);
  return Ref<DataBuffer>(buffer);
}

Ref<DataBuffer> DataBufferPool::make(std::size_t size) {
  const std::size_t size_class = class_of(size);
  Ref<DataBuffer> buffer(new DataBuffer(size_class < kUnclassed ? kClasses[size_class] : size, size_class));
  buffer->pool_ = Ref<DataBufferPool>(this);
  return buffer;
}

void DataBufferPool::sort_returned() {
  DataBuffer* oldest = nullptr;
  for (DataBuffer* buffer = returned_.exchange(nullptr, std::memory_order_acquire); buffer;) {
    DataBuffer* before = std::exchange(buffer->next_, oldest);
    oldest = std::exchange(buffer, before);
  }
  for (; oldest; oldest = oldest->next_) idle_[oldest->size_class_].push_back(oldest);
}

void DataBufferPool::give_back(DataBuffer* buffer) {
  const std::size_t capacity = buffer->capacity();
  if (buffer->size_class_ == kUnclassed ||
      idle_bytes_.fetch_add(capacity, std::memory_order_relaxed) + capacity > max_idle_bytes_) {
    if (buffer->size_class_ < kUnclassed) idle_bytes_.fetch_sub(capacity, std::memory_order_relaxed);
    delete buffer;
    return;
  }
  buffer->next_ = returned_.load(std::memory_order_relaxed);
  while (
      !returned_.compare_exchange_weak(buffer->next_, buffer, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace base
