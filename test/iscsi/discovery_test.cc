// SendTargets and other text in full-feature phase.
//
// Not tested, and why: iSNS, which is not offered.
#include "target/iscsi/discovery.h"

#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

void add_target(Array& array, const std::string& name, std::vector<iscsi::PortalAddress> portals,
                std::vector<std::string> allowed = {}, std::vector<std::uint16_t> groups = {1}) {
  iscsi::TargetNode node;
  node.name = name;
  node.portals = std::move(portals);
  node.allowed_initiators = std::move(allowed);
  node.portal_group_tags = std::move(groups);
  array.directory.targets.push_back(std::make_shared<iscsi::TargetNode>(std::move(node)));
}

std::string ask(Peer& peer, const std::string& text) {
  peer.send(peer.text_request(), pairs(text));
  return peer.answer().line();
}

}  // namespace

TEST_SUITE("iscsi discovery") {
  TEST_CASE("SendTargets=All tells every target this initiator may log in to, with all its portals") {
    Array array;
    add_target(array, "iqn.2025-01.example:two", {{"192.0.2.1", 3260}, {"2001:db8::1", 3261}, {"array.example", 3262}});
    add_target(array, "iqn.2025-01.example:secret", {}, {"iqn.2025-01.example:other"});
    add_target(array, "iqn.2025-01.example:local", {});
    Peer peer(array);
    peer.discover();
    CHECK(ask(peer, "SendTargets=All") ==
          "TextResponse F TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.1:3260,1 "
          "TargetName=iqn.2025-01.example:two TargetAddress=192.0.2.1:3260,1 TargetAddress=[2001:db8::1]:3261,1 "
          "TargetAddress=array.example:3262,1 TargetName=iqn.2025-01.example:local TargetAddress=192.0.2.77:3260,1");
    CHECK(ask(peer, "SendTargets=iqn.2025-01.example:two").find("TargetName=iqn.2025-01.example:two") !=
          std::string::npos);
    CHECK(ask(peer, "SendTargets=IQN.2025-01.example:TWO").find("TargetName=iqn.2025-01.example:two") !=
          std::string::npos);
    // A target one may not see does not exist.
    CHECK(ask(peer, "SendTargets=iqn.2025-01.example:secret") == "TextResponse F ");
    CHECK(ask(peer, "SendTargets=iqn.2025-01.example:nowhere") == "TextResponse F ");
    CHECK(ask(peer, "SendTargets=") == "TextResponse F SendTargets=Reject");
  }

  TEST_CASE("In a normal session SendTargets works too, and without value it tells the session's target") {
    Array array;
    add_target(array, "iqn.2025-01.example:two", {});
    Peer peer(array);
    peer.login();
    CHECK(ask(peer, "SendTargets=") ==
          "TextResponse F TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.1:3260,1");
    CHECK(ask(peer, "SendTargets=All").find("example:two") != std::string::npos);
    for (const char* wrong : {"SendTargets=Alle", "SendTargets=A", "SendTargets=all"})
      CHECK(ask(peer, wrong) == "TextResponse F SendTargets=Reject");
    CHECK(ask(peer, "SendTargetsPlease=All") == "TextResponse F SendTargetsPlease=NotUnderstood");
    CHECK(ask(peer, "sENDtARGETS=All") == "TextResponse F sENDtARGETS=NotUnderstood");
  }

  TEST_CASE("Addresses are bracketed when they have to be, and lose their zone") {
    struct Row {
      iscsi::PortalAddress portal;
      const char* text;
    };
    for (const Row& row :
         {Row{{"192.0.2.1", 3260}, "192.0.2.1:3260"}, Row{{"2001:db8::1", 1}, "[2001:db8::1]:1"},
          Row{{"[2001:db8::1]", 1}, "[2001:db8::1]:1"}, Row{{"fe80::1%eth0", 1}, "[fe80::1]:1"},
          Row{{"[fe80::1%eth0]", 1}, "[fe80::1]:1"}, Row{{"host.example", 65535}, "host.example:65535"}})
      CHECK(iscsi::format_portal(row.portal) == row.text);
  }

  TEST_CASE("A long list comes in pieces of the initiator's segment length, the last one with F") {
    Array array;
    for (int i = 0; i < 40; ++i) add_target(array, "iqn.2025-01.example:target-" + std::to_string(100 + i), {});
    Peer peer(array);
    Answer login = peer.login_step(
        0x87, pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery", "MaxRecvDataSegmentLength=512"));
    REQUIRE(peer.connection().full_feature());
    peer.send(peer.text_request(), pairs("SendTargets=All"));
    std::string all;
    int pieces = 0;
    while (true) {
      Answer answer = peer.answer();
      ++pieces;
      all.append(answer.data.begin(), answer.data.end());
      auto bhs = answer.as<iscsi::TextResponseBhs>();
      CHECK(answer.data.size() <= 512);
      if (bhs.flags & iscsi::kFinal) {
        CHECK(bhs.target_transfer_tag == iscsi::kReservedTag);
        break;
      }
      CHECK(bhs.flags == iscsi::kContinue);
      CHECK(bhs.target_transfer_tag != iscsi::kReservedTag);
      peer.send(peer.text_request(iscsi::kFinal, bhs.target_transfer_tag));
    }
    CHECK(pieces > 5);
    for (int i = 0; i < 40; ++i)
      CHECK(all.find("example:target-" + std::to_string(100 + i) + '\0') != std::string::npos);
    CHECK(ask(peer, "SendTargets=iqn.2025-01.example:target-100").find("target-100") != std::string::npos);
  }

  TEST_CASE("A text request may itself come in pieces") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.send(peer.text_request(iscsi::kContinue), {'S', 'e', 'n', 'd'});
    Answer more = peer.answer();
    auto bhs = more.as<iscsi::TextResponseBhs>();
    CHECK(more.line() == "TextResponse ");
    CHECK(bhs.target_transfer_tag != iscsi::kReservedTag);
    peer.send(peer.text_request(iscsi::kFinal, bhs.target_transfer_tag), pairs("Targets="));
    CHECK(peer.answer().line().find("TextResponse F TargetName=") == 0);
  }

  TEST_CASE("A request without F is answered without F, and goes on") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.send(peer.text_request(0), pairs("X-a=1"));
    Answer first = peer.answer();
    CHECK(first.line() == "TextResponse X-a=NotUnderstood");
    peer.send(peer.text_request(iscsi::kFinal, first.as<iscsi::TextResponseBhs>().target_transfer_tag), pairs("X-b=1"));
    CHECK(peer.answer().line() == "TextResponse F X-b=NotUnderstood");
  }

  TEST_CASE("Text that breaks a rule is rejected, and the session goes on") {
    Array array;
    Peer peer(array);
    peer.login();
    auto rejected = [&](iscsi::TextRequestBhs bhs, const ByteVector& text) {
      peer.send(bhs, text);
      Answer answer = peer.answer();
      CHECK(answer.line() == "Reject 04");
      // It counts as not received: the next request has the same number (RFC 7143, 7.3).
      --peer.cmd_sn;
      CHECK(answer.as<iscsi::RejectBhs>().exp_cmd_sn == peer.cmd_sn);
    };
    rejected(peer.text_request(), pairs("no equals sign"));
    rejected(peer.text_request(), pairs("A=1", "A=2"));
    rejected(peer.text_request(iscsi::kFinal | iscsi::kContinue), pairs("A=1"));
    rejected(peer.text_request(iscsi::kFinal, 12345), {});
    for (int i = 0;; ++i) {
      REQUIRE(i < 100);
      std::uint32_t ttt = iscsi::kReservedTag;
      peer.send(peer.text_request(iscsi::kContinue, ttt), ByteVector(60000, 'x'));
      Answer first = peer.answer();
      ttt = first.as<iscsi::TextResponseBhs>().target_transfer_tag;
      rejected(peer.text_request(iscsi::kContinue, ttt), ByteVector(60000, 'x'));
      break;
    }
    CHECK(ask(peer, "X-a=1") == "TextResponse F X-a=NotUnderstood");
    // Keys of the login have no place here.
    CHECK(ask(peer, "InitialR2T=No") == "TextResponse F InitialR2T=Reject");
    CHECK(ask(peer, "AuthMethod=None") == "TextResponse F AuthMethod=Reject");
  }

  TEST_CASE("MaxRecvDataSegmentLength declared again changes the size of Data-In") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    CHECK(ask(peer, "MaxRecvDataSegmentLength=512") == "TextResponse F ");
    peer.send_command(read10(0, 2), 0xC0, 1024);
    CHECK(peer.answers().size() == 2);
  }

  TEST_CASE("A discovery session takes text and logout and nothing else") {
    Array array;
    Peer peer(array);
    peer.discover();
    peer.send(peer.command(test_unit_ready(), 0x80, 0));
    CHECK(peer.told() == Lines{"Reject 04"});
    peer.send(peer.task_management(5));
    CHECK(peer.told() == Lines{"Reject 04"});
    iscsi::NopOutBhs nop;
    nop.opcode |= iscsi::kImmediate;
    nop.initiator_task_tag = 9;
    peer.send(nop);
    CHECK(peer.told() == Lines{"Reject 04"});
    peer.send_data_out(1, 2, 0, 0, pattern(512), true);
    CHECK(peer.told() == Lines{"Reject 04"});
    peer.send_data_out(1, 2, 0, 0, pattern(9000), true);
    CHECK(peer.told() == Lines{"Reject 04"});
    peer.send(peer.logout_request());
    CHECK(peer.told() == Lines{"LogoutResponse 0"});
    CHECK(peer.finished_flag);
    CHECK(peer.flushed);
    CHECK(array.sessions.size() == 0);
  }
}
