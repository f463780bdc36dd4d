// Preloaded (LD_PRELOAD), it makes every flush of a file take $SLOW_FLUSH_US microseconds, 1000 without it, one after
// the other: a disk whose cache takes a while to empty, under a file on tmpfs. That says that it is ext4, so that
// nobody takes it for one that has nothing to wait for. For the benchmarks, and for any program that calls the C
// library.
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <mutex>

namespace {

void wait() {
  static std::mutex disk;
  const std::scoped_lock alone(disk);
  static const long nanoseconds = [] {
    const char* text = std::getenv("SLOW_FLUSH_US");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    return (text ? std::atol(text) : 1000L) * 1000;
  }();
  timespec left{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  while (nanosleep(&left, &left) != 0) {
  }
}

}  // namespace

extern "C" int fdatasync(int fd) {
  wait();
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

extern "C" int fsync(int fd) {
  wait();
  return static_cast<int>(syscall(SYS_fsync, fd));
}

// Built as all of odx is, with _FILE_OFFSET_BITS=64: this is the C library's fstatfs64.
extern "C" int fstatfs(int fd, struct statfs* file_system) noexcept {
  const auto result = static_cast<int>(syscall(SYS_fstatfs, fd, file_system));
  if (result == 0 && file_system->f_type == TMPFS_MAGIC) file_system->f_type = EXT4_SUPER_MAGIC;
  return result;
}
