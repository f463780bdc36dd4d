#include "handlers/joined_snapshot.h"

#include <algorithm>
#include <utility>

namespace handlers {

JoinedSnapshot::JoinedSnapshot(std::vector<SnapshotRef> parts) : parts_(std::move(parts)) {
  for (const SnapshotRef& part : parts_) size_bytes_ += part->size_bytes();
}

bool JoinedSnapshot::may_block() const {
  return std::ranges::any_of(parts_, [](const SnapshotRef& part) { return part->may_block(); });
}

IoResult<void> JoinedSnapshot::visit(
    ByteRange range, const std::function<IoResult<void>(const Snapshot& part, ByteRange range)>& visit) const {
  for (const SnapshotRef& part : parts_) {
    if (range.length == 0) break;
    std::uint64_t size = part->size_bytes();
    if (range.offset >= size) {
      range.offset -= size;
      continue;
    }
    std::uint64_t length = std::min(range.length, size - range.offset);
    if (auto done = visit(*part, {range.offset, length}); !done) return done;
    range = {0, range.length - length};
  }
  return {};
}

IoResult<void> JoinedSnapshot::read(ByteRange range, base::Segments& out) const {
  return visit(range, [&](const Snapshot& part, ByteRange within) { return part.read(within, out); });
}

IoResult<ProvisioningRun> JoinedSnapshot::provisioning(std::uint64_t offset) const {
  for (const SnapshotRef& part : parts_) {
    if (offset < part->size_bytes()) return part->provisioning(offset);
    offset -= part->size_bytes();
  }
  return ProvisioningRun{};
}

std::uint64_t JoinedSnapshot::count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const {
  std::uint64_t start = 0;
  for (const SnapshotRef& part : parts_) {
    const std::uint64_t size = part->size_bytes();
    if (from < start + size) {
      from = start + part->count_memory(usage, from - start, left);
      if (from < start + size || left == 0) return from;
    }
    start += size;
  }
  return start;
}

}  // namespace handlers
