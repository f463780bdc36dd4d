// What other targets fell into in full-feature phase. docs/traps.md has all of them: those here have no test elsewhere.
//
// Not tested, and why: the traps that docs/traps.md says cannot bite us.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;
using std::chrono::seconds;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;

struct Host {
  explicit Host(const ByteVector& keys = {}, bool blocking = false, iscsi::Limits limits = {}, std::uint32_t cmd_sn = 1)
      : array(options(blocking)), peer((array.directory.limits = limits, array)) {
    peer.cmd_sn = cmd_sn;
    peer.login(keys);
    peer.clear_attentions();
    peer.task_tag = 0;
  }
  static DeviceOptions options(bool blocking) {
    DeviceOptions each;
    each.blocking = blocking;
    return each;
  }
  ByteVector disk(std::size_t count) {
    auto& bytes = array.device.stores[0]->bytes();
    return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count)};
  }

  Array array;
  Peer peer;
};

ByteVector part(const ByteVector& all, std::size_t offset, std::size_t count) {
  auto from = all.begin() + static_cast<std::ptrdiff_t>(offset);
  return {from, from + static_cast<std::ptrdiff_t>(count)};
}

std::uint32_t ttt_of(const Answer& answer) { return answer.as<iscsi::R2tBhs>().target_transfer_tag; }

}  // namespace

TEST_SUITE("iscsi traps, full-feature phase") {
  TEST_CASE("trap: R2T carries ExpCmdSN and MaxCmdSN when sequence numbers pass 2^31") {
    for (std::uint32_t first : {0x7FFFFFFCu, 0xFFFFFFFCu}) {
      CAPTURE(first);
      Host host({}, false, {}, first);
      for (int i = 0; i < 8; ++i) {
        host.peer.send_command(write10(0, 1), kWrite, 512);
        Answer answer = host.peer.answer();
        auto r2t = answer.as<iscsi::R2tBhs>();
        CHECK(r2t.exp_cmd_sn == host.peer.cmd_sn);
        // The write itself holds one place of the 128.
        CHECK(r2t.max_cmd_sn == host.peer.cmd_sn + 126);
        CHECK(r2t.stat_sn == host.peer.exp_stat_sn);
        host.peer.send_data_out(host.peer.task_tag, ttt_of(answer), 0, 0, pattern(512), true);
        CHECK(host.peer.answer().as<iscsi::ScsiResponseBhs>().status == 0);
      }
    }
  }

  TEST_CASE("trap: a stale CmdSN in Data-Out is not looked at") {
    Host host;
    for (std::uint32_t stale : {0u, 1u, host.peer.cmd_sn + 500, 0x80000000u, 0xFFFFFFFFu}) {
      host.peer.send_command(write10(0, 1), kWrite, 512);
      iscsi::DataOutBhs bhs;
      bhs.flags = iscsi::kFinal;
      bhs.initiator_task_tag = host.peer.task_tag;
      bhs.target_transfer_tag = ttt_of(host.peer.answer());
      auto raw = iscsi::header_as<iscsi::Bhs>(bhs);
      base::Bytes head = base::bytes_of(raw);
      ByteVector bytes = host.peer.encode(raw, pattern(512));
      REQUIRE(head.size() == 48);
      base::store(base::MutableBytes(bytes).subspan(24), base::be32(stale));
      host.peer.feed(bytes);
      auto answer = host.peer.answer().as<iscsi::ScsiResponseBhs>();
      CHECK(answer.status == 0);
      CHECK(answer.exp_cmd_sn == host.peer.cmd_sn);
    }
  }

  TEST_CASE("trap: StatSN holds with more than 200 commands under way") {
    iscsi::Limits limits;
    limits.command_window = 512;
    limits.max_session_data_in = std::uint64_t{512} << 20;
    Host host({}, true, limits);
    std::uint32_t first = host.peer.exp_stat_sn;
    for (int i = 0; i < 300; ++i) host.peer.send_command(read10(0, 1), kRead, 512);
    CHECK(host.array.device.executor.held() == 300);
    host.array.device.executor.run_all();
    auto answers = host.peer.answers();
    REQUIRE(answers.size() == 300);
    for (std::uint32_t i = 0; i < 300; ++i) CHECK(answers[i].as<iscsi::DataInBhs>().stat_sn == first + i);
  }

  TEST_CASE("trap: Data-Out PDUs that end inside a block make one write") {
    for (const std::vector<std::size_t>& cuts :
         {std::vector<std::size_t>{500, 12, 700, 836}, {1, 2, 3, 2042}, {2047, 1}, {511, 1, 513, 1023}}) {
      Host host;
      ByteVector all = pattern(2048, 9);
      host.peer.send_command(write10(0, 4), kWrite, 2048);
      std::uint32_t ttt = ttt_of(host.peer.answer()), offset = 0, number = 0;
      for (std::size_t count : cuts) {
        bool last = offset + count == all.size();
        host.peer.send_data_out(1, ttt, number++, offset, part(all, offset, count), last);
        offset += static_cast<std::uint32_t>(count);
      }
      CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
      CHECK(host.disk(2048) == all);
    }
  }

  TEST_CASE("trap: padding counts in no length") {
    // What we receive: a segment as long as we declared, padded beyond it.
    iscsi::Limits limits;
    limits.max_recv_data_segment_length = 1021;
    Host host(pairs("MaxRecvDataSegmentLength=1022"), false, limits);
    ByteVector all = pattern(2048, 5);
    host.peer.send_command(write10(0, 4), kWrite, 2048, part(all, 0, 1021));
    Answer r2t = host.peer.answer();
    CHECK(r2t.line() == "R2T itt=1 sn=0 offset=1021 len=1027");
    host.peer.send_data_out(1, ttt_of(r2t), 0, 1021, part(all, 1021, 1021), false);
    host.peer.send_data_out(1, ttt_of(r2t), 1, 2042, part(all, 2042, 6), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.disk(2048) == all);
    // What we send: segments of what the initiator declared, padded to four bytes (the peer looks at the padding).
    host.peer.send_command(read10(0, 4), kRead, 2048);
    auto answers = host.peer.answers();
    CHECK(lines(answers) == Lines{"DataIn itt=2 sn=0 offset=0 len=1022", "DataIn itt=2 sn=1 offset=1022 len=1022",
                                  "DataIn F S itt=2 sn=2 offset=2044 len=4"});
    ByteVector joined;
    for (const Answer& each : answers) joined.insert(joined.end(), each.data.begin(), each.data.end());
    CHECK(joined == all);
  }

  TEST_CASE("trap: R2T asks for MaxBurstLength, however short a segment is") {
    iscsi::Limits limits;
    limits.max_recv_data_segment_length = 512;
    Host host(pairs("MaxRecvDataSegmentLength=512", "MaxBurstLength=4096", "MaxOutstandingR2T=1"), false, limits);
    host.peer.send_command(write10(0, 16), kWrite, 8192);
    Answer r2t = host.peer.answer();
    CHECK(r2t.line() == "R2T itt=1 sn=0 offset=0 len=4096");
    for (std::uint32_t i = 0; i < 8; ++i) host.peer.send_data_out(1, ttt_of(r2t), i, i * 512, pattern(512), i == 7);
    CHECK(host.peer.answer().line() == "R2T itt=1 sn=1 offset=4096 len=4096");
  }

  TEST_CASE("trap: R2T asks only for data that exists and is wanted") {
    struct Row {
      const char* what;
      std::uint16_t blocks;
      std::uint32_t expected;
      std::size_t immediate;
      Lines answer;
    };
    for (const Row& row :
         {Row{"all of it came", 2, 1024, 1024, {"Response 00 itt=1"}},
          Row{"half of it came", 2, 1024, 512, {"R2T itt=1 sn=0 offset=512 len=512"}},
          Row{"more was announced than the command takes", 1, 10000, 0, {"R2T itt=1 sn=0 offset=0 len=512"}},
          Row{"less was announced than the command takes", 4, 1024, 0, {"R2T itt=1 sn=0 offset=0 len=1024"}},
          Row{"nothing was announced", 1, 0, 0, {"Response 00 itt=1 O=512"}},
          Row{"the command takes nothing", 0, 512, 0, {"Response 00 itt=1 U=512"}}}) {
      CAPTURE(row.what);
      Host host;
      host.peer.send_command(write10(0, row.blocks), kWrite, row.expected, pattern(row.immediate));
      CHECK(host.peer.told() == row.answer);
    }
  }

  TEST_CASE("trap: R2T carries the command's LUN") {
    Host host;
    for (std::uint16_t lun : {0, 1}) {
      host.peer.send_command(write10(0, 1), kWrite, 512, {}, lun);
      auto r2t = host.peer.answer().as<iscsi::R2tBhs>();
      CHECK(r2t.lun == scsi::encode_lun(scsi::Lun{lun}));
    }
  }

  TEST_CASE("trap: what an aborted write had still to ask for is asked for no more") {
    Host host(pairs("MaxBurstLength=512", "MaxOutstandingR2T=2"));
    host.peer.send_command(write10(0, 8), kWrite, 4096);
    auto r2ts = host.peer.answers();
    CHECK(lines(r2ts) == Lines{"R2T itt=1 sn=0 offset=0 len=512", "R2T itt=1 sn=1 offset=512 len=512"});
    host.peer.send(host.peer.task_management(1, 0, 1));
    CHECK(host.peer.told() == Lines{"TaskManagementResponse 0 itt=2"});
    for (std::uint32_t i = 0; i < 2; ++i) host.peer.send_data_out(1, ttt_of(r2ts[i]), 0, i * 512, pattern(512), true);
    CHECK(host.peer.told().empty());
    // Its task tag is free, and the new task is asked by tags of its own.
    host.peer.task_tag = 0;
    host.peer.send_command(write10(0, 1), kWrite, 512);
    Answer r2t = host.peer.answer();
    CHECK(r2t.line() == "R2T itt=1 sn=0 offset=0 len=512");
    CHECK(ttt_of(r2t) != ttt_of(r2ts[0]));
    CHECK(ttt_of(r2t) != ttt_of(r2ts[1]));
    CHECK(host.disk(512) == ByteVector(512));
  }

  TEST_CASE("trap: the data digest guards every PDU that has data") {
    Host host(pairs("DataDigest=CRC32C"));
    iscsi::NopOutBhs nop;
    nop.opcode |= iscsi::kImmediate;
    nop.initiator_task_tag = 77;
    nop.cmd_sn = host.peer.cmd_sn;
    iscsi::TextRequestBhs text;
    text.opcode |= iscsi::kImmediate;
    text.flags = iscsi::kFinal;
    text.initiator_task_tag = 78;
    text.cmd_sn = host.peer.cmd_sn;
    auto write = host.peer.command(write10(0, 1), kWrite, 512);
    host.peer.spoil_data_digest = true;
    host.peer.send(nop, pattern(10));
    CHECK(host.peer.told() == Lines{"Reject 02"});
    host.peer.send(text, pairs("SendTargets=All"));
    CHECK(host.peer.told() == Lines{"Reject 02"});
    host.peer.send(write, pattern(512));
    CHECK(host.peer.told() == Lines{"Reject 02"});
    CHECK(host.disk(512) == ByteVector(512));
    host.peer.spoil_data_digest = false;
    host.peer.send(nop, pattern(10));
    CHECK(host.peer.told() == Lines{"NopIn itt=4D len=10"});
    host.peer.send(text, pairs("SendTargets="));
    CHECK(host.peer.answer().line().starts_with("TextResponse F TargetName="));
    host.peer.send(write, pattern(512));
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
  }

  TEST_CASE("trap: a ping's answer has the ping's LUN") {
    Host host;
    for (const iscsi::LunField& lun : {iscsi::LunField{}, iscsi::LunField{0, 1}, iscsi::LunField{0x40, 9}}) {
      iscsi::NopOutBhs nop;
      nop.opcode |= iscsi::kImmediate;
      nop.lun = lun;
      nop.initiator_task_tag = 77;
      nop.cmd_sn = host.peer.cmd_sn;
      host.peer.send(nop);
      CHECK(host.peer.answer().bhs.lun == lun);
    }
  }

  TEST_CASE("trap: a peer that takes nothing and says nothing is dropped, however much waits for it") {
    iscsi::Limits limits;
    limits.nop_interval = seconds(30);
    limits.nop_timeout = seconds(10);
    Host host({}, false, limits);
    while (!host.peer.connection().receive_buffer().empty()) {
      host.peer.send(host.peer.command(read10(0, 512), kRead, 262144));
      ++host.peer.cmd_sn;
    }
    std::uint64_t waiting = host.peer.connection().output_size();
    CHECK(waiting > 1 << 20);
    for (int i = 0; i < 2; ++i) {
      host.array.wire.advance(seconds(30));
      host.peer.connection().tick(host.array.wire.now());
    }
    // One ping more waits, not one for each tick.
    CHECK(host.peer.connection().output_size() == waiting + 48);
    CHECK(host.peer.finished_flag);
    CHECK(!host.peer.flushed);
    CHECK(host.array.sessions.size() == 0);
  }
}
