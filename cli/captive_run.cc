// `odx run`: an array for as long as one command needs it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <array>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "cli/exit_code.h"
#include "cli/sub_commands.h"
#include "scenario/odxd_process.h"

namespace cli {
namespace {

using scenario::exit_code_of;
using scenario::Process;

volatile std::sig_atomic_t g_child = 0;  // whom a signal that ends us ends

struct Options {
  std::vector<std::string> stores;
  std::string config, profile, id, memory_limit, odxd, log_level = "warning";
};

std::vector<std::string> array_options(const Options& options, const std::string& control) {
  std::vector<std::string> words{"--portal", "127.0.0.1:0", "--control", control, "--log-level", options.log_level};
  const std::array<std::pair<const char*, const std::string*>, 4> values{{{"--config", &options.config},
                                                                          {"--profile", &options.profile},
                                                                          {"--id", &options.id},
                                                                          {"--memory-limit", &options.memory_limit}}};
  for (const auto& [name, value] : values)
    if (!value->empty()) words.insert(words.end(), {name, *value});
  words.insert(words.end(), options.stores.begin(), options.stores.end());
  return words;
}

/// ISCSI_URL is the first disk, ISCSI_URLS all of them, ISCSI_URL_0, ISCSI_URL_1... each.
void export_urls(const std::vector<std::string>& urls) {
  ::setenv("ISCSI_URL", urls.front().c_str(), 1);
  ::setenv("ISCSI_URLS", fmt::format("{}", fmt::join(urls, " ")).c_str(), 1);
  for (std::size_t i = 0; i < urls.size(); ++i) ::setenv(fmt::format("ISCSI_URL_{}", i).c_str(), urls[i].c_str(), 1);
}

/// For the command, `odx` is this one, installed or not.
void put_odx_in_path() {
  const char* path = std::getenv("PATH");
  ::setenv("PATH", fmt::format("{}:{}", scenario::own_folder(), path ? path : "/usr/bin:/bin").c_str(), 1);
}

/// SIGTERM and SIGHUP go on to the command; SIGINT it has from the terminal already.
void pass_signals_to(const Process& command) {
  g_child = command.id;
  struct sigaction action{};
  action.sa_handler = [](int signal) { ::kill(g_child, signal); };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGINT, SIG_IGN);
}

int captive_run(const Options& options, const std::vector<std::string>& command) {
  const scenario::TemporaryFolder folder;
  const std::string control = folder.control_url();
  const auto [array, announced] = scenario::start_odxd(options.odxd.empty() ? scenario::find_odxd() : options.odxd,
                                                       array_options(options, control), "odx run");
  if (!announced.ready || announced.urls.empty()) {
    ::kill(array.id, SIGTERM);
    const int status = exit_code_of(array.wait());
    fmt::print(stderr, "odx run: the array {}, so {} was not run\n",
               announced.ready ? "has no logical unit" : fmt::format("did not start (odxd ended with {})", status),
               command.front());
    return status == kUsage ? kUsage : kFailed;
  }
  export_urls(announced.urls);
  ::setenv("ODX_CONTROL", control.c_str(), 1);
  put_odx_in_path();
  const Process child = scenario::start_program(command, -1, false, "odx run");
  pass_signals_to(child);
  const int outcome = exit_code_of(child.wait());
  int status = 0;
  const bool gone = array.ended(status);
  if (!gone) {
    ::kill(array.id, SIGTERM);
    status = array.wait();
  }
  if (gone || exit_code_of(status) != 0) {
    fmt::print(stderr, "odx run: odxd ended {}with {}\n", gone ? "before the command did, " : "", exit_code_of(status));
    if (outcome == 0) return kFailed;
  }
  return outcome;
}

}  // namespace

void add_captive_run(CLI::App& app, const std::vector<std::string>& command, Run& run) {
  CLI::App* sub = app.add_subcommand(
      "run", "Serve disks on a free port while a command runs: odx run [OPTIONS] [STORE...] -- COMMAND [ARGUMENT...]");
  sub->footer(
      "\nCOMMAND finds the first disk's URL in ISCSI_URL, all in ISCSI_URLS, each in ISCSI_URL_0, ISCSI_URL_1... and "
      "the\n"
      "array's control interface in ODX_CONTROL, where odx ctl looks; odx is in its PATH. The array listens on "
      "127.0.0.1\n"
      "only and ends with COMMAND, whose exit code is odx's (128 and the signal's number when a signal ended it, 127\n"
      "when there is no such program).\n\n"
      "Example:\n  odx run memory:10G memory:10G -- sh -c 'odx copy $ISCSI_URL_0 $ISCSI_URL_1'");
  auto options = std::make_shared<Options>();
  sub->add_option("store", options->stores, "memory:SIZE or file:PATH[,size=SIZE][,ro], as for odxd")
      ->type_name("STORE");
  sub->add_option("--config", options->config, "an odxd.toml instead of stores; its portals are not used");
  sub->add_option("--profile", options->profile, "whose limits the array has (docs/profiles.md)");
  sub->add_option("--id", options->id, "the array's id: names, serials and NAA designators follow from it");
  sub->add_option("--memory-limit", options->memory_limit, "as for odxd")->type_name("SIZE");
  sub->add_option("--log-level", options->log_level, "of odxd, on standard error")->capture_default_str();
  sub->add_option("--odxd", options->odxd, "the program that serves; else the one beside odx, else PATH's")
      ->type_name("PATH");
  sub->callback([options, &command, &run] {
    if (command.empty()) throw CLI::ValidationError("odx run", "no command: write it behind --");
    run = [options, &command] {
      Report report;
      report.exit_code = captive_run(*options, command);
      report.silent = true;
      return report;
    };
  });
}

}  // namespace cli
