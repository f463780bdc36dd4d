// What the tests of the plugin send and expect in common.
#pragma once

#include <doctest/doctest.h>

#include <numeric>
#include <string>

#include "test/scsi/block_cdbs.h"
#include "test/scsi/copy_fixture.h"
#include "test/tcmu/fake_runner.h"

namespace test {

inline constexpr std::uint64_t kMiB = 1 << 20;

inline Bytes test_unit_ready() { return {0x00, 0, 0, 0, 0, 0}; }
inline Bytes inquiry(std::uint8_t allocation_length) { return {0x12, 0, 0, 0, allocation_length, 0}; }
inline Bytes inquiry_page(std::uint8_t page, std::uint8_t allocation_length = 255) {
  return {0x12, 1, page, 0, allocation_length, 0};
}
inline Bytes read_capacity() { return hex("25000000000000000000"); }

/// After the unit attention of a new nexus.
inline void make_ready(FakeDevice& device) {
  REQUIRE_MESSAGE(device.opened(), last_error());
  CHECK(device.execute(test_unit_ready()).text() == "06/29/00");
  CHECK(device.execute(test_unit_ready()).good());
}

inline Bytes patterned(std::size_t size, std::uint8_t seed) {
  Bytes bytes(size);
  std::iota(bytes.begin(), bytes.end(), seed);
  for (std::size_t i = 0; i < size; i += 256) bytes[i] ^= static_cast<std::uint8_t>(i >> 8);
  return bytes;
}

/// Unit attentions are told once; a host sends again what one of them answered.
inline Outcome execute_again(FakeDevice& device, const Bytes& cdb, const Bytes& memory) {
  for (;;) {
    Outcome outcome = device.execute(cdb, memory);
    if (!outcome.text().starts_with("06/")) return outcome;
  }
}

inline Bytes read_blocks(FakeDevice& device, std::uint32_t lba, std::uint16_t blocks) {
  Outcome outcome = execute_again(device, read_10(lba, blocks), Bytes(blocks * 512u, 0xEE));
  CHECK(outcome.text() == "status 0");
  return outcome.data;
}
inline void write_blocks(FakeDevice& device, std::uint32_t lba, const Bytes& data) {
  Outcome outcome = execute_again(device, write_10(lba, static_cast<std::uint16_t>(data.size() / 512)), data);
  CHECK(outcome.text() == "status 0");
}

}  // namespace test
