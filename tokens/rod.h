// A representation of data (ROD): what a token stands for inside the copy manager (SPC-4 5.17.6).
//
// Either captured data or, for access upon reference, the addresses of data that is read when it is used. Remembers
// where it came from; holds no token and no time. Thread: immutable, so any; its snapshot has its own rule.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ref.h"
#include "handlers/backing_store.h"
#include "tokens/rod_token.h"

namespace tokens {

/// Which logical unit the data is of.
struct RodSource {
  std::string name;  ///< unique among the arrays that know each other; what reachability is decided by
  std::uint32_t block_length = 512;
  std::array<std::uint8_t, 16> logical_unit{};  ///< its NAA designator
  std::vector<handlers::ByteRange> ranges{};    ///< where there, in the order of the ROD
};

class Rod final : public base::RefCounted {
 public:
  /// `data` null: access upon reference. Then source.ranges say what it stands for.
  Rod(RodType type, handlers::SnapshotRef data, RodSource source)
      : type_(type), data_(std::move(data)), source_(std::move(source)) {
    if (data_) size_bytes_ = data_->size_bytes();
    if (!data_)
      for (const handlers::ByteRange& range : source_.ranges) size_bytes_ += range.length;
  }

  RodType type() const { return type_; }
  /// Null for access upon reference.
  const handlers::SnapshotRef& data() const { return data_; }
  std::uint64_t size_bytes() const { return size_bytes_; }
  const RodSource& source() const { return source_; }

 private:
  RodType type_;
  handlers::SnapshotRef data_;
  RodSource source_;
  std::uint64_t size_bytes_ = 0;
};
using RodRef = base::Ref<const Rod>;

}  // namespace tokens
