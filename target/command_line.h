// odxd's command line. Thread: the one that starts the program.
#pragma once

#include <functional>
#include <string>
#include <variant>

#include "target/config.h"

namespace target {

/// How the process ends; part of its documented interface (docs/odxd.toml.md).
enum ExitCode : int {
  kExitGood = 0,
  kExitFailed = 1,  ///< it could not start or not end well: a port, a store, a flush
  kExitUsage = 2,   ///< the command line or the configuration cannot be used
};

struct CommandLine {
  Config config;
  std::string config_file{};  ///< empty: the short form
  /// The configuration that the file says by now, with what the command line says winning as before. Throws
  /// ConfigError. Null with the short form.
  std::function<Config()> read_again{};
  bool check_only = false;
  bool json = false;
};

/// "0.1.0".
std::string odxd_version();

/// What to do, or the exit code when everything is said already (--help, --version, a usage error). Throws ConfigError.
std::variant<CommandLine, ExitCode> parse_command_line(int argc, const char* const* argv);

}  // namespace target
