#include "target/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <cstdlib>

#include "scsi/profiles.h"
#include "target/config_clock.h"
#include "target/config_control.h"
#include "target/config_profile.h"
#include "target/config_reader.h"

namespace target {
namespace {

constexpr const char* kDescription =
    "odxd serves a storage array over iSCSI whose disks can copy among themselves on a host's request (ODX:\n"
    "POPULATE TOKEN and WRITE USING TOKEN).";

constexpr const char* kFooter =
    R"(
Stores:
  memory:SIZE   thin, in memory, gone when odxd ends: memory:64G
  file:PATH     a raw disk image or block device: file:disk.img; with ",size=SIZE" behind it a file that is not there
                is created, with ",ro" it is only read
  They become the LUNs 0, 1, 2... of one target. Everything else is said in a file: --config (docs/odxd.toml.md).

Output:
  On standard output one line "lun iscsi://ADDR:PORT/IQN/N" for each LUN, then "ready" when logins are served; with
  --json one object a line instead; with --control also a line "control URL". The log goes to standard error.

Signals:
  SIGTERM, SIGINT and SIGHUP ask the sessions to log out, wait up to 3 seconds, flush the stores and end; a second
  one ends odxd at once. SIGUSR1 makes odxd report its tokens, copies and memory. SIGUSR2 makes it read its
  configuration file again: targets and LUNs come and go, and their sizes, access states (ALUA) and who may log in
  change.

Exit codes:
  0  ended by a signal, everything flushed; or --check, --help, --version had no complaint
  1  a portal or a store could not be opened, or a flush failed
  2  the command line or the configuration is wrong: the first line on standard error says where

Examples:
  odxd memory:64G memory:64G
  odxd --portal '[::1]:0' file:disk.img
  odxd --profile 3par-like memory:64G memory:64G
  odxd --config array.toml --check
)";

struct Options {
  std::vector<std::string> stores;
  std::string config_file;
  std::vector<std::string> portals;
  std::string profile;
  std::string id;
  std::string memory_limit;
  std::optional<unsigned> threads;
  std::string clock;
  std::string log_level;
  std::vector<std::string> controls;
  bool check = false;
  bool json = false;
};

void declare(CLI::App& app, Options& options) {
  app.set_version_flag("--version", "odxd " ODX_VERSION);
  app.footer(kFooter);

  app.add_option("store", options.stores, "What LUN 0, 1, 2... keep their blocks in")->type_name("STORE");
  app.add_option("--config", options.config_file, "A TOML file that says everything; not together with stores")
      ->type_name("FILE");
  app.add_option(
         "--portal", options.portals,
         "Listen here instead of 127.0.0.1:3260 or what the file says; may be repeated; port 0 picks a free one; "
         "GROUP is the portal group, 1 if not said")
      ->type_name("ADDR:PORT[,GROUP]")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--profile", options.profile,
                 "Whose limits the array has: instant, copying, 3par-like... (docs/profiles.md); not together with "
                 "--config")
      ->type_name("NAME");
  app.add_option("--id", options.id, "The array's id: names, serials and NAA designators follow from it")
      ->type_name("ID");
  app.add_option("--memory-limit", options.memory_limit,
                 "What all memory stores may hold; default: half of what there is")
      ->type_name("SIZE");
  app.add_option("--threads", options.threads,
                 "Event loops that connections are spread over, each with a thread of its own; default: one for two "
                 "processors, at most 8")
      ->envname("ODX_THREADS")
      ->type_name("NUMBER")
      ->check(CLI::Range(1U, kMaxThreads));
  app.add_option("--clock", options.clock,
                 "How time goes for tokens and copies: real, manual (only when told to) or scaled:FACTOR (times as "
                 "fast); default: real")
      ->type_name("MODE");
  app.add_option("--log-level", options.log_level, "debug, info, warning, error or off; default: info")
      ->type_name("LEVEL");
  app.add_option(
         "--control", options.controls,
         "Be steered there (docs/control.md): a Unix socket, or a TCP port with the token in ODX_CONTROL_TOKEN; "
         "may be given twice; port 0 picks a free one")
      ->type_name("unix:PATH|ADDR:PORT")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_flag("--check", options.check, "Judge the command line and the configuration, and end");
  app.add_flag("--json", options.json, "One JSON object a line on standard output");
}

/// What the command line says wins over the file.
void apply(const Options& options, Config& config) {
  constexpr const char* kPlace = "odxd";
  if (!options.portals.empty()) config.portals.clear();
  for (const std::string& portal : options.portals) config.portals.push_back(parse_portal(portal, kPlace, "--portal"));
  for (const std::string& control : options.controls)
    add_control(control, std::getenv("ODX_CONTROL_TOKEN"), config.control);
  if (!options.profile.empty()) {
    if (!options.config_file.empty())
      throw ConfigError(kPlace, "both --profile and --config; expected the profile in the file");
    auto profile = scsi::find_profile(options.profile);
    if (!profile)
      throw ConfigError(kPlace, fmt::format("--profile is \"{}\"; expected {}", options.profile, profile_rule()));
    config.arrays.front().profile = std::move(*profile);
  }
  if (!options.id.empty()) {
    if (!valid_array_id(options.id))
      throw ConfigError(kPlace, fmt::format("--id is \"{}\"; expected {}", options.id, kArrayIdRule));
    if (config.arrays.size() > 1)
      throw ConfigError(kPlace, "--id together with several arrays; expected their ids in the file");
    config.arrays.front().id = options.id;
  }
  if (!options.memory_limit.empty()) {
    config.memory_limit = parse_size(options.memory_limit);
    if (!config.memory_limit)
      throw ConfigError(kPlace,
                        fmt::format("--memory-limit is \"{}\"; expected a size such as 8G", options.memory_limit));
  }
  if (options.threads) config.threads = options.threads;
  if (!options.clock.empty()) {
    auto mode = parse_clock_mode(options.clock);
    if (!mode) throw ConfigError(kPlace, fmt::format("--clock is \"{}\"; expected {}", options.clock, kClockModeRule));
    config.clock = *mode;
  }
  if (!options.log_level.empty()) {
    auto level = parse_log_level(options.log_level);
    if (!level)
      throw ConfigError(
          kPlace, fmt::format("--log-level is \"{}\"; expected debug, info, warning, error or off", options.log_level));
    config.log_level = *level;
  }
}

}  // namespace

std::string odxd_version() { return ODX_VERSION; }

std::variant<CommandLine, ExitCode> parse_command_line(int argc, const char* const* argv) {
  CLI::App app(kDescription, "odxd");
  Options options;
  declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& said) {
    app.exit(said);
    return kExitGood;
  } catch (const CLI::ParseError& error) {
    throw ConfigError("odxd", fmt::format("{}; --help explains", error.what()));
  }
  if (options.stores.empty() && options.config_file.empty())
    throw ConfigError("odxd",
                      "nothing to serve; expected stores (memory:64G file:disk.img) or --config FILE; --help explains");
  if (!options.stores.empty() && !options.config_file.empty())
    throw ConfigError("odxd",
                      "both stores and --config; expected one of them: the file's LUNs are written in the file");
  CommandLine line;
  line.config_file = options.config_file;
  line.check_only = options.check;
  line.json = options.json;
  auto read = [options] {
    const bool short_form_given = options.config_file.empty();
    Config config = short_form_given ? short_form(options.stores) : load_config(options.config_file);
    apply(options, config);
    check_portal_groups(config, short_form_given ? "odxd" : options.config_file);
    return config;
  };
  line.config = read();
  if (!options.config_file.empty()) line.read_again = std::move(read);
  return line;
}

}  // namespace target
