// The array as assembled from its configuration.
//
// Not tested, and why: what a LUN answers (scsi's tests); files as stores (handlers' tests and the system tests).
#include "target/arrays.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>

#include "base/clock.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_changes.h"
#include "test/handlers/store_kinds.h"

namespace {

using target::Arrays;
using target::PortalConfig;

/// Memory stores do not block, so nothing is ever posted.
class NoExecutor final : public base::Executor {
 public:
  void post(std::move_only_function<void()>, std::move_only_function<void()>) override {
    FAIL("nothing may block here");
  }
};

struct World {
  explicit World(std::string_view document)
      : arrays(target::parse_config(document, "array.toml"), clock, timers, entropy, executor) {}
  base::VirtualClock clock;
  base::TimerQueue timers;
  base::SeededEntropy entropy{7};
  NoExecutor executor;
  Arrays arrays;
  const target::Array& first() const { return *arrays.all().front(); }
};

constexpr std::string_view kTwoTargets = R"(
id = "lab"
[discovery.chap]
name = "d"
secret = "discovery-secret"
[iscsi]
command_window = 7
[[target]]
name = "iqn.2026-11.org.example:one"
alias = "first"
redirect = "192.0.2.9:3262"
allowed_initiators = ["iqn.2026-11.org.example:host"]
[[target.lun]]
number = 4
store = "memory:1G"
block_size = 4096
physical_block_exponent = 1
read_only = true
removable = true
provisioning = "thick"
serial = "S-1"
naa = "6024f4400000000000000000000000ff"
[[target]]
name = "iqn.2026-11.org.example:two"
[[target.lun]]
store = "memory:2G"
)";

PortalConfig portal(const char* host, std::optional<iscsi::PortalAddress> advertised = {}) {
  PortalConfig made;
  made.host = host;
  made.advertised = std::move(advertised);
  return made;
}

}  // namespace

TEST_CASE("targets, logical units and limits are as configured") {
  World world(kTwoTargets);
  const iscsi::Directory& directory = world.arrays.directory();
  REQUIRE(directory.targets.size() == 2);
  CHECK(directory.limits.command_window == 7);
  CHECK(directory.discovery.initiator->name == "d");
  const iscsi::TargetNode& node = *directory.targets[0];
  CHECK(node.name == "iqn.2026-11.org.example:one");
  CHECK(node.alias == "first");
  CHECK(node.redirection->to.port == 3262);
  CHECK(node.allowed_initiators.size() == 1);
  const scsi::LogicalUnit* unit = node.device_server->find(scsi::Lun{4});
  REQUIRE(unit);
  CHECK(unit->block_length() == 4096);
  CHECK(unit->capacity() == base::BlockCount(262144));
  CHECK(unit->read_only());
  CHECK(unit->config().removable);
  CHECK_FALSE(unit->config().thin);
  CHECK(unit->config().blocks_per_physical_exponent == 1);
  CHECK(unit->identity().serial == "S-1");
  CHECK(unit->identity().naa[15] == 0xFF);
  CHECK(directory.targets[1]->device_server->find(scsi::Lun{0})->config().name == "target2-lun0");
  CHECK(world.first().luns().size() == 2);
  CHECK(world.first().id_is_stable());
  CHECK(world.arrays.flush().empty());
}

TEST_CASE("a target without a name has the array's id in its name") {
  World world("id = \"lab\"\n[[target]]\n[[target.lun]]\nstore = \"memory:1G\"\n");
  CHECK(world.arrays.directory().targets.at(0)->name == "iqn.2026-11.org.odx:lab");
}

TEST_CASE("a store that cannot be opened is said with its place") {
  constexpr std::string_view kOdd = "[[target]]\n[[target.lun]]\nstore = \"memory:1000\"\n";
  CHECK_THROWS_WITH_AS(
      World{kOdd}, "array.toml:3:9: store 'memory:1000': 1000 bytes is not a positive multiple of the block length 512",
      target::StoreError);
}

TEST_CASE("reservations persist in the state folder; what is there and is not that is said with the LUN's place") {
  handlers::TemporaryFolder folder;
  std::string text =
      fmt::format("state_dir = \"{}\"\n[[target]]\n[[target.lun]]\nstore = \"memory:1G\"\n", folder.file("state"));
  CHECK(World(text).first().luns().at(0).logical_unit->reservation_changes().can_persist());
  CHECK_FALSE(World(kTwoTargets).first().luns().at(0).logical_unit->reservation_changes().can_persist());
  const std::string file = folder.file("state") + "/lun0.reservations";
  std::ofstream(file) << "reserved";
  CHECK_THROWS_WITH_AS(
      World{text}.first(),
      ("array.toml:4:9: " + file + ": does not hold persistent reservations: 8 bytes are too few").c_str(),
      target::StoreError);
}

TEST_CASE("nothing is to be reclaimed while nothing ended") {
  World world(kTwoTargets);
  CHECK_FALSE(world.arrays.reclaim());
}

TEST_CASE("SendTargets tells the advertised address, else the bound one, else the one that was reached") {
  iscsi::PortalAddress name{"array.example.org", 3999};
  iscsi::PortalAddress any{"0.0.0.0", 3260}, some{"192.0.2.7", 3261};
  auto told = target::advertised_portals({portal("192.0.2.7"), portal("0.0.0.0", name)}, {some, any});
  REQUIRE(told.size() == 2);
  CHECK(told[0].address == "192.0.2.7");
  CHECK(told[0].port == 3261);
  CHECK(told[1].address == "array.example.org");
  CHECK(target::advertised_portals({portal("0.0.0.0")}, {any}).empty());
}

TEST_CASE("URLs name an address that can be reached") {
  CHECK(target::portal_for_urls(portal("0.0.0.0"), {"0.0.0.0", 7}) == "127.0.0.1:7");
  CHECK(target::portal_for_urls(portal("::"), {"[::]", 7}) == "[::1]:7");
  CHECK(target::portal_for_urls(portal("192.0.2.7"), {"192.0.2.7", 7}) == "192.0.2.7:7");
  CHECK(target::portal_for_urls(portal("0.0.0.0", iscsi::PortalAddress{"a.example", 9}), {"0.0.0.0", 7}) ==
        "a.example:9");
}

namespace {

constexpr std::string_view kTwoArrays = R"(
[[array]]
name = "east"
id = "e"
[array.tokens]
maximum_tokens = 3
[[array]]
name = "west"
id = "w"
[[target]]
array = "west"
name = "iqn.2026-11.org.example:west"
[[target.lun]]
name = "w0"
store = "memory:1G"
[[target]]
array = "east"
name = "iqn.2026-11.org.example:east"
[[target.lun]]
name = "e0"
store = "memory:1G"
[[target.lun]]
name = "e1"
store = "memory:1G"
[[unreachable]]
a = "east"
b = "w0"
refusal = "copy-target-device-not-reachable"
)";

}  // namespace

TEST_CASE("each array has a copy manager, an id and a profile of its own, and all share portals and memory") {
  World world(kTwoArrays);
  REQUIRE(world.arrays.all().size() == 2);
  const target::Array& east = *world.arrays.all()[0];
  const target::Array& west = *world.arrays.all()[1];
  CHECK(east.name() == "east");
  CHECK(east.id() == "e");
  CHECK(east.luns().size() == 2);
  CHECK(east.copy_manager().profile().maximum_tokens == 3);
  CHECK(west.id() == "w");
  CHECK(west.luns().size() == 1);
  CHECK(&west.copy_manager() != &east.copy_manager());
  CHECK(world.arrays.directory().targets.size() == 2);
  CHECK(&world.arrays.directory().find("iqn.2026-11.org.example:west")->device_server->copy_manager() ==
        &west.copy_manager());
}

TEST_CASE("a new matrix replaces the one before, and what is said of a LUN goes before what is said of its array") {
  World world(kTwoArrays);
  scsi::Reachability& matrix = world.arrays.all()[0]->copy_manager().reachability();
  CHECK(&matrix == &world.arrays.all()[1]->copy_manager().reachability());
  REQUIRE(matrix.find({"e1", "east"}, {"w0", "west"}));
  CHECK_FALSE(matrix.find({"e0", "east"}, {"e1", "east"}));
  using enum scsi::UnreachableRefusal;
  world.arrays.set_unreachable({{"east", "west", remote_token_usage_not_supported},
                                {"w0", "east", unreachable_copy_target},
                                {"w0", "e1", copy_target_device_not_reachable}});
  CHECK(matrix.find({"e1", "east"}, {"w0", "west"})->refusal == copy_target_device_not_reachable);
  CHECK(matrix.find({"e0", "east"}, {"w0", "west"})->refusal == unreachable_copy_target);
  CHECK(matrix.find({"e0", "east"}, {"w1", "west"})->refusal == remote_token_usage_not_supported);
}
