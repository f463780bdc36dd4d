// A function run in a process of its own, whose text comes back through a pipe. Thread: main's, and no other.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <expected>
#include <functional>
#include <optional>
#include <string>

namespace scenario {

class Child {
 public:
  /// Forks. What the function throws becomes an error. Throws std::runtime_error when there is no process to be had.
  Child(const std::function<std::string()>& function, std::chrono::milliseconds timeout);
  /// Ends it, if it still runs.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// To be polled for reading.
  int descriptor() const { return pipe_; }
  std::chrono::steady_clock::time_point deadline() const { return deadline_; }
  /// Reads what is there, and ends a process whose time is up. The function's text, or why there is none; nothing
  /// while it runs.
  std::optional<std::expected<std::string, std::string>> poll();
  double seconds() const;

 private:
  std::expected<std::string, std::string> finish();

  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point deadline_;
  std::chrono::milliseconds timeout_;
  pid_t pid_ = -1;
  int pipe_ = -1;
  std::string text_;
};

}  // namespace scenario
