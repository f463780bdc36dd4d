// Segment types 14h and 15h: PERSISTENT RESERVE OUT to copy destinations, in the name of the I_T nexus that sent the
// command (SPC-4 6.4.6.17, 6.4.6.18).
#include <fmt/format.h>

#include <utility>

#include "scsi/device_server.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/extended_copy_segments.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_commands.h"

namespace scsi {

/// The destination of such a segment, which has registrations.
std::expected<ExtendedCopy::Party, Sense> ExtendedCopy::registrar(const SegmentDescriptor& segment) {
  auto destination = find(segment, From::copy_destination);
  if (!destination) return destination;
  if (destination->kind == Party::Kind::null) return std::unexpected(null_unit_error(From::copy_destination));
  if (destination->lu) return destination;
  return std::unexpected(aborted(AdditionalSense::invalid_operation_for_copy_source_or_destination,
                                 "a ROD has no registrations",
                                 FieldPointer::segment(id_field(From::copy_destination))));
}

/// A change that was refused, as the copy manager tells it: RESERVATION CONFLICT, or the sense data it would have got.
ExtendedCopy::Outcome ExtendedCopy::reservation_outcome(const Party& destination,
                                                        std::expected<void, ReservationError> done) const {
  if (done) return {};
  switch (done.error()) {
    case ReservationError::conflict: return std::unexpected(reservation_conflict(destination));
    case ReservationError::too_many_registrants:
    case ReservationError::not_persisted:
      return std::unexpected(forwarded(destination, reservation_resources(done.error())));
    default:
      return std::unexpected(
          forwarded(destination, Sense::illegal_request(AdditionalSense::invalid_field_in_parameter_list,
                                                        "no reservation to move, moved to itself, or a key of zero")));
  }
}

/// REGISTER; APTPL, which the segment does not have, stays what it is.
base::Async<ExtendedCopy::Outcome> ExtendedCopy::register_key(const SegmentDescriptor& segment,
                                                              const ReservationKeys& keys) {
  auto destination = registrar(segment);
  if (!destination) co_return std::unexpected(std::move(destination.error()));
  ReservationChanges::Change change = [this, keys](Reservations& reservations) {
    bool attached = job_.server().nexuses().contains(job_.nexus());
    return reservations.register_key({nexus_, attached ? job_.nexus() : NexusId::none}, keys.reservation_key,
                                     keys.service_action_reservation_key);
  };
  auto done = co_await job_.change_reservations(*destination->lu, std::move(change));
  co_return reservation_outcome(*destination, done);
}

/// Those that were met are carried out when the copy is over, well or not, so that a reservation goes back to whoever
/// it was to go to. All are tried; the first error counts.
base::Async<ExtendedCopy::Outcome> ExtendedCopy::move_reservations() {
  std::uint16_t reached = segment_;
  Outcome all{};
  for (std::uint16_t index : std::exchange(moves_, {})) {
    segment_ = index;
    Outcome done =
        co_await move_reservation(list_.segments[index], std::get<ReservationMove>(list_.segments[index].what));
    if (all && !done) all = std::move(done);
  }
  segment_ = reached;
  co_return all;
}

/// REGISTER AND MOVE.
base::Async<ExtendedCopy::Outcome> ExtendedCopy::move_reservation(const SegmentDescriptor& segment,
                                                                  const ReservationMove& move) {
  auto destination = registrar(segment);
  if (!destination) co_return std::unexpected(std::move(destination.error()));
  LogicalUnit& lu = *destination->lu;
  auto refuse = [&](std::string rule) {
    return std::unexpected(forwarded(
        *destination, Sense::illegal_request(AdditionalSense::invalid_field_in_parameter_list, std::move(rule))));
  };
  if (!has_target_port(job_.server(), move.relative_target_port_identifier))
    co_return refuse(fmt::format("the target has no port {}", move.relative_target_port_identifier));
  if (!lu.allows(move.to.initiator_name))
    co_return refuse("not there for the initiator that it is to be moved to: " + move.to.initiator_name);
  if (move.persist_through_power_loss && !lu.reservation_changes().can_persist())
    co_return refuse("APTPL is one, reservations of this logical unit do not persist through power loss");
  ReservationChanges::Change change = [this, &move](Reservations& reservations) {
    auto to = named_nexuses(job_.server(), move.to, move.relative_target_port_identifier).front();
    auto result = reservations.register_and_move(nexus_, move.keys.reservation_key,
                                                 move.keys.service_action_reservation_key, to, move.unregister);
    if (result) reservations.set_persist_through_power_loss(move.persist_through_power_loss);
    return result;
  };
  auto done = co_await job_.change_reservations(lu, std::move(change));
  co_return reservation_outcome(*destination, done);
}

}  // namespace scsi
