// Not tested, and why: SystemEntropy (its output has no expected value; its failure needs a broken OpenSSL).
#include "base/bytes.h"

#include <doctest/doctest.h>

#include "base/crc.h"
#include "base/entropy.h"

using namespace base;

namespace {

struct Layout {
  be16 a;
  be24 b;
  be32 c;
  std::uint8_t d;
  be64 e;
};
static_assert(sizeof(Layout) == 18 && offsetof(Layout, b) == 2 && offsetof(Layout, c) == 5 &&
              offsetof(Layout, e) == 10);

}  // namespace

TEST_CASE("a big-endian field keeps its most significant byte first") {
  Layout layout{be16(0x0102), be24(0x030405), be32(0x06070809), 0x0A, be64(0x0B0C0D0E0F101112)};
  Bytes raw = bytes_of(layout);
  for (std::size_t i = 0; i < raw.size(); ++i) CHECK(raw[i] == i + 1);
  auto again = load<Layout>(raw);
  CHECK(again.b.value() == 0x030405);
  CHECK(again.e.value() == 0x0B0C0D0E0F101112);
}

TEST_CASE("a reader past the end gives zeros and stays not ok") {
  const std::uint8_t raw[] = {1, 2, 3};
  ByteReader reader(raw);
  CHECK(reader.u16() == 0x0102);
  CHECK(reader.ok());
  CHECK(reader.u32() == 0);
  CHECK_FALSE(reader.ok());
  CHECK(reader.u8() == 0);
  CHECK(reader.remaining() == 0);
}

TEST_CASE("take() of exactly what is left is good") {
  const std::uint8_t raw[] = {1, 2, 3};
  ByteReader reader(raw);
  CHECK(reader.take(3).size() == 3);
  CHECK(reader.ok());
  CHECK(reader.take(0).empty());
  CHECK(reader.ok());
}

TEST_CASE("take_up_to() takes what is left when a length says more, read from the same bytes or not") {
  const std::array<std::uint8_t, 4> bytes{3, 1, 2, 9};
  ByteReader whole(bytes);
  CHECK(whole.take_up_to(whole.u8()).size() == 3);
  ByteReader cut(Bytes(bytes).first(2));
  CHECK(cut.take_up_to(cut.u8()).size() == 1);
  CHECK(cut.take_up_to(1).empty());
  CHECK(cut.ok());
}

TEST_CASE("a length field closes itself, nested") {
  std::vector<std::uint8_t> out;
  ByteWriter writer(out);
  {
    auto outer = writer.length16();
    writer.u8(7);
    {
      auto inner = writer.length8();
      writer.u32(1);
    }
    writer.ascii("ab", 4);
  }
  CHECK(out == std::vector<std::uint8_t>{0, 10, 7, 4, 0, 0, 0, 1, 'a', 'b', ' ', ' '});
}

TEST_CASE("ASCII fields are cut to their width") {
  std::vector<std::uint8_t> out;
  ByteWriter(out).ascii("abcdef", 3);
  CHECK(out == std::vector<std::uint8_t>{'a', 'b', 'c'});
}

TEST_CASE("seeded entropy repeats itself, other seeds differ") {
  SeededEntropy a(1), b(1), c(2);
  auto first = a.u64();
  CHECK(first == b.u64());
  CHECK(first != c.u64());
}

TEST_CASE("both checksums have the check values of their polynomials, and CRC32C can be continued") {
  const Bytes digits = bytes_of(std::string_view("123456789"));
  CHECK(crc32(digits) == 0xCBF43926);
  CHECK(crc32c(digits) == 0xE3069283);
  CHECK(~crc32c_add(crc32c_add(kCrc32cStart, digits.first(4)), digits.subspan(4)) == 0xE3069283);
}
