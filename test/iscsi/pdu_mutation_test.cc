// Every byte of the header of every PDU an initiator sends, changed: each bit flipped, and 00h, 7Fh, 80h, FFh. The PDU
// is sent where a session is idle and where it has its hands full. Whatever the change, the target answers with PDUs
// that are right (PduChecker), goes on or closes, keeps no command, and another session does not notice.
//
// Not tested, and why: two changes at once and changed data (test/fuzz, garbage_test.cc); what each change is answered
// with (state_table_test.cc and the tests of each PDU have the cases that matter).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "test/iscsi/conversation.h"

using namespace test;

namespace {

constexpr std::uint32_t kWindow = 128;

struct Pdu {
  iscsi::Bhs bhs{};
  ByteVector data{};
};

template <typename Header>
Pdu pdu(const Header& header, ByteVector data = {}) {
  return {iscsi::header_as<iscsi::Bhs>(header), std::move(data)};
}

ByteVector names() { return pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target"); }

/// Tags of the write that waits for its data in a busy session.
struct Waiting {
  std::uint32_t task_tag = 0;
  std::uint32_t transfer_tag = 0;
};

/// A write that waits for data, a read at work, and a command before its turn.
Waiting make_busy(Peer& peer) {
  Waiting waiting;
  waiting.task_tag = peer.send_command(write10(0, 4), 0xA0, 2048);
  waiting.transfer_tag = peer.answer().as<iscsi::R2tBhs>().target_transfer_tag;
  peer.send_command(read10(8, 1), 0xC0, 512, {}, 1);
  ++peer.cmd_sn;
  peer.send_command(write10(16, 1), 0xA0, 512, pattern(512));
  --peer.cmd_sn;
  --peer.cmd_sn;
  return waiting;
}

iscsi::DataOutBhs data_out(const Waiting& waiting, std::uint32_t transfer_tag) {
  iscsi::DataOutBhs bhs;
  bhs.flags = iscsi::kFinal;
  bhs.initiator_task_tag = waiting.task_tag;
  bhs.target_transfer_tag = transfer_tag;
  return bhs;
}

/// Where a PDU stands: what comes before it, and the PDU.
struct Scene {
  const char* name;
  bool logged_in;
  Pdu (*prepare)(Peer&, const Waiting&);
};

const Scene kScenes[] = {
    {"Login, first", false, [](Peer& p, const Waiting&) { return pdu(p.login_request(0x81), names()); }},
    {"Login, last", false,
     [](Peer& p, const Waiting&) {
       p.login_step(0x81, names());
       return pdu(p.login_request(0x87), pairs("InitialR2T=No", "HeaderDigest=None"));
     }},
    {"Text", true, [](Peer& p, const Waiting&) { return pdu(p.text_request(), pairs("SendTargets=All", "X-a=b")); }},
    {"Text, continued", true,
     [](Peer& p, const Waiting&) {
       p.send(p.text_request(iscsi::kContinue), pairs("SendTargets=All"));
       std::uint32_t tag = p.answer().as<iscsi::TextResponseBhs>().target_transfer_tag;
       return pdu(p.text_request(iscsi::kFinal, tag), pairs("X-a=b"));
     }},
    {"NOP-Out, ping", true,
     [](Peer& p, const Waiting&) {
       iscsi::NopOutBhs bhs;
       bhs.initiator_task_tag = ++p.task_tag;
       bhs.cmd_sn = p.cmd_sn++;
       return pdu(bhs, pattern(6));
     }},
    {"NOP-Out, answer", true,
     [](Peer& p, const Waiting&) {
       iscsi::NopOutBhs bhs;
       bhs.opcode |= iscsi::kImmediate;
       bhs.initiator_task_tag = iscsi::kReservedTag;
       bhs.target_transfer_tag = 1;
       bhs.cmd_sn = p.cmd_sn;
       return pdu(bhs);
     }},
    {"SCSI Command, read", true, [](Peer& p, const Waiting&) { return pdu(p.command(read10(0, 2), 0xC0, 1024)); }},
    {"SCSI Command, write with immediate data", true,
     [](Peer& p, const Waiting&) { return pdu(p.command(write10(0, 1), 0xA0, 512), pattern(512)); }},
    {"SCSI Command, write with unsolicited data to come", true,
     [](Peer& p, const Waiting&) { return pdu(p.command(write10(0, 2), 0x20, 1024), pattern(512)); }},
    {"SCSI Command, immediate", true,
     [](Peer& p, const Waiting&) {
       auto bhs = p.command(inquiry(96), 0xC0, 96);
       bhs.opcode |= iscsi::kImmediate;
       return pdu(bhs);
     }},
    {"Data-Out, solicited", true,
     [](Peer& p, const Waiting& busy) {
       Waiting waiting = busy;
       if (waiting.task_tag == 0) {
         waiting.task_tag = p.send_command(write10(0, 2), 0xA0, 1024);
         waiting.transfer_tag = p.answer().as<iscsi::R2tBhs>().target_transfer_tag;
       }
       return pdu(data_out(waiting, waiting.transfer_tag), pattern(busy.task_tag == 0 ? 1024 : 2048));
     }},
    {"Data-Out, unsolicited", true,
     [](Peer& p, const Waiting&) {
       Waiting waiting{p.send_command(write10(0, 2), 0x20, 1024), 0};
       return pdu(data_out(waiting, iscsi::kReservedTag), pattern(1024));
     }},
    {"Task Management, abort", true,
     [](Peer& p, const Waiting& busy) {
       std::uint32_t tag = busy.task_tag ? busy.task_tag : p.send_command(write10(0, 2), 0x20, 1024);
       return pdu(p.task_management(1, 0, tag, p.cmd_sn - 1));
     }},
    {"Task Management, reset", true, [](Peer& p, const Waiting&) { return pdu(p.task_management(5, 0)); }},
    {"Logout", true,
     [](Peer& p, const Waiting&) {
       auto bhs = p.logout_request(1);
       return pdu(bhs);
     }},
    {"SNACK", true,
     [](Peer& p, const Waiting&) {
       iscsi::SnackRequestBhs bhs;
       bhs.initiator_task_tag = p.task_tag;
       return pdu(bhs);
     }},
};

std::set<std::uint8_t> values_of(std::uint8_t byte) {
  std::set<std::uint8_t> values{0x00, 0x7F, 0x80, 0xFF};
  for (int bit = 0; bit < 8; ++bit) values.insert(static_cast<std::uint8_t>(byte ^ 1 << bit));
  values.erase(byte);
  return values;
}

/// An array and a session that is to notice nothing.
struct Stage {
  Stage() : array(options()) { call_bystander(); }
  static DeviceOptions options() {
    DeviceOptions each;
    each.size_bytes = 64 << 10;
    each.blocking = true;
    return each;
  }

  void call_bystander() {
    bystander = std::make_unique<Peer>(array);
    bystander->isid = {0x40, 0, 2, 0x11, 0x77, 9};
    bystander->login();
    bystander->clear_attentions();
  }

  /// Sends the changed PDU and looks at everything after it.
  void play(const Scene& scene, bool busy, std::size_t offset, std::uint8_t value);
  void look_at_session(Peer& peer, bool whole);
  void look_at_bystander(bool reset, bool cold);

  Array array;
  std::unique_ptr<Peer> bystander;
};

void Stage::play(const Scene& scene, bool busy, std::size_t offset, std::uint8_t value) {
  Peer peer(array);
  Waiting waiting;
  if (scene.logged_in) {
    peer.login(pairs("InitialR2T=No"));
    peer.clear_attentions();
    if (busy) waiting = make_busy(peer);
  }
  Pdu original = scene.prepare(peer, waiting);
  ByteVector bytes = peer.encode(original.bhs, original.data);
  bytes[offset] = value;
  auto bhs = base::load<iscsi::Bhs>(base::Bytes(bytes));
  peer.send_encoded(bhs, original.data, bytes);
  peer.answers();
  array.device.executor.run_all();
  peer.answers();
  bool lengths_kept = offset < 4 || offset > 7;
  if (scene.logged_in) look_at_session(peer, lengths_kept);
  if (!peer.finished_flag && !lengths_kept) CHECK(!peer.connection().receive_buffer().empty());
  if (!peer.finished_flag) peer.connection().peer_closed();
  peer.answers();
  peer.close();
  array.device.executor.run_all();
  bool task_management = bhs.code() == iscsi::Opcode::task_management_request;
  look_at_bystander(task_management, task_management && (bhs.flags & 0x7F) == 7);
}

/// It goes on or it is over, and the window tells that no command was lost.
void Stage::look_at_session(Peer& peer, bool whole) {
  if (peer.finished_flag || !whole) return;
  iscsi::NopOutBhs ping;
  ping.opcode |= iscsi::kImmediate;
  ping.initiator_task_tag = 0x7777;
  peer.send(ping);
  Answer pong = peer.answer();
  CHECK(pong.line() == "NopIn itt=7777 len=0");
  auto bhs = pong.as<iscsi::NopInBhs>();
  std::uint32_t open = bhs.max_cmd_sn - bhs.exp_cmd_sn + 1;
  for (const auto& each : array.sessions.list())
    if (each.tsih == peer.tsih) CHECK(open + each.commands >= kWindow);
  CHECK(open <= kWindow);
}

void Stage::look_at_bystander(bool reset, bool cold) {
  bool gone = bystander->finished_flag;
  CHECK((!gone || cold));
  if (gone) call_bystander();
  bystander->send_command(test_unit_ready(), 0x80, 0, {}, 1);
  std::string told = bystander->answer().line();
  bool good = told.starts_with("Response 00");
  bool told_of_reset = reset && told.find("sense=06/29/") != std::string::npos;
  CHECK_MESSAGE((good || told_of_reset || gone), told);
  auto sessions = array.sessions.list();
  REQUIRE(sessions.size() == 1);
  CHECK(sessions[0].commands == 0);
}

/// Returns how many changes there were.
int play_all() {
  Stage stage;
  int changes = 0;
  for (const Scene& scene : kScenes) {
    for (bool busy : {false, true}) {
      if (busy && !scene.logged_in) continue;
      // The original PDU, to know which values are changes.
      Peer model(stage.array);
      model.isid[5] = 99;
      Waiting waiting;
      if (scene.logged_in) model.login(pairs("InitialR2T=No"));
      if (scene.logged_in) model.clear_attentions();
      if (scene.logged_in && busy) waiting = make_busy(model);
      Pdu original = scene.prepare(model, waiting);
      auto raw = model.encode(original.bhs, original.data);
      model.close();
      stage.array.device.executor.run_all();
      for (std::size_t offset = 0; offset < iscsi::kBhsLength; ++offset) {
        for (std::uint8_t value : values_of(raw[offset])) {
          ++changes;
          CAPTURE(std::string(scene.name));
          CAPTURE(busy);
          CAPTURE(offset);
          CAPTURE(value);
          stage.play(scene, busy, offset, value);
        }
      }
    }
  }
  return changes;
}

}  // namespace

TEST_SUITE("iscsi PDU mutation") {
  TEST_CASE("Changed headers are answered rightly or end the connection, and do no harm") { CHECK(play_all() > 14000); }
}
