#include <CLI/CLI.hpp>

#include <algorithm>

#include "cli/sub_commands.h"
#include "handlers/factory.h"

namespace cli {

CLI::Validator size() {
  auto to_bytes = [](std::string& text) -> std::string {
    try {
      std::ranges::transform(text, text.begin(), [](char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; });
      text = std::to_string(handlers::parse_size(text));
      return {};
    } catch (const handlers::OpenError& error) {
      return error.what();
    }
  };
  return CLI::Validator(to_bytes, "");
}

}  // namespace cli
