// Sequence numbers at both edges of their circle, 2^31 and 2^32: what is in the command window, out of it, twice, out
// of order, immediate; StatSN, and what an initiator says it expects of it.
//
// Not tested, and why: DataSN, R2TSN and ExpDataSN, which begin at 0 with every command and so cannot reach an edge
// with 16 MiB of data; the initiator's numbers with several connections.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kNone = 0x80;
constexpr std::uint32_t kEdges[] = {0u, 0x80000000u};

DeviceOptions small(bool blocking = false) {
  DeviceOptions each;
  each.size_bytes = 8 << 10;
  each.blocking = blocking;
  return each;
}

struct Host {
  Host(std::uint32_t first, iscsi::Limits limits = {}, bool blocking = false) : array(small(blocking)), peer(array) {
    array.directory.limits = limits;
    peer.cmd_sn = first;
    peer.login();
    send(first, 0x5001);  // takes the unit attention
    peer.answers();
    next = first + 1;
  }
  Array array;
  Peer peer;
  std::uint32_t next = 0;

  void send(std::uint32_t cmd_sn, std::uint32_t tag, bool immediate = false, ByteVector cdb = test_unit_ready()) {
    auto bhs = peer.command(std::move(cdb), kNone, 0);
    if (bhs.cdb[0] == 0x28) {
      bhs.flags = kRead | 1;
      bhs.expected_data_transfer_length = 512;
    }
    bhs.initiator_task_tag = tag;
    bhs.cmd_sn = cmd_sn;
    if (immediate) bhs.opcode |= iscsi::kImmediate;
    peer.send(bhs);
  }
  /// Task tags in the order of their responses.
  std::vector<std::uint32_t> tags() {
    std::vector<std::uint32_t> all;
    for (const Answer& each : peer.answers()) all.push_back(each.bhs.initiator_task_tag);
    return all;
  }
  using Tags = std::vector<std::uint32_t>;
};

}  // namespace

TEST_SUITE("iscsi window edges") {
  TEST_CASE("Each number near the edge is served, held or ignored as its distance says") {
    enum Place { now, later, never };
    struct Row {
      std::uint32_t distance;  ///< from ExpCmdSN
      Place place;
    };
    constexpr Row rows[] = {
        {0, now},
        {1, later},
        {2, later},
        {126, later},
        {127, later},  // MaxCmdSN
        {128, never},
        {129, never},
        {0x7FFFFFFE, never},
        {0x7FFFFFFF, never},
        {0x80000000, never},
        {0x80000001, never},
        {0xFFFFFFFE, never},
        {0xFFFFFFFF, never},
    };
    for (std::uint32_t edge : kEdges) {
      for (std::uint32_t before : {1u, 2u, 60u, 128u, 200u}) {
        for (const Row& row : rows) {
          CAPTURE(edge - before);
          CAPTURE(row.distance);
          Host host(edge - before - 1);
          REQUIRE(host.next == edge - before);
          host.send(host.next + row.distance, 7);
          CHECK(host.tags() == (row.place == now ? Host::Tags{7} : Host::Tags{}));
          if (row.place == now) continue;
          // The same number again does not make two of it.
          host.send(host.next + row.distance, 8);
          Host::Tags wanted, filler;
          std::uint32_t gap = row.place == later ? row.distance : 3;
          for (std::uint32_t i = 0; i < gap; ++i) {
            host.send(host.next + i, 100 + i);
            wanted.push_back(100 + i);
          }
          if (row.place == later) wanted.push_back(7);
          CHECK(host.tags() == wanted);
        }
      }
    }
  }

  TEST_CASE("Five commands in every order are served in theirs, all the way across the edge") {
    for (std::uint32_t edge : kEdges) {
      Host host(edge - 301);
      std::array<std::uint32_t, 5> order{0, 1, 2, 3, 4};
      do {
        for (std::uint32_t place : order) host.send(host.next + place, 1 + place);
        CHECK(host.tags() == Host::Tags{1, 2, 3, 4, 5});
        host.next += 5;
      } while (std::next_permutation(order.begin(), order.end()));
      CHECK(host.next - edge == 300);
    }
  }

  TEST_CASE("Immediate commands are served at once, whatever number they have, and use none up") {
    for (std::uint32_t edge : kEdges) {
      Host host(edge - 3);
      for (std::uint32_t distance : {0u, 1u, 127u, 128u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu}) {
        host.send(host.next + distance, 50, true);
        Answer answer = host.peer.answer();
        CHECK(answer.bhs.initiator_task_tag == 50);
        CHECK(answer.as<iscsi::ScsiResponseBhs>().exp_cmd_sn == host.next);
      }
      host.send(host.next + 1, 2);
      host.send(host.next, 60, true);
      host.send(host.next, 1);
      CHECK(host.tags() == Host::Tags{60, 1, 2});
    }
  }

  TEST_CASE("A window that is full takes nothing, opens with each answer, and never shrinks, across the edge") {
    iscsi::Limits limits;
    limits.command_window = 4;
    for (std::uint32_t edge : kEdges) {
      for (std::uint32_t before : {1u, 2u, 3u, 4u, 5u, 6u}) {
        CAPTURE(edge - before);
        Host host(edge - before - 1, limits, true);
        host.array.device.executor.run_all();
        for (std::uint32_t i = 0; i < 4; ++i) host.send(host.next + i, 1 + i, false, read10(0, 1));
        REQUIRE(host.array.device.executor.held() == 4);
        host.send(host.next + 4, 5, false, read10(0, 1));
        CHECK(host.array.device.executor.held() == 4);
        host.array.device.executor.run();
        auto first = host.peer.answer().as<iscsi::DataInBhs>();
        CHECK(first.exp_cmd_sn == host.next + 4);
        CHECK(first.max_cmd_sn == host.next + 4);
        host.send(host.next + 5, 6, false, read10(0, 1));  // still outside
        host.send(host.next + 4, 5, false, read10(0, 1));
        CHECK(host.array.device.executor.held() == 4);
        host.array.device.executor.run_all();
        CHECK(host.tags() == Host::Tags{2, 3, 4, 5});
      }
    }
  }

  TEST_CASE("Requests of other kinds keep the same order, across the edge") {
    for (std::uint32_t edge : kEdges) {
      Host host(edge - 4);
      REQUIRE(host.next == edge - 3);
      host.peer.task_tag = 0;
      auto numbered = [&](auto bhs, std::uint32_t place) {
        bhs.cmd_sn = host.next + place;
        bhs.opcode &= iscsi::kOpcodeMask;
        bhs.initiator_task_tag = 20 + place;
        return bhs;
      };
      host.peer.send(numbered(host.peer.logout_request(), 5));
      host.peer.send(numbered(iscsi::NopOutBhs{}, 4));
      host.peer.send(numbered(host.peer.task_management(1, 0, 99), 3));
      host.peer.send(numbered(host.peer.text_request(), 2), pairs("X-a=1"));
      host.send(host.next + 1, 21);
      CHECK(host.peer.told().empty());
      host.send(host.next, 20);
      CHECK(host.peer.told() == Lines{"Response 00 itt=20", "Response 00 itt=21", "TextResponse F X-a=NotUnderstood",
                                      "TaskManagementResponse 1 itt=23", "NopIn itt=18 len=0", "LogoutResponse 0"});
      CHECK(host.peer.finished_flag);
    }
  }

  TEST_CASE("StatSN crosses the edge with every kind of answer") {
    for (std::uint32_t edge : kEdges) {
      for (std::uint32_t before = 1; before < 8; ++before) {
        Array array(small());
        Peer peer(array);
        peer.exp_stat_sn = edge - before;
        peer.login();
        peer.clear_attentions();
        peer.send_command(read10(0, 1), kRead, 512);
        peer.send_command(write10(0, 1), 0xA0, 512);
        auto answers = peer.answers();  // which follows StatSN
        REQUIRE(answers.size() == 2);
        peer.send_data_out(peer.task_tag, answers[1].as<iscsi::R2tBhs>().target_transfer_tag, 0, 0, pattern(512), true);
        peer.send(peer.task_management(1, 0, 99));
        peer.send(peer.text_request());
        peer.connection().request_logout(std::chrono::seconds(1));
        peer.send(peer.logout_request());
        CHECK(peer.answers().size() == 5);
        CHECK(peer.exp_stat_sn == edge - before + 9);
      }
    }
  }

  TEST_CASE("What an initiator says of ExpStatSN changes nothing: nothing is kept to be sent again") {
    Host host(1);
    for (std::uint32_t wrong : {0u, 1u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu}) {
      auto bhs = host.peer.command(test_unit_ready(), kNone, 0);
      bhs.cmd_sn = host.next++;
      bhs.exp_stat_sn = wrong;
      host.peer.send(bhs);
      CHECK(host.peer.told() == Lines{"Response 00 itt=" + std::to_string(host.peer.task_tag)});
    }
  }
}
