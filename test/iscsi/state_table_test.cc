// What each PDU is answered with in each state of RFC 7143's machines for connections (8.1.1, target's side) and
// logins: every opcode byte from 00h to 7Fh, an initiator's, a target's or nobody's, as an immediate request and a
// numbered one, is sent in a connection of its own, and what happens is written in one table.
//
// Not tested, and why: S2, which is the initiator's alone; S8 CLEANUP_WAIT and Q5 IN_CONTINUE, which need Time2Retain
// above 0; what sessions make of each other (reinstatement_test.cc).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "test/iscsi/conversation.h"

using namespace test;

namespace {

struct Tags {
  std::uint32_t task = 0x99;
  std::uint32_t transfer = 0x55;
};

ByteVector names() { return pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target"); }

void log_in(Peer& peer) {
  peer.login();
  peer.clear_attentions();
}

/// A state: how a connection gets there, and the table of what follows. A line: opcode bytes, what comes back (several
/// PDUs with ';'), what becomes of the connection. After '|': what comes when the stores have done their work.
struct State {
  const char* name;
  Tags (*enter)(Peer&);
  const char* table;
};

const State kStates[] = {
    {"S3 XPT_UP: connected", [](Peer&) { return Tags{}; },
     R"(
00-02 04-42 44-7F: dropped
03 43: LoginResponse 87 status=0000 TargetPortalGroupTag=1
)"},
    {"S4 IN_LOGIN: security stage",
     [](Peer& peer) {
       peer.login_step(0x00, names());
       return Tags{};
     },
     R"(
00-02 04-42 44-7F: LoginResponse 00 status=020B closed
03 43: LoginResponse 00 status=0200 closed
)"},
    {"S4 IN_LOGIN: operational stage",
     [](Peer& peer) {
       peer.login_step(0x81, names());
       return Tags{};
     },
     R"(
00-02 04-42 44-7F: LoginResponse 04 status=020B closed
03 43: LoginResponse 87 status=0000
)"},
    {"S4 IN_LOGIN: within a text that goes on",
     [](Peer& peer) {
       peer.login_step(0x44, pairs("InitiatorName=iqn.2025-01.example:host"));
       return Tags{};
     },
     R"(
00-02 04-42 44-7F: LoginResponse 04 status=020B closed
03 43: LoginResponse 04 status=0200 closed
)"},
    {"S5 LOGGED_IN, Q3 LOGGED_IN: idle",
     [](Peer& peer) {
       log_in(peer);
       return Tags{};
     },
     R"(
00 40: NopIn itt=70 len=3
01 41: Response 00 itt=112
02 42: TaskManagementResponse 1 itt=112
03 43: Reject 04
04 44: TextResponse F X-a=NotUnderstood
05 45: nothing
06 46: LogoutResponse 0 closed
07-0F 11-3F 47-4F 51-7F: Reject 05
10 50: Reject 03
)"},
    {"S5 LOGGED_IN: a write waits for its data, its tags are those of Data-Out",
     [](Peer& peer) {
       log_in(peer);
       std::uint32_t task = peer.send_command(write10(0, 1), 0xA0, 512);
       return Tags{task, peer.answer().as<iscsi::R2tBhs>().target_transfer_tag};
     },
     R"(
00 40: NopIn itt=70 len=3
01 41: Response 00 itt=112
02 42: TaskManagementResponse 1 itt=112
03 43: Reject 04
04 44: TextResponse F X-a=NotUnderstood
05 45: nothing | Response 00 itt=3
06 46: LogoutResponse 0 closed
07-0F 11-3F 47-4F 51-7F: Reject 05
10 50: Reject 03
)"},
    {"S5 LOGGED_IN: a read is at work, its tag is that of Data-Out",
     [](Peer& peer) {
       log_in(peer);
       return Tags{peer.send_command(read10(0, 1), 0xC0, 512), iscsi::kReservedTag};
     },
     R"(
00 40: NopIn itt=70 len=3 | DataIn F S itt=3 sn=0 offset=0 len=512
01 41: Response 00 itt=112 | DataIn F S itt=3 sn=0 offset=0 len=512
02 42: TaskManagementResponse 1 itt=112 | DataIn F S itt=3 sn=0 offset=0 len=512
03 43: Reject 04 | DataIn F S itt=3 sn=0 offset=0 len=512
04 44: TextResponse F X-a=NotUnderstood | DataIn F S itt=3 sn=0 offset=0 len=512
05 45: nothing | DataIn F S itt=3 sn=0 offset=0 len=512
06 46: nothing | LogoutResponse 0 closed
07-0F 11-3F 47-4F 51-7F: Reject 05 | DataIn F S itt=3 sn=0 offset=0 len=512
10 50: Reject 03 | DataIn F S itt=3 sn=0 offset=0 len=512
)"},
    {"S5 LOGGED_IN: a command is missing in the order",
     [](Peer& peer) {
       log_in(peer);
       ++peer.cmd_sn;
       return Tags{};
     },
     R"(
00-02 04-06 45: nothing
03 43: Reject 04
07-0F 11-3F 47-4F 51-7F: Reject 05
10 50: Reject 03
40: NopIn itt=70 len=3
41: Response 00 itt=112
42: TaskManagementResponse 1 itt=112
44: TextResponse F X-a=NotUnderstood
46: LogoutResponse 0 closed
)"},
    {"S5 LOGGED_IN: within a text that goes on",
     [](Peer& peer) {
       log_in(peer);
       peer.send(peer.text_request(iscsi::kContinue), pairs("SendTargets=All"));
       peer.answer();
       return Tags{};
     },
     R"(
00 40: NopIn itt=70 len=3
01 41: Response 00 itt=112
02 42: TaskManagementResponse 1 itt=112
03 43: Reject 04
04 44: TextResponse F X-a=NotUnderstood
05 45: nothing
06 46: LogoutResponse 0 closed
07-0F 11-3F 47-4F 51-7F: Reject 05
10 50: Reject 03
)"},
    {"S5 LOGGED_IN: a discovery session",
     [](Peer& peer) {
       peer.discover();
       return Tags{};
     },
     R"(
00-03 05 40-43 45: Reject 04
04 44: TextResponse F X-a=NotUnderstood
06 46: LogoutResponse 0 closed
07-0F 11-3F 47-4F 51-7F: Reject 05
10 50: Reject 03
)"},
    {"S7 LOGOUT_REQUESTED",
     [](Peer& peer) {
       log_in(peer);
       peer.connection().request_logout(std::chrono::seconds(10));
       peer.answer();
       return Tags{};
     },
     R"(
00 40: NopIn itt=70 len=3
01 41: Response 00 itt=112
02 42: TaskManagementResponse 1 itt=112
03 43: Reject 04
04 44: TextResponse F X-a=NotUnderstood
05 45: nothing
06 46: LogoutResponse 0 closed
07-0F 11-3F 47-4F 51-7F: Reject 05
10 50: Reject 03
)"},
    {"S6 IN_LOGOUT: a read is still at work",
     [](Peer& peer) {
       log_in(peer);
       peer.send_command(read10(0, 1), 0xC0, 512);
       peer.send(peer.logout_request());
       return Tags{};
     },
     R"(
00-7F: not read | LogoutResponse 0 closed
)"},
    {"S1 FREE: after a logout",
     [](Peer& peer) {
       log_in(peer);
       peer.send(peer.logout_request());
       peer.answer();
       return Tags{};
     },
     R"(
00-7F: not read
)"},
};

/// A PDU of this opcode byte, as right as one can be here.
void send(Peer& peer, std::uint8_t opcode, const Tags& tags) {
  auto numbered = [&](auto header) {
    header.initiator_task_tag = 0x70;
    header.cmd_sn = peer.cmd_sn;
    header.opcode = opcode;
    return header;
  };
  using enum iscsi::Opcode;
  switch (static_cast<iscsi::Opcode>(opcode & iscsi::kOpcodeMask)) {
    case nop_out: return peer.send(numbered(iscsi::NopOutBhs{}), pattern(3));
    case scsi_command: return peer.send(numbered(peer.command(test_unit_ready(), 0x80, 0)));
    case task_management_request: return peer.send(numbered(peer.task_management(1, 0, 0x71)));
    case login_request: {
      auto header = peer.login_request(0x87);
      header.opcode = opcode;
      return peer.send(header, names());
    }
    case text_request: {
      iscsi::TextRequestBhs header;
      header.flags = iscsi::kFinal;
      return peer.send(numbered(header), pairs("X-a=1"));
    }
    case data_out: {
      iscsi::DataOutBhs header;
      header.opcode = opcode;
      header.flags = iscsi::kFinal;
      header.initiator_task_tag = tags.task;
      header.target_transfer_tag = tags.transfer;
      return peer.send(header, pattern(512));
    }
    case logout_request: return peer.send(numbered(iscsi::LogoutRequestBhs{}));
    default: return peer.send(numbered(iscsi::RequestBhs{}));
  }
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& each : lines) {
    all += (all.empty() ? "" : "; ") + each;
    if (all.ends_with(' ')) all.pop_back();  // no text
  }
  return all;
}

/// What one PDU leads to.
std::string outcome(const State& state, std::uint8_t opcode) {
  DeviceOptions options;
  options.size_bytes = 8 << 10;
  options.blocking = true;
  static Array array(options);
  Peer peer(array);
  Tags tags = state.enter(peer);
  bool reads = !peer.connection().receive_buffer().empty();
  std::string told;
  if (reads) {
    send(peer, opcode, tags);
    told = joined(peer.told());
  }
  auto fate = [&] { return !peer.finished_flag ? "" : peer.flushed ? " closed" : " dropped"; };
  told = !reads ? "not read" : told.empty() && !peer.finished_flag ? "nothing" : told + fate();
  bool over = peer.finished_flag;
  array.device.executor.run_all();
  std::string later = joined(peer.told());
  if (!later.empty()) told += " | " + later;
  if (!over && peer.finished_flag) told += fate();
  peer.close();
  array.device.executor.run_all();
  REQUIRE(array.sessions.size() == 0);
  Peer fresh(array);
  fresh.isid[5] = 0x77;
  fresh.login();
  fresh.send_command(test_unit_ready(), 0x80, 0);
  CHECK(fresh.answers().size() == 1);
  return told.starts_with(' ') ? told.substr(1) : told;
}

/// Opcode bytes that lead to the same share a line.
std::string walk(const State& state) {
  std::vector<std::pair<std::string, std::string>> rows;  // what happens, and for which opcode bytes
  std::string last;
  int from = 0;
  auto close = [&](int to) {
    std::string range = from == to ? fmt::format("{:02X}", from) : fmt::format("{:02X}-{:02X}", from, to);
    auto same = std::ranges::find(rows, last, &std::pair<std::string, std::string>::first);
    if (same == rows.end()) {
      rows.emplace_back(last, range);
    } else {
      same->second += ' ' + range;
    }
  };
  for (int opcode = 0; opcode < 0x80; ++opcode) {
    std::string now = outcome(state, static_cast<std::uint8_t>(opcode));
    if (opcode > 0 && now != last) {
      close(opcode - 1);
      from = opcode;
    }
    last = now;
  }
  close(0x7F);
  std::string table = "\n";
  for (const auto& [told, opcodes] : rows) table += fmt::format("{}: {}\n", opcodes, told);
  return table;
}

}  // namespace

TEST_SUITE("iscsi state table") {
  TEST_CASE("Every opcode in every state is answered as the table says") {
    for (const State& state : kStates) {
      std::string walked = walk(state);
      INFO(std::string(state.name), " is now", walked);
      CHECK(walked == std::string(state.table));
    }
  }
}
