// Stores that get another size while they are used.
//
// Not tested, and why: block devices (they need root); calls that fail (test/target/reload_test.cc has a file system
// that says no).
#include <doctest/doctest.h>

#include "handlers/factory.h"
#include "test/handlers/store_kinds.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

Content read(BackingStore& store, ByteRange range) {
  base::Segments out;
  REQUIRE(store.read(range, out));
  return out.to_vector();
}

}  // namespace

TEST_CASE_TEMPLATE("resize: new bytes are zeros, what was there stays, and what is cut off is gone", Kind, MemoryKind,
                   FileKind, FaultKind<MemoryKind>) {
  Kind kind;
  auto store = kind.make(kMiB);
  Content data = content(kMiB, 1);
  REQUIRE(store->write(0, data));
  REQUIRE(store->resize(2 * kMiB));
  CHECK(store->size_bytes() == 2 * kMiB);
  CHECK(store->measure() == 2 * kMiB);
  CHECK(read(*store, {0, kMiB}) == data);
  CHECK(read(*store, {kMiB, kMiB}) == Content(kMiB));
  CHECK_FALSE(store->provisioning(kMiB)->mapped);
  REQUIRE(store->write(2 * kMiB - 512, Content(512, 7)));
  REQUIRE(store->resize(kMiB / 2));
  CHECK(store->size_bytes() == kMiB / 2);
  CHECK(store->provisioning(0)->length <= kMiB / 2);
  REQUIRE(store->resize(2 * kMiB));
  CHECK(read(*store, {0, kMiB / 2}) == Content(data.begin(), data.begin() + kMiB / 2));
  CHECK(read(*store, {kMiB / 2, kMiB / 2}) == Content(kMiB / 2));
  CHECK(read(*store, {2 * kMiB - 512, 512}) == Content(512));
}

TEST_CASE("resize: a snapshot in memory keeps what was cut off") {
  MemoryKind kind;
  auto store = kind.make(kMiB);
  Content data = content(kMiB, 2);
  REQUIRE(store->write(0, data));
  const ByteRange whole{0, kMiB};
  SnapshotRef snapshot = *store->capture(std::span(&whole, 1));
  REQUIRE(store->resize(4096));
  base::Segments out;
  REQUIRE(snapshot->read(whole, out));
  CHECK(out.to_vector() == data);
}

TEST_CASE("resize: a file that is open to be read only has the size others give it") {
  FileKind kind;
  kind.make(kMiB);
  const std::string path = kind.folder.file("0.img");
  auto store = open_store("file:" + path + ",ro", {});
  CHECK(store->resize(2 * kMiB).error().kind == IoError::Kind::write_protected);
  std::filesystem::resize_file(path, 2 * kMiB);
  CHECK(store->size_bytes() == kMiB);
  CHECK(store->measure() == 2 * kMiB);
  REQUIRE(store->resize(2 * kMiB));
  CHECK(store->size_bytes() == 2 * kMiB);
}

TEST_CASE("a line of configuration is taken apart without opening anything") {
  StoreSpec memory = parse_store("memory:4K");
  CHECK(memory.kind == StoreSpec::Kind::memory);
  CHECK(memory.size == 4096);
  StoreSpec file = parse_store("file:/a,b,ro,size=1M");
  CHECK(file.kind == StoreSpec::Kind::file);
  CHECK(file.path == "/a,b");
  CHECK(file.read_only);
  CHECK(file.size == kMiB);
  CHECK_FALSE(parse_store("file:x").size.has_value());
}
