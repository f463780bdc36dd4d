// Several connections in one session (RFC 7143, 4.2.2, 4.4.3, 6.3): logging them in, command order across them, and
// connection allegiance.
//
// Not tested, and why: a program that opens several connections, since no packaged initiator on Linux does (libiscsi
// and open-iscsi have one connection per session); the end of connections (connection_end_test.cc); random order
// (connection_order_test.cc).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "test/iscsi/several_peers.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kWriteMore = 0x20;  // unsolicited Data-Out follows
constexpr std::uint8_t kNone = 0x80;

ByteVector login_text(const ByteVector& keys = {}, std::string_view target = kTarget) {
  ByteVector text = pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=" + std::string(target));
  text.insert(text.end(), keys.begin(), keys.end());
  return text;
}

std::uint32_t ttt_of(const Answer& answer) { return answer.as<iscsi::R2tBhs>().target_transfer_tag; }

/// WRITE, READ, WRITE, READ of one block, each with its place in the order; reads tell whether they were served in it.
struct Ordered {
  std::size_t connection;
  ByteVector pdu;
};

std::vector<Ordered> four_in_order(SeveralPeers& peers) {
  std::vector<Ordered> all;
  for (std::size_t i = 0; i < 4; ++i) {
    std::size_t at = i % peers.size();
    bool write = i % 2 == 0;
    ByteVector data = write ? pattern(512, static_cast<std::uint8_t>(i + 1)) : ByteVector{};
    auto bhs = peers.command(at, write ? write10(0, 1) : read10(0, 1), write ? kWrite : kRead, 512);
    all.push_back({at, peers[at].encode(iscsi::header_as<iscsi::Bhs>(bhs), data)});
  }
  return all;
}

}  // namespace

TEST_SUITE("iscsi multiple connections") {
  TEST_CASE("A login with the session's TSIH and another CID adds a connection") {
    Array array;
    SeveralPeers peers(array, 1, 100);
    peers.clear_attentions();  // two commands: the session stands at 102
    Peer& second = peers.unconnected(7);
    second.exp_stat_sn = 5000;
    // Its responses tell of the session's command window from the first on: MaxCmdSN is never too large.
    Answer step = second.login_step(0x81, login_text(pairs("AuthMethod=None")));
    CHECK(step.as<iscsi::LoginResponseBhs>().exp_cmd_sn == 102);
    CHECK(step.as<iscsi::LoginResponseBhs>().max_cmd_sn == 102 + 127);
    CHECK(step.as<iscsi::LoginResponseBhs>().stat_sn == 5000);
    Answer last = second.login_step(0x87, {});
    CHECK(last.as<iscsi::LoginResponseBhs>().status == 0);
    CHECK(last.as<iscsi::LoginResponseBhs>().tsih == peers[0].tsih);
    CHECK(last.as<iscsi::LoginResponseBhs>().exp_cmd_sn == 102);
    CHECK(last.as<iscsi::LoginResponseBhs>().stat_sn == 5001);
    CHECK(array.sessions.size() == 1);
    CHECK(array.sessions.list().at(0).peers.size() == 2);
    // The same I_T nexus: no unit attention. Each connection counts its own StatSN (Peer::answers() checks it).
    peers.send(1, test_unit_ready(), kNone, 0);
    CHECK(second.told() == Lines{"Response 00 itt=1"});
    peers.send(0, test_unit_ready(), kNone, 0);
    CHECK(peers[0].told() == Lines{"Response 00 itt=2"});
  }

  TEST_CASE("A login that adds a connection negotiates what is the connection's, and nothing else") {
    Array array;
    SeveralPeers peers(array, 1, 1, pairs("MaxBurstLength=1024", "InitialR2T=No", "FirstBurstLength=1024"));
    peers.clear_attentions();
    Peer& second = peers.unconnected(2);
    Answer answer = second.login(pairs("HeaderDigest=CRC32C", "DataDigest=CRC32C", "MaxRecvDataSegmentLength=512",
                                       "MaxBurstLength=262144", "InitialR2T=Yes", "MaxConnections=1"));
    CHECK(answer.text() ==
          "TargetPortalGroupTag=1 HeaderDigest=CRC32C DataDigest=CRC32C MaxRecvDataSegmentLength=262144 "
          "MaxBurstLength=Irrelevant InitialR2T=Irrelevant MaxConnections=Irrelevant");
    // Segments as each connection receives them, bursts as the session agreed.
    peers.send(0, read10(0, 3), kRead, 1536);
    CHECK(peers[0].told() ==
          Lines{"DataIn F itt=1 sn=0 offset=0 len=1024", "DataIn F S itt=1 sn=1 offset=1024 len=512"});
    peers.send(1, read10(0, 3), kRead, 1536);
    CHECK(second.told() == Lines{"DataIn itt=2 sn=0 offset=0 len=512", "DataIn F itt=2 sn=1 offset=512 len=512",
                                 "DataIn F S itt=2 sn=2 offset=1024 len=512"});
    // Unsolicited data is the session's to agree on: this connection may send it, though it asked for InitialR2T.
    std::uint32_t itt = peers.send(1, write10(0, 2), kWriteMore, 1024);
    second.send_data_out(itt, iscsi::kReservedTag, 0, 0, pattern(1024, 9), true);
    CHECK(second.told() == Lines{"Response 00 itt=3"});
    CHECK(array.device.stores[0]->bytes()[0] == 9);
    // A declaration in a text negotiation is the connection's, too.
    second.cmd_sn = peers.cmd_sn++;
    second.send(second.text_request(), pairs("MaxRecvDataSegmentLength=2048"));
    CHECK(second.answers().size() == 1);
    peers.send(1, read10(0, 2), kRead, 1024);
    CHECK(second.answers().size() == 1);
  }

  TEST_CASE("A login that cannot be added is refused with its status, and the session goes on") {
    Array array;
    iscsi::TargetNode other;
    other.name = "iqn.2025-01.example:other";
    other.device_server = &array.device.server;
    array.directory.targets.push_back(std::make_shared<iscsi::TargetNode>(other));
    SeveralPeers peers(array, 4);
    auto refused = [&](auto change, const ByteVector& text = login_text()) {
      Peer peer(array);
      auto bhs = peer.login_request(0x87);
      bhs.tsih = peers[0].tsih;
      bhs.cid = 5;
      change(bhs);
      peer.send(bhs, text);
      CHECK(peer.finished_flag);
      CHECK(peer.flushed);
      return peer.answers().at(0).as<iscsi::LoginResponseBhs>().status.value();
    };
    CHECK(refused([](auto&) {}) == 0x0206);  // four were agreed on
    CHECK(refused([](auto&) {}, login_text({}, "iqn.2025-01.example:other")) == 0x0208);
    CHECK(refused([](auto&) {}, pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery")) == 0x0208);
    CHECK(refused([](auto& bhs) { bhs.isid[5] = 2; }) == 0x020A);
    CHECK(refused([](auto& bhs) { bhs.tsih = 999; }) == 0x020A);
    CHECK(refused([](auto&) {},
                  pairs("InitiatorName=iqn.2025-01.example:thief", "TargetName=iqn.2025-01.example:target")) == 0x020A);
    peers.clear_attentions();
    // Room again once one has left.
    CHECK(peers.log_out(3, 1, 4) == Lines{"LogoutResponse 0"});
    peers.add(5);
    CHECK(array.sessions.list().at(0).peers.size() == 4);
  }

  TEST_CASE("As many connections as both sides agree on") {
    for (auto [offer, ours, agreed] : {std::tuple(32, 4, 4), std::tuple(2, 4, 2), std::tuple(32, 1, 1)}) {
      Array array;
      array.directory.limits.max_connections_per_session = static_cast<std::uint16_t>(ours);
      Peer first(array);
      Answer answer = first.login(pairs(fmt::format("MaxConnections={}", offer)));
      CHECK(answer.text() == fmt::format("TargetPortalGroupTag=1 MaxConnections={}", agreed));
      std::vector<std::unique_ptr<Peer>> more;
      for (int cid = 2; cid <= agreed + 1; ++cid) {
        Peer& peer = *more.emplace_back(std::make_unique<Peer>(array));
        peer.tsih = first.tsih;
        peer.cid = static_cast<std::uint16_t>(cid);
        Answer last = peer.login_step(0x87, login_text());
        CHECK(last.as<iscsi::LoginResponseBhs>().status == (cid <= agreed ? 0 : 0x0206));
      }
    }
  }

  TEST_CASE("Commands are served in CmdSN order, whatever connection each comes on and whichever comes first") {
    for (std::size_t count : {2u, 3u, 4u}) {
      for (std::uint32_t first : {1u, 0x7FFFFFFEu, 0xFFFFFFFEu}) {  // two for unit attentions: then over the edge
        std::vector<std::size_t> arrival{0, 1, 2, 3};
        do {
          CAPTURE(count);
          CAPTURE(first);
          CAPTURE(fmt::format("{}{}{}{}", arrival[0], arrival[1], arrival[2], arrival[3]));
          Array array;
          SeveralPeers peers(array, count, first - 2);
          peers.clear_attentions();
          std::vector<Ordered> sent = four_in_order(peers);
          for (std::size_t i : arrival) peers[sent[i].connection].feed(sent[i].pdu);
          std::vector<Answer> answers;
          for (std::size_t at = 0; at < count; ++at) {
            for (Answer& each : peers[at].answers()) {
              // On the connection its command came on.
              CHECK((each.bhs.initiator_task_tag - 1) % count == at);
              answers.push_back(std::move(each));
            }
          }
          std::ranges::sort(answers, {}, [](const Answer& each) { return each.bhs.initiator_task_tag.value(); });
          REQUIRE(answers.size() == 4);
          CHECK(answers[1].data == pattern(512, 1));
          CHECK(answers[3].data == pattern(512, 3));
          CHECK(peers.cmd_sn == first + 4);
        } while (std::ranges::next_permutation(arrival).found);
      }
    }
  }

  TEST_CASE("ExpCmdSN and MaxCmdSN are the session's on every connection") {
    DeviceOptions slow;
    slow.blocking = true;
    Array array(slow);
    array.directory.limits.command_window = 3;
    SeveralPeers peers(array, 2, 0xFFFFFFFD);
    peers.clear_attentions();  // at FFFFFFFFh
    peers.send(0, read10(0, 1), kRead, 512);
    peers.send(1, read10(0, 1), kRead, 512);
    peers.send(0, test_unit_ready(), kNone, 0);
    Answer third = peers[0].answer();  // two are under way
    CHECK(third.as<iscsi::ScsiResponseBhs>().exp_cmd_sn == 2);
    CHECK(third.as<iscsi::ScsiResponseBhs>().max_cmd_sn == 2);
    peers.send(1, read10(0, 1), kRead, 512);
    // The window is full: what comes on either connection is ignored.
    std::uint32_t closed = peers.cmd_sn;
    for (std::size_t at : {0u, 1u}) {
      peers.send(at, read10(0, 1), kRead, 512);
      CHECK(array.device.executor.held() == 3);
    }
    peers.cmd_sn = closed;
    array.device.executor.run_all();
    CHECK(peers[0].answers().size() == 1);
    auto answers = peers[1].answers();
    REQUIRE(answers.size() == 2);
    CHECK(answers[1].as<iscsi::DataInBhs>().max_cmd_sn == closed + 2);
    peers.send(1, test_unit_ready(), kNone, 0);
    CHECK(peers[1].answers().size() == 1);
  }

  TEST_CASE("A number that came on one connection is a duplicate on another") {
    Array array;
    SeveralPeers peers(array, 2);
    peers.clear_attentions();
    std::uint32_t gap = peers.cmd_sn++;
    peers.send(0, write10(0, 1), kWrite, 512, pattern(512, 1));
    --peers.cmd_sn;
    peers.send(1, write10(0, 1), kWrite, 512, pattern(512, 2));
    std::uint32_t next = std::exchange(peers.cmd_sn, gap);
    peers.send(1, test_unit_ready(), kNone, 0);
    peers.cmd_sn = next;
    CHECK(peers[0].told() == Lines{"Response 00 itt=1"});
    CHECK(peers[1].told() == Lines{"Response 00 itt=3"});
    CHECK(array.device.stores[0]->bytes()[0] == 1);
    // One task tag, two connections: tags are the session's.
    peers.task_tag = 10;
    std::uint32_t itt = peers.send(0, write10(0, 1), kWrite, 512);
    CHECK(peers[0].answers().size() == 1);
    peers.task_tag = itt - 1;
    peers.send(1, test_unit_ready(), kNone, 0);
    CHECK(peers[1].told() == Lines{"Reject 07"});
  }

  TEST_CASE("R2T, Data-Out and response of a write stay on its connection; data on another is rejected") {
    Array array;
    SeveralPeers peers(array, 2);
    peers.clear_attentions();
    std::uint32_t itt = peers.send(1, write10(0, 128), kWrite, 65536);
    CHECK(peers[0].told().empty());
    std::uint32_t ttt = ttt_of(peers[1].answer());
    // Large enough to be received in the command's own buffer, were it the right connection.
    peers[0].send_data_out(itt, ttt, 0, 0, pattern(65536, 66), true);
    CHECK(peers[0].told() == Lines{"Reject 04"});
    ByteVector right = pattern(65536, 5);
    ByteVector first(right.begin(), right.begin() + 32768), second(right.begin() + 32768, right.end());
    peers[1].send_data_out(itt, ttt, 0, 0, first, false);
    peers[0].send_data_out(itt, ttt, 1, 32768, pattern(32768, 66), true);
    CHECK(peers[0].told() == Lines{"Reject 04"});
    peers[1].send_data_out(itt, ttt, 1, 32768, second, true);
    CHECK(peers[1].told() == Lines{"Response 00 itt=1"});
    base::Bytes stored = array.device.stores[0]->bytes();
    CHECK(std::ranges::equal(stored.first(65536), right));
  }

  TEST_CASE("Unsolicited data on another connection is rejected, before its command's turn as well") {
    Array array;
    SeveralPeers peers(array, 2, 1, pairs("InitialR2T=No"));
    peers.clear_attentions();
    std::uint32_t gap = peers.cmd_sn++;
    std::uint32_t itt = peers.send(1, write10(0, 2), kWriteMore, 1024);
    peers[0].send_data_out(itt, iscsi::kReservedTag, 0, 0, pattern(1024, 66), true);
    CHECK(peers[0].told() == Lines{"Reject 04"});
    peers[1].send_data_out(itt, iscsi::kReservedTag, 0, 0, pattern(512, 5), false);
    peers.cmd_sn = gap;
    peers.send(0, test_unit_ready(), kNone, 0);
    CHECK(peers[0].told() == Lines{"Response 00 itt=2"});
    peers[0].send_data_out(itt, iscsi::kReservedTag, 1, 512, pattern(512, 66), true);
    CHECK(peers[0].told() == Lines{"Reject 04"});
    peers[1].send_data_out(itt, iscsi::kReservedTag, 1, 512, pattern(512, 6), true);
    CHECK(peers[1].told() == Lines{"Response 00 itt=1"});
    CHECK(array.device.stores[0]->bytes()[0] == 5);
    CHECK(array.device.stores[0]->bytes()[512] == 6);
  }

  TEST_CASE("A wrong data digest on another connection does not end a write") {
    Array array;
    SeveralPeers peers(array, 1);
    peers.add(2, pairs("DataDigest=CRC32C"));
    peers.clear_attentions();
    std::uint32_t itt = peers.send(0, write10(0, 1), kWrite, 512);
    std::uint32_t ttt = ttt_of(peers[0].answer());
    peers[1].spoil_data_digest = true;
    peers[1].send_data_out(itt, ttt, 0, 0, pattern(512, 66), true);
    CHECK(peers[1].told() == Lines{"Reject 02"});
    peers[0].send_data_out(itt, ttt, 0, 0, pattern(512, 5), true);
    CHECK(peers[0].told() == Lines{"Response 00 itt=1"});
  }

  TEST_CASE("Immediate data that arrives on two connections at the same time goes its own ways") {
    Array array;
    SeveralPeers peers(array, 2, 1, pairs("InitialR2T=No", "FirstBurstLength=65536"));
    peers.clear_attentions();
    std::vector<ByteVector> pdus;
    for (std::size_t at : {0u, 1u}) {
      auto bhs = peers.command(at, write10(static_cast<std::uint32_t>(at * 128), 128), kWrite, 65536);
      pdus.push_back(
          peers[at].encode(iscsi::header_as<iscsi::Bhs>(bhs), pattern(65536, static_cast<std::uint8_t>(at + 1))));
    }
    for (std::size_t part = 0; part < 4; ++part) {
      for (std::size_t at : {1u, 0u}) {
        base::Bytes rest = base::Bytes(pdus[at]).subspan(part * 17000);
        peers[at].feed(part < 3 ? rest.first(17000) : rest);
      }
    }
    CHECK(peers[0].told() == Lines{"Response 00 itt=1"});
    CHECK(peers[1].told() == Lines{"Response 00 itt=2"});
    base::Bytes stored = array.device.stores[0]->bytes();
    CHECK(std::ranges::equal(stored.first(65536), pattern(65536, 1)));
    CHECK(std::ranges::equal(stored.subspan(65536, 65536), pattern(65536, 2)));
  }

  TEST_CASE(
      "Writes of all connections share the room for data-out; one that waits is asked for its data when there is "
      "some") {
    Array array;
    array.directory.limits.max_session_data_out = 4096;
    SeveralPeers peers(array, 2);
    peers.clear_attentions();
    std::uint32_t itt = peers.send(0, write10(0, 8), kWrite, 4096);
    std::uint32_t ttt = ttt_of(peers[0].answer());
    peers.send(1, write10(8, 8), kWrite, 4096);
    CHECK(peers[1].told().empty());
    unsigned before = peers[1].output_announced;
    peers[0].send_data_out(itt, ttt, 0, 0, pattern(4096), true);
    CHECK(peers[0].told() == Lines{"Response 00 itt=1"});
    CHECK(peers[1].output_announced == before + 1);
    CHECK(peers[1].told() == Lines{"R2T itt=2 sn=0 offset=0 len=4096"});
  }

  TEST_CASE("A connection that does not take its answers is not read from; another goes on") {
    DeviceOptions large;
    large.size_bytes = 4 << 20;
    Array array(large);
    SeveralPeers peers(array, 2, 1, pairs("MaxRecvDataSegmentLength=262144"));
    peers.clear_attentions();
    while (!peers[1].connection().receive_buffer().empty()) peers.send(1, read10(0, 8192), kRead, 4 << 20);
    CHECK(peers.task_tag == 4);  // 16 MiB
    for (int i = 0; i < 10; ++i) {
      peers.send(0, read10(0, 1), kRead, 512);
      CHECK(peers[0].answers().size() == 1);
    }
    CHECK(!peers[0].connection().receive_buffer().empty());
    CHECK(peers[1].answers().size() > 4);
    CHECK(!peers[1].connection().receive_buffer().empty());
  }

  TEST_CASE("Text negotiations of two connections do not meet") {
    Array array;
    SeveralPeers peers(array, 2);
    // Both are half-way through a text of two PDUs.
    for (std::size_t at : {0u, 1u}) {
      peers[at].task_tag = static_cast<std::uint32_t>(10 * (at + 1));
      peers[at].cmd_sn = peers.cmd_sn++;
      auto bhs = peers[at].text_request(iscsi::kContinue);
      peers[at].send(bhs, pairs("SendTargets=All"));
      Answer go_on = peers[at].answer();
      CHECK(go_on.line() == "TextResponse ");
      peers[at].task_tag = bhs.initiator_task_tag;
      peers[at].exp_stat_sn = go_on.as<iscsi::TextResponseBhs>().stat_sn + 1;
    }
    CHECK(array.sessions.size() == 1);
  }

  TEST_CASE("Each connection is pinged for itself, and asked to log out for itself") {
    Array array;
    array.directory.limits.nop_interval = std::chrono::seconds(30);
    SeveralPeers peers(array, 2);
    array.wire.advance(std::chrono::seconds(20));
    peers.send(1, test_unit_ready(), kNone, 0);
    CHECK(peers[1].answers().size() == 1);
    array.wire.advance(std::chrono::seconds(10));
    for (std::size_t at : {0u, 1u}) peers[at].connection().tick(array.wire.now());
    CHECK(peers[0].told() == Lines{"NopIn itt=FFFFFFFF len=0"});
    CHECK(peers[1].told().empty());
    peers[1].connection().request_logout(std::chrono::seconds(5));
    CHECK(peers[0].told().empty());
    CHECK(peers[1].told() == Lines{"Async 1"});
    CHECK(peers.log_out(1, 1, 2) == Lines{"LogoutResponse 0"});
    CHECK(!peers[0].finished_flag);
  }
}
