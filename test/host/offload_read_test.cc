// Not tested, and why: the IRQL and caller-mode checks of classpnp (there is no kernel here).
#include <doctest/doctest.h>

#include "test/host/scripted_target.h"

using namespace host;
using test::GiB;
using test::good;
using test::hex;
using test::MiB;

namespace {

OffloadReadResult read(test::Host& host, std::vector<DataSetRange> ranges, std::uint32_t time_to_live = 0) {
  return host.driver.offload_read(ranges, time_to_live);
}

test::Octets token_information(std::uint64_t count, std::uint8_t copy_status = 0x01) {
  test::TokenInformation information;
  information.count = count;
  information.copy_status = copy_status;
  return information.bytes();
}

std::uint64_t blocks_of(const initiator::Command& populate) {
  std::uint64_t sum = 0;
  for (std::size_t at = 16; at < populate.data_out.size(); at += sizeof(RangeDescriptor))
    sum += base::load<RangeDescriptor>(base::Bytes(populate.data_out).subspan(at)).blocks;
  return sum;
}

}  // namespace

TEST_CASE("offload read of 256 MiB at 1 MiB: the observed bytes") {
  test::Host host;
  host.start();
  host.target.reply(good());
  host.target.reply(good(token_information(0x80000)));
  OffloadReadResult result = read(host, {{MiB, 256 * MiB}});
  REQUIRE(host.target.sent.size() == 2);
  CHECK(host.target.sent[0].cdb == hex("83 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"));
  CHECK(host.target.sent[0].data_out == hex("00 1E 00 00 00 00 00 00 00 00 00 00 00 00 00 10"
                                            "00 00 00 00 00 00 08 00 00 08 00 00 00 00 00 00"));
  CHECK(host.target.sent[1].cdb == hex("84 07 00 00 00 00 00 00 00 00 00 00 03 25 00 00"));
  CHECK(host.target.sent[1].data_in_length == 805);
  CHECK(result.status == NtStatus::success);
  CHECK(result.length_protected == 256 * MiB);
  CHECK_FALSE(result.range_truncated);
  CHECK(result.token == [] {
    Token token;
    token.fill(0x5A);
    return token;
  }());
}

TEST_CASE("offload read of two ranges with a time to live of 5: the observed bytes") {
  test::Host host;
  host.start();
  host.list_identifiers.next();
  host.target.reply(good());
  host.target.reply(good(token_information(0x208)));
  CHECK(read(host, {{2 * MiB, 4096}, {0x5000000000, 256 * 1024}}, 5).length_protected == 4096 + 256 * 1024);
  CHECK(host.target.sent[0].cdb == hex("83 10 00 00 00 00 00 00 00 01 00 00 00 30 00 00"));
  CHECK(host.target.sent[0].data_out == hex("00 2E 00 00 00 00 00 05 00 00 00 00 00 00 00 20"
                                            "00 00 00 00 00 00 10 00 00 00 00 08 00 00 00 00"
                                            "00 00 00 00 28 00 00 00 00 00 02 00 00 00 00 00"));
}

TEST_CASE("the list identifier is one counter for all disks, used by POPULATE TOKEN and its RRTI") {
  test::Host host;
  host.start();
  for (std::uint8_t id : {0, 1, 2}) {
    host.target.sent.clear();
    host.target.reply(good());
    host.target.reply(good(token_information(8)));
    read(host, {{0, 4096}});
    CHECK(host.target.sent[0].cdb[9] == id);
    CHECK(host.target.sent[1].cdb[5] == id);
  }
}

TEST_CASE("the list identifier wraps to 0 after its maximum; a maximum below 256 is ignored") {
  ListIdentifiers identifiers(256);
  for (std::uint32_t i = 0; i <= 256; ++i) CHECK(identifiers.next() == i);
  CHECK(identifiers.next() == 0);
  ListIdentifiers ignored(255);
  for (std::uint32_t i = 0; i < 300; ++i) CHECK(ignored.next() == i);
}

TEST_CASE("80 ranges give 64 descriptors and a truncated range") {
  test::Host host;
  host.start();
  std::vector<DataSetRange> ranges;
  for (std::uint64_t i = 0; i < 80; ++i) ranges.push_back({i * MiB, 4096});
  host.target.reply(good());
  host.target.reply(good(token_information(64 * 8)));
  OffloadReadResult result = read(host, ranges);
  CHECK(host.target.sent[0].data_out.size() == 16 + 64 * 16);
  CHECK(result.range_truncated);
  CHECK(result.length_protected == 64 * 4096);
}

TEST_CASE("one POPULATE TOKEN holds no more than the disk's limits") {
  test::Host host;
  std::uint64_t want = 0x80000;
  std::size_t descriptors = 1;
  std::uint32_t time_to_live = 0;
  SUBCASE("no limits: everything") { host.target.limits = {0, 600, 60, 0, 0}; }
  SUBCASE("OPTIMAL TRANSFER COUNT counts when the time to live is 0") {
    host.target.limits = {0, 600, 60, 0, 0x20000};
    want = 0x20000;
  }
  SUBCASE("OPTIMAL TRANSFER COUNT does not count with a time to live") {
    host.target.limits = {0, 600, 60, 0, 0x20000};
    time_to_live = 5;
  }
  SUBCASE("MAXIMUM TOKEN TRANSFER SIZE always counts") {
    host.target.limits = {0, 600, 60, 0x1000, 0};
    time_to_live = 5;
    want = 0x1000;
  }
  host.start();
  host.target.reply(good());
  host.target.reply(good(token_information(1)));
  read(host, {{0, 256 * MiB}}, time_to_live);
  CHECK(blocks_of(host.target.sent[0]) == want);
  CHECK(host.target.sent[0].data_out.size() == 16 + 16 * descriptors);
}

TEST_CASE("a MAXIMUM RANGE DESCRIPTORS below 64 caps the descriptors") {
  test::Host host;
  host.target.limits.maximum_range_descriptors = 3;
  host.start();
  host.target.reply(good());
  host.target.reply(good(token_information(24)));
  CHECK(read(host, {{0, 4096}, {8192, 4096}, {16384, 4096}, {32768, 4096}}).range_truncated);
  CHECK(host.target.sent[0].data_out.size() == 16 + 3 * 16);
}

TEST_CASE("requests that break a rule are refused before any command") {
  test::Host host;
  host.target.blocks = 2048;
  host.start();
  CHECK(read(host, {}).status == NtStatus::invalid_parameter);
  CHECK(read(host, {{0, 0}}).status == NtStatus::invalid_parameter);
  CHECK(read(host, {{256, 512}}).status == NtStatus::invalid_parameter);
  CHECK(read(host, {{0, 511}}).status == NtStatus::invalid_parameter);
  CHECK(read(host, {{0, 2049 * 512}}).status == NtStatus::nonexistent_sector);
  CHECK(read(host, {{512, 2048 * 512}}).status == NtStatus::nonexistent_sector);
  CHECK(read(host, {{0xFFFFFFFFFFFFFE00, 512}}).status == NtStatus::nonexistent_sector);
  CHECK(read(host, {{0, 512}}, 601).status == NtStatus::invalid_parameter);
  CHECK(host.target.sent.empty());
  host.target.reply(good());
  host.target.reply(good(token_information(2048)));
  CHECK(read(host, {{0, 2048 * 512}}, 600).status == NtStatus::success);
}

TEST_CASE("a MAXIMUM INACTIVITY TIMEOUT of 0 lets every time to live through") {
  test::Host host;
  host.target.limits.maximum_inactivity_timeout_s = 0;
  host.start();
  host.target.reply(good());
  host.target.reply(good(token_information(1)));
  CHECK(read(host, {{0, 512}}, 0xFFFFFFFF).status == NtStatus::success);
}

TEST_CASE("a failed POPULATE TOKEN is reported without RRTI") {
  test::Host host;
  host.start();
  host.target.reply(test::check(5, 0x26, 8));
  OffloadReadResult result = read(host, {{0, 4096}});
  CHECK(result.status == NtStatus::too_many_segment_descriptors);
  CHECK(result.length_protected == 0);
  CHECK(host.target.sent.size() == 1);
  CHECK(result.reason == "POPULATE TOKEN: sense 05/26/08 ILLEGAL REQUEST, TOO MANY SEGMENT DESCRIPTORS");
}

TEST_CASE("a truncated POPULATE TOKEN counts as success and RRTI says how much it holds") {
  test::Host host;
  host.start();
  std::uint8_t key = 0;
  SUBCASE("COPY ABORTED") { key = 0xA; }
  SUBCASE("ABORTED COMMAND") { key = 0xB; }
  host.target.reply(test::check(key, 0x0D, 4, 3));
  host.target.reply(good(token_information(3, 0x03)));
  OffloadReadResult result = read(host, {{0, 4096}});
  CHECK(result.status == NtStatus::success);
  CHECK(result.range_truncated);
  CHECK(result.length_protected == 3 * 512);
}

TEST_CASE("POPULATE TOKEN is retried once, untagged, with the same identifier and bytes") {
  test::Host host;
  host.start();
  host.target.reply(test::check(6, 0x29, 0));
  host.target.reply(good());
  host.target.reply(good(token_information(8)));
  CHECK(read(host, {{0, 4096}}).status == NtStatus::success);
  REQUIRE(host.target.sent.size() == 3);
  CHECK(host.target.sent[0].cdb == host.target.sent[1].cdb);
  CHECK(host.target.sent[0].data_out == host.target.sent[1].data_out);
  CHECK_FALSE(host.target.sent[0].untagged);
  CHECK(host.target.sent[1].untagged);
  CHECK_FALSE(host.target.sent[2].untagged);
}

TEST_CASE("two unit attentions in a row are enough to fail an offload read") {
  test::Host host;
  host.start();
  host.target.reply(test::check(6, 0x29, 0));
  host.target.reply(test::check(6, 0x29, 0));
  CHECK(read(host, {{0, 4096}}).status == NtStatus::io_device_error);
  CHECK(host.target.sent.size() == 2);
}

TEST_CASE("a retry waits as long as its sense code says") {
  test::Host host;
  host.start();
  host.target.reply(test::check(6, 0x3F, 0x0E));
  host.target.reply(good());
  host.target.reply(test::check(2, 4, 1));
  host.target.reply(good(token_information(8)));
  CHECK(read(host, {{0, 4096}}).status == NtStatus::success);
  CHECK(host.waited == std::chrono::seconds(15));
}

TEST_CASE("RRTI after POPULATE TOKEN is retried once; its refusal is the result") {
  test::Host host;
  host.start();
  host.target.reply(good());
  SUBCASE("retried") {
    host.target.reply(test::check(6, 0x29, 0));
    host.target.reply(good(token_information(8)));
    CHECK(read(host, {{0, 4096}}).status == NtStatus::success);
    CHECK(host.target.sent[2].untagged);
  }
  SUBCASE("refused") {
    host.target.reply(test::check(5, 0x24, 0));
    CHECK(read(host, {{0, 4096}}).status == NtStatus::invalid_initiator_target_path);
  }
}

TEST_CASE("each copy operation status, as Windows takes it") {
  for (unsigned status = 0; status < 0x80; ++status) {
    CAPTURE(status);
    test::Host host;
    host.start();
    host.target.reply(good());
    host.target.reply(good(token_information(8, static_cast<std::uint8_t>(status))));
    OffloadReadResult result = read(host, {{0, 4096}});
    const bool carries_data = status == 0x01 || status == 0x03;
    CHECK(result.status == (carries_data ? NtStatus::success : NtStatus::unsuccessful));
    CHECK(result.length_protected == (carries_data ? 4096u : 0u));
    CHECK(host.target.sent.size() == 2);  // never asked again
  }
}

TEST_CASE("transfer counts: more than asked is nothing, less is truncation, none is failure") {
  struct Row {
    std::uint64_t count;
    std::uint8_t copy_status;
    NtStatus status;
    std::uint64_t protected_blocks;
  };
  for (const Row& row :
       {Row{8, 0x01, NtStatus::success, 8}, Row{8, 0x03, NtStatus::success, 8}, Row{9, 0x01, NtStatus::unsuccessful, 0},
        Row{~0ull, 0x01, NtStatus::unsuccessful, 0}, Row{0, 0x01, NtStatus::unsuccessful, 0},
        Row{7, 0x03, NtStatus::success, 7}, Row{7, 0x01, NtStatus::success, 7}, Row{1, 0x03, NtStatus::success, 1}}) {
    CAPTURE(row.count);
    test::Host host;
    host.start();
    host.target.reply(good());
    host.target.reply(good(token_information(row.count, row.copy_status)));
    OffloadReadResult result = read(host, {{0, 4096}});
    CHECK(result.status == row.status);
    CHECK(result.length_protected == row.protected_blocks * 512);
    CHECK(result.range_truncated == (row.protected_blocks > 0 && row.protected_blocks < 8));
  }
}

TEST_CASE("only a token block of 514 bytes is a token") {
  for (std::uint32_t length : {0u, 512u, 513u, 515u, 516u}) {
    CAPTURE(length);
    test::Host host;
    host.start();
    host.target.reply(good());
    test::TokenInformation information;
    information.count = 8;
    information.descriptors_length = length;
    host.target.reply(good(information.bytes()));
    OffloadReadResult result = read(host, {{0, 4096}});
    CHECK(result.status == NtStatus::unsuccessful);
    CHECK(result.length_protected == 0);
  }
}

TEST_CASE("sense data inside RRTI is the status of a read that has no token") {
  test::Host host;
  host.start();
  host.target.reply(good());
  test::TokenInformation information;
  information.copy_status = 0x02;
  information.sense = test::fixed_sense(0xB, 0x55, 3);
  information.descriptors_length = 0;
  host.target.reply(good(information.bytes()));
  CHECK(read(host, {{0, 4096}}).status == NtStatus::insufficient_resources);
}

TEST_CASE("a token behind sense data is found where the sense data field ends") {
  test::Host host;
  host.start();
  host.target.reply(good());
  test::TokenInformation information;
  information.copy_status = 0x03;
  information.count = 5;
  information.sense = test::fixed_sense(0xA, 0x0D, 4, 5);
  host.target.reply(good(information.bytes()));
  OffloadReadResult result = read(host, {{0, 4096}});
  CHECK(result.status == NtStatus::success);
  CHECK(result.length_protected == 5 * 512);
  CHECK(result.token[0] == 0x5A);
  CHECK(result.token[511] == 0x5A);
}

TEST_CASE("transfer count units other than blocks are read as blocks; a residual underflow is normal") {
  test::Host host;
  host.start();
  host.target.reply(good());
  test::TokenInformation information;
  information.count = 8;
  information.units = 0x00;
  initiator::Result answer = good(information.bytes());
  answer.residual = initiator::Result::Residual::underflow;
  answer.residual_count = 255;
  host.target.reply(answer);
  CHECK(read(host, {{0, 4096}}).length_protected == 4096);
}

TEST_CASE("what RRTI data leaves out reads as zero, from the host's zeroed buffer") {
  for (std::size_t length : {0u, 1u, 5u, 31u, 32u, 35u, 36u, 549u}) {
    CAPTURE(length);
    test::Host host;
    host.start();
    host.target.reply(good());
    test::Octets data = token_information(8);
    data.resize(length);
    host.target.reply(good(data));
    OffloadReadResult result = read(host, {{0, 4096}});
    const bool has_token_length = length >= 36;
    CHECK(result.status == (has_token_length ? NtStatus::success : NtStatus::unsuccessful));
    CHECK(result.token[511] == 0x00);
  }
}
