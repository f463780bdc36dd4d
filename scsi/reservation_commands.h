// Rows of the command table: PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16), RESERVE and RELEASE (SPC-2), and how
// the consequences of changed reservations reach a logical unit.
#pragma once

#include <span>
#include <vector>

#include "scsi/command_table.h"
#include "scsi/reservations.h"
#include "scsi/transport_id.h"

namespace scsi {

std::span<const CommandDescriptor> reservation_commands();

/// The I_T nexuses with target port `port` of `server` that a TransportID names: its port's, attached or not; of a
/// TransportID without a port those of the ports of its initiator that are attached to the target, which may be none
/// (SPC-4 7.6.4.6).
std::vector<Reservations::Nexus> named_nexuses(const DeviceServer& server, const TransportId& id, std::uint16_t port);

bool has_target_port(const DeviceServer& server, std::uint16_t port);

/// The attached I_T nexus of that name, or none.
NexusId attached_as(const DeviceServer& server, const ITNexus& name);

/// What `error`, too_many_registrants or not_persisted, is answered with: 05/55/04 or 04/44/00.
Sense reservation_resources(ReservationError error);

/// Establishes the unit attention conditions a service action calls for. For PERSISTENT RESERVE OUT and for copies that
/// register or move keys.
void announce(LogicalUnit& lu, const Reservations::Consequences& consequences);

}  // namespace scsi
