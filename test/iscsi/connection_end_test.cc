// The end of one of several connections of a session: logout (RFC 7143, 11.14), reinstatement (6.3.4), failure (7.14),
// and task management across connections (11.5).
//
// Not tested, and why: recovery of a connection, which is for ErrorRecoveryLevel 2.
#include <doctest/doctest.h>

#include "test/iscsi/several_peers.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;
constexpr std::uint8_t kAbortTask = 1;
constexpr std::uint8_t kLogicalUnitReset = 5;

DeviceOptions slow() {
  DeviceOptions options;
  options.blocking = true;
  return options;
}

ByteVector login_text() {
  return pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target");
}

std::uint32_t ttt_of(const Answer& answer) { return answer.as<iscsi::R2tBhs>().target_transfer_tag; }

/// Two connections; on the second a read at work, a write that waits for data, and a write before its turn.
struct Busy {
  explicit Busy(std::size_t connections = 2) : array(slow()), peers(array, connections) {
    peers.clear_attentions();
    peers.send(1, read10(0, 1), kRead, 512);
    peers.send(1, write10(1, 1), kWrite, 512);
    ttt = ttt_of(peers[1].answer());
    gap = peers.cmd_sn++;
    peers.send(1, write10(2, 1), kWrite, 512, pattern(512, 7));
    held = peers.cmd_sn - 1;
  }
  ~Busy() {
    for (std::size_t at = 0; at < peers.size(); ++at) peers[at].close();
    array.device.executor.run_all();
  }
  /// Sends something with number `cmd_sn` on connection `at`.
  void fill(std::size_t at, std::uint32_t cmd_sn) {
    std::uint32_t next = std::exchange(peers.cmd_sn, cmd_sn);
    peers.send(at, test_unit_ready(), kNone, 0, {}, 1);
    peers.cmd_sn = next;
  }
  Array array;
  SeveralPeers peers;
  std::uint32_t ttt = 0;
  std::uint32_t gap = 0;   // CmdSN that did not come
  std::uint32_t held = 0;  // of the write before its turn
};

/// The session goes on with connection 0: the ended tasks are reported once, and what was held is sent again.
void check_it_goes_on(Busy& busy) {
  CHECK(!busy.peers[0].finished_flag);
  busy.peers.task_tag = 0x50;
  busy.fill(0, busy.gap);
  CHECK(busy.peers[0].told() == Lines{"Response 00 itt=81"});
  busy.peers.send(0, test_unit_ready(), kNone, 0);  // after the held one
  CHECK(busy.peers[0].told().empty());
  busy.fill(0, busy.held);
  CHECK(busy.peers[0].told() == Lines{"Response 00 itt=83", "Response 02 itt=82 sense=06/47/7F"});
  busy.peers.send(0, test_unit_ready(), kNone, 0);
  CHECK(busy.peers[0].told() == Lines{"Response 00 itt=84"});
  CHECK(busy.array.device.stores[0]->bytes()[1024] == 0);
  CHECK(busy.array.sessions.list().at(0).commands == 0);
}

}  // namespace

TEST_SUITE("iscsi connection end") {
  TEST_CASE("Logout of one connection ends its tasks, then is answered; the session goes on without it") {
    Busy busy;
    CHECK(busy.peers.log_out(1, 1, 2).empty());
    CHECK(!busy.peers[1].finished_flag);
    CHECK(busy.peers[1].connection().receive_buffer().empty());
    busy.array.device.executor.run_all();
    CHECK(busy.peers[1].told() == Lines{"LogoutResponse 0"});
    CHECK(busy.peers[1].finished_flag);
    CHECK(busy.peers[1].flushed);
    busy.peers[1].close();
    CHECK(busy.array.sessions.list().at(0).peers.size() == 1);
    check_it_goes_on(busy);
  }

  TEST_CASE("A connection can be logged out from another") {
    Busy busy;
    CHECK(busy.peers.log_out(0, 1, 9) == Lines{"LogoutResponse 1"});
    CHECK(busy.peers.log_out(0, 1, 2).empty());
    CHECK(busy.peers[1].finished_flag);
    CHECK(busy.peers[1].told().empty());
    CHECK(busy.peers.log_out(0, 1, 2) == Lines{"LogoutResponse 1"});
    busy.array.device.executor.run_all();
    CHECK(busy.peers[0].told() == Lines{"LogoutResponse 0"});
    check_it_goes_on(busy);
  }

  TEST_CASE("Who asked for another's logout may be gone before it is over") {
    Busy busy(3);
    CHECK(busy.peers.log_out(2, 1, 2).empty());
    CHECK(busy.peers.log_out(2, 1, 3).empty() == false);
    CHECK(busy.peers[2].finished_flag);
    busy.peers[2].close();
    busy.array.device.executor.run_all();
    CHECK(busy.peers[0].told().empty());
    check_it_goes_on(busy);
  }

  TEST_CASE("A connection lost while it logs out just ends") {
    Busy busy;
    CHECK(busy.peers.log_out(1, 1, 2).empty());
    busy.peers[1].connection().peer_closed();
    CHECK(busy.peers[1].finished_flag);
    busy.peers[1].close();
    busy.array.device.executor.run_all();
    CHECK(busy.peers[0].told().empty());
    check_it_goes_on(busy);
  }

  TEST_CASE("Logout in its place in the order waits for the commands before it") {
    Array array;
    SeveralPeers peers(array, 2);
    peers.clear_attentions();
    std::uint32_t first = peers.cmd_sn++;
    peers[1].cmd_sn = peers.cmd_sn++;
    peers[1].send(peers[1].logout_request(1));
    CHECK(peers[1].told().empty());
    CHECK(!peers[1].finished_flag);
    std::uint32_t next = std::exchange(peers.cmd_sn, first);
    peers.send(0, write10(0, 1), kWrite, 512, pattern(512, 3));
    peers.cmd_sn = next;
    CHECK(peers[0].told() == Lines{"Response 00 itt=1"});
    CHECK(peers[1].told() == Lines{"LogoutResponse 0"});
    CHECK(peers[1].finished_flag);
  }

  TEST_CASE("The logout of the last connection ends the session, also while another's is under way") {
    Busy busy;
    CHECK(busy.peers.log_out(1, 1, 2).empty());
    CHECK(busy.peers.log_out(0, 1, 1).empty());
    busy.array.device.executor.run_all();
    CHECK(busy.peers[0].told() == Lines{"LogoutResponse 0"});
    CHECK(busy.peers[1].told() == Lines{"LogoutResponse 0"});
    CHECK(busy.array.sessions.size() == 0);
  }

  TEST_CASE("Logout of the session ends all connections, whichever asks") {
    for (std::size_t asking : {0u, 1u}) {
      Busy busy(3);
      CHECK(busy.peers.log_out(asking, 0, 0).empty());
      for (std::size_t at = 0; at < 3; ++at) CHECK(busy.peers[at].connection().receive_buffer().empty());
      busy.array.device.executor.run_all();
      for (std::size_t at = 0; at < 3; ++at) {
        CHECK(busy.peers[at].told() == (at == asking ? Lines{"LogoutResponse 0"} : Lines{}));
        CHECK(busy.peers[at].finished_flag);
        CHECK(busy.peers[at].flushed);
      }
      CHECK(busy.array.sessions.size() == 0);
    }
  }

  TEST_CASE("Removing a connection for recovery is refused: ErrorRecoveryLevel is 0") {
    Busy busy;
    CHECK(busy.peers.log_out(0, 2, 2) == Lines{"LogoutResponse 2"});
    CHECK(!busy.peers[1].finished_flag);
  }

  TEST_CASE("A connection that fails ends the session: the others are told and closed (session recovery)") {
    using Failure = void (*)(Busy&);
    const Failure failures[] = {
        [](Busy& busy) { busy.peers[1].connection().peer_closed(); },
        [](Busy& busy) { busy.peers[1].close(); },
        [](Busy& busy) { busy.peers[1].connection().drop("because"); },
        [](Busy& busy) {  // a data segment longer than we declared
          iscsi::NopOutBhs nop;
          nop.opcode |= iscsi::kImmediate;
          nop.initiator_task_tag = 1;
          busy.peers[1].send(nop, pattern(262145));
        },
        [](Busy& busy) {  // no answer to a ping
          busy.array.directory.limits.nop_interval = std::chrono::seconds(10);
          busy.array.wire.advance(std::chrono::seconds(10));
          busy.peers[1].connection().tick(busy.array.wire.now());
          busy.array.wire.advance(std::chrono::seconds(60));
          busy.peers[1].connection().tick(busy.array.wire.now());
        },
    };
    for (Failure fail : failures) {
      Busy busy(3);
      fail(busy);
      for (std::size_t at : {0u, 2u}) {
        Answer message = busy.peers[at].answer();
        CHECK(message.line() == "Async 3");
        CHECK(message.as<iscsi::AsyncMessageBhs>().parameter2 == 2);  // DefaultTime2Wait
        CHECK(message.as<iscsi::AsyncMessageBhs>().parameter3 == 0);  // nothing is retained
        CHECK(busy.peers[at].finished_flag);
        CHECK(busy.peers[at].flushed);
      }
      busy.array.device.executor.run_all();
      CHECK(busy.array.sessions.size() == 0);
      CHECK(busy.array.device.stores[0]->bytes()[1024] == 0);
      Peer again(busy.array);
      again.login();
    }
  }

  TEST_CASE("A wrong header digest on one connection ends the session") {
    Array array;
    SeveralPeers peers(array, 1);
    peers.add(2, pairs("HeaderDigest=CRC32C"));
    peers.clear_attentions();
    peers[1].spoil_header_digest = true;
    peers.send(1, test_unit_ready(), kNone, 0);
    CHECK(peers[1].finished_flag);
    CHECK(!peers[1].flushed);
    CHECK(peers[0].told() == Lines{"Async 3"});
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("A dropped connection is told of itself; the others of the session") {
    Array array;
    SeveralPeers peers(array, 2);
    peers[1].connection().drop("because");
    Answer message = peers[1].answer();
    CHECK(message.line() == "Async 2");
    CHECK(message.as<iscsi::AsyncMessageBhs>().parameter1 == 2);
    CHECK(peers[0].told() == Lines{"Async 3"});
  }

  TEST_CASE("Session reinstatement closes all connections of the old session") {
    Busy busy(3);
    Peer young(busy.array);
    young.send(young.login_request(0x87), login_text());
    for (std::size_t at = 0; at < 3; ++at) CHECK(busy.peers[at].finished_flag);
    CHECK(young.answers().empty());
    busy.array.device.executor.run_all();
    CHECK(young.answer().as<iscsi::LoginResponseBhs>().status == 0);
    CHECK(busy.array.sessions.size() == 1);
  }

  TEST_CASE("Reinstatement of one connection ends its tasks and leaves the others alone") {
    Busy busy;
    busy.peers.send(0, test_unit_ready(), kNone, 0);  // before its turn, too: it stays
    --busy.peers.cmd_sn;
    Peer& young = busy.peers.unconnected(2);
    young.send(young.login_request(0x87), login_text());
    CHECK(busy.peers[1].finished_flag);
    CHECK(!busy.peers[1].flushed);
    CHECK(young.answers().empty());
    CHECK(!busy.peers[0].finished_flag);
    busy.array.device.executor.run_all();
    Answer answer = young.answer();
    CHECK(answer.as<iscsi::LoginResponseBhs>().status == 0);
    CHECK(answer.as<iscsi::LoginResponseBhs>().exp_cmd_sn == busy.gap);
    CHECK(busy.array.sessions.list().at(0).peers.size() == 2);
    busy.fill(2, busy.gap);
    CHECK(young.answers().size() == 1);
    CHECK(busy.peers[0].told().empty());
    busy.fill(2, busy.held);
    CHECK(young.answers().size() == 1);
    CHECK(busy.peers[0].told() == Lines{"Response 02 itt=4 sense=06/47/7F"});
  }

  TEST_CASE("Of two logins that reinstate one connection the later stays") {
    Busy busy;
    Peer& first = busy.peers.unconnected(2);
    first.send(first.login_request(0x87), login_text());
    Peer& second = busy.peers.unconnected(2);
    second.send(second.login_request(0x87), login_text());
    busy.array.device.executor.run_all();
    CHECK(first.finished_flag != second.finished_flag);
    CHECK(busy.array.sessions.list().at(0).peers.size() == 2);
  }

  TEST_CASE("A login that gives up while it waits leaves the session to the connections that it has") {
    for (std::size_t others : {0u, 1u}) {
      Array array(slow());
      SeveralPeers peers(array, 1 + others);
      peers.clear_attentions();
      peers.send(0, read10(0, 1), kRead, 512);
      {
        Peer young(array);
        young.tsih = peers[0].tsih;
        young.send(young.login_request(0x87), login_text());
        CHECK(peers[0].finished_flag);
        CHECK(young.answers().empty());
      }
      array.device.executor.run_all();
      CHECK(array.sessions.size() == others);
      if (others > 0) CHECK(!peers[1].finished_flag);
    }
  }

  TEST_CASE("ABORT TASK from another connection: at work, waiting for data, before its turn, not come yet") {
    Busy busy;
    CHECK(busy.peers.manage(0, kAbortTask, 2) == Lines{"TaskManagementResponse 0 itt=257"});
    busy.peers[1].send_data_out(2, busy.ttt, 0, 0, pattern(512, 66), true);
    CHECK(busy.peers[1].told().empty());
    CHECK(busy.peers.manage(0, kAbortTask, 1).empty());
    busy.array.device.executor.run_all();
    CHECK(busy.peers[0].told() == Lines{"TaskManagementResponse 0 itt=257"});
    CHECK(busy.peers.manage(0, kAbortTask, 3) == Lines{"TaskManagementResponse 0 itt=257"});
    // The one under way on connection 1 counts as received; should it come after all, it is ignored.
    CHECK(busy.peers.manage(0, kAbortTask, 40, busy.gap) == Lines{"TaskManagementResponse 0 itt=257"});
    busy.peers.task_tag = 39;
    busy.fill(1, busy.gap);
    CHECK(busy.peers[1].told().empty());
    busy.peers.send(0, test_unit_ready(), kNone, 0);
    CHECK(busy.peers[0].told() == Lines{"Response 00 itt=41"});
    CHECK(busy.array.device.stores[0]->bytes()[512] == 0);
    CHECK(busy.array.device.stores[0]->bytes()[1024] == 0);
  }

  TEST_CASE("LOGICAL UNIT RESET ends the tasks of all connections, those it overtook as well, and of no other LUN") {
    Busy busy;
    // Of the commands sent before it one with number `gap` and two more are still under way on connection 1.
    std::uint32_t late = busy.peers.cmd_sn;
    busy.peers.cmd_sn += 2;
    CHECK(busy.peers.manage(0, kLogicalUnitReset).empty());
    busy.array.device.executor.run_all();
    CHECK(busy.peers.told(0) == Lines{"TaskManagementResponse 0 itt=257"});
    busy.peers.task_tag = 0x50;
    busy.peers.cmd_sn = busy.gap;
    busy.peers.send(1, write10(3, 1), kWrite, 512, pattern(512, 66));
    busy.peers.cmd_sn = late;
    busy.peers.send(1, write10(4, 1), kWrite, 512, pattern(512, 66));
    busy.peers.send(1, test_unit_ready(), kNone, 0, {}, 1);  // LUN 1
    CHECK(busy.peers[1].told() == Lines{"Response 00 itt=83"});
    busy.peers.send(1, test_unit_ready(), kNone, 0);  // sent after it
    CHECK(busy.peers[1].told() == Lines{"Response 02 itt=84 sense=06/29/03"});
    for (std::size_t block : {2u, 3u, 4u}) CHECK(busy.array.device.stores[0]->bytes()[block * 512] == 0);
    // The window is as wide as ever.
    busy.peers.send(0, test_unit_ready(), kNone, 0);
    auto answer = busy.peers[0].answer().as<iscsi::ScsiResponseBhs>();
    CHECK(answer.exp_cmd_sn == busy.peers.cmd_sn);
    CHECK(answer.max_cmd_sn == busy.peers.cmd_sn + 127);
  }

  TEST_CASE("A task management request beyond the window takes no command with it") {
    Busy busy;
    busy.peers.manage(0, kAbortTask + 1, iscsi::kReservedTag);
    busy.array.device.executor.run_all();
    busy.peers.told(0);
    std::uint32_t next = std::exchange(busy.peers.cmd_sn, busy.peers.cmd_sn + 1000);
    CHECK(busy.peers.manage(0, kLogicalUnitReset) == Lines{"TaskManagementResponse 0 itt=257"});
    busy.peers.cmd_sn = next;
    busy.peers.task_tag = 0x50;
    busy.fill(0, busy.gap);
    CHECK(busy.peers[0].told() == Lines{"Response 00 itt=81"});
    busy.peers.send(0, test_unit_ready(), kNone, 0);
    CHECK(busy.peers[0].told() == Lines{"Response 02 itt=82 sense=06/29/03"});
  }

  TEST_CASE("A target reset from one connection is answered there, then all connections end (TARGET COLD RESET)") {
    Busy busy;
    CHECK(busy.peers.manage(0, 7).empty());
    busy.array.device.executor.run_all();
    CHECK(busy.peers[0].told() == Lines{"TaskManagementResponse 0 itt=257", "Async 3"});
    CHECK(busy.peers[0].finished_flag);
    CHECK(busy.peers[1].finished_flag);
    CHECK(busy.array.sessions.size() == 0);
  }

  TEST_CASE("An answer to task management is lost with its connection, not sent on another") {
    Busy busy(3);
    CHECK(busy.peers.manage(2, kLogicalUnitReset).empty());
    CHECK(busy.peers.log_out(0, 1, 3) == Lines{"LogoutResponse 0"});
    Peer& young = busy.peers.add(3);
    busy.array.device.executor.run_all();
    CHECK(young.told().empty());
    CHECK(busy.peers[0].told().empty());
  }

  TEST_CASE("More data before its turn than the session may keep ends the session, with all its connections") {
    Array array;
    array.directory.limits.max_session_data_out = 4096;
    SeveralPeers peers(array, 2);
    peers.clear_attentions();
    ++peers.cmd_sn;
    for (int i = 0; i < 4; ++i) peers.send(static_cast<std::size_t>(i % 2), write10(0, 4), kWrite, 2048, pattern(2048));
    CHECK(peers[0].finished_flag);
    CHECK(peers[1].finished_flag);
    CHECK(array.sessions.size() == 0);
  }
}
