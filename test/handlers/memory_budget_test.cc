// Not tested, and why: the figures of the machine the tests run on.
#include "handlers/memory_budget.h"

#include <doctest/doctest.h>

#include <fstream>

#include "store_kinds.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// A /proc and /sys of its own.
class Machine {
 public:
  Machine& file(const std::string& path, const std::string& text) {
    std::filesystem::path full = folder_.file(path);
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
    return *this;
  }
  Machine& ram(std::uint64_t mib) {
    return file("proc/meminfo", "MemFree: 1 kB\nMemTotal:   " + std::to_string(mib * 1024) + " kB\nBuffers: 2 kB\n");
  }
  std::optional<std::uint64_t> memory() const { return machine_memory_bytes(folder_.file("")); }

 private:
  TemporaryFolder folder_;
};

std::string bytes(std::uint64_t mib) { return std::to_string(mib * kMiB) + "\n"; }

}  // namespace

TEST_CASE("a budget counts to its limit and no further") {
  MemoryBudget budget(100);
  CHECK(budget.try_charge(60));
  CHECK_FALSE(budget.try_charge(41));
  CHECK(budget.try_charge(40));
  CHECK(budget.exhausted());
  budget.charge(5);
  CHECK_FALSE(budget.try_charge(0));
  CHECK(budget.used() == 105);
  budget.refund(50);
  CHECK_FALSE(budget.exhausted());
  CHECK(budget.try_charge(45));
  CHECK_FALSE(MemoryBudget(10).try_charge(UINT64_MAX));
}

TEST_CASE("without a cgroup the machine's memory counts") {
  CHECK(Machine().ram(1000).memory() == 1000 * kMiB);
  CHECK_FALSE(Machine().memory());
  CHECK_FALSE(Machine().file("proc/meminfo", "nonsense\n").memory());
}

TEST_CASE("a cgroup v2 limit counts, the nearest to the root included") {
  Machine machine;
  machine.ram(8000).file("proc/self/cgroup", "0::/user.slice/odx.service\n");
  machine.file("sys/fs/cgroup/user.slice/odx.service/memory.max", "max\n");
  CHECK(machine.memory() == 8000 * kMiB);
  machine.file("sys/fs/cgroup/user.slice/memory.max", bytes(3000));
  CHECK(machine.memory() == 3000 * kMiB);
  machine.file("sys/fs/cgroup/user.slice/odx.service/memory.max", bytes(500));
  CHECK(machine.memory() == 500 * kMiB);
}

TEST_CASE("a container's own cgroup v2 is seen at the mount point") {
  Machine machine;
  machine.ram(8000).file("proc/self/cgroup", "0::/\n").file("sys/fs/cgroup/memory.max", bytes(256));
  CHECK(machine.memory() == 256 * kMiB);
  machine.file("proc/self/cgroup", "0::/docker/named-from-outside\n");
  CHECK(machine.memory() == 256 * kMiB);
}

TEST_CASE("a cgroup v1 limit counts where the memory controller is mounted") {
  Machine machine;
  machine.ram(8000).file("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/\n0::/\n");
  machine.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(machine.memory() == 8000 * kMiB);
  machine.file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", bytes(900));
  machine.file("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", bytes(1200));
  CHECK(machine.memory() == 900 * kMiB);
}

TEST_CASE("on a hybrid machine both versions count") {
  Machine machine;
  machine.ram(8000).file("proc/self/cgroup", "4:cpuset,memory:/x\n0::/y\n");
  machine.file("sys/fs/cgroup/memory/x/memory.limit_in_bytes", bytes(700));
  machine.file("sys/fs/cgroup/unified/y/memory.max", bytes(600));
  CHECK(machine.memory() == 600 * kMiB);
}

TEST_CASE("lines that are not what cgroups(7) says limit nothing") {
  Machine machine;
  machine.ram(100).file("proc/self/cgroup", "\n:\n4\nmemory\n4:memory\n0::\n");
  machine.file("sys/fs/cgroup/memory.max", "lots\n");
  CHECK(machine.memory() == 100 * kMiB);
}

TEST_CASE("this machine has a default limit") { CHECK(default_memory_limit() > 0); }
