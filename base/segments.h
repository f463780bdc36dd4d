// Data on its way from a store to a socket: runs of bytes, each kept alive by a reference, never
// copied. Thread: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ref.h"

namespace base {

/// A reference-counted byte array.
class Buffer final : public RefCounted {
 public:
  explicit Buffer(std::vector<std::uint8_t> bytes) : bytes_(std::move(bytes)) {}
  explicit Buffer(std::size_t size) : bytes_(size) {}
  MutableBytes bytes() { return bytes_; }
  Bytes bytes() const { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

struct Segment {
  Bytes bytes;
  Ref<const RefCounted> owner;  ///< null: static storage
};

class Segments {
 public:
  /// Appends bytes that `owner` keeps alive (null for static storage). Empty runs are dropped.
  void append(Bytes bytes, Ref<const RefCounted> owner);
  /// Appends a copy of nothing: takes the vector.
  void append(std::vector<std::uint8_t> bytes);
  /// Appends `count` zero bytes from a shared page of zeros.
  void append_zeros(std::uint64_t count);
  /// Cuts everything after the first `count` bytes.
  void truncate(std::uint64_t count);
  void clear();

  std::uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const Segment> parts() const { return parts_; }

  /// Copies bytes [offset, offset + out.size()) into `out`; the range must lie inside.
  void copy_to(std::uint64_t offset, MutableBytes out) const;
  std::vector<std::uint8_t> to_vector() const;

 private:
  std::vector<Segment> parts_;
  std::uint64_t size_ = 0;
};

}  // namespace base
