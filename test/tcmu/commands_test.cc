// The plugin in a runner without a kernel: what it answers to commands, and what becomes of their data.
//
// Not tested, and why: the daemon itself, its ring and its threads (test/vm); what each command answers (test/scsi).
#include <doctest/doctest.h>

#include <numeric>

#include "test/scsi/block_cdbs.h"
#include "test/scsi/copy_fixture.h"
#include "test/tcmu/fake_runner.h"

using namespace test;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// After the unit attention of a new nexus.
void make_ready(FakeDevice& device) {
  CHECK(device.execute({0x00, 0, 0, 0, 0, 0}).text() == "06/29/00");
  CHECK(device.execute({0x00, 0, 0, 0, 0, 0}).good());
}

Bytes patterned(std::size_t size, std::uint8_t seed) {
  Bytes bytes(size);
  std::iota(bytes.begin(), bytes.end(), seed);
  for (std::size_t i = 0; i < size; i += 256) bytes[i] ^= static_cast<std::uint8_t>(i >> 8);
  return bytes;
}

Bytes inquiry(std::uint8_t allocation_length) { return {0x12, 0, 0, 0, allocation_length, 0}; }
Bytes inquiry_page(std::uint8_t page, std::uint8_t allocation_length = 255) {
  return {0x12, 1, page, 0, allocation_length, 0};
}

std::string text_of(base::Bytes bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

TEST_SUITE("tcmu commands") {
  TEST_CASE("a device answers with the serial number and the size that LIO has") {
    FakeDevice device("odx/memory", 3 * kMiB, "0123abcd-4567-89ef-0123-456789abcdef");
    REQUIRE_MESSAGE(device.opened(), last_error());
    Outcome standard = device.execute(inquiry(96), Bytes(96, 0xEE));
    CHECK(standard.good());
    CHECK(text_of(base::Bytes(standard.data).subspan(8, 8)) == "ODX     ");
    Outcome serial = device.execute(inquiry_page(0x80), Bytes(255, 0xEE));
    CHECK(text_of(base::Bytes(serial.data).subspan(4, serial.data[3])) == "0123abcd-4567-89ef-0123-456789abcdef");
    Outcome identification = device.execute(inquiry_page(0x83), Bytes(255, 0xEE));
    CHECK(base::Bytes(identification.data).subspan(8, 16).front() == 0x60);
    CHECK(Bytes(identification.data.begin() + 8, identification.data.begin() + 24) ==
          hex("60014050123ABCD456789EF012345678"));
    make_ready(device);
    Outcome capacity = device.execute(hex("25000000000000000000"), Bytes(8));
    CHECK(capacity.data == hex("000017FF00000200"));
  }

  TEST_CASE("data goes to and from memory in pieces of any size") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    const Bytes data = patterned(64 * 512, 7);
    for (std::size_t piece : {SIZE_MAX, std::size_t{4096}, std::size_t{700}}) {
      CAPTURE(piece);
      CHECK(device.execute(write_10(16, 64), data, piece).good());
      CHECK(device.execute(read_10(16, 64), Bytes(data.size(), 0xEE), piece).data == data);
      CHECK(device.execute(write_10(16, 64), Bytes(data.size()), piece).good());
    }
  }

  TEST_CASE("room that a command has no data for is zeros") {
    FakeDevice device("odx/memory", kMiB);
    Outcome standard = device.execute(inquiry(255), Bytes(255, 0xEE));
    const std::size_t length = standard.data[4] + 5u;
    REQUIRE(length < 255);
    CHECK(Bytes(standard.data.begin() + static_cast<long>(length), standard.data.end()) == Bytes(255 - length));
    make_ready(device);
    Outcome refused = device.execute(read_10(5000, 1), Bytes(512, 0xEE));
    CHECK(refused.text() == "05/21/00");
    CHECK(refused.data == Bytes(512));
    Outcome unknown = device.execute({0x02, 0, 0, 0, 0, 0}, Bytes(512, 0xEE));
    CHECK(unknown.text() == "05/20/00");
    CHECK(unknown.data == Bytes(512));
  }
}
