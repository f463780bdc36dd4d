// Not tested, and why: nothing known; what passes through is covered by store_suite_test.cc.
#include "handlers/fault_store.h"

#include <doctest/doctest.h>

#include "store_kinds.h"

using namespace handlers;

namespace {

struct Fixture {
  FaultStore store{std::make_unique<MemoryStore>(1 << 20)};
  Content block = content(4096, 1);
  IoError broken{IoError::Kind::medium_write, "told to fail"};
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "the nth call of a kind fails once, with the error given, having done nothing") {
  store.fail_nth(FaultStore::Call::write, 3, broken);
  CHECK(store.write(0, block));
  CHECK(store.write(4096, block));
  auto third = store.write(8192, block);
  REQUIRE_FALSE(third);
  CHECK(third.error() == broken);
  CHECK(read_all(store, {8192, 4096}) == Content(4096));
  CHECK(store.write(8192, block));
}

TEST_CASE_FIXTURE(Fixture, "each kind of call has its own fault") {
  base::Segments out;
  ByteRange range{0, 4096};
  SnapshotRef snapshot = capture(store, {range});
  store.fail_nth(FaultStore::Call::read, 1, {IoError::Kind::medium_read, "r"});
  store.fail_nth(FaultStore::Call::unmap, 1, broken);
  store.fail_nth(FaultStore::Call::flush, 1, broken);
  store.fail_nth(FaultStore::Call::capture, 1, {IoError::Kind::no_space, "c"});
  CHECK(store.write(0, block));
  CHECK(store.read(range, out).error().kind == IoError::Kind::medium_read);
  CHECK_FALSE(store.unmap(range));
  CHECK_FALSE(store.flush());
  CHECK(store.capture({&range, 1}).error().kind == IoError::Kind::no_space);
  CHECK(store.read(range, out));
  CHECK(store.flush());
  store.fail_nth(FaultStore::Call::write, 1, broken);
  std::uint64_t copied = 1;
  CHECK_FALSE(store.clone(*snapshot, {0, 4096}, 0, &copied));
  CHECK(copied == 0);
  store.fail_nth(FaultStore::Call::write, 1, broken);
  CHECK_FALSE(store.write_same(range, base::Bytes(block).first(512)));
}

TEST_CASE_FIXTURE(Fixture, "a full store refuses writes until it is not full, and can be unmapped") {
  CHECK(store.write(0, block));
  store.set_full(true);
  CHECK(store.write(4096, block).error().kind == IoError::Kind::no_space);
  CHECK(store.unmap({0, 4096}));
  CHECK(store.flush());
  store.set_full(false);
  CHECK(store.write(4096, block));
}
