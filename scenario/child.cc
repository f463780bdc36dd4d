#include "scenario/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace scenario {
namespace {

// The first byte of what a process writes.
constexpr char kGood = '+';
constexpr char kFailed = '-';

bool write_all(int descriptor, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = write(descriptor, text.data() + done, text.size() - done);
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) done += static_cast<std::size_t>(written);
  }
  return true;
}

[[noreturn]] void be_the_child(const std::function<std::string()>& function, int descriptor) {
  std::string text;
  try {
    text = kGood + function();
  } catch (const std::exception& error) {
    text = kFailed + std::string(error.what());
  }
  // Not exit(): what the parent has not written yet is the parent's to write.
  _exit(write_all(descriptor, text) ? 0 : 1);
}

}  // namespace

Child::Child(const std::function<std::string()>& function, std::chrono::milliseconds timeout)
    : started_(std::chrono::steady_clock::now()), deadline_(started_ + timeout), timeout_(timeout) {
  int ends[2] = {};
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error(fmt::format("no pipe: {}", std::strerror(errno)));
  std::fflush(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    close(ends[0]);
    be_the_child(function, ends[1]);
  }
  close(ends[1]);
  pipe_ = ends[0];
  if (pid_ < 0) {
    close(pipe_);
    throw std::runtime_error(fmt::format("no process: {}", std::strerror(errno)));
  }
  fcntl(pipe_, F_SETFL, O_NONBLOCK);
}

Child::~Child() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  close(pipe_);
}

std::optional<std::expected<std::string, std::string>> Child::poll() {
  char piece[65536];
  for (;;) {
    const ssize_t got = read(pipe_, piece, sizeof piece);
    if (got > 0) {
      text_.append(piece, static_cast<std::size_t>(got));
      continue;
    }
    if (got == 0) return finish();
    if (errno == EINTR) continue;
    if (std::chrono::steady_clock::now() < deadline_) return std::nullopt;
    kill(pid_, SIGKILL);
    finish();
    return std::unexpected(fmt::format("stopped after {} s", static_cast<double>(timeout_.count()) / 1000));
  }
}

std::expected<std::string, std::string> Child::finish() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFSIGNALED(status))
    return std::unexpected(
        fmt::format("its process was ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status))));
  if (text_.empty() || WEXITSTATUS(status) != 0)
    return std::unexpected(fmt::format("its process ended with status {}", WEXITSTATUS(status)));
  if (text_.front() == kFailed) return std::unexpected(text_.substr(1));
  return text_.substr(1);
}

double Child::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
}

}  // namespace scenario
