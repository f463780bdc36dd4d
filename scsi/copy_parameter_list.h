// Parameter lists of POPULATE TOKEN and WRITE USING TOKEN: read, and checked against what the logical unit allows.
//
// Judges lengths, fields and ranges; not the token, which is TokenManager's, and not resources. Changes nothing.
// Thread: any.
#pragma once

#include <cstdint>
#include <expected>
#include <vector>

#include "base/bytes.h"
#include "handlers/backing_store.h"
#include "scsi/device_profile.h"
#include "scsi/sense.h"
#include "tokens/rod_token.h"

namespace scsi {

class LogicalUnit;

/// Range descriptors that passed, in their order, without those of no blocks.
struct CopyRanges {
  std::vector<handlers::ByteRange> ranges;
  std::uint64_t total_bytes = 0;
};

struct PopulateTokenRequest {
  bool immediate = false;
  std::uint32_t inactivity_timeout_s = 0;                             ///< the default already put in for 0
  tokens::RodType rod_type = tokens::RodType::point_in_time_default;  ///< the profile's already put in for RTV=0
  CopyRanges ranges;
};

struct WriteUsingTokenRequest {
  bool immediate = false;
  bool delete_token = false;
  std::uint64_t offset_into_rod_blocks = 0;
  tokens::RodToken token;
  CopyRanges ranges;
};

/// The longest parameter list: its first field counts what follows it in 16 bits.
inline constexpr std::uint32_t kMaximumTokenParameterList = 2 + 0xFFFF;

// Errors of both, SBC-4 5.12 and 5.59, in this order:
//   05/1A/00  the list is shorter than its fixed part
//   05/26/00  data length, IMMED=1 where there are no background copies, ROD TYPE, INACTIVITY TIMEOUT, range
//             descriptor length
//   05/26/08  more range descriptors than MAXIMUM RANGE DESCRIPTORS
//   05/26/00  one range, or their sum, over MAXIMUM TOKEN TRANSFER SIZE; two ranges that overlap
//   05/26/04  a range that does not begin and end where the profile's alignment wants it
//   05/21/00  a range beyond the capacity; INFORMATION is the first address there is not
// Descriptors that the list cuts off are ignored.

std::expected<PopulateTokenRequest, Sense> parse_populate_token(base::Bytes list, const LogicalUnit& lu,
                                                                const DeviceProfile& profile);
std::expected<WriteUsingTokenRequest, Sense> parse_write_using_token(base::Bytes list, const LogicalUnit& lu,
                                                                     const DeviceProfile& profile);

}  // namespace scsi
