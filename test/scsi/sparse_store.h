// A store of any size that keeps the sectors that were written, in a map, and can be told to fail after so many bytes.
// For tests of copies: an independent model of capture and clone. Thread: the test's.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>

#include "handlers/backing_store.h"

namespace test {

inline constexpr std::uint64_t kSector = 512;
using Sector = std::array<std::uint8_t, kSector>;
using Sectors = std::map<std::uint64_t, Sector>;  ///< by number; absent ones are unmapped

class SparseSnapshot final : public handlers::Snapshot {
 public:
  explicit SparseSnapshot(std::uint64_t size) : size_(size) {}
  Sectors sectors{};

  std::uint64_t size_bytes() const override { return size_; }
  handlers::IoResult<void> read(handlers::ByteRange range, base::Segments& out) const override {
    std::vector<std::uint8_t> bytes(range.length);
    for (auto at = sectors.lower_bound(range.offset / kSector); at != sectors.end(); ++at) {
      if (at->first * kSector >= range.end()) break;
      std::ranges::copy(at->second, bytes.begin() + static_cast<std::ptrdiff_t>(at->first * kSector - range.offset));
    }
    out.append(std::move(bytes));
    return {};
  }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) const override {
    return handlers::ProvisioningRun{kSector, sectors.contains(offset / kSector)};
  }

 private:
  std::uint64_t size_;
};

class SparseStore final : public handlers::BackingStore {
 public:
  explicit SparseStore(std::uint64_t size) : size_(size) {}

  bool write_protected = false;
  bool blocking = false;
  std::optional<handlers::IoError> error{};  ///< of the changes that pass the limit below, and of captures
  std::uint64_t bytes_before_error = 0;      ///< what clone() still copies before `error` strikes
  unsigned captures = 0;
  Sectors sectors{};

  std::uint64_t size_bytes() const override { return size_; }
  handlers::IoResult<void> resize(std::uint64_t size) override {
    size_ = size;
    return {};
  }
  bool may_block() const override { return blocking; }
  bool read_only() const override { return write_protected; }

  handlers::IoResult<void> read(handlers::ByteRange range, base::Segments& out) override {
    return cut({&range, 1})->read({0, range.length}, out);
  }
  handlers::IoResult<void> write(std::uint64_t offset, base::Bytes data) override {
    if (error) return std::unexpected(*error);
    for (std::uint64_t done = 0; done < data.size(); done += kSector)
      std::ranges::copy(data.subspan(done, kSector), sectors[(offset + done) / kSector].begin());
    return {};
  }
  handlers::IoResult<void> write_same(handlers::ByteRange range, base::Bytes pattern) override {
    if (error) return std::unexpected(*error);
    for (std::uint64_t done = 0; done < range.length; done += pattern.size())
      if (auto written = write(range.offset + done, pattern); !written) return written;
    return {};
  }
  handlers::IoResult<void> unmap(handlers::ByteRange range) override {
    if (error) return std::unexpected(*error);
    erase(range);
    return {};
  }
  handlers::IoResult<void> flush() override { return {}; }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) override {
    return handlers::ProvisioningRun{kSector, sectors.contains(offset / kSector)};
  }
  handlers::IoResult<handlers::SnapshotRef> capture(std::span<const handlers::ByteRange> ranges) override {
    ++captures;
    if (error) return std::unexpected(*error);
    return handlers::SnapshotRef(cut(ranges));
  }
  handlers::IoResult<void> clone(const handlers::Snapshot& snapshot, handlers::ByteRange range, std::uint64_t offset,
                                 std::uint64_t* copied) override {
    std::uint64_t length = error ? std::min(range.length, bytes_before_error) : range.length;
    if (error) bytes_before_error -= length;
    erase({offset, length});
    const auto& from = dynamic_cast<const SparseSnapshot&>(snapshot).sectors;
    for (auto at = from.lower_bound(range.offset / kSector); at != from.end(); ++at) {
      if (at->first * kSector >= range.offset + length) break;
      sectors[(at->first * kSector - range.offset + offset) / kSector] = at->second;
    }
    if (copied) *copied = length;
    if (length < range.length) return std::unexpected(*error);
    return {};
  }
  std::uint64_t allocated_bytes() const override { return sectors.size() * kSector; }

 private:
  base::Ref<SparseSnapshot> cut(std::span<const handlers::ByteRange> ranges) const {
    std::uint64_t size = 0;
    for (const handlers::ByteRange& range : ranges) size += range.length;
    auto snapshot = base::make_ref<SparseSnapshot>(size);
    std::uint64_t base = 0;
    for (const handlers::ByteRange& range : ranges) {
      for (auto at = sectors.lower_bound(range.offset / kSector); at != sectors.end(); ++at) {
        if (at->first * kSector >= range.end()) break;
        snapshot->sectors[(at->first * kSector - range.offset + base) / kSector] = at->second;
      }
      base += range.length;
    }
    return snapshot;
  }
  void erase(handlers::ByteRange range) {
    sectors.erase(sectors.lower_bound(range.offset / kSector), sectors.lower_bound(range.end() / kSector));
  }

  std::uint64_t size_;
};

}  // namespace test
