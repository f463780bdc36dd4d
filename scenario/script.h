// A file with scenarios: which there are, and one of them run in a world of its own.
//
// A script is Lua; each `scenario(NAME, function(t) ... end)` in it is one test. To run one, the whole file is executed
// in a fresh state, and then that function: no scenario sees what another left. Thread: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "scenario/config_table.h"
#include "scenario/lua_state.h"
#include "scenario/world.h"

namespace scenario {

struct ScriptOptions {
  ScriptLimits limits{};
  FileAccess files{};
  std::uint64_t seed = 1;
  std::map<std::string, std::string> parameters{};  ///< `param` of scripts
  LiveOptions live{};
  bool journal = false;  ///< Verdict::journal is wanted
};

/// A file as it was read.
struct Script {
  std::string name;  ///< what errors call it
  std::string text;
};
/// Throws ScriptError: it cannot be read.
Script load_script(const std::string& path);

/// The names of its scenarios, in their order. Throws ScriptError, "FILE:LINE: why".
std::vector<std::string> list_scenarios(const Script& script, const ScriptOptions& options);

/// How one scenario ended.
struct Verdict {
  enum class Kind { passed, failed, skipped } kind = Kind::passed;
  std::string message{};    ///< why not; "FILE:LINE: what"
  std::string traceback{};  ///< the script's calls
  std::vector<std::string> timeline{};
  double virtual_seconds = 0;          ///< that went by in the scenario
  std::vector<std::string> journal{};  ///< of all arrays, each event as JSON, where ScriptOptions asks for it
};
/// Never throws for what the script does.
Verdict run_scenario(const Script& script, const std::string& scenario, const ScriptOptions& options);

}  // namespace scenario
