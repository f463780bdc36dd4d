// Targets that are removed or replaced while initiators log in and are logged in.
//
// Not tested, and why: device servers that go (test/target/reload_test.cc).
#include <doctest/doctest.h>

#include "test/iscsi/several_peers.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kNone = 0;
constexpr std::uint8_t kSecurityToOperational = 0x81;
constexpr std::uint8_t kOperationalToFullFeature = 0x87;
constexpr const char* kName = "InitiatorName=iqn.2025-01.example:host";
constexpr const char* kTo = "TargetName=iqn.2025-01.example:target";

std::uint16_t status_of(const Answer& answer) { return answer.as<iscsi::LoginResponseBhs>().status; }

}  // namespace

TEST_SUITE("iscsi target removal") {
  TEST_CASE("A target that is removed within a login: 0204h; one that is not there: 0203h") {
    Array array;
    Peer peer(array), later(array);
    CHECK(status_of(peer.login_step(kSecurityToOperational, pairs(kName, kTo, "AuthMethod=None"))) == 0);
    array.directory.targets.clear();
    CHECK(status_of(peer.login_step(kOperationalToFullFeature, {})) ==
          static_cast<std::uint16_t>(iscsi::LoginStatus::target_removed));
    CHECK(peer.finished_flag);
    CHECK(status_of(later.login_step(kOperationalToFullFeature, pairs(kName, kTo))) ==
          static_cast<std::uint16_t>(iscsi::LoginStatus::target_not_found));
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("A login goes on with the secrets it began with, and sessions with both nodes are of one target") {
    Array array;
    Peer peer(array);
    CHECK(status_of(peer.login_step(kSecurityToOperational, pairs(kName, kTo, "AuthMethod=None"))) == 0);
    auto other = std::make_shared<iscsi::TargetNode>(array.target());
    other->authentication.initiator = iscsi::ChapCredentials{"host", "initiator-secret"};
    array.directory.targets.front() = other;
    CHECK(status_of(peer.login_step(kOperationalToFullFeature, {})) == 0);
    Peer again(array);
    CHECK(status_of(again.login_step(kOperationalToFullFeature, pairs(kName, kTo))) ==
          static_cast<std::uint16_t>(iscsi::LoginStatus::authentication_failure));
    other->authentication = {};
    Peer third(array);
    third.login();  // the same initiator port: the session is reinstated
    CHECK(peer.finished_flag);
    CHECK(array.sessions.size() == 1);
    array.sessions.end_sessions("iqn.2025-01.example:target", "because");
    CHECK(third.finished_flag);
  }

  TEST_CASE("Sessions of one target are asked to log out, and dropped when their time is over") {
    Array array;
    Peer peer(array), finder(array);
    peer.login();
    finder.discover();
    array.sessions.request_logout("iqn.2025-01.example:other", std::chrono::seconds(3));
    CHECK(peer.answers().empty());
    array.sessions.request_logout("iqn.2025-01.example:target", std::chrono::seconds(3));
    Answer message = peer.answer();
    CHECK(message.line() == "Async 1");
    CHECK(message.as<iscsi::AsyncMessageBhs>().parameter3 == 3);
    CHECK(finder.answers().empty());
    peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(peer.answers().size() == 1);
    CHECK(*peer.connection().deadline() <= array.wire.now());
    peer.connection().tick(array.wire.now());
    array.wire.advance(std::chrono::seconds(3));
    peer.connection().tick(array.wire.now());
    CHECK(peer.told() == Lines{"Async 2"});
    CHECK(peer.finished_flag);
    CHECK(array.sessions.size() == 1);  // the one for discovery
  }

  TEST_CASE("A session of several connections is asked on each, and dropped whole") {
    Array array;
    SeveralPeers peers(array, 3);
    array.sessions.request_logout("iqn.2025-01.example:target", std::chrono::seconds(3));
    for (std::size_t i = 0; i < peers.size(); ++i) {
      CAPTURE(i);
      Answer message = peers[i].answer();
      CHECK(message.line() == "Async 1");
      CHECK(message.as<iscsi::AsyncMessageBhs>().parameter3 == 3);
    }
    peers[1].connection().tick(array.wire.now());
    array.wire.advance(std::chrono::seconds(3));
    peers[1].connection().tick(array.wire.now());
    for (std::size_t i = 0; i < peers.size(); ++i) CHECK(peers[i].finished_flag);
    CHECK(array.sessions.size() == 0);
  }
}
