// Bodies of the commands that erase the medium, and of those that tell its defects: FORMAT UNIT, SANITIZE, READ DEFECT
// DATA. What they begin stands in medium_erasure.h.
//
// Thread: the loop's.
#pragma once

#include "scsi/command_table.h"

namespace scsi {

/// FORMAT UNIT without protection information and defect lists. Every block becomes zeros (deallocated where the
/// logical unit is thin), or the initialization pattern; IMMED in the parameter list answers first. 05/24/00 at CMPLST
/// or DEFECT LIST FORMAT, 05/26/00 at the field of the list, 05/1A/00 when it is cut.
std::expected<void, Sense> check_format_unit(const CommandContext& context);
std::expected<void, Sense> format_unit(CommandContext& context);
/// What the initiator announces, since the CDB does not say: no more than a list can have here.
std::uint64_t format_unit_length(const Task& task, const LogicalUnit* lu);

/// SANITIZE, service action OVERWRITE: as many passes as the list says, with INVERT each the complement of the one
/// before. 05/24/00 at PARAMETER LIST LENGTH unless it is 5 to block length + 4, 05/26/00 at a field of the list,
/// 05/24/00 at AUSE after a SANITIZE without it has failed (SBC-3 4.11.3).
std::expected<void, Sense> check_sanitize_overwrite(const CommandContext& context);
std::expected<void, Sense> sanitize_overwrite(CommandContext& context);
std::uint64_t sanitize_overwrite_length(const Task& task, const LogicalUnit* lu);

/// SANITIZE, service action BLOCK ERASE, of thin logical units: everything is deallocated and reads as zeros.
std::expected<void, Sense> sanitize_block_erase(CommandContext& context);

/// SANITIZE, service action CRYPTOGRAPHIC ERASE, of logical units that are self-encrypting: all data is gone at once,
/// as it is when a key is; everything is deallocated and reads as zeros.
std::expected<void, Sense> sanitize_cryptographic_erase(CommandContext& context);

/// SANITIZE, service action EXIT FAILURE MODE: ends what a failed SANITIZE with AUSE has left. 05/24/00 at the service
/// action after one without.
std::expected<void, Sense> sanitize_exit_failure_mode(CommandContext& context);

/// READ DEFECT DATA (10), (12): empty lists in the format asked for. 05/24/00 at a DEFECT LIST FORMAT that is reserved
/// or vendor specific.
std::expected<void, Sense> read_defect_data_10(CommandContext& context);
std::expected<void, Sense> read_defect_data_12(CommandContext& context);
std::uint64_t read_defect_data_10_length(const Task& task, const LogicalUnit* lu);
std::uint64_t read_defect_data_12_length(const Task& task, const LogicalUnit* lu);

}  // namespace scsi
