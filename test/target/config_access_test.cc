// The configuration of who may use what: secrets for each initiator, and LUNs that are there for some.
//
// Not tested, and why: what follows from it (test/iscsi/chap_rules_test.cc, test/scsi/access_test.cc).
#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "target/config.h"

namespace {

using target::Config;
using target::ConfigError;

Config parse(const std::string& document) { return target::parse_config(document, "array.toml"); }

std::string error_of(const std::string& document) {
  try {
    parse(document);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "(accepted)";
}

/// A target whose `lines` start at line 2, and a LUN with `more`.
std::string target_of(std::string_view lines, std::string_view more = "") {
  return "[[target]]\n" + std::string(lines) + "[[target.lun]]\nstore = \"memory:1G\"\n" + std::string(more);
}

constexpr std::string_view kEach = R"([[target.chap]]
initiator = "iqn.1991-05.com.microsoft:HOST_A"
name = "a"
secret = "secret-of-a-12"
[[target.chap]]
name = "all"
secret = "secret-of-all-1"
mutual = { name = "array", secret = "array-secret-1", required = false }
)";

}  // namespace

TEST_CASE("a target's initiators have secrets of their own, and one for the rest") {
  target::TargetConfig target = parse(target_of(kEach)).targets.at(0);
  REQUIRE(target.authentication_of.size() == 1);
  const iscsi::Authentication& own = target.authentication_of.at("iqn.1991-05.com.microsoft:host_a");
  CHECK(own.initiator->name == "a");
  CHECK_FALSE(own.target);
  CHECK(own.mutual_required);
  CHECK(target.authentication.initiator->secret == "secret-of-all-1");
  CHECK(target.authentication.target->name == "array");
  CHECK_FALSE(target.authentication.mutual_required);
}

TEST_CASE("a LUN is there for whom it lists, else for all of the target's") {
  auto luns =
      parse(target_of("allowed_initiators = [\"iqn.2026-11.a.b:x\", \"iqn.2026-11.a.b:y_1\"]\n",
                      "allowed_initiators = [\"iqn.2026-11.a.b:Y_1\"]\n[[target.lun]]\nstore = \"memory:1G\"\n"))
          .targets.at(0)
          .luns;
  CHECK(luns.at(0).allowed_initiators == std::vector<std::string>{"iqn.2026-11.a.b:y_1"});
  CHECK(luns.at(1).allowed_initiators.empty());
}

TEST_CASE("what is wrong about them is refused with its place and without a secret") {
  struct Row {
    std::string document;
    std::string message;
  };
  const std::string secrets = "name = \"n\"\nsecret = \"a-secret-of-14\"\n";
  const Row rows[] = {
      {target_of("", "allowed_initiators = []\n"),
       "array.toml:4:22: target.lun.allowed_initiators is empty; expected a name, or no such key for everybody"},
      {target_of("allowed_initiators = []\n"),
       "array.toml:2:22: target.allowed_initiators is empty; expected a name, or no such key for everybody"},
      {target_of("", "allowed_initiators = [\"host\"]\n"),
       "array.toml:4:22: target.lun.allowed_initiators holds \"host\"; expected an iSCSI name such as "
       "\"iqn.2026-11.org.example:disk\" (RFC 7143, 4.2.7)"},
      {target_of("allowed_initiators = [\"iqn.2026-11.a.b:x\"]\n", "allowed_initiators = [\"iqn.2026-11.a.b:y\"]\n"),
       "array.toml:5:22: target.lun.allowed_initiators holds \"iqn.2026-11.a.b:y\"; expected one of "
       "target.allowed_initiators"},
      {target_of("chap = []\n"), "array.toml:2:8: target.chap is empty; expected a [[target.chap]], or no such key"},
      {target_of("[[target.chap]]\n" + secrets + "[[target.chap]]\n" + secrets),
       "array.toml:5:1: target.chap.initiator is missing; expected only one [[target.chap]] for all other initiators"},
      {target_of("[[target.chap]]\ninitiator = \"host\"\n" + secrets),
       "array.toml:3:13: target.chap.initiator is \"host\"; expected an iSCSI name such as "
       "\"iqn.2026-11.org.example:disk\" (RFC 7143, 4.2.7)"},
      {target_of("[[target.chap]]\ninitiator = \"iqn.2026-11.a.b:x\"\n" + secrets +
                 "[[target.chap]]\ninitiator = \"iqn.2026-11.a.b:X\"\n" + secrets),
       "array.toml:7:13: target.chap.initiator is \"iqn.2026-11.a.b:X\"; expected an initiator that no other "
       "[[target.chap]] is for"},
      {target_of("[target.chap]\ninitiator = \"iqn.2026-11.a.b:x\"\n" + secrets),
       "array.toml:3:1: target.chap.initiator is not a key here; expected name, secret, mutual"},
      {"[[discovery.chap]]\n" + secrets + target_of(""),
       "array.toml:1:1: discovery.chap is an array; expected a table with name, secret, mutual"},
      {"[discovery.chap]\nname = \"d\"\nsecret = \"one-and-the-same\"\n" +
           target_of("chap = { name = \"n\", secret = \"another-secret\", mutual = { name = \"array\", secret = "
                     "\"one-and-the-same\" } }\n"),
       "array.toml: the chap.mutual secret of \"array\" (the target) is also one that initiators prove; expected "
       "another one (RFC 7143, 9.2.1)"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.document);
    std::string message = error_of(row.document);
    CHECK(message == row.message);
    for (const char* secret : {"a-secret-of-14", "one-and-the-same", "another-secret"})
      CHECK(message.find(secret) == std::string::npos);
  }
}

TEST_CASE("a target beyond loopback is open while a LUN is there for everybody") {
  const std::string beyond = "[[portal]]\nlisten = \"0.0.0.0\"\n";
  const std::string only = "allowed_initiators = [\"iqn.2026-11.a.b:x\"]\n";
  CHECK(target::warnings(parse(beyond + target_of("", only))).empty());
  CHECK(target::warnings(parse(beyond + target_of(kEach))).empty());
  CHECK(target::warnings(parse(beyond + target_of("", only + "[[target.lun]]\nstore = \"memory:1G\"\n"))).size() == 1);
}

TEST_CASE("short secrets of each initiator are worth a warning") {
  auto lines = target::warnings(
      parse(target_of("[[target.chap]]\ninitiator = \"iqn.2026-11.a.b:x\"\nname = \"n\"\nsecret = \"hush\"\n")));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find("hush") == std::string::npos);
}
