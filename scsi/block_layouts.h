// Wire layouts of SCSI Block Commands: CDBs, parameter data and VPD pages B0h, B1h, B2h (SBC-3, SBC-4).
//
// Layouts and field masks only; who reads them stands in block_cdb, block_io, block_provisioning, block_medium and
// block_vpd. Thread: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace scsi {

// ---- CDBs -----------------------------------------------------------------------------------------------------

/// READ (6), WRITE (6) of SBC-3.
struct BlockCdb6 {
  std::uint8_t operation_code;
  base::be24 logical_block_address;  ///< 21 bits
  std::uint8_t transfer_length;      ///< 0 means 256
  std::uint8_t control;
};
static_assert(sizeof(BlockCdb6) == 6 && offsetof(BlockCdb6, transfer_length) == 4);
inline constexpr std::uint32_t kLba6Mask = 0x1FFFFF;

/// The 10-byte form shared by READ, WRITE, VERIFY, WRITE AND VERIFY, WRITE SAME, SYNCHRONIZE CACHE and
/// PRE-FETCH (SBC-3).
struct BlockCdb10 {
  std::uint8_t operation_code;
  std::uint8_t flags;
  base::be32 logical_block_address;
  std::uint8_t group_number;
  base::be16 transfer_length;
  std::uint8_t control;
};
static_assert(sizeof(BlockCdb10) == 10 && offsetof(BlockCdb10, logical_block_address) == 2 &&
              offsetof(BlockCdb10, transfer_length) == 7);

/// The 12-byte form.
struct BlockCdb12 {
  std::uint8_t operation_code;
  std::uint8_t flags;
  base::be32 logical_block_address;
  base::be32 transfer_length;
  std::uint8_t group_number;
  std::uint8_t control;
};
static_assert(sizeof(BlockCdb12) == 12 && offsetof(BlockCdb12, transfer_length) == 6);

/// The 16-byte form.
struct BlockCdb16 {
  std::uint8_t operation_code;
  std::uint8_t flags;
  base::be64 logical_block_address;
  base::be32 transfer_length;
  std::uint8_t group_number;
  std::uint8_t control;
};
static_assert(sizeof(BlockCdb16) == 16 && offsetof(BlockCdb16, logical_block_address) == 2 &&
              offsetof(BlockCdb16, transfer_length) == 10);

/// Bits of byte 1 of the forms above; which of them a command has, its row's usage mask says.
struct BlockFlags {
  static constexpr std::uint8_t kProtect = 0xE0;  ///< RDPROTECT, WRPROTECT, VRPROTECT
  static constexpr std::uint8_t kProtectBit = 7;
  static constexpr std::uint8_t kDpo = 0x10;
  static constexpr std::uint8_t kFua = 0x08;
  static constexpr std::uint8_t kByteCheck = 0x06;  ///< BYTCHK
  static constexpr std::uint8_t kByteCheckBit = 2;
  static constexpr std::uint8_t kByteCheckNone = 0x00;      ///< 00b: the medium only
  static constexpr std::uint8_t kByteCheckEach = 0x02;      ///< 01b: each block with its own in the Data-Out Buffer
  static constexpr std::uint8_t kByteCheckOneBlock = 0x06;  ///< 11b: each block with the one in the Data-Out Buffer
  static constexpr std::uint8_t kUnmap = 0x08;              ///< WRITE SAME
  static constexpr std::uint8_t kUnmapBit = 3;
  static constexpr std::uint8_t kNoDataOutBuffer = 0x01;  ///< WRITE SAME (16): NDOB
};

/// WRITE ATOMIC (16) (SBC-4).
struct WriteAtomic16Cdb {
  std::uint8_t operation_code;
  std::uint8_t flags;
  base::be64 logical_block_address;
  base::be16 atomic_boundary;
  base::be16 transfer_length;
  std::uint8_t group_number;
  std::uint8_t control;
};
static_assert(sizeof(WriteAtomic16Cdb) == 16 && offsetof(WriteAtomic16Cdb, atomic_boundary) == 10 &&
              offsetof(WriteAtomic16Cdb, transfer_length) == 12);

/// COMPARE AND WRITE (SBC-3).
struct CompareAndWriteCdb {
  std::uint8_t operation_code;
  std::uint8_t flags;
  base::be64 logical_block_address;
  std::array<std::uint8_t, 3> reserved;
  std::uint8_t number_of_logical_blocks;
  std::uint8_t group_number;
  std::uint8_t control;
};
static_assert(sizeof(CompareAndWriteCdb) == 16 && offsetof(CompareAndWriteCdb, number_of_logical_blocks) == 13);

/// READ CAPACITY (10); LOGICAL BLOCK ADDRESS and PMI as SBC-2 has them (obsolete in SBC-3).
struct ReadCapacity10Cdb {
  std::uint8_t operation_code;
  std::uint8_t reserved1;
  base::be32 logical_block_address;
  std::array<std::uint8_t, 2> reserved6;
  std::uint8_t partial_medium_indicator;
  std::uint8_t control;
};
static_assert(sizeof(ReadCapacity10Cdb) == 10 && offsetof(ReadCapacity10Cdb, partial_medium_indicator) == 8);
inline constexpr std::uint8_t kPartialMediumIndicator = 0x01;

/// READ CAPACITY (16) and GET LBA STATUS, service actions of SERVICE ACTION IN (16).
struct ServiceActionIn16Cdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  base::be64 logical_block_address;
  base::be32 allocation_length;
  std::uint8_t partial_medium_indicator;  ///< READ CAPACITY (16) only, SBC-2
  std::uint8_t control;
};
static_assert(sizeof(ServiceActionIn16Cdb) == 16 && offsetof(ServiceActionIn16Cdb, allocation_length) == 10 &&
              offsetof(ServiceActionIn16Cdb, partial_medium_indicator) == 14);

/// UNMAP (SBC-3).
struct UnmapCdb {
  std::uint8_t operation_code;
  std::uint8_t anchor;
  std::array<std::uint8_t, 4> reserved;
  std::uint8_t group_number;
  base::be16 parameter_list_length;
  std::uint8_t control;
};
static_assert(sizeof(UnmapCdb) == 10 && offsetof(UnmapCdb, parameter_list_length) == 7);

/// START STOP UNIT (SBC-3).
struct StartStopUnitCdb {
  std::uint8_t operation_code;
  std::uint8_t immediate;
  std::uint8_t reserved;
  std::uint8_t power_condition_modifier;
  std::uint8_t flags;
  std::uint8_t control;

  static constexpr std::uint8_t kPowerCondition = 0xF0;
  static constexpr std::uint8_t kPowerConditionBit = 7;
  static constexpr std::uint8_t kNoFlush = 0x04;
  static constexpr std::uint8_t kLoadEject = 0x02;
  static constexpr std::uint8_t kLoadEjectBit = 1;
  static constexpr std::uint8_t kStart = 0x01;
};
static_assert(sizeof(StartStopUnitCdb) == 6 && offsetof(StartStopUnitCdb, flags) == 4);

/// PREVENT ALLOW MEDIUM REMOVAL (SPC-4 6.15).
struct PreventAllowMediumRemovalCdb {
  std::uint8_t operation_code;
  std::array<std::uint8_t, 3> reserved;
  std::uint8_t prevent;
  std::uint8_t control;

  static constexpr std::uint8_t kPrevent = 0x01;  ///< 10b and 11b are obsolete
};
static_assert(sizeof(PreventAllowMediumRemovalCdb) == 6 && offsetof(PreventAllowMediumRemovalCdb, prevent) == 4);

// ---- Parameter data -------------------------------------------------------------------------------------------

/// READ CAPACITY (10) parameter data.
struct ReadCapacity10Data {
  base::be32 returned_logical_block_address;
  base::be32 block_length_in_bytes;
};
static_assert(sizeof(ReadCapacity10Data) == 8);

/// READ CAPACITY (16) parameter data.
struct ReadCapacity16Data {
  base::be64 returned_logical_block_address;
  base::be32 block_length_in_bytes;
  std::uint8_t protection;
  std::uint8_t logical_blocks_per_physical_block_exponent;  ///< low four bits
  base::be16 lowest_aligned_logical_block_address;          ///< low 14 bits, below LBPME and LBPRZ
  std::array<std::uint8_t, 16> reserved;

  static constexpr std::uint16_t kLbpme = 0x8000;
  static constexpr std::uint16_t kLbprz = 0x4000;
};
static_assert(sizeof(ReadCapacity16Data) == 32 && offsetof(ReadCapacity16Data, protection) == 12 &&
              offsetof(ReadCapacity16Data, lowest_aligned_logical_block_address) == 14);

/// UNMAP parameter list header and block descriptor.
struct UnmapHeader {
  base::be16 unmap_data_length;
  base::be16 block_descriptor_data_length;
  std::array<std::uint8_t, 4> reserved;
};
struct UnmapBlockDescriptor {
  base::be64 logical_block_address;
  base::be32 number_of_logical_blocks;
  std::array<std::uint8_t, 4> reserved;
};
static_assert(sizeof(UnmapHeader) == 8 && sizeof(UnmapBlockDescriptor) == 16 &&
              offsetof(UnmapBlockDescriptor, number_of_logical_blocks) == 8);

/// GET LBA STATUS parameter data header and descriptor.
struct LbaStatusHeader {
  base::be32 parameter_data_length;
  std::array<std::uint8_t, 4> reserved;
};
struct LbaStatusDescriptor {
  base::be64 logical_block_address;
  base::be32 number_of_logical_blocks;
  std::uint8_t provisioning_status;
  std::array<std::uint8_t, 3> reserved;

  static constexpr std::uint8_t kMapped = 0x0;
  static constexpr std::uint8_t kDeallocated = 0x1;
};
static_assert(sizeof(LbaStatusHeader) == 8 && sizeof(LbaStatusDescriptor) == 16 &&
              offsetof(LbaStatusDescriptor, provisioning_status) == 12);

// ---- VPD pages ------------------------------------------------------------------------------------------------

/// Block Limits, B0h. Lengths are logical blocks.
struct BlockLimitsPage {
  std::uint8_t peripheral;
  std::uint8_t page_code;
  base::be16 page_length;
  std::uint8_t write_same_non_zero;  ///< WSNZ
  std::uint8_t maximum_compare_and_write_length;
  base::be16 optimal_transfer_length_granularity;
  base::be32 maximum_transfer_length;
  base::be32 optimal_transfer_length;
  base::be32 maximum_prefetch_length;
  base::be32 maximum_unmap_lba_count;
  base::be32 maximum_unmap_block_descriptor_count;
  base::be32 optimal_unmap_granularity;
  base::be32 unmap_granularity_alignment;  ///< low 31 bits, below UGAVALID
  base::be64 maximum_write_same_length;
  base::be32 maximum_atomic_transfer_length;
  base::be32 atomic_alignment;
  base::be32 atomic_transfer_length_granularity;
  base::be32 maximum_atomic_transfer_length_with_atomic_boundary;
  base::be32 maximum_atomic_boundary_size;

  static constexpr std::uint8_t kPageCode = 0xB0;
  static constexpr std::uint32_t kUgaValid = 0x80000000;
};
static_assert(sizeof(BlockLimitsPage) == 0x3C + 4 && offsetof(BlockLimitsPage, maximum_transfer_length) == 8 &&
              offsetof(BlockLimitsPage, maximum_unmap_lba_count) == 20 &&
              offsetof(BlockLimitsPage, optimal_unmap_granularity) == 28 &&
              offsetof(BlockLimitsPage, maximum_write_same_length) == 36);

/// Block Device Characteristics, B1h.
struct BlockDeviceCharacteristicsPage {
  std::uint8_t peripheral;
  std::uint8_t page_code;
  base::be16 page_length;
  base::be16 medium_rotation_rate;
  std::uint8_t product_type;
  std::uint8_t sanitize_form_factor;  ///< WABEREQ, WACEREQ, NOMINAL FORM FACTOR
  std::uint8_t support;
  std::array<std::uint8_t, 55> reserved;

  static constexpr std::uint8_t kPageCode = 0xB1;
  static constexpr std::uint16_t kNonRotating = 0x0001;
  static constexpr std::uint8_t kReadsAfterBlockErase = 0x40;          ///< WABEREQ 01b: reads after BLOCK ERASE succeed
  static constexpr std::uint8_t kReadsAfterCryptographicErase = 0x10;  ///< WACEREQ 01b
  static constexpr std::uint8_t kVbuls = 0x01;                         ///< VERIFY compares unmapped blocks too
};
static_assert(sizeof(BlockDeviceCharacteristicsPage) == 0x3C + 4 &&
              offsetof(BlockDeviceCharacteristicsPage, support) == 8);

/// Logical Block Provisioning, B2h, without a provisioning group descriptor.
struct LogicalBlockProvisioningPage {
  std::uint8_t peripheral;
  std::uint8_t page_code;
  base::be16 page_length;
  std::uint8_t threshold_exponent;
  std::uint8_t support;
  std::uint8_t provisioning_type;
  std::uint8_t threshold_percentage;

  static constexpr std::uint8_t kPageCode = 0xB2;
  static constexpr std::uint8_t kLbpu = 0x80;
  static constexpr std::uint8_t kLbpws = 0x40;
  static constexpr std::uint8_t kLbpws10 = 0x20;
  static constexpr std::uint8_t kLbprz = 0x04;  ///< LBPRZ 001b: unmapped blocks read as zeros
  static constexpr std::uint8_t kThinProvisioned = 0x02;
};
static_assert(sizeof(LogicalBlockProvisioningPage) == 8);

}  // namespace scsi
