// Wire layouts of EXTENDED COPY (SPC-4 6.4, 6.5): CDB, parameter list headers, CSCD and segment descriptors. Bytes
// only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "tokens/rod_token.h"

namespace scsi {

/// EXTENDED COPY(LID1) and EXTENDED COPY(LID4).
struct ExtendedCopyCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  std::array<std::uint8_t, 8> reserved_2;
  base::be32 parameter_list_length;
  std::uint8_t reserved_14;
  std::uint8_t control;
};
static_assert(sizeof(ExtendedCopyCdb) == 16 && offsetof(ExtendedCopyCdb, parameter_list_length) == 10);

// Byte 1 of both headers.
inline constexpr std::uint8_t kStr = 0x20;
inline constexpr std::uint8_t kListIdUsageMask = 0x18;
inline constexpr std::uint8_t kListIdUsageShift = 3;
inline constexpr std::uint8_t kListIdUsageHighBit = 4;
inline constexpr std::uint8_t kPriorityMask = 0x07;

struct ExtendedCopyLid1Header {
  std::uint8_t list_identifier;
  std::uint8_t flags;
  base::be16 cscd_descriptor_list_length;
  base::be32 reserved_4;
  base::be32 segment_descriptor_list_length;
  base::be32 inline_data_length;
};
static_assert(sizeof(ExtendedCopyLid1Header) == 16 &&
              offsetof(ExtendedCopyLid1Header, segment_descriptor_list_length) == 8 &&
              offsetof(ExtendedCopyLid1Header, inline_data_length) == 12);

struct ExtendedCopyLid4Header {
  std::uint8_t parameter_list_format;
  std::uint8_t flags;
  base::be16 header_cscd_descriptor_list_length;
  std::array<std::uint8_t, 11> reserved_4;
  std::uint8_t g_sense_immed;
  std::uint8_t header_cscd_descriptor_type_code;
  std::array<std::uint8_t, 3> reserved_17;
  base::be32 list_identifier;
  std::array<std::uint8_t, 18> reserved_24;
  base::be16 cscd_descriptor_list_length;
  base::be16 segment_descriptor_list_length;
  base::be16 inline_data_length;
};
static_assert(sizeof(ExtendedCopyLid4Header) == 48 && offsetof(ExtendedCopyLid4Header, g_sense_immed) == 15 &&
              offsetof(ExtendedCopyLid4Header, list_identifier) == 20 &&
              offsetof(ExtendedCopyLid4Header, cscd_descriptor_list_length) == 42);
inline constexpr std::uint8_t kLid4ParameterListFormat = 0x01;
inline constexpr std::uint16_t kLid4HeaderCscdLength = 0x0020;
inline constexpr std::uint8_t kExtensionCscd = 0xFF;  ///< makes a copy manager of SPC-3 refuse the list
inline constexpr std::uint8_t kGSense = 0x02;
inline constexpr std::uint8_t kExtendedCopyImmed = 0x01;
inline constexpr std::uint8_t kExtendedCopyImmedBit = 0;

// CSCD descriptors (SPC-4 table 124): 32 bytes, but 64 for two types.
inline constexpr std::size_t kCscdDescriptorLength = 32;
inline constexpr std::uint8_t kIdentificationCscd = 0xE4;
inline constexpr std::uint8_t kIpv6Cscd = 0xEA;
inline constexpr std::uint8_t kIpCopyServiceCscd = 0xEB;
inline constexpr std::uint8_t kRodCscd = 0xFE;

// Fields of the identification descriptor CSCD descriptor (tokens::IdentificationCscdDescriptor) that share bytes.
inline constexpr std::uint8_t kCscdDeviceTypeMask = 0x1F;
inline constexpr std::uint8_t kBlockDevice = 0x00;
inline constexpr std::uint8_t kCscdCodeSetMask = 0x0F;
inline constexpr std::uint8_t kCscdAssociationMask = 0x30;
inline constexpr std::uint8_t kCscdDesignatorTypeMask = 0x0F;
/// Byte 28 of every CSCD descriptor of a block device.
inline constexpr std::uint8_t kPad = 0x04;

/// The ROD CSCD descriptor (SPC-4 6.4.5.10).
struct RodCscdDescriptor {
  std::uint8_t descriptor_type_code;
  std::uint8_t peripheral_device_type;
  base::be16 relative_initiator_port_identifier;
  base::be16 rod_producer_cscd_descriptor_id;
  base::be16 reserved_6;
  base::be32 rod_type;
  base::be32 requested_rod_token_lifetime_s;
  base::be32 requested_rod_token_inactivity_timeout_s;
  base::be16 reserved_20;
  std::uint8_t r_token;
  std::uint8_t del_tkn;
  base::be32 rod_token_offset;
  std::uint8_t pad;
  base::be24 disk_block_length;
};
static_assert(sizeof(RodCscdDescriptor) == kCscdDescriptorLength &&
              offsetof(RodCscdDescriptor, rod_producer_cscd_descriptor_id) == 4 &&
              offsetof(RodCscdDescriptor, requested_rod_token_lifetime_s) == 12 &&
              offsetof(RodCscdDescriptor, r_token) == 22 && offsetof(RodCscdDescriptor, rod_token_offset) == 24);
inline constexpr std::uint8_t kRToken = 0x01;
inline constexpr std::uint8_t kRodCscdDelTkn = 0x01;

// CSCD descriptor IDs that are no index into the list (SPC-4 table 122).
inline constexpr std::uint16_t kHighestCscdIndex = 0x07FF;
inline constexpr std::uint16_t kNullBlockDevice = 0xC000;
inline constexpr std::uint16_t kNullStreamDevice = 0xC001;
inline constexpr std::uint16_t kRodTokenLogicalUnit = 0xF800;
inline constexpr std::uint16_t kThisLogicalUnit = 0xFFFF;

/// What every segment descriptor starts with (SPC-4 6.4.6.1).
struct SegmentHeader {
  std::uint8_t descriptor_type_code;
  std::uint8_t flags;
  base::be16 descriptor_length;  ///< bytes after this field
  base::be16 source_cscd_descriptor_id;
  base::be16 destination_cscd_descriptor_id;
};
static_assert(sizeof(SegmentHeader) == 8 && offsetof(SegmentHeader, source_cscd_descriptor_id) == 4);
inline constexpr std::size_t kBeforeSegmentLength = offsetof(SegmentHeader, source_cscd_descriptor_id);
inline constexpr std::uint8_t kCat = 0x01;
inline constexpr std::uint8_t kDc = 0x02;
inline constexpr std::uint8_t kFco = 0x04;

/// 02h and 0Dh.
struct BlockToBlockSegment {
  SegmentHeader header;
  base::be16 reserved_8;
  base::be16 number_of_blocks;
  base::be64 source_lba;
  base::be64 destination_lba;
};
static_assert(sizeof(BlockToBlockSegment) == 28 && offsetof(BlockToBlockSegment, number_of_blocks) == 10 &&
              offsetof(BlockToBlockSegment, destination_lba) == 20);

/// 0Ah.
struct BlockOffsetToBlockOffsetSegment {
  SegmentHeader header;
  base::be32 number_of_bytes;
  base::be64 source_lba;
  base::be64 destination_lba;
  base::be16 source_byte_offset;
  base::be16 destination_byte_offset;
};
static_assert(sizeof(BlockOffsetToBlockOffsetSegment) == 32 &&
              offsetof(BlockOffsetToBlockOffsetSegment, source_byte_offset) == 28);

/// 07h.
struct VerifyCscdSegment {
  SegmentHeader header;
  std::uint8_t tur;
  std::array<std::uint8_t, 3> reserved_9;
};
static_assert(sizeof(VerifyCscdSegment) == 12);
inline constexpr std::uint8_t kTur = 0x01;

/// 14h.
struct RegisterKeySegment {
  SegmentHeader header;
  base::be64 reservation_key;
  base::be64 service_action_reservation_key;
  base::be32 reserved_24;
};
static_assert(sizeof(RegisterKeySegment) == 28);

/// 15h, before the TransportID.
struct SourceNexusSegment {
  SegmentHeader header;
  base::be64 reservation_key;
  base::be64 service_action_reservation_key;
  std::uint8_t reserved_24;
  std::uint8_t flags;
  base::be16 relative_target_port_identifier;
  base::be32 transport_id_length;
};
static_assert(sizeof(SourceNexusSegment) == 32 && offsetof(SourceNexusSegment, flags) == 25 &&
              offsetof(SourceNexusSegment, transport_id_length) == 28);
inline constexpr std::uint8_t kMoveAptpl = 0x01;
inline constexpr std::uint8_t kMoveUnreg = 0x02;

/// 16h.
struct BlockImageSegment {
  SegmentHeader header;
  base::be64 source_lba;
  base::be64 destination_lba;
  base::be32 number_of_blocks;
};
static_assert(sizeof(BlockImageSegment) == 28 && offsetof(BlockImageSegment, number_of_blocks) == 24);

/// BEh, before its ranges.
struct PopulateRodSegment {
  SegmentHeader header;
  std::array<std::uint8_t, 5> reserved_8;
  std::uint8_t range_descriptor_type;
  base::be16 range_descriptors_length;
};
static_assert(sizeof(PopulateRodSegment) == 16 && offsetof(PopulateRodSegment, range_descriptor_type) == 13);
inline constexpr std::uint8_t kFourGibiBlockRanges = 0x01;  ///< as BlockDeviceRangeDescriptor

/// BFh.
struct PopulateRodFromOneRangeSegment {
  SegmentHeader header;
  base::be64 lba;
  base::be32 number_of_blocks;
};
static_assert(sizeof(PopulateRodFromOneRangeSegment) == 20 && offsetof(PopulateRodFromOneRangeSegment, lba) == 8);

/// RECEIVE COPY OPERATING PARAMETERS (SPC-4 6.22) after AVAILABLE DATA, before the descriptor type codes' length.
struct OperatingParametersData {
  std::uint8_t snlid = 0;
  std::array<std::uint8_t, 3> reserved_5{};
  base::be16 maximum_cscd_descriptor_count;
  base::be16 maximum_segment_descriptor_count;
  base::be32 maximum_descriptor_list_length;
  base::be32 maximum_segment_length;
  base::be32 maximum_inline_data_length;
  base::be32 held_data_limit;
  base::be32 maximum_stream_device_transfer_size;
  base::be16 reserved_32;
  base::be16 total_concurrent_copies;
  std::uint8_t maximum_concurrent_copies = 0;
  std::uint8_t data_segment_granularity = 0;
  std::uint8_t inline_data_granularity = 0;
  std::uint8_t held_data_granularity = 0;
  std::array<std::uint8_t, 3> reserved_40{};
};
static_assert(sizeof(OperatingParametersData) == 43 - 4 &&
              offsetof(OperatingParametersData, maximum_segment_length) == 16 - 4 &&
              offsetof(OperatingParametersData, held_data_limit) == 24 - 4 &&
              offsetof(OperatingParametersData, maximum_concurrent_copies) == 36 - 4);

}  // namespace scsi
