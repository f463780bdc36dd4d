// What processes used of the processors.
#pragma once

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

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

/// How often the threads of a process have left a processor.
struct Switches {
  std::uint64_t slept = 0;      ///< because they had nothing to do, or waited for a mutex
  std::uint64_t preempted = 0;  ///< because somebody else was to run
};
inline Switches switches_of(int pid) {
  Switches sum;
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone)) {
    std::ifstream file(task.path() / "status");
    std::string name;
    while (file >> name) {
      std::uint64_t count = 0;
      if (name == "voluntary_ctxt_switches:" && file >> count) sum.slept += count;
      if (name == "nonvoluntary_ctxt_switches:" && file >> count) sum.preempted += count;
    }
  }
  return sum;
}

/// Time all processors of the machine have had nothing to do, in seconds; it comes in hundredths of one.
inline double idle_cpu_seconds() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0;
  file >> name >> user >> nice >> system >> idle >> waiting;
  return (idle + waiting) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace bench
