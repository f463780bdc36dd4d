#include "base/data_buffer.h"

namespace base {

DataBuffer::DataBuffer(std::size_t capacity, std::size_t size_class)
    : memory_(std::make_unique_for_overwrite<std::uint8_t[]>(capacity)), capacity_(capacity), size_class_(size_class) {}

void DataBuffer::dispose() {
  // The pool may die with this reference, after it has taken the buffer.
  Ref<DataBufferPool> pool = std::move(pool_);
  pool->give_back(this);
}

DataBufferPool::~DataBufferPool() {
  for (auto& list : idle_)
    for (DataBuffer* buffer : list) delete buffer;
}

Ref<DataBuffer> DataBufferPool::take(std::size_t size) {
  std::size_t size_class = 0;
  while (size_class < kUnclassed && kClasses[size_class] < size) ++size_class;
  DataBuffer* buffer = nullptr;
  if (size_class < kUnclassed) {
    std::lock_guard lock(mutex_);
    if (!idle_[size_class].empty()) {
      buffer = idle_[size_class].back();
      idle_[size_class].pop_back();
      idle_bytes_ -= buffer->capacity();
    }
  }
  if (!buffer) buffer = new DataBuffer(size_class < kUnclassed ? kClasses[size_class] : size, size_class);
  buffer->pool_ = Ref<DataBufferPool>(this);
  return Ref<DataBuffer>(buffer);
}

std::size_t DataBufferPool::idle_bytes() const {
  std::lock_guard lock(mutex_);
  return idle_bytes_;
}

void DataBufferPool::give_back(DataBuffer* buffer) {
  {
    std::lock_guard lock(mutex_);
    if (buffer->size_class_ < kUnclassed && idle_bytes_ + buffer->capacity() <= max_idle_bytes_) {
      idle_[buffer->size_class_].push_back(buffer);
      idle_bytes_ += buffer->capacity();
      return;
    }
  }
  delete buffer;
}

}  // namespace base
