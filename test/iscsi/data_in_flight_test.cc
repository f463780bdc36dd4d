// What the commands of all sessions may have under way together, and the share each session keeps.
//
// Not tested, and why: how much memory that is (scripts/bench load shows it).
#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

namespace {

using test::Array;
using test::ByteVector;
using test::pairs;
using test::Peer;
using Lines = std::vector<std::string>;

constexpr std::uint8_t kRead = iscsi::kFinal | iscsi::kCommandRead;
constexpr std::uint8_t kWrite = iscsi::kFinal | iscsi::kCommandWrite;
constexpr std::uint32_t kLimit = 16384;  // and at least 2048 for each of 8 sessions

struct TwoHosts : Array {
  TwoHosts() {
    directory.limits.max_data_in_flight = kLimit;
    directory.limits.max_sessions = 8;
    other.isid.back() = 9;
    for (Peer* each : {&greedy, &other}) {
      each->login(pairs("ImmediateData=No"));
      each->clear_attentions();
      each->task_tag = 0;
    }
    CHECK(sessions.data_in_flight().total() == 0);
  }
  Peer greedy{*this};
  Peer other{*this};

  /// The greedy host takes everything: writes it sends nothing of.
  void take_all() {
    for (int i = 0; i < 2; ++i) {
      greedy.send_command(test::write10(0, 16), kWrite, kLimit / 2);
      CHECK(greedy.answer().code() == iscsi::Opcode::r2t);  // taken: it counts, too
    }
    CHECK(sessions.data_in_flight().total() == kLimit);
  }

  /// The other host leaves 4096 bytes.
  void take_all_but_one_share() {
    other.send_command(test::write10(0, 24), kWrite, kLimit - 4096);
    other.answers();
  }
};

}  // namespace

TEST_SUITE("iscsi data in flight") {
  TEST_CASE_FIXTURE(TwoHosts, "When all is taken, whoever took it is told TASK SET FULL") {
    take_all();
    greedy.send_command(test::read10(0, 1), kRead, 512);
    CHECK(greedy.told() == Lines{"Response 28 itt=3 U=512"});
    greedy.send_command(test::write10(0, 1), kWrite, 512);
    CHECK(greedy.told() == Lines{"Response 28 itt=4 U=512"});
    greedy.send_command(test::test_unit_ready(), iscsi::kFinal, 0);
    CHECK(greedy.told() == Lines{"Response 00 itt=5"});
  }

  TEST_CASE_FIXTURE(TwoHosts, "Another session has its share all the same, and no more") {
    take_all();
    other.send_command(test::read10(0, 16), kRead, 8192);
    CHECK(other.told() == Lines{"DataIn F S itt=1 sn=0 offset=0 len=8192"});
    other.send_command(test::write10(0, 16), kWrite, 8192);
    CHECK(other.told() == Lines{"R2T itt=2 sn=0 offset=0 len=8192"});
    other.send_command(test::write10(8, 1), kWrite, 512);
    CHECK(other.told() == Lines{"Response 28 itt=3 U=512"});
  }

  TEST_CASE_FIXTURE(TwoHosts, "When the shares have taken as much again, the least of them is left to everybody") {
    take_all();
    other.send_command(test::write10(0, 16), kWrite, 8192);
    other.answers();
    Peer third(*this), fourth(*this);
    for (Peer* each : {&third, &fourth}) {
      each->isid.back() = each == &third ? 3 : 4;
      each->login(pairs("ImmediateData=No"));
      each->clear_attentions();
      each->task_tag = 0;
      if (each == &third) {
        each->send_command(test::write10(0, 10), kWrite, 5120);
        CHECK(each->told() == Lines{"R2T itt=1 sn=0 offset=0 len=5120"});
      }
    }
    fourth.send_command(test::read10(0, 4), kRead, 2048);
    CHECK(fourth.told() == Lines{"DataIn F S itt=1 sn=0 offset=0 len=2048"});
    fourth.send_command(test::read10(0, 7), kRead, 3584);
    CHECK(fourth.told() == Lines{"Response 28 itt=2 U=3584"});
  }

  TEST_CASE_FIXTURE(TwoHosts, "A command more than all there is may have half of it") {
    other.send_command(test::write10(0, 64), kWrite, 2 * kLimit);
    CHECK(other.answer().code() == iscsi::Opcode::r2t);
    CHECK(sessions.data_in_flight().total() == 2 * kLimit);
  }

  TEST_CASE_FIXTURE(TwoHosts, "An aborted task, a lost connection and an answer give back what they had") {
    take_all();
    greedy.send(greedy.task_management(1, 0, 1));
    greedy.answers();
    CHECK(sessions.data_in_flight().total() == kLimit / 2);
    greedy.close();
    CHECK(sessions.data_in_flight().total() == 0);
    other.send_command(test::read10(0, 9), kRead, 4608);
    CHECK(other.answer().line() == "DataIn F S itt=1 sn=0 offset=0 len=4608");
    CHECK(sessions.data_in_flight().total() == 0);
  }

  TEST_CASE_FIXTURE(TwoHosts, "Answers that are not taken count until they are") {
    greedy.send_command(test::read10(0, 24), kRead, 12288);
    CHECK(sessions.data_in_flight().total() == 12288 + 2 * sizeof(iscsi::Bhs));
    greedy.send_command(test::read10(0, 16), kRead, 8192);
    std::vector<std::string> told = greedy.told();
    REQUIRE(told.size() == 3);
    CHECK(told[2] == "Response 28 itt=2 U=8192");
    greedy.send_command(test::read10(0, 16), kRead, 8192);
    CHECK(greedy.answer().code() == iscsi::Opcode::data_in);
  }

  TEST_CASE_FIXTURE(TwoHosts, "What is held before its turn counts, and is dropped when it is too much") {
    std::uint32_t next = greedy.cmd_sn;
    greedy.cmd_sn = next + 1;  // the one before never comes
    take_all_but_one_share();
    for (int i = 0; i < 40 && !greedy.finished_flag; ++i)
      greedy.send_command(test::write10(0, 1), kWrite, 512, test::pattern(512));
    CHECK(greedy.finished_flag);
    CHECK(sessions.data_in_flight().total() == kLimit - 4096);
  }
}
