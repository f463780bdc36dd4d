// How much memory all stores of the process may hold together, and what the machine or its cgroup allows.
//
// Owns a count and a limit; allocates nothing. Thread: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace handlers {

class MemoryBudget {
 public:
  static constexpr std::uint64_t kUnlimited = UINT64_MAX;

  explicit MemoryBudget(std::uint64_t limit_bytes) : limit_(limit_bytes) {}

  /// Adds `bytes` unless that would pass the limit.
  bool try_charge(std::uint64_t bytes);
  /// Adds `bytes` whatever the limit: for the few nodes a change of structure needs once it has begun. The
  /// operation that may start one asks exhausted() first, so that the excess stays below one operation's nodes.
  void charge(std::uint64_t bytes) { used_.fetch_add(bytes, std::memory_order_relaxed); }
  void refund(std::uint64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

  /// The same for what says where data is, and is counted by itself as well.
  void charge_structure(std::uint64_t bytes) {
    charge(bytes);
    structure_.fetch_add(bytes, std::memory_order_relaxed);
  }
  void refund_structure(std::uint64_t bytes) {
    structure_.fetch_sub(bytes, std::memory_order_relaxed);
    refund(bytes);
  }
  /// What of used() was charged so.
  std::uint64_t structure() const { return structure_.load(std::memory_order_relaxed); }

  bool exhausted() const { return used() >= limit_; }
  std::uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  /// Nothing: without limit.
  std::optional<std::uint64_t> available() const {
    if (limit_ == kUnlimited) return {};
    return exhausted() ? 0 : limit_ - used();
  }
  std::uint64_t limit() const { return limit_; }

 private:
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> structure_{0};
  const std::uint64_t limit_;
};

/// The least of MemTotal and every memory limit from the process's cgroup up to the root: cgroup v2
/// (memory.max) and v1 (memory.limit_in_bytes). `root` stands for "/", so that tests bring their own /proc and
/// /sys. What cannot be read limits nothing; nullopt when nothing is known at all.
std::optional<std::uint64_t> machine_memory_bytes(const std::filesystem::path& root);

/// The default limit: half of machine_memory_bytes("/"), or 1 GiB when that is unknown. Half, because socket
/// buffers, the page cache of file stores and whatever else runs here need the rest.
std::uint64_t default_memory_limit();

}  // namespace handlers
