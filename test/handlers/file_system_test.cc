// File stores on a real file system: TMPDIR says where, ODX_SHARES whether it is one that shares extents. Run by
// test/target/file_systems_test.py on small images of XFS, Btrfs and ext4; without TMPDIR on whatever is in /tmp, where
// the tests of sharing are left out.
// Not tested, and why: a disk that forgets what was not flushed (needs a device mapper target), NFS.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <span>

#include "store_kinds.h"

using namespace handlers;

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kBlock = 4 * kKiB;  // of every file system here

/// Counts how bytes were moved.
class Counted final : public FileCalls {
 public:
  std::atomic<int> shared{0}, copied{0}, written{0};

  ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset) override {
    ++written;
    return FileCalls::pwrite(fd, buffer, count, offset);
  }
  int clone_range(int from, off_t from_offset, off_t length, int to, off_t to_offset) override {
    int result = FileCalls::clone_range(from, from_offset, length, to, to_offset);
    if (result == 0) ++shared;
    return result;
  }
  ssize_t copy_file_range(int from, off_t from_offset, int to, off_t to_offset, std::size_t length) override {
    ++copied;
    return FileCalls::copy_file_range(from, from_offset, to, to_offset, length);
  }
};

struct Disk {
  TemporaryFolder folder;
  std::shared_ptr<Counted> calls = std::make_shared<Counted>();
  bool shares = std::getenv("ODX_SHARES") != nullptr && std::string(std::getenv("ODX_SHARES")) == "1";

  std::unique_ptr<FileStore> make(std::uint64_t size, const std::string& name,
                                  base::Ref<MemoryPool> pool = MemoryPool::create()) {
    FileStoreOptions options;
    options.path = folder.file(name);
    options.create_size = size;
    options.pool = std::move(pool);
    options.calls = calls;
    return std::make_unique<FileStore>(options);
  }

  std::uint64_t free_bytes() const {
    struct statvfs status{};
    REQUIRE(statvfs(folder.file("").c_str(), &status) == 0);
    return status.f_bavail * status.f_frsize;
  }

  /// Bytes of [from, to) whose blocks other files have, too.
  std::uint64_t shared_bytes(const std::string& name, std::uint64_t from, std::uint64_t to) const {
    int fd = ::open(folder.file(name).c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    std::uint64_t sum = 0;
    for (bool last = false; from < to && !last;) {
      constexpr unsigned kExtents = 64;
      alignas(fiemap) std::array<char, sizeof(fiemap) + kExtents * sizeof(fiemap_extent)> memory{};
      auto* query = reinterpret_cast<fiemap*>(memory.data());
      query->fm_start = from;
      query->fm_length = to - from;
      query->fm_flags = FIEMAP_FLAG_SYNC;
      query->fm_extent_count = kExtents;
      REQUIRE(::ioctl(fd, FS_IOC_FIEMAP, query) == 0);
      if (query->fm_mapped_extents == 0) break;
      for (const fiemap_extent& extent : std::span(query->fm_extents, query->fm_mapped_extents)) {
        std::uint64_t start = std::max<std::uint64_t>(extent.fe_logical, from);
        std::uint64_t end = std::min<std::uint64_t>(extent.fe_logical + extent.fe_length, to);
        if (extent.fe_flags & FIEMAP_EXTENT_SHARED) sum += end - start;
        from = end;
        last = (extent.fe_flags & FIEMAP_EXTENT_LAST) != 0;
      }
    }
    ::close(fd);
    return sum;
  }
};

/// A file that takes all space there is, until it is gone.
class Filler {
 public:
  explicit Filler(std::string path) : path_(std::move(path)) {
    int fd = ::open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    off_t end = 0;
    for (std::uint64_t size = 64 * kMiB; size >= kBlock;) {
      if (::fallocate(fd, 0, end, static_cast<off_t>(size)) == 0) {
        end += static_cast<off_t>(size);
      } else {
        size /= 2;
      }
    }
    ::close(fd);
  }
  ~Filler() { ::unlink(path_.c_str()); }
  Filler(const Filler&) = delete;
  Filler& operator=(const Filler&) = delete;

 private:
  std::string path_;
};

Content part(const Content& whole, std::uint64_t offset, std::uint64_t length) {
  auto start = whole.begin() + static_cast<std::ptrdiff_t>(offset);
  return {start, start + static_cast<std::ptrdiff_t>(length)};
}

}  // namespace

TEST_CASE_FIXTURE(Disk, "a copy within and between files shares every whole block, else the kernel copies it") {
  constexpr std::uint64_t kSize = 48 * kMiB;
  auto store = make(kSize, "source.img");
  auto other = make(kSize, "target.img");
  Content data = content(32 * kMiB, 1);
  REQUIRE(store->write(0, data));
  REQUIRE(store->flush());
  SnapshotRef snapshot = capture(*store, {{0, 32 * kMiB}});
  calls->written = 0;
  std::uint64_t before = free_bytes();
  // Both start 1536 bytes into a block and end within one.
  constexpr std::uint64_t kFrom = 1536, kTo = 8 * kMiB + 1536, kLength = 24 * kMiB - 512;
  SUBCASE("between") {
    REQUIRE(other->clone(*snapshot, {kFrom, kLength}, kTo, nullptr));
    REQUIRE(other->flush());
    if (shares) CHECK(shared_bytes("target.img", kTo, kTo + kLength) >= kLength - 2 * kBlock);
    CHECK(read_all(*other, {kTo, kLength}) == part(data, kFrom, kLength));
    CHECK(read_all(*other, {0, kTo}) == Content(kTo));
  }
  SUBCASE("within") {
    constexpr std::uint64_t kBehind = 32 * kMiB + 1536, kShort = 8 * kMiB;
    REQUIRE(store->clone(*snapshot, {kFrom, kShort}, kBehind, nullptr));
    REQUIRE(store->flush());
    if (shares) CHECK(shared_bytes("source.img", kBehind, kBehind + kShort) >= kShort - 2 * kBlock);
    CHECK(read_all(*store, {kBehind, kShort}) == part(data, kFrom, kShort));
  }
  CHECK(read_all(*store, {0, 32 * kMiB}) == data);
  if (shares) {
    CHECK(calls->shared == 1);
    CHECK(calls->copied <= 2);
    CHECK(before - free_bytes() < 2 * kMiB);
  } else {
    CHECK(calls->copied > 0);
  }
  CHECK(calls->written == 0);
}

TEST_CASE_FIXTURE(Disk, "what is shared goes apart when either side is written") {
  auto store = make(16 * kMiB, "source.img");
  auto other = make(16 * kMiB, "target.img");
  Content data = content(16 * kMiB, 1);
  REQUIRE(store->write(0, data));
  SnapshotRef snapshot = capture(*store, {{0, 16 * kMiB}});
  REQUIRE(other->clone(*snapshot, {0, 16 * kMiB}, 0, nullptr));
  REQUIRE(store->write(kMiB + 512, content(kMiB, 2)));
  REQUIRE(other->write(5 * kMiB - 512, content(kMiB, 3)));
  Content sources = data;
  Content targets = data;
  Content two = content(kMiB, 2);
  Content three = content(kMiB, 3);
  std::copy(two.begin(), two.end(), sources.begin() + kMiB + 512);
  std::copy(three.begin(), three.end(), targets.begin() + 5 * kMiB - 512);
  CHECK(read_all(*store) == sources);
  CHECK(read_all(*other) == targets);
  CHECK(read_all(*snapshot) == data);
}

TEST_CASE_FIXTURE(Disk, "copies of different distances from a block's start are copied, holes stay holes") {
  auto store = make(64 * kMiB, "source.img");
  auto other = make(64 * kMiB, "target.img");
  REQUIRE(other->write(0, content(64 * kMiB, 5)));
  REQUIRE(store->write(8 * kMiB, content(4 * kMiB, 1)));
  SnapshotRef snapshot = capture(*store, {{0, 64 * kMiB}});
  for (std::uint64_t to : {std::uint64_t{512}, std::uint64_t{0}}) {
    REQUIRE(other->clone(*snapshot, {0, 60 * kMiB}, to, nullptr));
    REQUIRE(other->flush());
    CHECK(read_all(*other, {to, 60 * kMiB}) == read_all(*store, {0, 60 * kMiB}));
    for (std::uint64_t hole : {kMiB, 4 * kMiB, 30 * kMiB}) {
      CHECK_FALSE(other->provisioning(hole)->mapped);
      CHECK(other->provisioning(hole)->length >= 3 * kMiB);
    }
    CHECK(other->allocated_bytes() < 9 * kMiB);
  }
}

TEST_CASE_FIXTURE(Disk, "a full disk is no_space, loses nothing, and is forgotten when there is room again") {
  auto store = make(64 * kMiB, "source.img");
  auto other = make(64 * kMiB, "target.img");
  Content data = content(16 * kMiB, 1);
  REQUIRE(store->write(kMiB, data));
  REQUIRE(other->write(0, content(kMiB, 2)));
  SnapshotRef snapshot = capture(*store, {{kMiB + 512, 15 * kMiB}});
  REQUIRE(store->flush());
  REQUIRE(other->flush());
  std::uint64_t copied = 0;
  {
    Filler filler(folder.file("filler"));
    IoResult<void> written;
    for (std::uint64_t at = 32 * kMiB; written && at < 48 * kMiB; at += 256 * kKiB)
      written = other->write(at, content(256 * kKiB, 3));
    REQUIRE_FALSE(written);
    CHECK(written.error().kind == IoError::Kind::no_space);
    // To another place in a block, so that it has to be copied.
    auto cloned = other->clone(*snapshot, {0, 15 * kMiB}, 2 * kMiB, &copied);
    REQUIRE_FALSE(cloned);
    CHECK(cloned.error().kind == IoError::Kind::no_space);
    CHECK(copied < 15 * kMiB);
    CHECK(read_all(*other, {2 * kMiB, copied}) == part(data, 512, copied));
    CHECK(read_all(*other, {0, kMiB}) == content(kMiB, 2));
    CHECK(read_all(*other, {20 * kMiB, kMiB}) == Content(kMiB));
    CHECK(read_all(*store, {kMiB, 16 * kMiB}) == data);
    CHECK(read_all(*snapshot) == part(data, 512, 15 * kMiB));
  }
  CHECK(other->flush());
  REQUIRE(other->clone(*snapshot, {0, 15 * kMiB}, 2 * kMiB, &copied));
  CHECK(read_all(*other, {2 * kMiB, 15 * kMiB}) == part(data, 512, 15 * kMiB));
  CHECK(other->write(32 * kMiB, content(16 * kMiB, 3)));
  CHECK(other->flush());
}

TEST_CASE_FIXTURE(Disk, "no room for old data costs the snapshot, not the write") {
  auto store = make(16 * kMiB, "source.img", MemoryPool::create(kMiB));
  REQUIRE(store->write(0, content(16 * kMiB, 1)));
  SnapshotRef snapshot = capture(*store, {{0, 16 * kMiB}});
  REQUIRE(store->write(0, content(8 * kMiB, 2)));
  base::Segments out;
  auto read = snapshot->read({0, 512}, out);
  REQUIRE_FALSE(read);
  CHECK(read.error().kind == IoError::Kind::snapshot_lost);
  CHECK(read_all(*store, {0, 8 * kMiB}) == content(8 * kMiB, 2));
}
