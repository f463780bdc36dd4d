// odxd's command line.
//
// Not tested, and why: the text of --help (people read it; that it ends well is tested).
#include "target/command_line.h"

#include <doctest/doctest.h>

#include <vector>

namespace {

using target::CommandLine;
using target::ConfigError;

std::variant<CommandLine, target::ExitCode> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "odxd");
  return target::parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

CommandLine line_of(std::vector<const char*> arguments) { return std::get<CommandLine>(parse(std::move(arguments))); }

std::string error_of(std::vector<const char*> arguments) {
  try {
    parse(std::move(arguments));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "(accepted)";
}

}  // namespace

TEST_CASE("stores and options may stand in any order, and an option takes one value") {
  CommandLine line =
      line_of({"--portal", "127.0.0.1:0", "memory:1G", "--id", "lab", "file:a,b.img", "--portal", "[::1]:0", "--json"});
  CHECK(line.json);
  CHECK_FALSE(line.check_only);
  CHECK(line.config.arrays.at(0).id == "lab");
  REQUIRE(line.config.portals.size() == 2);
  CHECK(line.config.portals[0].text() == "127.0.0.1:0");
  CHECK(line.config.portals[1].text() == "[::1]:0");
  REQUIRE(line.config.targets.at(0).luns.size() == 2);
  CHECK(line.config.targets[0].luns[1].store == "file:a,b.img");
}

TEST_CASE("sizes, numbers and levels are taken over") {
  CommandLine line = line_of({"memory:1G", "--memory-limit", "3G", "--log-level", "error", "--check", "--threads=5"});
  CHECK(line.check_only);
  CHECK(line.config.threads == 5);
  CHECK(line.config.memory_limit == 3ull << 30);
  CHECK(line.config.log_level == base::log::Level::error);
}

TEST_CASE("--profile gives the short form's array a personality") {
  CommandLine line = line_of({"memory:1G", "--profile", "3par-like"});
  CHECK(line.config.arrays.at(0).profile.maximum_range_descriptors == 8);
  CHECK(line.config_file.empty());
  CHECK(error_of({"memory:1G", "--profile", "vnx-like"})
            .starts_with("odxd: --profile is \"vnx-like\"; expected one of \"instant\", "));
}

TEST_CASE("a wrong command line is refused with what was expected") {
  CHECK(error_of({}) ==
        "odxd: nothing to serve; expected stores (memory:64G file:disk.img) or --config FILE; --help explains");
  CHECK(error_of({"memory:1G", "--portal", "here"}) ==
        "odxd: --portal is \"here\"; expected an address and port such as 127.0.0.1:3260 or [::1]:3260");
  CHECK(error_of({"memory:1G", "--id", "A"}) ==
        "odxd: --id is \"A\"; expected 1 to 64 characters of a-z, 0-9, '-' and '.'");
  CHECK(error_of({"memory:1G", "--memory-limit", "lots"}) ==
        "odxd: --memory-limit is \"lots\"; expected a size such as 8G");
  CHECK(error_of({"memory:1G", "--threads", "65"}) ==
        "odxd: --threads: Value 65 not in range 1 to 64; --help explains");
  CHECK(error_of({"memory:1G", "--log-level", "loud"}) ==
        "odxd: --log-level is \"loud\"; expected debug, info, warning, error or off");
  CHECK(error_of({"--config", "/nonexistent/array.toml"}) ==
        "/nonexistent/array.toml: cannot be read; expected a TOML file (docs/odxd.toml.md)");
  CHECK(error_of({"--config", "a.toml", "memory:1G"}) ==
        "odxd: both stores and --config; expected one of them: the file's LUNs are written in the file");
  CHECK(error_of({"--nonsense", "memory:1G"}).starts_with("odxd: The following argument was not expected: --nonsense"));
}

TEST_CASE("--version says its line and ends well") {
  auto parsed = parse({"--version"});
  REQUIRE(std::holds_alternative<target::ExitCode>(parsed));
  CHECK(std::get<target::ExitCode>(parsed) == target::kExitGood);
}
