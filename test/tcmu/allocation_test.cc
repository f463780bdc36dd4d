// Once warm, a READ or WRITE of a memory backstore costs no allocation: counted by replacing operator new for this
// program and the plugin it loads.
//
// Not tested, and why: stores that wait for a device (a worker's piece of work is allocated); what malloc() gives to
// the runner's own command.
#include <cstdlib>
#include <new>

#include "test/tcmu/plugin_fixture.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<std::size_t> allocations{0};

void* counted(std::size_t size) {
  if (counting) ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

using namespace test;

TEST_SUITE("tcmu allocation") {
  TEST_CASE("READ and WRITE allocate nothing in the plugin once warm") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    const Bytes data = patterned(64 * 512, 1);
    // The runner's part is what it is for a command that does next to nothing.
    auto allocated_by = [&](const Bytes& cdb, const Bytes& memory, std::size_t piece) {
      for (int i = 0; i < 20; ++i) device.execute(cdb, memory, piece);
      std::size_t before = allocations;
      counting = true;
      for (int i = 0; i < 20; ++i) device.execute(cdb, memory, piece);
      counting = false;
      return allocations - before;
    };
    const std::size_t of_runner = allocated_by(test_unit_ready(), data, SIZE_MAX);
    CHECK(of_runner > 0);
    CHECK(allocated_by(write_10(0, 64), data, SIZE_MAX) == of_runner);
    CHECK(allocated_by(read_10(0, 64), data, SIZE_MAX) == of_runner);
    const std::size_t of_runner_in_pieces = allocated_by(test_unit_ready(), data, 4096);
    CHECK(allocated_by(write_10(0, 64), data, 4096) == of_runner_in_pieces);
    CHECK(allocated_by(read_10(0, 64), data, 4096) == of_runner_in_pieces);
  }
}
