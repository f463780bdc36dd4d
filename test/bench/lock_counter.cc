// Counts how the event loops of a program share: preloaded into it, so that what is counted is the program people run.
//
//     ODX_LOCKS_FILE=FILE LD_PRELOAD=liblock_counter.so odxd ...     FILE: bench::Locks, written as it counts
//
// Counted are the mutexes of threads that wait for events, which is what loops do and workers do not: once sessions
// only read and write, the turn's is all there is (docs/decisions/0010). Two looks at the clock for each mutex are the
// price, some 50 ns, half of them while it is held.
#include "lock_counter.h"

#include <pthread.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <ctime>

#include "preloaded.h"

namespace {

bench::Locks before_the_file{};
bench::Locks* locks = &before_the_file;

/// A mutex that this thread has.
struct Held {
  pthread_mutex_t* mutex;
  std::uint64_t since;
};

thread_local bool waits_for_events = false;
thread_local std::array<Held, 8> held{};
thread_local std::size_t held_count = 0;

void count(std::uint64_t bench::Locks::* what, std::uint64_t how_much) {
  __atomic_fetch_add(&(locks->*what), how_much, __ATOMIC_RELAXED);
}

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

[[gnu::constructor]] void open_file() { locks = bench::counts_in_file("ODX_LOCKS_FILE", locks); }

}  // namespace

extern "C" {

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static auto* const real = bench::next<int(pthread_mutex_t*)>("pthread_mutex_lock");
  static auto* const try_it = bench::next<int(pthread_mutex_t*)>("pthread_mutex_trylock");
  if (!waits_for_events) return real(mutex);
  std::uint64_t since = 0;
  if (try_it(mutex) != 0) {
    const std::uint64_t before = now_ns();
    if (const int error = real(mutex); error != 0) return error;
    since = now_ns();
    count(&bench::Locks::waited, 1);
    count(&bench::Locks::waited_ns, since - before);
  } else {
    since = now_ns();
  }
  count(&bench::Locks::taken, 1);
  if (held_count < held.size()) held[held_count++] = {mutex, since};
  return 0;
}

int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  static auto* const real = bench::next<int(pthread_mutex_t*)>("pthread_mutex_unlock");
  for (std::size_t i = held_count; i-- > 0;) {
    if (held[i].mutex != mutex) continue;
    count(&bench::Locks::held_ns, now_ns() - held[i].since);
    held[i] = held[--held_count];
    break;
  }
  return real(mutex);
}

int epoll_wait(int fd, epoll_event* events, int most, int timeout) {
  static auto* const real = bench::next<int(int, epoll_event*, int, int)>("epoll_wait");
  waits_for_events = true;
  return real(fd, events, most, timeout);
}
}
