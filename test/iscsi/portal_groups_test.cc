// Portal groups (RFC 7143, 4.4.2): which a session is of, what SendTargets tells of them, and I_T nexuses of several
// ports.
//
// Not tested, and why: sockets of several groups (test/target/multipath_test.py).
#include <doctest/doctest.h>

#include "scsi/device_server.h"
#include "test/iscsi/conversation.h"

using namespace test;

namespace {

constexpr const char* kName = "InitiatorName=iqn.2025-01.example:host";
constexpr const char* kTo = "TargetName=iqn.2025-01.example:target";

/// An array whose target has a portal in each of the groups 1, 2 and 7, and is offered in 1 and 7.
struct Groups : Array {
  Groups() : Array({.further_portal_group_tags = {7}}) {
    target().portal_group_tags = {1, 7};
    target().portals = {{"192.0.2.1", 3260, 1}, {"192.0.2.2", 3260, 2}, {"192.0.2.7", 3260, 7}};
  }
};

std::string send_targets(Peer& peer) {
  peer.send(peer.text_request(), pairs("SendTargets=All"));
  return peer.answer().line();
}

}  // namespace

TEST_SUITE("iscsi portal groups") {
  TEST_CASE("The first Login Response has the tag of the group whose portal was reached") {
    Groups array;
    for (std::uint16_t group : {1, 7}) {
      Peer peer(array, group);
      Answer answer = peer.login_step(0x87, pairs(kName, kTo, "SessionType=Normal"));
      CHECK(answer.as<iscsi::LoginResponseBhs>().status == 0);
      CHECK(answer.text().find("TargetPortalGroupTag=" + std::to_string(group)) != std::string::npos);
    }
  }

  TEST_CASE("A target is not found in a group it is not offered in: login status 0203h") {
    Groups array;
    Peer peer(array, 2);
    Answer answer = peer.login_step(0x87, pairs(kName, kTo, "SessionType=Normal"));
    CHECK(answer.as<iscsi::LoginResponseBhs>().status == 0x0203);
  }

  TEST_CASE("SendTargets tells the portals of the groups a target is offered in, each with its tag") {
    Groups array;
    const std::string told =
        "TextResponse F TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.1:3260,1 "
        "TargetAddress=192.0.2.7:3260,7";
    for (std::uint16_t group : {1, 2, 7}) {
      Peer peer(array, group);
      peer.discover();
      CHECK(send_targets(peer) == told);
    }
  }

  TEST_CASE("Where each initiator is told the address it reached, the tag is that portal's; without one, no target") {
    Groups array;
    array.target().portals.clear();
    Peer seven(array, 7), two(array, 2);
    seven.discover();
    CHECK(send_targets(seven) ==
          "TextResponse F TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.77:3260,7");
    two.discover();
    CHECK(send_targets(two) == "TextResponse F ");
  }

  TEST_CASE(
      "One ISID through two groups is two sessions and two I_T nexuses; through one group the new one reinstates") {
    Groups array;
    Peer one(array, 1), seven(array, 7);
    one.login();
    seven.login();
    CHECK_FALSE(one.finished_flag);
    std::vector<std::uint16_t> ports;
    for (const auto& [id, nexus] : array.device.server.nexuses())
      if (nexus.isid == one.isid) ports.push_back(nexus.target_portal_group_tag);
    CHECK(ports == std::vector<std::uint16_t>{1, 7});
    Peer again(array, 7);
    again.login();
    CHECK(seven.finished_flag);
    CHECK_FALSE(one.finished_flag);
  }

  TEST_CASE("A session cannot be joined or taken over through another group") {
    Groups array;
    Peer one(array, 1);
    Answer last = one.login();
    Peer seven(array, 7);
    seven.tsih = last.as<iscsi::LoginResponseBhs>().tsih;
    Answer answer = seven.login_step(0x87, pairs(kName, kTo, "SessionType=Normal"));
    CHECK(answer.as<iscsi::LoginResponseBhs>().status == 0x0208);  // cannot include in session
    CHECK_FALSE(one.finished_flag);
  }
}
