// The commands with which data is fetched from the array that made a token, in T10's words only, and what its answers
// say: REPORT LUNS and INQUIRY to find the logical unit, RECEIVE COPY OPERATING PARAMETERS for its limits, EXTENDED
// COPY(LID4) that reads blocks of the ROD and holds them, RECEIVE COPY DATA(LID4) that brings them
// (docs/decisions/0005). Bytes only. Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "initiator/initiator.h"
#include "tokens/rod_token.h"
#include "tokens/token_manager.h"

namespace peers {

using Naa = std::array<std::uint8_t, 16>;

initiator::Command test_unit_ready();
initiator::Command report_luns();
/// The logical unit numbers of an answer, as far as they have one level.
std::vector<int> luns_of(base::Bytes answer);

/// INQUIRY, VPD page 83h.
initiator::Command device_identification();
/// The NAA IEEE Registered Extended designators by which the page names the logical unit.
std::vector<Naa> designators_of(base::Bytes page);

/// What one EXTENDED COPY may move, and hold for RECEIVE COPY DATA. Bytes.
struct CopyLimits {
  std::uint64_t piece = 0;        ///< at most
  std::uint64_t granularity = 1;  ///< multiples of it; a power of two
};
initiator::Command receive_copy_operating_parameters();
/// Nothing when the copy manager cannot do it: no room for a token inline, no held data.
std::optional<CopyLimits> copy_limits_of(base::Bytes answer);

/// Reads `blocks` of the ROD from `first` on, in blocks of the token's logical unit, and holds them under
/// `list_identifier`: a segment of type 0Dh from the ROD of the inline token to the null logical unit (C000h). CAT is
/// one: what is read is residual destination data, so no command goes to that unit (SPC-4 tables 116 and 148).
initiator::Command hold_blocks(std::uint32_t list_identifier, const tokens::RodToken& token, std::uint64_t first,
                               std::uint16_t blocks);

initiator::Command receive_copy_data(std::uint32_t list_identifier, std::uint32_t bytes);
/// The held data; nothing when the operation did not complete without errors.
std::optional<base::Bytes> held_data_of(base::Bytes answer);

/// The token error that sense data names, if it does (ASC 23h).
std::optional<tokens::TokenError> token_error_of(const std::vector<std::uint8_t>& sense);

}  // namespace peers
