// Counts what a program asks of its libraries: preloaded into it, so that what is counted is the program people run.
//
//     ODX_COST_FILE=FILE LD_PRELOAD=libcost_counter.so odxd ...     FILE: bench::Costs, written as it counts
//
// Counted: allocations, bytes copied by memcpy and memmove in pieces of kData and more (copies that the compiler has
// made itself are not seen: those are small), locked mutexes, receives, sends and waits for events.
#include "cost_counter.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>

#include "preloaded.h"

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {

constexpr std::size_t kData = 512;

bench::Costs before_the_file{};
bench::Costs* costs = &before_the_file;

void count(std::uint64_t bench::Costs::* what, std::uint64_t how_much = 1) {
  __atomic_fetch_add(&(costs->*what), how_much, __ATOMIC_RELAXED);
}

[[gnu::constructor]] void open_file() { costs = bench::counts_in_file("ODX_COST_FILE", costs); }

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
  count(&bench::Costs::allocations);
  return __libc_malloc(size);
}

void* calloc(std::size_t number, std::size_t size) {
  count(&bench::Costs::allocations);
  return __libc_calloc(number, size);
}

void* realloc(void* memory, std::size_t size) {
  count(&bench::Costs::allocations);
  return __libc_realloc(memory, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count(&bench::Costs::allocations);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  count(&bench::Costs::allocations);
  *memory = __libc_memalign(alignment, size);
  return *memory != nullptr ? 0 : ENOMEM;
}

// The copies themselves without memcpy, which is this.
static void* copy_up(void* to, const void* from, std::size_t size) {
  void* at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size)::"memory");
  return to;
}

void* memcpy(void* to, const void* from, std::size_t size) {
  if (size >= kData) count(&bench::Costs::copied_bytes, size);
  return copy_up(to, from, size);
}

void* memmove(void* to, const void* from, std::size_t size) {
  if (size >= kData) count(&bench::Costs::copied_bytes, size);
  if (to <= from || static_cast<const std::byte*>(from) + size <= to) return copy_up(to, from, size);
  auto* last = static_cast<std::byte*>(to) + size - 1;
  const auto* source = static_cast<const std::byte*>(from) + size - 1;
  asm volatile("std\n rep movsb\n cld" : "+D"(last), "+S"(source), "+c"(size)::"memory");
  return to;
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static auto* const real = bench::next<int(pthread_mutex_t*)>("pthread_mutex_lock");
  count(&bench::Costs::locks);
  return real(mutex);
}

ssize_t recv(int fd, void* buffer, std::size_t size, int flags) {
  static auto* const real = bench::next<ssize_t(int, void*, std::size_t, int)>("recv");
  count(&bench::Costs::receives);
  return real(fd, buffer, size, flags);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  static auto* const real = bench::next<ssize_t(int, msghdr*, int)>("recvmsg");
  count(&bench::Costs::receives);
  return real(fd, message, flags);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static auto* const real = bench::next<ssize_t(int, const msghdr*, int)>("sendmsg");
  count(&bench::Costs::sends);
  return real(fd, message, flags);
}

int epoll_wait(int fd, epoll_event* events, int most, int timeout) {
  static auto* const real = bench::next<int(int, epoll_event*, int, int)>("epoll_wait");
  count(&bench::Costs::waits);
  return real(fd, events, most, timeout);
}
}
