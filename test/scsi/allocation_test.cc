// No allocation per command once warm: READ(10) and WRITE(10) on a memory store, from admit() to completion.
//
// A program of its own, because it counts what operator new hands out.
//
// Not tested, and why: front ends, which have their own buffers.
#include <doctest/doctest.h>

#include <cstdlib>
#include <new>

#include "handlers/memory_store.h"
#include "scsi/copy_fabric.h"
#include "scsi/journal.h"
#include "test/scsi/device_fixture.h"

namespace {
std::uint64_t allocations = 0;
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace scsi {
namespace {

constexpr int kWarmUp = 64;
constexpr int kMeasured = 1000;

struct MemoryDevice : test::Device {
  MemoryDevice() {
    LogicalUnitConfig config;
    config.name = "memory";
    server.add(Lun{7}, std::make_shared<LogicalUnit>(config, std::make_unique<handlers::MemoryStore>(64 << 20)));
    run({0x00, 0, 0, 0, 0, 0}, {}, 7);
  }
  Journal journal{clock};
};

/// Allocations of `kMeasured` commands like `command`, after some that were not counted.
std::uint64_t allocations_of(MemoryDevice& device, test::Command& command, base::Bytes data_out) {
  Task& task = command.task;
  const auto cdb = task.cdb;
  std::uint64_t before = 0;
  for (int i = 0; i < kWarmUp + kMeasured; ++i) {
    if (i == kWarmUp) before = allocations;
    task.reset();
    task.nexus = device.nexus;
    task.lun = Lun{7};
    task.observer = &command;
    task.cdb = cdb;
    task.cdb[5] = static_cast<std::uint8_t>(8 * (i % 16));
    device.server.admit(task);
    if (!task.has_data_out()) continue;
    task.data_out = data_out;
    device.server.execute(task);
  }
  return allocations - before;
}

void check_reads_and_writes(MemoryDevice& device) {
  const std::vector<std::uint8_t> block(4096, 0x5A);
  test::Command& write = device.prepare({0x2A, 0, 0, 0, 0, 0, 0, 0, 8, 0}, 7);
  write.order = nullptr;
  CHECK(allocations_of(device, write, block) == 0);
  CHECK(write.status() == Status::good);
  test::Command& read = device.prepare({0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0}, 7);
  read.order = nullptr;
  CHECK(allocations_of(device, read, {}) == 0);
  CHECK(read.status() == Status::good);
  CHECK(read.data() == block);
}

TEST_CASE("READ and WRITE of 4 KiB allocate nothing once warm") {
  MemoryDevice device;
  check_reads_and_writes(device);
}

TEST_CASE("nor do they where there is a journal, which they are not in") {
  MemoryDevice device;
  device.copies.fabric().set_journal(&device.journal);
  check_reads_and_writes(device);
  CHECK(device.journal.last() == 0);
}

}  // namespace
}  // namespace scsi
