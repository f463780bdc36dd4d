// SendTargets answers longer than one PDU (RFC 7143, 6.2, 11.10, 11.11, appendix C): the C bit, the tag that goes on,
// and initiators that do not go on as they should.
//
// Not tested, and why: which targets and addresses are told (discovery_test.cc).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <optional>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;
using Portals = std::vector<iscsi::PortalAddress>;

namespace {

const char* const kAll = "SendTargets=All";

/// An array with so many further targets, and the text that tells all of them, worked out here.
struct Listed {
  Listed(int count, const Portals& portals) {
    text = "TargetName=iqn.2025-01.example:target" + std::string(1, '\0') + "TargetAddress=192.0.2.1:3260,1" + '\0';
    for (int i = 0; i < count; ++i) {
      iscsi::TargetNode node;
      node.name = fmt::format("iqn.2025-01.example:target-{:03}", i);
      node.portals = portals;
      node.portal_group_tags = {static_cast<std::uint16_t>(i + 2)};
      for (iscsi::PortalAddress& portal : node.portals) portal.portal_group_tag = node.portal_group_tags.front();
      text += "TargetName=" + node.name + '\0';
      for (const iscsi::PortalAddress& portal : portals)
        text += fmt::format("TargetAddress={}:{},{}", portal.address, portal.port, i + 2) + '\0';
      array.directory.targets.push_back(std::make_shared<iscsi::TargetNode>(std::move(node)));
    }
    iscsi::TargetNode hidden;
    hidden.name = "iqn.2025-01.example:hidden";
    hidden.allowed_initiators = {"iqn.2025-01.example:somebody-else"};
    array.directory.targets.push_back(std::make_shared<iscsi::TargetNode>(std::move(hidden)));
  }

  void discover(Peer& peer, std::size_t limit) {
    peer.login_step(0x87, pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery",
                                fmt::format("MaxRecvDataSegmentLength={}", limit)));
    REQUIRE(peer.connection().full_feature());
  }

  Array array;
  std::string text;
};

std::uint32_t ttt_of(const Answer& answer) { return answer.as<iscsi::TextResponseBhs>().target_transfer_tag; }

bool is_final(const Answer& answer) {
  CHECK(answer.code() == iscsi::Opcode::text_response);
  if (answer.bhs.flags == iscsi::kFinal) {
    CHECK(ttt_of(answer) == iscsi::kReservedTag);
    return true;
  }
  CHECK(answer.bhs.flags == iscsi::kContinue);
  CHECK(ttt_of(answer) != iscsi::kReservedTag);
  return false;
}

std::string text_of(const Answer& answer) { return {answer.data.begin(), answer.data.end()}; }

Answer ask(Peer& peer, const char* text = kAll) {
  peer.send(peer.text_request(), pairs(text));
  return peer.answer();
}
Answer go_on(Peer& peer, const Answer& last, std::uint8_t flags = iscsi::kFinal) {
  peer.send(peer.text_request(flags, ttt_of(last)));
  return peer.answer();
}
/// Everything after `first`, which is taken in.
std::string rest_of_list(Peer& peer, Answer first) {
  std::string all = text_of(first);
  while (!is_final(first)) {
    first = go_on(peer, first);
    all += text_of(first);
  }
  return all;
}
/// An immediate request that is to be rejected: it uses up no CmdSN, whatever becomes of it.
iscsi::TextRequestBhs stray(Peer& peer, std::uint32_t itt, std::uint32_t ttt) {
  iscsi::TextRequestBhs bhs;
  bhs.opcode |= iscsi::kImmediate;
  bhs.flags = iscsi::kFinal;
  bhs.initiator_task_tag = itt;
  bhs.target_transfer_tag = ttt;
  bhs.cmd_sn = peer.cmd_sn;
  return bhs;
}

}  // namespace

TEST_SUITE("iscsi long lists of targets") {
  TEST_CASE("Hundreds of targets with several portals come in segments of 512 bytes") {
    Listed listed(300, {{"192.0.2.1", 3260}, {"[2001:db8::1]", 3261}, {"array.example.org", 3262}});
    Peer peer(listed.array);
    listed.discover(peer, 512);
    std::size_t pieces = (listed.text.size() + 511) / 512;
    REQUIRE(pieces > 80);
    Answer answer = ask(peer);
    std::uint32_t itt = answer.bhs.initiator_task_tag;
    std::string all;
    for (std::size_t i = 1; i < pieces; ++i) {
      CHECK(!is_final(answer));
      CHECK(answer.data.size() == 512);
      CHECK(answer.bhs.initiator_task_tag == itt);
      CHECK(answer.as<iscsi::TextResponseBhs>().exp_cmd_sn == peer.cmd_sn);
      all += text_of(answer);
      answer = go_on(peer, answer);
    }
    CHECK(is_final(answer));
    all += text_of(answer);
    CHECK(all == listed.text);
    CHECK(all.find("hidden") == std::string::npos);
    // And once more, from the beginning.
    CHECK(rest_of_list(peer, ask(peer)) == listed.text);
  }

  TEST_CASE("Wherever the list is cut, it is whole") {
    Listed listed(10, {{"192.0.2.1", 3260}, {"[2001:db8::1]", 3261}});
    std::size_t length = listed.text.size();
    REQUIRE(length > 1024);
    for (std::size_t limit = 512; limit <= length + 1; ++limit) {
      CAPTURE(limit);
      Peer peer(listed.array);
      listed.discover(peer, limit);
      Answer first = ask(peer);
      CHECK(first.data.size() == std::min(limit, length));
      CHECK(is_final(first) == (limit >= length));
      CHECK(rest_of_list(peer, first) == listed.text);
    }
  }

  TEST_CASE("The limit is the one in force: a normal session, and MaxRecvDataSegmentLength declared with the request") {
    Listed listed(40, {{"192.0.2.1", 3260}});
    Peer peer(listed.array);
    peer.login();
    CHECK(rest_of_list(peer, ask(peer)) == listed.text);
    peer.send(peer.text_request(), pairs("MaxRecvDataSegmentLength=600", kAll, "X-org.example.a=1"));
    Answer first = peer.answer();
    CHECK(first.data.size() == 600);
    CHECK(rest_of_list(peer, first) == listed.text + "X-org.example.a=NotUnderstood" + '\0');
    // One target and the session's own fit.
    CHECK(ask(peer, "SendTargets=iqn.2025-01.example:target-007").text() ==
          "TargetName=iqn.2025-01.example:target-007 TargetAddress=192.0.2.1:3260,9");
    CHECK(ask(peer, "SendTargets=").text() == "TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.1:3260,1");
  }

  TEST_CASE("A list of nothing is one response with F and no text") {
    Array array;
    array.target().allowed_initiators = {"iqn.2025-01.example:somebody-else"};
    Peer peer(array);
    peer.discover();
    for (const char* what : {kAll, "SendTargets=iqn.2025-01.example:target", "SendTargets=iqn.2025-01.example:none"}) {
      Answer answer = ask(peer, what);
      CHECK(is_final(answer));
      CHECK(answer.data.empty());
    }
  }

  TEST_CASE("Whoever asks for the rest without F gets the last response, with F and no text, when F comes") {
    Listed listed(30, {{"192.0.2.1", 3260}});
    Peer peer(listed.array);
    listed.discover(peer, 512);
    Answer answer = ask(peer);
    std::string all = text_of(answer);
    while (all.size() < listed.text.size()) {
      REQUIRE(!is_final(answer));
      answer = go_on(peer, answer, 0);
      all += text_of(answer);
    }
    CHECK(all == listed.text);
    CHECK(answer.bhs.flags == 0);
    CHECK(ttt_of(answer) != iscsi::kReservedTag);
    answer = go_on(peer, answer);
    CHECK(is_final(answer));
    CHECK(answer.data.empty());
  }

  TEST_CASE("A wrong tag is rejected, and the right one goes on") {
    Listed listed(30, {{"192.0.2.1", 3260}});
    Peer peer(listed.array);
    listed.discover(peer, 512);
    Answer first = ask(peer);
    std::uint32_t itt = first.bhs.initiator_task_tag, ttt = ttt_of(first);
    for (auto [wrong_itt, wrong_ttt] : {std::pair{itt, ttt + 1}, {itt, ttt - 1}, {itt, 0u}, {itt + 1, ttt}}) {
      peer.send(stray(peer, wrong_itt, wrong_ttt));
      CHECK(peer.told() == Lines{"Reject 04"});
    }
    Answer second = go_on(peer, first);
    // A tag is good once.
    peer.send(stray(peer, itt, ttt));
    CHECK(peer.told() == Lines{"Reject 04"});
    CHECK(text_of(first) + rest_of_list(peer, second) == listed.text);
    peer.send(stray(peer, itt, ttt));
    CHECK(peer.told() == Lines{"Reject 04"});
  }

  TEST_CASE("Text with the request for the rest is a protocol error") {
    Listed listed(30, {{"192.0.2.1", 3260}});
    Peer peer(listed.array);
    listed.discover(peer, 512);
    Answer first = ask(peer);
    peer.send(stray(peer, first.bhs.initiator_task_tag, ttt_of(first)), pairs("X-a=1"));
    CHECK(peer.told() == Lines{"Reject 04"});
    CHECK(rest_of_list(peer, ask(peer)) == listed.text);
  }

  TEST_CASE("Another text request in between ends the list; its tag is good no more") {
    Listed listed(30, {{"192.0.2.1", 3260}});
    Peer peer(listed.array);
    listed.discover(peer, 512);
    for (const char* between : {"X-a=1", kAll, "SendTargets=iqn.2025-01.example:target-001"}) {
      CAPTURE(between);
      Answer first = ask(peer);
      Answer other = ask(peer, between);
      peer.send(stray(peer, first.bhs.initiator_task_tag, ttt_of(first)));
      CHECK(peer.told() == Lines{"Reject 04"});
      CHECK((std::string_view(between) == kAll ? rest_of_list(peer, other) == listed.text : is_final(other)));
    }
    CHECK(rest_of_list(peer, ask(peer)) == listed.text);
  }

  TEST_CASE("Commands, pings and rejects in between do not disturb the list") {
    Listed listed(30, {{"192.0.2.1", 3260}});
    Peer peer(listed.array);
    peer.login(pairs("MaxRecvDataSegmentLength=512"));
    peer.clear_attentions();
    Answer answer = ask(peer);
    std::uint32_t text_itt = peer.task_tag;
    std::string all = text_of(answer);
    while (!is_final(answer)) {
      peer.send_command(read10(0, 1), 0xC0, 512);
      CHECK(peer.answer().code() == iscsi::Opcode::data_in);
      iscsi::NopOutBhs nop;
      nop.opcode |= iscsi::kImmediate;
      nop.initiator_task_tag = 0x7777;
      nop.cmd_sn = peer.cmd_sn;
      peer.send(nop);
      CHECK(peer.told() == Lines{"NopIn itt=7777 len=0"});
      peer.task_tag = text_itt;
      answer = go_on(peer, answer);
      all += text_of(answer);
    }
    CHECK(all == listed.text);
  }

  TEST_CASE("An initiator that leaves in the middle leaves nothing behind") {
    Listed listed(30, {{"192.0.2.1", 3260}});
    {
      Peer peer(listed.array);
      listed.discover(peer, 512);
      CHECK(!is_final(ask(peer)));
      peer.send(peer.logout_request());
      CHECK(peer.told() == Lines{"LogoutResponse 0"});
      CHECK(peer.finished_flag);
    }
    {
      Peer peer(listed.array);
      listed.discover(peer, 512);
      CHECK(!is_final(ask(peer)));
      peer.connection().peer_closed();
      CHECK(peer.finished_flag);
    }
    CHECK(listed.array.sessions.size() == 0);
    Peer peer(listed.array);
    listed.discover(peer, 512);
    CHECK(rest_of_list(peer, ask(peer)) == listed.text);
  }

  TEST_CASE("Two sessions read their lists side by side") {
    Listed listed(30, {{"192.0.2.1", 3260}});
    Peer a(listed.array), b(listed.array);
    listed.discover(a, 512);
    listed.discover(b, 700);
    Answer of_a = ask(a), of_b = ask(b);
    std::string all_a = text_of(of_a), all_b = text_of(of_b);
    while (!is_final(of_a) || !is_final(of_b)) {
      if (!is_final(of_a)) all_a += text_of(of_a = go_on(a, of_a));
      if (!is_final(of_b)) all_b += text_of(of_b = go_on(b, of_b));
    }
    CHECK(all_a == listed.text);
    CHECK(all_b == listed.text);
  }
}
