// Connections that are not logged in, and how many there may be.
//
// Not tested, and why: sockets (scripts/bench load has floods of them).
#include <doctest/doctest.h>

#include <deque>

#include "test/iscsi/conversation.h"

namespace {

using test::Array;
using test::Peer;

struct TwoHalfOpen : Array {
  TwoHalfOpen() { directory.limits.max_half_open_logins = 2; }
};

}  // namespace

TEST_SUITE("half-open logins") {
  TEST_CASE_FIXTURE(TwoHalfOpen, "The oldest gives way to the newcomer, who logs in") {
    Peer oldest(*this), second(*this);
    CHECK(!oldest.finished_flag);
    Peer newcomer(*this);
    CHECK(oldest.finished_flag);
    CHECK(!oldest.flushed);
    CHECK(!second.finished_flag);
    newcomer.login();
    second.login();
    CHECK(sessions.half_open().size() == 0);
  }

  TEST_CASE_FIXTURE(TwoHalfOpen, "One in the middle of its login gives way, too") {
    Peer slow(*this);
    slow.login_step(0x00, test::pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target",
                                      "SessionType=Normal"));
    Peer second(*this), third(*this);
    CHECK(slow.finished_flag);
    CHECK(!second.finished_flag);
  }

  TEST_CASE_FIXTURE(TwoHalfOpen, "Whoever is logged in does not count, and is left alone") {
    std::deque<Peer> logged_in;
    for (std::uint8_t i = 0; i < 5; ++i) {
      logged_in.emplace_back(*this).isid.back() = i;
      logged_in.back().login();
    }
    Peer first(*this), second(*this), third(*this);
    CHECK(first.finished_flag);
    for (Peer& each : logged_in) CHECK(!each.finished_flag);
    CHECK(sessions.half_open().size() == 2);
  }

  TEST_CASE_FIXTURE(TwoHalfOpen, "A connection that is gone, refused or timed out makes room") {
    Peer stays(*this);
    {
      Peer closed(*this);
    }
    Peer refused(*this);
    CHECK(refused.login_step(0x87, test::pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.none:such"))
              .as<iscsi::LoginResponseBhs>()
              .status == 0x0203);
    CHECK(refused.finished_flag);
    Peer late(*this);
    wire.advance(directory.limits.login_timeout);
    late.connection().tick(wire.now());
    CHECK(late.finished_flag);
    CHECK(!stays.finished_flag);
    CHECK(sessions.half_open().size() == 1);
  }
}
