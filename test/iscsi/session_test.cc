// A session's life: reinstatement, logout, NOP, asynchronous messages, rejects, the end of connections.
//
// Not tested, and why: several connections per session (multiple_connections_test.cc, connection_end_test.cc);
// ErrorRecoveryLevel above 0, which is negotiated away.
#include <doctest/doctest.h>

#include <optional>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kNone = 0x80;

DeviceOptions slow() {
  DeviceOptions options;
  options.blocking = true;
  return options;
}

iscsi::NopOutBhs ping(std::uint32_t itt, std::uint32_t ttt = iscsi::kReservedTag) {
  iscsi::NopOutBhs nop;
  nop.opcode |= iscsi::kImmediate;
  nop.initiator_task_tag = itt;
  nop.target_transfer_tag = ttt;
  return nop;
}

ByteVector login_text() {
  return pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target");
}

}  // namespace

TEST_SUITE("iscsi session") {
  TEST_CASE("A second login with the same name and ISID ends the first session before it gets an answer") {
    Array array(slow());
    Peer old(array);
    old.login();
    old.clear_attentions();
    old.send_command(read10(0, 1), kRead, 512);
    REQUIRE(array.device.executor.held() == 1);
    Peer young(array);
    young.send(young.login_request(0x87), login_text());
    // The old task is still at work on the store.
    CHECK(old.finished_flag);
    CHECK(!old.flushed);
    CHECK(young.answers().empty());
    CHECK(young.connection().receive_buffer().empty());
    CHECK(array.sessions.size() == 1);
    array.device.executor.run_all();
    Answer answer = young.answer();
    CHECK(answer.as<iscsi::LoginResponseBhs>().status == 0);
    CHECK(young.connection().full_feature());
    CHECK(array.sessions.size() == 1);
    CHECK(old.answers().empty());
    // A new I_T nexus: its unit attention says so.
    young.send_command(test_unit_ready(), kNone, 0);
    CHECK(young.told() == Lines{"Response 02 itt=1 sense=06/29/00"});
  }

  TEST_CASE("Another ISID, another initiator or another target is another session") {
    Array array;
    Peer first(array);
    first.login();
    Peer isid(array);
    isid.isid[5] = 2;
    isid.login();
    Peer initiator(array);
    initiator.login_step(0x87,
                         pairs("InitiatorName=iqn.2025-01.example:host2", "TargetName=iqn.2025-01.example:target"));
    CHECK(array.sessions.size() == 3);
    CHECK(!first.finished_flag);
    CHECK(first.tsih != isid.tsih);
    auto list = array.sessions.list();
    CHECK(list.size() == 3);
    CHECK(list[0].target_name == kTarget);
    CHECK(list[0].peers == Lines{"198.51.100.9:40000"});
  }

  TEST_CASE("ISID 0 is an ISID") {
    Array array;
    Peer peer(array);
    peer.isid = {};
    peer.login();
  }

  TEST_CASE("Discovery sessions with one ISID live side by side") {
    Array array;
    Peer a(array), b(array);
    a.discover();
    b.discover();
    CHECK(!a.finished_flag);
    CHECK(array.sessions.size() == 2);
  }

  TEST_CASE("A connection that gives up while it waits for the old session leaves nothing behind") {
    Array array(slow());
    Peer old(array);
    old.login();
    old.clear_attentions();
    old.send_command(read10(0, 1), kRead, 512);
    {
      Peer young(array);
      young.send(young.login_request(0x87), login_text());
      CHECK(young.answers().empty());
    }
    array.device.executor.run_all();
    CHECK(array.sessions.size() == 0);
    Peer third(array);
    third.login();
  }

  TEST_CASE("A login with the session's TSIH and CID takes the session over") {
    Array array(slow());
    Peer old(array);
    old.login();
    old.clear_attentions();
    old.send_command(read10(0, 1), kRead, 512);
    Peer young(array);
    young.tsih = old.tsih;
    young.cmd_sn = old.cmd_sn;
    young.send(young.login_request(0x87), login_text());
    CHECK(old.finished_flag);
    CHECK(young.answers().empty());
    array.device.executor.run_all();
    Answer answer = young.answer();
    CHECK(answer.as<iscsi::LoginResponseBhs>().status == 0);
    CHECK(answer.as<iscsi::LoginResponseBhs>().tsih == old.tsih);
    CHECK(answer.as<iscsi::LoginResponseBhs>().exp_cmd_sn == old.cmd_sn);
    // The same I_T nexus: what it is told is that tasks have ended (RFC 7143, 11.14.5).
    young.send_command(test_unit_ready(), kNone, 0);
    CHECK(young.told() == Lines{"Response 02 itt=1 sense=06/47/7F"});
    young.send_command(test_unit_ready(), kNone, 0, {}, 1);
    CHECK(young.told() == Lines{"Response 00 itt=2"});
    old.close();
    CHECK(array.sessions.size() == 1);
  }

  TEST_CASE("A TSIH that does not fit is refused with its status") {
    Array array;
    Peer first(array);
    first.login();
    auto refused = [&](auto change, const ByteVector& text = login_text()) {
      Peer peer(array);
      auto bhs = peer.login_request(0x87);
      bhs.tsih = first.tsih;
      change(bhs);
      peer.send(bhs, text);
      CHECK(peer.finished_flag);
      return peer.answers().at(0).as<iscsi::LoginResponseBhs>().status.value();
    };
    CHECK(refused([](auto& bhs) { bhs.cid = 2; }) == 0x0206);
    CHECK(refused([](auto& bhs) { bhs.isid[5] = 2; }) == 0x020A);
    CHECK(refused([](auto& bhs) { bhs.tsih = 999; }) == 0x020A);
    CHECK(refused([](auto&) {},
                  pairs("InitiatorName=iqn.2025-01.example:thief", "TargetName=iqn.2025-01.example:target")) == 0x020A);
    CHECK(!first.finished_flag);
  }

  TEST_CASE("When the peer closes, the session and its tasks end") {
    Array array(slow());
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    peer.send_command(read10(0, 1), kRead, 512);
    peer.send_command(write10(0, 1), 0xA0, 512);
    peer.connection().peer_closed();
    CHECK(peer.finished_flag);
    CHECK(array.sessions.size() == 1);
    array.device.executor.run_all();
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("A connection destroyed in full-feature phase ends its session without telling anybody") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.close();
    CHECK(!peer.finished_flag);
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("Logout is answered when the session's tasks have ended, and nothing after it") {
    for (std::uint8_t reason : {0, 1}) {
      Array array(slow());
      Peer peer(array);
      peer.login(pairs("DefaultTime2Wait=3"));
      peer.clear_attentions();
      peer.send_command(read10(0, 1), kRead, 512);
      peer.send(peer.logout_request(reason));
      CHECK(peer.told().empty());
      CHECK(!peer.finished_flag);
      CHECK(peer.connection().receive_buffer().empty());
      array.device.executor.run_all();
      Answer answer = peer.answer();
      CHECK(answer.line() == "LogoutResponse 0");
      CHECK(answer.as<iscsi::LogoutResponseBhs>().time2wait == 3);
      CHECK(peer.finished_flag);
      CHECK(peer.flushed);
      CHECK(array.sessions.size() == 0);
    }
  }

  TEST_CASE("A connection lost during logout just ends") {
    Array array(slow());
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    peer.send_command(read10(0, 1), kRead, 512);
    peer.send(peer.logout_request());
    peer.connection().peer_closed();
    CHECK(peer.finished_flag);
    array.device.executor.run_all();
    CHECK(array.sessions.size() == 0);
    CHECK(peer.answers().empty());
  }

  TEST_CASE("Logout of another connection, for recovery, or for no known reason leaves the session alone") {
    Array array;
    Peer peer(array);
    peer.login();
    auto other = peer.logout_request(1);
    other.cid = 9;
    peer.send(other);
    CHECK(peer.told() == Lines{"LogoutResponse 1"});
    peer.send(peer.logout_request(2));
    CHECK(peer.told() == Lines{"LogoutResponse 2"});
    peer.send(peer.logout_request(3));
    Answer rejected = peer.answer();
    CHECK(rejected.line() == "Reject 09");
    CHECK(rejected.as<iscsi::RejectBhs>().exp_cmd_sn == peer.cmd_sn - 1);
    CHECK(!peer.finished_flag);
  }

  TEST_CASE("A ping is answered with its data, up to what the initiator receives") {
    Array array;
    Peer peer(array);
    peer.login(pairs("MaxRecvDataSegmentLength=1024"));
    std::uint32_t before = peer.cmd_sn;
    peer.send(ping(5), pattern(100));
    Answer answer = peer.answer();
    CHECK(answer.line() == "NopIn itt=5 len=100");
    CHECK(answer.data == pattern(100));
    CHECK(answer.as<iscsi::NopInBhs>().target_transfer_tag == iscsi::kReservedTag);
    CHECK(answer.as<iscsi::NopInBhs>().exp_cmd_sn == before);
    peer.send(ping(6), pattern(30000));
    Answer cut = peer.answer();
    CHECK(cut.data.size() == 1024);
    // One with a place in the order uses up its number.
    auto numbered = ping(7);
    numbered.opcode &= 0xBF;
    numbered.cmd_sn = peer.cmd_sn++;
    peer.send(numbered);
    CHECK(peer.answer().as<iscsi::NopInBhs>().exp_cmd_sn == before + 1);
    // An answer to our ping is swallowed; one with a place in the order is nonsense.
    peer.send(ping(iscsi::kReservedTag, 1));
    CHECK(peer.told().empty());
    auto nonsense = ping(iscsi::kReservedTag);
    nonsense.opcode &= 0xBF;
    nonsense.cmd_sn = peer.cmd_sn;
    peer.send(nonsense);
    CHECK(peer.told() == Lines{"Reject 04"});
  }

  TEST_CASE("A silent initiator is pinged, and dropped when it stays silent") {
    Array array;
    array.directory.limits.nop_interval = std::chrono::seconds(30);
    array.directory.limits.nop_timeout = std::chrono::seconds(10);
    Peer peer(array);
    CHECK(*peer.connection().deadline() == array.wire.now() + array.directory.limits.login_timeout);
    peer.login();
    CHECK(*peer.connection().deadline() == array.wire.now() + std::chrono::seconds(30));
    array.wire.advance(std::chrono::seconds(29));
    peer.connection().tick(array.wire.now());
    CHECK(peer.told().empty());
    array.wire.advance(std::chrono::seconds(1));
    peer.connection().tick(array.wire.now());
    auto nop = peer.answer().as<iscsi::NopInBhs>();
    CHECK(nop.initiator_task_tag == iscsi::kReservedTag);
    CHECK(nop.target_transfer_tag != iscsi::kReservedTag);
    // Any byte is a sign of life.
    array.wire.advance(std::chrono::seconds(9));
    peer.send(ping(iscsi::kReservedTag, nop.target_transfer_tag));
    CHECK(*peer.connection().deadline() == array.wire.now() + std::chrono::seconds(30));
    array.wire.advance(std::chrono::seconds(30));
    peer.connection().tick(array.wire.now());
    CHECK(peer.answers().size() == 1);
    array.wire.advance(std::chrono::seconds(10));
    peer.connection().tick(array.wire.now());
    CHECK(peer.finished_flag);
    CHECK(!peer.flushed);
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("Without an interval nothing is due") {
    Array array;
    Peer peer(array);
    peer.login();
    CHECK(!peer.connection().deadline());
  }

  TEST_CASE("A logout can be asked for; whoever does not log out in time is dropped") {
    Array array;
    Peer obedient(array);
    obedient.login();
    obedient.connection().request_logout(std::chrono::seconds(5));
    Answer message = obedient.answer();
    CHECK(message.line() == "Async 1");
    CHECK(message.as<iscsi::AsyncMessageBhs>().parameter3 == 5);
    obedient.send_command(test_unit_ready(), kNone, 0);
    CHECK(obedient.answers().size() == 1);
    obedient.send(obedient.logout_request());
    CHECK(obedient.told() == Lines{"LogoutResponse 0"});
    CHECK(obedient.finished_flag);

    Peer deaf(array);
    deaf.login();
    array.wire.advance(std::chrono::hours(1));
    deaf.connection().request_logout(std::chrono::seconds(5));
    deaf.answers();
    deaf.connection().tick(array.wire.now());
    CHECK(*deaf.connection().deadline() == array.wire.now() + std::chrono::seconds(5));
    array.wire.advance(std::chrono::seconds(5));
    deaf.connection().tick(array.wire.now());
    CHECK(deaf.told() == Lines{"Async 2"});
    CHECK(deaf.finished_flag);
    CHECK(deaf.flushed);

    Peer stranger(array);
    stranger.connection().request_logout(std::chrono::seconds(5));
    CHECK(stranger.finished_flag);
  }

  TEST_CASE("A dropped connection is told so in full-feature phase") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.connection().drop("because");
    Answer message = peer.answer();
    CHECK(message.line() == "Async 2");
    CHECK(message.as<iscsi::AsyncMessageBhs>().parameter1 == peer.cid);
    CHECK(peer.finished_flag);
    CHECK(peer.flushed);
    CHECK(array.sessions.size() == 0);
    Peer early(array);
    early.connection().drop("because");
    CHECK(early.finished_flag);
    CHECK(early.answers().empty());
  }

  TEST_CASE("What has no place in the phase is rejected with its header") {
    Array array;
    Peer peer(array);
    peer.login();
    struct Row {
      std::uint8_t opcode;
      const char* answer;
    };
    for (const Row& row : {Row{0x10, "Reject 03"}, Row{0x43, "Reject 04"}, Row{0x1C, "Reject 05"},
                           Row{0x20, "Reject 05"}, Row{0x3F, "Reject 05"}}) {
      iscsi::Bhs bhs;
      bhs.opcode = row.opcode;
      bhs.initiator_task_tag = 0x12345678;
      peer.send(bhs);
      Answer reject = peer.answer();
      CHECK(reject.line() == row.answer);
      CHECK(reject.bhs.initiator_task_tag == iscsi::kReservedTag);
      base::Bytes header = base::bytes_of(bhs);
      CHECK(reject.data == ByteVector(header.begin(), header.end()));
    }
    peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(peer.answers().size() == 1);
  }

  TEST_CASE("A data segment longer than we declared ends the connection with a reject") {
    Array array;
    array.directory.limits.max_recv_data_segment_length = 4096;
    Peer peer(array);
    peer.login();
    peer.send(ping(1), pattern(4097));
    CHECK(peer.told() == Lines{"Reject 04"});
    CHECK(peer.finished_flag);
    CHECK(peer.flushed);
  }

  TEST_CASE("Two sessions do not disturb each other: garbage on one, work on the other") {
    Array array;
    Peer good(array), bad(array);
    good.login();
    good.clear_attentions();
    bad.isid[5] = 2;
    bad.login();
    bad.feed(ByteVector(48, 0xFF));
    CHECK(bad.finished_flag);
    good.send_command(read10(0, 1), kRead, 512);
    CHECK(good.told() == Lines{"DataIn F S itt=3 sn=0 offset=0 len=512"});
  }
}
