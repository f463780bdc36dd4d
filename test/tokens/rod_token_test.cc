// Not tested, and why: OpenSSL without HMAC-SHA-256 (cannot be produced here); the strength of the system's
// randomness (base::Entropy is seeded in tests); that the comparison takes constant time (CRYPTO_memcmp's promise).
#include "tokens/rod_token.h"

#include <doctest/doctest.h>

#include <bitset>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include "test/tokens/token_fixture.h"

using namespace tokens;
using namespace tokens_test;

namespace {

/// The outcome of a use, as a word for messages.
std::string outcome(const std::expected<TokenUse, TokenError>& use) {
  if (use) return use->zero() ? "zero token" : "valid";
  switch (use.error()) {
    case TokenError::unsupported_type: return "23h/01h";
    case TokenError::remote_not_supported: return "23h/02h";
    case TokenError::unknown: return "23h/04h";
    case TokenError::corrupt: return "23h/05h";
    case TokenError::revoked: return "23h/06h";
    case TokenError::expired: return "23h/07h";
    case TokenError::cancelled: return "23h/08h";
    case TokenError::deleted: return "23h/09h";
    case TokenError::invalid_length: return "23h/0Ah";
    case TokenError::too_many_tokens: return "too many";
  }
  return "?";
}

/// Which byte range of a token of ours yields which qualifier when a bit in it is flipped.
struct FlipRow {
  std::size_t first, last;
  const char* field;
  const char* expected;
};
constexpr FlipRow kFlips[] = {
    {0, 3, "ROD TYPE", "23h/01h"},
    {4, 5, "reserved", "23h/05h"},
    {6, 7, "ROD TOKEN LENGTH", "23h/0Ah"},
    {8, 15, "COPY MANAGER ROD TOKEN IDENTIFIER", "23h/05h"},
    {16, 47, "CREATOR LOGICAL UNIT DESCRIPTOR", "23h/02h"},
    {48, 63, "NUMBER OF BYTES REPRESENTED", "23h/05h"},
    {64, 95, "reserved", "23h/05h"},
    {96, 127, "device type specific data", "23h/05h"},
    {128, 255, "TARGET DEVICE DESCRIPTOR", "23h/05h"},
    {256, 271, "key epoch", "23h/04h"},
    {272, 303, "secure random", "23h/05h"},
    {304, 479, "random filler", "23h/05h"},
    {480, 511, "HMAC", "23h/05h"},
};

}  // namespace

TEST_CASE("a token with one bit flipped is refused, for every bit, with the qualifier of its field") {
  TokenFixture f;
  RodToken token = f.create();
  std::size_t next = 0;
  for (const FlipRow& row : kFlips) {
    REQUIRE(row.first == next);  // the table leaves no byte out
    next = row.last + 1;
    for (std::size_t byte = row.first; byte <= row.last; ++byte)
      for (int bit = 0; bit < 8; ++bit) {
        std::array<std::uint8_t, sizeof(RodToken)> image;
        std::memcpy(image.data(), &token, image.size());
        image[byte] ^= static_cast<std::uint8_t>(1u << bit);
        auto flipped = base::load<RodToken>(image);
        auto use = f.manager.use(flipped);
        INFO(row.field, ", byte ", byte, " bit ", bit, ", seed ", TokenFixture::kSeed);
        bool another_type =
            flipped.rod_type.value() != token.rod_type.value() && find_rod_type(all_rod_types(), flipped.rod_type);
        REQUIRE(outcome(use) == (another_type ? "23h/05h" : row.expected));
      }
  }
  CHECK(next == sizeof(RodToken));
  CHECK(outcome(f.manager.use(token)) == "valid");
}

TEST_CASE("a token's fields say what was captured and who made it") {
  TokenFixture f;
  RodToken token = *f.try_create(std::chrono::seconds(60), 123 * 512);
  base::Bytes raw = base::bytes_of(token);
  const std::uint8_t start[] = {0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x01, 0xF8};
  CHECK(std::memcmp(raw.data(), start, sizeof start) == 0);
  CHECK(token.number_of_bytes_represented_high == 0);
  CHECK(token.number_of_bytes_represented == 123 * 512);
  CHECK(raw[16] == 0xE4);
  CHECK(raw[16 + 31] == 0x00);
  CHECK(raw[16 + 30] == 0x02);
  CHECK(token.block_device.logical_block_length == 512);
  CHECK(token.target_device_descriptor[0] == 1);
}

TEST_CASE("the well-known zero token is FF FF 00 01 00 00 01 F8 and zeros") {
  RodToken token = zero_token();
  const std::uint8_t start[] = {0xFF, 0xFF, 0x00, 0x01, 0x00, 0x00, 0x01, 0xF8};
  base::Bytes raw = base::bytes_of(token);
  CHECK(std::memcmp(raw.data(), start, sizeof start) == 0);
  for (std::size_t i = 8; i < raw.size(); ++i) CHECK(raw[i] == 0);
}

TEST_CASE("the zero token needs no creation and never expires") {
  TokenFixture f;
  f.clock.advance(std::chrono::hours(24 * 365));
  CHECK(outcome(f.manager.use(zero_token())) == "zero token");
  RodToken wrong_length = zero_token();
  wrong_length.rod_token_length = 0x01F4;
  CHECK(outcome(f.manager.use(wrong_length)) == "23h/0Ah");
}

TEST_CASE("type is judged before length, length before creator") {
  TokenFixture f;
  RodToken token = f.create();
  token.creator_logical_unit_descriptor.designator[3] = 9;
  CHECK(outcome(f.manager.use(token)) == "23h/02h");
  token.rod_token_length = 0;
  CHECK(outcome(f.manager.use(token)) == "23h/0Ah");
  token.rod_type = 0x0080'0003;
  CHECK(outcome(f.manager.use(token)) == "23h/01h");
  token.rod_type = static_cast<std::uint32_t>(RodType::point_in_time_any);  // goes out only
  CHECK(outcome(f.manager.use(token)) == "23h/01h");
  CHECK(outcome(f.manager.use(RodToken{})) == "23h/01h");
}

TEST_CASE("a token from before a restart is unknown, one of another array is remote") {
  TokenFixture before;
  RodToken token = before.create();

  base::SeededEntropy other(7);
  TokenManager restarted({}, before.clock, other);
  restarted.add_creator(creator());
  CHECK(outcome(restarted.use(token)) == "23h/04h");

  TokenManager another_array({}, before.clock, other);
  another_array.add_creator(creator(0x77));
  CHECK(outcome(another_array.use(token)) == "23h/02h");
}

TEST_CASE("a token made with a guessed identifier is corrupt") {
  TokenFixture f;
  RodToken token = f.create();
  RodToken second = f.create();
  token.copy_manager_rod_token_identifier = second.copy_manager_rod_token_identifier;
  CHECK(outcome(f.manager.use(token)) == "23h/05h");
}

TEST_CASE("two tokens of the same data share no random byte run") {
  TokenFixture f;
  RodToken a = f.create(), b = f.create();
  CHECK(a.extended.key_epoch == b.extended.key_epoch);
  CHECK(a.extended.secure_random != b.extended.secure_random);
  CHECK(a.extended.filler != b.extended.filler);
  CHECK(a.extended.mac != b.extended.mac);
  int differing_bits = 0;
  for (std::size_t i = 0; i < 32; ++i)
    differing_bits += static_cast<int>(
        std::bitset<8>(static_cast<unsigned>(a.extended.secure_random[i] ^ b.extended.secure_random[i])).count());
  CHECK(differing_bits > 64);  // half of 256 on average
}

TEST_CASE("identifiers are not used again within 50 000 tokens") {
  TokenFixture f({.tokens = 4, .tombstones = 4, .lifetime = std::chrono::seconds(10)});
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 50'001; ++i) {
    RodToken token = f.create();
    CHECK(seen.insert(token.copy_manager_rod_token_identifier).second);
    f.manager.delete_by_client(id_of(token));
  }
}

TEST_CASE("the table of ROD types is ascending and offers no way to create a zero token") {
  const auto types = all_rod_types();
  std::uint32_t last = 0;
  for (const RodTypeSupport& row : types) {
    CHECK(static_cast<std::uint32_t>(row.type) > last);
    last = static_cast<std::uint32_t>(row.type);
    CHECK(find_rod_type(types, last) == &row);
  }
  CHECK_FALSE(find_rod_type(types, static_cast<std::uint32_t>(RodType::block_device_zero))->token_out);
  CHECK(find_rod_type(types, 0x0080'0003) == nullptr);
}
