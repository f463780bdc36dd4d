// Not tested, and why: ranges that are not made of whole blocks (ClassDriver refuses them before they get here).
#include "host/range_descriptors.h"

#include <doctest/doctest.h>

#include <array>

#include "base/entropy.h"
#include "test/host/scripted_target.h"

using namespace host;

TEST_CASE("a range of more than FFFFFFFFh blocks becomes several descriptors") {
  const DataSetRange range{512, (0x1'0000'0000ull + 5) * 512};
  RangeCut cut = cut_ranges(std::span(&range, 1), 512, 0, {64, ~0ull});
  REQUIRE(cut.descriptors.size() == 2);
  CHECK(cut.descriptors[0].lba == 1u);
  CHECK(cut.descriptors[0].blocks == 0xFFFFFFFFu);
  CHECK(cut.descriptors[1].lba == 0x1'0000'0000ull);
  CHECK(cut.descriptors[1].blocks == 6u);
  CHECK(cut.blocks == 0x1'0000'0005ull);
}

TEST_CASE("cutting stops at the descriptor limit and at the block limit") {
  std::array<DataSetRange, 3> ranges{{{0, 4096}, {8192, 4096}, {16384, 4096}}};
  CHECK(cut_ranges(ranges, 512, 0, {2, ~0ull}).blocks == 16);
  CHECK(cut_ranges(ranges, 512, 0, {64, 10}).descriptors.size() == 2);
  CHECK(cut_ranges(ranges, 512, 0, {64, 10}).blocks == 10);
  CHECK(cut_ranges(ranges, 512, 24, {64, 10}).blocks == 0);
}

TEST_CASE("cuts one after the other cover every block once and in order, whatever the limits") {
  base::SeededEntropy entropy(20261120);
  INFO("seed ", entropy.seed());
  for (int round = 0; round < 200; ++round) {
    std::vector<DataSetRange> ranges;
    std::vector<std::uint64_t> want;
    for (std::uint64_t i = 0; i < 1 + entropy.u64() % 6; ++i) {
      std::uint64_t first = i * 1000 + entropy.u64() % 100, count = 1 + entropy.u64() % 50;
      ranges.push_back({first * 512, count * 512});
      for (std::uint64_t block = first; block < first + count; ++block) want.push_back(block);
    }
    CutLimits limits{1 + entropy.u64() % 4, 1 + entropy.u64() % 40};
    std::vector<std::uint64_t> got;
    while (got.size() < want.size()) {
      RangeCut cut = cut_ranges(ranges, 512, got.size(), limits);
      REQUIRE(cut.blocks > 0);
      REQUIRE(cut.blocks <= limits.blocks);
      REQUIRE(cut.descriptors.size() <= limits.descriptors);
      for (const RangeDescriptor& descriptor : cut.descriptors)
        for (std::uint64_t i = 0; i < descriptor.blocks; ++i) got.push_back(descriptor.lba + i);
    }
    REQUIRE(got == want);
  }
}
