// Gathering data-out: immediate, unsolicited and solicited data, and what is wrong with it.
//
// Not tested, and why: what writes do (test/scsi).
#include <doctest/doctest.h>

#include "scsi/rules.h"
#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kWrite = 0xA0;      // F, W
constexpr std::uint8_t kWriteMore = 0x20;  // W: unsolicited data follows
constexpr std::uint32_t kUnsolicited = iscsi::kReservedTag;

struct Host {
  explicit Host(const ByteVector& keys = {}, iscsi::Limits limits = {}, DeviceOptions options = {})
      : array(options), peer(array) {
    array.directory.limits = limits;
    peer.login(keys);
    peer.clear_attentions();
    peer.task_tag = 0;
  }
  Array array;
  Peer peer;

  ByteVector stored(std::size_t offset, std::size_t length) {
    auto from = array.device.stores[0]->bytes().begin() + static_cast<std::ptrdiff_t>(offset);
    return {from, from + static_cast<std::ptrdiff_t>(length)};
  }
};

ByteVector part(const ByteVector& all, std::size_t offset, std::size_t length) {
  auto from = all.begin() + static_cast<std::ptrdiff_t>(offset);
  return {from, from + static_cast<std::ptrdiff_t>(length)};
}

std::uint32_t ttt_of(const Answer& r2t) { return r2t.as<iscsi::R2tBhs>().target_transfer_tag; }

}  // namespace

TEST_SUITE("iscsi data-out") {
  TEST_CASE("A WRITE with all its data immediate needs nothing more") {
    Host host;
    host.peer.send_command(write10(4, 1), kWrite, 512, pattern(512, 9));
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.stored(2048, 512) == pattern(512, 9));
  }

  TEST_CASE("A WRITE is asked for by R2T, in bursts of MaxBurstLength") {
    Host host(pairs("MaxBurstLength=1024", "ImmediateData=No"));
    ByteVector all = pattern(2560);
    std::uint32_t itt = host.peer.send_command(write10(0, 5), kWrite, 2560);
    std::uint32_t sn = 0;
    for (std::size_t offset : {0, 1024, 2048}) {
      Answer r2t = host.peer.answer();
      std::size_t length = std::min<std::size_t>(1024, 2560 - offset);
      CHECK(r2t.line() == "R2T itt=1 sn=" + std::to_string(sn++) + " offset=" + std::to_string(offset) +
                              " len=" + std::to_string(length));
      CHECK(r2t.bhs.flags == 0x80);  // WINDOWS: nothing else
      CHECK(r2t.bhs.lun == scsi::encode_lun(scsi::Lun{0}));
      host.peer.send_data_out(itt, ttt_of(r2t), 0, static_cast<std::uint32_t>(offset), part(all, offset, 512),
                              length == 512);
      if (length == 1024)
        host.peer.send_data_out(itt, ttt_of(r2t), 1, static_cast<std::uint32_t>(offset + 512),
                                part(all, offset + 512, 512), true);
    }
    Answer response = host.peer.answer();
    CHECK(response.line() == "Response 00 itt=1");
    CHECK(response.as<iscsi::ScsiResponseBhs>().exp_data_sn == 3);
    CHECK(host.stored(0, 2560) == all);
  }

  TEST_CASE("Several R2Ts are outstanding when that was agreed on, and may be answered in turns") {
    Host host(pairs("MaxBurstLength=512", "ImmediateData=No", "MaxOutstandingR2T=3"));
    ByteVector all = pattern(2048);
    std::uint32_t itt = host.peer.send_command(write10(0, 4), kWrite, 2048);
    auto first = host.peer.answers();
    CHECK(lines(first) == Lines{"R2T itt=1 sn=0 offset=0 len=512", "R2T itt=1 sn=1 offset=512 len=512",
                                "R2T itt=1 sn=2 offset=1024 len=512"});
    host.peer.send_data_out(itt, ttt_of(first[1]), 0, 512, part(all, 512, 512), true);
    Answer fourth = host.peer.answer();
    CHECK(fourth.line() == "R2T itt=1 sn=3 offset=1536 len=512");
    host.peer.send_data_out(itt, ttt_of(fourth), 0, 1536, part(all, 1536, 512), true);
    host.peer.send_data_out(itt, ttt_of(first[0]), 0, 0, part(all, 0, 512), true);
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(itt, ttt_of(first[2]), 0, 1024, part(all, 1024, 512), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.stored(0, 2048) == all);
  }

  TEST_CASE("Immediate data, unsolicited data and R2T together make one WRITE") {
    Host host(pairs("InitialR2T=No", "FirstBurstLength=1536", "MaxBurstLength=4096"));
    ByteVector all = pattern(4096);
    std::uint32_t itt = host.peer.send_command(write10(0, 8), kWriteMore, 4096, part(all, 0, 512));
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(itt, kUnsolicited, 0, 512, part(all, 512, 500), false);
    host.peer.send_data_out(itt, kUnsolicited, 1, 1012, part(all, 1012, 524), true);
    Answer r2t = host.peer.answer();
    CHECK(r2t.line() == "R2T itt=1 sn=0 offset=1536 len=2560");
    host.peer.send_data_out(itt, ttt_of(r2t), 0, 1536, part(all, 1536, 2560), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.stored(0, 4096) == all);
  }

  TEST_CASE("An unsolicited burst may end early: the rest is asked for") {
    Host host(pairs("InitialR2T=No", "FirstBurstLength=65536"));
    ByteVector all = pattern(2048);
    std::uint32_t itt = host.peer.send_command(write10(0, 4), kWriteMore, 2048);
    host.peer.send_data_out(itt, kUnsolicited, 0, 0, {}, true);
    Answer r2t = host.peer.answer();
    CHECK(r2t.line() == "R2T itt=1 sn=0 offset=0 len=2048");
    host.peer.send_data_out(itt, ttt_of(r2t), 0, 0, all, true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.stored(0, 2048) == all);
  }

  TEST_CASE("A LUN left blank in Data-Out is not looked at") {
    Host host;
    host.peer.send_command(test_unit_ready(), 0x80, 0, {}, 1);
    host.peer.answers();
    std::uint32_t itt = host.peer.send_command(write10(0, 1), kWrite, 512, {}, 1);
    Answer r2t = host.peer.answer();
    CHECK(r2t.bhs.lun == scsi::encode_lun(scsi::Lun{1}));
    host.peer.send_data_out(itt, ttt_of(r2t), 0, 0, pattern(512), true);  // its LUN is zero
    CHECK(host.peer.told() == Lines{"Response 00 itt=2"});
  }

  TEST_CASE("Large writes are the same whether their data comes at once or in pieces, with digests or without") {
    for (bool digests : {false, true}) {
      for (std::size_t chunk : {std::size_t{1000}, std::size_t{4096}, std::size_t{70000}, SIZE_MAX}) {
        Host host(digests ? pairs("InitialR2T=No", "FirstBurstLength=131072", "MaxBurstLength=262144",
                                  "HeaderDigest=CRC32C", "DataDigest=CRC32C")
                          : pairs("InitialR2T=No", "FirstBurstLength=131072", "MaxBurstLength=262144"));
        host.peer.chunk = chunk;
        ByteVector all = pattern(512 * 1024, 3);
        std::uint32_t itt = host.peer.send_command(write10(0, 1024), kWriteMore, 512 * 1024, part(all, 0, 65536));
        host.peer.send_data_out(itt, kUnsolicited, 0, 65536, part(all, 65536, 65536), true);
        for (std::uint32_t offset : {131072u, 393216u}) {
          Answer r2t = host.peer.answer();
          std::uint32_t length = r2t.as<iscsi::R2tBhs>().desired_data_transfer_length;
          REQUIRE(r2t.as<iscsi::R2tBhs>().buffer_offset == offset);
          host.peer.send_data_out(itt, ttt_of(r2t), 0, offset, part(all, offset, length), true);
        }
        CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
        CHECK(host.stored(0, all.size()) == all);
        // A whole write in one large immediate segment.
        host.peer.send_command(write10(0, 200), kWrite, 102400, part(all, 7, 102400));
        CHECK(host.peer.told() == Lines{"Response 00 itt=2"});
        CHECK(host.stored(0, 102400) == part(all, 7, 102400));
      }
    }
  }

  TEST_CASE("A wrong digest of data in lent memory ends its command, and the next one is written") {
    Host host(pairs("DataDigest=CRC32C"));
    RamStore& store = *host.array.device.stores[0];
    const ByteVector before = host.stored(0, 131072);
    for (bool spoiled : {true, false}) {
      const unsigned lent = store.lent;
      std::uint32_t itt = host.peer.send_command(write10(0, 256), kWrite, 131072);
      Answer r2t = host.peer.answer();
      CHECK(store.lent == lent + 1);
      host.peer.spoil_data_digest = spoiled;
      host.peer.send_data_out(itt, ttt_of(r2t), 0, 0, pattern(131072, 5), true);
      host.peer.spoil_data_digest = false;
      const Lines told = host.peer.told();
      CHECK(told.back() == (spoiled ? "Response 02 itt=1 sense=0B/47/05" : "Response 00 itt=2"));
      CHECK(host.stored(0, 131072) == (spoiled ? before : pattern(131072, 5)));
    }
  }

  TEST_CASE("What a rule is for is gathered in one piece, also when the rule comes after the memory was lent") {
    Host host(pairs("FirstBurstLength=262144", "MaxRecvDataSegmentLength=262144"));
    RamStore& store = *host.array.device.stores[0];
    const ByteVector command = host.peer.encode(
        iscsi::header_as<iscsi::Bhs>(host.peer.command(write10(0, 64), kWrite, 32768)), pattern(32768, 6));
    host.peer.feed(base::Bytes(command).first(20000));
    CHECK(store.lent == 1);
    host.array.device.copies.fabric().rules().add(
        {.match = {.commands = scsi::commands_named("WRITE (10)")},
         .action = scsi::action::WrongData{scsi::action::WrongData::How::zeros}});
    host.peer.feed(base::Bytes(command).subspan(20000));
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.stored(0, 32768) == ByteVector(32768));
    host.peer.send_command(write10(0, 64), kWrite, 32768, pattern(32768, 7));
    CHECK(store.lent == 1);
    CHECK(host.stored(0, 32768) == ByteVector(32768));
  }

  TEST_CASE("A large immediate segment is kept while its store is slow") {
    DeviceOptions options;
    options.blocking = true;
    Host host(pairs("FirstBurstLength=262144"), {}, options);
    ByteVector first = pattern(65536, 1), second = pattern(65536, 2);
    host.peer.chunk = 5000;
    host.peer.send_command(write10(0, 128), kWrite, 65536, first);
    host.peer.send_command(write10(128, 128), kWrite, 65536, second);
    host.peer.send_command(write10(256, 1), kWrite, 512, pattern(512, 3));
    CHECK(host.array.device.executor.held() == 3);
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"Response 00 itt=1", "Response 00 itt=2", "Response 00 itt=3"});
    CHECK(host.stored(0, 65536) == first);
    CHECK(host.stored(65536, 65536) == second);
    CHECK(host.stored(131072, 512) == pattern(512, 3));
  }

  TEST_CASE("Data-Out out of order never ends in GOOD, and the answer waits for the sequence to end") {
    struct Step {
      std::uint32_t data_sn;
      std::uint32_t offset;
      std::size_t length;
      bool final;
    };
    struct Row {
      const char* what;
      std::vector<Step> steps;
      const char* answer;
    };
    const char* const phase = "Response 02 itt=1 sense=0B/4B/00";
    const Row rows[] = {
        {"DataSN 0, 0", {{0, 0, 512, false}, {0, 512, 512, true}}, phase},
        {"DataSN 27", {{27, 0, 1024, true}}, phase},
        {"DataSN -1", {{0xFFFFFFFF, 0, 1024, true}}, phase},
        {"DataSN 1, 0", {{1, 512, 512, false}, {0, 0, 512, true}}, phase},
        {"a gap in the offsets", {{0, 0, 256, false}, {1, 512, 512, true}}, phase},
        {"an overlap", {{0, 0, 512, false}, {1, 0, 1024, true}}, phase},
        {"more than was asked for", {{0, 0, 1536, true}}, phase},
        {"an offset near 2^32", {{0, 0xFFFFFF00, 512, true}}, phase},
        {"less than was asked for", {{0, 0, 512, true}}, "Response 02 itt=1 sense=0B/0C/0D"},
    };
    for (bool solicited : {true, false}) {
      for (const Row& row : rows) {
        if (!solicited && row.answer != phase) continue;  // the rest of an unsolicited burst is asked for
        CAPTURE(row.what);
        CAPTURE(solicited);
        Host host(pairs("InitialR2T=No"));
        std::uint32_t itt = host.peer.send_command(write10(0, 2), solicited ? kWrite : kWriteMore, 1024);
        std::uint32_t ttt = solicited ? ttt_of(host.peer.answer()) : kUnsolicited;
        for (const Step& step : row.steps) {
          CHECK(host.peer.told().empty());
          host.peer.send_data_out(itt, ttt, step.data_sn, step.offset, pattern(step.length), step.final);
        }
        CHECK(host.peer.told() == Lines{row.answer});
        CHECK(host.stored(0, 1024) == ByteVector(1024));
        // The session lives.
        host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
        CHECK(host.peer.told() == Lines{"Response 00 itt=2"});
      }
    }
  }

  TEST_CASE("Unsolicited data that was not agreed on is refused with 0Bh/0Ch/0Ch") {
    const char* const unexpected = "Response 02 itt=1 U=512 sense=0B/0C/0C";
    Host no_immediate(pairs("ImmediateData=No"));
    no_immediate.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
    CHECK(no_immediate.peer.told() == Lines{unexpected});
    Host not_a_write;
    not_a_write.peer.send_command(read10(0, 1), 0xC0, 512, pattern(512));
    CHECK(not_a_write.peer.told() == Lines{unexpected});
    Host above_edtl;
    above_edtl.peer.send_command(write10(0, 2), kWrite, 512, pattern(1024));
    CHECK(above_edtl.peer.told() == Lines{unexpected});
    Host above_first_burst(pairs("FirstBurstLength=512"));
    above_first_burst.peer.send_command(write10(0, 2), kWrite, 1024, pattern(1024));
    CHECK(above_first_burst.peer.told() == Lines{"Response 02 itt=1 U=1024 sense=0B/0C/0C"});
    // InitialR2T=Yes: no unsolicited Data-Out. The answer waits for its end.
    Host initial_r2t;
    std::uint32_t itt = initial_r2t.peer.send_command(write10(0, 1), kWriteMore, 512);
    CHECK(initial_r2t.peer.told().empty());
    initial_r2t.peer.send_data_out(itt, kUnsolicited, 0, 0, pattern(512), true);
    CHECK(initial_r2t.peer.told() == Lines{unexpected});
    // Unsolicited data after an R2T: answered when the R2T's data has come, too.
    Host late;
    itt = late.peer.send_command(write10(0, 1), kWrite, 512);
    std::uint32_t ttt = ttt_of(late.peer.answer());
    late.peer.send_data_out(itt, kUnsolicited, 0, 0, pattern(512), true);
    CHECK(late.peer.told().empty());
    late.peer.send_data_out(itt, ttt, 0, 0, pattern(512), true);
    CHECK(late.peer.told() == Lines{"Response 02 itt=1 sense=0B/0C/0C"});
  }

  TEST_CASE("A command refused by its CDB is answered after its unsolicited data") {
    Host host(pairs("InitialR2T=No"));
    std::uint32_t itt = host.peer.send_command(write10(0x7FFFFFFF, 2), kWriteMore, 1024);
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(itt, kUnsolicited, 0, 0, pattern(512), false);
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(itt, kUnsolicited, 1, 512, pattern(512), true);
    Answer answer = host.peer.answer();
    CHECK(answer.line().find("sense=05/21/00") != std::string::npos);
  }

  TEST_CASE("Data-Out for no task, or for no R2T of it, changes nothing") {
    Host host;
    host.peer.send_data_out(77, 5, 0, 0, pattern(512), true);
    host.peer.send_data_out(77, kUnsolicited, 0, 0, pattern(20000), true);
    CHECK(host.peer.told().empty());
    std::uint32_t itt = host.peer.send_command(write10(0, 1), kWrite, 512);
    std::uint32_t ttt = ttt_of(host.peer.answer());
    host.peer.send_data_out(itt, ttt + 1, 0, 0, pattern(512, 1), true);
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(itt, ttt, 0, 0, pattern(512, 2), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.stored(0, 512) == pattern(512, 2));
  }

  TEST_CASE("A large Data-Out that answers no R2T does not lie over what has come") {
    Host host(pairs("MaxBurstLength=32768", "InitialR2T=Yes"));
    host.peer.chunk = 4096;
    ByteVector all = pattern(65536, 1);
    std::uint32_t itt = host.peer.send_command(write10(0, 128), kWrite, 65536);
    host.peer.send_data_out(itt, ttt_of(host.peer.answer()), 0, 0, part(all, 0, 32768), true);
    std::uint32_t ttt = ttt_of(host.peer.answer());
    host.peer.send_data_out(itt, ttt + 100, 0, 0, pattern(20000, 9), true);
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(itt, ttt, 0, 32768, part(all, 32768, 32768), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1"});
    CHECK(host.stored(0, 65536) == all);
  }

  TEST_CASE("A wrong data digest of Data-Out is rejected and ends its command with 0Bh/47h/05h") {
    Host host(pairs("DataDigest=CRC32C", "HeaderDigest=CRC32C"));
    std::uint32_t itt = host.peer.send_command(write10(0, 1), kWrite, 512);
    std::uint32_t ttt = ttt_of(host.peer.answer());
    host.peer.spoil_data_digest = true;
    host.peer.send_data_out(itt, ttt, 0, 0, pattern(512), true);
    host.peer.spoil_data_digest = false;
    CHECK(host.peer.told() == Lines{"Reject 02", "Response 02 itt=1 sense=0B/47/05"});
    // A command whose immediate data is bad was never received; its number is still to come.
    host.peer.spoil_data_digest = true;
    host.peer.send(host.peer.command(write10(0, 1), kWrite, 512), pattern(512));
    host.peer.spoil_data_digest = false;
    auto reject = host.peer.answer();
    CHECK(reject.line() == "Reject 02");
    CHECK(reject.as<iscsi::RejectBhs>().exp_cmd_sn == host.peer.cmd_sn);
    host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512));
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
  }

  TEST_CASE("A wrong header digest ends the connection") {
    Host host(pairs("HeaderDigest=CRC32C"));
    host.peer.spoil_header_digest = true;
    host.peer.send_command(test_unit_ready(), 0x80, 0);
    CHECK(host.peer.finished_flag);
    CHECK(!host.peer.flushed);
    CHECK(host.array.sessions.size() == 0);
  }

  TEST_CASE("Writes wait for room when a session gathers enough already") {
    iscsi::Limits limits;
    limits.max_session_data_out = 3000;
    Host host(pairs("ImmediateData=No"), limits);
    ByteVector all = pattern(2048);
    std::uint32_t first = host.peer.send_command(write10(0, 4), kWrite, 2048);
    Answer r2t = host.peer.answer();
    std::uint32_t second = host.peer.send_command(write10(8, 4), kWrite, 2048);
    std::uint32_t third = host.peer.send_command(write10(16, 1), kWrite, 512);
    // The third would fit, but it is not to overtake for ever: only the second waits.
    auto early = host.peer.answers();
    REQUIRE(early.size() == 1);
    CHECK(early[0].line() == "R2T itt=3 sn=0 offset=0 len=512");
    host.peer.send_data_out(third, ttt_of(early[0]), 0, 0, pattern(512), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
    host.peer.send_data_out(first, ttt_of(r2t), 0, 0, all, true);
    auto after = host.peer.answers();
    CHECK(lines(after) == Lines{"Response 00 itt=1", "R2T itt=2 sn=0 offset=0 len=2048"});
    host.peer.send_data_out(second, ttt_of(after[1]), 0, 0, all, true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=2"});
  }

  TEST_CASE("A write longer than what a session gathers is served when no other is gathered") {
    constexpr std::uint16_t kBlocks = 64;  // longer than the smallest buffer, so that one has to grow
    constexpr std::uint32_t kLong = kBlocks * 512;
    iscsi::Limits limits;
    limits.max_session_data_out = 3000;
    Host host(pairs("InitialR2T=No", "FirstBurstLength=1024"), limits);
    ByteVector all = pattern(kLong, 3);
    std::uint32_t first = host.peer.send_command(write10(0, 5), kWrite, 2560);
    Answer r2t = host.peer.answer();
    // Both bring unsolicited data that has to be taken, and neither gets room for the rest.
    std::uint32_t second = host.peer.send_command(write10(8, kBlocks), kWriteMore, kLong, part(all, 0, 512));
    host.peer.send_data_out(second, kUnsolicited, 0, 512, part(all, 512, 512), true);
    std::uint32_t third = host.peer.send_command(write10(100, kBlocks), kWrite, kLong, part(all, 0, 1024));
    CHECK(host.peer.told().empty());
    host.peer.send_data_out(first, ttt_of(r2t), 0, 0, pattern(2560), true);
    auto after = host.peer.answers();
    REQUIRE(lines(after) == Lines{"Response 00 itt=1", "R2T itt=2 sn=0 offset=1024 len=31744"});
    host.peer.send_data_out(second, ttt_of(after[1]), 0, 1024, part(all, 1024, kLong - 1024), true);
    after = host.peer.answers();
    REQUIRE(lines(after) == Lines{"Response 00 itt=2", "R2T itt=3 sn=0 offset=1024 len=31744"});
    host.peer.send_data_out(third, ttt_of(after[1]), 0, 1024, part(all, 1024, kLong - 1024), true);
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
    CHECK(host.stored(0, 2560) == pattern(2560));
    CHECK(host.stored(8 * 512, kLong) == all);
    CHECK(host.stored(100 * 512, kLong) == all);
  }

  TEST_CASE("An aborted write makes room for the next") {
    iscsi::Limits limits;
    limits.max_session_data_out = 2048;
    Host host(pairs("ImmediateData=No"), limits);
    std::uint32_t first = host.peer.send_command(write10(0, 4), kWrite, 2048);
    CHECK(host.peer.answers().size() == 1);
    host.peer.send_command(write10(8, 4), kWrite, 2048);
    CHECK(host.peer.told().empty());
    host.peer.send(host.peer.task_management(1, 0, first));
    CHECK(host.peer.told() == Lines{"R2T itt=2 sn=0 offset=0 len=2048", "TaskManagementResponse 0 itt=3"});
  }
}
