// Rows of the command table: PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16), and how their consequences reach a
// logical unit.
#pragma once

#include <span>

#include "scsi/command_table.h"
#include "scsi/reservations.h"

namespace scsi {

std::span<const CommandDescriptor> reservation_commands();

/// Establishes the unit attention conditions a service action calls for. For PERSISTENT RESERVE OUT and for copies that
/// register or move keys.
void announce(LogicalUnit& lu, const Reservations::Consequences& consequences);

}  // namespace scsi
