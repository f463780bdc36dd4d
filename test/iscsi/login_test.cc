// The login phase: stages, statuses, timeouts.
//
// Not tested, and why: logins of known initiators (golden_logins_test.cc); redirection (redirection_test.cc); results
// of single keys (negotiation_test.cc).
#include "target/iscsi/login.h"

#include <doctest/doctest.h>

#include "target/iscsi/connection_state.h"
#include "test/iscsi/conversation.h"

using namespace test;
using iscsi::LoginStatus;

namespace {

constexpr std::uint8_t kSecurity = 0x00;
constexpr std::uint8_t kSecurityToOperational = 0x81;
constexpr std::uint8_t kSecurityToFullFeature = 0x83;
constexpr std::uint8_t kOperational = 0x04;
constexpr std::uint8_t kOperationalToFullFeature = 0x87;

const char* const kName = "InitiatorName=iqn.2025-01.example:host";
const char* const kTo = "TargetName=iqn.2025-01.example:target";

std::uint16_t status_of(const Answer& answer) { return answer.as<iscsi::LoginResponseBhs>().status; }

/// Sends one Login Request and gives back status and whether the connection was closed.
struct Refused {
  std::uint16_t status = 0xFFFF;  ///< FFFFh: no response at all
  bool closed = false;
  bool operator==(const Refused&) const = default;
};
Refused refused(Array& array, iscsi::LoginRequestBhs bhs, const ByteVector& text) {
  Peer peer(array);
  peer.send(bhs, text);
  auto answers = peer.answers();
  return {answers.empty() ? std::uint16_t{0xFFFF} : status_of(answers.back()), peer.finished_flag};
}

ByteVector joined(ByteVector a, const ByteVector& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_SUITE("iscsi login") {
  TEST_CASE("Exactly the transitions of RFC 7143, 6.3 are legal") {
    using enum iscsi::LoginStage;
    auto all = {initial, security_negotiation, operational_negotiation, full_feature_phase, failed};
    int legal = 0;
    for (auto from : all) {
      for (auto to : all) {
        if (!is_legal(from, to)) continue;
        ++legal;
        CHECK(from < to);  // nothing is gone back to
        CHECK(from != full_feature_phase);
        CHECK(from != failed);
      }
    }
    CHECK(legal == 8);
    CHECK(!is_legal(initial, full_feature_phase));
    for (std::uint8_t code : {0, 1, 3}) CHECK(iscsi::code_of(*iscsi::stage_of(code)) == code);
    CHECK(!iscsi::stage_of(2));
  }

  TEST_CASE("A connection's states follow RFC 7143, 8.1") {
    using enum iscsi::ConnectionState;
    auto all = {xpt_up, in_login, logged_in, in_logout, logout_requested, free};
    for (auto from : all) {
      CHECK(!is_legal(free, from));
      CHECK(is_legal(from, free) == (from != free));
    }
    CHECK(!is_legal(xpt_up, logged_in));
    CHECK(!is_legal(in_logout, logged_in));
  }

  TEST_CASE("Who is who may be said again in the operational stage, as libiscsi does, but not changed") {
    for (const char* again : {kName, "InitiatorName=IQN.2025-01.example:HOST", kTo, "SessionType=Normal"}) {
      CAPTURE(again);
      Array array;
      Peer peer(array);
      peer.login_step(kSecurityToOperational, pairs(kName, kTo, "SessionType=Normal", "AuthMethod=CHAP,None"));
      CHECK(status_of(peer.login_step(kOperationalToFullFeature, pairs(again, "HeaderDigest=None"))) == 0);
      CHECK(array.sessions.size() == 1);
    }
    for (const char* changed : {"InitiatorName=iqn.2025-01.example:other",
                                "InitiatorName=", "TargetName=iqn.2025-01.example:other", "SessionType=Discovery"}) {
      CAPTURE(changed);
      Array array;
      Peer peer(array);
      peer.login_step(kSecurityToOperational, pairs(kName, kTo, "SessionType=Normal", "AuthMethod=CHAP,None"));
      CHECK(status_of(peer.login_step(kOperationalToFullFeature, pairs(changed))) == 0x0200);
      CHECK(peer.finished_flag);
    }
  }

  TEST_CASE("A login may go from the security stage to full-feature phase, or begin in the operational one") {
    Array array;
    Peer direct(array);
    CHECK(direct.login_step(kSecurityToFullFeature, pairs(kName, kTo)).line() ==
          "LoginResponse 83 status=0000 TargetPortalGroupTag=1");
    CHECK(direct.connection().full_feature());
    Peer silent(array);
    silent.isid[5] = 9;
    CHECK(silent.login_step(kOperationalToFullFeature, pairs(kName, kTo)).line() ==
          "LoginResponse 87 status=0000 TargetPortalGroupTag=1");
  }

  TEST_CASE("TargetAlias is told when there is one") {
    Array array;
    array.target().alias = "the array";
    Peer peer(array);
    CHECK(peer.login().text() == "TargetPortalGroupTag=1 TargetAlias=the array");
  }

  TEST_CASE("Each wrong Login Request has its status") {
    Array array;
    array.target().allowed_initiators = {std::string(kInitiator)};
    Peer sample(array);
    auto bhs = [&](std::uint8_t flags) { return sample.login_request(flags); };
    auto changed = [&](auto change) {
      auto request = sample.login_request(kOperationalToFullFeature);
      change(request);
      return request;
    };
    struct Row {
      const char* what;
      iscsi::LoginRequestBhs bhs;
      ByteVector text;
      LoginStatus status;
    };
    const Row rows[] = {
        {"no InitiatorName", bhs(0x87), pairs(kTo), LoginStatus::missing_parameter},
        {"no TargetName", bhs(0x87), pairs(kName), LoginStatus::missing_parameter},
        {"no text", bhs(0x87), {}, LoginStatus::missing_parameter},
        {"a name that is none", bhs(0x87), pairs("InitiatorName=host", kTo), LoginStatus::initiator_error},
        {"an empty name", bhs(0x87), pairs("InitiatorName=", kTo), LoginStatus::initiator_error},
        {"an unknown target", bhs(0x87), pairs(kName, "TargetName=iqn.2025-01.example:other"),
         LoginStatus::target_not_found},
        {"a target name that is none", bhs(0x87), pairs(kName, "TargetName=x"), LoginStatus::target_not_found},
        {"not allowed", bhs(0x87), pairs("InitiatorName=iqn.2025-01.example:stranger", kTo),
         LoginStatus::authorization_failure},
        {"a session type of its own", bhs(0x87), pairs(kName, kTo, "SessionType=Fancy"),
         LoginStatus::session_type_not_supported},
        {"version 1", changed([](auto& r) { r.version_min = r.version_max = 1; }), pairs(kName, kTo),
         LoginStatus::unsupported_version},
        {"CSG 2", bhs(0x0B), pairs(kName, kTo), LoginStatus::initiator_error},
        {"CSG 3", bhs(0x8F), pairs(kName, kTo), LoginStatus::initiator_error},
        {"NSG 2", bhs(0x86), pairs(kName, kTo), LoginStatus::initiator_error},
        {"NSG not after CSG", bhs(0x85), pairs(kName, kTo), LoginStatus::initiator_error},
        {"NSG 0", bhs(0x84), pairs(kName, kTo), LoginStatus::initiator_error},
        {"T and C", bhs(0xC7), pairs(kName, kTo), LoginStatus::initiator_error},
        {"a key twice", bhs(0x87), pairs(kName, kTo, "InitialR2T=No", "InitialR2T=No"), LoginStatus::initiator_error},
        {"text without =", bhs(0x87), pairs(kName, "TargetName"), LoginStatus::initiator_error},
        {"an unknown TSIH", changed([](auto& r) { r.tsih = 77; }), pairs(kName, kTo),
         LoginStatus::session_does_not_exist},
        {"an AuthMethod we cannot", bhs(0x81), pairs(kName, kTo, "AuthMethod=CHAP"),
         LoginStatus::authentication_failure},
    };
    for (const Row& row : rows) {
      CAPTURE(row.what);
      CHECK(refused(array, row.bhs, row.text) == Refused{static_cast<std::uint16_t>(row.status), true});
    }
    CHECK(array.sessions.size() == 0);
    // Names are compared in lower case, and version 0 is taken from whoever can do more.
    CHECK(refused(array, changed([](auto& r) { r.version_max = 3; }),
                  pairs("InitiatorName=IQN.2025-01.Example:HOST", "TargetName=IQN.2025-01.example:Target"))
              .status == 0);
  }

  TEST_CASE("A target that is not ready is retriable, and sessions are limited") {
    Array array;
    array.directory.limits.max_sessions = 1;
    Peer first(array);
    first.login();
    Peer second(array);
    second.isid[5] = 2;
    second.send(second.login_request(kOperationalToFullFeature), pairs(kName, kTo));
    CHECK(status_of(second.answer()) == 0x0302);
    CHECK(second.finished_flag);
    array.target().device_server = nullptr;
    CHECK(refused(array, second.login_request(0x87), pairs(kName, kTo)).status == 0x0301);
    array.target().device_server = &array.device.server;
  }

  TEST_CASE("What belongs to the login may not change within it") {
    using Change = void (*)(iscsi::LoginRequestBhs&);
    const Change changes[] = {
        [](iscsi::LoginRequestBhs& bhs) { bhs.isid[5] = 99; },
        [](iscsi::LoginRequestBhs& bhs) { bhs.tsih = 5; },
        [](iscsi::LoginRequestBhs& bhs) { bhs.cid = 9; },
        [](iscsi::LoginRequestBhs& bhs) { bhs.initiator_task_tag = 9; },
    };
    for (Change change : changes) {
      Array array;
      Peer peer(array);
      peer.login_step(kOperational, pairs(kName, kTo));
      auto bhs = peer.login_request(kOperationalToFullFeature);
      change(bhs);
      peer.send(bhs, {});
      CHECK(status_of(peer.answer()) == 0x0200);
      CHECK(peer.finished_flag);
    }
  }

  TEST_CASE("Keys are negotiated once, stages are not gone back to") {
    Array array;
    Peer peer(array);
    peer.login_step(kOperational, pairs(kName, kTo, "InitialR2T=No"));
    peer.send(peer.login_request(kOperational), pairs("InitialR2T=No"));
    CHECK(status_of(peer.answer()) == 0x0200);
    Peer back(array);
    back.login_step(kOperational, pairs(kName, kTo));
    back.send(back.login_request(kSecurityToOperational), {});
    CHECK(status_of(back.answer()) == 0x0200);
  }

  TEST_CASE("A request in several PDUs is answered once, by the last") {
    Array array;
    Peer peer(array);
    ByteVector text = pairs(kName, kTo, "InitialR2T=No");
    ByteVector head(text.begin(), text.begin() + 50);
    ByteVector tail(text.begin() + 50, text.end());
    CHECK(peer.login_step(0x44, head).line() == "LoginResponse 04 status=0000 ");
    CHECK(peer.login_step(kOperationalToFullFeature, tail).line() ==
          "LoginResponse 87 status=0000 TargetPortalGroupTag=1 InitialR2T=No");
  }

  TEST_CASE("A PDU with the C bit and no data is just answered") {
    Array array;
    Peer peer(array);
    CHECK(peer.login_step(0x44, {}).line() == "LoginResponse 04 status=0000 ");
    CHECK(peer.login_step(0x44, {}).line() == "LoginResponse 04 status=0000 ");
    CHECK(peer.login_step(kOperationalToFullFeature, pairs(kName, kTo)).as<iscsi::LoginResponseBhs>().status == 0);
  }

  TEST_CASE("Text without end is refused") {
    Array array;
    Peer peer(array);
    for (int i = 0; i < 100 && !peer.finished_flag; ++i) {
      peer.send(peer.login_request(0x44), ByteVector(8000, 'x'));
      Answer answer = peer.answer();
      if (peer.finished_flag) CHECK(status_of(answer) == 0x0200);
    }
    CHECK(peer.finished_flag);
  }

  TEST_CASE("A response longer than 8192 bytes comes in pieces that the initiator asks for") {
    Array array;
    Peer peer(array);
    // 200 keys of 60 characters, each answered NotUnderstood, need two PDUs.
    ByteVector text = pairs(kName, kTo);
    for (int i = 0; i < 200; ++i)
      text = joined(text, pairs("X-" + std::string(55, 'a') + std::to_string(100 + i) + "=1"));
    ByteVector head(text.begin(), text.begin() + 8000);
    ByteVector tail(text.begin() + 8000, text.end());
    peer.login_step(0x44, head);
    Answer first = peer.login_step(kOperationalToFullFeature, tail);
    CHECK(first.data.size() == 8192);
    CHECK(first.bhs.flags == 0x44);
    CHECK(!peer.connection().full_feature());
    Answer second = peer.login_step(kOperationalToFullFeature, {});
    CHECK(second.bhs.flags == 0x87);
    CHECK(peer.connection().full_feature());
    CHECK((first.text() + second.text()).find("X-" + std::string(55, 'a') + "299=NotUnderstood") != std::string::npos);
  }

  TEST_CASE("Text while ours is unfinished ends the login") {
    Array array;
    Peer peer(array);
    ByteVector text = pairs(kName, kTo);
    for (int i = 0; i < 250; ++i)
      text = joined(text, pairs("X-" + std::string(28, 'a') + std::to_string(100 + i) + "=1"));
    ByteVector head(text.begin(), text.begin() + 8000);
    peer.login_step(0x44, head);
    Answer first = peer.login_step(kOperational, ByteVector(text.begin() + 8000, text.end()));
    REQUIRE(first.bhs.flags == 0x44);
    peer.send(peer.login_request(kOperational), pairs("InitialR2T=No"));
    CHECK(status_of(peer.answer()) == 0x0200);
  }

  TEST_CASE("A data segment longer than 8192 bytes is refused during login") {
    Array array;
    Peer peer(array);
    peer.login_step(kOperational, pairs(kName, kTo));
    peer.send(peer.login_request(kOperational), ByteVector(8193, 'x'));
    CHECK(status_of(peer.answer()) == 0x0200);
    CHECK(peer.finished_flag);
    Peer other(array);
    other.send(other.login_request(kOperational), ByteVector(20000, 'x'));
    CHECK(other.answers().empty());
    CHECK(other.finished_flag);
  }

  TEST_CASE("Another PDU before the login closes without a word, within it with status 020Bh") {
    Array array;
    Peer before(array);
    before.send(iscsi::NopOutBhs{});
    CHECK(before.answers().empty());
    CHECK(before.finished_flag);
    CHECK(!before.flushed);
    Peer within(array);
    within.login_step(kOperational, pairs(kName, kTo));
    within.send(iscsi::NopOutBhs{});
    CHECK(status_of(within.answer()) == 0x020B);
    CHECK(within.finished_flag);
    CHECK(within.flushed);
  }

  TEST_CASE("A login that stalls is closed at the limit, not before") {
    Array array;
    array.directory.limits.login_timeout = std::chrono::seconds(15);
    Peer peer(array);
    peer.login_step(kOperational, pairs(kName, kTo));
    REQUIRE(peer.connection().deadline());
    array.wire.advance(std::chrono::seconds(15) - base::Duration(1));
    peer.connection().tick(array.wire.now());
    CHECK(!peer.finished_flag);
    array.wire.advance(base::Duration(1));
    CHECK(*peer.connection().deadline() == array.wire.now());
    peer.connection().tick(array.wire.now());
    CHECK(peer.finished_flag);
    CHECK(peer.connection().receive_buffer().empty());
    CHECK(!peer.connection().deadline());
  }

  TEST_CASE("One connection too many is closed by its first tick") {
    Array array;
    array.directory.limits.max_connections = 1;
    Peer first(array);
    {
      Peer second(array);
      CHECK(second.connection().receive_buffer().empty());
      CHECK(*second.connection().deadline() <= array.wire.now());
      second.connection().tick(array.wire.now());
      CHECK(second.finished_flag);
    }
    first.login();
    first.close();
    Peer third(array);
    third.login();
  }

  TEST_CASE("StatSN starts where the initiator expects it and advances with every response") {
    Array array;
    Peer peer(array);
    peer.exp_stat_sn = 0xFFFFFFFF;
    CHECK(peer.login_step(kSecurity, pairs(kName, kTo)).as<iscsi::LoginResponseBhs>().stat_sn == 0xFFFFFFFF);
    CHECK(peer.login_step(kSecurityToOperational, {}).as<iscsi::LoginResponseBhs>().stat_sn == 0);
    CHECK(peer.login_step(kOperationalToFullFeature, {}).as<iscsi::LoginResponseBhs>().stat_sn == 1);
  }

  TEST_CASE("The stream of a login may be split at every byte") {
    Array array;
    for (std::size_t chunk : {1, 2, 3, 5, 47, 48, 49, 100}) {
      Peer peer(array);
      peer.chunk = chunk;
      peer.login(pairs("HeaderDigest=CRC32C", "DataDigest=CRC32C"));
      peer.send_command(test_unit_ready(), iscsi::kFinal, 0);
      CHECK(peer.told() == std::vector<std::string>{"Response 02 itt=1 sense=06/29/00"});
    }
  }
}
