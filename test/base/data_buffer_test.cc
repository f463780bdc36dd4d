// Not tested, and why: buffers given back by other threads (the thread sanitizer's programs), memory that runs out
// (test/handlers/out_of_memory_test.cc).
#include "base/data_buffer.h"

#include <doctest/doctest.h>

#include <cstdint>

using base::DataBuffer;
using base::DataBufferPool;

TEST_CASE("buffers of all sizes have all their bytes and begin where the kernel copies fast") {
  auto pool = base::make_ref<DataBufferPool>(1 << 20);
  for (std::size_t size : {1, 16384, 16385, 65536, 1 << 20, 5 << 20}) {
    CAPTURE(size);
    auto buffer = pool->take(size);
    CHECK(buffer->capacity() >= size);
    CHECK(buffer->bytes().size() == buffer->capacity());
    CHECK(reinterpret_cast<std::uintptr_t>(buffer->bytes().data()) % DataBuffer::kAlignment == 0);
    buffer->bytes().front() = buffer->bytes().back() = 1;
  }
}

TEST_CASE("the buffer given back last is given out first, and no more are kept than may be") {
  constexpr std::size_t kSize = 65536;
  auto pool = base::make_ref<DataBufferPool>(2 * kSize);
  auto first = pool->take(kSize), second = pool->take(kSize), third = pool->take(kSize);
  const std::uint8_t* const last = second->bytes().data();
  first = {};
  second = {};
  third = {};  // one too many
  CHECK(pool->idle_bytes() == 2 * kSize);
  CHECK(pool->take(kSize)->bytes().data() == last);
}
