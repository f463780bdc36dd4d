// SCSI commands over a session: data-in, status, residuals, the command window, limits.
//
// Not tested, and why: what commands do (test/scsi); gathering data-out (data_out_test.cc); sockets (test/target).
#include <doctest/doctest.h>

#include <map>

#include "scsi/reservations.h"
#include "target/iscsi/command.h"
#include "target/iscsi/command_window.h"
#include "test/iscsi/conversation.h"

using namespace test;
using iscsi::CmdSn;
using iscsi::CommandWindow;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;   // F, R
constexpr std::uint8_t kWrite = 0xA0;  // F, W
constexpr std::uint8_t kNone = 0x80;   // F

struct Host {
  explicit Host(DeviceOptions options = {}, const ByteVector& keys = {}) : array(options), peer(array) {
    peer.login(keys);
    peer.clear_attentions();
    peer.task_tag = 0;
  }
  Array array;
  Peer peer;
};

/// Its stores wait until told to go on.
struct SlowHost : Host {
  SlowHost() : Host(blocking()) {}
  static DeviceOptions blocking() {
    DeviceOptions options;
    options.blocking = true;
    return options;
  }
};

}  // namespace

TEST_SUITE("iscsi commands") {
  TEST_CASE("A READ is answered by Data-In whose last PDU carries GOOD") {
    Host host;
    host.array.device.stores[0]->bytes() = pattern(1 << 20);
    host.peer.send_command(read10(1, 2), kRead, 1024);
    auto answers = host.peer.answers();
    CHECK(lines(answers) == Lines{"DataIn F S itt=1 sn=0 offset=0 len=1024"});
    ByteVector all = pattern(1 << 20);
    CHECK(answers[0].data == ByteVector(all.begin() + 512, all.begin() + 1536));
  }

  TEST_CASE("Data-In is cut to the initiator's segments and MaxBurstLength, with offsets in every PDU") {
    Host host({}, pairs("MaxRecvDataSegmentLength=1024", "MaxBurstLength=2560"));
    host.array.device.stores[0]->bytes() = pattern(1 << 20);
    host.peer.send_command(read10(0, 8), kRead, 4096);
    auto answers = host.peer.answers();
    CHECK(lines(answers) == Lines{"DataIn itt=1 sn=0 offset=0 len=1024", "DataIn itt=1 sn=1 offset=1024 len=1024",
                                  "DataIn F itt=1 sn=2 offset=2048 len=512", "DataIn itt=1 sn=3 offset=2560 len=1024",
                                  "DataIn F S itt=1 sn=4 offset=3584 len=512"});
    ByteVector joined;
    for (const Answer& each : answers) joined.insert(joined.end(), each.data.begin(), each.data.end());
    ByteVector all = pattern(1 << 20);
    CHECK(joined == ByteVector(all.begin(), all.begin() + 4096));
  }

  TEST_CASE("Sense data goes with GOOD where a command has some: EXTENDED COPY(LID4) with G_SENSE") {
    Host host;
    ByteVector list(48);
    list[0] = 0x01;
    list[3] = 0x20;
    list[15] = 0x02;
    list[16] = 0xFF;
    host.peer.send_command({0x83, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0}, kWrite, 48, list);
    CHECK(host.peer.told() == Lines{"Response 00 itt=1 sense=0F/00/20"});
    list[15] = 0;
    host.peer.send_command({0x83, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0}, kWrite, 48, list);
    CHECK(host.peer.told() == Lines{"Response 00 itt=2"});
  }

  TEST_CASE("Residuals compare what was expected with what the command moves") {
    struct Row {
      const char* what;
      ByteVector cdb;
      std::uint8_t flags;
      std::uint32_t expected;
      Lines answer;
    };
    const Row rows[] = {
        {"READ, expected too much", read10(0, 1), kRead, 10000, {"DataIn F S itt=1 sn=0 offset=0 len=512 U=9488"}},
        {"READ, expected too little", read10(0, 2), kRead, 512, {"DataIn F S itt=1 sn=0 offset=0 len=512 O=512"}},
        {"READ, expected nothing", read10(0, 1), kRead, 0, {"Response 00 itt=1 O=512"}},
        {"READ without R", read10(0, 1), kNone, 0, {"Response 00 itt=1 O=512"}},
        {"READ without R, some expected", read10(0, 1), kNone, 512, {"Response 00 itt=1 U=512"}},
        {"WRITE as a read", write10(0, 1), kRead, 512, {"Response 00 itt=1 U=512"}},
        {"INQUIRY shorter than asked", inquiry(255), kRead, 255, {"*U"}},
        {"no data at all", test_unit_ready(), kNone, 0, {"Response 00 itt=1"}},
        {"no data, some expected", test_unit_ready(), kRead, 512, {"Response 00 itt=1 U=512"}},
        {"a failed READ", read10(0x7FFFFFFF, 1), kRead, 512, {"Response 02 itt=1 U=512 sense=05/21/00"}},
    };
    for (const Row& row : rows) {
      CAPTURE(row.what);
      Host host;
      host.peer.send_command(row.cdb, row.flags, row.expected);
      auto answers = host.peer.answers();
      if (row.answer.front() == "*U") {
        CHECK(answers.front().line().find(" U=") != std::string::npos);
      } else {
        CHECK(lines(answers) == row.answer);
      }
    }
  }

  TEST_CASE("A READ of more than the host takes reads no more than that, in whole blocks") {
    struct Row {
      const char* what;
      std::uint8_t flags;
      std::uint32_t expected;
      std::uint64_t read;
      Lines answer;
    };
    const Row rows[] = {
        {"nothing", kRead, 0, 0, {"Response 00 itt=1 O=1048576"}},
        {"less than a block", kRead, 1, 512, {"DataIn F S itt=1 sn=0 offset=0 len=1 O=1048575"}},
        {"a block", kRead, 512, 512, {"DataIn F S itt=1 sn=0 offset=0 len=512 O=1048064"}},
        {"part of a block more", kRead, 513, 1024, {"DataIn F S itt=1 sn=0 offset=0 len=513 O=1048063"}},
        {"without R", kNone, 0, 0, {"Response 00 itt=1 O=1048576"}},
        {"without R, all expected", kNone, 1 << 20, 0, {"Response 00 itt=1 U=1048576"}},
    };
    for (const Row& row : rows) {
      CAPTURE(row.what);
      Host host;
      host.peer.send_command(read10(0, 2048), row.flags, row.expected);
      CHECK(host.peer.told() == row.answer);
      CHECK(host.array.device.stores[0]->bytes_read == row.read);
    }
  }

  TEST_CASE("What a READ leaves unread is no residual once it fails") {
    Host host;
    host.array.device.stores[0]->read_error = handlers::IoError{};
    host.peer.send_command(read10(0, 2048), kRead, 512);
    CHECK(host.peer.answer().line().starts_with("Response 02 itt=1 U=512"));
  }

  TEST_CASE("WRITE residuals: expected too much and too little") {
    Host host;
    // 10000 bytes expected for one block: 512 are used, whatever comes.
    host.peer.send_command(write10(0, 1), kWrite, 10000, pattern(10000));
    CHECK(host.peer.told() == Lines{"Response 00 itt=1 U=9488"});
    auto& bytes = host.array.device.stores[0]->bytes();
    CHECK(ByteVector(bytes.begin(), bytes.begin() + 512) == pattern(512));
    CHECK(bytes[512] == 0);
    // One block of two.
    host.peer.send_command(write10(8, 2), kWrite, 512, pattern(512, 3));
    CHECK(host.peer.answer().line().find("O=512") != std::string::npos);
    // A READ that is announced as a write takes nothing of what comes.
    host.peer.send_command(read10(0, 1), kWrite, 512, pattern(512));
    CHECK(host.peer.answer().line().find("U=512") != std::string::npos);
    // None of one.
    host.peer.send_command(write10(8, 1), kNone, 0);
    CHECK(host.peer.answer().line().find("O=512") != std::string::npos);
  }

  TEST_CASE("Sense data has its length in front, and its status is never collapsed") {
    Host host;
    host.peer.send_command({0xFF}, kRead, 96);
    Answer answer = host.peer.answer();
    CHECK(answer.line() == "Response 02 itt=1 U=96 sense=05/20/00");
    CHECK(answer.data.size() == 20);
    CHECK(answer.data[1] == 18);
  }

  TEST_CASE("RESERVATION CONFLICT is sent without sense data, for reads and for writes whose data came along") {
    Host host;
    scsi::Reservations& reservations = host.array.device.lu().reservations();
    scsi::ITNexus other{"iqn.2025-01.example:other", {}, std::string(kTarget), 1};
    REQUIRE(reservations.register_key({other}, 0, 1));
    REQUIRE(reservations.reserve(other, 1, scsi::ReservationType::exclusive_access));
    host.peer.send_command(read10(0, 1), kRead, 512);
    CHECK(host.peer.told() == Lines{"Response 18 itt=1 U=512"});
    host.peer.send_command(write10(0, 1), kWrite, 512, pattern(512, 3));
    CHECK(host.peer.told() == Lines{"Response 18 itt=2 U=512"});
    CHECK(host.array.device.stores[0]->bytes()[0] == 0);
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 00 itt=3"});
  }

  TEST_CASE("Every PDU carries ExpCmdSN and a MaxCmdSN that never goes back") {
    DeviceOptions options;
    options.blocking = true;
    Array array(options);
    array.directory.limits.command_window = 4;
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    std::uint32_t first = peer.cmd_sn;
    std::uint32_t most = first + 3;
    for (int i = 0; i < 4; ++i) peer.send_command(read10(0, 1), kRead, 512);
    CHECK(array.device.executor.held() == 4);
    // The window is closed: the next command is ignored, and its number not used up.
    peer.send(peer.command(read10(0, 1), kRead, 512));
    CHECK(array.device.executor.held() == 4);
    CHECK(peer.told().empty());
    for (int i = 0; i < 4; ++i) {
      array.device.executor.run();
      auto bhs = peer.answer().as<iscsi::DataInBhs>();
      CHECK(bhs.exp_cmd_sn == first + 4);
      CHECK(bhs.max_cmd_sn == ++most);
    }
    peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(peer.answer().as<iscsi::ScsiResponseBhs>().status == 0);
  }

  TEST_CASE("Reads beyond max_session_data_in are TASK SET FULL until those under way are over") {
    SlowHost host;
    Array& array = host.array;
    Peer& peer = host.peer;
    array.directory.limits.max_session_data_in = 1024;
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 2; ++i) peer.send_command(read10(0, 1), kRead, 512);
      peer.send_command(read10(0, 1), kRead, 512);
      CHECK(peer.answer().as<iscsi::ScsiResponseBhs>().status ==
            static_cast<std::uint8_t>(scsi::Status::task_set_full));
      CHECK(array.device.executor.held() == 2);
      // One is read, the other aborted: both make room.
      if (round == 1) peer.send(peer.task_management(1, 0, peer.task_tag - 1));
      array.device.executor.run_all();
      peer.answers();
    }
    peer.send_command(read10(0, 2), kRead, 1024);
    array.device.executor.run_all();
    CHECK(peer.answer().bhs.code() == iscsi::Opcode::data_in);
  }

  TEST_CASE("A READ that waits for its turn counts what the host takes, not what it asks for") {
    constexpr std::uint8_t kOrderedRead = kRead | static_cast<std::uint8_t>(scsi::TaskAttribute::ordered);
    SlowHost host;
    Array& array = host.array;
    Peer& peer = host.peer;
    array.directory.limits.max_session_data_in = 2048;
    peer.send_command(read10(0, 1), kOrderedRead, 512);
    for (int i = 0; i < 3; ++i) peer.send_command(read10(0, 2048), kRead, 512);
    CHECK(peer.told().empty());
    peer.send_command(read10(0, 1), kRead, 512);
    CHECK(peer.answer().as<iscsi::ScsiResponseBhs>().status == static_cast<std::uint8_t>(scsi::Status::task_set_full));
    array.device.executor.run_all();
    CHECK(peer.answers().size() == 4);
  }

  TEST_CASE("A CmdSN outside the window is ignored without an answer") {
    Host host;
    std::uint32_t right = host.peer.cmd_sn;
    for (std::uint32_t wrong : {right - 1, right + 128, right + 0x80000000}) {
      host.peer.cmd_sn = wrong;
      host.peer.send_command(test_unit_ready(), kNone, 0);
      CHECK(host.peer.told().empty());
    }
    host.peer.cmd_sn = right;
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.told() == Lines{"Response 00 itt=4"});
  }

  TEST_CASE("Commands ahead of their turn are served in order") {
    Host host({}, pairs("InitialR2T=No"));
    std::uint32_t base = host.peer.cmd_sn;
    auto at = [&](std::uint32_t offset) { host.peer.cmd_sn = base + offset; };
    at(2);
    host.peer.send_command(read10(0, 2), kRead, 1024);  // itt 1: must see the write's data
    at(1);
    host.peer.send_command(write10(0, 2), 0x20, 1024, pattern(512));  // itt 2, unsolicited data to come
    ByteVector all = pattern(1024);
    host.peer.send_data_out(2, iscsi::kReservedTag, 0, 512, ByteVector(all.begin() + 512, all.end()), true);
    CHECK(host.peer.told().empty());
    at(0);
    host.peer.send_command(test_unit_ready(), kNone, 0);  // itt 3
    auto answers = host.peer.answers();
    CHECK(lines(answers) == Lines{"Response 00 itt=3", "Response 00 itt=2", "DataIn F S itt=1 sn=0 offset=0 len=1024"});
    CHECK(answers.back().data == all);
  }

  TEST_CASE("What is held for commands before their turn is limited") {
    Array array;
    array.directory.limits.max_session_data_out = 20000;
    Peer peer(array);
    peer.login(pairs("InitialR2T=No"));
    peer.clear_attentions();
    ++peer.cmd_sn;
    peer.send_command(write10(0, 2), 0x20, 1024, pattern(512));
    int sent = 0;
    for (; sent < 1000 && !peer.finished_flag; ++sent)
      peer.send_data_out(peer.task_tag, iscsi::kReservedTag, 0, 0, {}, false);
    CHECK(peer.finished_flag);
    CHECK(sent > 50);
    CHECK(array.sessions.size() == 0);
  }

  TEST_CASE("The window holds across 2^31 and 2^32") {
    for (std::uint32_t first : {0x7FFFFFFDu, 0xFFFFFFFDu, 0x80000000u, 0xFFFFFFFFu}) {
      Array array;
      Peer peer(array);
      peer.cmd_sn = first;
      peer.login();
      for (int i = 0; i < 8; ++i) {
        peer.send_command(test_unit_ready(), kNone, 0);
        auto bhs = peer.answer().as<iscsi::ScsiResponseBhs>();
        CHECK(bhs.exp_cmd_sn == peer.cmd_sn);
        CHECK(bhs.max_cmd_sn == peer.cmd_sn + 127);
      }
    }
    CommandWindow window(CmdSn(0xFFFFFFFF), 2);
    CHECK(window.place(CmdSn(0xFFFFFFFF)) == CommandWindow::Place::expected);
    CHECK(window.place(CmdSn(0)) == CommandWindow::Place::ahead);
    CHECK(window.place(CmdSn(1)) == CommandWindow::Place::outside);
    CHECK(window.place(CmdSn(0xFFFFFFFE)) == CommandWindow::Place::outside);
    window.advance();
    window.advance();
    CHECK(window.expected() == CmdSn(1));
    CHECK(window.max() == CmdSn(0));
    CHECK(window.place(CmdSn(1)) == CommandWindow::Place::outside);
    window.done();
    CHECK(window.place(CmdSn(1)) == CommandWindow::Place::expected);
  }

  TEST_CASE("Immediate commands bypass the window, up to a limit of their own") {
    DeviceOptions options;
    options.blocking = true;
    Array array(options);
    array.directory.limits.command_window = 1;
    array.directory.limits.immediate_commands = 2;
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    auto immediate = [&] {
      auto bhs = peer.command(read10(0, 1), kRead, 512);
      bhs.opcode |= iscsi::kImmediate;
      peer.send(bhs);
    };
    std::uint32_t before = peer.cmd_sn;
    peer.send_command(read10(0, 1), kRead, 512);
    immediate();
    immediate();
    CHECK(array.device.executor.held() == 3);
    immediate();
    auto bhs = peer.answer();
    CHECK(bhs.line() == "Reject 06");
    CHECK(bhs.data.size() == 48);
    CHECK(bhs.as<iscsi::RejectBhs>().exp_cmd_sn == before + 1);
    array.device.executor.run_all();
    CHECK(peer.answers().size() == 3);
    immediate();
    array.device.executor.run_all();
    CHECK(peer.answers().size() == 1);
  }

  TEST_CASE("A task tag in use is not taken again") {
    DeviceOptions options;
    options.blocking = true;
    Host host(options);
    host.peer.send_command(read10(0, 1), kRead, 512);
    auto again = host.peer.command(read10(0, 1), kRead, 512);
    again.initiator_task_tag = 1;
    host.peer.send(again);
    CHECK(host.peer.told() == Lines{"Reject 07"});
    host.array.device.executor.run_all();
    CHECK(host.peer.told() == Lines{"DataIn F S itt=1 sn=0 offset=0 len=512"});
    auto reserved = host.peer.command(read10(0, 1), kRead, 512);
    reserved.initiator_task_tag = iscsi::kReservedTag;
    host.peer.send(reserved);
    CHECK(host.peer.told() == Lines{"Reject 09"});
  }

  TEST_CASE("What no logical unit can serve is refused before it is looked for") {
    Host host;
    auto far_lun = host.peer.command(test_unit_ready(), kNone, 0);
    far_lun.lun = {0xC1, 0x01, 0, 0, 0, 0, 0, 0};
    host.peer.send(far_lun);
    ++host.peer.cmd_sn;
    CHECK(host.peer.told() == Lines{"Response 02 itt=1 sense=05/25/00"});
    host.peer.send_command(test_unit_ready(), kNone, 0, {}, 7);
    CHECK(host.peer.told() == Lines{"Response 02 itt=2 sense=05/25/00"});
    host.peer.send_command(read10(0, 1), 0xE0, 512);  // both directions
    CHECK(host.peer.told() == Lines{"Response 02 itt=3 U=512 sense=05/20/00"});
    // An additional header segment: an extended CDB.
    auto extended = host.peer.command({0x7F}, kNone, 0);
    extended.total_ahs_length = 2;
    ByteVector bytes = host.peer.encode(iscsi::header_as<iscsi::Bhs>(extended), {});
    bytes.insert(bytes.end(), {0, 5, 1, 0, 1, 2, 3, 4});
    host.peer.feed(bytes);
    CHECK(host.peer.told() == Lines{"Response 02 itt=4 sense=05/20/00"});
  }

  TEST_CASE("A peer that takes no answers gets no new ones until it does") {
    Host host;
    for (int i = 0; i < 2000; ++i) {
      auto command = host.peer.command(read10(0, 128), kRead, 65536);
      if (host.peer.connection().receive_buffer().empty()) break;
      host.peer.send(command);
      ++host.peer.cmd_sn;
    }
    CHECK(host.peer.connection().receive_buffer().empty());
    CHECK(host.peer.connection().output_size() < 20 << 20);
    CHECK(host.peer.output_announced > 0);
    std::size_t count = host.peer.answers().size();
    CHECK(count > 100);
    CHECK(!host.peer.connection().receive_buffer().empty());
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.answers().size() == 1);
  }

  TEST_CASE("Output is announced once, and again after it was drained") {
    Host host;
    unsigned before = host.peer.output_announced;
    ByteVector two = host.peer.encode(iscsi::header_as<iscsi::Bhs>(host.peer.command(test_unit_ready(), kNone, 0)), {});
    ++host.peer.cmd_sn;
    ByteVector second =
        host.peer.encode(iscsi::header_as<iscsi::Bhs>(host.peer.command(test_unit_ready(), kNone, 0)), {});
    ++host.peer.cmd_sn;
    two.insert(two.end(), second.begin(), second.end());
    host.peer.feed(two);
    CHECK(host.peer.output_announced == before + 1);
    CHECK(host.peer.answers().size() == 2);
    host.peer.send_command(test_unit_ready(), kNone, 0);
    CHECK(host.peer.output_announced == before + 2);
    host.peer.answers();
  }

  TEST_CASE("Commands are found by any task tags, taken and released in any order") {
    constexpr std::uint64_t kSeed = 99;
    MESSAGE("seed ", kSeed);
    base::SeededEntropy entropy(kSeed);
    iscsi::CommandSet set(4);
    std::map<std::uint32_t, iscsi::Command*> model;
    for (int i = 0; i < 20000; ++i) {
      auto tag = static_cast<std::uint32_t>(entropy.u64() % 64 * (i % 2 ? 1 : 65536));
      auto found = model.find(tag);
      REQUIRE(set.find(tag) == (found == model.end() ? nullptr : found->second));
      if (found == model.end()) {
        model[tag] = &set.take(tag);
      } else {
        set.release(*found->second);
        model.erase(found);
      }
      REQUIRE(set.size() == model.size());
    }
    std::size_t seen = 0;
    set.for_each([&](iscsi::Command& command) { seen += model.at(command.tag) == &command; });
    CHECK(seen == model.size());
  }
}
