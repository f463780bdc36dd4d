// Bytes of the commands a Windows host sends and of the answers it reads, as the host side sees them.
//
// Written apart from the target's layouts on purpose: an offset that is wrong on one side shows as soon as the two
// meet. Fields the class driver never looks at are `ignored`. Thread: any, nothing is shared.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace host {

using base::be16;
using base::be32;
using base::be64;

template <std::size_t Size>
using Filler = std::array<std::uint8_t, Size>;

// Operation codes and service actions.
inline constexpr std::uint8_t kInquiry = 0x12;
inline constexpr std::uint8_t kModeSelect6 = 0x15;
inline constexpr std::uint8_t kModeSense6 = 0x1A;
inline constexpr std::uint8_t kReadCapacity10 = 0x25;
inline constexpr std::uint8_t kRead10 = 0x28;
inline constexpr std::uint8_t kWrite10 = 0x2A;
inline constexpr std::uint8_t kSynchronizeCache10 = 0x35;
inline constexpr std::uint8_t kThirdPartyCopyOut = 0x83;
inline constexpr std::uint8_t kThirdPartyCopyIn = 0x84;
inline constexpr std::uint8_t kRead16 = 0x88;
inline constexpr std::uint8_t kWrite16 = 0x8A;
inline constexpr std::uint8_t kServiceActionIn16 = 0x9E;
inline constexpr std::uint8_t kReadCapacity16Action = 0x10;
inline constexpr std::uint8_t kPopulateTokenAction = 0x10;
inline constexpr std::uint8_t kWriteUsingTokenAction = 0x11;
inline constexpr std::uint8_t kReceiveRodTokenInformationAction = 0x07;

/// INQUIRY (SPC-4 6.6.1). ALLOCATION LENGTH is two bytes.
struct InquiryCdb {
  std::uint8_t operation_code = kInquiry;
  std::uint8_t evpd = 0;
  std::uint8_t page_code = 0;
  be16 allocation_length;
  std::uint8_t control = 0;
};
static_assert(sizeof(InquiryCdb) == 6);

/// MODE SENSE(6) and MODE SELECT(6) (SPC-4 6.11, 6.9).
struct ModeCdb {
  std::uint8_t operation_code;
  std::uint8_t flags = 0;
  std::uint8_t page_code = 0;
  std::uint8_t subpage_code = 0;
  std::uint8_t length = 0;
  std::uint8_t control = 0;
};
static_assert(sizeof(ModeCdb) == 6);

struct ModeHeader {
  std::uint8_t mode_data_length;
  std::uint8_t medium_type;
  std::uint8_t device_specific_parameter;
  std::uint8_t block_descriptor_length;
};
static_assert(sizeof(ModeHeader) == 4);

/// Control mode page (SPC-4 7.5.8), to QERR.
struct ControlModePage {
  std::uint8_t page_code;
  std::uint8_t page_length;
  std::uint8_t flags;
  std::uint8_t queue_flags;
};
static_assert(sizeof(ControlModePage) == 4 && offsetof(ControlModePage, queue_flags) == 3);

/// READ CAPACITY(10), READ(10), WRITE(10) and SYNCHRONIZE CACHE(10) (SBC-3).
struct Cdb10 {
  std::uint8_t operation_code;
  std::uint8_t flags = 0;
  be32 lba;
  std::uint8_t group_number = 0;
  be16 blocks;
  std::uint8_t control = 0;
};
static_assert(sizeof(Cdb10) == 10 && offsetof(Cdb10, blocks) == 7);

struct ReadCapacity10Data {
  be32 last_lba;
  be32 block_length;
};
static_assert(sizeof(ReadCapacity10Data) == 8);

/// READ(16), WRITE(16) (SBC-3).
struct Cdb16 {
  std::uint8_t operation_code;
  std::uint8_t flags = 0;
  be64 lba;
  be32 blocks;
  std::uint8_t group_number = 0;
  std::uint8_t control = 0;
};
static_assert(sizeof(Cdb16) == 16 && offsetof(Cdb16, blocks) == 10);

/// READ CAPACITY(16) (SBC-3 5.16).
struct ReadCapacity16Cdb {
  std::uint8_t operation_code = kServiceActionIn16;
  std::uint8_t service_action = kReadCapacity16Action;
  be64 obsolete;
  be32 allocation_length;
  std::uint8_t obsolete_pmi = 0;
  std::uint8_t control = 0;
};
static_assert(sizeof(ReadCapacity16Cdb) == 16);

struct ReadCapacity16Data {
  be64 last_lba;
  be32 block_length;
  std::uint8_t protection;
  std::uint8_t exponents;
  be16 provisioning_and_lowest_aligned_lba;
  Filler<16> ignored;
};
static_assert(sizeof(ReadCapacity16Data) == 32);

/// The start of every vital product data page (SPC-4 7.8.1).
struct VpdHeader {
  std::uint8_t qualifier_and_type;
  std::uint8_t page_code;
  be16 page_length;
};
static_assert(sizeof(VpdHeader) == 4);

/// Block Device ROD Limits, descriptor 0000h of VPD 8Fh (SBC-4 6.6.9).
struct RodLimitsDescriptor {
  be16 type;
  be16 length;
  Filler<6> vendor_specific;
  be16 maximum_range_descriptors;
  be32 maximum_inactivity_timeout_s;
  be32 default_inactivity_timeout_s;
  be64 maximum_token_transfer_blocks;
  be64 optimal_transfer_blocks;
};
static_assert(sizeof(RodLimitsDescriptor) == 36);
static_assert(offsetof(RodLimitsDescriptor, maximum_range_descriptors) == 10);
static_assert(offsetof(RodLimitsDescriptor, maximum_token_transfer_blocks) == 20);

/// Block Limits, VPD B0h (SBC-3 6.5.3).
struct BlockLimitsPage {
  VpdHeader header;
  std::uint8_t flags;
  std::uint8_t maximum_compare_and_write_blocks;
  be16 optimal_transfer_granularity;
  be32 maximum_transfer_blocks;
  be32 optimal_transfer_blocks;
  be32 maximum_prefetch_blocks;
  be32 maximum_unmap_lba_count;
  be32 maximum_unmap_descriptors;
  be32 optimal_unmap_granularity;
  be32 unmap_granularity_alignment;
  be64 maximum_write_same_blocks;
};
static_assert(sizeof(BlockLimitsPage) == 44 && offsetof(BlockLimitsPage, maximum_unmap_lba_count) == 20);

/// Block Device Characteristics, VPD B1h (SBC-3 6.5.2), to the form factor.
struct BlockCharacteristicsPage {
  VpdHeader header;
  be16 rotation_rate;
  std::uint8_t product_type;
  std::uint8_t form_factor;
};
static_assert(sizeof(BlockCharacteristicsPage) == 8);

/// Logical Block Provisioning, VPD B2h (SBC-3 6.5.4).
struct ProvisioningPage {
  VpdHeader header;
  std::uint8_t threshold_exponent;
  std::uint8_t flags;
  std::uint8_t provisioning_type;
  std::uint8_t reserved;
};
static_assert(sizeof(ProvisioningPage) == 8);

/// POPULATE TOKEN and WRITE USING TOKEN (SBC-4 5.12, 5.59). LIST IDENTIFIER at bytes 6-9.
struct TokenOperationCdb {
  std::uint8_t operation_code = kThirdPartyCopyOut;
  std::uint8_t service_action;
  Filler<4> reserved{};
  be32 list_identifier;
  be32 parameter_list_length;
  std::uint8_t group_number = 0;
  std::uint8_t control = 0;
};
static_assert(sizeof(TokenOperationCdb) == 16 && offsetof(TokenOperationCdb, list_identifier) == 6);

/// RECEIVE ROD TOKEN INFORMATION (SPC-4 6.26). LIST IDENTIFIER at bytes 2-5.
struct ReceiveRodTokenInformationCdb {
  std::uint8_t operation_code = kThirdPartyCopyIn;
  std::uint8_t service_action = kReceiveRodTokenInformationAction;
  be32 list_identifier;
  Filler<4> reserved{};
  be32 allocation_length;
  std::uint8_t reserved_2 = 0;
  std::uint8_t control = 0;
};
static_assert(sizeof(ReceiveRodTokenInformationCdb) == 16);
static_assert(offsetof(ReceiveRodTokenInformationCdb, allocation_length) == 10);

struct RangeDescriptor {
  be64 lba;
  be32 blocks;
  be32 reserved;
};
static_assert(sizeof(RangeDescriptor) == 16);

inline constexpr std::size_t kTokenLength = 512;
using Token = std::array<std::uint8_t, kTokenLength>;

struct PopulateTokenHeader {
  be16 data_length;
  std::uint8_t flags = 0;  ///< IMMED and RTV: always 0
  std::uint8_t reserved = 0;
  be32 inactivity_timeout;
  Filler<6> rod_type_and_reserved{};
  be16 range_descriptors_length;
};
static_assert(sizeof(PopulateTokenHeader) == 16);

struct WriteUsingTokenHeader {
  be16 data_length;
  std::uint8_t flags = 0;  ///< IMMED and DEL_TKN: always 0
  Filler<5> reserved{};
  be64 offset_into_rod;
  Token token{};
  Filler<6> reserved_2{};
  be16 range_descriptors_length;
};
static_assert(sizeof(WriteUsingTokenHeader) == 536 && offsetof(WriteUsingTokenHeader, token) == 16);

/// The status header of RECEIVE ROD TOKEN INFORMATION (SPC-4 6.26); sense data and token descriptors follow.
struct TokenInformationHeader {
  be32 available_data;
  std::uint8_t response_to_service_action;
  std::uint8_t copy_operation_status;
  be16 operation_counter;
  be32 estimated_status_update_delay;
  std::uint8_t completion_status;
  std::uint8_t sense_field_length;
  std::uint8_t sense_length;
  std::uint8_t transfer_count_units;
  be64 transfer_count;
  be16 segments_processed;
  Filler<6> reserved;
};
static_assert(sizeof(TokenInformationHeader) == 32 && offsetof(TokenInformationHeader, transfer_count) == 16);

struct RodTokenDescriptor {
  be16 creating_cscd_id;
  Token token;
};
static_assert(sizeof(RodTokenDescriptor) == 514);

/// The block device zero ROD token (SBC-4 4.28.4; STORAGE_OFFLOAD_TOKEN_TYPE_ZERO_DATA).
constexpr Token zero_token() {
  Token token{0xFF, 0xFF, 0x00, 0x01, 0x00, 0x00, 0x01, 0xF8};
  return token;
}

}  // namespace host
