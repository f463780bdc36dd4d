// Wire layouts of the third-party copy commands (SPC-4 6.3, 6.24, 6.26; SBC-4 5.12, 5.25, 5.59). Bytes only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "tokens/rod_token.h"

namespace scsi {

inline constexpr std::uint8_t kThirdPartyCopyOut = 0x83;
inline constexpr std::uint8_t kThirdPartyCopyIn = 0x84;

enum class CopyOutServiceAction : std::uint8_t {
  extended_copy_lid1 = 0x00,
  extended_copy_lid4 = 0x01,
  populate_token = 0x10,
  write_using_token = 0x11,
  copy_operation_abort = 0x1C,
};
enum class CopyInServiceAction : std::uint8_t {
  receive_copy_status_lid1 = 0x00,
  receive_copy_data_lid1 = 0x01,
  receive_copy_operating_parameters = 0x03,
  receive_copy_failure_details = 0x04,
  receive_copy_status_lid4 = 0x05,
  receive_copy_data_lid4 = 0x06,
  receive_rod_token_information = 0x07,
  report_all_rod_tokens = 0x08,
};

/// POPULATE TOKEN and WRITE USING TOKEN. LIST IDENTIFIER stands elsewhere than in the THIRD-PARTY COPY IN commands.
struct TokenOutCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  std::array<std::uint8_t, 4> reserved_2;
  base::be32 list_identifier;
  base::be32 parameter_list_length;
  std::uint8_t group_number;
  std::uint8_t control;
};
static_assert(sizeof(TokenOutCdb) == 16 && offsetof(TokenOutCdb, list_identifier) == 6 &&
              offsetof(TokenOutCdb, parameter_list_length) == 10);

/// RECEIVE COPY STATUS(LID4), RECEIVE ROD TOKEN INFORMATION, and, without ALLOCATION LENGTH, COPY OPERATION ABORT.
struct CopyResultsCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  base::be32 list_identifier;
  std::array<std::uint8_t, 4> reserved_6;
  base::be32 allocation_length;
  std::uint8_t reserved_14;
  std::uint8_t control;
};
static_assert(sizeof(CopyResultsCdb) == 16 && offsetof(CopyResultsCdb, list_identifier) == 2 &&
              offsetof(CopyResultsCdb, allocation_length) == 10);

/// RECEIVE COPY STATUS(LID1), RECEIVE COPY DATA(LID1) and RECEIVE COPY FAILURE DETAILS(LID1).
struct CopyResultsLid1Cdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  std::uint8_t list_identifier;
  std::array<std::uint8_t, 7> reserved_3;
  base::be32 allocation_length;
  std::uint8_t reserved_14;
  std::uint8_t control;
};
static_assert(sizeof(CopyResultsLid1Cdb) == 16 && offsetof(CopyResultsLid1Cdb, allocation_length) == 10);

struct BlockDeviceRangeDescriptor {
  base::be64 logical_block_address;
  base::be32 number_of_logical_blocks;
  base::be32 reserved_12;
};
static_assert(sizeof(BlockDeviceRangeDescriptor) == 16 &&
              offsetof(BlockDeviceRangeDescriptor, number_of_logical_blocks) == 8);

inline constexpr std::uint8_t kImmed = 0x01;   ///< byte 2 of both lists
inline constexpr std::uint8_t kRtv = 0x02;     ///< POPULATE TOKEN
inline constexpr std::uint8_t kDelTkn = 0x02;  ///< WRITE USING TOKEN
inline constexpr std::uint8_t kImmedBit = 0;   ///< its number, for field pointers

/// POPULATE TOKEN parameter list up to its range descriptors.
struct PopulateTokenList {
  base::be16 populate_token_data_length;
  std::uint8_t flags;
  std::uint8_t reserved_3;
  base::be32 inactivity_timeout_s;
  base::be32 rod_type;
  base::be16 reserved_12;
  base::be16 range_descriptor_length;
};
static_assert(sizeof(PopulateTokenList) == 16 && offsetof(PopulateTokenList, inactivity_timeout_s) == 4 &&
              offsetof(PopulateTokenList, rod_type) == 8 && offsetof(PopulateTokenList, range_descriptor_length) == 14);

/// WRITE USING TOKEN parameter list up to its range descriptors.
struct WriteUsingTokenList {
  base::be16 write_using_token_data_length;
  std::uint8_t flags;
  std::array<std::uint8_t, 5> reserved_3;
  base::be64 offset_into_rod;  ///< in blocks of the logical unit that receives the command
  tokens::RodToken rod_token;
  std::array<std::uint8_t, 6> reserved_528;
  base::be16 range_descriptor_length;
};
static_assert(sizeof(WriteUsingTokenList) == 536 && offsetof(WriteUsingTokenList, offset_into_rod) == 8 &&
              offsetof(WriteUsingTokenList, rod_token) == 16 &&
              offsetof(WriteUsingTokenList, range_descriptor_length) == 534);

/// What RECEIVE COPY STATUS(LID4) and RECEIVE ROD TOKEN INFORMATION start with, after AVAILABLE DATA.
struct CopyStatusHeader {
  std::uint8_t response_to_service_action;
  std::uint8_t copy_operation_status;
  base::be16 operation_counter;
  base::be32 estimated_status_update_delay_ms;
  std::uint8_t extended_copy_completion_status;
  std::uint8_t sense_data_field_length;
  std::uint8_t sense_data_length;
  std::uint8_t transfer_count_units;
  base::be64 transfer_count;
  base::be16 segments_processed;
  std::array<std::uint8_t, 6> reserved_26;
};
static_assert(sizeof(CopyStatusHeader) == 28 && offsetof(CopyStatusHeader, transfer_count) == 16 - 4 &&
              offsetof(CopyStatusHeader, segments_processed) == 24 - 4);

}  // namespace scsi
