// What rules do to the PDUs of a command and to its connection (target/iscsi/session_faults.cc).
//
// Not tested, and why: the TCP reset itself, and how initiators recover (test/target/rules_test.py).
#include <doctest/doctest.h>

#include "scsi/rule_gates.h"
#include "target/iscsi/digest.h"
#include "test/iscsi/several_peers.h"

using namespace test;
using namespace std::chrono_literals;
using Lines = std::vector<std::string>;
namespace action = scsi::action;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;

struct Host {
  explicit Host(const ByteVector& keys = {}, DeviceOptions options = {}) : array(options), peer(array) {
    peer.login(keys);
    peer.clear_attentions();
    peer.task_tag = 0;
  }
  ~Host() {
    peer.close();
    array.device.executor.run_all();
  }
  Array array;
  Peer peer;

  scsi::RuleSet& rules() { return array.device.copies.fabric().rules(); }
  void on(std::string_view command, scsi::Action act) {
    rules().add({.match = {.commands = scsi::commands_named(command)}, .action = std::move(act)});
  }
  /// Whether block 0 of logical unit 0 holds what write() sends.
  bool written() {
    auto bytes = array.device.stores[0]->bytes();
    return std::equal(bytes.begin(), bytes.begin() + 512, pattern(512, 9).begin());
  }
  void write() { peer.send_command(write10(0, 1), kWrite, 512, pattern(512, 9)); }
  /// The session goes on as if nothing had been.
  void check_alive() {
    rules().clear();
    CHECK_FALSE(peer.finished_flag);
    std::uint32_t tag = peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(peer.told() == Lines{"Response 00 itt=" + std::to_string(tag)});
    CHECK(array.sessions.size() == 1);
  }
  /// The connection ended, and the session and all tasks with it.
  void check_gone(bool reset = false) {
    CHECK(peer.finished_flag);
    CHECK(peer.flushed);
    CHECK(peer.connection().ends_with_reset() == reset);
    CHECK(array.sessions.size() == 0);
    for (auto& [lun, lu] : array.device.server.logical_units()) CHECK(lu->idle());
    CHECK(array.device.server.nexuses().size() == 1);  // the fixture's own
  }
};

/// All output as bytes.
ByteVector raw(Peer& peer) {
  ByteVector stream;
  while (peer.connection().output_size() > 0) {
    std::array<iovec, 7> parts{};
    std::size_t count = peer.connection().output(parts);
    std::size_t taken = 0;
    for (std::size_t i = 0; i < count; ++i) {
      auto* from = static_cast<const std::uint8_t*>(parts[i].iov_base);
      stream.insert(stream.end(), from, from + parts[i].iov_len);
      taken += parts[i].iov_len;
    }
    peer.connection().sent(taken);
  }
  return stream;
}

std::uint32_t ttt_of(const Answer& r2t) { return r2t.as<iscsi::R2tBhs>().target_transfer_tag; }

}  // namespace

TEST_SUITE("iscsi rules") {
  TEST_CASE("A lost response: the command is done, the window opens, ABORT TASK finds nothing") {
    Host host;
    host.on("WRITE", action::DropResponse{});
    std::uint32_t before = host.peer.cmd_sn;
    host.write();
    CHECK(host.peer.told().empty());
    CHECK(host.written());
    host.rules().clear();
    host.peer.send(host.peer.task_management(1, 0, 1, before));  // immediate
    auto answer = host.peer.answer().as<iscsi::TaskManagementResponseBhs>();
    CHECK(answer.response == 1);  // task does not exist
    CHECK(answer.max_cmd_sn - answer.exp_cmd_sn + 1 == host.array.directory.limits.command_window);
    host.check_alive();
  }

  TEST_CASE("A lost response of a read: no data either") {
    Host host;
    host.on("READ", action::DropResponse{});
    host.peer.send_command(read10(0, 4), kRead, 2048);
    CHECK(host.peer.told().empty());
    host.check_alive();
  }

  TEST_CASE("A lost command is not executed and not answered, whatever data is still to come") {
    Host host(pairs("ImmediateData=No"));
    host.on("WRITE", action::DropCommand{});
    host.peer.send_command(write10(0, 1), kWrite, 512);
    CHECK(host.peer.told().empty());
    CHECK_FALSE(host.written());
    host.check_alive();
  }

  TEST_CASE("TASK ABORTED as a status is sent, unlike the one of ABORT TASK") {
    Host host;
    host.on("WRITE", action::Fail{scsi::Status::task_aborted});
    host.write();
    CHECK(host.peer.told() == Lines{"Response 40 itt=1"});
    host.check_alive();
  }

  TEST_CASE("A status before the data: no R2T") {
    Host host(pairs("ImmediateData=No"));
    host.on("WRITE", action::Fail{scsi::Status::busy});
    host.peer.send_command(write10(0, 1), kWrite, 512);
    CHECK(host.peer.answer().as<iscsi::ScsiResponseBhs>().status == 0x08);
    host.check_alive();
  }

  TEST_CASE("The connection ends at the command, which is not executed") {
    for (bool reset : {false, true}) {
      Host host;
      host.on("WRITE", action::EndConnection{action::EndConnection::At::command, 1, reset});
      host.write();
      CHECK(host.peer.told().empty());
      CHECK_FALSE(host.written());
      host.check_gone(reset);
    }
  }

  TEST_CASE("The connection ends instead of the response; what was answered before is sent") {
    for (bool reset : {false, true}) {
      Host host;
      host.on("WRITE", action::EndConnection{action::EndConnection::At::response, 1, reset});
      host.peer.send_command(test_unit_ready(), kNone, 0);
      host.write();
      CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
      CHECK(host.written());
      host.check_gone(reset);
    }
  }

  TEST_CASE("The connection ends after the response") {
    Host host;
    host.on("WRITE", action::EndConnection{action::EndConnection::At::after_response});
    host.write();
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    host.check_gone();
  }

  TEST_CASE("The connection ends instead of the nth Data-In, or of the one with the status") {
    struct Row {
      action::EndConnection::At at;
      std::uint32_t nth;
      std::size_t sent;
    };
    using At = action::EndConnection::At;
    for (const Row& row :
         {Row{At::data_in, 1, 0}, Row{At::data_in, 2, 1}, Row{At::data_in, 4, 3}, Row{At::response, 1, 3}}) {
      Host host(pairs("MaxRecvDataSegmentLength=512"));
      host.on("READ", action::EndConnection{row.at, row.nth});
      host.peer.send_command(read10(0, 4), kRead, 2048);
      std::vector<Answer> answers = host.peer.answers();
      CHECK(answers.size() == row.sent);
      for (const Answer& each : answers) CHECK((each.bhs.flags & iscsi::kDataInStatus) == 0);
      host.check_gone();
    }
  }

  TEST_CASE("A place that the command does not come to is none") {
    Host host(pairs("MaxRecvDataSegmentLength=512"));
    host.on("READ", action::EndConnection{action::EndConnection::At::data_in, 5});
    host.on("WRITE", action::EndConnection{action::EndConnection::At::data_out, 1});
    host.peer.send_command(read10(0, 4), kRead, 2048);
    CHECK(host.peer.answers().size() == 4);
    host.write();
    CHECK(host.peer.told() == Lines{"Response 00 itt=2"});
    host.check_alive();
  }

  TEST_CASE("The connection ends instead of the nth R2T, and at the nth Data-Out") {
    const ByteVector keys = pairs("MaxBurstLength=512", "ImmediateData=No", "MaxOutstandingR2T=1");
    for (std::uint32_t nth : {1u, 2u, 3u}) {
      for (auto at : {action::EndConnection::At::r2t, action::EndConnection::At::data_out}) {
        Host host(keys);
        host.on("WRITE", action::EndConnection{at, nth});
        std::uint32_t itt = host.peer.send_command(write10(0, 3), kWrite, 1536);
        for (std::uint32_t burst = 0; burst < 3 && !host.peer.finished_flag; ++burst) {
          Answer r2t = host.peer.answer();
          host.peer.send_data_out(itt, ttt_of(r2t), 0, burst * 512, pattern(512, 9), true);
        }
        CHECK(host.peer.told().empty());
        CHECK_FALSE(host.written());
        host.check_gone();
      }
    }
  }

  TEST_CASE("A wrong header or data digest, of one PDU") {
    using Of = action::DigestError::Of;
    for (Of of : {Of::header, Of::data}) {
      Host host(pairs("HeaderDigest=CRC32C", "DataDigest=CRC32C"));
      host.on("READ", action::DigestError{of});
      host.peer.send_command(read10(0, 1), kRead, 512);
      ByteVector bytes = raw(host.peer);
      REQUIRE(bytes.size() == 48 + 4 + 512 + 4);
      base::Bytes all = bytes;
      bool header_good = base::load<base::be32>(all.subspan(48)) == iscsi::digest_of(all.first(48));
      bool data_good = base::load<base::be32>(all.subspan(52 + 512)) == iscsi::digest_of(all.subspan(52, 512));
      CHECK(header_good == (of != Of::header));
      CHECK(data_good == (of != Of::data));
      ++host.peer.exp_stat_sn;
      host.rules().clear();
      host.peer.send_command(test_unit_ready(), kNone, 0);
      CHECK(raw(host.peer).size() == 48 + 4);
    }
  }

  TEST_CASE("A digest error that nothing comes of: no digests, or no data") {
    Host plain;
    plain.on("READ", action::DigestError{});
    plain.peer.send_command(read10(0, 1), kRead, 512);
    CHECK(plain.peer.told() == Lines{"DataIn F S itt=1 sn=0 offset=0 len=512"});
    plain.check_alive();
    Host host(pairs("HeaderDigest=CRC32C", "DataDigest=CRC32C"));
    host.on("TEST UNIT READY", action::DigestError{});
    host.peer.send_command(test_unit_ready(), kNone, 0);
    host.peer.send_command(read10(0, 1), kRead, 512);  // judged by the peer
    CHECK(host.peer.answers().size() == 2);
  }

  TEST_CASE("A Data-Out taken for one with a wrong digest: Reject, then 0B/47/05") {
    Host host(pairs("MaxBurstLength=512", "ImmediateData=No", "MaxOutstandingR2T=1"));
    host.on("WRITE", action::DigestError{action::DigestError::Of::received_data, 2});
    std::uint32_t itt = host.peer.send_command(write10(0, 3), kWrite, 1536);
    host.peer.send_data_out(itt, ttt_of(host.peer.answer()), 0, 0, pattern(512, 9), true);
    host.peer.send_data_out(itt, ttt_of(host.peer.answer()), 0, 512, pattern(512, 9), true);
    std::vector<Answer> answers = host.peer.answers();
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].as<iscsi::RejectBhs>().reason ==
          static_cast<std::uint8_t>(iscsi::RejectReason::data_digest_error));
    CHECK(answers[1].as<iscsi::ScsiResponseBhs>().status == 2);
    CHECK_FALSE(host.written());
    host.check_alive();
  }

  TEST_CASE("An Async Message asks for a logout, and the connection goes without one") {
    Host host;
    host.on("TEST UNIT READY", action::AsyncMessage{action::AsyncMessage::Event::logout_request, 5});
    host.peer.send_command(test_unit_ready(), kNone, 0);
    std::vector<Answer> answers = host.peer.answers();
    REQUIRE(answers.size() == 2);
    auto message = answers[1].as<iscsi::AsyncMessageBhs>();
    CHECK(message.async_event == 1);
    CHECK(message.parameter3 == 5);
    CHECK_FALSE(host.peer.finished_flag);
    host.peer.connection().tick(host.array.wire.now());
    host.array.wire.advance(5s);
    host.peer.connection().tick(host.array.wire.now());
    CHECK(host.peer.finished_flag);
  }

  TEST_CASE("An Async Message says that the connection, or the session, is dropped, and it is") {
    for (auto event : {action::AsyncMessage::Event::drop_connection, action::AsyncMessage::Event::drop_session}) {
      Host host;
      host.on("TEST UNIT READY", action::AsyncMessage{event});
      host.peer.send_command(test_unit_ready(), kNone, 0);
      std::vector<Answer> answers = host.peer.answers();
      REQUIRE(answers.size() == 2);
      bool connection = event == action::AsyncMessage::Event::drop_connection;
      CHECK(answers[1].as<iscsi::AsyncMessageBhs>().async_event == (connection ? 2 : 3));
      host.check_gone();
    }
  }

  TEST_CASE("A delayed command ends with its session, on the clock's side and on the wire's") {
    for (auto moment : {scsi::Moment::before, scsi::Moment::after}) {
      Host host;
      host.on("WRITE", action::Delay{1h, moment});
      host.write();
      CHECK(host.peer.told().empty());
      host.peer.connection().peer_closed();
      CHECK(host.peer.finished_flag);
      CHECK(host.array.sessions.size() == 0);
      CHECK_FALSE(host.array.device.copies.timers().next());
      CHECK(host.written() == (moment == scsi::Moment::after));
    }
  }

  TEST_CASE("A delayed command is answered when its time has come, and ABORT TASK ends it before") {
    Host host;
    host.on("WRITE", action::Delay{4s});
    std::uint32_t first = host.peer.cmd_sn;
    host.write();
    CHECK(host.peer.told().empty());
    host.peer.send(host.peer.task_management(1, 0, 1, first));
    CHECK(host.peer.answer().as<iscsi::TaskManagementResponseBhs>().response == 0);
    CHECK_FALSE(host.written());
    host.write();
    host.array.device.clock.advance(4s);
    host.array.device.copies.timers().run_due(host.array.device.clock.now());
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
    CHECK(host.written());
    host.check_alive();
  }

  TEST_CASE("An answer that waits for a worker ends the connection all the same") {
    DeviceOptions slow;
    slow.blocking = true;
    Host host({}, slow);
    host.array.device.executor.run_all();
    host.on("READ", action::EndConnection{action::EndConnection::At::response});
    host.peer.send_command(read10(0, 1), kRead, 512);
    host.peer.send_command(read10(8, 1), kRead, 512);  // aborted with the session
    CHECK(host.peer.told().empty());
    host.array.device.executor.run();
    CHECK(host.peer.finished_flag);
    host.array.device.executor.run_all();
    host.check_gone();
  }

  TEST_CASE("A session that ends where another command gets room for its data is not told more by the first") {
    DeviceOptions slow;
    slow.blocking = true;
    Host host(pairs("ImmediateData=No"), slow);
    host.array.device.executor.run_all();
    host.array.directory.limits.max_session_data_out = 512;
    const auto writes = scsi::commands_named("WRITE");
    host.rules().add({.match = {.commands = writes, .lba = {{0, 0}}},
                      .action = action::AsyncMessage{action::AsyncMessage::Event::drop_connection}});
    host.rules().add({.match = {.commands = writes, .lba = {{8, 8}}},
                      .action = action::EndConnection{action::EndConnection::At::r2t}});
    std::uint32_t itt = host.peer.send_command(write10(0, 1), kWrite, 512);
    host.peer.send_command(write10(8, 1), kWrite, 512);  // there is no room for its data
    host.peer.send_data_out(itt, ttt_of(host.peer.answer()), 0, 0, pattern(512, 9), true);
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    host.check_gone();
  }

  TEST_CASE("One connection of several fails, and session recovery follows") {
    Array array;
    SeveralPeers peers(array, 2);
    peers.clear_attentions();
    array.device.copies.fabric().rules().add(
        {.match = {.commands = scsi::commands_named("WRITE")}, .action = action::EndConnection{}});
    peers.send(1, write10(0, 1), kWrite, 512, pattern(512, 9));
    CHECK(peers[1].finished_flag);
    CHECK(peers[0].finished_flag);
    CHECK(peers[0].answer().as<iscsi::AsyncMessageBhs>().async_event == 3);
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("A truncated READ of more than the host takes has what the rule leaves of the whole") {
    Host host;
    host.on("READ", action::Truncate{1536});
    host.peer.send_command(read10(0, 4), kRead, 512);
    CHECK(host.peer.answer().line().ends_with("len=512 O=1024"));
  }

  TEST_CASE("Residuals of a truncated transfer") {
    Host host;
    host.on("READ", action::Truncate{512});
    host.on("WRITE", action::Truncate{0});
    host.peer.send_command(read10(0, 2), kRead, 1024);
    auto in = host.peer.answer();
    CHECK(in.data.size() == 512);
    CHECK(in.as<iscsi::DataInBhs>().residual_count == 512);
    host.write();
    auto out = host.peer.answer().as<iscsi::ScsiResponseBhs>();
    CHECK(out.status == 0);
    CHECK((out.flags & iscsi::kResidualUnderflow) != 0);
    CHECK(out.residual_count == 512);
    CHECK_FALSE(host.written());
    host.check_alive();
  }
}
