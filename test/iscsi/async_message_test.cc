// Asynchronous messages about logout and drop (RFC 7143, 11.9): what they say, and what becomes of running commands.
//
// Not tested, and why: events 0, 4, 5 and 255, which are never sent; odxd's own shutdown (test/target).
#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;
using std::chrono::seconds;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;

struct Host {
  explicit Host(const ByteVector& keys = {}, const iscsi::TargetNode* another = nullptr)
      : array(slow()), peer(with(array, another)) {
    peer.login(keys);
    peer.clear_attentions();
    peer.task_tag = 0;
  }
  static Array& with(Array& array, const iscsi::TargetNode* another) {
    if (another) array.directory.targets.push_back(std::make_shared<iscsi::TargetNode>(*another));
    return array;
  }
  static DeviceOptions slow() {
    DeviceOptions options;
    options.blocking = true;
    return options;
  }
  /// One read that the store keeps, and one write that waits for its data; gives back the R2T's tag.
  std::uint32_t begin_two() {
    peer.send_command(read10(0, 1), kRead, 512);
    peer.send_command(write10(8, 1), kWrite, 512);
    Answer r2t = peer.answer();
    CHECK(r2t.line() == "R2T itt=2 sn=0 offset=0 len=512");
    CHECK(array.device.executor.held() == 1);
    return r2t.as<iscsi::R2tBhs>().target_transfer_tag;
  }
  void advance(seconds by) {
    array.wire.advance(by);
    peer.connection().tick(array.wire.now());
  }
  /// A new session works, and learns that the old nexus is gone.
  void check_anew() {
    Peer again(array);
    again.login();
    again.send_command(test_unit_ready(), kNone, 0);
    CHECK(again.told() == Lines{"Response 02 itt=1 sense=06/29/00"});
  }

  Array array;
  Peer peer;
};

}  // namespace

TEST_SUITE("iscsi asynchronous messages") {
  TEST_CASE("Event 1 asks for a logout within Parameter3, and uses up a StatSN") {
    for (std::uint32_t first : {1u, 0x7FFFFFFEu, 0xFFFFFFFEu}) {
      Array array;
      Peer peer(array);
      peer.exp_stat_sn = first;
      peer.login();
      peer.clear_attentions();
      std::uint32_t next = peer.exp_stat_sn;
      peer.connection().request_logout(seconds(7));
      Answer answer = peer.answer();
      auto message = answer.as<iscsi::AsyncMessageBhs>();
      CHECK(message.flags == iscsi::kFinal);
      CHECK(message.async_event == 1);
      CHECK(message.async_vcode == 0);
      CHECK(message.lun == iscsi::LunField{});
      CHECK(answer.bhs.initiator_task_tag == iscsi::kReservedTag);
      CHECK(message.stat_sn == next);
      CHECK(message.exp_cmd_sn == peer.cmd_sn);
      CHECK(message.max_cmd_sn == peer.cmd_sn + 127);
      CHECK(message.parameter1 == 0);
      CHECK(message.parameter2 == 0);
      CHECK(message.parameter3 == 7);
      CHECK(answer.data.empty());
      peer.send_command(test_unit_ready(), kNone, 0);
      CHECK(peer.answer().as<iscsi::ScsiResponseBhs>().stat_sn == next + 1);
    }
  }

  TEST_CASE("After event 1 commands are served until the initiator logs out") {
    Host host;
    std::uint32_t ttt = host.begin_two();
    host.peer.connection().request_logout(seconds(7));
    CHECK(host.peer.told() == Lines{"Async 1"});
    host.peer.send_data_out(2, ttt, 0, 0, pattern(512), true);
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"DataIn F S itt=1 sn=0 offset=0 len=512", "Response 00 itt=2"});
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
    host.peer.send(host.peer.logout_request());
    CHECK(host.peer.told() == Lines{"LogoutResponse 0"});
    CHECK(host.peer.finished_flag);
    CHECK(host.peer.flushed);
  }

  TEST_CASE("A logout, of the session or of the connection, ends what still runs without an answer") {
    for (std::uint8_t reason : {0, 1}) {
      CAPTURE(reason);
      Host host;
      host.begin_two();
      host.peer.connection().request_logout(seconds(7));
      CHECK(host.peer.told() == Lines{"Async 1"});
      host.peer.send(host.peer.logout_request(reason));
      // The answer waits for the read, which the store still has; so long the time runs no more.
      CHECK(host.peer.told().empty());
      CHECK(!host.peer.connection().deadline());
      host.advance(seconds(60));
      CHECK(!host.peer.finished_flag);
      host.array.device.executor.run_all();
      CHECK(host.peer.told() == Lines{"LogoutResponse 0"});
      CHECK(host.peer.finished_flag);
      CHECK(host.array.sessions.size() == 0);
      CHECK(host.array.device.stores[0]->bytes()[8 * 512 + 1] == 0);
      host.check_anew();
    }
  }

  TEST_CASE("Without a logout in time comes event 2, and what runs ends without an answer") {
    Host host(pairs("DefaultTime2Wait=5"));
    std::uint32_t ttt = host.begin_two();
    host.peer.connection().request_logout(seconds(7));
    host.peer.answers();
    host.advance(seconds(0));
    host.advance(seconds(6));
    CHECK(!host.peer.finished_flag);
    CHECK(*host.peer.connection().deadline() == host.array.wire.now() + seconds(1));
    std::uint32_t next = host.peer.exp_stat_sn;
    host.advance(seconds(1));
    Answer answer = host.peer.answer();
    auto message = answer.as<iscsi::AsyncMessageBhs>();
    CHECK(answer.line() == "Async 2");
    CHECK(message.stat_sn == next);
    CHECK(message.parameter1 == host.peer.cid);
    CHECK(message.parameter2 == 5);
    CHECK(message.parameter3 == 0);
    CHECK(host.peer.finished_flag);
    CHECK(host.peer.flushed);
    // Nothing of what comes now is read; nothing is answered when the store has done its work.
    CHECK(host.peer.connection().receive_buffer().empty());
    host.peer.send_data_out(2, ttt, 0, 0, pattern(512), true);
    CHECK(host.array.sessions.size() == 1);
    host.array.device.executor.run_all();
    CHECK(host.array.sessions.size() == 0);
    CHECK(host.peer.told().empty());
    CHECK(host.array.device.stores[0]->bytes()[8 * 512 + 1] == 0);
    host.check_anew();
  }

  TEST_CASE("A logout for recovery, or of another connection, is none: the time goes on") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.connection().request_logout(seconds(7));
    peer.connection().tick(array.wire.now());
    peer.answers();
    peer.send(peer.logout_request(2));
    CHECK(peer.told() == Lines{"LogoutResponse 2"});
    auto other = peer.logout_request(1);
    other.cid = 9;
    peer.send(other);
    CHECK(peer.told() == Lines{"LogoutResponse 1"});
    array.wire.advance(seconds(7));
    peer.connection().tick(array.wire.now());
    CHECK(peer.told() == Lines{"Async 2"});
    CHECK(peer.finished_flag);
  }

  TEST_CASE("Asked twice, the later time counts; asked during a logout, nothing is said") {
    Array array(Host::slow());
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    peer.connection().request_logout(seconds(7));
    peer.connection().request_logout(seconds(9));
    CHECK(peer.told() == Lines{"Async 1", "Async 1"});
    peer.connection().tick(array.wire.now());
    CHECK(*peer.connection().deadline() == array.wire.now() + seconds(9));
    peer.send_command(read10(0, 1), kRead, 512);
    peer.send(peer.logout_request());
    peer.connection().request_logout(seconds(9));
    CHECK(peer.told().empty());
    array.device.executor.run_all();
    CHECK(peer.told() == Lines{"LogoutResponse 0"});
  }

  TEST_CASE("A discovery session is asked too") {
    Array array;
    Peer peer(array);
    peer.discover();
    peer.connection().request_logout(seconds(7));
    CHECK(peer.told() == Lines{"Async 1"});
    peer.send(peer.logout_request());
    CHECK(peer.told() == Lines{"LogoutResponse 0"});
    CHECK(peer.finished_flag);
  }

  TEST_CASE("A login under way gets no message: it is closed, or refused with 0301h when it waits for its answer") {
    Array array(Host::slow());
    Peer half(array);
    half.login_step(0x81, pairs("InitiatorName=iqn.2025-01.example:half", "TargetName=iqn.2025-01.example:target"));
    half.connection().request_logout(seconds(7));
    CHECK(half.finished_flag);
    CHECK(half.told().empty());

    Peer old(array);
    old.login();
    old.clear_attentions();
    old.send_command(read10(0, 1), kRead, 512);
    Peer waiting(array);
    waiting.send(waiting.login_request(0x87),
                 pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target"));
    CHECK(waiting.told().empty());
    waiting.connection().request_logout(seconds(7));
    CHECK(waiting.answer().as<iscsi::LoginResponseBhs>().status == 0x0301);
    CHECK(waiting.finished_flag);
    CHECK(waiting.flushed);
    array.device.executor.run_all();
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("Event 3 tells of the end of the session, to every session with the target that is reset") {
    Device other_device;
    iscsi::TargetNode second;
    second.name = "iqn.2025-01.example:second";
    second.device_server = &other_device.server;
    Host host(pairs("DefaultTime2Wait=5"), &second);
    Peer sibling(host.array), discovering(host.array), elsewhere(host.array);
    sibling.isid[5] = 2;
    sibling.login();
    sibling.clear_attentions();
    discovering.discover();
    elsewhere.login_step(0x87,
                         pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:second"));
    host.begin_two();
    sibling.send_command(read10(0, 1), kRead, 512);
    std::uint32_t next = sibling.exp_stat_sn;
    host.peer.send(host.peer.task_management(7));
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"TaskManagementResponse 0 itt=3", "Async 3"});
    Answer answer = sibling.answer();
    CHECK(answer.line() == "Async 3");
    auto message = answer.as<iscsi::AsyncMessageBhs>();
    CHECK(message.stat_sn == next);
    CHECK(message.parameter1 == 0);
    CHECK(message.parameter2 == 2);
    CHECK(message.parameter3 == 0);
    for (Peer* each : {&host.peer, &sibling}) {
      CHECK(each->finished_flag);
      CHECK(each->flushed);
    }
    for (Peer* each : {&discovering, &elsewhere}) {
      CHECK(!each->finished_flag);
      CHECK(each->told().empty());
    }
    CHECK(host.array.sessions.size() == 2);
    host.check_anew();
  }

  TEST_CASE("Session reinstatement says nothing to the session that gives way") {
    Array array;
    Peer old(array), young(array);
    old.login();
    young.login();
    CHECK(old.finished_flag);
    CHECK(!old.flushed);
    CHECK(old.told().empty());
  }
}
