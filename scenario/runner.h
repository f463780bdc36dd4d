// Runs scenarios of many files, several at a time, and tells how they ended.
//
// Each scenario runs in a process of its own: it shares nothing with the others, and one that hangs or crashes is ended
// and reported like any other failure. Thread: main's; no other may be running, as processes are forked.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "scenario/script.h"

namespace scenario {

struct RunOptions {
  ScriptOptions script{};
  std::string filter{};                       ///< only scenarios whose "FILE: NAME" contains it; empty: all
  unsigned jobs = 1;                          ///< processes at once
  std::chrono::milliseconds timeout{60'000};  ///< of the system's time, for one scenario
};

/// A scenario that was chosen.
struct Selected {
  std::size_t script = 0;  ///< index into Selection::scripts
  std::string name;
};
struct Selection {
  std::vector<Script> scripts;
  std::vector<Selected> scenarios;
};

/// The files of `paths`, and all .lua files of the folders among them, in the order of their names; and their
/// scenarios that the filter lets through. Throws ScriptError: a path that cannot be read, a script that is wrong.
Selection select(const std::vector<std::string>& paths, const RunOptions& options);

struct Result {
  std::string file;
  std::string name;
  Verdict verdict{};
  double seconds = 0;  ///< of the system's time
};
/// In the order of `selection`.
std::vector<Result> run(const Selection& selection, const RunOptions& options);

struct Totals {
  std::size_t passed = 0, failed = 0, skipped = 0;
};
Totals totals(const std::vector<Result>& results);

}  // namespace scenario
