// Rows of the command table: PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16), and how their consequences reach a
// logical unit.
#pragma once

#include <span>
#include <vector>

#include "scsi/command_table.h"
#include "scsi/reservations.h"
#include "scsi/transport_id.h"

namespace scsi {

std::span<const CommandDescriptor> reservation_commands();

/// The I_T nexuses with `server` that a TransportID names: its port's, attached or not; of a TransportID without a port
/// those of its initiator that are attached, which may be none (SPC-4 7.6.4.6).
std::vector<Reservations::Nexus> named_nexuses(const DeviceServer& server, const TransportId& id);

/// Establishes the unit attention conditions a service action calls for. For PERSISTENT RESERVE OUT and for copies that
/// register or move keys.
void announce(LogicalUnit& lu, const Reservations::Consequences& consequences);

}  // namespace scsi
