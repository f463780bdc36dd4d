// Portal groups and asymmetric access in the configuration, and what changes when the file is read again.
//
// Not tested, and why: sockets (multipath_test.py).
#include "target/config_ports.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/unit_attentions.h"
#include "target/arrays.h"

namespace {

using scsi::AccessChanges;
using scsi::AccessState;
using target::AccessConfig;
using target::Config;

constexpr std::string_view kPortals = R"([[portal]]
listen = "127.0.0.1:3260"
[[portal]]
listen = "127.0.0.1:3261"
group = 2
[[portal]]
listen = "127.0.0.1:3262"
group = 2
)";

/// Two LUNs behind a target with `target` in it, the first with `lun` in it; `target` starts at line 10.
std::string document(std::string_view target, std::string_view lun = "") {
  return fmt::format("{}[[target]]\n{}[[target.lun]]\nstore = \"memory:1G\"\n{}[[target.lun]]\nstore = \"memory:1G\"\n",
                     kPortals, target, lun);
}

Config parsed(std::string_view target, std::string_view lun = "") {
  return target::parse_config(document(target, lun), "array.toml");
}

std::string error_of(std::string_view target, std::string_view lun = "") {
  try {
    check_portal_groups(parsed(target, lun), "array.toml");
  } catch (const target::ConfigError& error) {
    return error.what();
  }
  return "(accepted)";
}

class NoExecutor final : public base::Executor {
 public:
  void post(std::move_only_function<void()>, std::move_only_function<void()>) override {
    FAIL("nothing may block here");
  }
};

struct World {
  explicit World(const Config& config) : arrays(config, clock, timers, entropy, executor) {}
  base::VirtualClock clock;
  base::TimerQueue timers;
  base::SeededEntropy entropy{7};
  NoExecutor executor;
  target::Arrays arrays;
  scsi::LogicalUnit& lun(std::size_t index) { return *arrays.all().front()->luns().at(index).logical_unit; }
  const scsi::TargetPortGroup& group(std::size_t index, std::uint16_t number) {
    return *lun(index).target_port_groups().find(number);
  }
  std::vector<std::string> change_access(const Config& wanted) {
    std::vector<std::string> lines;
    for (const target::LunConfig& each : wanted.targets.front().luns)
      std::ranges::move(arrays.change_access(arrays.directory().targets.front()->name, each.number, each.access),
                        std::back_inserter(lines));
    return lines;
  }
};

constexpr std::string_view kBoth = "alua = \"both\"\n";

std::string access(std::string_view table, int group, std::string_view lines) {
  return fmt::format("[[{}.access]]\ngroup = {}\n{}", table, group, lines);
}

}  // namespace

TEST_CASE("portals have a group, 1 if not said, and the groups are known in ascending order") {
  Config config = parsed("");
  CHECK(config.portals[0].group == 1);
  CHECK(config.portals[2].group == 2);
  CHECK(config.portal_groups() == std::vector<std::uint16_t>{1, 2});
  CHECK(config.targets[0].portal_groups.empty());
  CHECK(config.targets[0].alua == AccessChanges::none);
  CHECK(parsed("portal_groups = [2, 1]\n").targets[0].portal_groups == std::vector<std::uint16_t>{1, 2});
  CHECK(target::parse_portal("127.0.0.1:0", "odxd", "--portal").group == 1);
  CHECK(target::parse_portal("[::1]:0,65535", "odxd", "--portal").group == 65535);
  for (const char* wrong : {"127.0.0.1:0,0", "127.0.0.1:0,65536", "127.0.0.1:0,", "127.0.0.1:0,x", "127.0.0.1,1,2"})
    CHECK_THROWS_AS(target::parse_portal(wrong, "odxd", "--portal"), target::ConfigError);
}

TEST_CASE("a target is offered in all groups, or in those it names, and the device server has a port for each") {
  World all(parsed("")), second(parsed("portal_groups = [2]\n"));
  CHECK(all.arrays.directory().targets[0]->portal_group_tags == std::vector<std::uint16_t>{1, 2});
  CHECK(all.arrays.directory().targets[0]->device_server->target_ports() == std::vector<std::uint16_t>{1, 2});
  CHECK(second.arrays.directory().targets[0]->portal_group_tags == std::vector<std::uint16_t>{2});
  CHECK(second.arrays.directory().targets[0]->device_server->target_ports() == std::vector<std::uint16_t>{2});
  CHECK_FALSE(all.lun(0).target_port_groups().reported());
  Config config = parsed("");
  auto told = target::advertised_portals(config.portals, {{"127.0.0.1", 1}, {"127.0.0.1", 2}, {"127.0.0.1", 3}});
  REQUIRE(told.size() == 3);
  CHECK(told[0].portal_group_tag == 1);
  CHECK(told[2].portal_group_tag == 2);
}

TEST_CASE("alua says who changes states; what a LUN says of a group goes before what its target says") {
  for (auto [word, changes] :
       {std::pair{"none", AccessChanges::none}, std::pair{"implicit", AccessChanges::implicitly},
        std::pair{"explicit", AccessChanges::explicitly}, std::pair{"both", AccessChanges::by_either_side}})
    CHECK(World(parsed(fmt::format("alua = \"{}\"\n", word))).lun(0).target_port_groups().changes() == changes);
  World world(parsed(
      std::string(kBoth) + access("target", 1, "preferred = true\n") + access("target", 2, "state = \"standby\"\n"),
      access("target.lun", 2, "state = \"active/non-optimized\"\n")));
  CHECK(world.group(0, 1).preferred);
  CHECK(world.group(0, 1).state == AccessState::active_optimized);
  CHECK(world.group(0, 2).state == AccessState::active_non_optimized);
  CHECK(world.group(1, 1).preferred);
  CHECK(world.group(1, 2).state == AccessState::standby);
}

TEST_CASE("every access state has a name, and it is the name that is read") {
  for (AccessState state : {AccessState::active_optimized, AccessState::active_non_optimized, AccessState::standby,
                            AccessState::unavailable, AccessState::transitioning}) {
    auto word = target::word_of(target::kAccessStateWords, state);
    Config config = parsed(std::string(kBoth) + access("target", 2, fmt::format("state = \"{}\"\n", word)));
    CHECK(target::access_through(config.targets[0].luns[0].access, 2).state == state);
  }
}

TEST_CASE("what is wrong about groups and states is refused with its place") {
  struct Row {
    std::string target, message;
  };
  const std::string both(kBoth);
  for (const Row& row :
       {Row{"portal_groups = [1, 3]\n", "array.toml: target.portal_groups names portal group 3; expected 1 or 2"},
        Row{"portal_groups = [1, 1]\n",
            "array.toml:10:17: target.portal_groups is an array; expected each portal group once"},
        Row{"portal_groups = [0]\n",
            "array.toml:10:17: target.portal_groups holds 0; expected an array of whole numbers from 1 to 65535"},
        Row{"portal_groups = []\n",
            "array.toml:10:17: target.portal_groups is an array; expected at least one portal group, or "
            "no such key for all of them"},
        Row{"alua = \"yes\"\n",
            "array.toml:10:8: target.alua is \"yes\"; expected \"none\", \"implicit\", \"explicit\" or \"both\""},
        Row{access("target", 1, "state = \"standby\"\n"),
            "array.toml:9:1: target.alua is missing; expected \"implicit\", \"explicit\" or \"both\", since there are "
            "access states"},
        Row{both + access("target", 3, ""),
            "array.toml: the access of LUN \"lun0\" names portal group 3; expected 1 or 2"},
        Row{both + "[[target.access]]\n",
            "array.toml:11:1: target.access.group is missing; expected the number of a "
            "portal group"},
        Row{both + access("target", 1, "") + access("target", 1, ""),
            "array.toml:14:9: target.access.group is 1; expected each portal group once"},
        Row{both + access("target", 1, "state = \"offline\"\n"),
            "array.toml:13:9: target.access.state is \"offline\"; expected \"active/optimized\", "
            "\"active/non-optimized\", \"standby\", \"unavailable\" or \"transitioning\""}}) {
    CAPTURE(row.target);
    CHECK(error_of(row.target) == row.message);
  }
}

TEST_CASE("the file read again changes the states that it gives another value than before, and every nexus is told") {
  World world(parsed(kBoth, access("target.lun", 2, "state = \"standby\"\n")));
  auto& server = *world.arrays.directory().targets[0]->device_server;
  scsi::NexusId host = server.attach({"iqn.2025-01.example:host", {}, server.config().target_name, 1});
  for (std::size_t lun : {0, 1}) world.lun(lun).unit_attentions().take(host);
  // The host's own change is not undone by a file that says nothing new of it.
  world.lun(0).target_port_groups().set_state(1, AccessState::unavailable,
                                              scsi::AccessChangedBy::set_target_port_groups);
  auto again = [&](std::string_view target, std::string_view lun) { return world.change_access(parsed(target, lun)); };
  CHECK(again(kBoth, access("target.lun", 2, "state = \"standby\"\n")).empty());
  CHECK(again(kBoth, access("target.lun", 2, "preferred = true\n")) ==
        std::vector<std::string>{"lun0 through portal group 2 is active/optimized, preferred"});
  CHECK(world.group(0, 1).state == AccessState::unavailable);
  CHECK(world.group(0, 2).state == AccessState::active_optimized);
  CHECK(world.group(0, 2).preferred);
  CHECK(world.group(0, 2).changed_by == scsi::AccessChangedBy::the_array);
  auto told = world.lun(0).unit_attentions().take(host);
  CHECK((told && told->code == scsi::AdditionalSense::asymmetric_access_state_changed));
  CHECK_FALSE(world.lun(0).unit_attentions().take(host));
  CHECK_FALSE(world.lun(1).unit_attentions().take(host));
  // A table that is gone means active/optimized.
  CHECK(again(kBoth, "") == std::vector<std::string>{"lun0 through portal group 2 is active/optimized"});
  CHECK_FALSE(world.group(0, 2).preferred);
}

TEST_CASE("where there are no states, or only initiators change them, the file read again changes none") {
  const std::string standby = access("target", 2, "state = \"standby\"\n");
  for (std::string_view alua : {"alua = \"explicit\"\n", ""}) {
    World world(parsed(alua));
    auto lines = world.change_access(parsed(std::string(kBoth) + standby));
    REQUIRE(lines.size() == 2);
    CHECK(lines[1] == (alua.empty()
                           ? "lun1 through portal group 2: there are no access states; they come with a start "
                             "of odxd"
                           : "lun1 through portal group 2: only initiators change access states, as alua says"));
    for (const scsi::TargetPortGroup& group : world.lun(1).target_port_groups().groups())
      CHECK(group.state == AccessState::active_optimized);
  }
}
