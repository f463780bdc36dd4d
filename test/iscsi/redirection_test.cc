// Redirection of a login to another portal (RFC 7143, 11.13.5): who is sent where, and when.
//
// Not tested, and why: that initiators follow (test/target/logins_test.py has libiscsi do so).
#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

const char* const kName = "InitiatorName=iqn.2025-01.example:host";
const char* const kTo = "TargetName=iqn.2025-01.example:target";

void send_away(Array& array, iscsi::PortalAddress to, bool permanent = false) {
  array.target().redirection = iscsi::Redirection{std::move(to), permanent};
}

}  // namespace

TEST_SUITE("iscsi redirection") {
  TEST_CASE("The first request that names the target is answered with where it is, and the connection ends") {
    struct Row {
      iscsi::PortalAddress to;
      bool permanent;
      const char* told;
    };
    // Without a portal group tag (RFC 7143, 13.8), the port always said, IPv6 in brackets.
    for (const Row& row :
         {Row{{"192.0.2.9", 3261}, false, "status=0101 TargetAddress=192.0.2.9:3261"},
          Row{{"192.0.2.9", 3260}, true, "status=0102 TargetAddress=192.0.2.9:3260"},
          Row{{"2001:db8::9", 3260}, false, "status=0101 TargetAddress=[2001:db8::9]:3260"},
          Row{{"[2001:db8::9]", 1}, true, "status=0102 TargetAddress=[2001:db8::9]:1"},
          Row{{"array.example.org", 3260}, false, "status=0101 TargetAddress=array.example.org:3260"}}) {
      CAPTURE(row.told);
      for (std::uint8_t flags : {0x81, 0x83, 0x87, 0x00, 0x04}) {
        CAPTURE(flags);
        Array array;
        send_away(array, row.to, row.permanent);
        Peer peer(array);
        Answer answer = peer.login_step(flags, pairs(kName, kTo, "AuthMethod=CHAP,None"));
        // Neither T nor NSG: the login ends where it is.
        std::uint8_t stage = flags & 0x0C;
        CHECK(answer.bhs.flags == stage);
        CHECK(answer.line().ends_with(row.told));
        CHECK(answer.as<iscsi::LoginResponseBhs>().tsih == 0);
        CHECK(peer.finished_flag);
        CHECK(peer.flushed);
        CHECK(array.sessions.size() == 0);
      }
    }
  }

  TEST_CASE("Whoever may not log in is refused and not told where to go") {
    Array array;
    send_away(array, {"192.0.2.9", 3260});
    array.target().allowed_initiators = {"iqn.2025-01.example:other"};
    Peer peer(array);
    CHECK(peer.login_step(0x81, pairs(kName, kTo)).line() == "LoginResponse 00 status=0202 ");
    CHECK(peer.finished_flag);
    array.target().allowed_initiators = {"iqn.2025-01.example:host"};
    Peer allowed(array);
    CHECK(allowed.login_step(0x81, pairs(kName, kTo)).line() ==
          "LoginResponse 00 status=0101 TargetAddress=192.0.2.9:3260");
  }

  TEST_CASE("CHAP is for where they are sent to: the first response sends them away") {
    Array array;
    send_away(array, {"192.0.2.9", 3260});
    array.target().authentication.initiator = iscsi::ChapCredentials{"user", "secret-secret"};
    for (const char* method : {"AuthMethod=CHAP", "AuthMethod=CHAP,None", "AuthMethod=None"}) {
      Peer peer(array);
      CHECK(peer.login_step(0x81, pairs(kName, kTo, method)).line() ==
            "LoginResponse 00 status=0101 TargetAddress=192.0.2.9:3260");
    }
  }

  TEST_CASE("A target without a device server can send initiators away") {
    Array array;
    array.target().device_server = nullptr;
    send_away(array, {"192.0.2.9", 3260});
    Peer peer(array);
    CHECK(peer.login_step(0x81, pairs(kName, kTo)).line() ==
          "LoginResponse 00 status=0101 TargetAddress=192.0.2.9:3260");
  }

  TEST_CASE("Discovery tells a redirected target where it is here") {
    Array array;
    send_away(array, {"192.0.2.9", 3260});
    Peer peer(array);
    peer.discover();
    peer.send(peer.text_request(), pairs("SendTargets=All"));
    CHECK(peer.answer().line() ==
          "TextResponse F TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.1:3260,1");
  }

  TEST_CASE("Sessions that are logged in stay, and end as any other") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    send_away(array, {"192.0.2.9", 3260});
    peer.send_command(read10(0, 1), 0xC0, 512);
    CHECK(peer.told() == Lines{"DataIn F S itt=3 sn=0 offset=0 len=512"});
    // Reinstatement is a login too.
    Peer again(array);
    CHECK(again.login_step(0x87, pairs(kName, kTo)).line() ==
          "LoginResponse 04 status=0101 TargetAddress=192.0.2.9:3260");
    CHECK(!peer.finished_flag);
    CHECK(array.sessions.size() == 1);
  }
}
