// REPORT TARGET PORT GROUPS and SET TARGET PORT GROUPS (SPC-4 6.37, 6.45).
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"
#include "scsi/target_port_groups.h"
#include "scsi/unit_attentions.h"

namespace scsi {
namespace {

/// Both commands: the length is the allocation length of the one and the parameter list length of the other.
struct TargetPortGroupsCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;  ///< of REPORT TARGET PORT GROUPS also PARAMETER DATA FORMAT, in the upper three bits
  base::be32 reserved;
  base::be32 length;
  std::uint8_t reserved10;
  std::uint8_t control;
};
static_assert(sizeof(TargetPortGroupsCdb) == 12 && offsetof(TargetPortGroupsCdb, length) == 6);
constexpr unsigned kParameterDataFormatFactor = 0x20;
constexpr std::uint8_t kParameterDataFormatHighBit = 7;
enum class ParameterDataFormat : std::uint8_t { length_only_header = 0, extended_header = 1 };

// ---- REPORT TARGET PORT GROUPS ---------------------------------------------------------------------------------

/// What the extended header has after RETURN DATA LENGTH.
struct ExtendedHeader {
  std::uint8_t return_data_format_type = 0x10;  ///< 001b in bits 6-4
  std::uint8_t implicit_transition_time = 0;    ///< seconds; 0: not specified, the operator ends a transition
  base::be16 reserved{};
};
static_assert(sizeof(ExtendedHeader) == 4);

constexpr std::uint8_t kPref = 0x80;
constexpr std::uint8_t kSupportedStates = 0x80 | 0x08 | 0x04 | 0x02 | 0x01;  ///< T_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP

struct TargetPortGroupDescriptor {
  std::uint8_t pref_state = 0;
  std::uint8_t supported_states = kSupportedStates;
  base::be16 target_port_group{};
  std::uint8_t reserved = 0;
  std::uint8_t status_code = 0;
  std::uint8_t vendor_specific = 0;
  std::uint8_t target_port_count = 1;
};
struct TargetPortDescriptor {
  base::be16 obsolete{};
  base::be16 relative_target_port_identifier{};
};
static_assert(sizeof(TargetPortGroupDescriptor) == 8 && offsetof(TargetPortGroupDescriptor, target_port_group) == 2);
static_assert(sizeof(TargetPortDescriptor) == 4);

void write_group(base::ByteWriter& writer, const TargetPortGroup& group) {
  TargetPortGroupDescriptor descriptor;
  descriptor.pref_state = static_cast<std::uint8_t>(group.state) | (group.preferred ? kPref : 0);
  descriptor.target_port_group = group.number;
  descriptor.status_code = static_cast<std::uint8_t>(group.changed_by);
  writer.layout(descriptor);
  TargetPortDescriptor port;
  port.relative_target_port_identifier = group.number;
  writer.layout(port);
}

// ---- SET TARGET PORT GROUPS ------------------------------------------------------------------------------------

using SetListHeader = base::be32;  ///< reserved

struct SetTargetPortGroupDescriptor {
  std::uint8_t state;
  std::uint8_t reserved;
  base::be16 target_port_group;
};
static_assert(sizeof(SetTargetPortGroupDescriptor) == 4);
static_assert(offsetof(SetTargetPortGroupDescriptor, target_port_group) == 2);
constexpr std::uint8_t kStateMask = 0x0F;
constexpr std::uint8_t kStateHighBit = 3;

/// Each group once, with room for hosts that send more.
constexpr std::uint32_t kMaximumParameterList = 1 << 18;

/// An application client may ask for these (SPC-4 6.45); transitioning is no wish, and offline is not offered.
bool may_be_set(AccessState state) {
  switch (state) {
    case AccessState::active_optimized:
    case AccessState::active_non_optimized:
    case AccessState::standby:
    case AccessState::unavailable: return true;
    case AccessState::transitioning: break;
  }
  return false;
}

struct Wish {
  std::uint16_t group;
  AccessState state;
};

/// All descriptors of the list, before any is acted upon.
std::expected<std::vector<Wish>, Sense> read_wishes(const TargetPortGroups& groups, base::Bytes list) {
  using Descriptor = SetTargetPortGroupDescriptor;
  std::vector<Wish> wishes;
  for (std::size_t at = sizeof(SetListHeader); at < list.size(); at += sizeof(Descriptor)) {
    auto descriptor = base::load<Descriptor>(list.subspan(at));
    auto state = static_cast<AccessState>(descriptor.state & kStateMask);
    if (!may_be_set(state)) {
      return std::unexpected(Sense::invalid_field_in_list(
          at + offsetof(Descriptor, state), kStateHighBit,
          fmt::format("ASYMMETRIC ACCESS STATE {:X}h cannot be set", descriptor.state & kStateMask)));
    }
    std::uint16_t number = descriptor.target_port_group;
    auto refuse = [&](std::string rule) {
      return std::unexpected(
          Sense::invalid_field_in_list(at + offsetof(Descriptor, target_port_group), {}, std::move(rule)));
    };
    if (!groups.find(number)) return refuse(fmt::format("there is no target port group {}", number));
    if (std::ranges::find(wishes, number, &Wish::group) != wishes.end())
      return refuse(fmt::format("target port group {} is there twice", number));
    wishes.push_back({number, state});
  }
  return wishes;
}

}  // namespace

std::uint64_t target_port_groups_length(const Task& task, const LogicalUnit*) {
  return base::load<TargetPortGroupsCdb>(task.cdb).length;
}

std::expected<void, Sense> report_target_port_groups(CommandContext& context) {
  std::uint8_t service_action = context.cdb_as<TargetPortGroupsCdb>().service_action;
  auto format = static_cast<ParameterDataFormat>(service_action / kParameterDataFormatFactor);
  if (format != ParameterDataFormat::length_only_header && format != ParameterDataFormat::extended_header) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(TargetPortGroupsCdb, service_action), kParameterDataFormatHighBit,
        fmt::format("PARAMETER DATA FORMAT {} is reserved", static_cast<unsigned>(format))));
  }
  std::vector<std::uint8_t> out;
  {
    base::ByteWriter writer(out);
    auto length = writer.length32();
    if (format == ParameterDataFormat::extended_header) writer.layout(ExtendedHeader{});
    for (const TargetPortGroup& group : context.lu->target_port_groups().groups()) write_group(writer, group);
  }
  context.respond(std::move(out));
  return {};
}

/// A list that ends inside its header or a descriptor is 05/1A/00; none at all is no error (SPC-4 6.45).
std::expected<void, Sense> check_set_target_port_groups(const CommandContext& context) {
  std::uint32_t length = context.cdb_as<TargetPortGroupsCdb>().length;
  static_assert(sizeof(SetListHeader) == sizeof(SetTargetPortGroupDescriptor));
  if (length % sizeof(SetListHeader) == 0 && length <= kMaximumParameterList) return {};
  return std::unexpected(Sense::illegal_request(AdditionalSense::parameter_list_length_error,
                                                fmt::format("PARAMETER LIST LENGTH is {}", length),
                                                FieldPointer::cdb(offsetof(TargetPortGroupsCdb, length))));
}

std::expected<void, Sense> set_target_port_groups(CommandContext& context) {
  auto list = context.parameter_list();
  if (!list) return std::unexpected(std::move(list.error()));
  TargetPortGroups& groups = context.lu->target_port_groups();
  auto wishes = read_wishes(groups, *list);
  if (!wishes) return std::unexpected(std::move(wishes.error()));
  // The array is changing that state itself, and when that ends is not the host's to say.
  for (const Wish& wish : *wishes) {
    if (groups.find(wish.group)->state != AccessState::transitioning) continue;
    return std::unexpected(Sense{SenseKey::hardware_error,
                                 AdditionalSense::set_target_port_groups_command_failed,
                                 {},
                                 {},
                                 fmt::format("target port group {} is transitioning", wish.group)});
  }
  bool changed = false;
  for (const Wish& wish : *wishes)
    changed |= groups.set_state(wish.group, wish.state, AccessChangedBy::set_target_port_groups);
  if (changed) {
    context.lu->unit_attentions().establish_for_all(AdditionalSense::asymmetric_access_state_changed,
                                                    context.task.nexus);
  }
  return {};
}

}  // namespace scsi
