#include "scsi/reservation_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_changes.h"
#include "scsi/task_set.h"
#include "scsi/transport_id.h"
#include "scsi/unit_attentions.h"

namespace scsi {
namespace {

using Outcome = std::expected<void, Sense>;
using Nexus = Reservations::Nexus;

constexpr std::uint8_t kPersistentReserveIn = 0x5E;
constexpr std::uint8_t kPersistentReserveOut = 0x5F;

/// SPC-4 table 208.
enum class InServiceAction : std::uint8_t {
  read_keys = 0,
  read_reservation = 1,
  report_capabilities = 2,
  read_full_status = 3,
};

/// SPC-4 table 219.
enum class OutServiceAction : std::uint8_t {
  register_key = 0,
  reserve = 1,
  release = 2,
  clear = 3,
  preempt = 4,
  preempt_and_abort = 5,
  register_and_ignore_existing_key = 6,
  register_and_move = 7,
};

/// SPC-4 6.15.1.
struct PersistentReserveInCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  std::array<std::uint8_t, 5> reserved;
  base::be16 allocation_length;
  std::uint8_t control;
};
static_assert(sizeof(PersistentReserveInCdb) == 10);
static_assert(offsetof(PersistentReserveInCdb, allocation_length) == 7);

/// SPC-4 6.16.1.
struct PersistentReserveOutCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  std::uint8_t scope_type;
  base::be16 reserved;
  base::be32 parameter_list_length;
  std::uint8_t control;
};
static_assert(sizeof(PersistentReserveOutCdb) == 10);
static_assert(offsetof(PersistentReserveOutCdb, parameter_list_length) == 5);
constexpr std::uint8_t kScopeMask = 0xF0;  ///< 0: the logical unit, the only one there is
constexpr std::uint8_t kScopeHighBit = 7;
constexpr std::uint8_t kTypeMask = 0x0F;
constexpr std::uint8_t kTypeHighBit = 3;

// ---- PERSISTENT RESERVE IN -------------------------------------------------------------------------------------

/// SPC-4 table 212.
struct ReservationDescriptor {
  base::be64 reservation_key{};
  base::be32 obsolete8{};
  std::uint8_t reserved12 = 0;
  std::uint8_t scope_type = 0;
  base::be16 obsolete14{};
};
static_assert(sizeof(ReservationDescriptor) == 16 && offsetof(ReservationDescriptor, scope_type) == 13);

/// SPC-4 table 214.
struct Capabilities {
  base::be16 length = 8;
  std::uint8_t flags = 0;
  std::uint8_t more_flags = 0;
  base::be16 type_mask{};
  base::be16 reserved{};
};
static_assert(sizeof(Capabilities) == 8 && offsetof(Capabilities, type_mask) == 4);
constexpr std::uint8_t kCompatibleReservationHandling = 0x10;
constexpr std::uint8_t kSpecifyInitiatorPortsCapable = 0x08;
constexpr std::uint8_t kAllTargetPortsCapable = 0x04;
constexpr std::uint8_t kPersistThroughPowerLossCapable = 0x01;
constexpr std::uint8_t kPersistThroughPowerLossActivated = 0x01;  ///< in more_flags
constexpr std::uint8_t kTypeMaskValid = 0x80;
/// ALLOW COMMANDS 011b: TEST UNIT READY through any reservation; MODE SENSE, REPORT SUPPORTED OPERATION CODES and
/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS through write exclusive ones.
constexpr std::uint8_t kAllowCommands = 0x30;
/// WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC, WR_EX and EX_AC_AR.
constexpr std::uint16_t kAllTypes = 0xEA01;

/// SPC-4 table 217, without ADDITIONAL DESCRIPTOR LENGTH and what it counts.
struct FullStatusHead {
  base::be64 reservation_key{};
  base::be32 reserved8{};
  std::uint8_t flags = 0;
  std::uint8_t scope_type = 0;
  base::be32 reserved14{};
  base::be16 relative_target_port_identifier{};
};
static_assert(sizeof(FullStatusHead) == 20);
static_assert(offsetof(FullStatusHead, relative_target_port_identifier) == 18);
constexpr std::uint8_t kHolder = 0x01;

std::uint64_t in_length(const Task& task, const LogicalUnit*) {
  return base::load<PersistentReserveInCdb>(task.cdb).allocation_length;
}

/// PRGENERATION, ADDITIONAL LENGTH, and what `content` writes.
template <typename Content>
Outcome respond_with_generation(CommandContext& context, Content content) {
  std::vector<std::uint8_t> out;
  base::ByteWriter writer(out);
  writer.u32(context.lu->reservations().generation());
  {
    auto length = writer.length32();
    content(writer, context.lu->reservations());
  }
  context.respond(std::move(out));
  return {};
}

Outcome read_keys(CommandContext& context) {
  return respond_with_generation(context, [](base::ByteWriter& writer, const Reservations& reservations) {
    for (const auto& [nexus, registration] : reservations.registrations()) writer.u64(registration.key);
  });
}

/// The key is that of the holder; 0 where all registrants hold it (SPC-4 6.15.3.2).
Outcome read_reservation(CommandContext& context) {
  return respond_with_generation(context, [](base::ByteWriter& writer, const Reservations& reservations) {
    if (!reservations.type()) return;
    ReservationDescriptor descriptor;
    if (reservations.holder()) descriptor.reservation_key = reservations.holder()->second.key;
    descriptor.scope_type = static_cast<std::uint8_t>(*reservations.type());
    writer.layout(descriptor);
  });
}

Outcome report_capabilities(CommandContext& context) {
  Capabilities data;
  data.flags = kCompatibleReservationHandling | kSpecifyInitiatorPortsCapable | kAllTargetPortsCapable;
  if (context.lu->reservation_changes().can_persist()) data.flags |= kPersistThroughPowerLossCapable;
  data.more_flags = kTypeMaskValid | kAllowCommands;
  if (context.lu->reservations().persist_through_power_loss()) data.more_flags |= kPersistThroughPowerLossActivated;
  data.type_mask = kAllTypes;
  base::Bytes bytes = base::bytes_of(data);
  context.respond({bytes.begin(), bytes.end()});
  return {};
}

Outcome read_full_status(CommandContext& context) {
  return respond_with_generation(context, [](base::ByteWriter& writer, const Reservations& reservations) {
    for (const Reservations::Registrant& registrant : reservations.registrations()) {
      FullStatusHead head;
      head.reservation_key = registrant.second.key;
      if (reservations.holds(registrant)) {
        head.flags = kHolder;
        head.scope_type = static_cast<std::uint8_t>(*reservations.type());
      }
      head.relative_target_port_identifier = registrant.first.target_portal_group_tag;
      writer.layout(head);
      auto length = writer.length32();
      write_transport_id(writer, registrant.first);
    }
  });
}

// ---- PERSISTENT RESERVE OUT ------------------------------------------------------------------------------------

/// SPC-4 table 221; with SPEC_I_PT=1 a length and TransportIDs follow.
struct OutList {
  base::be64 reservation_key;
  base::be64 service_action_reservation_key;
  base::be32 obsolete16;
  std::uint8_t flags;
  std::uint8_t reserved21;
  base::be16 obsolete22;
};
static_assert(sizeof(OutList) == 24 && offsetof(OutList, flags) == 20);
constexpr std::uint8_t kSpecifyInitiatorPorts = 0x08;
constexpr std::uint8_t kSpecifyInitiatorPortsBit = 3;
constexpr std::uint8_t kAllTargetPorts = 0x04;
constexpr std::uint8_t kActivatePersistThroughPowerLoss = 0x01;
constexpr std::uint8_t kActivatePersistThroughPowerLossBit = 0;

/// SPC-4 table 223; a TransportID follows.
struct MoveList {
  base::be64 reservation_key;
  base::be64 service_action_reservation_key;
  std::uint8_t reserved16;
  std::uint8_t flags;
  base::be16 relative_target_port_identifier;
  base::be32 transportid_length;
};
static_assert(sizeof(MoveList) == sizeof(OutList) && offsetof(MoveList, flags) == 17);
static_assert(offsetof(MoveList, relative_target_port_identifier) == 18);
constexpr std::uint8_t kUnregister = 0x02;

/// What a host can make us gather for one list: far more TransportIDs than fit into a logical unit's registrations.
constexpr std::uint32_t kMaximumParameterList = 1 << 20;

std::uint64_t out_length(const Task& task, const LogicalUnit*) {
  return base::load<PersistentReserveOutCdb>(task.cdb).parameter_list_length;
}

/// 05/1A/00: SPC-4 6.16.2 wants 24 bytes of all service actions but REGISTER with SPEC_I_PT=1 and REGISTER AND MOVE.
Outcome check_out(const CommandContext& context) {
  std::uint64_t length = context.task.data_out_length;
  auto action = static_cast<OutServiceAction>(context.task.cdb[kServiceActionByte] & kServiceActionMask);
  bool longer = action == OutServiceAction::register_key || action == OutServiceAction::register_and_move;
  if (length >= sizeof(OutList) && length <= (longer ? kMaximumParameterList : sizeof(OutList))) return {};
  return std::unexpected(Sense::illegal_request(AdditionalSense::parameter_list_length_error,
                                                fmt::format("PARAMETER LIST LENGTH is {}", length)));
}

/// What every list but that of REGISTER AND MOVE begins with. 05/1A/00 when less came than was announced.
std::expected<OutList, Sense> out_list(const CommandContext& context) {
  auto list = context.parameter_list();
  if (!list) return std::unexpected(std::move(list.error()));
  auto fixed = base::load<OutList>(*list);
  auto action = static_cast<OutServiceAction>(context.task.cdb[kServiceActionByte] & kServiceActionMask);
  if ((fixed.flags & kSpecifyInitiatorPorts) && action != OutServiceAction::register_key)
    return std::unexpected(Sense::invalid_field_in_list(offsetof(OutList, flags), kSpecifyInitiatorPortsBit,
                                                        "SPEC_I_PT is one, and this is not REGISTER"));
  return fixed;
}

/// What APTPL asks for. 05/26/00 where it is one and nothing can persist (SPC-4 6.16.3).
std::expected<bool, Sense> aptpl(const CommandContext& context, std::uint8_t flags, std::size_t byte) {
  bool activate = flags & kActivatePersistThroughPowerLoss;
  if (!activate || context.lu->reservation_changes().can_persist()) return activate;
  return std::unexpected(Sense::invalid_field_in_list(
      byte, kActivatePersistThroughPowerLossBit,
      "APTPL is one, reservations of this logical unit do not persist through power loss"));
}

Nexus sender(const CommandContext& context) { return {context.server.nexus(context.task.nexus), context.task.nexus}; }

std::uint8_t scope_type(const CommandContext& context) { return context.cdb_as<PersistentReserveOutCdb>().scope_type; }

/// The type the CDB asks for; nothing for one, or a scope, that there is not.
std::optional<ReservationType> requested_type(const CommandContext& context) {
  if (scope_type(context) & kScopeMask) return {};
  return reservation_type(scope_type(context) & kTypeMask);
}

Sense invalid_type(std::uint8_t scope_type) {
  bool scope = scope_type & kScopeMask;
  return Sense::invalid_field_in_cdb(offsetof(PersistentReserveOutCdb, scope_type),
                                     scope ? kScopeHighBit : kTypeHighBit,
                                     scope ? "SCOPE is not that of the logical unit" : "TYPE is reserved");
}

std::unexpected<Sense> fail(Task& task, ReservationError error) {
  auto refuse = [](Sense sense) { return std::unexpected(std::move(sense)); };
  constexpr std::size_t kNewKey = offsetof(OutList, service_action_reservation_key);
  static_assert(kNewKey == offsetof(MoveList, service_action_reservation_key));
  switch (error) {
    case ReservationError::conflict: break;
    case ReservationError::already_registered:
      return refuse(Sense::invalid_field_in_list(offsetof(OutList, flags), kSpecifyInitiatorPortsBit,
                                                 "SPEC_I_PT is one, and the I_T nexus is registered"));
    case ReservationError::too_many_registrants:
    case ReservationError::not_persisted: return refuse(reservation_resources(error));
    case ReservationError::invalid_release:
      return refuse(Sense::illegal_request(AdditionalSense::invalid_release_of_persistent_reservation,
                                           "SCOPE and TYPE are not those of the reservation"));
    case ReservationError::invalid_type:
      return refuse(invalid_type(base::load<PersistentReserveOutCdb>(task.cdb).scope_type));
    case ReservationError::no_reservation:
      return refuse(
          Sense::invalid_field_in_cdb(kServiceActionByte, kServiceActionHighBit, "there is no reservation to move"));
    case ReservationError::moved_to_itself:
      return refuse(Sense::invalid_field_in_list(sizeof(MoveList), {}, "the reservation would move to its holder"));
    case ReservationError::no_service_action_key:
      return refuse(Sense::invalid_field_in_list(kNewKey, {}, "SERVICE ACTION RESERVATION KEY is zero"));
  }
  task.status = Status::reservation_conflict;
  return std::unexpected(Sense{
      .rule = "the reservation key is not that of this I_T nexus, or names nobody, or another I_T nexus holds the "
              "reservation"});
}

using Then = std::move_only_function<void(Task& task, const Reservations::Consequences& consequences)>;

/// Makes `change` in its turn, and tells whom it concerns; then `then`, which finishes the task. The task may be gone
/// when this returns.
Outcome make(CommandContext& context, ReservationChanges::Change change, Then then) {
  context.defer(waits_for_others);
  auto done = [&task = context.task, then = std::move(then)](Reservations::Result result) mutable {
    if (!result) return task.server->finish(task, fail(task, result.error()));
    announce(*task.logical_unit, *result);
    then(task, *result);
  };
  context.lu->reservation_changes().submit(context.server.executor(), std::move(change), std::move(done));
  return {};
}

/// Of a service action with nothing to wait for but that it is kept.
Outcome make(CommandContext& context, ReservationChanges::Change change) {
  return make(context, std::move(change), [](Task& task, const auto&) { task.server->finish(task, {}); });
}

/// The TransportIDs of a REGISTER with SPEC_I_PT=1, with each of `ports`. 05/26/00 for one that is wrong or names
/// nobody.
std::expected<std::vector<Nexus>, Sense> specified_nexuses(const CommandContext& context, base::Bytes list,
                                                           std::span<const std::uint16_t> ports) {
  base::ByteReader reader(list);
  reader.skip(sizeof(OutList));
  std::uint32_t length = reader.u32();
  if (!reader.ok() || length != reader.remaining())
    return std::unexpected(Sense::invalid_field_in_list(
        sizeof(OutList), {}, fmt::format("TRANSPORTID PARAMETER DATA LENGTH {} of {} bytes", length, list.size())));
  std::vector<Nexus> nexuses;
  while (reader.remaining() > 0) {
    std::size_t at = reader.position();
    auto id = parse_transport_id(reader, 0);
    if (!id) return std::unexpected(std::move(id.error()));
    std::size_t before = nexuses.size();
    for (std::uint16_t port : ports)
      if (context.lu->allows(id->initiator_name))
        std::ranges::move(named_nexuses(context.server, *id, port), std::back_inserter(nexuses));
    if (nexuses.size() == before)
      return std::unexpected(
          Sense::invalid_field_in_list(at, {}, "no I_T nexus of this initiator is known here: " + id->initiator_name));
    // Before work grows with what cannot be had anyway.
    if (nexuses.size() > Reservations::kMaximumRegistrants)
      return std::unexpected(reservation_resources(ReservationError::too_many_registrants));
  }
  return nexuses;
}

/// The same initiator port with the target's other ports, for ALL_TG_PT=1.
std::vector<Nexus> other_ports(const CommandContext& context) {
  std::vector<Nexus> nexuses;
  const Nexus from = sender(context);
  for (std::uint16_t port : context.server.target_ports())
    if (port != from.name.target_portal_group_tag) {
      ITNexus name = from.name;
      name.target_portal_group_tag = port;
      nexuses.push_back({name, attached_as(context.server, name)});
    }
  return nexuses;
}

/// The nexuses as they are attached now: writing may have taken a while.
std::vector<Nexus> attached_now(const DeviceServer& server, std::vector<Nexus> nexuses) {
  for (Nexus& each : nexuses) each.id = attached_as(server, each.name);
  return nexuses;
}

Outcome pr_register(CommandContext& context) {
  auto list = out_list(context);
  if (!list) return std::unexpected(std::move(list.error()));
  auto activate = aptpl(context, list->flags, offsetof(OutList, flags));
  if (!activate) return std::unexpected(std::move(activate.error()));
  base::Bytes whole = *context.parameter_list();
  const Nexus from = sender(context);
  std::vector<Nexus> ports;
  if (list->flags & kAllTargetPorts) ports = other_ports(context);
  std::optional<std::vector<Nexus>> others;
  if (list->flags & kSpecifyInitiatorPorts) {
    auto through =
        list->flags & kAllTargetPorts ? context.server.target_ports() : std::vector{from.name.target_portal_group_tag};
    auto specified = specified_nexuses(context, whole, through);
    if (!specified) return std::unexpected(std::move(specified.error()));
    others = std::move(*specified);
  } else if (whole.size() != sizeof(OutList)) {
    return std::unexpected(Sense::illegal_request(AdditionalSense::parameter_list_length_error,
                                                  "more than 24 bytes, and SPEC_I_PT is zero"));
  }
  return make(context, [=, &server = context.server, fixed = *list, activate = *activate](Reservations& reservations) {
    std::optional<std::vector<Nexus>> with;
    if (others) with = attached_now(server, *others);
    auto result = reservations.register_key(from, fixed.reservation_key, fixed.service_action_reservation_key, with,
                                            attached_now(server, ports));
    if (result) reservations.set_persist_through_power_loss(activate);
    return result;
  });
}

Outcome pr_register_and_ignore_existing_key(CommandContext& context) {
  auto list = out_list(context);
  if (!list) return std::unexpected(std::move(list.error()));
  auto activate = aptpl(context, list->flags, offsetof(OutList, flags));
  if (!activate) return std::unexpected(std::move(activate.error()));
  std::vector<Nexus> ports;
  if (list->flags & kAllTargetPorts) ports = other_ports(context);
  return make(context, [=, &server = context.server, from = sender(context), fixed = *list,
                        activate = *activate](Reservations& reservations) {
    auto result = reservations.register_and_ignore_existing_key(from, fixed.service_action_reservation_key,
                                                                attached_now(server, ports));
    if (result) reservations.set_persist_through_power_loss(activate);
    return result;
  });
}

Outcome pr_reserve(CommandContext& context) {
  auto list = out_list(context);
  if (!list) return std::unexpected(std::move(list.error()));
  auto type = requested_type(context);
  if (!type) return std::unexpected(invalid_type(scope_type(context)));
  return make(context, [from = sender(context).name, key = list->reservation_key.value(),
                        type = *type](Reservations& reservations) { return reservations.reserve(from, key, type); });
}

Outcome pr_release(CommandContext& context) {
  auto list = out_list(context);
  if (!list) return std::unexpected(std::move(list.error()));
  return make(context,
              [from = sender(context).name, key = list->reservation_key.value(), type = requested_type(context)](
                  Reservations& reservations) { return reservations.release(from, key, type); });
}

Outcome pr_clear(CommandContext& context) {
  auto list = out_list(context);
  if (!list) return std::unexpected(std::move(list.error()));
  return make(context, [from = sender(context).name, key = list->reservation_key.value()](Reservations& reservations) {
    return reservations.clear(from, key);
  });
}

ReservationChanges::Change preempting(const CommandContext& context, const OutList& list) {
  return [from = sender(context).name, key = list.reservation_key.value(),
          victims_key = list.service_action_reservation_key.value(), type = requested_type(context)](
             Reservations& reservations) { return reservations.preempt(from, key, victims_key, type); };
}

Outcome pr_preempt(CommandContext& context) {
  auto list = out_list(context);
  if (!list) return std::unexpected(std::move(list.error()));
  return make(context, preempting(context, *list));
}

/// Answered when no task of a preempted nexus can change data any more (SPC-4 5.12.11.5).
Outcome pr_preempt_and_abort(CommandContext& context) {
  auto list = out_list(context);
  if (!list) return std::unexpected(std::move(list.error()));
  return make(context, preempting(context, *list), [](Task& task, const Reservations::Consequences& consequences) {
    task.server->abort_preempted(*task.logical_unit, consequences.preempted,
                                 [&task] { task.server->finish(task, {}); });
  });
}

Outcome pr_register_and_move(CommandContext& context) {
  auto list = context.parameter_list();
  if (!list) return std::unexpected(std::move(list.error()));
  base::ByteReader reader(*list);
  auto fixed = reader.layout<MoveList>();
  auto activate = aptpl(context, fixed.flags, offsetof(MoveList, flags));
  if (!activate) return std::unexpected(std::move(activate.error()));
  std::uint16_t port = fixed.relative_target_port_identifier;
  if (!has_target_port(context.server, port))
    return std::unexpected(Sense::invalid_field_in_list(offsetof(MoveList, relative_target_port_identifier), {},
                                                        fmt::format("the target has no port {}", port)));
  if (fixed.transportid_length != reader.remaining())
    return std::unexpected(Sense::invalid_field_in_list(
        offsetof(MoveList, transportid_length), {},
        fmt::format("TRANSPORTID LENGTH {}, {} bytes are left", fixed.transportid_length.value(), reader.remaining())));
  auto id = parse_transport_id(reader, 0);
  if (!id) return std::unexpected(std::move(id.error()));
  if (!id->isid || reader.remaining() > 0)
    return std::unexpected(
        Sense::invalid_field_in_list(sizeof(MoveList), {}, "not one TransportID of one initiator port"));
  // It could neither use nor release what it is given.
  if (!context.lu->allows(id->initiator_name))
    return std::unexpected(
        Sense::invalid_field_in_list(sizeof(MoveList), {}, "not there for this initiator: " + id->initiator_name));
  return make(context, [fixed, port, id = *id, &server = context.server, from = sender(context).name,
                        activate = *activate](Reservations& reservations) {
    auto result = reservations.register_and_move(from, fixed.reservation_key, fixed.service_action_reservation_key,
                                                 named_nexuses(server, id, port).front(), fixed.flags & kUnregister);
    if (result) reservations.set_persist_through_power_loss(activate);
    return result;
  });
}

// ---- RESERVE and RELEASE (SPC-2) -------------------------------------------------------------------------------

/// In turn with the changes of persistent reservations, which exclude such a reservation.
Outcome change_unit(CommandContext& context, bool (Reservations::*change)(NexusId)) {
  return make(context, [change, from = context.task.nexus](Reservations& reservations) -> Reservations::Result {
    if ((reservations.*change)(from)) return Reservations::Consequences{};
    return std::unexpected(ReservationError::conflict);
  });
}

Outcome reserve_unit(CommandContext& context) { return change_unit(context, &Reservations::reserve_unit); }
Outcome release_unit(CommandContext& context) { return change_unit(context, &Reservations::release_unit); }

// ---- Rows ------------------------------------------------------------------------------------------------------

constexpr CommandDescriptor in_row(std::string_view name, InServiceAction action, CommandBody body) {
  auto code = static_cast<std::uint8_t>(action);
  return {.name = name,
          .opcode = kPersistentReserveIn,
          .service_action = code,
          .cdb_length = sizeof(PersistentReserveInCdb),
          .usage = {kPersistentReserveIn, code, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0},
          .direction = DataDirection::in,
          .gates = {.reservation = ReservationGate::none,
                    .unit_reservation = UnitReservationGate::anybody,
                    .access = AccessGate::standby,
                    .ready = false},
          .transfer_length = in_length,
          .body = body};
}

/// SPC-4 table 66: who is not registered may register, and no more.
constexpr CommandDescriptor out_row(std::string_view name, OutServiceAction action, ReservationGate gate,
                                    CommandBody body) {
  auto code = static_cast<std::uint8_t>(action);
  return {.name = name,
          .opcode = kPersistentReserveOut,
          .service_action = code,
          .cdb_length = sizeof(PersistentReserveOutCdb),
          .usage = {kPersistentReserveOut, code, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0},
          .direction = DataDirection::out,
          .gates = {.reservation = gate,
                    .unit_reservation = UnitReservationGate::anybody,
                    .access = AccessGate::standby,
                    .ready = false},
          .transfer_length = out_length,
          .body = body,
          .check = check_out};
}

/// No third party and no extents: their bits and fields must be zero (SPC-2; 05/24/00 with the bit).
constexpr CommandDescriptor unit_row(std::string_view name, std::uint8_t opcode, std::uint8_t cdb_length,
                                     CommandBody body) {
  return {
      .name = name,
      .opcode = opcode,
      .cdb_length = cdb_length,
      .usage = {opcode},
      .direction = DataDirection::none,
      .gates = {.reservation = ReservationGate::none, .unit_reservation = UnitReservationGate::none, .ready = false},
      .transfer_length = nullptr,
      .body = body};
}

constexpr auto kAnybody = ReservationGate::none;
constexpr auto kRegistered = ReservationGate::registered;

constexpr CommandDescriptor kRows[] = {
    unit_row("RESERVE(6)", 0x16, 6, reserve_unit),
    unit_row("RELEASE(6)", 0x17, 6, release_unit),
    unit_row("RESERVE(10)", 0x56, 10, reserve_unit),
    unit_row("RELEASE(10)", 0x57, 10, release_unit),
    in_row("PERSISTENT RESERVE IN, READ KEYS", InServiceAction::read_keys, read_keys),
    in_row("PERSISTENT RESERVE IN, READ RESERVATION", InServiceAction::read_reservation, read_reservation),
    in_row("PERSISTENT RESERVE IN, REPORT CAPABILITIES", InServiceAction::report_capabilities, report_capabilities),
    in_row("PERSISTENT RESERVE IN, READ FULL STATUS", InServiceAction::read_full_status, read_full_status),
    out_row("PERSISTENT RESERVE OUT, REGISTER", OutServiceAction::register_key, kAnybody, pr_register),
    out_row("PERSISTENT RESERVE OUT, RESERVE", OutServiceAction::reserve, kRegistered, pr_reserve),
    out_row("PERSISTENT RESERVE OUT, RELEASE", OutServiceAction::release, kRegistered, pr_release),
    out_row("PERSISTENT RESERVE OUT, CLEAR", OutServiceAction::clear, kRegistered, pr_clear),
    out_row("PERSISTENT RESERVE OUT, PREEMPT", OutServiceAction::preempt, kRegistered, pr_preempt),
    out_row("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", OutServiceAction::preempt_and_abort, kRegistered,
            pr_preempt_and_abort),
    out_row("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY",
            OutServiceAction::register_and_ignore_existing_key, kAnybody, pr_register_and_ignore_existing_key),
    out_row("PERSISTENT RESERVE OUT, REGISTER AND MOVE", OutServiceAction::register_and_move, kRegistered,
            pr_register_and_move),
};

}  // namespace

bool has_target_port(const DeviceServer& server, std::uint16_t port) {
  auto ports = server.target_ports();
  return std::ranges::find(ports, port) != ports.end();
}

NexusId attached_as(const DeviceServer& server, const ITNexus& name) {
  for (const auto& [id, nexus] : server.nexuses())
    if (nexus == name) return id;
  return NexusId::none;
}

std::vector<Reservations::Nexus> named_nexuses(const DeviceServer& server, const TransportId& id, std::uint16_t port) {
  if (id.isid) {
    ITNexus name{id.initiator_name, *id.isid, server.config().target_name, port};
    return {{name, attached_as(server, name)}};
  }
  // Every port of that initiator that is known: as it is attached, whichever target port it came to.
  std::vector<Reservations::Nexus> named;
  for (const auto& [nexus, attached] : server.nexuses()) {
    if (attached.initiator_name != id.initiator_name) continue;
    ITNexus name = attached;
    name.target_portal_group_tag = port;
    named.push_back({name, attached_as(server, name)});
  }
  return named;
}

Sense reservation_resources(ReservationError error) {
  if (error == ReservationError::not_persisted)
    return {SenseKey::hardware_error,
            AdditionalSense::internal_target_failure,
            {},
            {},
            "what is to persist through power loss could not be written"};
  return Sense::illegal_request(AdditionalSense::insufficient_registration_resources,
                                "the limit on registered I_T nexuses is reached");
}

std::span<const CommandDescriptor> reservation_commands() { return kRows; }

void announce(LogicalUnit& lu, const Reservations::Consequences& consequences) {
  for (const auto& attention : consequences.attentions) lu.unit_attentions().establish(attention.nexus, attention.code);
}

}  // namespace scsi
