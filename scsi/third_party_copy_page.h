// VPD page 8Fh, Third-party Copy (SPC-4 7.8.17): the codec. What a logical unit puts into it is the copy manager's.
//
// Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tokens/rod_token.h"

namespace scsi {

/// The page's content, one member for each descriptor it may have; absent ones are left out. Encoded in ascending type
/// order, so that Block Device ROD Limits come first. WINDOWS: classpnp looks at the first descriptor only and wants
/// type 0000h with 36 bytes.
struct ThirdPartyCopyPage {
  std::uint8_t peripheral = 0;  ///< PERIPHERAL QUALIFIER and DEVICE TYPE

  /// 0000h (SBC-4 6.6.9).
  struct BlockDeviceRodLimits {
    std::uint16_t maximum_range_descriptors = 0;
    std::uint32_t maximum_inactivity_timeout_s = 0;
    std::uint32_t default_inactivity_timeout_s = 0;
    std::uint64_t maximum_token_transfer_size_blocks = 0;
    std::uint64_t optimal_transfer_count_blocks = 0;
  };
  std::optional<BlockDeviceRodLimits> block_device_rod_limits{};

  /// 0001h: ascending operation codes with their service actions, ascending.
  struct SupportedCommand {
    std::uint8_t operation_code = 0;
    std::vector<std::uint8_t> service_actions{};
  };
  std::vector<SupportedCommand> supported_commands{};

  /// 0004h, for EXTENDED COPY.
  struct ParameterData {
    std::uint16_t maximum_cscd_descriptor_count = 0;
    std::uint16_t maximum_segment_descriptor_count = 0;
    std::uint32_t maximum_descriptor_list_length = 0;
    std::uint32_t maximum_inline_data_length = 0;
  };
  std::optional<ParameterData> parameter_data{};

  std::vector<std::uint8_t> supported_descriptors{};  ///< 0008h, ascending
  std::vector<std::uint16_t> supported_cscd_ids{};    ///< 000Ch, ascending

  /// 0106h with the block device feature descriptor.
  struct RodTokenFeatures {
    std::uint8_t remote_tokens = 0;
    std::uint32_t minimum_token_lifetime_s = 0;
    std::uint32_t maximum_token_lifetime_s = 0;
    std::uint32_t maximum_token_inactivity_timeout_s = 0;
    std::uint16_t optimal_block_rod_length_granularity_blocks = 0;
    std::uint64_t maximum_bytes_in_block_rod = 0;
    std::uint64_t optimal_bytes_in_block_rod_transfer = 0;
    std::uint64_t optimal_bytes_to_token_per_segment = 0;
    std::uint64_t optimal_bytes_from_token_per_segment = 0;
  };
  std::optional<RodTokenFeatures> rod_token_features{};

  /// 0108h, one entry for each type, ascending.
  struct SupportedRodType {
    tokens::RodType type{};
    bool extended_copy_internal = false;
    bool token_in = false;
    bool token_out = false;
    std::uint16_t preference = 0;
  };
  std::vector<SupportedRodType> supported_rod_types{};

  /// 8001h.
  struct GeneralCopyOperations {
    std::uint32_t total_concurrent_copies = 0;
    std::uint32_t maximum_identified_concurrent_copies = 0;
    std::uint32_t maximum_segment_length_bytes = 0;
    std::uint8_t data_segment_granularity_log2 = 0;
    std::uint8_t inline_data_granularity_log2 = 0;
  };
  std::optional<GeneralCopyOperations> general_copy_operations{};

  /// C001h, for RECEIVE COPY DATA.
  struct HeldData {
    std::uint32_t held_data_limit_bytes = 0;
    std::uint8_t held_data_granularity_log2 = 0;
  };
  std::optional<HeldData> held_data{};
};

/// The whole page, header included.
std::vector<std::uint8_t> encode(const ThirdPartyCopyPage& page);

}  // namespace scsi
