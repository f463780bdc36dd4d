// Task management against commands at every moment of their lives: not come yet, before their turn, waiting for room,
// for data, half served, answered but not sent, gone; and against connections and sessions that end meanwhile.
//
// Not tested, and why: what the functions do to logical units (test/scsi); tasks that move to another connection, which
// need ErrorRecoveryLevel 2.
#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace doctest {
template <>
struct StringMaker<Lines> {
  static String convert(const Lines& lines) {
    std::string all;
    for (const std::string& each : lines) all += each + "; ";
    return all.c_str();
  }
};
}  // namespace doctest

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;
constexpr std::uint8_t kAbortTask = 1;
constexpr std::uint8_t kAbortTaskSet = 2;
constexpr std::uint8_t kLogicalUnitReset = 5;
constexpr std::uint8_t kTargetWarmReset = 6;

struct Host {
  explicit Host(bool blocking = false, const ByteVector& keys = {}, iscsi::Limits limits = {}, std::uint32_t first = 1)
      : array(options(blocking)), peer(array) {
    array.directory.limits = limits;
    peer.cmd_sn = first;
    peer.login(keys);
    peer.clear_attentions();
    array.device.executor.run_all();
    peer.answers();
    peer.task_tag = 0;
  }
  static DeviceOptions options(bool blocking) {
    DeviceOptions each;
    each.size_bytes = 64 << 10;
    each.blocking = blocking;
    return each;
  }
  Array array;
  Peer peer;

  Lines manage(std::uint8_t function, std::uint32_t referenced = iscsi::kReservedTag, std::uint32_t ref_cmd_sn = 0,
               std::uint16_t lun = 0) {
    peer.send(peer.task_management(function, lun, referenced, ref_cmd_sn));
    return peer.told();
  }
  std::uint32_t r2t() { return peer.answer().as<iscsi::R2tBhs>().target_transfer_tag; }
  /// Nothing is left of what was asked: the session keeps no command, the window is open again, and it serves.
  void settled() {
    array.device.executor.run_all();
    peer.answers();
    CHECK(array.sessions.list().at(0).commands == 0);
    peer.task_tag = 1000;
    peer.send_command(test_unit_ready(), kNone, 0);
    Answer answer = peer.answer();
    auto bhs = answer.as<iscsi::ScsiResponseBhs>();
    CHECK(bhs.initiator_task_tag == 1001);
    CHECK(bhs.exp_cmd_sn == peer.cmd_sn);
    CHECK(bhs.max_cmd_sn - bhs.exp_cmd_sn + 1 == array.directory.limits.command_window);
  }
};

}  // namespace

TEST_SUITE("iscsi task management races") {
  TEST_CASE("ABORT TASK between a command and its first R2T: it waited for room") {
    iscsi::Limits limits;
    limits.max_session_data_out = 1024;
    Host host(false, {}, limits);
    host.peer.send_command(write10(0, 2), kWrite, 1024);  // 1
    std::uint32_t first = host.r2t();
    host.peer.send_command(write10(2, 2), kWrite, 1024);  // 2: no room
    CHECK(host.peer.told().empty());
    CHECK(host.manage(kAbortTask, 2) == Lines{"TaskManagementResponse 0 itt=3"});
    host.peer.send_data_out(1, first, 0, 0, pattern(1024), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.array.device.stores[0]->bytes()[1024 + 1] == 0);
    host.settled();
  }

  TEST_CASE("ABORT TASK during Data-Out: the rest is dropped, the tag may be used at once") {
    for (bool tag_again : {false, true}) {
      Host host;
      host.peer.send_command(write10(0, 2), kWrite, 1024);
      std::uint32_t ttt = host.r2t();
      host.peer.send_data_out(1, ttt, 0, 0, pattern(512), false);
      CHECK(host.manage(kAbortTask, 1) == Lines{"TaskManagementResponse 0 itt=2"});
      if (tag_again) {
        host.peer.task_tag = 0;
        host.peer.send_command(write10(4, 2), kWrite, 1024);
        std::uint32_t other = host.r2t();
        CHECK(other != ttt);
        host.peer.send_data_out(1, ttt, 1, 512, pattern(512), true);  // late, of the old one
        host.peer.send_data_out(1, other, 0, 0, pattern(1024, 5), true);
        CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
        auto& bytes = host.array.device.stores[0]->bytes();
        CHECK(ByteVector(bytes.begin() + 2048, bytes.begin() + 3072) == pattern(1024, 5));
      } else {
        host.peer.send_data_out(1, ttt, 1, 512, pattern(512), true);
        CHECK(host.peer.told().empty());
      }
      CHECK(host.array.device.stores[0]->bytes()[1] == 0);
      host.settled();
    }
  }

  TEST_CASE("ABORT TASK after the response was queued: it was too late, and the response still comes first") {
    Host host;
    host.peer.send_command(read10(0, 1), kRead, 512);
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.manage(kAbortTask, 1, host.peer.cmd_sn - 2) ==
          Lines{"DataIn F S itt=1 sn=0 offset=0 len=512", "Response 00 itt=2", "TaskManagementResponse 1 itt=3"});
    host.settled();
  }

  TEST_CASE("ABORT TASK twice, while the store works: both are answered, when it is done") {
    Host host(true);
    host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
    CHECK(host.manage(kAbortTask, 1).empty());
    CHECK(host.manage(kAbortTask, 1).empty());
    host.array.device.executor.run_all();
    Lines told = host.peer.told();
    REQUIRE(told.size() == 2);
    CHECK(told[0].ends_with(" itt=2"));
    CHECK(told[1].ends_with(" itt=3"));
    CHECK(host.manage(kAbortTask, 1) == Lines{"TaskManagementResponse 1 itt=4"});
    host.settled();
  }

  TEST_CASE("ABORT TASK of an immediate command gives back its place among those") {
    iscsi::Limits limits;
    limits.immediate_commands = 2;
    Host host(true, {}, limits);
    for (int round = 0; round < 5; ++round) {
      auto bhs = host.peer.command(write10(0, 1), kWrite, 512);
      bhs.opcode |= iscsi::kImmediate;
      host.peer.send(bhs);
      host.r2t();
      std::uint32_t tag = host.peer.task_tag;
      CHECK(host.manage(kAbortTask, tag).size() == 1);
    }
    host.settled();
  }

  TEST_CASE("ABORT TASK of a task management function, of a ping, of itself: no such task") {
    Host host(true);
    host.peer.send_command(read10(0, 1), kRead, 512);  // 1
    CHECK(host.manage(kLogicalUnitReset).empty());     // 2: waits for it
    CHECK(host.manage(kAbortTask, 2) == Lines{"TaskManagementResponse 1 itt=3"});
    CHECK(host.manage(kAbortTask, 4) == Lines{"TaskManagementResponse 1 itt=4"});
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"TaskManagementResponse 0 itt=2"});
  }

  TEST_CASE("RefCmdSN plugs a gap only inside the window and before the request, at both edges of the numbers") {
    for (std::uint32_t first : {1u, 0x7FFFFFFAu, 0xFFFFFFFAu}) {
      CAPTURE(first);
      Host host(false, {}, {}, first);
      std::uint32_t next = host.peer.cmd_sn;
      auto abort = [&](std::uint32_t ref, std::uint32_t own) {
        auto bhs = host.peer.task_management(kAbortTask, 0, 999, ref);
        bhs.cmd_sn = own;
        host.peer.send(bhs);
        return host.peer.answer().as<iscsi::TaskManagementResponseBhs>();
      };
      auto refused = [&](std::uint32_t ref, std::uint32_t own) {
        auto bhs = abort(ref, own);
        return bhs.response == 1 && bhs.exp_cmd_sn == next;
      };
      CHECK(refused(next - 1, next + 8));
      CHECK(refused(next + 128, next + 200));
      CHECK(refused(next, next));
      CHECK(refused(next + 4, next + 2));
      CHECK(refused(next + 0x80000000u, next + 4));
      // Twice the same gap: filled once. It lies ahead, so that ExpCmdSN stays.
      CHECK(abort(next + 2, next + 8).response == 0);
      CHECK(refused(next + 2, next + 8));
      CHECK(abort(next + 1, next + 8).exp_cmd_sn == next);
      auto last = abort(next, next + 8);
      CHECK(last.response == 0);
      // What follows is in order again.
      host.peer.cmd_sn = next + 3;
      host.settled();
    }
  }

  TEST_CASE("ABORT TASK of a command before its turn leaves Data-Out that came with it without effect") {
    Host host(false, pairs("InitialR2T=No"));
    std::uint32_t gap = host.peer.cmd_sn++;
    host.peer.send_command(write10(0, 2), 0x20, 1024);  // 1: before its turn
    host.peer.send_data_out(1, iscsi::kReservedTag, 0, 0, pattern(512), false);
    CHECK(host.manage(kAbortTask, 1) == Lines{"TaskManagementResponse 0 itt=2"});
    host.peer.send_data_out(1, iscsi::kReservedTag, 1, 512, pattern(512), true);
    CHECK(host.peer.told().empty());
    std::uint32_t next = host.peer.cmd_sn;
    host.peer.cmd_sn = gap;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    host.peer.cmd_sn = next;
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
    CHECK(host.array.device.stores[0]->bytes()[1] == 0);
    host.settled();
  }

  TEST_CASE("A reset takes the commands before its turn that were sent before it, and no later ones") {
    struct Row {
      const char* what;
      std::uint8_t function;
      std::uint16_t lun;
      Lines told;  ///< once the gap is filled by 5 on LUN 0: 1 on LUN 0, 2 on LUN 1, 3 on LUN 0 and later
    };
    const Row rows[] = {
        {"ABORT TASK SET", kAbortTaskSet, 0, {"Response 00 itt=2", "Response 00 itt=3"}},
        {"LOGICAL UNIT RESET", kLogicalUnitReset, 0, {"Response 00 itt=2", "Response 02 itt=3 sense=06/29/03"}},
        {"LOGICAL UNIT RESET of the other",
         kLogicalUnitReset,
         1,
         {"Response 00 itt=5", "Response 00 itt=1", "Response 00 itt=3"}},
        {"TARGET WARM RESET", kTargetWarmReset, 0, {"Response 02 itt=3 sense=06/29/00"}},
    };
    for (const Row& row : rows) {
      CAPTURE(std::string(row.what));
      Host host;
      std::uint32_t gap = host.peer.cmd_sn++;
      host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512), 0);
      host.peer.send_command(test_unit_ready(), kNone, 0, {}, 1);
      std::uint32_t later = host.peer.cmd_sn++;
      std::uint32_t next = host.peer.cmd_sn;
      host.peer.cmd_sn = later;
      host.peer.send_command(test_unit_ready(), kNone, 0, {}, 0);  // 3: has the number the reset has
      auto reset = host.peer.task_management(row.function, row.lun);
      reset.cmd_sn = later;
      host.peer.send(reset);
      CHECK(host.peer.told() == Lines{"TaskManagementResponse 0 itt=4"});
      host.peer.cmd_sn = gap;
      host.peer.send_command(test_unit_ready(), kNone, 0);  // 5
      host.peer.cmd_sn = next;
      CHECK(host.peer.told() == row.told);
      bool written = host.array.device.stores[0]->bytes()[1] != 0;
      CHECK(written == (row.lun == 1));
    }
  }

  TEST_CASE("Two commands before their turn with one task tag: the second is rejected when its turn comes") {
    Host host;
    std::uint32_t gap = host.peer.cmd_sn++;
    host.peer.send_command(write10(0, 1), kWrite, 512);  // 1
    host.peer.task_tag = 0;
    host.peer.send_command(write10(4, 1), kWrite, 512);  // 1 again
    std::uint32_t next = host.peer.cmd_sn;
    host.peer.cmd_sn = gap;
    host.peer.task_tag = 10;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    auto answers = host.peer.answers();
    CHECK(lines(answers) == Lines{"Response 00 itt=11", "R2T itt=1 sn=0 offset=0 len=512", "Reject 07"});
    CHECK(answers.back().as<iscsi::RejectBhs>().exp_cmd_sn == next - 1);
    host.peer.send_data_out(1, answers[1].as<iscsi::R2tBhs>().target_transfer_tag, 0, 0, pattern(512), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.array.device.stores[0]->bytes()[2048 + 1] == 0);
    host.peer.cmd_sn = next - 1;
    host.settled();
  }

  TEST_CASE("Too many functions at once are rejected; those taken are all answered") {
    Host host(true);
    host.peer.send_command(read10(0, 1), kRead, 512);
    Lines told;
    for (int i = 0; i < 20; ++i)
      for (std::string& each : host.manage(kLogicalUnitReset)) told.push_back(std::move(each));
    CHECK(told == Lines(4, "Reject 06"));
    host.array.device.executor.run_all();
    told = host.peer.told();
    CHECK(told.size() == 16);
    for (const std::string& each : told) CHECK(each.starts_with("TaskManagementResponse 0"));
    // Its own resets are told on the next command.
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 02 itt=22 sense=06/29/03"});
    host.settled();
  }

  TEST_CASE("A function under way when its connection is reinstated is not answered on the new one") {
    Host host(true);
    host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
    CHECK(host.manage(kAbortTask, 1).empty());
    auto numbered = host.peer.task_management(kLogicalUnitReset);
    numbered.opcode &= static_cast<std::uint8_t>(~iscsi::kImmediate);
    host.peer.send(numbered);
    ++host.peer.cmd_sn;
    Peer young(host.array);
    young.tsih = host.peer.tsih;
    young.cmd_sn = host.peer.cmd_sn;
    young.send(young.login_request(0x87),
               pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target"));
    CHECK(host.peer.finished_flag);
    CHECK(young.answers().empty());
    host.array.device.executor.run_all();
    Answer login = young.answer();
    CHECK(login.as<iscsi::LoginResponseBhs>().status == 0);
    young.send_command(test_unit_ready(), kNone, 0);
    Answer answer = young.answer();
    CHECK(answer.code() == iscsi::Opcode::scsi_response);
    auto bhs = answer.as<iscsi::ScsiResponseBhs>();
    CHECK(bhs.max_cmd_sn - bhs.exp_cmd_sn + 1 == 128);
  }

  TEST_CASE("A function under way at logout, or when the connection breaks, ends with the session") {
    for (bool logout : {false, true}) {
      Host host(true);
      host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
      CHECK(host.manage(kAbortTask, 1).empty());
      CHECK(host.manage(kLogicalUnitReset).empty());
      if (logout) {
        host.peer.send(host.peer.logout_request());
      } else {
        host.peer.connection().peer_closed();
      }
      host.array.device.executor.run_all();
      Lines told = host.peer.told();
      CHECK(host.peer.finished_flag);
      if (logout) CHECK(told.back() == "LogoutResponse 0");
      CHECK(told.empty() == !logout);
      CHECK(host.array.sessions.size() == 0);
    }
  }

  TEST_CASE("Another session's reset ends commands at every moment, without an answer, and all sessions hear of it") {
    Host host(true, pairs("InitialR2T=No"));
    Peer other(host.array);
    other.isid[5] = 9;
    other.login();
    other.clear_attentions();
    host.peer.send_command(write10(0, 2), kWrite, 1024);              // 1: waits for data
    host.peer.send_command(write10(4, 2), 0x20, 1024, pattern(512));  // 2: unsolicited data is coming
    host.peer.send_command(read10(8, 1), kRead, 512);                 // 3: at work
    host.peer.send_command(write10(0x7FFFFF, 2), 0x20, 1024);         // 4: failed, swallows data
    ++host.peer.cmd_sn;
    host.peer.send_command(write10(12, 1), kWrite, 512, pattern(512));  // 5: before its turn
    host.peer.answers();
    other.send(other.task_management(kLogicalUnitReset));
    host.array.device.executor.run_all();
    CHECK(other.told().size() == 1);
    CHECK(host.peer.told().empty());
    // What the device server did not have is not gone: 4 is answered when its data has come.
    host.peer.send_data_out(2, iscsi::kReservedTag, 0, 512, pattern(512), true);
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(4, iscsi::kReservedTag, 0, 0, pattern(1024), true);
    CHECK(host.peer.told() == Lines{"Response 02 itt=4 sense=05/21/00"});
    host.peer.cmd_sn -= 2;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"Response 02 itt=6 sense=06/29/03", "Response 00 itt=5"});
    ++host.peer.cmd_sn;
    host.settled();
  }
}
