// Task management functions over a session.
//
// Not tested, and why: what they do to logical units (test/scsi); QUERY TASK and its like (RFC 7144), which need
// iSCSIProtocolLevel 2.
#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;

struct Host {
  explicit Host(bool blocking = false, const ByteVector& keys = {}) : array(options(blocking)), peer(array) {
    peer.login(keys);
    peer.clear_attentions();
    peer.task_tag = 0;
  }
  static DeviceOptions options(bool blocking) {
    DeviceOptions each;
    each.blocking = blocking;
    return each;
  }
  Array array;
  Peer peer;

  Lines manage(std::uint8_t function, std::uint16_t lun = 0, std::uint32_t referenced = iscsi::kReservedTag,
               std::uint32_t ref_cmd_sn = 0) {
    peer.send(peer.task_management(function, lun, referenced, ref_cmd_sn));
    return peer.told();
  }
};

}  // namespace

TEST_SUITE("iscsi task management") {
  TEST_CASE("ABORT TASK of a running task is answered when it cannot change data any more") {
    Host host(true);
    host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
    CHECK(host.manage(1, 0, 1).empty());
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"TaskManagementResponse 0 itt=2"});
    // The tag is free again.
    host.peer.task_tag = 0;
    host.peer.send_command(read10(0, 1), kRead, 512);
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"DataIn F S itt=1 sn=0 offset=0 len=512"});
  }

  TEST_CASE("ABORT TASK of a task that waits for data ends it at once; its late data is dropped") {
    Host host;
    host.peer.send_command(write10(0, 1), kWrite, 512);
    std::uint32_t ttt = host.peer.answer().as<iscsi::R2tBhs>().target_transfer_tag;
    CHECK(host.manage(1, 0, 1) == Lines{"TaskManagementResponse 0 itt=2"});
    host.peer.send_data_out(1, ttt, 0, 0, pattern(512), true);
    CHECK(host.peer.told().empty());
    CHECK(host.array.device.stores[0]->bytes()[1] == 0);
  }

  TEST_CASE("ABORT TASK of a failed command that swallows its data ends it without an answer of its own") {
    Host host(false, pairs("InitialR2T=No"));
    host.peer.send_command(write10(0x7FFFFFFF, 2), 0x20, 1024);
    CHECK(host.manage(1, 0, 1) == Lines{"TaskManagementResponse 0 itt=2"});
    host.peer.send_data_out(1, iscsi::kReservedTag, 0, 0, pattern(1024), true);
    CHECK(host.peer.told().empty());
  }

  TEST_CASE("ABORT TASK of a task that has ended says so") {
    Host host;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    host.peer.answers();
    CHECK(host.manage(1, 0, 1, host.peer.cmd_sn - 1) == Lines{"TaskManagementResponse 1 itt=2"});
    CHECK(host.manage(1, 0, 99, host.peer.cmd_sn + 500) == Lines{"TaskManagementResponse 1 itt=3"});
    // A number at or after that of the request itself was not sent before it.
    CHECK(host.manage(1, 0, 99, host.peer.cmd_sn) == Lines{"TaskManagementResponse 1 itt=4"});
  }

  TEST_CASE("ABORT TASK of a command that never came fills its place in the order") {
    Host host;
    std::uint32_t lost = host.peer.cmd_sn++;
    host.peer.send_command(test_unit_ready(), kNone, 0);  // waits for the lost one
    CHECK(host.peer.told().empty());
    CHECK(host.manage(1, 0, 99, lost) == Lines{"TaskManagementResponse 0 itt=2", "Response 00 itt=1"});
    // The lost command, should it come now, is out of the window.
    std::uint32_t next = host.peer.cmd_sn;
    host.peer.cmd_sn = lost;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told().empty());
    host.peer.cmd_sn = next;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 00 itt=4"});
  }

  TEST_CASE("ABORT TASK of a command before its turn takes it out of the order") {
    Host host;
    std::uint32_t gap = host.peer.cmd_sn++;
    host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
    CHECK(host.manage(1, 0, 1) == Lines{"TaskManagementResponse 0 itt=2"});
    std::uint32_t next = host.peer.cmd_sn;
    host.peer.cmd_sn = gap;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    host.peer.cmd_sn = next;
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 00 itt=4"});
    CHECK(host.array.device.stores[0]->bytes()[1] == 0);
  }

  TEST_CASE("LOGICAL UNIT RESET ends the tasks of its logical unit, whatever they wait for, and no others") {
    Host host(true);
    host.peer.send_command(read10(0, 1), kRead, 512);         // 1: at work
    host.peer.send_command(write10(4, 1), kWrite, 512);       // 2: waits for data
    host.peer.send_command(read10(0, 1), kRead, 512, {}, 1);  // 3: another logical unit
    CHECK(host.peer.told() == Lines{"R2T itt=2 sn=0 offset=0 len=512"});
    CHECK(host.manage(5).empty());
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"TaskManagementResponse 0 itt=4", "DataIn F S itt=3 sn=0 offset=0 len=512"});
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 02 itt=5 sense=06/29/03"});
  }

  TEST_CASE("Functions that are not supported say so, with their number of RFC 7143, 11.6.1") {
    Host host;
    CHECK(host.manage(3) == Lines{"TaskManagementResponse 5 itt=1"});  // CLEAR ACA
    CHECK(host.manage(8) == Lines{"TaskManagementResponse 4 itt=2"});  // TASK REASSIGN
    CHECK(host.manage(9) == Lines{"TaskManagementResponse 5 itt=3"});  // QUERY TASK
    CHECK(host.manage(0) == Lines{"TaskManagementResponse 5 itt=4"});
    CHECK(host.manage(127) == Lines{"TaskManagementResponse 5 itt=5"});
    CHECK(host.manage(2) == Lines{"TaskManagementResponse 0 itt=6"});     // ABORT TASK SET
    CHECK(host.manage(4) == Lines{"TaskManagementResponse 0 itt=7"});     // CLEAR TASK SET
    CHECK(host.manage(5, 9) == Lines{"TaskManagementResponse 2 itt=8"});  // no such LUN
    auto odd = host.peer.task_management(5);
    odd.lun = {0xC1, 0x01};
    host.peer.send(odd);
    CHECK(host.peer.told() == Lines{"TaskManagementResponse 2 itt=9"});
  }

  TEST_CASE("A numbered request uses up its CmdSN and holds its place until it is answered") {
    Host host(true);
    host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
    auto bhs = host.peer.task_management(1, 0, 1);
    bhs.opcode &= 0xBF;
    host.peer.send(bhs);
    ++host.peer.cmd_sn;
    CHECK(host.peer.told().empty());
    host.array.device.executor.run_all();
    auto answer = host.peer.answer().as<iscsi::TaskManagementResponseBhs>();
    CHECK(answer.exp_cmd_sn == host.peer.cmd_sn);
    CHECK(answer.max_cmd_sn == host.peer.cmd_sn + 127);
  }

  TEST_CASE("TARGET WARM RESET keeps the sessions, TARGET COLD RESET ends all of them") {
    Host host;
    Peer other(host.array);
    other.isid[5] = 2;
    other.login();
    other.clear_attentions();
    CHECK(host.manage(6) == Lines{"TaskManagementResponse 0 itt=1"});
    CHECK(!other.finished_flag);
    other.send_command(test_unit_ready(), kNone, 0);
    CHECK(other.told() == Lines{"Response 02 itt=3 sense=06/29/00"});
    CHECK(host.manage(7) == Lines{"TaskManagementResponse 0 itt=2", "Async 3"});
    CHECK(other.told() == Lines{"Async 3"});
    CHECK(host.peer.finished_flag);
    CHECK(host.peer.flushed);
    CHECK(other.finished_flag);
    CHECK(host.array.sessions.size() == 0);
  }

  TEST_CASE("TARGET COLD RESET from an initiator for which a logical unit is not there ends its own session only") {
    Host host;
    host.array.device.add(9, {.allowed_initiators = {"iqn.2025-01.example:somebody-else"}});
    Peer other(host.array);
    other.isid[5] = 2;
    other.login();
    CHECK(host.manage(7) == Lines{"TaskManagementResponse 0 itt=1", "Async 3"});
    CHECK(host.peer.finished_flag);
    CHECK(!other.finished_flag);
    CHECK(host.array.sessions.size() == 1);
  }

  TEST_CASE("Another session's CLEAR TASK SET ends a gathering write without an answer") {
    Host host;
    Peer other(host.array);
    other.isid[5] = 2;
    other.login();
    other.clear_attentions();
    host.peer.send_command(write10(0, 1), kWrite, 512);
    std::uint32_t ttt = host.peer.answer().as<iscsi::R2tBhs>().target_transfer_tag;
    other.send(other.task_management(4));
    CHECK(other.told() == Lines{"TaskManagementResponse 0 itt=3"});
    host.peer.send_data_out(1, ttt, 0, 0, pattern(512), true);
    CHECK(host.peer.told().empty());
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 02 itt=2 sense=06/2F/00"});
  }

  TEST_CASE("A large Data-Out under way when its task is aborted from elsewhere does no harm") {
    Host host;
    Peer other(host.array);
    other.isid[5] = 2;
    other.login();
    other.clear_attentions();
    host.peer.send_command(write10(0, 128), kWrite, 65536);
    std::uint32_t ttt = host.peer.answer().as<iscsi::R2tBhs>().target_transfer_tag;
    iscsi::DataOutBhs bhs;
    bhs.flags = iscsi::kFinal;
    bhs.initiator_task_tag = 1;
    bhs.target_transfer_tag = ttt;
    ByteVector bytes = host.peer.encode(iscsi::header_as<iscsi::Bhs>(bhs), pattern(65536));
    host.peer.feed(base::Bytes(bytes).first(20000));
    other.send(other.task_management(5));
    CHECK(other.told() == Lines{"TaskManagementResponse 0 itt=3"});
    host.peer.feed(base::Bytes(bytes).subspan(20000));
    CHECK(host.peer.told().empty());
    CHECK(host.array.device.stores[0]->bytes()[1] == 0);
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 02 itt=2 sense=06/29/03"});
  }
}
