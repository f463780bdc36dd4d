// The plugin in a runner without a kernel: what it answers to commands, and what becomes of their data.
//
// Not tested, and why: the daemon itself, its ring and its threads (test/vm); what each command answers (test/scsi).
#include "test/tcmu/plugin_fixture.h"

using namespace test;

namespace {

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
    Outcome capacity = device.execute(read_capacity(), Bytes(8));
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

  TEST_CASE("what stands behind the CDB in memory is not read") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    // The runner puts A5h there; in a CDB of 16 bytes these would be reserved bits.
    CHECK(device.execute(read_10(0, 1), Bytes(512)).good());
    CHECK(device.execute(cdb_6(0x08, 0, 1), Bytes(512)).good());
  }

  TEST_CASE("a CDB of variable length is an operation code that is not supported") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    Bytes cdb(32);
    cdb[0] = 0x7F;
    cdb[7] = 24;
    CHECK(device.execute(cdb, Bytes(512)).text() == "05/20/00");
  }

  TEST_CASE("data-out that is shorter than the CDB says is refused, or written as far as it goes in whole blocks") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    write_blocks(device, 0, patterned(1024, 1));
    CHECK(device.execute(write_10(0, 2), patterned(512, 9)).good());
    Bytes expected = patterned(512, 9), rest = patterned(1024, 1);
    expected.insert(expected.end(), rest.begin() + 512, rest.end());
    CHECK(read_blocks(device, 0, 2) == expected);
    CHECK(device.execute(unmap_cdb(24), Bytes(8)).text() == "05/1A/00");
  }

  TEST_CASE("sense data has its field pointer, and what is no sense data is zeros") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    Outcome outcome = device.execute({0x12, 0, 0x83, 0, 96, 0}, Bytes(96));  // a page code without EVPD
    CHECK(outcome.text() == "05/24/00");
    CHECK(outcome.sense[0] == 0x70);
    CHECK((outcome.sense[15] & 0xC0) == 0xC0);  // SKSV, C/D
    CHECK(Bytes(outcome.sense.begin() + 16, outcome.sense.begin() + 18) == hex("0002"));
    CHECK(Bytes(outcome.sense.begin() + 18, outcome.sense.end()) == Bytes(tcmu::kSenseBufferLength - 18));
  }

  TEST_CASE("a serial number that LIO does not tell leaves one of ours") {
    FakeDevice device("odx/memory", kMiB, "");
    Outcome serial = device.execute(inquiry_page(0x80), Bytes(255));
    CHECK(serial.data[3] == 20);
  }

  TEST_CASE("blocks of 4096 bytes are LIO's word") {
    FakeDevice device("odx/memory", kMiB, "1", 4096);
    make_ready(device);
    CHECK(device.execute(read_capacity(), Bytes(8)).data == hex("000000FF00001000"));
    FakeDevice odd("odx/memory", kMiB, "1", 1024);
    CHECK_FALSE(odd.opened());
    CHECK(last_error().contains("hw_block_size is 1024; expected 512 or 4096"));
  }
}
