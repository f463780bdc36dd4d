#include "base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>

namespace base::log {
namespace {

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warning: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
    case Level::off: return spdlog::level::off;
  }
  return spdlog::level::off;
}

spdlog::logger& logger() {
  static const auto instance = [] {
    // In no registry: as a plugin we share that with others.
    auto made = std::make_shared<spdlog::logger>("odx", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
    made->set_level(spdlog::level::info);
    return made;
  }();
  return *instance;
}

/// What could end the line or move a terminal's cursor.
bool is_control(char each) { return static_cast<unsigned char>(each) < 0x20 || each == 0x7F; }

}  // namespace

void set_level(Level level) { logger().set_level(spdlog_level(level)); }
bool enabled(Level level) { return logger().should_log(spdlog_level(level)); }
void write(Level level, std::string_view line) {
  if (std::ranges::none_of(line, is_control)) return logger().log(spdlog_level(level), line);
  std::string escaped;
  for (char each : line) {
    if (is_control(each))
      fmt::format_to(std::back_inserter(escaped), "\\x{:02x}", static_cast<unsigned char>(each));
    else
      escaped.push_back(each);
  }
  logger().log(spdlog_level(level), escaped);
}

}  // namespace base::log
