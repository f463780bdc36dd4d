// Not tested, and why: commands that take time (memory stores complete at once); the wire (test/cli).
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "host/offload_copy.h"
#include "test/host/array_of_two_disks.h"

using namespace host;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t MiB = 1ull << 20;

std::vector<std::uint8_t> pattern(std::size_t size, std::uint8_t seed) {
  std::vector<std::uint8_t> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i / 512 * 13 + i + seed);
  return bytes;
}

std::vector<std::uint8_t> read(ClassDriver& driver, std::uint64_t offset, std::size_t size) {
  std::vector<std::uint8_t> bytes(size, 0xEE);
  CHECK(driver.read(offset, bytes) == NtStatus::success);
  return bytes;
}

OffloadReadResult offload_read(ClassDriver& driver, std::vector<DataSetRange> ranges, std::uint32_t time_to_live = 0) {
  return driver.offload_read(ranges, time_to_live);
}
OffloadWriteResult offload_write(ClassDriver& driver, const Token& token, std::uint64_t token_offset,
                                 std::vector<DataSetRange> ranges) {
  return driver.offload_write(token, token_offset, ranges);
}

}  // namespace

TEST_CASE("Windows finds ODX on our disks") {
  test::ArrayOfTwoDisks array;
  REQUIRE(array.first.start() == NtStatus::success);
  INFO(array.first.disk().no_odx_reason);
  REQUIRE(array.first.disk().rod_limits.has_value());
  CHECK(array.first.disk().thin);
  CHECK(array.first.disk().bytes() == 64ull << 30);
  CHECK_FALSE(array.first.disk().write_protected);
}

TEST_CASE("a fragmented file goes through one token, and the copy is its bytes in order") {
  test::ArrayOfTwoDisks array;
  array.start();
  auto one = pattern(64 * 1024, 1), two = pattern(4096, 2), three = pattern(128 * 1024, 3);
  REQUIRE(array.first.write(MiB, one) == NtStatus::success);
  REQUIRE(array.first.write(9 * MiB, two) == NtStatus::success);
  REQUIRE(array.first.write(5 * MiB, three) == NtStatus::success);
  array.first.take_trace();
  OffloadReadResult token =
      offload_read(array.first, {{MiB, one.size()}, {9 * MiB, two.size()}, {5 * MiB, three.size()}});
  REQUIRE(token.status == NtStatus::success);
  CHECK(token.length_protected == one.size() + two.size() + three.size());
  CHECK(array.first.take_trace().size() == 2);
  const std::uint64_t half = token.length_protected / 2;
  OffloadWriteResult written = offload_write(array.second, token.token, 0, {{0, half}, {40 * MiB, half}});
  CHECK(written.status == NtStatus::success);
  CHECK(written.length_copied == token.length_protected);
  std::vector<std::uint8_t> whole = one;
  whole.insert(whole.end(), two.begin(), two.end());
  whole.insert(whole.end(), three.begin(), three.end());
  std::vector<std::uint8_t> copy = read(array.second, 0, half);
  auto rest = read(array.second, 40 * MiB, half);
  copy.insert(copy.end(), rest.begin(), rest.end());
  CHECK(copy == whole);
}

TEST_CASE("the copy holds the data of the moment the token was made") {
  test::ArrayOfTwoDisks array;
  array.start();
  auto before = pattern(MiB, 1), after = pattern(MiB, 99);
  array.first.write(0, before);
  OffloadReadResult token = offload_read(array.first, {{0, MiB}});
  array.first.write(0, after);
  CHECK(offload_write(array.second, token.token, 0, {{0, MiB}}).length_copied == MiB);
  CHECK(read(array.second, 0, MiB) == before);
  CHECK(read(array.first, 0, MiB) == after);
}

TEST_CASE("a token unused for its time to live is invalid, a microsecond before it is not") {
  for (auto [wait, status] : {std::pair{5s - 1us, NtStatus::success}, {5s + 0us, NtStatus::invalid_token}}) {
    test::ArrayOfTwoDisks array;
    array.start();
    OffloadReadResult token = offload_read(array.first, {{0, MiB}}, 5);
    array.clock.advance(wait);
    OffloadWriteResult written = offload_write(array.second, token.token, 0, {{0, MiB}});
    CHECK(written.status == status);
    CHECK(written.token_invalid == (status == NtStatus::invalid_token));
  }
}

TEST_CASE("a token with any one bit flipped is invalid, and nothing is written") {
  test::ArrayOfTwoDisks array;
  array.start();
  array.first.write(0, pattern(4096, 1));
  OffloadReadResult token = offload_read(array.first, {{0, 4096}});
  for (std::size_t byte : {8u, 20u, 63u, 100u, 200u, 511u}) {
    CAPTURE(byte);
    Token flipped = token.token;
    flipped[byte] ^= 1;
    CHECK(offload_write(array.second, flipped, 0, {{0, 4096}}).status == NtStatus::invalid_token);
  }
  CHECK(read(array.second, 0, 4096) == std::vector<std::uint8_t>(4096));
}

TEST_CASE("disks that cannot reach each other are DEVICE_UNREACHABLE, by way of RRTI") {
  test::ArrayOfTwoDisks array;
  array.copy_manager.reachability().cut("a", "b");
  array.start();
  OffloadReadResult token = offload_read(array.first, {{0, MiB}});
  CHECK(offload_write(array.second, token.token, 0, {{0, MiB}}).status == NtStatus::device_unreachable);
  CHECK(array.second.trace().size() == 2);
}

TEST_CASE("a write that asks for more than the token holds is DATA_OVERRUN, nothing written") {
  test::ArrayOfTwoDisks array;
  array.start();
  array.first.write(0, pattern(8192, 1));
  OffloadReadResult token = offload_read(array.first, {{0, 4096}});
  CHECK(offload_write(array.second, token.token, 0, {{0, 8192}}).status == NtStatus::data_overrun);
  CHECK(read(array.second, 0, 8192) == std::vector<std::uint8_t>(8192));
}

TEST_CASE("the zero token writes zeros on any disk without a token having been made") {
  test::ArrayOfTwoDisks array;
  array.start();
  array.second.write(0, pattern(MiB, 5));
  CHECK(offload_write(array.second, zero_token(), 0, {{4096, 8192}}).length_copied == 8192);
  auto bytes = read(array.second, 0, 16384);
  auto expected = pattern(16384, 5);
  std::fill(expected.begin() + 4096, expected.begin() + 12288, std::uint8_t{0});
  CHECK(bytes == expected);
}

TEST_CASE("a whole disk of 64 GiB is copied, also between block lengths, and the middle is right") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    test::ArrayOfTwoDisks array({}, block_length);
    array.start();
    auto data = pattern(MiB, 7);
    for (std::uint64_t at : {std::uint64_t{0}, 31 * 1024 * MiB - 4096, 64 * 1024 * MiB - MiB})
      array.first.write(at, data);
    CopyOutcome outcome = copy(array.first, array.second, {0, 0, 64ull << 30});
    CHECK(outcome.status == NtStatus::success);
    CHECK(outcome.reason == "");
    CHECK(outcome.offloaded_bytes == 64ull << 30);
    CHECK(read(array.second, 31 * 1024 * MiB - 4096, MiB) == data);
    CHECK(read(array.second, 64 * 1024 * MiB - MiB, MiB) == data);
  }
}

TEST_CASE("too many tokens alive: INSUFFICIENT_RESOURCES for the read, not retried") {
  scsi::DeviceProfile profile;
  profile.maximum_tokens = 1;
  test::ArrayOfTwoDisks array(profile);
  array.start();
  CHECK(offload_read(array.first, {{0, MiB}}).status == NtStatus::success);
  array.first.take_trace();
  CHECK(offload_read(array.first, {{0, MiB}}).status == NtStatus::insufficient_resources);
  CHECK(array.first.trace().size() == 1);
}

TEST_CASE("whatever the limits and ranges, offloaded bytes are the source's at the time of the token") {
  const std::uint64_t seed = 20261120;
  INFO("seed ", seed);
  base::SeededEntropy random(seed);
  auto below = [&random](std::uint64_t limit) { return random.u64() % limit; };
  constexpr std::uint64_t kBlock = 512, kBlocks = 512;  // of each disk that are used
  for (int round = 0; round < 40; ++round) {
    scsi::DeviceProfile profile;
    profile.maximum_range_descriptors = static_cast<std::uint16_t>(1 + below(5));
    profile.maximum_token_transfer_bytes = (8 + below(200)) * kBlock;
    profile.optimal_transfer_bytes = (1 + below(profile.maximum_token_transfer_bytes / kBlock)) * kBlock;
    test::ArrayOfTwoDisks array(profile);
    array.start();
    auto source = pattern(kBlocks * kBlock, static_cast<std::uint8_t>(round));
    std::vector<std::uint8_t> destination(source.size(), 0xDD);
    REQUIRE(array.first.write(0, source) == NtStatus::success);
    REQUIRE(array.second.write(0, destination) == NtStatus::success);
    // Ranges that do not overlap, in no order of address: one from each eighth of the disk.
    auto ranges = [&below](std::uint64_t count) {
      std::vector<DataSetRange> list;
      const std::uint64_t first = below(8);
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t eighth = (first + i * 3) % 8, start = below(32);
        list.push_back({(eighth * 64 + start) * kBlock, (1 + below(32)) * kBlock});
      }
      return list;
    };
    auto from = ranges(1 + below(8)), to = ranges(1 + below(8));
    OffloadReadResult token = array.first.offload_read(from, below(2) * 60);
    REQUIRE_MESSAGE(token.status == NtStatus::success, token.reason);
    std::vector<std::uint8_t> stream;
    for (const DataSetRange& range : from)
      stream.insert(stream.end(), source.begin() + static_cast<std::ptrdiff_t>(range.offset),
                    source.begin() + static_cast<std::ptrdiff_t>(range.offset + range.length));
    REQUIRE(token.length_protected <= stream.size());
    CHECK(token.range_truncated == (token.length_protected < stream.size()));
    array.first.write(0, pattern(source.size(), 0x99));

    const std::uint64_t offset = below(token.length_protected / kBlock) * kBlock;
    std::uint64_t left = token.length_protected - offset, at = offset;
    std::vector<DataSetRange> fitting;
    for (DataSetRange range : to) {
      range.length = std::min(range.length, left);
      left -= range.length;
      if (range.length == 0) break;
      fitting.push_back(range);
      std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), range.length,
                  destination.begin() + static_cast<std::ptrdiff_t>(range.offset));
      at += range.length;
    }
    OffloadWriteResult written = array.second.offload_write(token.token, offset, fitting);
    REQUIRE_MESSAGE(written.status == NtStatus::success, written.reason);
    CHECK_FALSE(written.range_truncated);
    CHECK(written.length_copied == at - offset);
    CHECK(read(array.second, 0, destination.size()) == destination);
  }
}
