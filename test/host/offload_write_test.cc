// Not tested, and why: several offload writes at once (the class driver has one command outstanding per request;
// parallel requests are parallel ClassDrivers).
#include <doctest/doctest.h>

#include "test/host/scripted_target.h"

using namespace host;
using namespace std::chrono_literals;
using test::check;
using test::GiB;
using test::good;
using test::hex;
using test::MiB;

namespace {

Token some_token() {
  Token token;
  for (std::size_t i = 0; i < token.size(); ++i) token[i] = static_cast<std::uint8_t>(i);
  return token;
}

OffloadWriteResult write(test::Host& host, std::vector<DataSetRange> ranges, std::uint64_t token_offset = 0) {
  return host.driver.offload_write(some_token(), token_offset, ranges);
}

WriteUsingTokenHeader header_of(const initiator::Command& command) {
  return base::load<WriteUsingTokenHeader>(command.data_out);
}
RangeDescriptor descriptor_of(const initiator::Command& command, std::size_t index = 0) {
  return base::load<RangeDescriptor>(base::Bytes(command.data_out).subspan(536 + 16 * index));
}

test::Octets write_information(std::uint64_t count, std::uint8_t copy_status, test::Octets sense = {}) {
  test::TokenInformation information;
  information.action = 0x11;
  information.copy_status = copy_status;
  information.count = count;
  information.sense = std::move(sense);
  information.descriptors_length = 0;
  return information.bytes();
}

bool is_rrti(const initiator::Command& command) { return command.cdb[0] == 0x84; }

}  // namespace

TEST_CASE("offload write of 256 MiB at 1 GiB with OPTIMAL TRANSFER COUNT 0: the observed four commands") {
  test::Host host;
  host.start();
  OffloadWriteResult result = write(host, {{GiB, 256 * MiB}}, 2 * MiB);
  REQUIRE(host.target.sent.size() == 4);
  for (std::uint64_t i = 0; i < 4; ++i) {
    const initiator::Command& command = host.target.sent[i];
    test::Octets cdb = hex("83 11 00 00 00 00 00 00 00 00 00 00 02 28 00 00");
    cdb[9] = static_cast<std::uint8_t>(i);
    CHECK(command.cdb == cdb);
    CHECK(command.data_out.size() == 0x228);
    CHECK(header_of(command).data_length == 0x226);
    CHECK(header_of(command).flags == 0);
    CHECK(header_of(command).offset_into_rod == 0x1000 + i * 0x20000);
    CHECK(header_of(command).token == some_token());
    CHECK(header_of(command).range_descriptors_length == 16);
    CHECK(descriptor_of(command).lba == 0x200000 + i * 0x20000);
    CHECK(descriptor_of(command).blocks == 0x20000u);
    CHECK(descriptor_of(command).reserved == 0u);
  }
  CHECK(result.status == NtStatus::success);
  CHECK(result.length_copied == 256 * MiB);
  CHECK_FALSE(result.range_truncated);
}

TEST_CASE("the whole parameter list of a zero-token write, byte for byte") {
  test::Host host;
  host.start();
  for (int i = 0; i < 0x2B; ++i) host.list_identifiers.next();
  const DataSetRange range{0x10000 * 512, 0x800 * 512};
  CHECK(host.driver.offload_write(zero_token(), 0, std::span(&range, 1)).length_copied == MiB);
  CHECK(host.target.sent[0].cdb == hex("83 11 00 00 00 00 00 00 00 2B 00 00 02 28 00 00"));
  test::Octets list = hex("02 26 00 00 00 00 00 00 | 00 00 00 00 00 00 00 00 | FF FF 00 01 00 00 01 F8");
  list.resize(list.size() + 504 + 6);
  for (std::uint8_t byte : hex("00 10 | 00 00 00 00 00 01 00 00 00 00 08 00 00 00 00 00")) list.push_back(byte);
  CHECK(host.target.sent[0].data_out == list);
}

TEST_CASE("offload write to 4096-byte blocks counts the token offset in those blocks: the observed values") {
  test::Host host;
  host.target.block_length = 4096;
  host.start();
  CHECK(write(host, {{GiB, 128 * MiB}}, 2 * MiB).length_copied == 128 * MiB);
  REQUIRE(host.target.sent.size() == 2);
  CHECK(header_of(host.target.sent[0]).offset_into_rod == 0x200u);
  CHECK(header_of(host.target.sent[1]).offset_into_rod == 0x4200u);
  CHECK(descriptor_of(host.target.sent[0]).lba == 0x40000u);
  CHECK(descriptor_of(host.target.sent[1]).lba == 0x44000u);
  CHECK(descriptor_of(host.target.sent[1]).blocks == 0x4000u);
}

TEST_CASE("the step of one WRITE USING TOKEN follows OPTIMAL TRANSFER COUNT and MAXIMUM TOKEN TRANSFER SIZE") {
  struct Row {
    std::uint64_t optimal, maximum;
    std::size_t commands;
  };
  for (const Row& row :
       {Row{0, 0, 4}, Row{256 * MiB / 512, 0, 1}, Row{512 * MiB / 512, 0, 1}, Row{0, 16 * MiB / 512, 16},
        Row{128 * MiB / 512, 0, 2}, Row{128 * MiB / 512, 64 * MiB / 512, 4}}) {
    CAPTURE(row.optimal);
    CAPTURE(row.maximum);
    test::Host host;
    host.target.limits = {64, 600, 60, row.maximum, row.optimal};
    host.start();
    CHECK(write(host, {{GiB, 256 * MiB}}).length_copied == 256 * MiB);
    CHECK(host.target.sent.size() == row.commands);
  }
}

TEST_CASE("more than 256 MiB is never written by one command, and 64 descriptors are the most") {
  test::Host host;
  host.target.limits = {0, 600, 60, 0, GiB / 512};
  host.start();
  write(host, {{0, GiB}});
  CHECK(host.target.sent.size() == 4);
  host.target.sent.clear();
  std::vector<DataSetRange> ranges;
  for (std::uint64_t i = 0; i < 100; ++i) ranges.push_back({i * MiB, 4096});
  CHECK(write(host, ranges).length_copied == 100 * 4096);
  REQUIRE(host.target.sent.size() == 2);
  CHECK(host.target.sent[0].data_out.size() == 536 + 64 * 16);
  CHECK(host.target.sent[1].data_out.size() == 536 + 36 * 16);
  CHECK(header_of(host.target.sent[1]).offset_into_rod == 64 * 8u);
}

TEST_CASE("a write that stopped early and says how far goes on from there without RRTI") {
  test::Host host;
  host.start();
  std::uint8_t key = 0;
  SUBCASE("COPY ABORTED") { key = 0xA; }
  SUBCASE("ABORTED COMMAND") { key = 0xB; }
  host.target.reply(check(key, 0x0D, 4, 0x300));
  OffloadWriteResult result = write(host, {{GiB, MiB}});
  CHECK(result.status == NtStatus::success);
  CHECK(result.length_copied == MiB);
  CHECK_FALSE(result.range_truncated);
  REQUIRE(host.target.sent.size() == 2);
  CHECK(header_of(host.target.sent[1]).offset_into_rod == 0x300u);
  CHECK(descriptor_of(host.target.sent[1]).lba == 0x200300u);
  CHECK(descriptor_of(host.target.sent[1]).blocks == 0x500u);
  CHECK(host.target.sent[1].cdb[9] == 1);
}

TEST_CASE("a write that resumes inside its second range cuts the descriptors anew") {
  test::Host host;
  host.start();
  host.target.reply(check(0xA, 0x0D, 4, 12));
  CHECK(write(host, {{0, 4096}, {MiB, 8192}}).length_copied == 12288);
  CHECK(host.target.sent[1].data_out.size() == 552);
  CHECK(descriptor_of(host.target.sent[1]).lba == 2048u + 4);
  CHECK(descriptor_of(host.target.sent[1]).blocks == 12u);
}

TEST_CASE("truncation without INFORMATION, or with it in a descriptor, asks RRTI") {
  test::Host host;
  host.start();
  SUBCASE("INFORMATION 0") { host.target.reply(check(0xA, 0x0D, 4, 0)); }
  SUBCASE("descriptor format") {
    host.target.reply(check(hex("72 0A 0D 04 00 00 00 0C 00 0A 80 00 00 00 00 00 00 00 03 00")));
  }
  SUBCASE("RECOVERED ERROR") { host.target.reply(check(1, 0x17, 1, 0x300)); }
  host.target.reply(good(write_information(0x300, 0x03)));
  OffloadWriteResult result = write(host, {{GiB, MiB}});
  CHECK(result.length_copied == MiB);
  REQUIRE(host.target.sent.size() == 3);
  CHECK(is_rrti(host.target.sent[1]));
  CHECK(host.target.sent[1].cdb[5] == 0);
  CHECK(header_of(host.target.sent[2]).offset_into_rod == 0x300u);
  CHECK(descriptor_of(host.target.sent[2]).lba == 0x200300u);
}

TEST_CASE("INFORMATION above what was asked is refused where Windows would run off its list") {
  test::Host host;
  host.start();
  host.target.reply(check(0xA, 0x0D, 4, 0x801));
  OffloadWriteResult result = write(host, {{GiB, MiB}});
  CHECK(result.status == NtStatus::unsuccessful);
  CHECK(result.length_copied == 0);
}

TEST_CASE("every invalid-token qualifier fails at once, flagged, without RRTI") {
  for (std::uint8_t qualifier = 0; qualifier <= 0x0A; ++qualifier) {
    test::Host host;
    host.start();
    host.target.reply(check(5, 0x23, qualifier));
    OffloadWriteResult result = write(host, {{GiB, MiB}});
    CHECK(result.status == NtStatus::invalid_token);
    CHECK(result.token_invalid);
    CHECK(result.length_copied == 0);
    CHECK(host.target.sent.size() == 1);
  }
}

TEST_CASE("any other failure asks RRTI, and RRTI decides") {
  struct Row {
    const char* what;
    initiator::Result answer;
    NtStatus status;
    bool token_invalid = false;
  };
  for (const Row& row : {
           Row{"sense echoed", good(write_information(0, 0x02, test::fixed_sense(5, 8, 4))),
               NtStatus::device_unreachable},
           Row{"no sense", good(write_information(0, 0x02)), NtStatus::unsuccessful},
           Row{"terminated", good(write_information(0, 0x60)), NtStatus::unsuccessful},
           Row{"in progress", good(write_information(0, 0x11)), NtStatus::unsuccessful},
           Row{"count with status 02h", good(write_information(5, 0x02)), NtStatus::unsuccessful},
           Row{"unknown list identifier", check(5, 0x24, 0), NtStatus::invalid_initiator_target_path},
           Row{"token invalid inside", good(write_information(0, 0x02, test::fixed_sense(5, 0x23, 7))),
               NtStatus::invalid_token, true},
           Row{"RRTI itself refused with 23h", check(5, 0x23, 4), NtStatus::invalid_token, false},
           Row{"count above the request", good(write_information(0x801, 0x03)), NtStatus::unsuccessful},
           Row{"sense that says success", good(write_information(0, 0x03, test::fixed_sense(0xA, 0x0D, 4))),
               NtStatus::unsuccessful},
           Row{"RRTI refused with a length error", check(5, 0x1A, 0), NtStatus::unsuccessful},
       }) {
    CAPTURE(row.what);
    test::Host host;
    host.start();
    host.target.reply(check(5, 8, 4));
    host.target.reply(row.answer);
    OffloadWriteResult result = write(host, {{GiB, MiB}});
    CHECK(result.status == row.status);
    CHECK(result.token_invalid == row.token_invalid);
    CHECK(result.length_copied == 0);
    CHECK_FALSE(result.range_truncated);
    CHECK_FALSE(result.reason.empty());
    REQUIRE(host.target.sent.size() == 2);
    CHECK(is_rrti(host.target.sent[1]));
  }
}

TEST_CASE("a failed write whose RRTI has a count goes on with the remaining blocks") {
  for (std::uint8_t copy_status : {0x01, 0x03}) {
    test::Host host;
    host.start();
    host.target.reply(check(0xB, 0x44, 0));
    host.target.reply(check(0xB, 0x44, 0));
    host.target.reply(check(0xB, 0x44, 0));
    host.target.reply(good(write_information(0x300, copy_status, test::fixed_sense(0xA, 0x0D, 4, 0x300))));
    OffloadWriteResult result = write(host, {{GiB, MiB}});
    CHECK(result.status == NtStatus::success);
    CHECK(result.length_copied == MiB);
    REQUIRE(host.target.sent.size() == 5);
    CHECK(descriptor_of(host.target.sent[4]).lba == 0x200300u);
  }
}

TEST_CASE("the RRTI allocation after WRITE USING TOKEN follows MAXIMUM RANGE DESCRIPTORS: the observed values") {
  struct Row {
    std::uint16_t maximum;
    std::uint32_t allocation;
  };
  for (const Row& row : {Row{8, 0x0298}, Row{64, 0x0618}, Row{0, 0xFFFF}, Row{1, 0x0228}}) {
    CAPTURE(row.maximum);
    test::Host host;
    host.target.limits.maximum_range_descriptors = row.maximum;
    host.start();
    host.target.reply(check(5, 8, 4));
    host.target.reply(good(write_information(0, 0x02)));
    write(host, {{GiB, MiB}});
    CHECK(host.target.sent[1].data_in_length == row.allocation);
    CHECK(base::load<ReceiveRodTokenInformationCdb>(host.target.sent[1].cdb).allocation_length == row.allocation);
  }
}

TEST_CASE("WRITE USING TOKEN and its RRTI are retried twice, the last time untagged") {
  test::Host host;
  host.start();
  for (int i = 0; i < 3; ++i) host.target.reply(test::status(0x28));
  for (int i = 0; i < 3; ++i) host.target.reply(test::status(0x28));
  CHECK(write(host, {{GiB, MiB}}).status == NtStatus::io_device_error);
  REQUIRE(host.target.sent.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(host.target.sent[i].untagged == (i % 3 == 2));
    CHECK(is_rrti(host.target.sent[i]) == (i >= 3));
  }
  CHECK(host.target.sent[0].data_out == host.target.sent[2].data_out);
}

TEST_CASE("commands without an answer are timed out, retried after a second, and then RRTI is asked") {
  test::Host host;
  host.start();
  initiator::Result lost;
  lost.transport = initiator::Transport::timed_out;
  for (int i = 0; i < 6; ++i) host.target.reply(lost);
  CHECK(write(host, {{GiB, MiB}}).status == NtStatus::io_timeout);
  CHECK(host.target.sent.size() == 6);
  CHECK(host.waited == 4s);
}

TEST_CASE("1.5 seconds for each 64 MiB: the request ends truncated after three, 192 MiB") {
  test::Host host;
  host.start();
  for (int i = 0; i < 4; ++i) host.target.reply(good(), 1500ms);
  OffloadWriteResult result = write(host, {{GiB, 256 * MiB}});
  CHECK(host.target.sent.size() == 3);
  CHECK(result.status == NtStatus::success);
  CHECK(result.range_truncated);
  CHECK(result.length_copied == 192 * MiB);
}

TEST_CASE("the time limit is four seconds, to the microsecond, and looked at only between commands") {
  for (auto [each, commands] : {std::pair{1999999us, 3}, {2000000us, 2}, {9s + 0us, 1}}) {
    test::Host host;
    host.start();
    for (int i = 0; i < 4; ++i) host.target.reply(good(), each);
    OffloadWriteResult result = write(host, {{GiB, 256 * MiB}});
    CHECK(host.target.sent.size() == static_cast<std::size_t>(commands));
    CHECK(result.length_copied == static_cast<std::uint64_t>(commands) * 64 * MiB);
    CHECK(result.range_truncated);
  }
}

TEST_CASE("a slow command that finishes the request is not truncated") {
  test::Host host;
  host.start();
  host.target.reply(good(), 30s);
  OffloadWriteResult result = write(host, {{GiB, MiB}});
  CHECK(result.length_copied == MiB);
  CHECK_FALSE(result.range_truncated);
  CHECK(result.reason.empty());
}

TEST_CASE("what was written before a failure makes the request a truncated success") {
  test::Host host;
  host.start();
  host.target.reply(good());
  host.target.reply(check(5, 0x23, 8));
  OffloadWriteResult result = write(host, {{GiB, 256 * MiB}});
  CHECK(result.status == NtStatus::success);
  CHECK(result.range_truncated);
  CHECK(result.token_invalid);
  CHECK(result.length_copied == 64 * MiB);
  CHECK(result.reason == "WRITE USING TOKEN: sense 05/23/08 ILLEGAL REQUEST, INVALID TOKEN OPERATION, TOKEN CANCELLED");
}

TEST_CASE("a residual on WRITE USING TOKEN is an error that RRTI settles") {
  test::Host host;
  host.start();
  initiator::Result residual = good();
  residual.residual = initiator::Result::Residual::underflow;
  host.target.reply(residual);
  host.target.reply(good(write_information(0x800, 0x01)));
  CHECK(write(host, {{GiB, MiB}}).length_copied == MiB);
  CHECK(host.target.sent.size() == 2);
}

TEST_CASE("requests that break a rule are refused before any command") {
  test::Host host;
  host.target.blocks = 2048;
  host.start();
  CHECK(write(host, {}).status == NtStatus::invalid_parameter);
  CHECK(write(host, {{0, 100}}).status == NtStatus::invalid_parameter);
  CHECK(write(host, {{0, 2 * MiB}}).status == NtStatus::nonexistent_sector);
  CHECK(host.target.sent.empty());
}

TEST_CASE("the trace has every command with its outcome") {
  test::Host host;
  host.start();
  host.target.reply(check(6, 0x29, 0), 7us);
  host.target.reply(check(5, 0x23, 7), 3us);
  write(host, {{GiB, MiB}});
  REQUIRE(host.driver.trace().size() == 2);
  const TraceEntry& first = host.driver.trace()[0];
  CHECK(first.duration == 7us);
  CHECK(first.data_out_length == 552);
  CHECK(first.nt_status == NtStatus::io_device_error);
  CHECK(ClassDriver::command_name(first.cdb) == "WRITE USING TOKEN");
  CHECK(host.driver.trace()[1].attempt == 1);
  CHECK(host.driver.trace()[1].nt_status == NtStatus::invalid_token);
  CHECK(host.driver.take_trace().size() == 2);
  CHECK(host.driver.trace().empty());
}

TEST_CASE("blocks longer than 64 MiB: a command writes one, and a request does not end with none") {
  test::Host host;
  host.target.block_length = 0x80000000;
  host.target.blocks = 16;  // 32 GiB
  host.start();
  const OffloadWriteResult result = write(host, {{0, 2 * std::uint64_t{0x80000000}}});
  CHECK(result.status == NtStatus::success);
  CHECK(result.length_copied == 2 * std::uint64_t{0x80000000});
  CHECK(host.target.sent.size() == 2);
}
