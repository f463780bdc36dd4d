// Cuts a request's byte ranges into BLOCK DEVICE RANGE DESCRIPTORs the way classpnp does.
// Thread: any, nothing is shared.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "host/scsi_layouts.h"

namespace host {

/// DEVICE_DATA_SET_RANGE: bytes of the disk, multiples of the logical block length.
struct DataSetRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool operator==(const DataSetRange&) const = default;
};

struct CutLimits {
  std::size_t descriptors = 0;
  std::uint64_t blocks = 0;
};

struct RangeCut {
  std::vector<RangeDescriptor> descriptors;
  std::uint64_t blocks = 0;  ///< their sum
};

/// The descriptors of the next command: from `done` blocks into `ranges` on, as far as `limits` allow. A range of
/// more than FFFFFFFFh blocks takes several descriptors. The limits of VPD B0h are left alone:
/// WINDOWS: they describe plain reads and writes too.
RangeCut cut_ranges(std::span<const DataSetRange> ranges, std::uint32_t block_length, std::uint64_t done,
                    CutLimits limits);

}  // namespace host
