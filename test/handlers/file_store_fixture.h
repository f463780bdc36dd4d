// A file store whose system calls do as they are told, for tests of file stores.
#pragma once

#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>

#include "handlers/file_store.h"
#include "store_kinds.h"

namespace handlers::file_test {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr off_t kBlock = 4096;  // a file system's

/// System calls that do as they are told.
class Calls final : public FileCalls {
 public:
  // Errno values; 0: works.
  std::atomic<int> read_error{0}, write_error{0}, sync_error{0}, punch_error{0};
  std::atomic<int> clone_error{EOPNOTSUPP}, copy_error{0};
  std::atomic<std::size_t> most_bytes{SIZE_MAX};  ///< per transfer; less than asked also interrupts every second one
  std::atomic<std::uint64_t> writable_bytes{UINT64_MAX};
  std::atomic<off_t> shared_bytes{0};
  std::atomic<int> syncs{0}, punches{0}, clones{0}, copies{0}, writes{0};
  std::atomic<bool> acts{false};        ///< while reading, once
  std::function<void()> while_reading;  ///< what it does then

  ssize_t pread(int fd, void* buffer, std::size_t count, off_t offset) override {
    if (fails(read_error) || interrupted()) return -1;
    if (acts.exchange(false)) while_reading();
    return FileCalls::pread(fd, buffer, std::min(count, most_bytes.load()), offset);
  }
  ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset) override {
    ++writes;
    if (fails(write_error) || interrupted()) return -1;
    if (writable_bytes == 0) return errno = ENOSPC, -1;
    count = std::min<std::uint64_t>({count, most_bytes.load(), writable_bytes.load()});
    if (writable_bytes != UINT64_MAX) writable_bytes -= count;
    return FileCalls::pwrite(fd, buffer, count, offset);
  }
  int fdatasync(int fd) override {
    ++syncs;
    if (interrupted() || fails(sync_error)) return -1;
    return FileCalls::fdatasync(fd);
  }
  int fallocate(int fd, int mode, off_t offset, off_t length) override {
    ++punches;
    return fails(punch_error) || interrupted() ? -1 : FileCalls::fallocate(fd, mode, offset, length);
  }
  int clone_range(int from, off_t from_offset, off_t length, int to, off_t to_offset) override {
    ++clones;
    if (fails(clone_error)) return -1;
    // Stands in for a file system that shares extents, holes included, in whole blocks.
    if (from_offset % kBlock != 0 || to_offset % kBlock != 0 || length % kBlock != 0) return errno = EINVAL, -1;
    if (FileCalls::fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, to_offset, length) != 0) return -1;
    for (off_t end = from_offset + length, at = from_offset; (at = ::lseek(from, at, SEEK_DATA)) >= 0 && at < end;) {
      off_t target = to_offset + at - from_offset;
      off_t run = std::min(::lseek(from, at, SEEK_HOLE), end) - at;
      if (ssize_t count = ::copy_file_range(from, &at, to, &target, static_cast<std::size_t>(run), 0); count <= 0)
        return -1;
    }
    shared_bytes += length;
    return 0;
  }
  ssize_t copy_file_range(int from, off_t from_offset, int to, off_t to_offset, std::size_t length) override {
    ++copies;
    if (fails(copy_error) || interrupted()) return -1;
    return FileCalls::copy_file_range(from, from_offset, to, to_offset, std::min(length, most_bytes.load()));
  }

 private:
  static bool fails(const std::atomic<int>& error) { return error != 0 && (errno = error, true); }
  bool interrupted() {
    bool yes = most_bytes != SIZE_MAX && ++calls_ % 2 == 0;
    if (yes) errno = EINTR;
    return yes;
  }
  std::atomic<int> calls_{0};
};

struct Fixture {
  TemporaryFolder folder;
  std::shared_ptr<Calls> calls = std::make_shared<Calls>();
  base::Ref<MemoryPool> pool = MemoryPool::create();
  std::string path = folder.file("disk.img");

  std::unique_ptr<FileStore> make(std::uint64_t size, const std::string& name = "disk.img") {
    FileStoreOptions options;
    options.path = folder.file(name);
    options.create_size = size;
    options.pool = pool;
    options.calls = calls;
    return std::make_unique<FileStore>(options);
  }
  /// Bytes of data; what says where they are is counted, too.
  std::uint64_t used() const { return pool->budget().used() - pool->budget().structure(); }

  /// Overwrites every second block.
  static void scatter(FileStore& store, std::uint64_t blocks, unsigned seed, std::uint64_t first = 0) {
    for (std::uint64_t i = 0; i < blocks; ++i)
      REQUIRE(store.write((2 * i + first) * 4096, content(4096, static_cast<unsigned>(seed + i))));
  }
  /// Reclaims all, one at a time; how many it took.
  int reclaim_all() const {
    int slices = 0;
    for (bool more = true; more; ++slices) {
      std::uint64_t before = used();
      more = pool->reclaim(1);
      CHECK(before - used() <= kSlice);
    }
    return slices;
  }
  static constexpr std::uint64_t kSlice = 64 * 4096;  ///< bytes, of scattered blocks
};

inline IoError::Kind kind_of(const IoResult<void>& result) {
  REQUIRE_FALSE(result);
  CHECK_FALSE(result.error().reason.empty());
  return result.error().kind;
}

inline IoResult<void> try_read(const Snapshot& snapshot) {
  base::Segments out;
  return snapshot.read({0, snapshot.size_bytes()}, out);
}

}  // namespace handlers::file_test
