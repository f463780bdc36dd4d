#include "scsi/format_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "scsi/format_layouts.h"
#include "scsi/logical_unit.h"
#include "scsi/medium_erasure.h"

namespace scsi {
namespace {

using Outcome = std::expected<void, Sense>;

/// A block of nothing but `pattern`, the last repetition cut.
std::vector<std::uint8_t> block_of(base::Bytes pattern, std::uint32_t block_length) {
  std::vector<std::uint8_t> block(block_length);
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = pattern[i % pattern.size()];
  return block;
}

/// FORMAT UNIT and SANITIZE are there to end a damaged medium's state, so their gates do not ask for one that is ready.
Outcome check_erasable(const LogicalUnit& lu) {
  if (lu.medium().present() && !lu.stopped()) return {};
  return std::unexpected(*lu.why_not_ready());
}

/// The formats of SBC-3 table 38 that have a meaning here: short block, long block, bytes from index, physical sector.
bool known_defect_list_format(std::uint8_t format) { return format == 0 || (format >= 3 && format <= 5); }

}  // namespace

// ---- FORMAT UNIT ----------------------------------------------------------------------------------------------

namespace {

std::size_t header_length(const FormatUnitCdb& cdb) {
  return cdb.flags & FormatUnitCdb::kLongList ? sizeof(FormatLongHeader) : sizeof(FormatShortHeader);
}

std::unexpected<Sense> list_too_short(std::size_t length, std::size_t wanted) {
  return std::unexpected(Sense::illegal_request(AdditionalSense::parameter_list_length_error,
                                                fmt::format("{} bytes of a list of {}", length, wanted)));
}

/// The fields both headers share, then those of the long one.
Outcome check_header(base::Bytes list, bool long_list) {
  const auto head = base::load<FormatShortHeader>(list);
  if ((head.protection_fields_usage & FormatFlags::kProtectionFieldsUsage) != 0) {
    return std::unexpected(Sense::invalid_field_in_list(offsetof(FormatShortHeader, protection_fields_usage),
                                                        FormatFlags::kProtectionFieldsUsageBit,
                                                        "PROTECTION FIELDS USAGE without protection information"));
  }
  const std::uint8_t options = head.flags & FormatFlags::kOptions;
  if (options != 0 && (head.flags & FormatFlags::kOptionsValid) == 0) {
    return std::unexpected(Sense::invalid_field_in_list(offsetof(FormatShortHeader, flags),
                                                        static_cast<std::uint8_t>(std::bit_width(options) - 1),
                                                        "DPRY, DCRT, STPF and IP have to be 0 while FOV is"));
  }
  if (!long_list) {
    if (head.defect_list_length == 0) return {};
    return std::unexpected(Sense::invalid_field_in_list(offsetof(FormatShortHeader, defect_list_length), {},
                                                        "defect lists are not taken"));
  }
  const auto longer = base::load<FormatLongHeader>(list);
  if (longer.protection != 0) {
    return std::unexpected(Sense::invalid_field_in_list(
        offsetof(FormatLongHeader, protection),
        static_cast<std::uint8_t>(std::bit_width(longer.protection) > 4 ? 7 : 3),
        "P_I_INFORMATION and PROTECTION INTERVAL EXPONENT without protection information"));
  }
  if (longer.defect_list_length == 0) return {};
  return std::unexpected(
      Sense::invalid_field_in_list(offsetof(FormatLongHeader, defect_list_length), {}, "defect lists are not taken"));
}

/// What the initialization pattern descriptor at `offset` makes of each block; nothing: the default, zeros.
std::expected<std::vector<std::uint8_t>, Sense> initialization_pattern(base::Bytes list, std::size_t offset,
                                                                       std::uint32_t block_length) {
  using Descriptor = InitializationPatternDescriptor;
  if (list.size() < offset + sizeof(Descriptor)) return list_too_short(list.size(), offset + sizeof(Descriptor));
  const auto descriptor = base::load<Descriptor>(list.subspan(offset));
  const std::size_t length = descriptor.pattern_length;
  const bool repeated = descriptor.type == Descriptor::kRepeatPattern;
  if (!repeated && descriptor.type != Descriptor::kDefaultPattern) {
    return std::unexpected(Sense::invalid_field_in_list(
        offset + offsetof(Descriptor, type), {},
        fmt::format("INITIALIZATION PATTERN TYPE {:02X}h is not served", descriptor.type)));
  }
  if (repeated ? length == 0 || length > block_length : length != 0) {
    return std::unexpected(Sense::invalid_field_in_list(
        offset + offsetof(Descriptor, pattern_length), {},
        fmt::format("INITIALIZATION PATTERN LENGTH {} with type {:02X}h", length, descriptor.type)));
  }
  if (!repeated) return std::vector<std::uint8_t>{};
  const std::size_t end = offset + sizeof(Descriptor) + length;
  if (list.size() < end) return list_too_short(list.size(), end);
  return block_of(list.subspan(offset + sizeof(Descriptor), length), block_length);
}

}  // namespace

std::uint64_t format_unit_length(const Task& task, const LogicalUnit* lu) {
  const auto cdb = base::load<FormatUnitCdb>(task.cdb);
  if ((cdb.flags & FormatUnitCdb::kFormatData) == 0) return 0;
  const std::uint64_t most =
      sizeof(FormatLongHeader) + sizeof(InitializationPatternDescriptor) + std::uint64_t{lu->block_length()};
  return std::min(task.expected_data_length.value_or(header_length(cdb)), most);
}

Outcome check_format_unit(const CommandContext& context) {
  const auto cdb = context.cdb_as<FormatUnitCdb>();
  if (auto good = check_erasable(*context.lu); !good) return good;
  const bool list = (cdb.flags & FormatUnitCdb::kFormatData) != 0;
  const std::uint8_t format = cdb.flags & FormatUnitCdb::kDefectListFormat;
  if (!list && (cdb.flags & FormatUnitCdb::kCompleteList) != 0) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(FormatUnitCdb, flags), FormatUnitCdb::kCompleteListBit,
                                                       "CMPLST has to be 0 while FMTDATA is"));
  }
  if (list ? !known_defect_list_format(format) : format != 0) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(FormatUnitCdb, flags),
                                                       FormatUnitCdb::kDefectListFormatBit,
                                                       fmt::format("DEFECT LIST FORMAT {} is not served", format)));
  }
  return {};
}

Outcome format_unit(CommandContext& context) {
  const auto cdb = context.cdb_as<FormatUnitCdb>();
  const LogicalUnit& lu = *context.lu;
  ErasurePlan plan{.operation = Medium::Operation::format, .damage_when_failed = Medium::Damage::format_corrupted};
  bool immediate = false;
  if ((cdb.flags & FormatUnitCdb::kFormatData) != 0) {
    auto parameters = context.parameter_list();
    if (!parameters) return std::unexpected(std::move(parameters.error()));
    const base::Bytes list = *parameters;
    const std::size_t header = header_length(cdb);
    if (list.size() < header) return list_too_short(list.size(), header);
    if (auto good = check_header(list, header == sizeof(FormatLongHeader)); !good) return good;
    const std::uint8_t flags = base::load<FormatShortHeader>(list).flags;
    immediate = (flags & FormatFlags::kImmediate) != 0;
    if ((flags & FormatFlags::kInitializationPattern) != 0) {
      auto block = initialization_pattern(list, header, lu.block_length());
      if (!block) return std::unexpected(std::move(block.error()));
      plan.block = *std::move(block);
    }
  }
  if (plan.block.empty()) {
    plan.unmap = lu.config().thin;
    plan.block.resize(lu.block_length());
  }
  MediumErasure::begin(context, std::move(plan), immediate);
  return {};
}

// ---- SANITIZE -------------------------------------------------------------------------------------------------

namespace {

/// What both erasing service actions are judged by.
Outcome check_sanitize(const CommandContext& context) {
  if (auto good = check_erasable(*context.lu); !good) return good;
  const bool unrestricted = (context.cdb_as<SanitizeCdb>().flags & SanitizeCdb::kUnrestrictedExit) != 0;
  if (!unrestricted || context.lu->medium().damage() != Medium::Damage::sanitize_restricted) return {};
  return std::unexpected(Sense::invalid_field_in_cdb(offsetof(SanitizeCdb, flags), SanitizeCdb::kUnrestrictedExitBit,
                                                     "AUSE after a SANITIZE without it has failed"));
}

void sanitize(CommandContext& context, ErasurePlan plan) {
  const std::uint8_t flags = context.cdb_as<SanitizeCdb>().flags;
  plan.operation = Medium::Operation::sanitize;
  plan.damage_when_failed = (flags & SanitizeCdb::kUnrestrictedExit) != 0 ? Medium::Damage::sanitize_unrestricted
                                                                          : Medium::Damage::sanitize_restricted;
  MediumErasure::begin(context, std::move(plan), (flags & SanitizeCdb::kImmediate) != 0);
}

}  // namespace

std::uint64_t sanitize_overwrite_length(const Task& task, const LogicalUnit*) {
  return base::load<SanitizeCdb>(task.cdb).parameter_list_length;
}

Outcome check_sanitize_overwrite(const CommandContext& context) {
  if (auto good = check_sanitize(context); !good) return good;
  const std::uint64_t length = sanitize_overwrite_length(context.task, context.lu);
  const std::uint64_t head = sizeof(SanitizeOverwriteList);
  if (length > head && length <= head + context.lu->block_length()) return {};
  return std::unexpected(
      Sense::invalid_field_in_cdb(offsetof(SanitizeCdb, parameter_list_length), {},
                                  fmt::format("PARAMETER LIST LENGTH {} is not that of a pattern", length)));
}

Outcome sanitize_overwrite(CommandContext& context) {
  using List = SanitizeOverwriteList;
  auto parameters = context.parameter_list();
  if (!parameters) return std::unexpected(std::move(parameters.error()));
  const auto head = base::load<List>(*parameters);
  const base::Bytes pattern = parameters->subspan(sizeof head);
  auto refuse = [](std::size_t byte, std::optional<std::uint8_t> bit, std::string rule) {
    return std::unexpected(Sense::invalid_field_in_list(byte, bit, std::move(rule)));
  };
  const unsigned passes = head.flags & List::kOverwriteCount;
  if ((head.flags & List::kTest) != 0)
    return refuse(offsetof(List, flags), List::kTestBit, "there are no vendor specific tests");
  if (passes == 0) return refuse(offsetof(List, flags), List::kOverwriteCountBit, "OVERWRITE COUNT is 0");
  const std::size_t length = head.initialization_pattern_length;
  if (length == 0 || length > pattern.size()) {
    return refuse(offsetof(List, initialization_pattern_length), {},
                  fmt::format("INITIALIZATION PATTERN LENGTH {}, {} bytes came", length, pattern.size()));
  }
  sanitize(context, {.block = block_of(pattern.first(length), context.lu->block_length()),
                     .passes = passes,
                     .invert = (head.flags & List::kInvert) != 0});
  return {};
}

Outcome sanitize_block_erase(CommandContext& context) {
  if (auto good = check_sanitize(context); !good) return good;
  sanitize(context, {.unmap = true});
  return {};
}

Outcome sanitize_cryptographic_erase(CommandContext& context) {
  if (auto good = check_sanitize(context); !good) return good;
  sanitize(context, {.unmap = true, .at_once = true});
  return {};
}

Outcome sanitize_exit_failure_mode(CommandContext& context) {
  Medium& medium = context.lu->medium();
  if (medium.damage() == Medium::Damage::sanitize_restricted) {
    return std::unexpected(
        Sense::invalid_field_in_cdb(kServiceActionByte, kServiceActionHighBit, "the SANITIZE that failed had AUSE 0"));
  }
  if (medium.damage() == Medium::Damage::sanitize_unrestricted) medium.forget_damage();
  return {};
}

// ---- READ DEFECT DATA -----------------------------------------------------------------------------------------

namespace {

Outcome check_defect_list_format(std::uint8_t lists, std::size_t byte) {
  const std::uint8_t format = lists & DefectLists::kFormat;
  if (known_defect_list_format(format)) return {};
  return std::unexpected(Sense::invalid_field_in_cdb(byte, DefectLists::kFormatBit,
                                                     fmt::format("DEFECT LIST FORMAT {} is not served", format)));
}

template <typename Header>
void respond_empty(CommandContext& context, std::uint8_t lists) {
  Header header{};
  header.lists = lists & (DefectLists::kRequested | DefectLists::kFormat);
  base::Bytes bytes = base::bytes_of(header);
  context.respond({bytes.begin(), bytes.end()});
}

}  // namespace

std::uint64_t read_defect_data_10_length(const Task& task, const LogicalUnit*) {
  return base::load<ReadDefectData10Cdb>(task.cdb).allocation_length;
}

std::uint64_t read_defect_data_12_length(const Task& task, const LogicalUnit*) {
  return base::load<ReadDefectData12Cdb>(task.cdb).allocation_length;
}

Outcome read_defect_data_10(CommandContext& context) {
  const std::uint8_t lists = context.cdb_as<ReadDefectData10Cdb>().lists;
  if (auto good = check_defect_list_format(lists, offsetof(ReadDefectData10Cdb, lists)); !good) return good;
  respond_empty<DefectData10Header>(context, lists);
  return {};
}

Outcome read_defect_data_12(CommandContext& context) {
  const std::uint8_t lists = context.cdb_as<ReadDefectData12Cdb>().lists;
  if (auto good = check_defect_list_format(lists, offsetof(ReadDefectData12Cdb, lists)); !good) return good;
  respond_empty<DefectData12Header>(context, lists);
  return {};
}

}  // namespace scsi
