// What other targets fell into before full-feature phase, and in discovery. docs/traps.md has all of them: those here
// have no test elsewhere.
//
// Not tested, and why: the traps that docs/traps.md says cannot bite us.
#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;
using std::chrono::seconds;

namespace {

const char* const kName = "InitiatorName=iqn.2025-01.example:host";
const char* const kTo = "TargetName=iqn.2025-01.example:target";

std::uint16_t tsih_of(const Answer& answer) { return answer.as<iscsi::LoginResponseBhs>().tsih; }
std::uint16_t status_of(const Answer& answer) { return answer.as<iscsi::LoginResponseBhs>().status; }

}  // namespace

TEST_SUITE("iscsi traps, login") {
  TEST_CASE("trap: login responses keep to 8192 bytes whatever was declared") {
    // The first request declares more, and its answer is longer than that already.
    for (const char* declared : {"MaxRecvDataSegmentLength=262144", "MaxRecvDataSegmentLength=512"}) {
      CAPTURE(declared);
      Array array;
      Peer peer(array);
      ByteVector text = pairs(kName, kTo, declared);
      for (int i = 0; i < 180; ++i) {
        ByteVector more = pairs("X-org.example.a-key-that-nobody-understands." + std::to_string(1000 + i) + "=1");
        text.insert(text.end(), more.begin(), more.end());
      }
      peer.send(peer.login_request(0x44), ByteVector(text.begin(), text.begin() + 8000));
      CHECK(peer.answer().data.empty());
      peer.send(peer.login_request(0x87), ByteVector(text.begin() + 8000, text.end()));
      Answer first = peer.answer();
      CHECK(first.data.size() == 8192);
      CHECK((first.bhs.flags & iscsi::kContinue) != 0);
      CHECK((first.bhs.flags & iscsi::kTransit) == 0);
      peer.send(peer.login_request(0x87));
      CHECK(peer.answer().data.size() < 8192);
      CHECK(peer.connection().full_feature());
    }
  }

  TEST_CASE("trap: a text request with the C bit and no data is just answered") {
    Array array;
    Peer peer(array);
    peer.discover();
    peer.send(peer.text_request(iscsi::kContinue));
    Answer first = peer.answer();
    CHECK(first.line() == "TextResponse ");
    std::uint32_t ttt = first.as<iscsi::TextResponseBhs>().target_transfer_tag;
    peer.send(peer.text_request(iscsi::kContinue, ttt));
    ttt = peer.answer().as<iscsi::TextResponseBhs>().target_transfer_tag;
    peer.send(peer.text_request(iscsi::kFinal, ttt), pairs("SendTargets=All"));
    CHECK(peer.answer().line() ==
          "TextResponse F TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.1:3260,1");
  }

  TEST_CASE("trap: TargetPortalGroupTag is in the first response of a normal session, once, and in no other") {
    for (std::uint8_t first : {0x00, 0x81}) {
      Array array;
      Peer peer(array);
      CHECK(peer.login_step(first, pairs(kName, kTo, "AuthMethod=None")).text() ==
            "AuthMethod=None TargetPortalGroupTag=1");
      if (first == 0x00) CHECK(peer.login_step(0x81, {}).text().empty());
      CHECK(peer.login_step(0x87, {}).text().empty());
    }
    // With C in the first request, the first response that has text (RFC 7143, 13.9).
    Array array;
    Peer peer(array);
    CHECK(peer.login_step(0x44, pairs(kName)).text().empty());
    CHECK(peer.login_step(0x87, pairs(kTo)).text() == "TargetPortalGroupTag=1");
    Peer discovering(array);
    CHECK(discovering.discover().text().empty());
  }

  TEST_CASE("trap: TSIH is not zero in the final success response only") {
    Array array;
    Peer peer(array);
    CHECK(tsih_of(peer.login_step(0x81, pairs(kName, kTo, "AuthMethod=None"))) == 0);
    CHECK(tsih_of(peer.login_step(0x04, pairs("HeaderDigest=None"))) == 0);
    CHECK(tsih_of(peer.login_step(0x87, {})) != 0);
    Peer refused(array);
    Answer answer = refused.login_step(0x87, pairs(kName, "TargetName=iqn.2025-01.example:none"));
    CHECK(status_of(answer) == 0x0203);
    CHECK(tsih_of(answer) == 0);
  }

  TEST_CASE("trap: a session that is ending is found by no login") {
    DeviceOptions slow;
    slow.blocking = true;
    Array array(slow);
    Peer leaving(array);
    leaving.login();
    leaving.clear_attentions();
    leaving.send_command(read10(0, 1), 0xC0, 512);
    leaving.send(leaving.logout_request());
    REQUIRE(leaving.told().empty());
    REQUIRE(array.sessions.size() == 1);
    // By its TSIH it is not there any more.
    Peer by_handle(array);
    by_handle.tsih = leaving.tsih;
    CHECK(status_of(by_handle.login_step(0x87, pairs(kName, kTo))) == 0x020A);
    // By name and ISID it is waited for, and not taken over.
    Peer by_name(array);
    by_name.send(by_name.login_request(0x87), pairs(kName, kTo));
    CHECK(by_name.told().empty());
    array.device.executor.run_all();
    CHECK(leaving.told() == Lines{"LogoutResponse 0"});
    CHECK(status_of(by_name.answer()) == 0);
    CHECK(by_name.tsih != leaving.tsih);
    CHECK(array.sessions.size() == 1);
  }

  TEST_CASE("trap: no NOP-In before full-feature phase") {
    Array array;
    array.directory.limits.nop_interval = seconds(1);
    array.directory.limits.nop_timeout = seconds(1);
    Peer peer(array);
    auto pass = [&] {
      for (int i = 0; i < 4; ++i) {
        array.wire.advance(seconds(1));
        peer.connection().tick(array.wire.now());
        CHECK(peer.told().empty());
      }
    };
    pass();
    peer.login_step(0x81, pairs(kName, kTo, "AuthMethod=None"));
    pass();
    peer.login_step(0x87, {});
    CHECK(!peer.finished_flag);
    array.wire.advance(seconds(1));
    peer.connection().tick(array.wire.now());
    CHECK(peer.told() == Lines{"NopIn itt=FFFFFFFF len=0"});
  }

  TEST_CASE("trap: what an initiator calls itself goes nowhere unchecked") {
    const std::string iqn = "InitiatorName=iqn.2025-01.example:";
    for (const std::string& name :
         {iqn + "a\nb", iqn + "a\x1b[31m", iqn + "a b", iqn + "a\x7f", iqn + "\xc3\xa4", iqn + std::string(204, 'a'),
          std::string("InitiatorName=../../etc/passwd"), std::string("InitiatorName=/etc/passwd"),
          std::string("InitiatorName="), std::string("InitiatorName=iqn."), std::string("InitiatorName=%s%n")}) {
      CAPTURE(name);
      Array array;
      Peer peer(array);
      CHECK(peer.login_step(0x87, pairs(name, kTo)).line() == "LoginResponse 04 status=0200 ");
      CHECK(array.sessions.size() == 0);
    }
    // 223 bytes are a name, in lower case from here on.
    Array array;
    Peer longest(array);
    longest.login_step(0x87, pairs(iqn + std::string(223 - 20, 'A'), kTo));
    REQUIRE(array.sessions.list().size() == 1);
    CHECK(array.sessions.list().front().initiator_name == "iqn.2025-01.example:" + std::string(203, 'a'));
  }

  TEST_CASE("trap: unknown keys are NotUnderstood, up to 63 characters, and end nothing") {
    Array array;
    Peer peer(array);
    std::string longest(63, 'k');
    Answer answer = peer.login_step(0x87, pairs(kName, kTo, "X-com.example.Key=1", "Y-com.example=2", "Z-com.example=3",
                                                "X#Key=4", longest + "=5", "x@y_z+w=6", "HeaderDigest=None"));
    CHECK(answer.text() ==
          "TargetPortalGroupTag=1 X-com.example.Key=NotUnderstood Y-com.example=NotUnderstood "
          "Z-com.example=NotUnderstood X#Key=NotUnderstood " +
              longest + "=NotUnderstood x@y_z+w=NotUnderstood HeaderDigest=None");
    CHECK(peer.connection().full_feature());
    Peer too_long(array);
    CHECK(status_of(too_long.login_step(0x87, pairs(kName, kTo, longest + "k=5"))) == 0x0200);
  }

  TEST_CASE("trap: a half-open login is over at its time, whatever it sends") {
    Array array;
    array.directory.limits.max_connections = 1;
    Peer slow(array);
    for (int i = 0; i < 14; ++i) {
      array.wire.advance(seconds(1));
      slow.connection().tick(array.wire.now());
      CHECK(!slow.finished_flag);
      slow.send(slow.login_request(0x44), pairs("X-a=" + std::to_string(i)));
      slow.answers();
    }
    array.wire.advance(seconds(1));
    slow.connection().tick(array.wire.now());
    CHECK(slow.finished_flag);
    slow.close();
    Peer next(array);
    next.login();
  }
}
