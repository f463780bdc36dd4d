// Parameter data of the THIRD-PARTY COPY IN commands (SPC-4 6.19 to 6.27; SBC-4 5.25).
// Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "scsi/device_profile.h"
#include "tokens/copy_operation.h"
#include "tokens/rod_token.h"

namespace scsi {

/// Status header, sense data and token descriptors: 36 bytes, or 550 with a token, plus the sense data field.
std::vector<std::uint8_t> encode_rod_token_information(const tokens::CopyOperation& operation);

/// Status header and sense data: 32 bytes plus the sense data field.
std::vector<std::uint8_t> encode_copy_status(const tokens::CopyOperation& operation);

/// COPY COMMAND STATUS of RECEIVE COPY STATUS(LID1) (SPC-4 table 207).
enum class CopyStatusLid1 : std::uint8_t { in_progress = 0x00, completed = 0x01, completed_with_errors = 0x02 };

/// RECEIVE COPY STATUS(LID1): 12 bytes. A count of bytes that 32 bits do not hold is given in the smallest unit of a
/// power of 1024 bytes that they do, rounded down; one of blocks is cut.
struct CopyStatusLid1Fields {
  CopyStatusLid1 status = CopyStatusLid1::in_progress;
  bool held_data_discarded = false;
  std::uint16_t segments_processed = 0;
  tokens::TransferCountUnits units = tokens::TransferCountUnits::bytes;
  std::uint64_t transfer_count = 0;
};
std::vector<std::uint8_t> encode_copy_status_lid1(const CopyStatusLid1Fields& fields);

/// RECEIVE COPY DATA(LID4): status header, sense data, and the held data of an operation that completed without errors.
std::vector<std::uint8_t> encode_held_data_lid4(const tokens::CopyOperation& operation);

/// RECEIVE COPY DATA(LID1): 4 bytes and the data.
std::vector<std::uint8_t> encode_held_data_lid1(base::Bytes held_data);

/// RECEIVE COPY FAILURE DETAILS(LID1): 60 bytes and the sense data; without a failure, AVAILABLE DATA 0.
std::vector<std::uint8_t> encode_failure_details(std::uint8_t command_status, base::Bytes sense);
std::vector<std::uint8_t> encode_no_failure_details();

/// RECEIVE COPY OPERATING PARAMETERS: 44 bytes and the descriptor type codes. The same figures as VPD page 8Fh.
std::vector<std::uint8_t> encode_copy_operating_parameters(const DeviceProfile& profile);

/// The bytes of a token that REPORT ALL ROD TOKENS has of it: all before its device type specific data.
inline constexpr std::size_t kManagementTokenLength = offsetof(tokens::RodToken, block_device);
static_assert(kManagementTokenLength == 96);
/// Of one answer.
inline constexpr std::size_t kMostReportedTokens = 4096;

/// REPORT ALL ROD TOKENS: 8 bytes and a management token of each. AVAILABLE DATA counts all that there are, of which
/// `rod_tokens` are the first.
std::vector<std::uint8_t> encode_all_rod_tokens(std::span<const tokens::RodToken> rod_tokens, std::size_t all);

}  // namespace scsi
