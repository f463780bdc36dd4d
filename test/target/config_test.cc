// The configuration: what is taken, and the exact line for everything that is not.
//
// Not tested, and why: every message of the TOML grammar itself (toml++'s); that a store opens (handlers' tests).
#include "target/config.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <thread>

namespace {

using target::Config;
using target::ConfigError;

constexpr std::string_view kSmallest = R"([[target]]
[[target.lun]]
number = 0
store = "memory:1G"
)";

std::string error_of(const std::string& document) {
  try {
    target::parse_config(document, "array.toml");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "(accepted)";
}

/// A document whose LUN has `lines` added; they start at line 5.
std::string with_lun(std::string_view lines) { return std::string(kSmallest) + std::string(lines); }
/// A document that opens with `lines`.
std::string with_top(std::string_view lines) { return std::string(lines) + std::string(kSmallest); }

struct Refusal {
  std::string document;
  std::string message;
};

void check_all(std::initializer_list<Refusal> table) {
  for (const Refusal& row : table) {
    CAPTURE(row.document);
    CHECK(error_of(row.document) == row.message);
  }
}

}  // namespace

TEST_CASE("the smallest configuration is one target with one LUN, and the rest are the documented defaults") {
  Config config = target::parse_config(kSmallest, "array.toml");
  REQUIRE(config.targets.size() == 1);
  REQUIRE(config.targets[0].luns.size() == 1);
  const target::LunConfig& lun = config.targets[0].luns[0];
  CHECK(lun.number == 0);
  CHECK(lun.name == "lun0");
  CHECK(lun.store == "memory:1G");
  CHECK(lun.place == "array.toml:4:9");
  CHECK(lun.block_size == 512);
  CHECK(lun.thin);
  CHECK_FALSE(lun.read_only);
  CHECK_FALSE(lun.removable);
  CHECK_FALSE(lun.naa);
  CHECK(lun.serial.empty());
  REQUIRE(config.portals.size() == 1);
  CHECK(config.portals[0].text() == "127.0.0.1:3260");
  CHECK_FALSE(config.memory_limit);
  CHECK_FALSE(config.threads);
  CHECK(config.arrays.at(0).id.empty());
  CHECK(config.limits.command_window == iscsi::Limits{}.command_window);
  CHECK(target::warnings(config).empty());
}

namespace {

constexpr std::string_view kEveryKey = R"(
id = "lab-7"
log_level = "debug"
memory_limit = "2G"
threads = 3
state_dir = "/var/lib/odx"
[[portal]]
listen = "0.0.0.0:3261"
advertise = "array.example.org:3260"
[[portal]]
listen = "[::1]:0"
advertise = "[2001:db8::7]"
[discovery.chap]
name = "discoverer"
secret = "discovery-secret"
[iscsi]
max_recv_data_segment_length = 65536
max_burst_length = 262144
first_burst_length = 8192
max_outstanding_r2t = 3
initial_r2t = true
immediate_data = false
command_window = 32
immediate_commands = 4
max_sessions = 5
max_connections = 6
max_connections_per_session = 7
max_half_open_logins = 5
max_session_data_out = "32M"
login_timeout_s = 7
nop_interval_s = 8
nop_timeout_s = 9
[tokens]
odx = false
lifetime_s = 10
default_inactivity_timeout_s = 11
maximum_inactivity_timeout_s = 12
maximum_tokens = 13
maximum_results = 14
maximum_range_descriptors = 15
maximum_transfer = "1G"
optimal_transfer = 1048576
[[target]]
name = "IQN.2026-11.org.Example:One"
alias = "first"
allowed_initiators = ["iqn.1991-05.com.microsoft:HOST", "eui.02004567A425678D"]
[target.chap]
name = "host"
secret = "host-secret-12"
mutual = { name = "array", secret = "array-secret-12" }
[[target.lun]]
number = 3
name = "source"
store = "file:/tmp/disk image.img"
block_size = 4096
physical_block_exponent = 2
read_only = true
removable = true
provisioning = "thick"
serial = "S-1"
naa = "naa.6024F4400000000000000000000000FF"
[[target]]
name = "iqn.2026-11.org.example:two"
[[target.lun]]
number = 0
store = "memory:64G"
[[unreachable]]
a = "source"
b = "target2-lun0"
)";

}  // namespace

TEST_CASE("event loops are counted by the processors that odxd may run on") {
  CHECK(target::usual_threads() == std::clamp(target::usable_processors() / 2, 1U, 8U));
  std::thread([] {  // the rest of this program keeps its processors
    cpu_set_t one{};
    CPU_SET(::sched_getcpu(), &one);
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(target::usable_processors() == 1);
    CHECK(target::usual_threads() == 1);
  })
      .join();
}

TEST_CASE("every key of the array and its portals is taken over") {
  Config config = target::parse_config(kEveryKey, "array.toml");
  CHECK(config.arrays.at(0).id == "lab-7");
  CHECK(config.log_level == base::log::Level::debug);
  CHECK(config.memory_limit == 2ull << 30);
  CHECK(config.threads == 3);
  CHECK(config.state_dir == "/var/lib/odx");
  REQUIRE(config.portals.size() == 2);
  CHECK(config.portals[0].text() == "0.0.0.0:3261");
  CHECK(config.portals[0].is_wildcard());
  CHECK(config.portals[0].advertised->address == "array.example.org");
  CHECK(config.portals[1].text() == "[::1]:0");
  CHECK(config.portals[1].is_loopback());
  CHECK(config.portals[1].advertised->address == "[2001:db8::7]");
  CHECK(config.portals[1].advertised->port == 3260);
  CHECK(config.discovery.initiator->secret == "discovery-secret");
  CHECK_FALSE(config.discovery.target);
}

TEST_CASE("every limit and every key of tokens is taken over") {
  Config config = target::parse_config(kEveryKey, "array.toml");
  CHECK(config.limits.max_recv_data_segment_length == 65536);
  CHECK(config.limits.max_burst_length == 262144);
  CHECK(config.limits.first_burst_length == 8192);
  CHECK(config.limits.max_outstanding_r2t == 3);
  CHECK(config.limits.initial_r2t);
  CHECK_FALSE(config.limits.immediate_data);
  CHECK(config.limits.command_window == 32);
  CHECK(config.limits.immediate_commands == 4);
  CHECK(config.limits.max_sessions == 5);
  CHECK(config.limits.max_connections == 6);
  CHECK(config.limits.max_connections_per_session == 7);
  CHECK(config.limits.max_half_open_logins == 5);
  CHECK(config.limits.max_session_data_out == 32u << 20);
  CHECK(config.limits.login_timeout.count() == 7);
  CHECK(config.limits.nop_interval.count() == 8);
  CHECK(config.limits.nop_timeout.count() == 9);
  CHECK_FALSE(config.arrays.at(0).profile.odx);
  CHECK(config.arrays.at(0).profile.token_lifetime_s == 10);
  CHECK(config.arrays.at(0).profile.default_inactivity_timeout_s == 11);
  CHECK(config.arrays.at(0).profile.maximum_inactivity_timeout_s == 12);
  CHECK(config.arrays.at(0).profile.maximum_tokens == 13);
  CHECK(config.arrays.at(0).profile.maximum_copy_results == 14);
  CHECK(config.arrays.at(0).profile.maximum_range_descriptors == 15);
  CHECK(config.arrays.at(0).profile.maximum_token_transfer_bytes == 1u << 30);
  CHECK(config.arrays.at(0).profile.optimal_transfer_bytes == 1u << 20);
}

TEST_CASE("every key of targets and LUNs is taken over") {
  Config config = target::parse_config(kEveryKey, "array.toml");
  REQUIRE(config.targets.size() == 2);
  const target::TargetConfig& one = config.targets[0];
  CHECK(one.name == "iqn.2026-11.org.example:one");
  CHECK(one.alias == "first");
  CHECK(one.allowed_initiators[0] == "iqn.1991-05.com.microsoft:host");
  CHECK(one.authentication.initiator->name == "host");
  CHECK(one.authentication.target->secret == "array-secret-12");
  const target::LunConfig& lun = one.luns.at(0);
  CHECK(lun.number == 3);
  CHECK(lun.name == "source");
  CHECK(lun.store == "file:/tmp/disk image.img");
  CHECK(lun.block_size == 4096);
  CHECK(lun.physical_block_exponent == 2);
  CHECK(lun.read_only);
  CHECK(lun.removable);
  CHECK_FALSE(lun.thin);
  CHECK(lun.serial == "S-1");
  CHECK(lun.naa->front() == 0x60);
  CHECK(lun.naa->back() == 0xFF);
  CHECK(config.unreachable.at(0) == target::UnreachablePair{.a = "source", .b = "target2-lun0"});
}

TEST_CASE("a wrong value of a LUN is refused with file, line, column and what was expected") {
  check_all({
      {with_lun("block_size = 520\n"), "array.toml:5:14: target.lun.block_size is 520; expected 512 or 4096"},
      {with_lun("block_size = \"4k\"\n"), "array.toml:5:14: target.lun.block_size is \"4k\"; expected 512 or 4096"},
      {with_lun("read_only = 1\n"), "array.toml:5:13: target.lun.read_only is 1; expected true or false"},
      {with_lun("provisioning = \"fat\"\n"),
       "array.toml:5:16: target.lun.provisioning is \"fat\"; expected \"thin\" or \"thick\""},
      {with_lun("physical_block_exponent = 16\n"),
       "array.toml:5:27: target.lun.physical_block_exponent is 16; expected a whole number from 0 to 15"},
      {with_lun("serial = \"A B\"\n"),
       "array.toml:5:10: target.lun.serial is \"A B\"; expected 1 to 20 characters of A-Z, a-z, 0-9, '-', '_' and '.'"},
      {with_lun("naa = \"5024f44000000000\"\n"),
       "array.toml:5:7: target.lun.naa is \"5024f44000000000\"; expected 32 hexadecimal digits of which the first is 6 "
       "(NAA "
       "IEEE Registered Extended)"},
      {with_lun("name = \"\"\n"),
       "array.toml:5:8: target.lun.name is \"\"; expected a name of 1 to 64 printable characters"},
      {with_lun("blocksize = 512\n"),
       "array.toml:5:1: target.lun.blocksize is not a key here; expected number, name, store, block_size, "
       "physical_block_exponent, read_only, removable, provisioning, self_encrypting, soft_threshold, "
       "allowed_initiators, serial, naa, access"},
      {"[[target]]\n[[target.lun]]\nstore = \"file:/a\"\nself_encrypting = true\n",
       "array.toml:4:19: target.lun.self_encrypting is true; expected false, or a store in memory"},
      {"[[target]]\n[[target.lun]]\nstore = \"file:/a\"\nsoft_threshold = \"1M\"\n",
       "array.toml:4:18: target.lun.soft_threshold is for a thin LUN in memory"},
      {"[[target]]\n[[target.lun]]\nstore = \"memory:1G\"\nprovisioning = \"thick\"\nsoft_threshold = 1\n",
       "array.toml:5:18: target.lun.soft_threshold is for a thin LUN in memory"},
      {"[[target]]\n[[target.lun]]\nnumber = 0\nstore = \"tape:1G\"\n",
       "array.toml:4:9: target.lun.store is \"tape:1G\"; expected a store such as \"memory:64G\" or "
       "\"file:/path/disk.img\""},
      {"[[target]]\n[[target.lun]]\nnumber = 16384\nstore = \"memory:1G\"\n",
       "array.toml:3:10: target.lun.number is 16384; expected a whole number from 0 to 16383"},
      {"[[target]]\n[[target.lun]]\nnumber = -1\nstore = \"memory:1G\"\n",
       "array.toml:3:10: target.lun.number is -1; expected a whole number from 0 to 16383"},
      {"[[target]]\n[[target.lun]]\nnumber = 0\n",
       "array.toml:2:1: target.lun.store is missing; expected a store such as \"memory:64G\" or "
       "\"file:/path/disk.img\""},
      {with_lun("[[target.lun]]\nnumber = 0\nstore = \"memory:1G\"\nname = \"b\"\n"),
       "array.toml:6:10: target.lun.number is 0; expected a number that no other LUN of the target has"},
      {with_lun("[[target.lun]]\nnumber = 1\nstore = \"memory:1G\"\nname = \"lun0\"\n"),
       "array.toml:8:8: target.lun.name is \"lun0\"; expected a name that no other LUN and no array has"},
      {with_lun("serial = \"S\"\n[[target.lun]]\nnumber = 1\nstore = \"memory:1G\"\nserial = \"S\"\n"),
       "array.toml:9:10: target.lun.serial is \"S\"; expected a serial that no other LUN has"},
  });
}

TEST_CASE("a wrong value of a target is refused with file, line, column and what was expected") {
  check_all({
      {"", "array.toml:1:1: target is missing; expected at least one [[target]]"},
      {"[[target]]\n", "array.toml:1:1: target.lun is missing; expected at least one [[target.lun]]"},
      {"[target]\nname = \"iqn.2026-11.org.example:a\"\n",
       "array.toml:1:1: target is a table; expected tables, written [[target]]"},
      {"[[target]]\nname = \"disk\"\n",
       "array.toml:2:8: target.name is \"disk\"; expected an iSCSI name such as \"iqn.2026-11.org.example:disk\" (RFC "
       "7143, "
       "4.2.7)"},
      {"[[target]]\nname = \"iqn.2026-13.org.example:a\"\n",
       "array.toml:2:8: target.name is \"iqn.2026-13.org.example:a\"; expected an iSCSI name such as "
       "\"iqn.2026-11.org.example:disk\" (RFC 7143, 4.2.7)"},
      {std::string(kSmallest) + std::string(kSmallest),
       "array.toml:1:1: target.name is missing; expected an iSCSI name such as \"iqn.2026-11.org.example:disk\" (RFC "
       "7143, "
       "4.2.7), since there are several targets"},
      {"[[target]]\nname = \"iqn.2026-11.a.b:x\"\n[[target.lun]]\nnumber = 0\nstore = \"memory:1G\"\n"
       "[[target]]\nname = \"iqn.2026-11.a.b:X\"\n",
       "array.toml:7:8: target.name is \"iqn.2026-11.a.b:X\"; expected a name that no other target has"},
      {"[[target]]\nallowed_initiators = [\"host\"]\n",
       "array.toml:2:22: target.allowed_initiators holds \"host\"; expected an iSCSI name such as "
       "\"iqn.2026-11.org.example:disk\" (RFC 7143, 4.2.7)"},
      {"[[target]]\nallowed_initiators = [1]\n",
       "array.toml:2:23: target.allowed_initiators holds 1; expected an array of iSCSI names"},
      {"[[target]]\nallowed_initiators = \"host\"\n",
       "array.toml:2:22: target.allowed_initiators is \"host\"; expected an array of iSCSI names"},
      {"[[target]]\nchap = true\n", "array.toml:2:8: target.chap is true; expected a table with name, secret, mutual"},
      {"[[target]]\n[target.chap]\nname = \"host\"\n",
       "array.toml:2:1: target.chap.secret is missing; expected a CHAP secret of 1 to 255 characters (12 or more for "
       "Windows)"},
      {"[[target]]\n[target.chap]\nsecret = \"x\"\n",
       "array.toml:2:1: target.chap.name is missing; expected a CHAP name of 1 to 255 characters"},
  });
}

TEST_CASE("a target may send initiators elsewhere, and then needs no LUN") {
  Config config = target::parse_config("[[target]]\nredirect = \"[2001:db8::1]:3261\"\n", "array.toml");
  const iscsi::Redirection& redirection = config.targets.at(0).redirection.value();
  CHECK(redirection.to.address == "[2001:db8::1]");
  CHECK(redirection.to.port == 3261);
  CHECK_FALSE(redirection.permanent);
  CHECK(
      target::parse_config("[[target]]\nredirect_permanently = \"a.example\"\n", "").targets[0].redirection->permanent);
  CHECK_FALSE(target::parse_config(kSmallest, "").targets[0].redirection);
  check_all({
      {"[[target]]\nredirect = \"a.example:0\"\n",
       "array.toml:2:12: target.redirect is \"a.example:0\"; expected an address or name and port such as "
       "array.example.org:3260"},
      {"[[target]]\nredirect = \"a.example\"\nredirect_permanently = \"b.example\"\n",
       "array.toml:2:12: target.redirect stands beside redirect_permanently; expected one of them"},
  });
}

TEST_CASE("no message repeats a CHAP secret") {
  std::string same =
      "[[target]]\n[target.chap]\nname = \"a\"\nsecret = \"hush-hush-hush\"\n"
      "mutual = { name = \"b\", secret = \"hush-hush-hush\" }\n";
  CHECK(
      error_of(same) ==
      "array.toml:5:33: target.chap.mutual.secret is the same as chap.secret; expected another one (RFC 7143, 9.2.1)");
  CHECK(error_of("[[target]]\n[target.chap]\nname = \"a\"\nsecret = 12345\n") ==
        "array.toml:4:10: target.chap.secret is not usable; expected a CHAP secret of 1 to 255 characters (12 or more "
        "for "
        "Windows)");
}

TEST_CASE("a wrong value of the array, a portal, a limit or a pair is refused with its place") {
  check_all({
      {with_top("id = \"Lab 7\"\n"),
       "array.toml:1:6: id is \"Lab 7\"; expected 1 to 64 characters of a-z, 0-9, '-' and '.'"},
      {with_top("log_level = \"loud\"\n"),
       "array.toml:1:13: log_level is \"loud\"; expected \"debug\", \"info\", \"warning\", \"error\" or \"off\""},
      {with_top("state_dir = \"\"\n"), "array.toml:1:13: state_dir is \"\"; expected the path of a folder"},
      {with_top("memory_limit = \"much\"\n"),
       "array.toml:1:16: memory_limit is \"much\"; expected a size of at least 1048576 bytes, such as 65536, \"512M\" "
       "or \"64G\""},
      {with_top("memory_limit = 1\n"),
       "array.toml:1:16: memory_limit is 1; expected a size of at least 1048576 bytes, such as 65536, \"512M\" or "
       "\"64G\""},
      {with_top("threads = 0\n"), "array.toml:1:11: threads is 0; expected a whole number from 1 to 64"},
      {with_top("portals = []\n"),
       "array.toml:1:1: portals is not a key here; expected id, log_level, memory_limit, threads, state_dir, profile, "
       "tokens, copy, block_limits, clock, journal, array, portal, discovery, iscsi, target, unreachable, peer, rule, "
       "control"},
      {with_top("[[portal]]\nlisten = \"localhost:3260\"\n"),
       "array.toml:2:10: portal.listen is \"localhost:3260\"; expected an address and port such as 127.0.0.1:3260 or "
       "[::1]:3260"},
      {with_top("[[portal]]\nlisten = \"127.0.0.1:99999\"\n"),
       "array.toml:2:10: portal.listen is \"127.0.0.1:99999\"; expected an address and port such as 127.0.0.1:3260 or "
       "[::1]:3260"},
      {with_top("[[portal]]\nlisten = \"127.0.0.1\"\nadvertise = \"a b\"\n"),
       "array.toml:3:13: portal.advertise is \"a b\"; expected an address or name and port such as "
       "array.example.org:3260"},
      {with_top("[[portal]]\nlisten = \"[::1]:3260\"\n[[portal]]\nlisten = \"[::1]\"\n"),
       "array.toml:4:10: portal.listen is \"[::1]\"; expected an address and port that no other portal has"},
      {with_top("[[portal]]\nlisten = \"[::]\"\n[[portal]]\nlisten = \"127.0.0.1\"\n"),
       "array.toml:1:1: portal.advertise is missing; expected one, since this portal listens on all addresses and "
       "others "
       "exist"},
      {with_top("[iscsi]\nmax_burst_length = 16777216\n"),
       "array.toml:2:20: iscsi.max_burst_length is 16777216; expected a whole number from 512 to 16777215"},
      {with_top("[iscsi]\nmax_burst_length = 65536\n"),
       "array.toml:2:20: iscsi.max_burst_length is 65536; expected first_burst_length (262144) at most "
       "max_burst_length "
       "(65536) (RFC 7143, 13.14)"},
      {with_top("[iscsi]\ncommand_window = 0\n"),
       "array.toml:2:18: iscsi.command_window is 0; expected a whole number from 1 to 4096"},
      {with_top("[tokens]\nlifetime = 5\n"),
       "array.toml:2:1: tokens.lifetime is not a key here; expected odx, lifetime_s, minimum_lifetime_s, "
       "maximum_lifetime_s, default_inactivity_timeout_s, maximum_inactivity_timeout_s, maximum_tokens, "
       "maximum_range_descriptors, maximum_transfer, optimal_transfer, alignment, rod_types, populate_type, "
       "source_write_cancels, partial_write, remote_tokens, populate_latency_ms, populate_rate, populate_completion, "
       "maximum_results"},
      {with_top("[tokens]\ndefault_inactivity_timeout_s = 601\n"),
       "array.toml:2:32: tokens.default_inactivity_timeout_s is 601; expected at most "
       "maximum_inactivity_timeout_s, 600"},
      {with_lun("[[unreachable]]\na = \"lun0\"\nb = \"lun9\"\n"),
       "array.toml:7:5: unreachable.b is \"lun9\"; expected the name of a LUN: lun0"},
      {"id = \n", "array.toml:1:6: Error while parsing key-value pair: expected value, saw '\\n'"},
  });
}

TEST_CASE("a LUN without a number comes after the one before it") {
  Config config = target::parse_config(
      "[[target]]\n[[target.lun]]\nstore = \"memory:1G\"\n[[target.lun]]\nnumber = 7\nstore = \"memory:1G\"\n"
      "[[target.lun]]\nstore = \"memory:1G\"\n",
      "array.toml");
  const auto& luns = config.targets.at(0).luns;
  REQUIRE(luns.size() == 3);
  CHECK(luns[0].number == 0);
  CHECK(luns[1].number == 7);
  CHECK(luns[2].number == 8);
  CHECK(luns[2].name == "lun8");
}

TEST_CASE("the short form numbers LUNs from 0 in the order given") {
  Config config = target::short_form({"memory:64G", "file:disk.img"});
  REQUIRE(config.targets.size() == 1);
  REQUIRE(config.targets[0].luns.size() == 2);
  CHECK(config.targets[0].luns[1].number == 1);
  CHECK(config.targets[0].luns[1].name == "lun1");
  CHECK(config.targets[0].luns[1].store == "file:disk.img");
  CHECK_THROWS_WITH_AS(
      target::short_form({"disk.img"}),
      "odxd: \"disk.img\" is not a store; expected a store such as \"memory:64G\" or \"file:/path/disk.img\"",
      ConfigError);
}

TEST_CASE("of a memory store it is the size that is wrong") {
  for (const char* size : {"64X", "0", "", "9999P", "1.5G"}) {
    CHECK_THROWS_WITH_AS(target::short_form({fmt::format("memory:{}", size)}),
                         fmt::format("odxd: \"memory:{}\" is not a store; expected \"memory:SIZE\", a size from 1 to "
                                     "4096P in bytes or with K, M, G, T or P: \"memory:64G\"",
                                     size)
                             .c_str(),
                         ConfigError);
  }
}

TEST_CASE("a portal is a literal address with or without a port") {
  CHECK(target::parse_portal("10.0.0.1:0", "odxd", "--portal").text() == "10.0.0.1:0");
  CHECK(target::parse_portal("::1", "odxd", "--portal").text() == "[::1]:3260");
  CHECK(target::parse_portal("[::]:1", "odxd", "--portal").is_wildcard());
  for (std::string_view wrong :
       {"", ":3260", "[::1", "[::1]3260", "127.0.0.1:", "127.0.0.1:-1", "example.org:1", "1.2.3:1"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(target::parse_portal(wrong, "odxd", "--portal"), ConfigError);
  }
  CHECK_THROWS_WITH_AS(target::parse_portal("x", "odxd", "--portal"),
                       "odxd: --portal is \"x\"; expected an address and port such as 127.0.0.1:3260 or [::1]:3260",
                       ConfigError);
}

TEST_CASE("an open target beyond loopback and a short CHAP secret are worth a warning") {
  std::string open = with_top("[[portal]]\nlisten = \"0.0.0.0\"\n");
  auto lines = target::warnings(target::parse_config(open, "array.toml"));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] ==
        "0.0.0.0:3260 listens beyond loopback and the target has neither CHAP nor allowed_initiators: everybody who "
        "reaches "
        "the portal can read and write its LUNs");
  std::string closed = "[[portal]]\nlisten = \"0.0.0.0\"\n[[target]]\nallowed_initiators = [\"iqn.2026-11.a.b\"]\n" +
                       std::string(kSmallest).substr(11);
  CHECK(target::warnings(target::parse_config(closed, "array.toml")).empty());
  std::string weak = "[[target]]\nchap = { name = \"n\", secret = \"short\" }\n" + std::string(kSmallest).substr(11);
  lines = target::warnings(target::parse_config(weak, "array.toml"));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find("short\"") == std::string::npos);
}

namespace {

constexpr std::string_view kEveryProfileKey = R"(
profile = "3par-like"
[tokens]
minimum_lifetime_s = 2
lifetime_s = 3
maximum_lifetime_s = 4
alignment = 65536
rod_types = ["zero", "access-upon-reference", "point-in-time-persistent"]
populate_type = "access-upon-reference"
source_write_cancels = true
partial_write = true
remote_tokens = 4
populate_latency_ms = 5
populate_rate = "1G"
populate_completion = "at-once"
[copy]
extended_copy = false
background = false
refusal = "remote-token-usage-not-supported"
latency_ms = 6
rate = "200M"
completion = "at-once"
maximum_operations = 7
maximum_cscd_descriptors = 8
maximum_segment_descriptors = 9
maximum_descriptor_list = 1024
maximum_inline_data = 0
maximum_segment = "16M"
segment_granularity = 4096
held_data_limit = "64K"
held_data_granularity = 512
across_targets = true
[block_limits]
maximum_transfer = "4M"
largest_transfer = "8M"
optimal_transfer = "2M"
maximum_compare_and_write_blocks = 1
maximum_unmap_blocks = 10
maximum_unmap_descriptors = 11
maximum_write_same = 0
maximum_atomic = "64K"
erase_rate = "10M"
)";

}  // namespace

TEST_CASE("every key of the profile's tables overrides the profile, and what is not written stays the profile's") {
  Config config = target::parse_config(with_top(kEveryProfileKey), "array.toml");
  const scsi::DeviceProfile& profile = config.arrays.at(0).profile;
  CHECK(profile.maximum_range_descriptors == 8);  // 3par-like
  CHECK(profile.default_inactivity_timeout_s == 30);
  CHECK(profile.minimum_token_lifetime_s == 2);
  CHECK(profile.token_lifetime_s == 3);
  CHECK(profile.maximum_token_lifetime_s == 4);
  CHECK(profile.offload_alignment_bytes == 65536);
  REQUIRE(profile.rod_types.size() == 3);
  CHECK(profile.rod_types[0].type == tokens::RodType::access_upon_reference);
  CHECK(profile.rod_types[0].point_in_time);  // POPULATE TOKEN makes it, so it may name it
  CHECK(profile.rod_types[2].type == tokens::RodType::block_device_zero);
  CHECK(profile.populate_token_type == tokens::RodType::access_upon_reference);
  CHECK(profile.source_write_cancels);
  CHECK(profile.partial_write);
  CHECK(profile.remote_tokens == 4);
  CHECK(profile.populate_duration.latency_us == 5000);
  CHECK(profile.populate_duration.bytes_per_second == 1u << 30);
  CHECK(profile.populate_duration.completion == scsi::CopyDuration::Completion::at_once);
  CHECK_FALSE(profile.extended_copy);
  CHECK_FALSE(profile.background);
  CHECK(profile.unreachable_refusal == scsi::UnreachableRefusal::remote_token_usage_not_supported);
  CHECK(profile.copy_duration.latency_us == 6000);
  CHECK(profile.copy_duration.bytes_per_second == 200u << 20);
  CHECK(profile.copy_duration.completion == scsi::CopyDuration::Completion::at_once);
  CHECK(profile.extended_copy_across_targets);
}

TEST_CASE("every limit of EXTENDED COPY and of VPD B0h is taken over") {
  Config config = target::parse_config(with_top(kEveryProfileKey), "array.toml");
  const scsi::DeviceProfile& profile = config.arrays.at(0).profile;
  CHECK(profile.maximum_copy_operations == 7);
  CHECK(profile.maximum_cscd_descriptors == 8);
  CHECK(profile.maximum_segment_descriptors == 9);
  CHECK(profile.maximum_descriptor_list_bytes == 1024);
  CHECK(profile.maximum_inline_data_bytes == 0);
  CHECK(profile.maximum_segment_bytes == 16u << 20);
  CHECK(profile.data_segment_granularity_log2 == 12);
  CHECK(profile.held_data_limit_bytes == 64u << 10);
  CHECK(profile.held_data_granularity_log2 == 9);
  CHECK(profile.maximum_transfer_bytes == 4u << 20);
  CHECK(profile.largest_transfer_bytes == 8u << 20);
  CHECK(profile.optimal_transfer_length_bytes == 2u << 20);
  CHECK(profile.maximum_compare_and_write_blocks == 1);
  CHECK(profile.maximum_unmap_lba_count == 10);
  CHECK(profile.maximum_unmap_descriptors == 11);
  CHECK(profile.maximum_write_same_bytes == 0);
  CHECK(profile.maximum_atomic_bytes == 64u << 10);
  CHECK(profile.erase_bytes_per_second == 10u << 20);
}

TEST_CASE("a limit left to its default follows the one that bounds it") {
  Config config = target::parse_config(
      with_top("[tokens]\nmaximum_transfer = \"8M\"\nmaximum_inactivity_timeout_s = 20\nlifetime_s = 7200\n"),
      "array.toml");
  const scsi::DeviceProfile& profile = config.arrays.at(0).profile;
  CHECK(profile.optimal_transfer_bytes == 8u << 20);
  CHECK(profile.default_inactivity_timeout_s == 20);
  CHECK(profile.maximum_token_lifetime_s == 7200);
}

TEST_CASE("a wrong value of a profile's key is refused with its place") {
  check_all({
      {with_top("profile = \"vnx-like\"\n"),
       "array.toml:1:11: profile is \"vnx-like\"; expected one of \"instant\", \"copying\", \"change-vulnerable\", "
       "\"ontap-like\", \"powermax-like\", \"pure-like\", \"3par-like\", \"qnap-like\", \"quadstor-like\", "
       "\"freebsd-ctl-like\", \"no-odx\", \"no-third-party-copy\""},
      {with_top("[tokens]\noptimal_transfer = \"8G\"\n"),
       "array.toml:2:20: tokens.optimal_transfer is \"8G\"; expected at most maximum_transfer, 4294967296"},
      {with_top("[tokens]\nlifetime_s = 5\nminimum_lifetime_s = 6\n"),
       "array.toml:3:22: tokens.minimum_lifetime_s is 6; expected at most lifetime_s, 5"},
      {with_top("[tokens]\nmaximum_lifetime_s = 5\n"),
       "array.toml:2:22: tokens.maximum_lifetime_s is 5; expected at least lifetime_s, 3600"},
      {with_top("[tokens]\nremote_tokens = 6\n"), "array.toml:2:17: tokens.remote_tokens is 6; expected 0 or 4"},
      {with_top("[tokens]\nrod_types = [\"zero\"]\n"),
       "array.toml:1:1: tokens.populate_type is missing; expected one of rod_types of which tokens are made"},
      {with_top("[tokens]\nrod_types = [\"none\"]\n"),
       "array.toml:2:13: tokens.rod_types holds \"none\"; expected an array of \"access-upon-reference\", "
       "\"point-in-time-default\", \"point-in-time-change-vulnerable\", \"point-in-time-persistent\", "
       "\"point-in-time-any\", \"zero\""},
      {with_top("[copy]\nrefusal = \"no\"\n"),
       "array.toml:2:11: copy.refusal is \"no\"; expected one of \"unreachable-copy-target\", "
       "\"remote-token-usage-not-supported\", \"copy-target-device-not-reachable\""},
      {with_top("[copy]\nsegment_granularity = 1000\n"),
       "array.toml:2:23: copy.segment_granularity is 1000; expected a power of two of at most 1G"},
      {with_top("[copy]\nrate = 7\n"),
       "array.toml:2:8: copy.rate is 7; expected 0 for no limit, or a size from 1024 to 8796093022208 bytes"},
      {with_top("[copy]\nmaximum_inline_data = \"1M\"\n"),
       "array.toml:2:23: copy.maximum_inline_data is \"1M\"; expected a size from 0 to 65535 bytes"},
      {with_top("[block_limits]\nmaximum_transfer = 100\n"),
       "array.toml:2:20: block_limits.maximum_transfer is 100; expected 0 for no limit, or a size from 4096 to "
       "18446744073709551615 bytes"},
  });
}

namespace {

constexpr std::string_view kTwoArrays = R"([[array]]
name = "east"
id = "lab-east"
profile = "3par-like"
[array.tokens]
lifetime_s = 9
[[array]]
name = "west"
[[target]]
array = "west"
name = "iqn.2026-11.org.example:w"
[[target.lun]]
store = "memory:1G"
name = "w0"
[[target]]
array = "east"
name = "iqn.2026-11.org.example:e"
[[target.lun]]
store = "memory:1G"
name = "e0"
)";

std::string with_arrays(std::string_view more) { return std::string(kTwoArrays) + std::string(more); }

}  // namespace

TEST_CASE("each array has its own id and profile, and targets say whose they are") {
  Config config = target::parse_config(
      with_arrays("[[unreachable]]\na = \"east\"\nb = \"w0\"\nrefusal = \"copy-target-device-not-reachable\"\n"),
      "array.toml");
  REQUIRE(config.arrays.size() == 2);
  CHECK(config.arrays[0].name == "east");
  CHECK(config.arrays[0].id == "lab-east");
  CHECK(config.arrays[0].profile.maximum_range_descriptors == 8);
  CHECK(config.arrays[0].profile.token_lifetime_s == 9);
  CHECK(config.arrays[1].id.empty());
  CHECK(config.arrays[1].profile.maximum_range_descriptors == 64);
  CHECK(config.targets.at(0).array == 1);
  CHECK(config.targets.at(1).array == 0);
  CHECK(config.unreachable.at(0) ==
        target::UnreachablePair{"east", "w0", scsi::UnreachableRefusal::copy_target_device_not_reachable});
}

TEST_CASE("a wrong word about arrays is refused with its place") {
  check_all({
      {with_top("[[array]]\n"),
       "array.toml:1:1: array.name is missing; expected a name of 1 to 64 printable characters"},
      {with_top("id = \"lab\"\n[[array]]\nname = \"a\"\n"),
       "array.toml:1:6: id stands beside [[array]]; expected it in the array it is about"},
      {with_top("[[array]]\nname = \"a\"\n[[array]]\nname = \"a\"\n"),
       "array.toml:4:8: array.name is \"a\"; expected a name that no other array has"},
      {with_top("[[array]]\nname = \"a\"\nid = \"x\"\n[[array]]\nname = \"b\"\nid = \"x\"\n"),
       "array.toml:6:6: array.id is \"x\"; expected an id that no other array has"},
      {with_top("[[array]]\nname = \"a\"\n[[array]]\nname = \"b\"\n"),
       "array.toml:5:1: target.array is missing; expected the name of an array: a, b"},
      {"[[target]]\narray = \"a\"\n[[target.lun]]\nstore = \"memory:1G\"\n",
       "array.toml:2:9: target.array is \"a\"; expected none, since there is no [[array]]"},
      {with_top("[[array]]\nname = \"lun0\"\n") + "name = \"lun0\"\n",
       "array.toml:7:8: target.lun.name is \"lun0\"; expected a name that no other LUN and no array has"},
      {with_top("[[array]]\nname = \"a\"\n[array.tokens]\nlifetime_s = 0\n"),
       "array.toml:4:14: array.tokens.lifetime_s is 0; expected a whole number from 1 to 4294967295"},
      {with_arrays("[[array]]\nname = \"idle\"\n"),
       "array.toml:1:1: array \"idle\" has no target; expected a [[target]] of it"},
      {with_arrays("[[unreachable]]\na = \"east\"\nb = \"north\"\n"),
       "array.toml:23:5: unreachable.b is \"north\"; expected the name of a LUN or an array: e0, east, w0, west"},
  });
}

TEST_CASE("a peer is a portal and a target of another process, with what is proved to it") {
  Config config = target::parse_config(
      with_top("[[peer]]\nportal = \"peer.example.org\"\ntarget = \"IQN.2026-11.org.example:P\"\n"
               "initiator = \"iqn.2026-11.org.example:us\"\ntimeout_s = 7\n[peer.chap]\nname = \"us\"\n"
               "secret = \"peer-secret-12\"\nmutual = { name = \"it\", secret = \"its-secret-12\" }\n"
               "[[peer]]\nportal = \"[::1]:3261\"\ntarget = \"iqn.2026-11.org.example:p\"\n"),
      "array.toml");
  REQUIRE(config.peers.size() == 2);
  CHECK(config.peers[0].text() == "peer.example.org:3260 iqn.2026-11.org.example:p");
  CHECK(config.peers[0].initiator_name == "iqn.2026-11.org.example:us");
  CHECK(config.peers[0].timeout.count() == 7);
  CHECK(config.peers[0].authentication.initiator->secret == "peer-secret-12");
  CHECK(config.peers[0].authentication.target->name == "it");
  CHECK(config.peers[1].text() == "[::1]:3261 iqn.2026-11.org.example:p");
  CHECK(config.peers[1].timeout.count() == 3);
  CHECK_FALSE(config.peers[1].authentication.initiator);
}

TEST_CASE("a wrong word about a peer is refused with its place, and no secret is repeated") {
  constexpr std::string_view kNameRule = "an iSCSI name such as \"iqn.2026-11.org.example:disk\" (RFC 7143, 4.2.7)";
  check_all({
      {with_top("[[peer]]\ntarget = \"iqn.2026-11.a.b:p\"\n"),
       "array.toml:1:1: peer.portal is missing; expected an address or name and port such as array.example.org:3260"},
      {with_top("[[peer]]\nportal = \"a:0\"\n"),
       "array.toml:2:10: peer.portal is \"a:0\"; expected an address or name and port such as array.example.org:3260"},
      {with_top("[[peer]]\nportal = \"a\"\ntarget = \"p\"\n"),
       fmt::format("array.toml:3:10: peer.target is \"p\"; expected {}", kNameRule)},
      {with_top("[[peer]]\nportal = \"a\"\ntarget = \"iqn.2026-11.a.b:p\"\n"
                "[[peer]]\nportal = \"a:3260\"\ntarget = \"iqn.2026-11.a.b:P\"\n"),
       "array.toml:6:10: peer.target is \"iqn.2026-11.a.b:P\"; expected a portal and target that no other peer has"},
      {with_top("[[peer]]\nportal = \"a\"\ntarget = \"iqn.2026-11.a.b:p\"\ntimeout_s = 0\n"),
       "array.toml:4:13: peer.timeout_s is 0; expected a whole number from 1 to 86400"},
      {with_top("[[peer]]\nportal = \"a\"\ntarget = \"iqn.2026-11.a.b:p\"\n[peer.chap]\nname = \"n\"\nsecret = 5\n"),
       "array.toml:6:10: peer.chap.secret is not usable; expected a CHAP secret of 1 to 255 characters (12 or more for "
       "Windows)"},
      {with_top(
           "[[peer]]\nportal = \"a\"\ntarget = \"iqn.2026-11.a.b:p\"\n[peer.chap]\nname = \"n\"\n"
           "secret = \"a-secret-of-ours\"\nmutual = { name = \"m\", secret = \"a-secret-of-it\", required = false }\n"),
       "array.toml:7:51: peer.chap.mutual.required is not a key here; expected name, secret"},
  });
  std::string weak =
      "[[peer]]\nportal = \"a\"\ntarget = \"iqn.2026-11.a.b:p\"\n"
      "chap = { name = \"n\", secret = \"short\" }\n";
  auto lines = target::warnings(target::parse_config(with_top(weak), "array.toml"));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("peer a:3260 iqn.2026-11.a.b:p: the CHAP secret of \"n\""));
}

TEST_CASE("a target of ours is no peer") {
  CHECK(error_of("[[target]]\nname = \"iqn.2026-11.a.b:x\"\n[[target.lun]]\nstore = \"memory:1G\"\n"
                 "[[peer]]\nportal = \"a\"\ntarget = \"iqn.2026-11.a.b:x\"\n") ==
        "array.toml:7:10: peer.target is \"iqn.2026-11.a.b:x\"; expected a target of another process");
}
