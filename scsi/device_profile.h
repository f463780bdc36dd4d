// The array's personality: the limits it advertises and enforces. One struct, so that a profile is data.
#pragma once

#include <cstdint>

namespace scsi {

/// Block Device ROD Limits (VPD 8Fh descriptor 0000h, SBC-4 6.6.9) and token limits. Byte figures, so that one
/// profile fits 512- and 4096-byte logical units.
struct DeviceProfile {
  bool odx = true;  ///< POPULATE TOKEN, WRITE USING TOKEN and VPD 8Fh exist

  // WINDOWS: never uses more than 64; a value above 0400h fails the HCK (facts: windows-host 2.2, 7).
  std::uint16_t maximum_range_descriptors = 64;
  std::uint32_t maximum_inactivity_timeout_s = 600;
  std::uint32_t default_inactivity_timeout_s = 60;
  // WINDOWS: at least 256 MiB and at least the optimal count, which is at most 256 MiB (windows-host 7).
  std::uint64_t maximum_token_transfer_bytes = 4ull << 30;
  std::uint64_t optimal_transfer_bytes = 256ull << 20;

  std::uint32_t token_lifetime_s = 3600;         ///< from creation, whatever the inactivity timer says
  std::uint32_t maximum_tokens = 65536;          ///< beyond: 0B/55/03
  std::uint32_t maximum_copy_operations = 1024;  ///< being processed at once, per array; beyond: 0B/55/03
  std::uint32_t maximum_copy_results = 65536;    ///< results kept per array; the oldest goes first

  // VPD B0h, in blocks or bytes as named there.
  std::uint16_t maximum_compare_and_write_blocks = 255;
  std::uint64_t maximum_transfer_bytes = 0;  ///< 0: not reported; WINDOWS: must not bite ODX (windows-host 1.4)
  /// What one READ, WRITE, WRITE AND VERIFY or VERIFY moves at most, reported or not: its data is in memory at once.
  std::uint64_t largest_transfer_bytes = 256ull << 20;
  std::uint64_t optimal_transfer_length_bytes = 1 << 20;
  std::uint32_t maximum_unmap_lba_count = 0xFFFFFFFF;
  std::uint32_t maximum_unmap_descriptors = 256;
  /// 0: not limited. A store in a file writes every byte, and nothing ends the command before it is done.
  std::uint64_t maximum_write_same_bytes = 512ull << 20;
};

}  // namespace scsi
