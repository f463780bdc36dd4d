// What a file store does without waiting for a device: when it says that it can, and that it leaves the rest to the
// calls that may wait.
//
// Not tested, and why: that the kernel does not wait (RWF_NOWAIT is its promise); that two threads tell of waits at
// once (one atomic); how fast (test/bench).
#include <doctest/doctest.h>
#include <linux/magic.h>
#include <poll.h>

#include <cerrno>
#include <functional>
#include <utility>

#include "store_kinds.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr ByteRange kBlocks{8192, 4096};

/// A file system that can do what it is told it can.
class Calls final : public FileCalls {
 public:
  std::uint64_t type = 0;         ///< of the file system
  base::Duration write_takes{1};  ///< of a pwrite
  bool write_waits = false;       ///< so that it takes as long
  std::uint64_t waited = 0;
  unsigned asked_for_waits = 0;
  std::function<void()> while_writing;  ///< in the next pwrite
  int flush_error = 0;
  unsigned flushes = 0;
  base::VirtualClock clock;
  int read_error = 0, write_error = 0;  ///< of transfers at once
  std::size_t most_bytes = SIZE_MAX;    ///< of transfers at once
  unsigned reads = 0, writes = 0, reads_at_once = 0, writes_at_once = 0;
  std::size_t longest = 0;  ///< of all that may wait

  std::uint64_t file_system(int) override { return type; }
  base::TimePoint now() override { return clock.now(); }
  std::uint64_t waits() override {
    ++asked_for_waits;
    return waited;
  }
  int fdatasync(int) override {
    ++flushes;
    return flush_error == 0 ? 0 : (errno = flush_error, -1);
  }
  ssize_t pread(int fd, void* buffer, std::size_t count, off_t offset) override {
    ++reads;
    longest = std::max(longest, count);
    return FileCalls::pread(fd, buffer, count, offset);
  }
  ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset) override {
    ++writes;
    longest = std::max(longest, count);
    if (auto act = std::exchange(while_writing, {})) act();
    clock.advance(write_takes);
    waited += write_waits ? 1 : 0;
    return FileCalls::pwrite(fd, buffer, count, offset);
  }
  ssize_t pread_at_once(int fd, void* buffer, std::size_t count, off_t offset) override {
    ++reads_at_once;
    if (read_error != 0) return errno = read_error, -1;
    return FileCalls::pread(fd, buffer, std::min(count, most_bytes), offset);
  }
  ssize_t pwrite_at_once(int fd, const void* buffer, std::size_t count, off_t offset) override {
    ++writes_at_once;
    if (write_error != 0) return errno = write_error, -1;
    return FileCalls::pwrite(fd, buffer, std::min(count, most_bytes), offset);
  }
};

struct Fixture {
  explicit Fixture(std::uint64_t type = 0) {
    calls->type = type;
    options.path = folder.file("image");
    options.create_size = kMiB;
    options.calls = calls;
    store = std::make_unique<FileStore>(options);
    REQUIRE(store->write(kBlocks.offset, before));
    calls->writes = calls->asked_for_waits = 0;
  }
  bool read() { return store->read_at_once(kBlocks, out); }
  bool write() { return store->write_at_once(kBlocks.offset, after); }
  void write_takes(base::Duration time, bool waiting) const {
    calls->write_takes = time;
    calls->write_waits = waiting;
  }

  TemporaryFolder folder{};
  std::shared_ptr<Calls> calls = std::make_shared<Calls>();
  FileStoreOptions options{};
  std::unique_ptr<FileStore> store{};
  Content before = content(kBlocks.length, 1);
  Content after = content(kBlocks.length, 2);
  base::Segments out{};
};

}  // namespace

TEST_CASE("what the file system has in memory is read and written at once") {
  Fixture file;
  REQUIRE(file.read());
  CHECK(file.out.to_vector() == file.before);
  CHECK(file.store->write_at_once(kBlocks.offset, file.after));
  CHECK(read_all(*file.store, kBlocks) == file.after);
  CHECK(file.calls->reads_at_once == 1);
  CHECK(file.calls->writes_at_once == 1);
  CHECK(file.calls->writes == 0);
}

TEST_CASE("what would wait, fails or ends early is left to the call that may wait") {
  for (int error : {EAGAIN, EIO, EINTR}) {
    Fixture file;
    file.calls->read_error = file.calls->write_error = error;
    for (unsigned time = 1; time <= 2; ++time) {
      CHECK_FALSE(file.read());
      CHECK_FALSE(file.store->write_at_once(kBlocks.offset, file.after));
      CHECK(file.calls->reads_at_once == time);  // it is tried each time
      CHECK(file.calls->writes_at_once == time);
    }
    CHECK(file.out.size() == 0);
    CHECK(read_all(*file.store, kBlocks) == file.before);
  }
  Fixture file;
  file.calls->most_bytes = 512;
  CHECK_FALSE(file.read());
  CHECK(file.out.size() == 0);
  CHECK_FALSE(file.store->write_at_once(kBlocks.offset, file.after));
}

TEST_CASE("a file system that knows no such transfers is not asked again") {
  Fixture file;
  file.calls->read_error = file.calls->write_error = EOPNOTSUPP;
  for (int time = 0; time < 3; ++time) {
    CHECK_FALSE(file.read());
    CHECK_FALSE(file.store->write_at_once(kBlocks.offset, file.after));
  }
  CHECK(file.calls->reads_at_once == 1);
  CHECK(file.calls->writes_at_once == 1);
}

TEST_CASE("in memory plain transfers are at once") {
  Fixture file(TMPFS_MAGIC);
  file.calls->reads = 0;
  REQUIRE(file.read());
  CHECK(file.out.to_vector() == file.before);
  CHECK(file.store->write_at_once(kBlocks.offset, file.after));
  CHECK(file.calls->reads == 1);
  CHECK(file.calls->writes == 1);
  CHECK(file.calls->reads_at_once + file.calls->writes_at_once == 0);
}

TEST_CASE("long transfers are left to workers") {
  Fixture file;
  CHECK_FALSE(file.store->read_at_once({0, kMiB}, file.out));
  CHECK_FALSE(file.store->write_at_once(0, content(kMiB, 3)));
  CHECK(file.calls->reads_at_once + file.calls->writes_at_once == 0);
}

TEST_CASE("no call of a long work moves so much that others wait long for the processor it has") {
  const Content whole = content(kMiB, 3);
  MemoryStore memory(kMiB, MemoryPool::create(4 * kMiB));
  REQUIRE(memory.write(0, whole));
  for (std::uint64_t type : {std::uint64_t{0}, std::uint64_t{EXT4_SUPER_MAGIC}}) {
    Fixture file(type);
    file.calls->longest = 0;
    REQUIRE(file.store->clone(*capture(memory, {{0, kMiB}}), {0, kMiB}, 0, nullptr));
    CHECK(file.calls->longest == FileImage::kLongWorkCall);
    file.calls->longest = 0;
    SnapshotRef snapshot = capture(*file.store, {{0, kMiB}});
    CHECK(read_all(*snapshot) == whole);
    CHECK(file.calls->longest == FileImage::kLongWorkCall);
    file.calls->longest = 0;
    REQUIRE(file.store->write_same({0, kMiB}, content(512, 4)));
    CHECK(file.calls->longest == FileImage::kLongWorkCall);
    // What a host asks for in one command is done in one.
    REQUIRE(file.store->write(0, whole));
    CHECK(file.calls->longest == kMiB);
  }
}

TEST_CASE("nothing is written at once while a snapshot may need what is there") {
  Fixture file;
  {
    SnapshotRef snapshot = capture(*file.store, {kBlocks});
    CHECK_FALSE(file.store->write_at_once(kBlocks.offset, file.after));
    CHECK(file.read());
    REQUIRE(file.store->write(kBlocks.offset, file.after));
    CHECK(read_all(*snapshot) == file.before);
    // All of it is saved.
    CHECK(file.store->write_at_once(kBlocks.offset, file.before));
  }
  CHECK(file.store->write_at_once(kBlocks.offset, file.before));
}

TEST_CASE("writes are done at once again when what no snapshot needs any more is taken apart") {
  constexpr std::uint64_t kBlock = 4096;
  const auto pool = MemoryPool::create(100 * kBlock);
  const PoolUser user(pool);
  Fixture file;
  file.store.reset();
  file.options.pool = pool;
  file.store = std::make_unique<FileStore>(file.options);
  REQUIRE(file.store->write(0, content(kMiB, 1)));
  SnapshotRef snapshot = capture(*file.store, {{0, kMiB}});
  std::uint64_t saved = 90;
  SUBCASE("of one that is released") {}
  SUBCASE("of one that is lost, and released later") { saved = 101; }
  for (std::uint64_t i = 0; i < saved; ++i) REQUIRE(file.store->write(2 * i * kBlock, content(kBlock, 2)));
  SnapshotRef lost = saved > 100 ? snapshot : SnapshotRef{};
  snapshot = {};
  CHECK_FALSE(file.store->write_at_once(kBlocks.offset, file.after));
  while (pool->reclaim(1)) continue;
  CHECK(file.store->write_at_once(kBlocks.offset, file.after));
  CHECK(pool->budget().used() == (lost ? pool->budget().structure() : 0));
}

TEST_CASE("an image that is open read-only is not written at once") {
  Fixture file;
  file.store.reset();
  file.options.read_only = true;
  file.options.create_size.reset();
  file.store = std::make_unique<FileStore>(file.options);
  CHECK(file.read());
  CHECK_FALSE(file.store->write_at_once(kBlocks.offset, file.after));
  CHECK(file.calls->writes_at_once == 0);
}

TEST_CASE("ext4, which promises nothing, is written at once until a write has to wait, and then not for a while") {
  Fixture file(EXT4_SUPER_MAGIC);
  file.calls->write_error = EOPNOTSUPP;
  CHECK(file.write());
  CHECK(read_all(*file.store, kBlocks) == file.after);
  file.write_takes(PromptWrites::kLong - base::Duration(1), true);
  CHECK(file.write());
  CHECK(file.write());
  CHECK(file.calls->asked_for_waits == 0);
  file.write_takes(PromptWrites::kLong, true);
  CHECK(file.write());  // nobody looked why, but will from now on
  CHECK(file.write());
  CHECK(file.calls->writes == 5);
  file.write_takes(base::Duration(1), false);
  file.calls->clock.advance(PromptWrites::kShortestRest - base::Duration(1));
  CHECK_FALSE(file.write());
  file.calls->clock.advance(base::Duration(1));
  CHECK(file.write());
  CHECK(file.calls->writes == 6);
  // The longer it took the longer the while; and what follows a while is still looked at.
  file.write_takes(PromptWrites::kShortestRest, true);
  CHECK(file.write());
  file.write_takes(base::Duration(1), false);
  file.calls->clock.advance(PromptWrites::kRest * PromptWrites::kShortestRest - base::Duration(1));
  CHECK_FALSE(file.write());
  file.calls->clock.advance(base::Duration(1));
  CHECK(file.write());
  CHECK(file.calls->writes_at_once == 1);
}

TEST_CASE("a write of ext4 that took long because others had the processor is no wait") {
  Fixture file(EXT4_SUPER_MAGIC);
  file.calls->write_error = EOPNOTSUPP;
  file.write_takes(PromptWrites::kShortestRest, false);
  for (int time = 0; time < 3; ++time) CHECK(file.write());
  CHECK(file.calls->asked_for_waits == 4);  // around the second and the third
  // Whoever was not preempted for long is not looked at for long.
  file.write_takes(base::Duration(1), false);
  file.calls->clock.advance(PromptWrites::kRest * PromptWrites::kShortestRest - base::Duration(1));
  CHECK(file.write());
  CHECK(file.calls->asked_for_waits == 5);
  CHECK(file.write());
  CHECK(file.calls->asked_for_waits == 5);
}

TEST_CASE("the system tells when a thread waited") {
  FileCalls calls;
  const std::uint64_t before = calls.waits();
  ::poll(nullptr, 0, 1);
  CHECK(calls.waits() > before);
}

TEST_CASE("waits that a worker meets keep writes from the loop's thread, too") {
  Fixture file(EXT4_SUPER_MAGIC);
  file.calls->write_error = EOPNOTSUPP;
  for (bool waited : {false, true}) {  // one that took long and did not wait; one that waited, and not long
    file.write_takes(PromptWrites::kLongOnWorker - base::Duration(waited ? 1 : 0), waited);
    REQUIRE(file.store->write(kBlocks.offset, file.before));
    file.write_takes(base::Duration(1), false);
    CHECK(file.write());
  }
  file.write_takes(PromptWrites::kLongOnWorker, true);
  REQUIRE(file.store->write(kBlocks.offset, file.before));
  CHECK_FALSE(file.write());
  // One that was shorter takes nothing back.
  file.write_takes(base::Duration(1), true);
  file.calls->clock.advance(base::Duration(1000));
  REQUIRE(file.store->write(kBlocks.offset, file.before));
  CHECK_FALSE(file.write());
  file.calls->clock.advance(PromptWrites::kRest * PromptWrites::kLongOnWorker);
  CHECK(file.write());
}

TEST_CASE("a write of ext4 that another change may be in the way of is left to a worker") {
  Fixture file(EXT4_SUPER_MAGIC);
  file.calls->write_error = EOPNOTSUPP;
  bool written = true;
  file.calls->while_writing = [&] { written = file.store->write_at_once(0, file.after); };
  REQUIRE(file.store->write(kBlocks.offset, file.after));
  CHECK_FALSE(written);
  CHECK(file.store->write_at_once(0, file.after));
}

TEST_CASE("a write of ext4 to a part of a page is left to a worker when the page would have to be read") {
  Fixture file(EXT4_SUPER_MAGIC);
  file.calls->write_error = EOPNOTSUPP;
  const Content part = content(512, 3);
  CHECK(file.store->write_at_once(kBlocks.offset + 512, part));
  file.calls->read_error = EAGAIN;
  CHECK_FALSE(file.store->write_at_once(kBlocks.offset, part));
  CHECK_FALSE(file.store->write_at_once(kBlocks.offset + 512, part));
  CHECK_FALSE(file.store->write_at_once(kBlocks.end() - 512, part));
  CHECK(file.calls->writes == 1);
  CHECK(file.write());
}

TEST_CASE("a file system that nothing is known of is not written at once when it does not promise") {
  Fixture file(NFS_SUPER_MAGIC);
  file.calls->write_error = EOPNOTSUPP;
  CHECK_FALSE(file.write());
  CHECK(file.calls->writes == 0);
}

TEST_CASE("only what has no device is flushed at once") {
  for (std::uint64_t type : {std::uint64_t{0}, std::uint64_t{EXT4_SUPER_MAGIC}}) {
    Fixture file(type);
    CHECK_FALSE(file.store->flush_at_once());
    CHECK(file.calls->flushes == 0);
  }
  Fixture file(TMPFS_MAGIC);
  CHECK(file.store->flush_at_once());
  CHECK(file.calls->flushes == 1);
}

TEST_CASE("a flush at once that fails is found out by the flush that follows, and by every other") {
  Fixture file(TMPFS_MAGIC);
  file.calls->flush_error = EIO;
  CHECK_FALSE(file.store->flush_at_once());
  file.calls->flush_error = 0;
  CHECK(file.store->flush().error().kind == IoError::Kind::medium_write);
  CHECK_FALSE(file.store->flush_at_once());
  CHECK_FALSE(file.write());
}
