// What only file stores do: system calls that fail or do half, and what is shared with other files.
// Not tested, and why: block devices (need root and a device), a file system that really shares extents (stand-in
// here; file_system_test.cc), a second process at the lock (flock is per open file, so a second open in this process is
// the same case: factory_test.cc).
#include "handlers/file_store.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "file_store_fixture.h"

using namespace handlers;
using namespace handlers::file_test;

TEST_CASE_FIXTURE(Fixture, "the image is raw: byte n of the store is byte n of the file") {
  auto store = make(kMiB);
  REQUIRE(store->write(4096, content(8192, 1)));
  REQUIRE(store->write_same({kMiB - 512, 512}, content(512, 2)));
  REQUIRE(store->flush());
  CHECK(calls->syncs == 1);
  std::ifstream file(path, std::ios::binary);
  Content bytes((std::istreambuf_iterator<char>(file)), {});
  CHECK(bytes == read_all(*store));
  CHECK(Content(bytes.begin() + 4096, bytes.begin() + 12288) == content(8192, 1));
}

TEST_CASE_FIXTURE(Fixture, "what stores are read into waits for the next read of any of them, bounded for all") {
  const ReadBuffers& buffers = pool->read_buffers();
  auto first = make(64 * kMiB, "first.img"), second = make(64 * kMiB, "second.img");
  auto read = [](FileStore& store, std::uint64_t mebibytes) {
    base::Segments out;
    for (std::uint64_t i = 0; i < mebibytes; ++i) REQUIRE(store.read({i * kMiB, kMiB}, out));
  };
  read(*first, 2);
  CHECK(buffers.idle_bytes() == 2 * kMiB);
  read(*second, 2);
  CHECK(buffers.idle_bytes() == 2 * kMiB);
  read(*first, 40);
  read(*second, 40);
  CHECK(buffers.idle_bytes() == ReadBuffers::kMostIdleBytes);
  base::Segments out;
  REQUIRE(first->read({0, kMiB}, out));
  CHECK(buffers.idle_bytes() == ReadBuffers::kMostIdleBytes - kMiB);
}

TEST_CASE_FIXTURE(Fixture, "transfers that are interrupted or do less than asked are continued") {
  calls->most_bytes = 1000;
  calls->punch_error = 0;
  auto store = make(256 * kKiB);
  auto other = make(256 * kKiB, "other.img");
  Content data = content(200 * kKiB, 1);
  REQUIRE(store->write(512, data));
  CHECK(read_all(*store, {512, 200 * kKiB}) == data);
  REQUIRE(store->unmap({512, 4096}));
  CHECK(read_all(*store, {512, 4096}) == Content(4096));
  REQUIRE(other->clone(*capture(*store, {{0, 256 * kKiB}}), {0, 256 * kKiB}, 0, nullptr));
  CHECK(read_all(*other) == read_all(*store));
  CHECK(store->flush());
  CHECK(calls->syncs >= 1);
}

TEST_CASE_FIXTURE(Fixture, "errno becomes the kind of failure, with path and offset for the log") {
  auto store = make(kMiB);
  Content block = content(4096, 1);
  base::Segments out;
  calls->read_error = EIO;
  auto read = store->read({8192, 4096}, out);
  CHECK(kind_of(read) == IoError::Kind::medium_read);
  CHECK(read.error().reason.find(path) != std::string::npos);
  CHECK(read.error().reason.find("8192") != std::string::npos);
  calls->write_error = EIO;
  CHECK(kind_of(store->write(0, block)) == IoError::Kind::medium_write);
  for (int full : {ENOSPC, EDQUOT, EFBIG}) {
    calls->write_error = full;
    CHECK(kind_of(store->write(0, block)) == IoError::Kind::no_space);
    CHECK(kind_of(store->write_same({0, 4096}, base::Bytes(block).first(512))) == IoError::Kind::no_space);
  }
  calls->punch_error = EIO;
  CHECK(kind_of(store->unmap({0, 4096})) == IoError::Kind::medium_write);
  // And all of it passes.
  calls->read_error = calls->write_error = calls->punch_error = 0;
  CHECK(store->write(0, block));
  CHECK(store->unmap({0, 512}));
  CHECK(read_all(*store, {512, 512}) == Content(block.begin() + 512, block.begin() + 1024));
}

TEST_CASE_FIXTURE(Fixture, "an image that was cut short behind our back is a read error, not zeros") {
  auto store = make(kMiB);
  std::filesystem::resize_file(path, 8192);
  base::Segments out;
  auto read = store->read({4096, 8192}, out);
  CHECK(kind_of(read) == IoError::Kind::medium_read);
  CHECK(read.error().reason.find("ends at byte 8192") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "after a flush has failed nothing claims to be durable any more, reads go on") {
  auto store = make(kMiB);
  Content block = content(4096, 1);
  REQUIRE(store->write(0, block));
  auto kind = IoError::Kind::medium_write;
  SUBCASE("for the medium's sake") { calls->sync_error = EIO; }
  SUBCASE("where space is taken when data is written back, and there is none") {
    calls->sync_error = ENOSPC;
    kind = IoError::Kind::no_space;
  }
  CHECK(kind_of(store->flush()) == kind);
  calls->sync_error = 0;
  CHECK(kind_of(store->flush()) == kind);
  CHECK(kind_of(store->write(0, block)) == kind);
  CHECK(kind_of(store->unmap({0, 4096})) == kind);
  CHECK(read_all(*store, {0, 4096}) == block);
  store.reset();
  auto reopened = make(kMiB);
  CHECK(reopened->write(0, block));
  CHECK(reopened->flush());
}

TEST_CASE_FIXTURE(Fixture, "where holes cannot be punched zeros are written") {
  auto store = make(kMiB);
  REQUIRE(store->write(0, content(kMiB, 1)));
  calls->punch_error = EINVAL;  // a device's answer to one badly aligned range: asked again next time
  REQUIRE(store->unmap({512, 512}));
  REQUIRE(store->unmap({4096, 4096}));
  calls->punch_error = ENOSPC;  // no room for what says that there is a hole: later perhaps
  REQUIRE(store->unmap({4096, 4096}));
  CHECK(calls->punches == 3);
  calls->punch_error = EOPNOTSUPP;
  REQUIRE(store->unmap({8192, 600 * kKiB}));
  REQUIRE(store->unmap({0, 512}));
  CHECK(calls->punches == 4);
  Content expected = content(kMiB, 1);
  std::fill_n(expected.begin(), 1024, 0);
  std::fill_n(expected.begin() + 4096, 4096 + 600 * kKiB, 0);
  CHECK(read_all(*store) == expected);
}

TEST_CASE_FIXTURE(Fixture, "a clone shares extents, else is copied by the kernel, else through memory") {
  auto store = make(4 * kMiB);
  auto other = make(4 * kMiB, "other.img");
  REQUIRE(store->write(0, content(kMiB, 1)));
  REQUIRE(store->write(3 * kMiB, content(kMiB, 2)));
  SnapshotRef snapshot = capture(*store, {{0, 4 * kMiB}});
  Content expected = read_all(*store);
  int writes = calls->writes;
  SUBCASE("shared") {
    calls->clone_error = 0;
    REQUIRE(other->clone(*snapshot, {0, 4 * kMiB}, 0, nullptr));
    CHECK(calls->copies == 0);
    CHECK(calls->writes == writes);
  }
  SUBCASE("by the kernel") {
    REQUIRE(other->clone(*snapshot, {0, 4 * kMiB}, 0, nullptr));
    CHECK(calls->copies > 0);
  }
  SUBCASE("through memory") {
    calls->copy_error = EXDEV;
    REQUIRE(other->clone(*snapshot, {0, 4 * kMiB}, 0, nullptr));
    CHECK(calls->writes > writes);
  }
  CHECK(read_all(*other) == expected);
  CHECK(other->allocated_bytes() < 2 * kMiB + 64 * kKiB);
}

TEST_CASE_FIXTURE(Fixture, "whole blocks are shared in the middle of a range that starts and ends within blocks") {
  calls->clone_error = 0;
  auto store = make(4 * kMiB);
  auto other = make(4 * kMiB, "other.img");
  Content data = content(4 * kMiB, 1);
  REQUIRE(store->write(0, data));
  Content before = content(4 * kMiB, 2);
  REQUIRE(other->write(0, before));
  SnapshotRef snapshot = capture(*store, {{512, 3 * kMiB}});
  SUBCASE("the same distance from a block's start") {
    REQUIRE(other->clone(*snapshot, {0, 3 * kMiB}, kBlock + 512, nullptr));
    CHECK(calls->clones == 1);
    CHECK(calls->shared_bytes == 3 * kMiB - kBlock);
    std::copy_n(data.begin() + 512, 3 * kMiB, before.begin() + kBlock + 512);
  }
  SUBCASE("another distance: nothing can be shared") {
    REQUIRE(other->clone(*snapshot, {0, 3 * kMiB}, 1024, nullptr));
    CHECK(calls->clones == 0);
    std::copy_n(data.begin() + 512, 3 * kMiB, before.begin() + 1024);
  }
  SUBCASE("less than a block") {
    REQUIRE(other->clone(*snapshot, {512, 1024}, 1024, nullptr));
    CHECK(calls->clones == 0);
    std::copy_n(data.begin() + 1024, 1024, before.begin() + 1024);
  }
  CHECK(read_all(*other) == before);
}

TEST_CASE_FIXTURE(Fixture, "sharing takes few calls, and none at all once the file system has said that it cannot") {
  constexpr std::uint64_t kSize = 4 * kClonePiece;
  auto store = make(kSize);
  auto other = make(kSize, "other.img");
  REQUIRE(store->write(kSize / 2, content(kMiB, 1)));
  SnapshotRef snapshot = capture(*store, {{0, kSize}});
  calls->clone_error = EXDEV;  // of this pair only
  REQUIRE(other->clone(*snapshot, {0, kSize}, 0, nullptr));
  CHECK(calls->clones == 4);
  calls->clone_error = 0;
  REQUIRE(other->clone(*snapshot, {0, kSize}, 0, nullptr));
  CHECK(calls->clones == 8);
  calls->clone_error = EOPNOTSUPP;
  REQUIRE(other->clone(*snapshot, {0, kSize}, 0, nullptr));
  REQUIRE(other->clone(*snapshot, {0, kSize}, 0, nullptr));
  CHECK(calls->clones == 9);
  CHECK(read_all(*other, {kSize / 2, kMiB}) == content(kMiB, 1));
}

TEST_CASE_FIXTURE(Fixture, "what was saved for a snapshot is written where the rest of it is shared") {
  calls->clone_error = 0;
  auto store = make(4 * kMiB);
  auto other = make(4 * kMiB, "other.img");
  Content data = content(4 * kMiB, 1);
  REQUIRE(store->write(0, data));
  SnapshotRef snapshot = capture(*store, {{0, 2 * kMiB}, {kMiB + 512, 2 * kMiB}});
  Content expected = read_all(*snapshot);
  REQUIRE(store->write(kMiB / 2 + 512, content(300 * kKiB, 2)));
  REQUIRE(store->unmap({2 * kMiB, 64 * kKiB}));
  REQUIRE(other->clone(*snapshot, {0, 4 * kMiB}, 0, nullptr));
  CHECK(calls->shared_bytes > kMiB);
  CHECK(read_all(*other) == expected);
}

TEST_CASE_FIXTURE(Fixture, "saving old data writes nothing, so that no crash can tear the image by it") {
  auto store = make(4 * kMiB);
  REQUIRE(store->write(0, content(4 * kMiB, 1)));
  SnapshotRef snapshot = capture(*store, {{0, 4 * kMiB}});
  int writes = calls->writes;
  REQUIRE(store->write(0, content(kMiB, 2)));
  CHECK(used() == kMiB);
  CHECK(calls->writes == writes + 1);
  CHECK(std::distance(std::filesystem::directory_iterator(std::filesystem::path(path).parent_path()), {}) == 1);
}

TEST_CASE_FIXTURE(Fixture, "a clone that fails says how much it surely copied") {
  auto store = make(4 * kMiB);
  auto other = make(4 * kMiB, "other.img");
  REQUIRE(store->write(0, content(4 * kMiB, 1)));
  SnapshotRef snapshot = capture(*store, {{0, 4 * kMiB}});
  calls->copy_error = EXDEV;
  calls->writable_bytes = 2 * kMiB + 100 * kKiB;
  std::uint64_t copied = 0;
  CHECK(kind_of(other->clone(*snapshot, {0, 4 * kMiB}, 0, &copied)) == IoError::Kind::no_space);
  CHECK(copied == 2 * kMiB);
  CHECK(read_all(*other, {0, copied}) == read_all(*store, {0, copied}));
  MemoryStore memory(4 * kMiB, MemoryPool::create(2 * kMiB));
  CHECK(kind_of(memory.clone(*snapshot, {0, 4 * kMiB}, 0, &copied)) == IoError::Kind::no_space);
  CHECK(copied == kMiB);
  CHECK(read_all(memory, {0, copied}) == read_all(*store, {0, copied}));
}
