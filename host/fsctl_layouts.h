// FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE as byte buffers: MS-FSCC 2.3.41 to 2.3.44, ntifs.h. Little-endian, except
// the two fields of the token that SPC-4 prints.
// Thread: any, nothing is shared.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "host/scsi_layouts.h"

namespace host {

using base::le32;
using base::le64;

// CTL_CODE(FILE_DEVICE_FILE_SYSTEM, function, METHOD_BUFFERED, access).
inline constexpr std::uint32_t kFsctlOffloadRead = 0x00094264;   ///< FILE_READ_ACCESS
inline constexpr std::uint32_t kFsctlOffloadWrite = 0x00098268;  ///< FILE_WRITE_ACCESS

/// OFFLOAD_READ_FLAG_ALL_ZERO_BEYOND_CURRENT_RANGE (MS-FSCC 2.3.42 and winioctl.h; the WDK's page of the structure has
/// other numbers).
inline constexpr std::uint32_t kAllZeroBeyondCurrentRange = 0x00000001;

/// FSCTL_OFFLOAD_READ_INPUT (2.3.41). Flags and Reserved are ignored.
struct OffloadReadInput {
  le32 size;
  le32 flags;
  le32 token_time_to_live_ms;
  le32 reserved;
  le64 file_offset;
  le64 copy_length;
};
static_assert(sizeof(OffloadReadInput) == 32 && offsetof(OffloadReadInput, file_offset) == 16);

/// FSCTL_OFFLOAD_READ_OUTPUT (2.3.42).
struct OffloadReadOutput {
  le32 size;
  le32 flags;
  le64 transfer_length;
  Token token;
};
static_assert(sizeof(OffloadReadOutput) == 528 && offsetof(OffloadReadOutput, token) == 16);

/// FSCTL_OFFLOAD_WRITE_INPUT (2.3.43). Flags are ignored.
struct OffloadWriteInput {
  le32 size;
  le32 flags;
  le64 file_offset;
  le64 copy_length;
  le64 transfer_offset;
  Token token;
};
static_assert(sizeof(OffloadWriteInput) == 544 && offsetof(OffloadWriteInput, token) == 32);

/// FSCTL_OFFLOAD_WRITE_OUTPUT (2.3.44).
struct OffloadWriteOutput {
  le32 size;
  le32 flags;
  le64 length_written;
};
static_assert(sizeof(OffloadWriteOutput) == 16);

}  // namespace host
