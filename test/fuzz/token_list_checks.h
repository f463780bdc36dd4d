// What the fuzz targets of POPULATE TOKEN's and WRITE USING TOKEN's parameter lists share: logical units of both block
// lengths, and what must hold for ranges that were accepted.
#pragma once

#include <cstdlib>
#include <memory>

#include "handlers/memory_store.h"
#include "scsi/copy_parameter_list.h"
#include "scsi/logical_unit.h"

namespace fuzz {

inline void require(bool good) {
  if (!good) std::abort();
}

/// A thin logical unit of 8 TiB, so that no limit hides the capacity check.
inline scsi::LogicalUnit& unit(std::uint32_t block_length) {
  static auto make = [](std::uint32_t length) {
    scsi::LogicalUnitConfig config;
    config.name = "fuzz";
    config.block_length = length;
    return std::make_unique<scsi::LogicalUnit>(config, std::make_unique<handlers::MemoryStore>(8ull << 40));
  };
  static auto small = make(512);
  static auto large = make(4096);
  return block_length == 512 ? *small : *large;
}

inline void check_ranges(const scsi::CopyRanges& ranges, const scsi::LogicalUnit& lu,
                         const scsi::DeviceProfile& profile) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < ranges.ranges.size(); ++i) {
    const handlers::ByteRange& range = ranges.ranges[i];
    require(range.length > 0 && range.length % lu.block_length() == 0 && range.offset % lu.block_length() == 0);
    require(range.end() > range.offset && range.end() <= lu.store().size_bytes());
    for (std::size_t j = 0; j < i; ++j)
      require(range.end() <= ranges.ranges[j].offset || ranges.ranges[j].end() <= range.offset);
    sum += range.length;
  }
  require(ranges.ranges.size() <= profile.maximum_range_descriptors);
  require(sum == ranges.total_bytes && sum <= profile.maximum_token_transfer_bytes);
}

inline void check_refusal(const scsi::Sense& sense, std::size_t size) {
  require(sense.key == scsi::SenseKey::illegal_request);
  require(!sense.field || sense.field->byte < size);
}

}  // namespace fuzz
