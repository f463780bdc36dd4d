// The plainest store there is: an array of bytes and which sectors were ever written. It says it may block when it is
// told to, and fails when it is told to. For tests of what stands above stores; stores have their own suite.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <vector>

#include "handlers/backing_store.h"

namespace test {

class RamSnapshot final : public handlers::Snapshot {
 public:
  std::vector<std::uint8_t> bytes{};
  std::vector<std::uint8_t> mapped{};  ///< per byte, 0 or 1
  bool blocking = false;

  bool may_block() const override { return blocking; }

  std::uint64_t size_bytes() const override { return bytes.size(); }
  handlers::IoResult<void> read(handlers::ByteRange range, base::Segments& out) const override {
    auto from = bytes.begin() + static_cast<std::ptrdiff_t>(range.offset);
    out.append(std::vector<std::uint8_t>(from, from + static_cast<std::ptrdiff_t>(range.length)));
    return {};
  }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) const override {
    return run(mapped, offset);
  }
  static handlers::ProvisioningRun run(const std::vector<std::uint8_t>& mapped, std::uint64_t offset) {
    const std::uint8_t* from = mapped.data() + offset;
    std::uint64_t rest = mapped.size() - offset;
    const void* end = std::memchr(from, 1 - *from, rest);
    auto length = end ? static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(end) - from) : rest;
    return {length, *from == 1};
  }
};

class RamStore final : public handlers::BackingStore {
 public:
  explicit RamStore(std::uint64_t size) : bytes_(size), mapped_(size) {}

  bool blocking = false;
  bool write_protected = false;
  unsigned lent = 0;           ///< loans
  bool out_of_memory = false;  ///< reading throws
  std::optional<handlers::IoError> read_error{};
  std::optional<handlers::IoError> write_error{};
  std::optional<handlers::IoError> fetch_error{};
  unsigned flushes = 0;
  std::uint64_t bytes_read = 0;  ///< by read()

  std::vector<std::uint8_t>& bytes() { return bytes_; }

  std::uint64_t size_bytes() const override { return bytes_.size(); }
  handlers::IoResult<void> resize(std::uint64_t size) override {
    bytes_.resize(size);
    mapped_.resize(size);
    return {};
  }
  bool may_block() const override { return blocking; }
  bool read_only() const override { return write_protected; }

  handlers::IoResult<void> read(handlers::ByteRange range, base::Segments& out) override {
    if (out_of_memory) throw std::bad_alloc();
    if (read_error) return std::unexpected(*read_error);
    bytes_read += range.length;
    auto from = at(range.offset);
    out.append(std::vector<std::uint8_t>(from, from + static_cast<std::ptrdiff_t>(range.length)));
    return {};
  }
  /// Two to three pieces.
  bool lend(handlers::ByteRange range, handlers::Loan& loan) override {
    const std::uint64_t length = range.length;
    if (blocking || length < 2) return false;
    for (std::uint64_t left = length; left > 0;) {
      auto piece = base::make_ref<base::Buffer>(static_cast<std::size_t>(std::min(left, length / 3 + 1)));
      left -= piece->bytes().size();
      base::MutableBytes bytes = piece->bytes();
      loan.push_back({bytes, std::move(piece)});
    }
    ++lent;
    return true;
  }
  handlers::IoResult<void> write(std::uint64_t offset, base::Bytes data) override {
    if (write_error) return std::unexpected(*write_error);
    std::copy(data.begin(), data.end(), at(offset));
    map({offset, data.size()}, true);
    return {};
  }
  handlers::IoResult<void> write_same(handlers::ByteRange range, base::Bytes pattern) override {
    if (write_error) return std::unexpected(*write_error);
    for (std::uint64_t done = 0; done < range.length; done += pattern.size())
      std::copy(pattern.begin(), pattern.end(), at(range.offset + done));
    map(range, true);
    return {};
  }
  handlers::IoResult<void> unmap(handlers::ByteRange range) override {
    if (write_error) return std::unexpected(*write_error);
    std::fill_n(at(range.offset), range.length, std::uint8_t{0});
    map(range, false);
    return {};
  }
  handlers::IoResult<void> flush() override {
    if (write_error) return std::unexpected(*write_error);
    ++flushes;
    return {};
  }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) override {
    return RamSnapshot::run(mapped_, offset);
  }
  handlers::IoResult<handlers::SnapshotRef> capture(std::span<const handlers::ByteRange> ranges) override {
    if (read_error) return std::unexpected(*read_error);
    auto snapshot = base::make_ref<RamSnapshot>();
    snapshot->blocking = blocking;
    for (const handlers::ByteRange& range : ranges) {
      auto length = static_cast<std::ptrdiff_t>(range.length);
      auto mapped = mapped_.begin() + static_cast<std::ptrdiff_t>(range.offset);
      snapshot->bytes.insert(snapshot->bytes.end(), at(range.offset), at(range.offset) + length);
      snapshot->mapped.insert(snapshot->mapped.end(), mapped, mapped + length);
    }
    return handlers::SnapshotRef(snapshot);
  }
  handlers::IoResult<void> clone(const handlers::Snapshot& snapshot, handlers::ByteRange range, std::uint64_t offset,
                                 std::uint64_t* copied) override {
    if (copied) *copied = 0;
    if (write_error) return std::unexpected(*write_error);
    base::Segments data;
    if (auto read = snapshot.read(range, data); !read) return read;
    auto bytes = data.to_vector();
    std::copy(bytes.begin(), bytes.end(), at(offset));
    for (std::uint64_t done = 0; done < range.length;) {
      auto run = snapshot.provisioning(range.offset + done);
      if (!run) return std::unexpected(run.error());
      std::uint64_t length = std::min(run->length, range.length - done);
      map({offset + done, length}, run->mapped);
      done += length;
    }
    if (copied) *copied = range.length;
    return {};
  }
  handlers::IoResult<handlers::SnapshotRef> fetch(const handlers::Snapshot& from, handlers::ByteRange range) override {
    if (fetch_error) return std::unexpected(*fetch_error);
    RamStore staging(range.length);
    if (auto copied = staging.clone(from, range, 0, nullptr); !copied) return std::unexpected(copied.error());
    const handlers::ByteRange whole{0, range.length};
    return staging.capture({&whole, 1});
  }
  std::optional<std::uint64_t> available{};  ///< what is said to be left
  std::optional<std::uint64_t> available_bytes() const override { return available; }
  std::uint64_t allocated_bytes() const override {
    return static_cast<std::uint64_t>(std::count(mapped_.begin(), mapped_.end(), 1));
  }

 private:
  std::vector<std::uint8_t>::iterator at(std::uint64_t offset) {
    return bytes_.begin() + static_cast<std::ptrdiff_t>(offset);
  }
  void map(handlers::ByteRange range, bool mapped) {
    std::fill_n(mapped_.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, std::uint8_t{mapped});
  }

  std::vector<std::uint8_t> bytes_;
  std::vector<std::uint8_t> mapped_;
};

}  // namespace test
