// odx: the other end. Behaves as a Windows host does towards a disk.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "cli/exit_code.h"
#include "cli/sub_commands.h"

namespace {

constexpr const char* kFooter = R"(
URLs are libiscsi's: iscsi://[user[%password]@]host[:port]/target-name/lun
A file on a volume is URL#[PARTITION]/PATH[:STREAM]; anything else is a path of this machine.
For mutual CHAP add ?target_user=NAME&target_password=SECRET.

Options of every sub-command (--json, --commands, --initiator, --login-timeout, --command-timeout): odx --help

Exit codes: 0 done, 1 failed (the NTSTATUS says why), 2 wrong command line, 3 no session with the
target, 4 the disk does not offer ODX.

Examples:
  odx probe iscsi://127.0.0.1/iqn.2026-11.example:disks/0
  odx copy  iscsi://127.0.0.1/iqn.2026-11.example:disks/0 iscsi://127.0.0.1/iqn.2026-11.example:disks/1
  odx cp --explain iscsi://127.0.0.1/iqn.2026-11.example:disks/0#/a iscsi://127.0.0.1/iqn.2026-11.example:disks/1#/
  odx offload-write iscsi://127.0.0.1/iqn.2026-11.example:disks/1 --token zero --length 1G
  odx run memory:10G memory:10G -- ./my-tests    # with the disks' URLs in ISCSI_URL_0 and ISCSI_URL_1)";

/// "odx fsctl offload-read": what was asked for.
std::string name_of(const CLI::App& app) {
  std::string name = "odx";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    name += " " + at->get_name();
  }
  return name;
}

int run_odx(int argc, char** argv) {
  CLI::App app("odx: copies disks over iSCSI the way Windows does, without moving the bytes");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", "odx " ODX_VERSION);
  app.fallthrough();
  cli::CommonOptions common;
  app.add_flag("--json", common.json, "one JSON document on standard output instead of text");
  app.add_flag("--commands", common.show_commands, "in text, the table of commands too (JSON always has it)");
  app.add_option("--initiator", common.initiator_name, "our iSCSI name")->capture_default_str();
  app.add_option("--login-timeout", common.login_timeout_s, "seconds to wait for a connection and for a login")
      ->capture_default_str();
  app.add_option("--command-timeout", common.command_timeout_s, "seconds to wait for each command (Windows: 60)")
      ->capture_default_str();
  // What `odx run` runs stands behind "--" and is not ours to read.
  std::vector<std::string> command;
  char** const mark = std::find_if(argv, argv + argc, [](const char* word) { return std::string_view(word) == "--"; });
  if (argc > 1 && std::string_view(argv[1]) == "run" && mark != argv + argc) {
    command.assign(mark + 1, argv + argc);
    argc = static_cast<int>(mark - argv);
  }
  cli::Run run;
  cli::add_probe(app, common, run);
  cli::add_copy(app, common, run);
  cli::add_offload_read(app, common, run);
  cli::add_offload_write(app, common, run);
  cli::add_cp(app, common, run);
  cli::add_fsctl(app, common, run);
  cli::add_ls(app, common, run);
  cli::add_extents(app, common, run);
  cli::add_captive_run(app, command, run);
  cli::add_scenario(app, common, run);
  cli::add_ctl(app, common, run);
  cli::add_completion(app, common, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> unknown = app.remaining();
    if (error.get_name() == "RequiredError" && app.get_subcommands().empty() && !unknown.empty()) {
      fmt::print(stderr,
                 "{} is neither a sub-command nor an option; sub-commands are probe, copy, offload-read, "
                 "offload-write, cp, fsctl, ls, extents, run, scenario, ctl and completion\n",
                 unknown.front());
      return cli::kUsage;
    }
    return app.exit(error) == 0 ? cli::kOk : cli::kUsage;
  }
  cli::Report report = run();
  if (report.silent) return report.exit_code;
  report.body["program"] = name_of(app);
  fmt::print("{}", common.json ? cli::render_json(report) : cli::render_text(report));
  return report.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // libiscsi writes to sockets that may be gone
  try {
    return run_odx(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "odx: {}\n", error.what());
    return cli::kFailed;
  }
}
