// Not tested, and why: what a particular Windows build does (the table is that of classpnp's published code).
#include "host/sense_to_nt_status.h"

#include <doctest/doctest.h>

#include "test/host/scripted_target.h"

using namespace host;
using namespace std::chrono_literals;

namespace {

struct Expected {
  std::uint32_t status;
  int retry_after_s = -1;  ///< -1: no retry
  bool operator==(const Expected&) const = default;
};

Expected not_ready(unsigned code) {
  if (code >> 8 == 0x3A || code == 0x0403) return {0xC0000013};
  if (code == 0x0400 || code == 0x0404 || code == 0x0408) return {0xC00000A3};
  if (code == 0x0401 || code == 0x0407) return {0xC00000A3, 10};
  if (code == 0x0414) return {0xC000022D, 10};
  return {0xC00000A3, 0};
}

Expected illegal_request(unsigned code) {
  switch (code) {
    case 0x0016: return {0xC0000476};
    case 0x0804: return {0xC0000464};
    case 0x0D04: return {0xC000003C};
    case 0x2604: return {0xC0000474};
    case 0x2608: return {0xC0000473};
    case 0x6F00: return {0xC0000306};
    case 0x6F01: return {0xC0000307};
    case 0x6F02: return {0xC0000308};
    case 0x6F03: return {0xC0000309};
    case 0x6F04: return {0xC000030A};
    case 0x6F05: return {0xC000030B};
    default: break;
  }
  switch (code >> 8) {
    case 0x1A: return {0xC000003C};
    case 0x21: return {0xC0000015};
    case 0x23: return {0xC0000465};
    case 0x24: return {0xC0000477};
    case 0x25: return {0xC000000E};
    case 0x26: return {0xC0000475};
    case 0x6F: return {0xC0000305};
    default: return {0xC0000010};
  }
}

Expected unit_attention(unsigned code) {
  if (code == 0x2A09 || code == 0x3F01) return {0xC0000185, 1};
  if (code >> 8 == 0x3F) return {0xC0000185, 5};
  if (code >> 8 == 0x38 && code != 0x3807) return {0xC0000185};
  return {0xC0000185, 0};
}

/// The rows of the table as a reader of it would write them down, apart from the table under test.
Expected expected(unsigned key, unsigned code) {
  switch (key) {
    case 0x1: return {0x00000000};
    case 0x2: return not_ready(code);
    case 0x3: return {code == 0x3001 ? 0xC0000014 : code == 0x3003 ? 0x80000027 : 0xC000009C};
    case 0x4: return code == 0x0803 ? Expected{0xC0000483, 1} : Expected{0xC0000483};
    case 0x5: return illegal_request(code);
    case 0x6: return unit_attention(code);
    case 0x7: return {code == 0x2707 ? 0xC0000461 : code >> 8 == 0x27 ? 0xC0000185 : 0xC0000022};
    case 0x8: return {0x80000022};
    case 0xA: return code == 0x0D04 ? Expected{0x00000000} : Expected{0xC0000185, 0};
    case 0xB:
      if (code == 0x0D04) return {0x00000000};
      return code == 0x5503 ? Expected{0xC000009A} : Expected{0xC0000185, 0};
    default: return {0xC0000185, 0};  // 0, 9, C, D, E, F
  }
}

}  // namespace

TEST_CASE("every sense key, ASC and ASCQ has the NTSTATUS, retry and wait of the table") {
  unsigned wrong = 0;
  for (unsigned key = 0; key < 16; ++key) {
    for (unsigned code = 0; code < 65536; ++code) {
      Interpretation means = sense_to_nt_status(static_cast<std::uint8_t>(key), static_cast<std::uint8_t>(code >> 8),
                                                static_cast<std::uint8_t>(code));
      Expected got{
          static_cast<std::uint32_t>(means.status),
          means.retry ? static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(means.wait).count()) : -1};
      if (got == expected(key, code)) continue;
      if (++wrong <= 5)
        MESSAGE("key ", key, " code ", code, " gives ", name(means.status), " retry ", got.retry_after_s);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("NO SENSE with the incorrect length indicator is INVALID_BLOCK_LENGTH, not retried") {
  CHECK(sense_to_nt_status(0, 0, 0, true) == Interpretation{NtStatus::invalid_block_length});
  test::Octets sense = test::fixed_sense(0, 0, 0);
  sense[2] |= 0x20;
  CHECK(interpret(test::check(sense), CommandKind::token_operation).status == NtStatus::invalid_block_length);
}

TEST_CASE("no sense code becomes NOT_SUPPORTED or DEVICE_FEATURE_NOT_SUPPORTED, which would switch NTFS off") {
  for (unsigned key = 0; key < 16; ++key)
    for (unsigned code = 0; code < 65536; ++code) {
      NtStatus status = sense_to_nt_status(static_cast<std::uint8_t>(key), static_cast<std::uint8_t>(code >> 8),
                                           static_cast<std::uint8_t>(code))
                            .status;
      REQUIRE(status != NtStatus::not_supported);
      REQUIRE(status != NtStatus::device_feature_not_supported);
    }
}

TEST_CASE("an answer without usable sense is judged by its SCSI status") {
  struct Row {
    std::uint8_t status;
    Interpretation means;
  };
  for (const Row& row :
       {Row{0x00, {NtStatus::success}}, Row{0x02, {NtStatus::io_device_error, true}},
        Row{0x08, {NtStatus::device_not_ready, true, 0s, "bus reset"}}, Row{0x18, {NtStatus::device_busy}},
        Row{0x28, {NtStatus::io_device_error, true}}, Row{0x40, {NtStatus::io_device_error, true}}}) {
    CAPTURE(row.status);
    CHECK(interpret(test::status(row.status), CommandKind::token_operation) == row.means);
    CHECK(interpret(test::status(row.status), CommandKind::receive_token_information) == row.means);
  }
}

TEST_CASE("an answer that never came is a time-out, retried after a second, or a device that is gone") {
  initiator::Result result;
  result.transport = initiator::Transport::timed_out;
  CHECK(interpret(result, CommandKind::token_operation) == Interpretation{NtStatus::io_timeout, true, 1s});
  result.transport = initiator::Transport::aborted;
  CHECK(interpret(result, CommandKind::token_operation) == Interpretation{NtStatus::io_timeout, true, 1s});
  result.transport = initiator::Transport::connection_lost;
  CHECK(interpret(result, CommandKind::token_operation) == Interpretation{NtStatus::device_not_connected});
}

TEST_CASE("a residual is DATA_OVERRUN for POPULATE TOKEN and WRITE USING TOKEN, and normal for RRTI") {
  for (auto residual : {initiator::Result::Residual::underflow, initiator::Result::Residual::overflow}) {
    initiator::Result result = test::good();
    result.residual = residual;
    result.residual_count = 4;
    CHECK(interpret(result, CommandKind::token_operation) == Interpretation{NtStatus::data_overrun});
    CHECK(interpret(result, CommandKind::receive_token_information).status == NtStatus::success);
  }
}

TEST_CASE("READ, WRITE and queries have no offload statuses, and know write protection") {
  for (auto kind : {CommandKind::transfer, CommandKind::query}) {
    auto status = [kind](std::uint8_t key, std::uint8_t asc, std::uint8_t ascq) {
      return interpret(test::check(key, asc, ascq), kind).status;
    };
    CHECK(status(5, 0x24, 0) == NtStatus::invalid_device_request);
    CHECK(status(5, 0x20, 0) == NtStatus::invalid_device_request);
    CHECK(status(5, 0x23, 4) == NtStatus::invalid_device_request);
    CHECK(status(5, 0x21, 0) == NtStatus::nonexistent_sector);
    CHECK(status(5, 0x25, 0) == NtStatus::no_such_device);
    CHECK(status(7, 0x27, 0) == NtStatus::media_write_protected);
    CHECK(status(7, 0x27, 2) == NtStatus::media_write_protected);
    CHECK(status(7, 0x27, 7) == NtStatus::disk_resources_exhausted);
    CHECK(interpret(test::check(6, 0x29, 0), kind).retry);
  }
  initiator::Result shorter = test::good();
  shorter.residual = initiator::Result::Residual::underflow;
  CHECK(interpret(shorter, CommandKind::query).status == NtStatus::success);
  CHECK(interpret(shorter, CommandKind::transfer).status == NtStatus::data_overrun);
}

TEST_CASE("INFORMATION of fixed sense counts whether or not VALID is set") {
  CHECK(read_sense(test::fixed_sense(0xA, 0x0D, 4, 0x300))->information == 0x300u);
  test::Octets valid = test::fixed_sense(0xA, 0x0D, 4, 0x300);
  valid[0] |= 0x80;
  CHECK(read_sense(valid)->information == 0x300u);
}

TEST_CASE("an information descriptor does not fit the 18 bytes of the host's sense buffer") {
  auto sense = test::hex("72 0A 0D 04 00 00 00 0C | 00 0A 80 00 00 00 00 00 00 00 03 00");
  auto view = read_sense(sense);
  REQUIRE(view.has_value());
  CHECK(view->key == 0xA);
  CHECK(view->asc == 0x0D);
  CHECK(view->ascq == 0x04);
  CHECK_FALSE(view->information.has_value());
}

TEST_CASE("bytes that are no sense data are none; codes that were cut off read as zero") {
  CHECK_FALSE(read_sense({}).has_value());
  CHECK_FALSE(read_sense(test::hex("7F 00 05")).has_value());
  CHECK_FALSE(read_sense(test::hex("70 00")).has_value());
  CHECK_FALSE(read_sense(test::hex("72 05 20 00")).has_value());
  auto view = read_sense(test::hex("70 00 05"));
  REQUIRE(view.has_value());
  CHECK(view->key == 5);
  CHECK(view->asc == 0);
  CHECK_FALSE(view->information.has_value());
}

TEST_CASE("every NTSTATUS in use has its Windows name") {
  CHECK(name(NtStatus::success) == "STATUS_SUCCESS");
  CHECK(name(NtStatus::invalid_token) == "STATUS_INVALID_TOKEN");
  CHECK(name(NtStatus::io_device_error) == "STATUS_IO_DEVICE_ERROR");
  CHECK(name(static_cast<NtStatus>(0xDEADBEEF)) == "STATUS_?");
  CHECK(succeeded(NtStatus::success));
  CHECK_FALSE(succeeded(NtStatus::no_data_detected));
}
