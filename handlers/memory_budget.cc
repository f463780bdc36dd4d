#include "handlers/memory_budget.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

namespace handlers {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kFallbackLimit = 1ull << 30;

std::optional<std::uint64_t> leading_number(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;  // "max" is no limit
  return value;
}

void lower(std::optional<std::uint64_t>& limit, std::optional<std::uint64_t> other) {
  if (other && (!limit || *other < *limit)) limit = other;
}

std::optional<std::uint64_t> mem_total(const fs::path& root) {
  std::ifstream file(root / "proc/meminfo");
  for (std::string key; file >> key;) {
    std::uint64_t kib = 0;
    if (key == "MemTotal:" && file >> kib) return kib * 1024;
    file.ignore(256, '\n');
  }
  return std::nullopt;
}

/// The least limit in `file` of any directory from mount/group up to the mount itself. Inside a container the
/// mount may show the group as its root while /proc/self/cgroup still names it from outside: then the
/// directories that do not exist say nothing and the mount point does.
void lower_by_group(std::optional<std::uint64_t>& limit, const fs::path& mount, std::string_view group,
                    const char* file) {
  fs::path relative = fs::path(group).relative_path();
  for (;;) {
    std::ifstream stream(mount / relative / file);
    std::string word;
    if (stream >> word) lower(limit, leading_number(word));
    if (relative.empty()) return;
    relative = relative.parent_path();
  }
}

bool has_memory_controller(std::string_view controllers) {
  while (!controllers.empty()) {
    std::size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == "memory") return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

bool MemoryBudget::try_charge(std::uint64_t bytes) {
  std::uint64_t used = used_.load(std::memory_order_relaxed);
  do {
    if (used > limit_ || bytes > limit_ - used) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return true;
}

std::optional<std::uint64_t> machine_memory_bytes(const fs::path& root) {
  std::optional<std::uint64_t> limit = mem_total(root);
  // Lines of /proc/self/cgroup (cgroups(7)): "hierarchy:controllers:path"; version 2 is "0::path".
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    std::size_t first = line.find(':');
    std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    std::string_view group = std::string_view(line).substr(second + 1);
    if (controllers.empty()) {
      lower_by_group(limit, root / "sys/fs/cgroup", group, "memory.max");
      lower_by_group(limit, root / "sys/fs/cgroup/unified", group, "memory.max");
    } else if (has_memory_controller(controllers)) {
      lower_by_group(limit, root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    }
  }
  return limit;
}

std::uint64_t default_memory_limit() {
  auto machine = machine_memory_bytes("/");
  return machine ? *machine / 2 : kFallbackLimit;
}

}  // namespace handlers
