// Response Fence (RFC 7143, 4.2.2.3): in a session of several connections the answer to a task management function for
// many tasks does not change places with the answers sent before and after it on other connections.
//
// Not tested, and why: the other uses the standard lists (the first unit attention after it, ACA, PREEMPT AND ABORT),
// which have no fence here (docs/protocol-support.md).
#include <doctest/doctest.h>

#include "test/iscsi/several_peers.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;
constexpr std::uint8_t kAbortTask = 1;
constexpr std::uint8_t kAbortTaskSet = 2;
constexpr std::uint8_t kLogicalUnitReset = 5;

constexpr const char* kPing = "NopIn itt=FFFFFFFF len=0";
constexpr const char* kDone = "TaskManagementResponse 0 itt=257";

/// Three connections; the initiator has not said that it has the answer to a command on the second.
struct Hosts {
  explicit Hosts(std::size_t count = 3, const DeviceOptions& options = {}) : array(options), peers(array, count) {
    peers.clear_attentions();
    for (std::size_t at = 0; at < count; ++at) peers.acknowledge(at);
    std::size_t other = count > 1 ? 1 : 0;
    peers.send(other, test_unit_ready(), kNone, 0, {}, 1);
  }
  /// Task management from connection 0; its output as it is.
  Lines manage(std::uint8_t function, std::uint32_t referenced = iscsi::kReservedTag) {
    Peer& peer = peers[0];
    peer.cmd_sn = peers.cmd_sn;
    peer.task_tag = 0x100;
    auto bhs = peer.task_management(function, 0, referenced);
    bhs.exp_stat_sn = peer.exp_stat_sn;
    peer.send(bhs);
    return peer.told();
  }
  Array array;
  SeveralPeers peers;
};

}  // namespace

TEST_SUITE("iscsi response fence") {
  TEST_CASE("The answer waits until what was sent before it on other connections is acknowledged") {
    Hosts hosts;
    CHECK(hosts.manage(kLogicalUnitReset).empty());
    CHECK(hosts.peers[1].told() == Lines{"Response 00 itt=1", kPing});
    CHECK(hosts.peers[2].told().empty());  // nothing is outstanding there
    hosts.peers.acknowledge(2);
    CHECK(hosts.peers[0].told().empty());
    hosts.peers.acknowledge(1);
    CHECK(hosts.peers[0].told() == Lines{kDone, kPing});
  }

  TEST_CASE("SCSI answers wait until the answer is acknowledged, and go out in their order") {
    Hosts hosts;
    hosts.manage(kLogicalUnitReset);
    hosts.peers[1].answers();
    hosts.peers.send(2, test_unit_ready(), kNone, 0);
    hosts.peers.send(2, read10(0, 1), kRead, 512, {}, 1);
    hosts.peers.acknowledge(1);
    CHECK(hosts.peers[0].told() == Lines{kDone, kPing});
    hosts.peers.send(1, write10(0, 1), kWrite, 512, pattern(512, 5), 1);
    CHECK(hosts.peers[1].told().empty());
    CHECK(hosts.peers[2].told().empty());
    hosts.peers.acknowledge(0);
    CHECK(hosts.peers[1].told() == Lines{"Response 00 itt=4"});
    CHECK(hosts.peers[2].told() == Lines{"Response 02 itt=2 sense=06/29/03", "DataIn F S itt=3 sn=0 offset=0 len=512"});
    hosts.peers.send(2, test_unit_ready(), kNone, 0);
    auto answer = hosts.peers[2].answer().as<iscsi::ScsiResponseBhs>();
    CHECK(answer.max_cmd_sn - answer.exp_cmd_sn == 127);
    CHECK(hosts.array.sessions.list().at(0).commands == 0);
  }

  TEST_CASE("Any PDU acknowledges; one whose ExpStatSN is blank, or of the future, does not") {
    Hosts hosts;
    hosts.manage(kLogicalUnitReset);
    hosts.peers[1].answers();
    iscsi::NopOutBhs nop;
    nop.opcode |= iscsi::kImmediate;
    nop.initiator_task_tag = iscsi::kReservedTag;
    for (std::uint32_t exp_stat_sn : {0u, hosts.peers[1].exp_stat_sn - 1, hosts.peers[1].exp_stat_sn + 1}) {
      nop.exp_stat_sn = exp_stat_sn;
      hosts.peers[1].send(nop);
      CHECK(hosts.peers[0].told().empty());
    }
    hosts.peers.send(1, test_unit_ready(), kNone, 0, {}, 1);
    CHECK(hosts.peers[0].told() == Lines{kDone, kPing});
  }

  TEST_CASE("A session of one connection, and ABORT TASK, need none") {
    Hosts one(1);
    CHECK(one.manage(kLogicalUnitReset) == Lines{"Response 00 itt=1", kDone});
    Hosts hosts;
    CHECK(hosts.manage(kAbortTask, 77) == Lines{"TaskManagementResponse 1 itt=257"});
  }

  TEST_CASE("Two fences, one after the other, with the answers between them") {
    Hosts hosts;
    CHECK(hosts.manage(kLogicalUnitReset).empty());
    hosts.peers.send(1, test_unit_ready(), kNone, 0);
    CHECK(hosts.manage(kAbortTaskSet).empty());
    CHECK(hosts.peers.told(1) == Lines{"Response 00 itt=1"});
    CHECK(hosts.peers[0].told() == Lines{kDone, kPing});
    hosts.peers.acknowledge(0);
    CHECK(hosts.peers[0].told().empty());
    CHECK(hosts.peers.told(1) == Lines{"Response 02 itt=2 sense=06/29/03"});
    CHECK(hosts.peers.told(0) == Lines{kDone});
    hosts.peers.send(2, test_unit_ready(), kNone, 0);
    CHECK(hosts.peers[2].told() == Lines{"Response 00 itt=3"});
  }

  TEST_CASE("A connection that goes is waited for no longer; with the fence's own the fence goes") {
    {
      Hosts hosts;
      hosts.manage(kLogicalUnitReset);
      CHECK(hosts.peers.log_out(2, 1, 2) == Lines{"LogoutResponse 0"});
      CHECK(hosts.peers[0].told() == Lines{kDone, kPing});
    }
    Hosts hosts;
    hosts.manage(kLogicalUnitReset);
    hosts.peers.send(2, test_unit_ready(), kNone, 0);
    CHECK(hosts.peers.log_out(2, 1, 1) == Lines{"Response 02 itt=2 sense=06/29/03", "LogoutResponse 0"});
    hosts.peers.send(2, test_unit_ready(), kNone, 0);
    CHECK(hosts.peers[2].told() == Lines{"Response 00 itt=3"});
  }

  TEST_CASE("A command whose answer waits can be aborted, and ends with its connection") {
    for (bool logout : {false, true}) {
      Hosts hosts;
      hosts.manage(kLogicalUnitReset);
      hosts.peers[1].answers();
      hosts.peers.send(2, test_unit_ready(), kNone, 0, {}, 1);
      if (logout) {
        CHECK(hosts.peers.log_out(2, 1, 3) == Lines{"LogoutResponse 0"});
      } else {
        CHECK(hosts.manage(kAbortTask, 2) == Lines{kDone});
      }
      hosts.peers.acknowledge(1);
      CHECK(hosts.peers.told(0) == Lines{kDone});
      if (!logout) CHECK(hosts.peers[2].told().empty());
      CHECK(hosts.array.sessions.list().at(0).commands == 0);
    }
  }

  TEST_CASE("Whoever acknowledges nothing gets no more of them than of immediate commands") {
    Hosts hosts;
    for (std::uint32_t i = 0; i < hosts.array.directory.limits.immediate_commands; ++i)
      CHECK(hosts.manage(kLogicalUnitReset).empty());
    CHECK(hosts.manage(kLogicalUnitReset) == Lines{"Reject 06"});
    hosts.peers[1].connection().peer_closed();
    CHECK(hosts.array.sessions.size() == 0);
  }
}
