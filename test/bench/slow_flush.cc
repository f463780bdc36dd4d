// Preloaded (LD_PRELOAD), it makes every flush of a file take $SLOW_FLUSH_US microseconds, 1000 without it: a disk
// whose cache takes a while to empty, under a file on tmpfs. For the benchmarks, and for any program that calls the C
// library.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace {

void wait() {
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
