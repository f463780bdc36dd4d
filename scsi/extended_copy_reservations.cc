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

/// REGISTER.
ExtendedCopy::Outcome ExtendedCopy::register_key(const SegmentDescriptor& segment, const ReservationKeys& keys) {
  auto destination = registrar(segment);
  if (!destination) return std::unexpected(std::move(destination.error()));
  LogicalUnit& lu = *destination->lu;
  bool attached = job_.server().nexuses().contains(job_.nexus());
  auto done = lu.reservations().register_key({nexus_, attached ? job_.nexus() : NexusId::none}, keys.reservation_key,
                                             keys.service_action_reservation_key);
  if (!done && done.error() == ReservationError::too_many_registrants)
    return std::unexpected(
        forwarded(*destination, Sense::illegal_request(AdditionalSense::insufficient_registration_resources,
                                                       "the limit on registered I_T nexuses is reached")));
  if (!done) return std::unexpected(reservation_conflict(*destination));
  announce(lu, *done);
  return {};
}

/// Those that were met are carried out when the copy is over, well or not, so that a reservation goes back to whoever
/// it was to go to. All are tried; the first error counts.
ExtendedCopy::Outcome ExtendedCopy::move_reservations() {
  std::uint16_t reached = segment_;
  Outcome all{};
  for (std::uint16_t index : std::exchange(moves_, {})) {
    segment_ = index;
    Outcome done = move_reservation(list_.segments[index], std::get<ReservationMove>(list_.segments[index].what));
    if (all && !done) all = std::move(done);
  }
  segment_ = reached;
  return all;
}

/// REGISTER AND MOVE.
ExtendedCopy::Outcome ExtendedCopy::move_reservation(const SegmentDescriptor& segment, const ReservationMove& move) {
  auto destination = registrar(segment);
  if (!destination) return std::unexpected(std::move(destination.error()));
  LogicalUnit& lu = *destination->lu;
  if (move.relative_target_port_identifier != job_.server().config().target_portal_group_tag)
    return std::unexpected(forwarded(
        *destination,
        Sense::illegal_request(AdditionalSense::invalid_field_in_parameter_list,
                               fmt::format("the target has no port {}", move.relative_target_port_identifier))));
  auto done =
      lu.reservations().register_and_move(nexus_, move.keys.reservation_key, move.keys.service_action_reservation_key,
                                          named_nexuses(job_.server(), move.to).front(), move.unregister);
  if (!done && done.error() != ReservationError::conflict)
    return std::unexpected(forwarded(
        *destination, done.error() == ReservationError::too_many_registrants
                          ? Sense::illegal_request(AdditionalSense::insufficient_registration_resources,
                                                   "the limit on registered I_T nexuses is reached")
                          : Sense::illegal_request(AdditionalSense::invalid_field_in_parameter_list,
                                                   "no reservation to move, moved to itself, or a key of zero")));
  if (!done) return std::unexpected(reservation_conflict(*destination));
  announce(lu, *done);
  return {};
}

}  // namespace scsi
