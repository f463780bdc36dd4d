// What libraries that count from within another program have in common: the function they stand before, and a file of
// counts that whoever started the program reads meanwhile.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace bench {

/// The function of that name that would be called without the library.
template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

/// `Counts` in the file that the environment variable names; `otherwise` where it names none.
/// Aborts when the file cannot be had: nothing else would tell of it.
template <typename Counts>
Counts* counts_in_file(const char* variable, Counts* otherwise) {
  const char* path = std::getenv(variable);
  if (path == nullptr) return otherwise;
  const int fd = ::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, sizeof(Counts)) != 0) std::abort();
  void* memory = ::mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory == MAP_FAILED) std::abort();
  return static_cast<Counts*>(memory);
}

}  // namespace bench
