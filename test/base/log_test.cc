// The log: one line for each message, whatever is in it.
//
// Not tested, and why: spdlog itself.
#include "base/log.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

using namespace std::literals;

namespace {

/// What standard error gets while `act` runs.
template <typename Act>
std::string standard_error_of(Act act) {
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::fflush(stderr);
  int kept = ::dup(STDERR_FILENO);
  ::dup2(::fileno(file), STDERR_FILENO);
  act();
  std::fflush(stderr);
  ::dup2(kept, STDERR_FILENO);
  ::close(kept);
  std::string text(4096, '\0');
  std::rewind(file);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  return text;
}

/// The message as it is logged, without time and level.
std::string logged(std::string_view message) {
  std::string text = standard_error_of([&] {
    base::log::set_level(base::log::Level::info);
    base::log::info("{}", message);
    base::log::set_level(base::log::Level::off);
  });
  CHECK(std::string_view(text).substr(0, text.size() - 1).find('\n') == std::string::npos);
  std::size_t at = text.find("info ");
  REQUIRE(at != std::string::npos);
  return text.substr(at + 5);
}

}  // namespace

TEST_CASE("what a peer said cannot end the line, forge another or move the cursor") {
  CHECK(logged("iqn.a\n2026-11-26 00:00:00.000 info forged") == "iqn.a\\x0a2026-11-26 00:00:00.000 info forged\n");
  CHECK(logged("\x1b[2J\r\t\x7f\0end"sv) == "\\x1b[2J\\x0d\\x09\\x7f\\x00end\n");
}

TEST_CASE("everything else is logged as it is") {
  CHECK(logged("LUN 0 at /srv/Gerät {} %s \\x41") == "LUN 0 at /srv/Gerät {} %s \\x41\n");
}
