// The array's personality: the limits it advertises and enforces. One struct, so that a profile is data.
// Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tokens/rod_token.h"

namespace scsi {

/// How long copies seem to take (design.md section 6): `latency`, then the bytes at `rate`, on the array clock.
struct CopyDuration {
  std::uint64_t latency_us = 0;
  std::uint64_t bytes_per_second = 0;  ///< 0: no time for bytes; at most kHighestRate
  static constexpr std::uint64_t kHighestRate = 1ull << 43;
  enum class Completion : std::uint8_t {
    at_once,    ///< all blocks change together when the time is over
    scheduled,  ///< blocks change, and progress moves, as the time passes
  };
  Completion completion = Completion::scheduled;
  bool operator==(const CopyDuration&) const = default;
};

/// What a copy between logical units that cannot reach each other is refused with.
enum class UnreachableRefusal : std::uint8_t {
  unreachable_copy_target,           ///< 05/08/04; WINDOWS: STATUS_DEVICE_UNREACHABLE
  remote_token_usage_not_supported,  ///< 05/23/02
  copy_target_device_not_reachable,  ///< 0A/0D/02
};

/// Block Device ROD Limits (VPD 8Fh descriptor 0000h, SBC-4 6.6.9) and token limits. Byte figures, so that one
/// profile fits 512- and 4096-byte logical units.
struct DeviceProfile {
  // Which commands exist. With neither of the first two there is no third-party copy: 3PC is 0, no VPD page 8Fh.
  bool odx = true;            ///< POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION
  bool extended_copy = true;  ///< EXTENDED COPY, LID1 and LID4, and what it obliges to (SPC-4 table 108)
  bool background = true;     ///< IMMED may be 1; COPY OPERATION ABORT
  bool third_party_copy() const { return odx || extended_copy; }

  // WINDOWS: never uses more than 64 (classpnp, classp.h); above 0400h the HCK fails (QNAP's additions to LIO).
  std::uint16_t maximum_range_descriptors = 64;
  std::uint32_t maximum_inactivity_timeout_s = 600;
  std::uint32_t default_inactivity_timeout_s = 60;
  // WINDOWS: at least 256 MiB and at least the optimal count, which is at most 256 MiB (windows-host 7).
  std::uint64_t maximum_token_transfer_bytes = 4ull << 30;
  std::uint64_t optimal_transfer_bytes = 256ull << 20;
  /// Ranges that do not begin and end at multiples of this are 05/26/04; 0: any do. WINDOWS: the code becomes
  /// STATUS_INVALID_OFFSET_ALIGNMENT.
  std::uint32_t offload_alignment_bytes = 0;

  std::uint32_t token_lifetime_s = 3600;          ///< from creation, whatever the inactivity timer says
  std::uint32_t minimum_token_lifetime_s = 1;     ///< what a ROD CSCD descriptor may ask for (SPC-4 6.4.5.10)
  std::uint32_t maximum_token_lifetime_s = 3600;  ///< at least token_lifetime_s
  std::uint32_t maximum_tokens = 65536;           ///< beyond: 0B/55/03
  std::uint32_t maximum_copy_operations = 1024;   ///< being processed at once, per array; beyond: 0B/55/03
  std::uint32_t maximum_copy_results = 65536;     ///< results kept per array; the oldest goes first

  // What tokens mean.
  /// VPD 8Fh descriptor 0108h and what is judged by it; ascending.
  std::vector<tokens::RodTypeSupport> rod_types = tokens::all_rod_types();
  /// What POPULATE TOKEN makes when it is not told (RTV=0).
  tokens::RodType populate_token_type = tokens::RodType::point_in_time_default;
  /// A write to its source cancels a point in time default token (23h/08h), as it always does change vulnerable ones.
  bool source_write_cancels = false;
  /// WRITE USING TOKEN for more than the ROD holds: false: 05/0D/04, nothing written (the HLK); true: what there is
  /// (SBC-4 5.59).
  bool partial_write = false;
  UnreachableRefusal unreachable_refusal = UnreachableRefusal::unreachable_copy_target;
  std::optional<std::uint8_t> remote_tokens{};  ///< REMOTE TOKENS; absent: by what can be reached

  CopyDuration copy_duration{};      ///< of WRITE USING TOKEN and EXTENDED COPY
  CopyDuration populate_duration{};  ///< of POPULATE TOKEN

  // EXTENDED COPY (VPD 8Fh descriptors 0004h, 8001h and C001h; RECEIVE COPY OPERATING PARAMETERS).
  std::uint16_t maximum_cscd_descriptors = 64;          ///< beyond: 05/26/06
  std::uint16_t maximum_segment_descriptors = 256;      ///< beyond: 05/26/08
  std::uint32_t maximum_descriptor_list_bytes = 16384;  ///< beyond: 05/1A/00
  std::uint32_t maximum_inline_data_bytes = 8192;       ///< beyond: 05/26/0B
  std::uint32_t maximum_segment_bytes = 0;              ///< 0: not limited; beyond: 0A/26/0D
  std::uint8_t data_segment_granularity_log2 = 0;       ///< bytes; else: 0A/26/0D
  std::uint32_t held_data_limit_bytes = 4u << 20;       ///< for each operation; more is dropped (HDD); 0: none is held
  std::uint8_t held_data_granularity_log2 = 0;
  /// Whether EXTENDED COPY finds logical units of the array's other targets, to which its I_T nexus has no path
  /// (CVE-2020-28374).
  bool extended_copy_across_targets = false;

  // VPD B0h, in blocks or bytes as named there.
  std::uint16_t maximum_compare_and_write_blocks = 255;
  std::uint64_t maximum_transfer_bytes = 0;  ///< 0: not reported; WINDOWS: must not bite ODX (windows-host 1.4)
  /// What one READ, WRITE, WRITE AND VERIFY or VERIFY moves at most, reported or not: its data is in memory at once.
  std::uint64_t largest_transfer_bytes = 256ull << 20;
  std::uint64_t optimal_transfer_length_bytes = 1 << 20;
  std::uint64_t maximum_atomic_bytes = 1 << 20;  ///< WRITE ATOMIC, where the store has it; 0: nowhere
  /// How fast FORMAT UNIT and SANITIZE seem to be, on the array clock; 0: as fast as the store is.
  std::uint64_t erase_bytes_per_second = 0;
  std::uint32_t maximum_unmap_lba_count = 0xFFFFFFFF;
  std::uint32_t maximum_unmap_descriptors = 256;
  /// 0: not limited. A store in a file writes every byte, and nothing ends the command before it is done.
  std::uint64_t maximum_write_same_bytes = 512ull << 20;

  bool operator==(const DeviceProfile&) const = default;
};

}  // namespace scsi
