// That the checker of every other test here finds what it is for.
//
// Not tested, and why: rules about numbers that only a run of PDUs can break (a mutation of the target shows those).
#include "test/iscsi/pdu_checker.h"

#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;

namespace {

/// What a session of all kinds of PDUs brings back.
std::vector<Answer> every_kind(Peer& peer) {
  std::vector<Answer> all;
  auto take = [&] {
    for (Answer& each : peer.answers()) all.push_back(std::move(each));
  };
  all.push_back(peer.login());
  peer.send_command(test_unit_ready(), 0x80, 0);
  peer.send_command(read10(0, 1), 0xC0, 1024, {}, 1);
  take();
  peer.send_command(read10(0, 1), 0xC0, 1024);
  peer.send_command(write10(0, 1), 0xA0, 512);
  peer.send(peer.task_management(5, 1));
  iscsi::NopOutBhs ping;
  ping.opcode |= iscsi::kImmediate;
  ping.initiator_task_tag = 0x70;
  peer.send(ping, pattern(5));
  peer.send(peer.text_request(), pairs("SendTargets=All"));
  iscsi::SnackRequestBhs snack;
  snack.initiator_task_tag = 0x71;
  peer.send(snack);
  take();
  peer.connection().request_logout(std::chrono::seconds(10));
  take();
  peer.send(peer.logout_request());
  take();
  return all;
}

}  // namespace

TEST_SUITE("iscsi PDU checker") {
  TEST_CASE("A bit that is wrong in a reserved field, in the opcode or in the flags is found in every kind of PDU") {
    Array array;
    Peer peer(array);
    std::vector<Answer> answers = every_kind(peer);
    std::map<iscsi::Opcode, int> kinds;
    int found = 0, tried = 0;
    for (const Answer& each : answers) {
      ++kinds[each.code()];
      for (std::size_t bit = 0; bit < iscsi::kBhsLength * 8; ++bit) {
        auto raw = std::bit_cast<std::array<std::uint8_t, iscsi::kBhsLength>>(each.bhs);
        raw[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        PduChecker checker;
        checker.sent_raw();
        bool broken = !checker.received(std::bit_cast<iscsi::Bhs>(raw), each.data).empty();
        ++tried;
        found += broken;
        bool fixed = bit < 8 && bit != 5;  // an opcode of another kind may be as good; bit 5 makes it an initiator's
        if (bit / 8 == 0 && !fixed) CHECK(broken);
        if (each.code() == iscsi::Opcode::reject && bit / 8 >= 8 && bit / 8 < 24) CHECK(broken);
        if (each.code() == iscsi::Opcode::r2t && bit / 8 < 4) CHECK(broken);
      }
    }
    using enum iscsi::Opcode;
    for (auto kind : {nop_in, scsi_response, task_management_response, login_response, text_response, data_in,
                      logout_response, r2t, async_message, reject})
      CHECK(kinds.contains(kind));
    // The rest are tags, statuses, sequence numbers and counts that mean something else and no less.
    CHECK(found * 5 > tried * 2);
  }

  TEST_CASE("Windows that shrink, data out of order and residuals that do not add up are found") {
    PduChecker checker;
    iscsi::ScsiCommandBhs command;
    command.flags = 0xC0;
    command.initiator_task_tag = 1;
    command.expected_data_transfer_length = 1024;
    checker.sent(iscsi::header_as<iscsi::Bhs>(command), {});
    auto judge = [](PduChecker copy, auto header, std::size_t length) {
      return copy.received(iscsi::header_as<iscsi::Bhs>(header), PduChecker::Data(length));
    };
    iscsi::DataInBhs data;
    data.initiator_task_tag = 1;
    data.exp_cmd_sn = 10;
    data.max_cmd_sn = 20;
    CHECK(judge(checker, data, 512) == "");
    CHECK(judge(checker, data, 8193).starts_with("Data-In of 8193 bytes"));
    CHECK(checker.received(iscsi::header_as<iscsi::Bhs>(data), PduChecker::Data(512)) == "");
    data.data_sn = 1;
    data.buffer_offset = 512;
    CHECK(judge(checker, data, 512) == "");
    auto wrong = [&](auto change) {
      auto other = data;
      change(other);
      return judge(checker, other, 512);
    };
    CHECK(wrong([](auto& h) { h.data_sn = 2; }) == "DataSN is not the next");
    CHECK(wrong([](auto& h) { h.buffer_offset = 0; }) == "Data-In does not follow the one before it");
    CHECK(wrong([](auto& h) { h.exp_cmd_sn = 9; }) == "ExpCmdSN went back");
    CHECK(wrong([](auto& h) { h.max_cmd_sn = 19; }) == "MaxCmdSN went back");
    CHECK(wrong([](auto& h) { h.max_cmd_sn = 8; }) == "MaxCmdSN 8 below ExpCmdSN 10 - 1");
    CHECK(wrong([](auto& h) { h.flags = 0x01; }) == "Data-In with S and without F");
    CHECK(wrong([](auto& h) { h.stat_sn = 1; }) == "Data-In without S has fields of a status");
    CHECK(wrong([](auto& h) { h.initiator_task_tag = 2; }) == "Data-In of a task nobody asked for");
    CHECK(wrong([](auto& h) { h.flags = 0x81; }) == "");
    CHECK(wrong([](auto& h) {
            h.flags = 0x83;
            h.residual_count = 1;
          }) == "data and residual do not make the Expected Data Transfer Length");
    iscsi::R2tBhs r2t;
    r2t.initiator_task_tag = 1;
    r2t.target_transfer_tag = 5;
    r2t.exp_cmd_sn = 10;
    r2t.max_cmd_sn = 20;
    r2t.desired_data_transfer_length = 512;
    CHECK(judge(checker, r2t, 0) == "R2T beyond the Expected Data Transfer Length");
  }
}
