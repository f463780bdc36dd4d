// Not tested, and why: that the copied bytes are right (a scripted target has none; test/cli does it on a real one).
#include "host/offload_copy.h"

#include <doctest/doctest.h>

#include "test/host/scripted_target.h"

using namespace host;
using test::GiB;
using test::good;
using test::MiB;

namespace {

/// Two disks of one host: one clock and one counter of list identifiers.
struct TwoDisks {
  base::VirtualClock clock;
  test::ScriptedTarget from{clock}, to{clock};
  ListIdentifiers list_identifiers;
  ClassDriver source{from, clock, list_identifiers, {}};
  ClassDriver destination{to, clock, list_identifiers, {}};

  void start() {
    source.start();
    destination.start();
    from.sent.clear();
    to.sent.clear();
  }
  void reply_token(std::uint64_t blocks) {
    test::TokenInformation information;
    information.count = blocks;
    from.reply(good());
    from.reply(good(information.bytes()));
  }
};

}  // namespace

TEST_CASE("each token is used up in chunks of 256 MiB before the next is made") {
  TwoDisks disks;
  disks.from.limits = {64, 600, 60, GiB / 512, GiB / 512};
  disks.to.limits = disks.from.limits;
  disks.start();
  disks.reply_token(GiB / 512);
  disks.reply_token(MiB / 512);
  std::vector<std::uint64_t> progress;
  CopyOutcome outcome = copy(disks.source, disks.destination, {0, 4 * MiB, GiB + MiB},
                             [&](std::uint64_t bytes) { progress.push_back(bytes); });
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.offloaded_bytes == GiB + MiB);
  CHECK(outcome.tokens == 2);
  REQUIRE(disks.to.sent.size() == 5);
  CHECK(base::load<WriteUsingTokenHeader>(disks.to.sent[3].data_out).offset_into_rod == 768 * MiB / 512);
  CHECK(base::load<WriteUsingTokenHeader>(disks.to.sent[4].data_out).offset_into_rod == 0u);
  CHECK(progress == std::vector<std::uint64_t>{256 * MiB, 512 * MiB, 768 * MiB, GiB, GiB + MiB});
}

TEST_CASE("a truncated write is continued from where it got to") {
  TwoDisks disks;
  disks.start();
  disks.reply_token(2048);
  disks.to.reply(test::check(0xA, 0x0D, 4, 100));
  disks.to.reply(test::check(5, 0x08, 4));
  disks.to.reply(test::check(5, 0x24, 0));
  CopyOutcome outcome = copy(disks.source, disks.destination, {0, 0, MiB});
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.offloaded_bytes == MiB);
}

TEST_CASE("without permission to fall back, an error ends the copy where it is") {
  TwoDisks disks;
  disks.start();
  disks.reply_token(2048);
  disks.to.reply(test::check(5, 0x23, 7));
  CopyOutcome outcome = copy(disks.source, disks.destination, {0, 0, MiB});
  CHECK(outcome.status == NtStatus::invalid_token);
  CHECK(outcome.offloaded_bytes == 0);
  CHECK(outcome.fallback_bytes == 0);
  CHECK(outcome.reason == "WRITE USING TOKEN: sense 05/23/07 ILLEGAL REQUEST, INVALID TOKEN OPERATION, TOKEN EXPIRED");
}

TEST_CASE("with permission, the rest is copied by READ and WRITE and flushed") {
  TwoDisks disks;
  disks.start();
  disks.from.reply(test::check(5, 0x20, 0));
  disks.from.reply(good(test::Octets(MiB, 0x77)));
  disks.from.reply(good(test::Octets(MiB, 0x78)));
  CopyOutcome outcome = copy(disks.source, disks.destination, {0, 0, 2 * MiB, 0, true});
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.offload_status == NtStatus::invalid_device_request);
  CHECK(outcome.fallback_bytes == 2 * MiB);
  REQUIRE(disks.to.sent.size() == 3);
  CHECK(disks.to.sent[1].data_out == test::Octets(MiB, 0x78));
  CHECK(disks.to.sent[1].cdb == test::hex("8A 00 00 00 00 00 00 00 08 00 00 00 08 00 00 00"));
  CHECK(disks.to.sent[2].cdb[0] == 0x35);
}

TEST_CASE("an error of READ or WRITE ends the fallback with its own status") {
  TwoDisks disks;
  disks.start();
  disks.from.reply(test::check(5, 0x20, 0));
  disks.from.reply(good(test::Octets(MiB)));
  disks.to.reply(test::check(7, 0x27, 0));
  CopyOutcome outcome = copy(disks.source, disks.destination, {0, 0, MiB, 0, true});
  CHECK(outcome.status == NtStatus::media_write_protected);
  CHECK(outcome.reason ==
        "POPULATE TOKEN: sense 05/20/00 ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE; then READ and WRITE ended "
        "with STATUS_MEDIA_WRITE_PROTECTED");
}

TEST_CASE("a token that ends inside a destination block leaves that block to the next token") {
  TwoDisks disks;
  disks.to.block_length = 4096;
  disks.start();
  disks.reply_token(9);
  disks.reply_token(8);
  CopyOutcome outcome = copy(disks.source, disks.destination, {0, 0, 8192});
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.tokens == 2);
  REQUIRE(disks.from.sent.size() == 4);
  CHECK(base::load<RangeDescriptor>(base::Bytes(disks.from.sent[2].data_out).subspan(16)).lba == 8u);
}

TEST_CASE("offsets and lengths have to fit both block lengths") {
  TwoDisks disks;
  disks.to.block_length = 4096;
  disks.start();
  CHECK(copy(disks.source, disks.destination, {0, 0, 512}).status == NtStatus::invalid_parameter);
  CHECK(copy(disks.source, disks.destination, {512, 512, 4096}).status == NtStatus::invalid_parameter);
  CHECK(disks.from.sent.empty());
}
