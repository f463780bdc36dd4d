// Snapshots one behind the other.
//
// Not tested, and why: parts that may block or fail; they are passed on as they are.
#include <doctest/doctest.h>

#include <algorithm>

#include "handlers/joined_snapshot.h"
#include "handlers/memory_store.h"

namespace handlers {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes read(const Snapshot& snapshot, ByteRange range) {
  base::Segments out;
  snapshot.read(range, out).value();
  return out.to_vector();
}

TEST_CASE("joined snapshots read as what they hold one behind the other, over their seams, holes included") {
  MemoryStore store(1 << 20);
  Bytes whole;
  std::vector<SnapshotRef> parts;
  for (std::uint8_t mark = 1; mark <= 4; ++mark) {
    std::size_t length = mark * 1000u;
    if (mark != 3) store.write(mark * 10000u, Bytes(length, mark)).value();
    ByteRange range{mark * 10000u, length};
    parts.push_back(store.capture({&range, 1}).value());
    whole.insert(whole.end(), length, mark == 3 ? std::uint8_t{0} : mark);
  }
  store.write(0, Bytes(100000, 0xEE)).value();
  JoinedSnapshot joined(parts);
  CHECK(joined.size_bytes() == whole.size());
  CHECK_FALSE(joined.may_block());
  for (ByteRange range : {ByteRange{0, 10000}, ByteRange{999, 2}, ByteRange{1000, 2000}, ByteRange{2500, 7500},
                          ByteRange{9999, 1}, ByteRange{4, 0}})
    CHECK((read(joined, range) == Bytes(whole.begin() + static_cast<std::ptrdiff_t>(range.offset),
                                        whole.begin() + static_cast<std::ptrdiff_t>(range.end()))));
  CHECK(joined.provisioning(2999)->mapped);
  CHECK_FALSE(joined.provisioning(3000)->mapped);
  CHECK(joined.provisioning(3000)->length <= 3000);
  CHECK(joined.provisioning(6000)->mapped);

  MemoryStore other(1 << 20);
  other.write(0, Bytes(20000, 0x55)).value();
  other.clone(joined, {500, 9000}, 77, nullptr).value();
  base::Segments out;
  other.read({77, 9000}, out).value();
  CHECK((out.to_vector() == Bytes(whole.begin() + 500, whole.begin() + 9500)));
}

}  // namespace
}  // namespace handlers
