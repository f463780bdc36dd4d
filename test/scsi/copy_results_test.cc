// Parameter data of the THIRD-PARTY COPY IN commands, encoded byte for byte.
//
// Not tested, and why: RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS(LID4), whose bytes are in
// copy_golden_test.cc.
#include <doctest/doctest.h>

#include "scsi/copy_results.h"
#include "scsi/third_party_copy_page.h"
#include "test/scsi/copy_fixture.h"

using namespace test;

TEST_CASE("RECEIVE COPY STATUS(LID1) is 12 bytes") {
  CHECK(scsi::encode_copy_status_lid1({.status = scsi::CopyStatusLid1::completed_with_errors,
                                       .held_data_discarded = true,
                                       .segments_processed = 0x0102,
                                       .transfer_count = 0x03040506}) == hex("00 00 00 08 82 01 02 00 03 04 05 06"));
  CHECK(scsi::encode_copy_status_lid1({}) == hex("00 00 00 08 00 00 00 00 00 00 00 00"));
}

TEST_CASE("a TRANSFER COUNT that 32 bits do not hold is given in the next larger unit, rounded down") {
  auto units = [](std::uint64_t bytes) {
    Bytes data = scsi::encode_copy_status_lid1({.transfer_count = bytes});
    return Bytes(data.begin() + 7, data.end());
  };
  CHECK(units(0xFFFFFFFF) == hex("00 FF FF FF FF"));
  CHECK(units(0x1'0000'0000) == hex("01 00 40 00 00"));
  CHECK(units(0x1'0000'03FF) == hex("01 00 40 00 00"));
  CHECK(units(1ull << 42) == hex("02 00 40 00 00"));
  CHECK(units(~0ull) == hex("04 00 FF FF FF"));
  CHECK(scsi::encode_copy_status_lid1({.units = tokens::TransferCountUnits::blocks, .transfer_count = 1ull << 32}) ==
        hex("00 00 00 08 00 00 00 F1 FF FF FF FF"));
}

TEST_CASE("RECEIVE COPY DATA(LID1) is AVAILABLE DATA and the held data") {
  CHECK(scsi::encode_held_data_lid1(hex("0A 0B 0C")) == hex("00 00 00 03 0A 0B 0C"));
  CHECK(scsi::encode_held_data_lid1({}) == hex("00 00 00 00"));
}

TEST_CASE("RECEIVE COPY FAILURE DETAILS has the status at byte 56, the sense length at 58 and the sense data at 60") {
  Bytes data = scsi::encode_failure_details(0x02, hex("70 00 0A"));
  Bytes expected(60);
  expected[3] = 59;
  expected[56] = 0x02;
  expected[59] = 3;
  for (std::uint8_t byte : hex("70 00 0A")) expected.push_back(byte);
  CHECK(data == expected);
  CHECK(scsi::encode_no_failure_details() == hex("00 00 00 00"));
}

TEST_CASE("RECEIVE COPY OPERATING PARAMETERS tells the profile's limits, 44 bytes and the descriptor types") {
  scsi::DeviceProfile profile;
  profile.maximum_cscd_descriptors = 0x0102;
  profile.maximum_segment_descriptors = 0x0304;
  profile.maximum_descriptor_list_bytes = 0x05060708;
  profile.maximum_segment_bytes = 0x090A0B0C;
  profile.maximum_inline_data_bytes = 0x0D0E0F10;
  profile.held_data_limit_bytes = 0x11121314;
  profile.maximum_copy_operations = 0x0155;
  profile.data_segment_granularity_log2 = 0x16;
  profile.held_data_granularity_log2 = 0x18;
  CHECK(scsi::encode_copy_operating_parameters(profile) ==
        hex("00 00 00 33 01 00 00 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 14 00 00 00 00"
            "00 00 01 55 FF 16 00 18 00 00 00 0B 02 07 0A 0D 14 15 16 BE BF E4 FE"));
}

TEST_CASE("REPORT ALL ROD TOKENS is 8 bytes and the first 96 of each token, with its ROD TOKEN LENGTH as it was") {
  CHECK(scsi::encode_all_rod_tokens({}, 0) == hex("00 00 00 04 00 00 00 00"));
  tokens::RodToken token{};
  token.rod_type = 0x00800000;
  token.rod_token_length = tokens::kRodTokenLength;
  token.copy_manager_rod_token_identifier = 0x1234;
  token.block_device.logical_block_length = 512;
  Bytes data = scsi::encode_all_rod_tokens(std::vector{token, token}, 2);
  REQUIRE(data.size() == 8 + 2 * 96);
  CHECK(Bytes(data.begin(), data.begin() + 24) ==
        hex("00 00 00 C4 00 00 00 00 00 80 00 00 00 00 01 F8 00 00 00 00 00 00 12 34"));
  CHECK(std::equal(data.begin() + 8, data.begin() + 104, data.begin() + 104));
  // All that there are count, however many are told of.
  data = scsi::encode_all_rod_tokens(std::vector{token}, 3);
  CHECK(data.size() == 8 + 96);
  CHECK(Bytes(data.begin(), data.begin() + 4) == hex("00 00 01 24"));
  data = scsi::encode_all_rod_tokens({}, 1u << 30);
  CHECK(Bytes(data.begin(), data.begin() + 4) == hex("FF FF FF FF"));
}

TEST_CASE("VPD page 8Fh's Held Data descriptor is the last, 32 bytes") {
  scsi::ThirdPartyCopyPage page;
  page.general_copy_operations = scsi::ThirdPartyCopyPage::GeneralCopyOperations{};
  page.held_data = {.held_data_limit_bytes = 0x01020304, .held_data_granularity_log2 = 5};
  Bytes data = scsi::encode(page);
  CHECK(data.size() == 4 + 36 + 32);
  Bytes expected = hex("C0 01 00 1C 01 02 03 04 05");
  expected.resize(32);
  CHECK(Bytes(data.begin() + 40, data.end()) == expected);
}
