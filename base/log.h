// The log: spdlog behind five functions, on standard error. A message is one line, whatever a peer put into it: control
// characters are written as \xNN. Secrets are never passed to it.
// Thread: any.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace base::log {

enum class Level { debug, info, warning, error, off };

void set_level(Level level);
bool enabled(Level level);
void write(Level level, std::string_view line);

template <typename... Args>
void format(Level level, fmt::format_string<Args...> text, Args&&... args) {
  if (enabled(level)) write(level, fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
void debug(fmt::format_string<Args...> text, Args&&... args) {
  format(Level::debug, text, std::forward<Args>(args)...);
}
template <typename... Args>
void info(fmt::format_string<Args...> text, Args&&... args) {
  format(Level::info, text, std::forward<Args>(args)...);
}
template <typename... Args>
void warning(fmt::format_string<Args...> text, Args&&... args) {
  format(Level::warning, text, std::forward<Args>(args)...);
}
template <typename... Args>
void error(fmt::format_string<Args...> text, Args&&... args) {
  format(Level::error, text, std::forward<Args>(args)...);
}

}  // namespace base::log
