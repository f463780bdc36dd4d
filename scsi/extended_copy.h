// EXTENDED COPY(LID1) and EXTENDED COPY(LID4) (SPC-4 5.17.7, 6.4, 6.5): segments processed one after another.
//
// Lists are read in extended_copy_list, segments processed in extended_copy_segments. What is wrong before the first
// segment is ILLEGAL REQUEST, afterwards COPY ABORTED with the segment's number. Thread: the loop's.
#pragma once

#include <expected>

#include "scsi/command_table.h"
#include "scsi/sense.h"

namespace scsi {

/// Both forms. Errors: 05/00/16; 05/26/00 for a list identifier that the other form is being processed under; those of
/// parse_extended_copy(); 05/23/xx of tokens in the inline data, at the token; 0B/55/03; and from the first segment on
/// those of ExtendedCopy.
/// 05/1A/00 for a list longer than its own length fields can say, before any of it is asked for.
std::expected<void, Sense> check_extended_copy(const CommandContext& context);

std::expected<void, Sense> extended_copy_lid1(CommandContext& context);
std::expected<void, Sense> extended_copy_lid4(CommandContext& context);

}  // namespace scsi
