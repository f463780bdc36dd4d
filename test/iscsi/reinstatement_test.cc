// Logins that meet a session of the same name: session and connection reinstatement (RFC 7143, 6.3.4, 6.3.5) in each
// state of the session machine (8.3), and several at once.
//
// Not tested, and why: Q5 IN_CONTINUE, which needs Time2Retain above 0; further connections of a session.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <memory>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;

DeviceOptions slow() {
  DeviceOptions options;
  options.size_bytes = 64 << 10;
  options.blocking = true;
  return options;
}

ByteVector names() { return pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target"); }

/// The old session in its states; gives back its TSIH.
struct State {
  const char* name;
  void (*enter)(Array&, Peer& old);
};

void ready(Array& array, Peer& old) {
  old.login();
  old.clear_attentions();
  array.device.executor.run_all();
}

const State kStates[] = {
    {"Q1 FREE", [](Array&, Peer&) {}},
    {"Q2 ACTIVE: its login is not over", [](Array&, Peer& old) { old.login_step(0x81, names()); }},
    {"Q3 LOGGED_IN: idle", [](Array& array, Peer& old) { ready(array, old); }},
    {"Q3 LOGGED_IN: a write waits for data",
     [](Array& array, Peer& old) {
       ready(array, old);
       old.send_command(write10(0, 1), kWrite, 512);
       old.answers();
     }},
    {"Q3 LOGGED_IN: a write is at work",
     [](Array& array, Peer& old) {
       ready(array, old);
       old.send_command(write10(0, 1), kWrite, 512, pattern(512));
     }},
    {"Q3 LOGGED_IN: a command waits for its turn",
     [](Array& array, Peer& old) {
       ready(array, old);
       ++old.cmd_sn;
       old.send_command(write10(0, 1), kWrite, 512, pattern(512));
     }},
    {"Q3 LOGGED_IN: a reset is under way",
     [](Array& array, Peer& old) {
       ready(array, old);
       old.send_command(write10(0, 1), kWrite, 512, pattern(512));
       old.send(old.task_management(5));
     }},
    {"Q3 LOGGED_IN, S7 LOGOUT_REQUESTED",
     [](Array& array, Peer& old) {
       ready(array, old);
       old.connection().request_logout(std::chrono::seconds(1));
       old.answers();
     }},
    {"Q3 LOGGED_IN, S6 IN_LOGOUT: a read is at work",
     [](Array& array, Peer& old) {
       ready(array, old);
       old.send_command(read10(0, 1), kRead, 512);
       old.send(old.logout_request());
     }},
    {"Q4 FAILED: the connection is lost, a read is at work",
     [](Array& array, Peer& old) {
       ready(array, old);
       old.send_command(read10(0, 1), kRead, 512);
       old.connection().peer_closed();
     }},
};

std::string fate(const Peer& peer) { return !peer.finished_flag ? "stays" : peer.flushed ? "closed" : "dropped"; }

/// What a login with this TSIH leads to: the old connection's fate, the answer or "waits" and then the answer, what the
/// first command of the new session hears, and whether it is the same I_T nexus.
std::string meet(const State& state, bool with_tsih, bool other_isid) {
  Array array(slow());
  auto old = std::make_unique<Peer>(array);
  state.enter(array, *old);
  Peer young(array);
  if (with_tsih) young.tsih = old->tsih;
  if (other_isid) young.isid[5] = 0x66;
  young.cmd_sn = 1000;
  young.send(young.login_request(0x87), names());
  std::string told = "old " + fate(*old) + "; ";
  auto answers = young.answers();
  if (answers.empty()) {
    told += "waits; ";
    CHECK(young.connection().receive_buffer().empty());
    array.device.executor.run_all();
    answers = young.answers();
    for (const std::string& each : old->told()) told += "old hears " + each + "; ";
  }
  REQUIRE(answers.size() == 1);
  auto bhs = answers[0].as<iscsi::LoginResponseBhs>();
  told += fmt::format("{:04X}", bhs.status.value());
  CHECK((bhs.status == 0) == young.connection().full_feature());
  if (bhs.status == 0) {
    young.cmd_sn = bhs.exp_cmd_sn;
    std::uint32_t room = bhs.max_cmd_sn - bhs.exp_cmd_sn + 1;
    CHECK(room == 128);
    told += bhs.exp_cmd_sn == 1000u ? ", new numbers" : ", old numbers";
    young.send_command(test_unit_ready(), kNone, 0);
    told += ", " + young.answer().line().substr(9);
  }
  // Whatever it was, nothing is left.
  if (!old->finished_flag) old->connection().peer_closed();
  old.reset();
  array.device.executor.run_all();
  CHECK(array.sessions.size() == (bhs.status == 0 ? 1 : 0));
  if (bhs.status == 0) CHECK(array.sessions.list()[0].commands == 0);
  young.close();
  CHECK(array.sessions.size() == 0);
  return told;
}

}  // namespace

TEST_SUITE("iscsi reinstatement") {
  TEST_CASE("A login in each state of the session it meets") {
    std::string table = "\n";
    for (const State& state : kStates) {
      CAPTURE(std::string(state.name));
      table += fmt::format("{}\n", state.name);
      table += "  TSIH 0:           " + meet(state, false, false) + '\n';
      table += "  TSIH 0, new ISID: " + meet(state, false, true) + '\n';
      if (&state - kStates < 2) continue;  // no TSIH yet
      table += "  TSIH:             " + meet(state, true, false) + '\n';
      table += "  TSIH, new ISID:   " + meet(state, true, true) + '\n';
    }
    CHECK(table == std::string(R"(
Q1 FREE
  TSIH 0:           old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
Q2 ACTIVE: its login is not over
  TSIH 0:           old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
Q3 LOGGED_IN: idle
  TSIH 0:           old dropped; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old dropped; 0000, old numbers, 00 itt=1
  TSIH, new ISID:   old stays; 020A
Q3 LOGGED_IN: a write waits for data
  TSIH 0:           old dropped; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old dropped; 0000, old numbers, 02 itt=1 sense=06/47/7F
  TSIH, new ISID:   old stays; 020A
Q3 LOGGED_IN: a write is at work
  TSIH 0:           old dropped; waits; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old dropped; waits; 0000, old numbers, 02 itt=1 sense=06/47/7F
  TSIH, new ISID:   old stays; 020A
Q3 LOGGED_IN: a command waits for its turn
  TSIH 0:           old dropped; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old dropped; 0000, old numbers, 00 itt=1
  TSIH, new ISID:   old stays; 020A
Q3 LOGGED_IN: a reset is under way
  TSIH 0:           old dropped; waits; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old dropped; waits; 0000, old numbers, 02 itt=1 sense=06/29/03
  TSIH, new ISID:   old stays; 020A
Q3 LOGGED_IN, S7 LOGOUT_REQUESTED
  TSIH 0:           old dropped; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old dropped; 0000, old numbers, 00 itt=1
  TSIH, new ISID:   old stays; 020A
Q3 LOGGED_IN, S6 IN_LOGOUT: a read is at work
  TSIH 0:           old stays; waits; old hears LogoutResponse 0; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old stays; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old stays; 020A
  TSIH, new ISID:   old stays; 020A
Q4 FAILED: the connection is lost, a read is at work
  TSIH 0:           old dropped; waits; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH 0, new ISID: old dropped; 0000, new numbers, 02 itt=1 sense=06/29/00
  TSIH:             old dropped; 020A
  TSIH, new ISID:   old dropped; 020A
)"));
  }

  TEST_CASE("Session reinstatement ends what the old session had begun; its data does not come after the new one's") {
    Array array(slow());
    Peer old(array);
    ready(array, old);
    old.send_command(write10(0, 1), kWrite, 512, pattern(512, 1));
    Peer young(array);
    young.send(young.login_request(0x87), names());
    CHECK(young.answers().empty());
    array.device.executor.run_all();
    CHECK(young.answers().size() == 1);
    young.clear_attentions();
    young.send_command(write10(0, 1), kWrite, 512, pattern(512, 2));
    array.device.executor.run_all();
    CHECK(young.told() == Lines{"Response 00 itt=3"});
    auto& bytes = array.device.stores[0]->bytes();
    CHECK(ByteVector(bytes.begin(), bytes.begin() + 512) == pattern(512, 2));
    CHECK(old.told().empty());
  }

  TEST_CASE("Logins at once with one ISID: the last one has the session, each of the others ends") {
    for (bool busy : {false, true}) {
      Array array(slow());
      Peer first(array);
      ready(array, first);
      if (busy) first.send_command(read10(0, 1), kRead, 512);
      std::vector<std::unique_ptr<Peer>> peers;
      for (int i = 0; i < 5; ++i) {
        peers.push_back(std::make_unique<Peer>(array));
        peers.back()->login_step(0x81, names());
      }
      for (auto& each : peers) each->send(each->login_request(0x87));
      CHECK(array.sessions.size() == 1);
      array.device.executor.run_all();
      CHECK(first.finished_flag);
      for (std::size_t i = 0; i < peers.size(); ++i) {
        CAPTURE(i);
        bool last = i + 1 == peers.size();
        CHECK(peers[i]->finished_flag == !last);
        CHECK(peers[i]->connection().full_feature() == last);
        CHECK(peers[i]->answers().size() == 1);  // each had its turn
      }
      CHECK(array.sessions.size() == 1);
      peers.back()->send_command(test_unit_ready(), kNone, 0);
      CHECK(peers.back()->told() == Lines{"Response 02 itt=1 sense=06/29/00"});
    }
  }

  TEST_CASE("Logins that give up while they wait leave the place to those that do not") {
    Array array(slow());
    Peer old(array);
    ready(array, old);
    old.send_command(read10(0, 1), kRead, 512);
    auto waiting = [&] {
      auto peer = std::make_unique<Peer>(array);
      peer->send(peer->login_request(0x87), names());
      CHECK(peer->answers().empty());
      return peer;
    };
    auto a = waiting(), b = waiting(), c = waiting();
    a.reset();
    c->connection().peer_closed();
    array.device.executor.run_all();
    CHECK(b->answers().size() == 1);
    // c came later and would have had the session; it is gone, and with it what it had begun.
    CHECK(c->answers().empty());
    array.device.executor.run_all();
    CHECK(array.sessions.size() <= 1);
    Peer next(array);
    next.login();
    CHECK(array.sessions.size() == 1);
  }

  TEST_CASE("Connection reinstatement again and again, with commands under way, loses no command and no place") {
    Array array(slow());
    auto peer = std::make_unique<Peer>(array);
    ready(array, *peer);
    for (int round = 0; round < 20; ++round) {
      CAPTURE(round);
      peer->send_command(write10(0, 1), kWrite, 512);
      peer->send_command(read10(0, 1), kRead, 512);
      auto immediate = peer->command(read10(0, 1), kRead, 512);
      immediate.opcode |= iscsi::kImmediate;
      peer->send(immediate);
      peer->send(peer->task_management(5));
      auto young = std::make_unique<Peer>(array);
      young->tsih = peer->tsih;
      young->cmd_sn = peer->cmd_sn;
      young->send(young->login_request(0x87), names());
      array.device.executor.run_all();
      Answer answer = young->answer();
      auto bhs = answer.as<iscsi::LoginResponseBhs>();
      REQUIRE(bhs.status == 0);
      CHECK(bhs.exp_cmd_sn == peer->cmd_sn);
      CHECK(bhs.max_cmd_sn - bhs.exp_cmd_sn + 1 == 128);
      CHECK(bhs.tsih == peer->tsih);
      CHECK(array.sessions.list()[0].commands == 0);
      peer = std::move(young);
    }
    CHECK(array.sessions.size() == 1);
  }

  TEST_CASE("Two connection reinstatements at once: one has the connection, the other is refused or gives way") {
    Array array(slow());
    Peer old(array);
    ready(array, old);
    old.send_command(read10(0, 1), kRead, 512);
    Peer a(array), b(array);
    for (Peer* each : {&a, &b}) {
      each->tsih = old.tsih;
      each->cmd_sn = old.cmd_sn;
      each->send(each->login_request(0x87), names());
    }
    array.device.executor.run_all();
    int in = 0;
    for (Peer* each : {&a, &b}) {
      auto status = each->answer().as<iscsi::LoginResponseBhs>().status.value();
      CHECK((status == 0 || status == 0x020A));
      in += status == 0 && !each->finished_flag;
    }
    CHECK(in == 1);
    CHECK(array.sessions.size() == 1);
  }

  TEST_CASE("A session reinstatement while its connection is being reinstated wins") {
    Array array(slow());
    Peer old(array);
    ready(array, old);
    old.send_command(read10(0, 1), kRead, 512);
    Peer connection(array);
    connection.tsih = old.tsih;
    connection.send(connection.login_request(0x87), names());
    Peer session(array);
    session.send(session.login_request(0x87), names());
    CHECK(array.sessions.size() == 1);
    array.device.executor.run_all();
    CHECK(connection.answer().as<iscsi::LoginResponseBhs>().status == 0x020A);
    CHECK(session.answer().as<iscsi::LoginResponseBhs>().status == 0);
    CHECK(array.sessions.size() == 1);
  }
}
