// `odx run`: an array for as long as one command needs it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>

#include "cli/exit_code.h"
#include "cli/sub_commands.h"

namespace cli {
namespace {

constexpr int kSignalled = 128;  // and the signal's number, as a shell says it
constexpr int kCannotExecute = 126, kNotFound = 127;
volatile std::sig_atomic_t g_child = 0;  // whom a signal that ends us ends

/// A child of ours; it ends with us, whatever ends us.
struct Process {
  pid_t id = -1;

  /// The wait status.
  int wait() const {
    int status = 0;
    while (::waitpid(id, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }
  bool ended(int& status) const { return ::waitpid(id, &status, WNOHANG) == id; }
};

int exit_code_of(int status) { return WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status); }

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

/// `output` becomes its standard output, -1: ours. `own_group`: what a terminal sends does not reach it.
Process start(const std::vector<std::string>& words, int output, bool own_group) {
  const std::vector<char*> list = pointers(words);
  const pid_t us = ::getpid();
  const pid_t id = ::fork();
  if (id < 0) throw std::runtime_error(fmt::format("cannot start {}: {}", words.front(), std::strerror(errno)));
  if (id > 0) return {id};
  if (own_group) ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != us) ::_exit(kCannotExecute);
  if (output >= 0) ::dup2(output, STDOUT_FILENO);
  std::signal(SIGPIPE, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  ::execvp(list.front(), list.data());
  const int error = errno;
  fmt::print(stderr, "odx run: {}: {}\n", words.front(), std::strerror(error));
  ::_exit(error == ENOENT ? kNotFound : kCannotExecute);
}

/// What odxd --json says on standard output until it is ready.
struct Announced {
  std::vector<std::string> urls;
  bool ready = false;
};

Announced read_until_ready(int fd) {
  Announced announced;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(::fdopen(fd, "r"), std::fclose);
  char* line = nullptr;
  std::size_t room = 0;
  while (!announced.ready && ::getline(&line, &room, stream.get()) > 0) {
    boost::system::error_code error;
    const boost::json::value value = boost::json::parse(line, error);
    if (error || !value.is_object()) continue;
    const auto& event = value.as_object().at("event");
    if (event == "lun") announced.urls.emplace_back(value.as_object().at("url").as_string());
    announced.ready = event == "ready";
  }
  std::free(line);
  return announced;
}

/// The odxd that belongs to this odx: beside it, where the build leaves it, or what PATH has.
std::string find_odxd() {
  std::error_code error;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const auto& place : {here / "odxd", here.parent_path() / "target" / "odxd"})
    if (::access(place.c_str(), X_OK) == 0) return place;
  return "odxd";
}

struct Options {
  std::vector<std::string> stores;
  std::string config, profile, id, memory_limit, odxd, log_level = "warning";
};

/// A folder for the control socket, which only its owner may enter; gone with us.
class ControlFolder {
 public:
  ControlFolder() : path_(std::filesystem::temp_directory_path() / "odx-run-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr)
      throw std::runtime_error(fmt::format("cannot make {}: {}", path_, std::strerror(errno)));
  }
  ControlFolder(const ControlFolder&) = delete;
  ControlFolder& operator=(const ControlFolder&) = delete;
  ~ControlFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::string url() const { return "unix:" + path_ + "/control"; }

 private:
  std::string path_;
};

std::vector<std::string> array_words(const Options& options, const std::string& control) {
  std::vector<std::string> words{options.odxd.empty() ? find_odxd() : options.odxd,
                                 "--json",
                                 "--portal",
                                 "127.0.0.1:0",
                                 "--control",
                                 control,
                                 "--log-level",
                                 options.log_level};
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
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw std::runtime_error(std::strerror(errno));
  const ControlFolder control;
  const Process array = start(array_words(options, control.url()), pipe[1], true);
  ::close(pipe[1]);
  const Announced announced = read_until_ready(pipe[0]);
  if (!announced.ready || announced.urls.empty()) {
    ::kill(array.id, SIGTERM);
    const int status = exit_code_of(array.wait());
    fmt::print(stderr, "odx run: the array {}, so {} was not run\n",
               announced.ready ? "has no logical unit" : fmt::format("did not start (odxd ended with {})", status),
               command.front());
    return status == kUsage ? kUsage : kFailed;
  }
  export_urls(announced.urls);
  ::setenv("ODX_CONTROL", control.url().c_str(), 1);
  const Process child = start(command, -1, false);
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
      "\nCOMMAND finds the first disk's URL in ISCSI_URL, all in ISCSI_URLS, each in ISCSI_URL_0, ISCSI_URL_1...\n"
      "and the array's control interface in ODX_CONTROL, where odx ctl looks. The array listens on 127.0.0.1 only and\n"
      "ends with COMMAND, whose exit code is odx's (128 and the signal's number when a signal ended it, 127 when "
      "there\n"
      "is no such program).\n\n"
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
