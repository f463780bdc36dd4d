// What a file store does without waiting for a device: when it says that it can, and that it leaves the rest to the
// calls that may wait.
//
// Not tested, and why: that the kernel does not wait (RWF_NOWAIT is its promise); how fast (test/bench).
#include <doctest/doctest.h>

#include <cerrno>

#include "store_kinds.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr ByteRange kBlocks{8192, 4096};

/// A file system that can do what it is told it can.
class Calls final : public FileCalls {
 public:
  bool memory = false;
  int read_error = 0, write_error = 0;  ///< of transfers at once
  std::size_t most_bytes = SIZE_MAX;    ///< of transfers at once
  unsigned reads = 0, writes = 0, reads_at_once = 0, writes_at_once = 0;

  bool in_memory(int) override { return memory; }
  ssize_t pread(int fd, void* buffer, std::size_t count, off_t offset) override {
    ++reads;
    return FileCalls::pread(fd, buffer, count, offset);
  }
  ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset) override {
    ++writes;
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
  explicit Fixture(bool memory = false) {
    calls->memory = memory;
    options.path = folder.file("image");
    options.create_size = kMiB;
    options.calls = calls;
    store = std::make_unique<FileStore>(options);
    REQUIRE(store->write(kBlocks.offset, before));
    calls->writes = 0;
  }
  bool read() { return store->read_at_once(kBlocks, out); }

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
  Fixture file(true);
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
