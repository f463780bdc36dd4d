// A representation of data (ROD): what a token stands for inside the copy manager (SPC-4 5.17.6).
//
// Owns a reference to the captured data and remembers where it came from; holds no token and no time.
// Thread: immutable, so any; its snapshot has its own rule.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/ref.h"
#include "handlers/backing_store.h"
#include "tokens/rod_token.h"

namespace tokens {

/// Which logical unit the data was captured from.
struct RodSource {
  std::string name;  ///< unique in the array; what reachability is decided by
  std::uint32_t block_length = 512;
};

class Rod final : public base::RefCounted {
 public:
  Rod(RodType type, handlers::SnapshotRef data, RodSource source)
      : type_(type), data_(std::move(data)), source_(std::move(source)) {}

  RodType type() const { return type_; }
  const handlers::Snapshot& data() const { return *data_; }
  std::uint64_t size_bytes() const { return data_->size_bytes(); }
  const RodSource& source() const { return source_; }

 private:
  RodType type_;
  handlers::SnapshotRef data_;
  RodSource source_;
};
using RodRef = base::Ref<const Rod>;

}  // namespace tokens
