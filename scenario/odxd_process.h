// Programs that are started, an odxd above all, and end with us. Thread: main's.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace scenario {

/// A child of ours.
struct Process {
  pid_t id = -1;

  /// The wait status.
  int wait() const;
  bool ended(int& status) const;
};

/// Ends with us, whatever ends us. `output` becomes its standard output, -1: ours. `own_group`: what a terminal sends
/// does not reach it. What cannot be executed ends with 126 or 127, and says why with `blame` before it. Throws
/// std::runtime_error: there is no process to be had.
Process start_program(const std::vector<std::string>& words, int output, bool own_group, const std::string& blame);

/// 128 and the signal's number, as a shell says it, or what it ended with.
int exit_code_of(int wait_status);

/// What odxd --json says on standard output until it is ready.
struct Announced {
  std::vector<std::string> urls;  ///< of logical units
  bool ready = false;
};
/// An odxd, and what it announced.
struct StartedOdxd {
  Process process;
  Announced announced;
};
StartedOdxd start_odxd(const std::string& program, std::vector<std::string> options, const std::string& blame);

/// The folder of this program; empty when it cannot be told.
std::string own_folder();

/// The odxd that belongs to this odx: beside it, where the build leaves it, or what PATH has.
std::string find_odxd();

/// A folder, which only its owner may enter; gone with the object. Throws std::runtime_error.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::string& path() const { return path_; }
  /// Where an odxd of ours listens for its control interface.
  std::string control_url() const { return "unix:" + path_ + "/control"; }

 private:
  std::string path_;
};

}  // namespace scenario
