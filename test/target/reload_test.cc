// A configuration that is read again: what changes, what needs a restart, and that it is all or nothing.
//
// Not tested, and why: the signal, sessions that log out, and loads under way (online_changes_test.py); what hosts are
// answered (test/scsi/inventory_test.cc).
#include "target/reload.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_changes.h"
#include "scsi/unit_settings.h"
#include "target/iscsi/session_registry.h"
#include "test/handlers/store_kinds.h"
#include "test/scsi/device_fixture.h"

namespace {

using target::Config;
using target::Reload;
using Lines = std::vector<std::string>;

constexpr const char* kOne = "iqn.2026-11.org.example:one";
constexpr const char* kTwo = "iqn.2026-11.org.example:two";

std::string target_text(const char* name, const std::string& luns) {
  return fmt::format("[[target]]\nname = \"{}\"\n{}", name, luns);
}
std::string lun_text(const std::string& store, const std::string& more = {}) {
  return fmt::format("[[target.lun]]\nstore = \"{}\"\n{}", store, more);
}

struct World {
  explicit World(const std::string& document)
      : started(target::parse_config(document, "a.toml")),
        arrays(started, clock, timers, entropy, executor),
        sessions(started.limits) {}

  Lines reload(const std::string& document) {
    Lines changes = Reload(started, target::parse_config(document, "a.toml"), arrays).apply(sessions, {});
    arrays.reclaim();
    return changes;
  }
  std::string refusal(const std::string& document) {
    try {
      return fmt::format("changed: {}", fmt::join(reload(document), "; "));
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  scsi::LogicalUnit* lun(std::uint16_t number, const char* target = kOne) const {
    auto found = arrays.find_lun(target, number);
    return found.lun ? found.lun->logical_unit.get() : nullptr;
  }
  std::uint64_t size(std::uint16_t number) const { return lun(number)->size_bytes(); }
  scsi::DeviceServer& server(const char* target = kOne) const {
    return *arrays.directory().find(target)->device_server;
  }

  base::VirtualClock clock;
  base::TimerQueue timers;
  base::SeededEntropy entropy{7};
  test::HeldExecutor executor;
  Config started;
  target::Arrays arrays;
  iscsi::SessionRegistry sessions;
};

const std::string kHead = "id = \"lab\"\n";

}  // namespace

TEST_CASE("reload: nothing that differs changes nothing") {
  const std::string text = kHead + target_text(kOne, lun_text("memory:1G"));
  World world(text);
  CHECK(world.reload(text).empty());
}

TEST_CASE("reload: LUNs are added, removed, resized and protected") {
  World world(kHead + target_text(kOne, lun_text("memory:1G") + lun_text("memory:1G") + lun_text("memory:1G")));
  scsi::LogicalUnit* first = world.lun(0);
  CHECK(world.reload(kHead + target_text(kOne, lun_text("memory:2G") + lun_text("memory:1M", "read_only = true\n") +
                                                   lun_text("memory:3G", "number = 7\n"))) ==
        Lines{fmt::format("LUN 2 of {} is removed", kOne), fmt::format("LUN 0 of {} has 2147483648 bytes", kOne),
              fmt::format("LUN 1 of {} has 1048576 bytes", kOne), fmt::format("LUN 1 of {} is read-only", kOne),
              fmt::format("LUN 7 of {} is added: memory:3G", kOne)});
  CHECK(world.lun(0) == first);
  CHECK(world.size(0) == 2ull << 30);
  CHECK(world.size(1) == 1ull << 20);
  CHECK(world.lun(1)->read_only());
  CHECK(world.lun(2) == nullptr);
  CHECK(world.server().find(scsi::Lun{2}) == nullptr);
  CHECK(world.lun(7)->config().name == "lun7");
  CHECK(world.arrays.lun_names() == std::set<std::string>{"lun0", "lun1", "lun7"});
  CHECK(world.reload(kHead + target_text(kOne, lun_text("memory:2G") + lun_text("memory:1M") +
                                                   lun_text("memory:3G", "number = 7\n"))) ==
        Lines{fmt::format("LUN 1 of {} is writable", kOne)});
}

TEST_CASE("reload: what needs a restart is said completely, with its place, and nothing changes") {
  World world(kHead + target_text(kOne, lun_text("memory:1G") + lun_text("memory:1G")));
  CHECK(world.refusal(
            "id = \"other\"\nmemory_limit = \"1G\"\nthreads = 4\n[[portal]]\nlisten = \"127.0.0.1:7\"\n[iscsi]\n"
            "command_window = 3\n" +
            target_text(kOne, lun_text("memory:2G"))) ==
        "these need a restart of odxd: memory_limit; threads; [[portal]]; id, profile, [tokens], [copy], "
        "[block_limits] or "
        "[[array]]; [iscsi]");
  CHECK(
      world.refusal(kHead +
                    target_text(kOne, lun_text("memory:2G", "block_size = 4096\nname = \"x\"\nserial = \"S\"\n"))) ==
      fmt::format("these need a restart of odxd: a.toml:5:9: name of LUN 0 of {0}; a.toml:5:9: block_size of LUN 0 of "
                  "{0}; a.toml:5:9: serial of LUN 0 of {0}",
                  kOne));
  CHECK(world.size(0) == 1ull << 30);
  CHECK(world.lun(1));
}

TEST_CASE("reload: ports, and what else a LUN or a target begins with, need a restart") {
  const std::string portals = kHead + "[[portal]]\nlisten = \"127.0.0.1:7\"\n[[portal]]\nlisten = \"127.0.0.1:8\"\n";
  const std::string second = "group = 2\n", lun = lun_text("memory:1G");
  World world(portals + second + target_text(kOne, lun));
  CHECK(world.refusal(portals + target_text(kOne, lun)) == "these need a restart of odxd: [[portal]]");
  CHECK(world.refusal(portals + second +
                      target_text(kOne, "portal_groups = [2]\nalua = \"both\"\n" +
                                            lun_text("memory:1G",
                                                     "self_encrypting = true\nsoft_threshold = \"1M\"\n"
                                                     "allowed_initiators = [\"iqn.2026-11.org.example:h\"]\n"))) ==
        fmt::format("these need a restart of odxd: portal_groups of {0}; alua of {0}; a.toml:12:9: self_encrypting of "
                    "LUN 0 of {0}; a.toml:12:9: soft_threshold of LUN 0 of {0}; a.toml:12:9: allowed_initiators of "
                    "LUN 0 of {0}",
                    kOne));
  CHECK(world.reload(portals + second + target_text(kOne, "portal_groups = [1, 2]\n" + lun)).empty());  // they are all
}

TEST_CASE("reload: access states change, and a LUN that is added has those of the file") {
  const std::string portals = kHead +
                              "[[portal]]\nlisten = \"127.0.0.1:7\"\n[[portal]]\nlisten = \"127.0.0.1:8\"\n"
                              "group = 2\n";
  const std::string alua = "alua = \"implicit\"\n", lun = lun_text("memory:1G");
  const std::string standby = "[[target.lun.access]]\ngroup = 2\nstate = \"standby\"\n";
  World world(portals + target_text(kOne, alua + lun));
  auto state = [&](std::uint16_t number, std::uint16_t group) {
    return world.lun(number)->target_port_groups().find(group)->state;
  };
  CHECK(world.reload(portals + target_text(kOne, alua + lun + standby + lun_text("memory:2G") + standby)) ==
        Lines{"lun0 through portal group 2 is standby", fmt::format("LUN 1 of {} is added: memory:2G", kOne)});
  for (std::uint16_t number : {0, 1}) {
    CHECK(state(number, 1) == scsi::AccessState::active_optimized);
    CHECK(state(number, 2) == scsi::AccessState::standby);
  }
  CHECK(world.reload(portals + target_text(kOne, alua + lun + standby + lun_text("memory:2G") + standby)).empty());
  // A target that is added has its ports and its states.
  CHECK(world.reload(portals + target_text(kOne, alua + lun + lun_text("memory:2G") + standby) +
                     target_text(kTwo, "portal_groups = [2]\nalua = \"both\"\n" +
                                           lun_text("memory:1G", "name = \"b\"\n") + standby)) ==
        Lines{"lun0 through portal group 2 is active/optimized", fmt::format("{} is added", kTwo),
              fmt::format("LUN 0 of {} is added: memory:1G", kTwo)});
  CHECK(world.server(kTwo).target_ports() == std::vector<std::uint16_t>{2});
  CHECK(world.arrays.directory().find(kTwo)->portal_group_tags == std::vector<std::uint16_t>{2});
  CHECK(world.lun(0, kTwo)->target_port_groups().groups().size() == 1);
  CHECK(world.lun(0, kTwo)->target_port_groups().find(2)->state == scsi::AccessState::standby);
}

TEST_CASE("reload: a LUN that is added has what its keys say") {
  const std::string first = lun_text("memory:1G");
  World world(kHead + target_text(kOne, first));
  world.reload(kHead + target_text(kOne, first + lun_text("memory:1G",
                                                          "self_encrypting = true\nsoft_threshold = \"1M\"\n"
                                                          "allowed_initiators = [\"iqn.2026-11.org.example:h\"]\n")));
  const scsi::LogicalUnitConfig& config = world.lun(1)->config();
  CHECK(config.self_encrypting);
  CHECK(config.soft_threshold_bytes == 1 << 20);
  CHECK(config.allowed_initiators == std::vector<std::string>{"iqn.2026-11.org.example:h"});
}

TEST_CASE("reload: a store that cannot be opened changes nothing else") {
  handlers::TemporaryFolder folder;
  World world(kHead + target_text(kOne, lun_text("memory:1G") + lun_text("memory:1G")));
  const std::string none = folder.file("none.img");
  CHECK(world.refusal(kHead + target_text(kOne, lun_text("memory:2G") + lun_text("file:" + none, "number = 5\n"))) ==
        fmt::format("a.toml:7:9: file '{}' does not exist; add ,size=SIZE to create it", none));
  CHECK(world.refusal(kHead + target_text(kOne, lun_text("memory:1000"))) ==
        "a.toml:5:9: \"lun0\" cannot have 1000 bytes: expected a positive multiple of its block length 512");
  CHECK(world.size(0) == 1ull << 30);
  CHECK(world.lun(1));
}

TEST_CASE("reload: a LUN keeps the name that follows from where it stood, and a new one cannot take it") {
  World world(kHead + target_text(kOne, lun_text("memory:1G")) + target_text(kTwo, lun_text("memory:1G")));
  auto naa = world.lun(0, kTwo)->identity().naa;
  CHECK(world.reload(kHead + target_text(kTwo, lun_text("memory:1G") + lun_text("memory:1G")) +
                     "[[unreachable]]\na = \"lun0\"\nb = \"lun1\"\n") ==
        Lines{fmt::format("{} is removed", kOne), fmt::format("LUN 1 of {} is added: memory:1G", kTwo)});
  CHECK(world.lun(0, kTwo)->config().name == "target2-lun0");
  CHECK(world.lun(0, kTwo)->identity().naa == naa);
  const auto& cuts = world.arrays.all().front()->copy_manager().reachability().cuts();
  REQUIRE(cuts.size() == 1);
  CHECK(cuts[0].a == "target2-lun0");
  CHECK(cuts[0].b == "lun1");
  CHECK(world.refusal(kHead + target_text(kOne, lun_text("memory:1G", "name = \"target2-lun0\"\n")) +
                      target_text(kTwo, lun_text("memory:1G", "name = \"target2-lun0x\"\n"))) ==
        fmt::format("these need a restart of odxd: a.toml:10:9: name of LUN 0 of {}", kTwo));
  CHECK(
      world.refusal(kHead + target_text(kTwo, lun_text("memory:1G")) +
                    target_text(kOne, lun_text("memory:1G", "name = \"target2-lun0\"\n"))) ==
      "a.toml:9:9: the name \"target2-lun0\" is taken by a LUN that is served; expected another, or the LUN when that "
      "one is gone");
}

TEST_CASE("reload: other data under the same number or name is another logical unit") {
  handlers::TemporaryFolder folder;
  const std::string image = lun_text("file:" + folder.file("a.img") + ",size=1M");
  World world(kHead + target_text(kOne, lun_text("memory:1G") + image));
  auto memory = world.lun(0)->identity(), file = world.lun(1)->identity();
  const std::string other = lun_text("file:" + folder.file("b.img") + ",size=1M");
  CHECK(world.reload(kHead + target_text(kOne, other + lun_text("memory:1M"))).size() == 4);
  CHECK(world.lun(0)->identity().naa != memory.naa);
  CHECK(world.lun(0)->identity().serial != memory.serial);
  CHECK(world.lun(1)->identity().naa != file.naa);
  world.executor.run_all();
  CHECK(world.reload(kHead + target_text(kOne, lun_text("memory:1G") + image)).size() == 4);
  CHECK(world.lun(0)->identity().naa != memory.naa);  // its data is gone
  CHECK(world.lun(1)->identity().naa == file.naa);    // it is the same disk again
}

TEST_CASE("reload: files and what is behind them grow, and do not shrink") {
  handlers::TemporaryFolder folder;
  const std::string a = folder.file("a.img"), b = folder.file("b.img");
  auto text = [&](const std::string& first, const std::string& second) {
    return kHead + target_text(kOne, lun_text("file:" + a + first) + lun_text("file:" + b + second));
  };
  World world(text(",size=1M", ",size=1M"));
  CHECK(world.reload(text(",size=2M", ",size=1M")) == Lines{fmt::format("LUN 0 of {} has 2097152 bytes", kOne)});
  CHECK(std::filesystem::file_size(a) == 2 << 20);
  CHECK(world.refusal(text(",size=3M", ",size=512K")) ==
        "a.toml:7:9: \"lun1\" cannot have 524288 bytes: it has 1048576, and a file or device that is served does not "
        "shrink");
  std::filesystem::resize_file(b, (4 << 20) + 100);
  CHECK(world.reload(text("", "")) == Lines{fmt::format("LUN 1 of {} has 4194304 bytes", kOne)});
  std::filesystem::resize_file(b, 1 << 20);
  CHECK(world.reload(text("", "")).empty());
  CHECK(world.size(0) == 2 << 20);
  CHECK(world.size(1) == 4 << 20);
}

TEST_CASE("reload: when one of several files cannot grow, none has") {
  handlers::TemporaryFolder folder;
  const std::string a = folder.file("a.img"), b = folder.file("b.img");
  auto text = [&](const char* size_a, const char* size_b) {
    return kHead + target_text(kOne, lun_text(fmt::format("file:{},size={}", a, size_a)) +
                                         lun_text(fmt::format("file:{},size={}", b, size_b)));
  };
  World world(text("64K", "64K"));
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limited{1 << 20, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &limited) == 0);
  std::string refusal = world.refusal(text("512K", "2M"));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(refusal == fmt::format("a.toml:7:9: {}: ftruncate at byte 2097152: File too large", b));
  CHECK(world.size(0) == 64 << 10);
  CHECK(std::filesystem::file_size(a) == 64 << 10);
  CHECK(std::filesystem::file_size(b) == 64 << 10);
}

TEST_CASE("reload: the file of a removed LUN is flushed, and closed when nothing uses it") {
  handlers::TemporaryFolder folder;
  const std::string image = lun_text("file:" + folder.file("a.img") + ",size=1M", "number = 1\n");
  const std::string alone = kHead + target_text(kOne, lun_text("memory:1G"));
  World world(kHead + target_text(kOne, lun_text("memory:1G") + image));
  const scsi::NexusId nexus = world.server().attach({"iqn.2026-11.org.example:host", {}, kOne, 1});
  auto send = [&](test::Command& command, std::uint8_t opcode) {
    scsi::Task& task = command.task;
    task.nexus = nexus;
    task.lun = scsi::Lun{1};
    task.observer = &command;
    task.cdb = {opcode, 0, 0, 0, 0, 0, 0, 1, 0, 0};  // 128 KiB, which a worker reads
    world.server().admit(task);
  };
  test::Command attention, read;
  send(attention, 0x28);
  REQUIRE(attention.done());
  send(read, 0x28);
  REQUIRE(world.executor.held() == 1);
  world.reload(alone);
  CHECK(world.executor.held() == 1);  // nothing but the READ
  CHECK(world.refusal(alone + image).find("is locked") != std::string::npos);
  world.executor.run();
  CHECK(read.good());
  world.arrays.reclaim();
  REQUIRE(world.executor.held() == 1);  // the flush
  world.executor.run();
  CHECK(world.reload(alone + image).size() == 1);
}

TEST_CASE("reload: a target goes when its sessions have, with its LUNs; a new one is found") {
  const std::string one = target_text(kOne, lun_text("memory:1G", "name = \"a\"\n"));
  const std::string two = target_text(kTwo, lun_text("memory:1G", "name = \"b\"\n"));
  World world(kHead + one + two);
  world.arrays.advertise({{"192.0.2.1", 3260}});
  scsi::DeviceServer& leaving = world.server(kTwo);
  scsi::NexusId nexus = leaving.attach({"iqn.2026-11.org.example:host", {}, kTwo, 1});
  CHECK(world.reload(kHead + one) == Lines{fmt::format("{} is removed", kTwo)});
  CHECK(world.arrays.directory().find(kTwo) == nullptr);
  CHECK(leaving.find(scsi::Lun{0}) != nullptr);  // until the session is over
  CHECK(world.arrays.lun_names().contains("b"));
  CHECK(world.refusal(kHead + one + two) ==
        fmt::format("{} is still being removed; expected it when that is over", kTwo));
  leaving.detach(nexus);
  world.arrays.reclaim();
  CHECK_FALSE(world.arrays.lun_names().contains("b"));
  CHECK_FALSE(world.arrays.target_names().contains(kTwo));
  CHECK(world.reload(kHead + one + two) ==
        Lines{fmt::format("{} is added", kTwo), fmt::format("LUN 0 of {} is added: memory:1G", kTwo)});
  CHECK(world.arrays.directory().find(kTwo)->portals.at(0).address == "192.0.2.1");
  CHECK(world.server(kTwo).find(scsi::Lun{0}) != nullptr);
}

TEST_CASE("reload: who may log in changes for later logins, while others hold what they found") {
  const std::string luns = lun_text("memory:1G");
  World world(kHead + target_text(kOne, luns));
  auto found = world.arrays.directory().find(kOne);
  const std::string chap = "chap = { name = \"h\", secret = \"fourteen-bytes\" }\n";
  CHECK(world.reload(
            kHead + "[discovery]\n" + chap +
            target_text(kOne, "alias = \"x\"\nallowed_initiators = [\"iqn.2026-11.org.example:h\"]\n" + chap + luns)) ==
        Lines{"discovery has another CHAP", fmt::format("who may log in to {} is changed", kOne)});
  auto now = world.arrays.directory().find(kOne);
  CHECK(found->allows("iqn.2026-11.org.example:other"));
  CHECK_FALSE(now->allows("iqn.2026-11.org.example:other"));
  CHECK(now->authentication.initiator->secret == "fourteen-bytes");
  CHECK(now->alias == "x");
  CHECK(now->device_server == found->device_server);
  CHECK(world.arrays.directory().discovery.initiator->name == "h");
}

TEST_CASE("reload: secrets for each initiator, and where initiators are sent, change for later logins") {
  const std::string luns = lun_text("memory:1G");
  World world(kHead + target_text(kOne, luns));
  auto changes = Lines{fmt::format("who may log in to {} is changed", kOne)};
  const std::string chap =
      "[[target.chap]]\ninitiator = \"iqn.2026-11.org.example:h\"\nname = \"h\"\nsecret = \"fourteen-bytes\"\n";
  CHECK(world.reload(kHead + target_text(kOne, chap + luns)) == changes);
  CHECK(world.arrays.directory().find(kOne)->authentication_for("iqn.2026-11.org.example:h").initiator->name == "h");
  CHECK(world.arrays.directory().find(kOne)->authenticates());
  CHECK(world.reload(kHead + target_text(kOne, chap + luns)).empty());
  CHECK(world.reload(kHead + target_text(kOne, "redirect = \"192.0.2.9\"\n" + luns)) == changes);
  CHECK(world.arrays.directory().find(kOne)->redirection->to.address == "192.0.2.9");
  CHECK(world.reload(kHead + target_text(kOne, "redirect_permanently = \"192.0.2.9\"\n" + luns)) == changes);
  CHECK(world.reload(kHead + target_text(kOne, luns)) == changes);
  CHECK_FALSE(world.arrays.directory().find(kOne)->redirection);
}

TEST_CASE("reload: a LUN that takes the place of another does not take its reservations or its settings") {
  handlers::TemporaryFolder folder;
  const std::string head = kHead + fmt::format("state_dir = \"{}\"\n", folder.file("state"));
  World world(head + target_text(kOne, lun_text("memory:1G") + lun_text("memory:1G")));
  auto registered = [](scsi::Reservations& reservations) {
    reservations.set_persist_through_power_loss(true);
    return reservations.register_and_ignore_existing_key({{"iqn.2026-11.org.example:host", {}, kOne, 1}}, 0x11);
  };
  world.lun(1)->reservation_changes().submit(nullptr, registered, [](const auto&) {});
  REQUIRE(world.lun(1)->reservations().registrations().size() == 1);
  auto labelled = [](scsi::UnitSettings& settings) -> std::expected<bool, scsi::Sense> {
    settings.identifying.text = {'x'};
    return true;
  };
  world.lun(1)->settings_changes().submit(nullptr, labelled, [](const auto&) {});
  REQUIRE(world.lun(1)->settings().identifying.text.size() == 1);
  const std::string image = lun_text("file:" + folder.file("a.img") + ",size=1M,ro");
  std::ofstream(folder.file("a.img")) << std::string(1 << 20, 'x');
  world.reload(head + target_text(kOne, lun_text("memory:1G") + image));  // keeps them under the name, too
  CHECK(world.lun(1)->reservations().registrations().empty());
  CHECK(world.lun(1)->settings().identifying.text.empty());
}

TEST_CASE("changes one by one say what is wrong with them") {
  World world(kHead + target_text(kOne, lun_text("memory:1G")));
  target::Arrays& arrays = world.arrays;
  target::LunConfig lun{.number = 3, .name = "new", .store = "memory:1M", .place = "here"};
  arrays.add_lun(kOne, lun);
  CHECK(world.size(3) == 1 << 20);
  CHECK_THROWS_WITH_AS(arrays.add_lun(kOne, lun), fmt::format("{} has a LUN 3 already", kOne).c_str(),
                       target::ChangeError);
  lun.number = 4;
  CHECK_THROWS_WITH_AS(arrays.add_lun(kOne, lun), "a LUN has the name \"new\" already", target::ChangeError);
  CHECK_THROWS_WITH_AS(arrays.add_lun(kTwo, lun), fmt::format("there is no target {}", kTwo).c_str(),
                       target::ChangeError);
  arrays.resize_lun(kOne, 3, 1 << 21);
  CHECK(world.size(3) == 1 << 21);
  CHECK_THROWS_AS(arrays.resize_lun(kOne, 3, 100), target::ChangeError);
  arrays.set_read_only(kOne, 3, true);
  CHECK(world.lun(3)->read_only());
  arrays.remove_lun(kOne, 3);
  CHECK_THROWS_WITH_AS(arrays.remove_lun(kOne, 3), fmt::format("there is no LUN 3 of {}", kOne).c_str(),
                       target::ChangeError);
  CHECK_THROWS_AS(arrays.remove_target(kTwo), target::ChangeError);
  CHECK_THROWS_AS(arrays.add_target({.name = kOne}), target::ChangeError);
}
