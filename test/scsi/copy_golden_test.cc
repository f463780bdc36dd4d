// Not tested, and why: random parts of tokens (their bytes have no expected value; rod_token_test checks them).

// Bytes as other implementations know them: hand-checked vectors of SPC-4 and SBC-4 layouts (decoded with sg3_utils)
// and what Windows' class driver sends.
#include <doctest/doctest.h>

#include <cstring>

#include "scsi/copy_manager.h"
#include "scsi/third_party_copy_page.h"
#include "test/scsi/copy_fixture.h"

using namespace test;
using scsi::ThirdPartyCopyPage;

namespace {

constexpr std::uint16_t kSource = CopyDevice::kSource;
constexpr std::uint16_t kDestination = CopyDevice::kDestination;

void check_starts_with(const Bytes& data, const Bytes& start) {
  REQUIRE(data.size() >= start.size());
  CHECK(Bytes(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(start.size())) == start);
}

}  // namespace

TEST_CASE("VPD page 8Fh of a full copy manager is encoded byte for byte") {
  Bytes expected =
      hex("00 8F 01 78 00 00 00 20 00 00 00 00 00 00 00 10"
          "00 00 02 58 00 00 00 3C 00 00 00 00 00 08 00 00"
          "00 00 00 00 00 02 00 00 00 01 00 10 0F 83 05 00"
          "01 10 11 1C 84 06 00 03 04 05 07 08 00 04 00 1C"
          "00 00 00 00 00 10 00 10 00 00 20 00 00 00 00 00"
          "00 00 00 00 00 00 00 00 00 00 00 00 00 08 00 04"
          "02 02 E4 00 00 0C 00 08 00 04 F8 00 FF FF 00 00"
          "01 06 00 5C 00 00 00 00 00 00 00 00 00 00 00 00"
          "00 00 00 01 FF FF FF FF 00 00 02 58 00 00 00 00"
          "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 30"
          "00 00 00 2C 00 00 00 80 00 00 00 00 10 00 00 00"
          "00 00 00 00 04 00 00 00 00 00 00 00 04 00 00 00"
          "00 00 00 00 04 00 00 00 00 00 00 00 00 00 00 00"
          "01 08 00 84 00 00 00 80 00 80 00 00 03 00 00 00");
  expected.resize(0x118);
  Bytes tail = hex("FF FF 00 01 02 00 00 00");
  expected.insert(expected.end(), tail.begin(), tail.end());
  expected.resize(0x158);
  tail = hex("80 01 00 20 00 00 01 00 00 00 01 00 00 00 00 00 09 00");
  expected.insert(expected.end(), tail.begin(), tail.end());
  expected.resize(380);

  ThirdPartyCopyPage page;
  page.block_device_rod_limits = {.maximum_range_descriptors = 16,
                                  .maximum_inactivity_timeout_s = 600,
                                  .default_inactivity_timeout_s = 60,
                                  .maximum_token_transfer_size_blocks = 0x80000,
                                  .optimal_transfer_count_blocks = 0x20000};
  page.supported_commands = {{0x83, {0x00, 0x01, 0x10, 0x11, 0x1C}}, {0x84, {0x00, 0x03, 0x04, 0x05, 0x07, 0x08}}};
  page.parameter_data = {.maximum_cscd_descriptor_count = 16,
                         .maximum_segment_descriptor_count = 16,
                         .maximum_descriptor_list_length = 8192,
                         .maximum_inline_data_length = 0};
  page.supported_descriptors = {0x02, 0xE4};
  page.supported_cscd_ids = {0xF800, 0xFFFF};
  page.rod_token_features = {.remote_tokens = 0,
                             .minimum_token_lifetime_s = 1,
                             .maximum_token_lifetime_s = 0xFFFFFFFF,
                             .maximum_token_inactivity_timeout_s = 600,
                             .optimal_block_rod_length_granularity_blocks = 0x80,
                             .maximum_bytes_in_block_rod = 256 << 20,
                             .optimal_bytes_in_block_rod_transfer = 64 << 20,
                             .optimal_bytes_to_token_per_segment = 64 << 20,
                             .optimal_bytes_from_token_per_segment = 64 << 20};
  page.supported_rod_types = {{.type = tokens::RodType::point_in_time_default, .token_in = true, .token_out = true},
                              {.type = tokens::RodType::block_device_zero, .token_in = true}};
  page.general_copy_operations = {
      .total_concurrent_copies = 256, .maximum_identified_concurrent_copies = 256, .data_segment_granularity_log2 = 9};
  CHECK(scsi::encode(page) == expected);
}

TEST_CASE("our VPD page 8Fh starts with Block Device ROD Limits of 36 bytes and names what the command table has") {
  CopyDevice device;
  Bytes page = device.copies.third_party_copy_page(device.lu(kSource));
  check_starts_with(page, hex("00 8F 02 A4"
                              "00 00 00 20 00 00 00 00 00 00 00 40 00 00 02 58 00 00 00 3C"
                              "00 00 00 00 00 80 00 00 00 00 00 00 00 08 00 00"
                              "00 01 00 14 11 83 05 00 01 10 11 1C 84 08 00 01 03 04 05 06 07 08 00 00"
                              "00 04 00 1C 00 00 00 00 00 40 01 00 00 00 40 00 00 00 20 00"
                              "00 00 00 00 00 00 00 00 00 00 00 00"
                              "00 08 00 0C 0B 02 07 0A 0D 14 15 16 BE BF E4 FE"
                              "00 0C 00 08 00 06 C0 00 F8 00 FF FF"
                              "01 06 00 5C 00"));
  CHECK(page.size() == 0x2A4 + 4);
  Bytes last = hex("80 01 00 20 00 00 04 00 00 00 04 00");
  last.resize(36);
  Bytes held = hex("C0 01 00 1C 00 40 00 00");
  held.resize(32);
  last.insert(last.end(), held.begin(), held.end());
  CHECK(std::equal(last.begin(), last.end(), page.end() - static_cast<std::ptrdiff_t>(last.size())));
  Bytes large = device.copies.third_party_copy_page(device.lu(CopyDevice::kLarge));
  CHECK(Bytes(large.begin() + 24, large.begin() + 40) == hex("00 00 00 00 00 10 00 00 00 00 00 00 00 01 00 00"));
}

TEST_CASE("REMOTE TOKENS is 0h with one target and 4h with two") {
  constexpr std::size_t kRemoteTokens = 4 + 36 + 24 + 32 + 16 + 12 + 4;
  CopyDevice device;
  CHECK(device.copies.third_party_copy_page(device.lu(kSource))[kRemoteTokens] == 0);
  scsi::DeviceServer second({"iqn.2025-01.example:second", 1}, device.clock, nullptr, device.copies);
  second.add(scsi::Lun{0}, device.server.logical_units().at(scsi::Lun{kSource}));
  CHECK(device.copies.third_party_copy_page(device.lu(kSource))[kRemoteTokens] == 4);
}

TEST_CASE("POPULATE TOKEN for 800h blocks and its RECEIVE ROD TOKEN INFORMATION") {
  CopyDevice device;
  CHECK(device
            .run(hex("83 10 00 00 00 00 00 00 00 2A 00 00 00 20 00 00"),
                 hex("00 1E 00 00 00 00 00 00 00 00 00 00 00 00 00 10"
                     "00 00 00 00 00 00 08 00 00 00 08 00 00 00 00 00"),
                 kSource)
            .good());
  Bytes data = device.run(hex("84 07 00 00 00 2A 00 00 00 00 00 00 04 00 00 00"), {}, kSource).data();
  CHECK(data.size() == 550);
  check_starts_with(data, hex("00 00 02 22 10 01 00 01 FF FF FF FE 00 00 00 F1 00 00 00 00 00 00 08 00"
                              "00 00 00 00 00 00 00 00 00 00 02 02 00 00"
                              "00 80 00 00 00 00 01 F8"));
}

TEST_CASE("WRITE USING TOKEN with the zero token") {
  CopyDevice device;
  device.fill(kDestination, {0x10000, 0x801}, 0xAA);
  Bytes list = hex("02 26 00 00 00 00 00 00 00 00 00 00 00 00 00 00 FF FF 00 01 00 00 01 F8");
  list.resize(16 + 512 + 6);
  Bytes tail = hex("00 10 00 00 00 00 00 01 00 00 00 00 08 00 00 00 00 00");
  list.insert(list.end(), tail.begin(), tail.end());
  CHECK(list.size() == 552);
  CHECK(device.run(hex("83 11 00 00 00 00 00 00 00 2B 00 00 02 28 00 00"), list, kDestination).good());
  CHECK(device.read(kDestination, {0x10000, 0x800}) == Bytes(0x800 * 512));
  CHECK(device.read(kDestination, {0x10800, 1})[100] == 0xAA);
  CHECK(device.run(hex("84 07 00 00 00 2B 00 00 00 00 00 00 04 00 00 00"), {}, kDestination).data() ==
        hex("00 00 00 20 11 01 00 01 FF FF FF FE 00 00 00 F1 00 00 00 00 00 00 08 00"
            "00 00 00 00 00 00 00 00 00 00 00 00"));
}

TEST_CASE("RECEIVE ROD TOKEN INFORMATION after a WRITE USING TOKEN that stopped after 300h blocks") {
  CopyDevice device;
  device.fill(kSource, {0, 0x800}, 0x11);
  tokens::RodToken token = device.token_of({{0, 0x800}});
  device.store(kDestination).error = {handlers::IoError::Kind::no_space, "full"};
  device.store(kDestination).bytes_before_error = 0x300 * 512;
  Command& write = device.write_using(0x2C, token, {{0x10000, 0x800}});
  CHECK(scsi::encode_fixed(write.sense()) == hex("F0 00 0A 00 00 03 00 0A 00 00 00 00 0D 04 00 00 00 00"));
  CHECK(device.receive_rod_token(0x2C, kDestination).data() == hex("00 00 00 34 11 03 00 01 FF FF FF FE 02 14 12 F1"
                                                                   "00 00 00 00 00 00 03 00 00 00 00 00 00 00 00 00"
                                                                   "F0 00 0A 00 00 03 00 0A 00 00 00 00 0D 04 00 00"
                                                                   "00 00 00 00 00 00 00 00"));
  CHECK(device.receive_status(0x2C, kDestination).data() == hex("00 00 00 30 11 03 00 01 FF FF FF FE 02 14 12 F1"
                                                                "00 00 00 00 00 00 03 00 00 00 00 00 00 00 00 00"
                                                                "F0 00 0A 00 00 03 00 0A 00 00 00 00 0D 04 00 00"
                                                                "00 00 00 00"));
}

TEST_CASE("too many ranges in POPULATE TOKEN, as fixed sense data") {
  CopyDevice device({.maximum_range_descriptors = 16});
  Ranges ranges;
  for (std::uint64_t i = 0; i < 17; ++i) ranges.push_back({i * 8, 8});
  CHECK(scsi::encode_fixed(device.populate(1, ranges).sense()) ==
        hex("70 00 05 00 00 00 00 0A 00 00 00 00 26 08 00 80 00 0E"));
}

TEST_CASE("Windows' first POPULATE TOKEN after load: 256 MiB at 1 MiB, list identifier 0") {
  CopyDevice device;
  CHECK(device
            .run(hex("83 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"),
                 hex("00 1E 00 00 00 00 00 00 00 00 00 00 00 00 00 10"
                     "00 00 00 00 00 00 08 00 00 08 00 00 00 00 00 00"),
                 kSource)
            .good());
  Command& information = device.run(hex("84 07 00 00 00 00 00 00 00 00 00 00 03 25 00 00"), {}, kSource);
  CHECK(information.data().size() == 550);
  CopyResult result(information.data());
  CHECK(result.header.transfer_count == 0x80000);
  CHECK(result.token->number_of_bytes_represented == 256u << 20);
}

TEST_CASE("Windows' POPULATE TOKEN of two ranges with a time to live of 5 seconds") {
  CopyDevice device;
  CHECK(device
            .run(hex("83 10 00 00 00 00 00 00 00 01 00 00 00 30 00 00"),
                 hex("00 2E 00 00 00 00 00 05 00 00 00 00 00 00 00 20"
                     "00 00 00 00 00 00 10 00 00 00 00 08 00 00 00 00"
                     "00 00 00 00 28 00 00 00 00 00 02 00 00 00 00 00"),
                 kSource)
            .good());
  CopyResult result = device.result(1, kSource);
  CHECK(result.complete);
  CHECK(result.header.transfer_count == 0x208);
  CHECK(result.descriptors_length == 0x202);
  device.clock.advance(std::chrono::seconds(5));
  CHECK(device.write_using(2, *result.token, {{0, 8}}).sense().code ==
        scsi::AdditionalSense::invalid_token_operation_token_expired);
}

TEST_CASE("Windows' four WRITE USING TOKEN of 64 MiB at 1 GiB, from 2 MiB into the token") {
  CopyDevice device;
  device.fill(kSource, {0x1000 + 0x1FFFF, 3}, 0x5A);  // over the seam of the first and second step
  tokens::RodToken token = device.token_of({{0, 0x81000}});
  for (std::uint32_t step = 0; step < 4; ++step) {
    std::uint32_t at = step * 0x20000;
    Bytes list = write_list(token, {{0x200000 + at, 0x20000}}, 0x1000 + at);
    CHECK(Bytes(list.begin(), list.begin() + 8) == hex("02 26 00 00 00 00 00 00"));
    Bytes cdb = hex("83 11 00 00 00 00 00 00 00 00 00 00 02 28 00 00");
    cdb[9] = static_cast<std::uint8_t>(step);
    CHECK(device.run(cdb, list, kDestination).good());
  }
  CHECK(device.read(kDestination, {0x200000 + 0x1FFFF, 3}) == device.read(kSource, {0x1000 + 0x1FFFF, 3}));
}

TEST_CASE("Windows' WRITE USING TOKEN on a 4096-byte logical unit counts the offset in its blocks") {
  CopyDevice device;
  device.fill(CopyDevice::kLarge, {0x4200, 2}, 0x77);
  tokens::RodToken token = device.token_of({{0, 0x8200}}, {}, CopyDevice::kLarge);
  CHECK(device.write_using(5, token, {{0x44000, 0x4000}}, 0x4200, 0, CopyDevice::kLarge).good());
  CHECK(device.read(CopyDevice::kLarge, {0x44000, 2}) == device.read(CopyDevice::kLarge, {0x4200, 2}));
}
