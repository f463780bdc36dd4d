#include "target/config_control.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>

#include "target/config_reader.h"

namespace target {
namespace {

constexpr std::size_t kLongestPath = sizeof(sockaddr_un{}.sun_path) - 1;
constexpr std::size_t kShortestToken = 16;
constexpr std::string_view kListenRule = "an address and port such as 127.0.0.1:3261 or [::1]:3261";
constexpr std::string_view kTokenRule = "a token of 16 to 255 printable characters without blanks";
const std::string kPathRule = fmt::format("the path of a socket, of at most {} bytes", kLongestPath);

bool valid_path(std::string_view path) { return !path.empty() && path.size() <= kLongestPath && !path.contains('\0'); }

bool valid_token(std::string_view token) {
  return token.size() >= kShortestToken && token.size() <= 255 &&
         std::ranges::all_of(token, [](unsigned char each) { return each > ' ' && each < 0x7F; });
}

}  // namespace

ControlConfig read_control(const TableReader& document) {
  ControlConfig control;
  auto table = document.table("control", {"unix", "listen", "token"});
  if (!table) return control;
  if (auto path = table->text("unix", kPathRule)) {
    if (!valid_path(*path)) table->refuse("unix", kPathRule);
    control.unix_path = *path;
  }
  if (auto token = table->secret("token", kTokenRule)) {
    if (!valid_token(*token)) table->complain("token", fmt::format("is not usable; expected {}", kTokenRule));
    control.token = *token;
  }
  if (auto text = table->text("listen", kListenRule)) {
    try {
      control.listen = parse_portal(*text, "", "listen");
    } catch (const ConfigError&) {
      table->refuse("listen", kListenRule);
    }
    control.listen->place = table->place("listen");
    if (control.token.empty())
      table->complain("token", "is missing; expected one, since whoever reaches the port could do everything");
  }
  return control;
}

void add_control(std::string_view text, const char* token, ControlConfig& control) {
  constexpr const char* kPlace = "odxd";
  constexpr std::string_view kUnix = "unix:";
  if (text.starts_with(kUnix)) {
    control.unix_path = text.substr(kUnix.size());
    if (!valid_path(control.unix_path))
      throw ConfigError(kPlace, fmt::format("--control is \"{}\"; expected unix: and {}", text, kPathRule));
    return;
  }
  control.listen = parse_portal(text, kPlace, "--control");
  if (control.token.empty() && token) control.token = token;
  if (!valid_token(control.token))
    throw ConfigError(kPlace, fmt::format("--control {} needs a token; expected {} in the environment as "
                                          "ODX_CONTROL_TOKEN, or in the file as control.token",
                                          text, kTokenRule));
}

}  // namespace target
