// Snapshots one behind the other, as one: what a ROD holds that was populated in several steps.
//
// Thread: that of its parts.
#pragma once

#include <functional>
#include <vector>

#include "handlers/backing_store.h"

namespace handlers {

class JoinedSnapshot final : public Snapshot {
 public:
  explicit JoinedSnapshot(std::vector<SnapshotRef> parts);

  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool may_block() const override;
  IoResult<void> read(ByteRange range, base::Segments& out) const override;
  IoResult<ProvisioningRun> provisioning(std::uint64_t offset) const override;
  std::uint64_t count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const override;

  /// Calls `visit` with each part that `range` touches and the range in it, in order; stops at the first error.
  IoResult<void> visit(ByteRange range,
                       const std::function<IoResult<void>(const Snapshot& part, ByteRange range)>& visit) const;

 private:
  std::vector<SnapshotRef> parts_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace handlers
