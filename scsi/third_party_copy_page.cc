#include "scsi/third_party_copy_page.h"

#include <array>
#include <cstddef>

#include "base/bytes.h"

namespace scsi {

namespace {

constexpr std::uint8_t kPageCode = 0x8F;
constexpr std::size_t kDescriptorAlignment = 4;

/// Third-party copy descriptor types (SPC-4 table 622).
enum class DescriptorType : std::uint16_t {
  block_device_rod_limits = 0x0000,
  supported_commands = 0x0001,
  parameter_data = 0x0004,
  supported_descriptors = 0x0008,
  supported_cscd_ids = 0x000C,
  rod_token_features = 0x0106,
  supported_rod_types = 0x0108,
  general_copy_operations = 0x8001,
  held_data = 0xC001,
};

// What follows DESCRIPTOR TYPE and LENGTH.
struct BlockDeviceRodLimitsLayout {
  std::array<std::uint8_t, 6> vendor_specific{};
  base::be16 maximum_range_descriptors;
  base::be32 maximum_inactivity_timeout_s;
  base::be32 default_inactivity_timeout_s;
  base::be64 maximum_token_transfer_size;
  base::be64 optimal_transfer_count;
};
static_assert(sizeof(BlockDeviceRodLimitsLayout) == 0x20 &&
              offsetof(BlockDeviceRodLimitsLayout, maximum_range_descriptors) == 10 - 4 &&
              offsetof(BlockDeviceRodLimitsLayout, maximum_token_transfer_size) == 20 - 4);

struct ParameterDataLayout {
  base::be32 reserved_4;
  base::be16 maximum_cscd_descriptor_count;
  base::be16 maximum_segment_descriptor_count;
  base::be32 maximum_descriptor_list_length;
  base::be32 maximum_inline_data_length;
  std::array<std::uint8_t, 12> reserved_20{};
};
static_assert(sizeof(ParameterDataLayout) == 0x1C &&
              offsetof(ParameterDataLayout, maximum_inline_data_length) == 16 - 4);

struct RodTokenFeaturesLayout {
  std::uint8_t remote_tokens = 0;
  std::array<std::uint8_t, 11> reserved_5{};
  base::be32 minimum_token_lifetime_s;
  base::be32 maximum_token_lifetime_s;
  base::be32 maximum_token_inactivity_timeout_s;
  std::array<std::uint8_t, 18> reserved_28{};
};
static_assert(sizeof(RodTokenFeaturesLayout) == 46 - 4 &&
              offsetof(RodTokenFeaturesLayout, minimum_token_lifetime_s) == 16 - 4);

struct BlockFeatureLayout {
  std::uint8_t format_and_device_type = 0;
  std::uint8_t reserved_1 = 0;
  base::be16 length;
  base::be16 reserved_4;
  base::be16 optimal_rod_length_granularity;
  base::be64 maximum_bytes_in_block_rod;
  base::be64 optimal_bytes_in_block_rod_transfer;
  base::be64 optimal_bytes_to_token_per_segment;
  base::be64 optimal_bytes_from_token_per_segment;
  base::be64 reserved_40;
};
static_assert(sizeof(BlockFeatureLayout) == 48 && offsetof(BlockFeatureLayout, maximum_bytes_in_block_rod) == 8);

struct SupportedRodTypeLayout {
  base::be32 rod_type;
  std::uint8_t flags = 0;
  std::uint8_t reserved_5 = 0;
  base::be16 preference_indicator;
  std::array<std::uint8_t, 56> reserved_8{};
};
static_assert(sizeof(SupportedRodTypeLayout) == 64 && offsetof(SupportedRodTypeLayout, preference_indicator) == 6);
constexpr std::uint8_t kEcpyInt = 0x80;
constexpr std::uint8_t kTokenIn = 0x02;
constexpr std::uint8_t kTokenOut = 0x01;

struct GeneralCopyOperationsLayout {
  base::be32 total_concurrent_copies;
  base::be32 maximum_identified_concurrent_copies;
  base::be32 maximum_segment_length;
  std::uint8_t data_segment_granularity = 0;
  std::uint8_t inline_data_granularity = 0;
  std::array<std::uint8_t, 18> reserved_18{};
};
static_assert(sizeof(GeneralCopyOperationsLayout) == 0x20 &&
              offsetof(GeneralCopyOperationsLayout, data_segment_granularity) == 16 - 4);

struct HeldDataLayout {
  base::be32 held_data_limit;
  std::uint8_t held_data_granularity = 0;
  std::array<std::uint8_t, 23> reserved_9{};
};
static_assert(sizeof(HeldDataLayout) == 0x1C && offsetof(HeldDataLayout, held_data_granularity) == 8 - 4);

/// Writes one descriptor: type, length, what `content` writes, padding to a multiple of four.
template <typename Content>
void write_descriptor(base::ByteWriter& writer, DescriptorType type, Content content) {
  writer.u16(static_cast<std::uint16_t>(type));
  auto length = writer.length16();
  std::size_t start = writer.size();
  content();
  while ((writer.size() - start) % kDescriptorAlignment != 0) writer.zeros(1);
}

void write(base::ByteWriter& writer, const ThirdPartyCopyPage::BlockDeviceRodLimits& limits) {
  BlockDeviceRodLimitsLayout layout{};
  layout.maximum_range_descriptors = limits.maximum_range_descriptors;
  layout.maximum_inactivity_timeout_s = limits.maximum_inactivity_timeout_s;
  layout.default_inactivity_timeout_s = limits.default_inactivity_timeout_s;
  layout.maximum_token_transfer_size = limits.maximum_token_transfer_size_blocks;
  layout.optimal_transfer_count = limits.optimal_transfer_count_blocks;
  writer.layout(layout);
}

void write(base::ByteWriter& writer, const std::vector<ThirdPartyCopyPage::SupportedCommand>& commands) {
  auto length = writer.length8();
  for (const auto& command : commands) {
    writer.u8(command.operation_code);
    auto count = writer.length8();
    writer.bytes(command.service_actions);
  }
}

void write(base::ByteWriter& writer, const ThirdPartyCopyPage::ParameterData& data) {
  ParameterDataLayout layout{};
  layout.maximum_cscd_descriptor_count = data.maximum_cscd_descriptor_count;
  layout.maximum_segment_descriptor_count = data.maximum_segment_descriptor_count;
  layout.maximum_descriptor_list_length = data.maximum_descriptor_list_length;
  layout.maximum_inline_data_length = data.maximum_inline_data_length;
  writer.layout(layout);
}

void write(base::ByteWriter& writer, const ThirdPartyCopyPage::RodTokenFeatures& features) {
  RodTokenFeaturesLayout layout{};
  layout.remote_tokens = features.remote_tokens;
  layout.minimum_token_lifetime_s = features.minimum_token_lifetime_s;
  layout.maximum_token_lifetime_s = features.maximum_token_lifetime_s;
  layout.maximum_token_inactivity_timeout_s = features.maximum_token_inactivity_timeout_s;
  writer.layout(layout);

  auto length = writer.length16();
  BlockFeatureLayout block{};
  block.length = static_cast<std::uint16_t>(sizeof(BlockFeatureLayout) - offsetof(BlockFeatureLayout, reserved_4));
  block.optimal_rod_length_granularity = features.optimal_block_rod_length_granularity_blocks;
  block.maximum_bytes_in_block_rod = features.maximum_bytes_in_block_rod;
  block.optimal_bytes_in_block_rod_transfer = features.optimal_bytes_in_block_rod_transfer;
  block.optimal_bytes_to_token_per_segment = features.optimal_bytes_to_token_per_segment;
  block.optimal_bytes_from_token_per_segment = features.optimal_bytes_from_token_per_segment;
  writer.layout(block);
}

void write(base::ByteWriter& writer, const std::vector<ThirdPartyCopyPage::SupportedRodType>& types) {
  writer.zeros(2);
  auto length = writer.length16();
  for (const auto& type : types) {
    SupportedRodTypeLayout layout{};
    layout.rod_type = static_cast<std::uint32_t>(type.type);
    if (type.extended_copy_internal) layout.flags |= kEcpyInt;
    if (type.token_in) layout.flags |= kTokenIn;
    if (type.token_out) layout.flags |= kTokenOut;
    layout.preference_indicator = type.preference;
    writer.layout(layout);
  }
}

void write(base::ByteWriter& writer, const ThirdPartyCopyPage::GeneralCopyOperations& operations) {
  GeneralCopyOperationsLayout layout{};
  layout.total_concurrent_copies = operations.total_concurrent_copies;
  layout.maximum_identified_concurrent_copies = operations.maximum_identified_concurrent_copies;
  layout.maximum_segment_length = operations.maximum_segment_length_bytes;
  layout.data_segment_granularity = operations.data_segment_granularity_log2;
  layout.inline_data_granularity = operations.inline_data_granularity_log2;
  writer.layout(layout);
}

void write(base::ByteWriter& writer, const ThirdPartyCopyPage::HeldData& held) {
  HeldDataLayout layout{};
  layout.held_data_limit = held.held_data_limit_bytes;
  layout.held_data_granularity = held.held_data_granularity_log2;
  writer.layout(layout);
}

void write_descriptors(base::ByteWriter& writer, const ThirdPartyCopyPage& page) {
  using Type = DescriptorType;
  auto descriptor = [&](Type type, const auto& content) {
    write_descriptor(writer, type, [&] { write(writer, content); });
  };
  if (page.block_device_rod_limits) descriptor(Type::block_device_rod_limits, *page.block_device_rod_limits);
  if (!page.supported_commands.empty()) descriptor(Type::supported_commands, page.supported_commands);
  if (page.parameter_data) descriptor(Type::parameter_data, *page.parameter_data);
  if (!page.supported_descriptors.empty())
    write_descriptor(writer, Type::supported_descriptors, [&] {
      auto length = writer.length8();
      writer.bytes(page.supported_descriptors);
    });
  if (!page.supported_cscd_ids.empty())
    write_descriptor(writer, Type::supported_cscd_ids, [&] {
      auto length = writer.length16();
      for (std::uint16_t id : page.supported_cscd_ids) writer.u16(id);
    });
  if (page.rod_token_features) descriptor(Type::rod_token_features, *page.rod_token_features);
  if (!page.supported_rod_types.empty()) descriptor(Type::supported_rod_types, page.supported_rod_types);
  if (page.general_copy_operations) descriptor(Type::general_copy_operations, *page.general_copy_operations);
  if (page.held_data) descriptor(Type::held_data, *page.held_data);
}

}  // namespace

std::vector<std::uint8_t> encode(const ThirdPartyCopyPage& page) {
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  writer.u8(page.peripheral);
  writer.u8(kPageCode);
  {
    auto length = writer.length16();
    write_descriptors(writer, page);
  }
  return data;
}

}  // namespace scsi
