#include "host/range_descriptors.h"

#include <algorithm>
#include <limits>

namespace host {

RangeCut cut_ranges(std::span<const DataSetRange> ranges, std::uint32_t block_length, std::uint64_t done,
                    CutLimits limits) {
  constexpr std::uint64_t kLargestDescriptor = std::numeric_limits<std::uint32_t>::max();
  RangeCut cut;
  for (const DataSetRange& range : ranges) {
    std::uint64_t blocks = range.length / block_length;
    std::uint64_t skipped = std::min(done, blocks);
    done -= skipped;
    blocks -= skipped;
    std::uint64_t lba = range.offset / block_length + skipped;
    while (blocks > 0) {
      if (cut.descriptors.size() == limits.descriptors || cut.blocks == limits.blocks) return cut;
      const std::uint64_t count = std::min({blocks, kLargestDescriptor, limits.blocks - cut.blocks});
      cut.descriptors.push_back({lba, static_cast<std::uint32_t>(count), {}});
      cut.blocks += count;
      lba += count;
      blocks -= count;
    }
  }
  return cut;
}

}  // namespace host
