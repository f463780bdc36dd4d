// Bodies of the commands about the medium as a whole: READ CAPACITY, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL.
//
// Thread: the loop's; the flush before a stop where CommandContext::start() runs it.
#pragma once

#include "scsi/command_table.h"

namespace scsi {

/// READ CAPACITY (10): FFFFFFFFh when the last LBA does not fit. 05/24/00 at LOGICAL BLOCK ADDRESS when it is not zero
/// and PMI is (SBC-2); with PMI 1 the answer is the same, no address is slower to reach than its neighbour.
std::expected<void, Sense> read_capacity_10(CommandContext& context);

/// READ CAPACITY (16): also the physical block exponent, LBPME and LBPRZ. Errors as the 10-byte form.
std::expected<void, Sense> read_capacity_16(CommandContext& context);

/// START STOP UNIT. START 0 stops the logical unit, after a flush unless NO_FLUSH: then commands that need it ready
/// answer 02/04/02 until START 1. 05/24/00 at a POWER CONDITION other than START_VALID, as there are none (SBC-3), and
/// at LOEJ where the medium is not removable. Where it is, LOEJ ejects and loads it: 05/53/02 while its removal is
/// prevented, tokens of what was on it are cancelled, and once it is back each other I_T nexus is told 06/28/00. START
/// without a medium is 02/3A/00. IMMED changes nothing: nothing takes time but the flush, which is waited for.
std::expected<void, Sense> start_stop_unit(CommandContext& context);

/// PREVENT ALLOW MEDIUM REMOVAL, of removable media only: the prevention of an I_T nexus ends when it says so, with the
/// nexus, with a reset, and when PREEMPT AND ABORT takes its registration (SPC-4 6.15).
std::expected<void, Sense> prevent_allow_medium_removal(CommandContext& context);

}  // namespace scsi
