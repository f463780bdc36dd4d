// REPORT IDENTIFYING INFORMATION and SET IDENTIFYING INFORMATION (SPC-4 6.31, 6.46).
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"
#include "scsi/unit_settings.h"

namespace scsi {
namespace {

/// Both commands: the length is the allocation length of the one and the parameter list length of the other.
struct IdentifyingInformationCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  base::be16 reserved;
  base::be16 restricted;
  base::be32 length;
  std::uint8_t information_type;  ///< in the upper seven bits
  std::uint8_t control;
};
static_assert(sizeof(IdentifyingInformationCdb) == 12 && offsetof(IdentifyingInformationCdb, length) == 6 &&
              offsetof(IdentifyingInformationCdb, information_type) == 10);
constexpr std::uint8_t kInformationTypeBit = 7;

/// INFORMATION TYPE where it stands (SPC-4 table 272).
enum class InformationType : std::uint8_t { identifier = 0x00, text = 0x04, supported = 0xFE };

constexpr std::size_t kMaximumLength = IdentifyingInformation::kMaximumLength;

struct SupportedInformationDescriptor {
  std::uint8_t information_type;
  std::uint8_t reserved;
  base::be16 maximum_length;
};
static_assert(sizeof(SupportedInformationDescriptor) == 4);

std::unexpected<Sense> unknown_type(std::uint8_t type) {
  return std::unexpected(Sense::invalid_field_in_cdb(offsetof(IdentifyingInformationCdb, information_type),
                                                     kInformationTypeBit,
                                                     fmt::format("INFORMATION TYPE {:02X}h is not served", type >> 1)));
}

/// Where a type stands; null when it is none.
std::vector<std::uint8_t> IdentifyingInformation::* place_of(std::uint8_t type) {
  switch (static_cast<InformationType>(type)) {
    case InformationType::identifier: return &IdentifyingInformation::identifier;
    case InformationType::text: return &IdentifyingInformation::text;
    default: return nullptr;
  }
}

}  // namespace

std::uint64_t identifying_information_length(const Task& task, const LogicalUnit*) {
  return base::load<IdentifyingInformationCdb>(task.cdb).length;
}

std::expected<void, Sense> report_identifying_information(CommandContext& context) {
  const std::uint8_t type = context.cdb_as<IdentifyingInformationCdb>().information_type;
  const auto place = place_of(type);
  if (!place && static_cast<InformationType>(type) != InformationType::supported) return unknown_type(type);
  std::vector<std::uint8_t> data;
  {
    base::ByteWriter writer(data);
    writer.u16(0);
    auto length = writer.length16();
    if (place) {
      writer.bytes(context.lu->settings().identifying.*place);
    } else {
      for (InformationType each : {InformationType::identifier, InformationType::text})
        writer.layout(SupportedInformationDescriptor{static_cast<std::uint8_t>(each), 0, kMaximumLength});
    }
  }
  context.respond(std::move(data));
  return {};
}

std::expected<void, Sense> check_set_identifying_information(const CommandContext& context) {
  const auto cdb = context.cdb_as<IdentifyingInformationCdb>();
  if (!place_of(cdb.information_type)) return unknown_type(cdb.information_type);
  if (cdb.length <= kMaximumLength) return {};
  return std::unexpected(Sense::invalid_field_in_cdb(
      offsetof(IdentifyingInformationCdb, length), {},
      fmt::format("{} bytes of identifying information, {} are kept", cdb.length.value(), kMaximumLength)));
}

std::expected<void, Sense> set_identifying_information(CommandContext& context) {
  auto list = context.parameter_list();
  if (!list) return std::unexpected(std::move(list.error()));
  const std::uint8_t type = context.cdb_as<IdentifyingInformationCdb>().information_type;
  if (static_cast<InformationType>(type) == InformationType::text && !list->empty() && list->back() != 0) {
    return std::unexpected(
        Sense::invalid_field_in_list(list->size() - 1, {}, "text identifying information ends with a null"));
  }
  const auto place = place_of(type);
  change_settings(context, AdditionalSense::device_identifier_changed,
                  [place, wanted = std::vector<std::uint8_t>(list->begin(), list->end())](
                      UnitSettings& settings) -> std::expected<bool, Sense> {
                    std::vector<std::uint8_t>& value = settings.identifying.*place;
                    const bool changed = value != wanted;
                    value = wanted;
                    return changed;
                  });
  return {};
}

}  // namespace scsi
