#include "scenario/odxd_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

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

namespace scenario {
namespace {

constexpr int kSignalled = 128, kCannotExecute = 126, kNotFound = 127;

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

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

}  // namespace

int Process::wait() const {
  int status = 0;
  while (::waitpid(id, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

bool Process::ended(int& status) const { return ::waitpid(id, &status, WNOHANG) == id; }

int exit_code_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? kSignalled + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

Process start_program(const std::vector<std::string>& words, int output, bool own_group, const std::string& blame) {
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
  fmt::print(stderr, "{}: {}: {}\n", blame, words.front(), std::strerror(error));
  ::_exit(error == ENOENT ? kNotFound : kCannotExecute);
}

StartedOdxd start_odxd(const std::string& program, std::vector<std::string> options, const std::string& blame) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw std::runtime_error(std::strerror(errno));
  options.insert(options.begin(), {program, "--json"});
  const Process process = start_program(options, pipe[1], true, blame);
  ::close(pipe[1]);
  return {process, read_until_ready(pipe[0])};
}

std::string own_folder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

std::string find_odxd() {
  const std::filesystem::path here = own_folder();
  for (const auto& place : {here / "odxd", here.parent_path() / "target" / "odxd"})
    if (::access(place.c_str(), X_OK) == 0) return place;
  return "odxd";
}

TemporaryFolder::TemporaryFolder() : path_(std::filesystem::temp_directory_path() / "odx-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr)
    throw std::runtime_error(fmt::format("cannot make {}: {}", path_, std::strerror(errno)));
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

}  // namespace scenario
