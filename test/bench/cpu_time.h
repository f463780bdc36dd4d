// What processes used of the processors.
#pragma once

#include <fmt/format.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

namespace bench {

/// Of this process, in seconds.
inline double own_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Time all threads of a process have run, in seconds (the first number of each schedstat, in nanoseconds).
inline double cpu_seconds_of(int pid) {
  double sum = 0;
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone)) {
    std::ifstream file(task.path() / "schedstat");
    double nanoseconds = 0;
    file >> nanoseconds;
    sum += nanoseconds / 1e9;
  }
  return sum;
}

}  // namespace bench
