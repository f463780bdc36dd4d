#include "scsi/extended_copy_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_layouts.h"
#include "scsi/extended_copy_layouts.h"

namespace scsi {

namespace {

template <typename T>
using Parsed = std::expected<T, Sense>;
using Refusal = std::optional<Sense>;

Sense invalid(std::size_t byte, std::string rule, std::optional<std::uint8_t> bit = {}) {
  return Sense::invalid_field_in_list(byte, bit, std::move(rule));
}
Sense refused(AdditionalSense code, std::size_t byte, std::string rule) {
  return Sense::illegal_request(code, std::move(rule), FieldPointer::list(byte));
}
Sense length_error(std::string rule) {
  return Sense::illegal_request(AdditionalSense::parameter_list_length_error, std::move(rule));
}

/// Where the fields stand that both headers have, for field pointers.
struct HeaderFields {
  std::size_t list_identifier;
  std::size_t cscd_length;
  std::size_t segment_length;
  std::size_t inline_length;
};
constexpr HeaderFields kLid1Fields{offsetof(ExtendedCopyLid1Header, list_identifier),
                                   offsetof(ExtendedCopyLid1Header, cscd_descriptor_list_length),
                                   offsetof(ExtendedCopyLid1Header, segment_descriptor_list_length),
                                   offsetof(ExtendedCopyLid1Header, inline_data_length)};
constexpr HeaderFields kLid4Fields{offsetof(ExtendedCopyLid4Header, list_identifier),
                                   offsetof(ExtendedCopyLid4Header, cscd_descriptor_list_length),
                                   offsetof(ExtendedCopyLid4Header, segment_descriptor_list_length),
                                   offsetof(ExtendedCopyLid4Header, inline_data_length)};
// STR, LIST ID USAGE and PRIORITY stand in the same byte of both.
constexpr std::size_t kFlags = offsetof(ExtendedCopyLid1Header, flags);
static_assert(kFlags == offsetof(ExtendedCopyLid4Header, flags));

const HeaderFields& fields_of(ListFormat format) { return format == ListFormat::lid1 ? kLid1Fields : kLid4Fields; }

void read_flags(ExtendedCopyHeader& header, std::uint8_t flags) {
  header.sequential_striped = (flags & kStr) != 0;
  header.usage = static_cast<ListIdUsage>((flags & kListIdUsageMask) >> kListIdUsageShift);
  header.priority = flags & kPriorityMask;
}

ExtendedCopyHeader lid1_header(base::Bytes list) {
  auto layout = base::load<ExtendedCopyLid1Header>(list);
  ExtendedCopyHeader header{
      .format = ListFormat::lid1, .list_identifier = layout.list_identifier, .size = sizeof layout};
  read_flags(header, layout.flags);
  header.cscd_descriptor_list_length = layout.cscd_descriptor_list_length;
  header.segment_descriptor_list_length = layout.segment_descriptor_list_length;
  header.inline_data_length = layout.inline_data_length;
  return header;
}

Parsed<ExtendedCopyHeader> lid4_header(base::Bytes list) {
  using Layout = ExtendedCopyLid4Header;
  auto layout = base::load<Layout>(list);
  if (layout.parameter_list_format != kLid4ParameterListFormat)
    return std::unexpected(invalid(offsetof(Layout, parameter_list_format), "PARAMETER LIST FORMAT is not 01h"));
  if (layout.header_cscd_descriptor_list_length != kLid4HeaderCscdLength)
    return std::unexpected(invalid(offsetof(Layout, header_cscd_descriptor_list_length),
                                   "HEADER CSCD DESCRIPTOR LIST LENGTH is not 0020h"));
  if (layout.header_cscd_descriptor_type_code != kExtensionCscd)
    return std::unexpected(
        invalid(offsetof(Layout, header_cscd_descriptor_type_code), "HEADER CSCD DESCRIPTOR TYPE CODE is not FFh"));
  ExtendedCopyHeader header{.format = ListFormat::lid4,
                            .list_identifier = layout.list_identifier,
                            .immediate = (layout.g_sense_immed & kExtendedCopyImmed) != 0,
                            .g_sense = (layout.g_sense_immed & kGSense) != 0,
                            .size = sizeof layout};
  read_flags(header, layout.flags);
  header.cscd_descriptor_list_length = layout.cscd_descriptor_list_length;
  header.segment_descriptor_list_length = layout.segment_descriptor_list_length;
  header.inline_data_length = layout.inline_data_length;
  return header;
}

/// LIST ID USAGE and IMMED (SPC-4 6.4.3.1, 6.4.3.2).
Refusal check_header(const ExtendedCopyHeader& header, const DeviceProfile& profile) {
  if (header.usage == ListIdUsage::reserved)
    return invalid(kFlags, "LIST ID USAGE 01b is reserved", kListIdUsageHighBit);
  if (header.usage == ListIdUsage::none && header.list_identifier != 0)
    return invalid(fields_of(header.format).list_identifier,
                   fmt::format("LIST IDENTIFIER {} with LIST ID USAGE 11b", header.list_identifier));
  if (!header.immediate) return {};
  if (header.g_sense || header.usage == ListIdUsage::none)
    return Sense::illegal_request(AdditionalSense::invalid_field_in_cdb,
                                  "IMMED is one with G_SENSE or with LIST ID USAGE 11b");
  if (!profile.background)
    return invalid(offsetof(ExtendedCopyLid4Header, g_sense_immed), "IMMED is one; background copies are not supported",
                   kExtendedCopyImmedBit);
  return {};
}

Refusal check_lengths(const ExtendedCopyHeader& header, std::size_t list_size, const DeviceProfile& profile) {
  std::size_t descriptors = header.cscd_descriptor_list_length + header.segment_descriptor_list_length;
  if (descriptors > profile.maximum_descriptor_list_bytes)
    return length_error(fmt::format("{} bytes of descriptors, MAXIMUM DESCRIPTOR LIST LENGTH is {}", descriptors,
                                    profile.maximum_descriptor_list_bytes));
  if (header.inline_data_length > profile.maximum_inline_data_bytes)
    return refused(AdditionalSense::inline_data_length_exceeded, fields_of(header.format).inline_length,
                   fmt::format("{} bytes of inline data, MAXIMUM INLINE DATA LENGTH is {}", header.inline_data_length,
                               profile.maximum_inline_data_bytes));
  std::size_t end = header.inline_data_offset() + header.inline_data_length;
  if (list_size < end)
    return length_error(fmt::format("PARAMETER LIST LENGTH {}, the list has {} bytes", list_size, end));
  return {};
}

/// The offsets of all CSCD descriptors, whatever their types: a descriptor's index is its place among them.
Parsed<std::vector<std::size_t>> cscd_offsets(base::Bytes list, const ExtendedCopyHeader& header,
                                              const DeviceProfile& profile) {
  std::vector<std::size_t> offsets;
  std::size_t at = header.size;
  std::size_t end = header.segments_offset();
  while (at < end) {
    std::uint8_t type = list[at];
    bool extended = type == kIpv6Cscd || type == kIpCopyServiceCscd;
    offsets.push_back(at);
    at += extended ? 2 * kCscdDescriptorLength : kCscdDescriptorLength;
  }
  std::size_t length_field = fields_of(header.format).cscd_length;
  if (at != end)
    return std::unexpected(invalid(length_field, fmt::format("CSCD DESCRIPTOR LIST LENGTH {} cuts a descriptor",
                                                             header.cscd_descriptor_list_length)));
  if (offsets.size() > profile.maximum_cscd_descriptors)
    return std::unexpected(refused(AdditionalSense::too_many_target_descriptors, length_field,
                                   fmt::format("{} CSCD descriptors, MAXIMUM CSCD DESCRIPTOR COUNT is {}",
                                               offsets.size(), profile.maximum_cscd_descriptors)));
  return offsets;
}

Parsed<LogicalUnitCscd> read_logical_unit(base::Bytes list, std::size_t at) {
  auto layout = base::load<tokens::IdentificationCscdDescriptor>(list.subspan(at));
  if (layout.designator_length > layout.designator.size())
    return std::unexpected(invalid(
        at + offsetof(tokens::IdentificationCscdDescriptor, designator_length),
        fmt::format("DESIGNATOR LENGTH {} is more than {}", layout.designator_length, layout.designator.size())));
  return LogicalUnitCscd{.code_set = static_cast<std::uint8_t>(layout.code_set & kCscdCodeSetMask),
                         .association = static_cast<std::uint8_t>(layout.designator_type & kCscdAssociationMask),
                         .designator_type = static_cast<std::uint8_t>(layout.designator_type & kCscdDesignatorTypeMask),
                         .designator_length = layout.designator_length,
                         .designator = layout.designator};
}

/// A ROD that this command makes: ROD TYPE is not 0.
Refusal check_new_rod(const RodCscdDescriptor& layout, std::size_t at, const DeviceProfile& profile) {
  using Layout = RodCscdDescriptor;
  bool returned = (layout.r_token & kRToken) != 0;
  const tokens::RodTypeSupport* type = tokens::find_rod_type(profile.rod_types, layout.rod_type);
  if (!type || !(returned ? type->token_out : type->internal))
    return invalid(at + offsetof(Layout, rod_type),
                   fmt::format("ROD TYPE {:08X}h is not supported {} a token", layout.rod_type.value(),
                               returned ? "with" : "without"));
  if (layout.del_tkn & kRodCscdDelTkn)
    return invalid(at + offsetof(Layout, del_tkn), "DEL_TKN is one and ROD TYPE is not 0", 0);
  if (layout.rod_token_offset != 0)
    return invalid(at + offsetof(Layout, rod_token_offset), "ROD TOKEN OFFSET and ROD TYPE are not 0");
  return {};
}

/// A ROD that a token in the inline data names: ROD TYPE is 0.
Refusal check_rod_of_token(const RodCscdDescriptor& layout, std::size_t at, const ExtendedCopyHeader& header) {
  using Layout = RodCscdDescriptor;
  if (layout.r_token & kRToken) return invalid(at + offsetof(Layout, r_token), "R_TOKEN is one and ROD TYPE is 0", 0);
  std::uint32_t offset = layout.rod_token_offset;
  if (header.inline_data_length < sizeof(tokens::RodToken) ||
      offset > header.inline_data_length - sizeof(tokens::RodToken))
    return invalid(at + offsetof(Layout, rod_token_offset),
                   fmt::format("ROD TOKEN OFFSET {}, no whole token is there in {} bytes of inline data", offset,
                               header.inline_data_length));
  return {};
}

/// The times are asked for with R_TOKEN only, and within what VPD 8Fh descriptor 0106h says.
Refusal check_requested_times(const RodCscdDescriptor& layout, std::size_t at, const DeviceProfile& profile) {
  using Layout = RodCscdDescriptor;
  bool returned = (layout.r_token & kRToken) != 0;
  std::uint32_t lifetime = layout.requested_rod_token_lifetime_s;
  std::uint32_t inactivity = layout.requested_rod_token_inactivity_timeout_s;
  if (lifetime != 0 && !returned)
    return invalid(at + offsetof(Layout, requested_rod_token_lifetime_s), "a token lifetime, and R_TOKEN is zero");
  if (lifetime > profile.maximum_token_lifetime_s)
    return invalid(at + offsetof(Layout, requested_rod_token_lifetime_s),
                   fmt::format("REQUESTED ROD TOKEN LIFETIME {} s, the maximum is {} s", lifetime,
                               profile.maximum_token_lifetime_s));
  if (inactivity != 0 && !returned)
    return invalid(at + offsetof(Layout, requested_rod_token_inactivity_timeout_s),
                   "a token inactivity timeout, and R_TOKEN is zero");
  if (profile.maximum_inactivity_timeout_s != 0 && inactivity > profile.maximum_inactivity_timeout_s)
    return invalid(at + offsetof(Layout, requested_rod_token_inactivity_timeout_s),
                   fmt::format("REQUESTED ROD TOKEN INACTIVITY TIMEOUT {} s, the maximum is {} s", inactivity,
                               profile.maximum_inactivity_timeout_s));
  return {};
}

/// ROD PRODUCER CSCD DESCRIPTOR ID: this logical unit, one of the list, or with ROD TYPE 0 the one the token names.
Refusal check_producer(const RodCscdDescriptor& layout, std::size_t at, std::size_t cscd_count) {
  std::uint16_t producer = layout.rod_producer_cscd_descriptor_id;
  if (producer == kThisLogicalUnit || producer < cscd_count) return {};
  if (producer == kRodTokenLogicalUnit && layout.rod_type == 0) return {};
  return invalid(at + offsetof(RodCscdDescriptor, rod_producer_cscd_descriptor_id),
                 fmt::format("ROD PRODUCER CSCD DESCRIPTOR ID {:04X}h", producer));
}

Parsed<RodCscd> read_rod(base::Bytes list, std::size_t at, const ExtendedCopyHeader& header, std::size_t cscd_count,
                         const DeviceProfile& profile) {
  auto layout = base::load<RodCscdDescriptor>(list.subspan(at));
  bool returned = (layout.r_token & kRToken) != 0;
  if (returned && header.usage == ListIdUsage::none)
    return std::unexpected(invalid(at + offsetof(RodCscdDescriptor, r_token), "R_TOKEN without a list identifier", 0));
  Refusal refusal = layout.rod_type == 0 ? check_rod_of_token(layout, at, header) : check_new_rod(layout, at, profile);
  if (!refusal) refusal = check_requested_times(layout, at, profile);
  if (!refusal) refusal = check_producer(layout, at, cscd_count);
  if (refusal) return std::unexpected(std::move(*refusal));

  RodCscd rod{.producer = layout.rod_producer_cscd_descriptor_id,
              .rod_type = layout.rod_type,
              .lifetime_s = layout.requested_rod_token_lifetime_s,
              .inactivity_timeout_s = layout.requested_rod_token_inactivity_timeout_s,
              .return_token = returned,
              .delete_token = (layout.del_tkn & kRodCscdDelTkn) != 0};
  if (rod.rod_type == 0) {
    rod.token_offset = header.inline_data_offset() + layout.rod_token_offset;
    rod.token = base::load<tokens::RodToken>(list.subspan(rod.token_offset));
  }
  return rod;
}

bool offers_rods(const DeviceProfile& profile) { return !profile.rod_types.empty(); }

Parsed<std::vector<CscdDescriptor>> read_cscds(base::Bytes list, const ExtendedCopyHeader& header,
                                               const DeviceProfile& profile) {
  auto offsets = cscd_offsets(list, header, profile);
  if (!offsets) return std::unexpected(std::move(offsets.error()));
  for (std::size_t at : *offsets)
    if (list[at] != kIdentificationCscd && !(list[at] == kRodCscd && offers_rods(profile)))
      return std::unexpected(refused(AdditionalSense::unsupported_target_descriptor_type_code, at,
                                     fmt::format("CSCD descriptor type code {:02X}h", list[at])));

  std::vector<CscdDescriptor> cscds;
  for (std::size_t at : *offsets) {
    auto frame = base::load<tokens::IdentificationCscdDescriptor>(list.subspan(at));
    CscdDescriptor cscd{.offset = at,
                        .device_type = static_cast<std::uint8_t>(frame.peripheral_device_type & kCscdDeviceTypeMask),
                        .pad = (frame.reserved_28 & kPad) != 0,
                        .block_length = frame.disk_block_length};
    if (frame.descriptor_type_code == kIdentificationCscd) {
      auto unit = read_logical_unit(list, at);
      if (!unit) return std::unexpected(std::move(unit.error()));
      cscd.what = *unit;
    } else {
      auto rod = read_rod(list, at, header, offsets->size(), profile);
      if (!rod) return std::unexpected(std::move(rod.error()));
      cscd.what = std::move(*rod);
    }
    cscds.push_back(std::move(cscd));
  }
  return cscds;
}

// Bodies of segment descriptors. `bytes` is the whole descriptor, at least as long as its row says.
using SegmentBody = decltype(SegmentDescriptor::what);

Parsed<SegmentBody> read_blocks(base::Bytes bytes, std::size_t) {
  auto layout = base::load<BlockToBlockSegment>(bytes);
  return CopyBlocks{layout.source_lba, layout.destination_lba, layout.number_of_blocks};
}
Parsed<SegmentBody> read_image(base::Bytes bytes, std::size_t) {
  auto layout = base::load<BlockImageSegment>(bytes);
  return CopyBlocks{layout.source_lba, layout.destination_lba, layout.number_of_blocks};
}
Parsed<SegmentBody> read_bytes(base::Bytes bytes, std::size_t) {
  auto layout = base::load<BlockOffsetToBlockOffsetSegment>(bytes);
  return CopyBytes{layout.number_of_bytes, layout.source_lba, layout.destination_lba, layout.source_byte_offset,
                   layout.destination_byte_offset};
}
Parsed<SegmentBody> read_verify(base::Bytes bytes, std::size_t) {
  return VerifyCscd{(base::load<VerifyCscdSegment>(bytes).tur & kTur) != 0};
}
Parsed<SegmentBody> read_one_range(base::Bytes bytes, std::size_t) {
  auto layout = base::load<PopulateRodFromOneRangeSegment>(bytes);
  return PopulateRod{{{layout.lba, layout.number_of_blocks}}};
}

/// The first range, in the list's order, that has an address in common with an earlier one.
std::optional<std::size_t> overlapping(const std::vector<PopulateRod::Range>& ranges) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < ranges.size(); ++i)
    if (ranges[i].blocks != 0) order.push_back(i);
  std::ranges::sort(order, {}, [&](std::size_t i) { return ranges[i].lba; });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (ranges[order[i]].lba - ranges[order[i - 1]].lba < ranges[order[i - 1]].blocks)
      return std::max(order[i], order[i - 1]);
  return {};
}

Parsed<SegmentBody> read_ranges(base::Bytes bytes, std::size_t at) {
  auto layout = base::load<PopulateRodSegment>(bytes);
  if (layout.range_descriptor_type != kFourGibiBlockRanges)
    return std::unexpected(invalid(at + offsetof(PopulateRodSegment, range_descriptor_type),
                                   fmt::format("range descriptor type {:02X}h", layout.range_descriptor_type)));
  std::size_t length = layout.range_descriptors_length;
  if (length != bytes.size() - sizeof layout || length % sizeof(BlockDeviceRangeDescriptor) != 0)
    return std::unexpected(
        invalid(at + offsetof(PopulateRodSegment, range_descriptors_length),
                fmt::format("RANGE DESCRIPTORS LENGTH {} in a descriptor of {} bytes", length, bytes.size())));
  PopulateRod populate;
  base::ByteReader reader(bytes.subspan(sizeof layout));
  while (reader.remaining() > 0) {
    auto range = reader.layout<BlockDeviceRangeDescriptor>();
    populate.ranges.push_back({range.logical_block_address, range.number_of_logical_blocks});
  }
  if (auto index = overlapping(populate.ranges))
    return std::unexpected(invalid(at + sizeof layout + *index * sizeof(BlockDeviceRangeDescriptor),
                                   fmt::format("LBA {} is in two ranges", populate.ranges[*index].lba)));
  return populate;
}

Parsed<SegmentBody> read_register_key(base::Bytes bytes, std::size_t) {
  auto layout = base::load<RegisterKeySegment>(bytes);
  return ReservationKeys{layout.reservation_key, layout.service_action_reservation_key};
}

Parsed<SegmentBody> read_source_nexus(base::Bytes bytes, std::size_t at) {
  auto layout = base::load<SourceNexusSegment>(bytes);
  if (layout.transport_id_length != bytes.size() - sizeof layout)
    return std::unexpected(invalid(at + offsetof(SourceNexusSegment, transport_id_length),
                                   fmt::format("TRANSPORTID LENGTH {} in a descriptor of {} bytes",
                                               layout.transport_id_length.value(), bytes.size())));
  base::ByteReader reader(bytes.subspan(sizeof layout));
  auto to = parse_transport_id(reader, at + sizeof layout);
  if (!to) return std::unexpected(std::move(to.error()));
  if (!to->isid || reader.remaining() > 0)
    return std::unexpected(invalid(at + sizeof layout, "not one TransportID of one initiator port"));
  return ReservationMove{.keys = {layout.reservation_key, layout.service_action_reservation_key},
                         .unregister = (layout.flags & kMoveUnreg) != 0,
                         .persist_through_power_loss = (layout.flags & kMoveAptpl) != 0,
                         .relative_target_port_identifier = layout.relative_target_port_identifier,
                         .to = std::move(*to)};
}

/// One row for each type there is something behind, ascending.
struct SegmentRow {
  SegmentType type;
  std::size_t size;  ///< of the descriptor, or of its fixed part
  bool fixed;        ///< DESCRIPTOR LENGTH has one right value
  Parsed<SegmentBody> (*read)(base::Bytes bytes, std::size_t at);
  bool rods = false;   ///< only where there are RODs
  bool holds = false;  ///< needs a list identifier for its held data
};
constexpr SegmentRow kSegmentRows[] = {
    {SegmentType::block_to_block, sizeof(BlockToBlockSegment), true, read_blocks},
    {SegmentType::verify_cscd, sizeof(VerifyCscdSegment), true, read_verify},
    {SegmentType::block_offset_to_block_offset, sizeof(BlockOffsetToBlockOffsetSegment), true, read_bytes},
    {.type = SegmentType::block_to_block_and_hold,
     .size = sizeof(BlockToBlockSegment),
     .fixed = true,
     .read = read_blocks,
     .holds = true},
    {SegmentType::register_key, sizeof(RegisterKeySegment), true, read_register_key},
    {SegmentType::source_nexus, sizeof(SourceNexusSegment), false, read_source_nexus},
    {SegmentType::block_image_to_block_image, sizeof(BlockImageSegment), true, read_image},
    {.type = SegmentType::populate_rod_from_ranges,
     .size = sizeof(PopulateRodSegment),
     .fixed = false,
     .read = read_ranges,
     .rods = true},
    // Its length is "at least": SPC-4 leaves room behind the range.
    {.type = SegmentType::populate_rod_from_one_range,
     .size = sizeof(PopulateRodFromOneRangeSegment),
     .fixed = false,
     .read = read_one_range,
     .rods = true},
};
static_assert(std::ranges::is_sorted(kSegmentRows, std::ranges::less{}, &SegmentRow::type));

bool offered(const SegmentRow& row, const DeviceProfile& profile) {
  return (!row.rods || offers_rods(profile)) && (!row.holds || profile.held_data_limit_bytes > 0);
}

const SegmentRow* find_row(std::uint8_t type, const DeviceProfile& profile) {
  auto row = std::ranges::find(kSegmentRows, static_cast<SegmentType>(type), &SegmentRow::type);
  return row != std::end(kSegmentRows) && offered(*row, profile) ? &*row : nullptr;
}

struct Frame {
  std::size_t offset;
  std::size_t size;
};

Parsed<std::vector<Frame>> segment_frames(base::Bytes list, const ExtendedCopyHeader& header,
                                          const DeviceProfile& profile) {
  std::vector<Frame> frames;
  std::size_t at = header.segments_offset();
  std::size_t end = header.inline_data_offset();
  std::size_t length_field = fields_of(header.format).segment_length;
  while (at < end) {
    std::size_t size = kBeforeSegmentLength;
    if (end - at >= size) size += base::load<base::be16>(list.subspan(at + offsetof(SegmentHeader, descriptor_length)));
    if (end - at < size)
      return std::unexpected(invalid(length_field, fmt::format("SEGMENT DESCRIPTOR LIST LENGTH {} cuts a descriptor",
                                                               header.segment_descriptor_list_length)));
    frames.push_back({at, size});
    at += size;
  }
  if (frames.size() > profile.maximum_segment_descriptors)
    return std::unexpected(refused(AdditionalSense::too_many_segment_descriptors, length_field,
                                   fmt::format("{} segment descriptors, MAXIMUM SEGMENT DESCRIPTOR COUNT is {}",
                                               frames.size(), profile.maximum_segment_descriptors)));
  return frames;
}

Parsed<SegmentDescriptor> read_segment(base::Bytes list, Frame frame, const SegmentRow& row,
                                       const ExtendedCopyHeader& header) {
  if (frame.size < row.size || (row.fixed && frame.size != row.size))
    return std::unexpected(invalid(frame.offset + offsetof(SegmentHeader, descriptor_length),
                                   fmt::format("DESCRIPTOR LENGTH {} of a segment of type {:02X}h",
                                               frame.size - kBeforeSegmentLength, list[frame.offset])));
  if (row.holds && header.usage == ListIdUsage::none)
    return std::unexpected(invalid(frame.offset, "held data without a list identifier"));
  auto common = base::load<SegmentHeader>(list.subspan(frame.offset));
  auto body = row.read(list.subspan(frame.offset, frame.size), frame.offset);
  if (!body) return std::unexpected(std::move(body.error()));
  return SegmentDescriptor{.offset = frame.offset,
                           .type = row.type,
                           .cat = (common.flags & kCat) != 0,
                           .dc = (common.flags & kDc) != 0,
                           .fast_copy_only = (common.flags & kFco) != 0,
                           .source = common.source_cscd_descriptor_id,
                           .destination = common.destination_cscd_descriptor_id,
                           .what = std::move(*body)};
}

/// What a populating segment may name (SPC-4 6.4.6.20, 6.4.6.21): data of the logical unit that processes the command,
/// for a ROD of this list that has none yet.
Refusal check_populating(const SegmentDescriptor& segment, const std::vector<CscdDescriptor>& cscds) {
  if (!std::holds_alternative<PopulateRod>(segment.what)) return {};
  if (segment.source != kThisLogicalUnit)
    return invalid(segment.offset + offsetof(SegmentHeader, source_cscd_descriptor_id),
                   fmt::format("a ROD is populated from CSCD {:04X}h, not FFFFh", segment.source));
  std::size_t destination = segment.offset + offsetof(SegmentHeader, destination_cscd_descriptor_id);
  const CscdDescriptor* cscd = segment.destination < cscds.size() ? &cscds[segment.destination] : nullptr;
  const auto* rod = cscd ? std::get_if<RodCscd>(&cscd->what) : nullptr;
  if (!rod) return invalid(destination, fmt::format("CSCD {:04X}h is populated and no ROD", segment.destination));
  if (rod->rod_type == 0) return invalid(destination, "populates a ROD whose ROD TYPE is 0");
  if (cscd->device_type != kBlockDevice)
    return invalid(destination, fmt::format("populates a ROD of peripheral device type {:02X}h", cscd->device_type));
  return {};
}

Parsed<std::vector<SegmentDescriptor>> read_segments(base::Bytes list, const ExtendedCopyHeader& header,
                                                     const std::vector<CscdDescriptor>& cscds,
                                                     const DeviceProfile& profile) {
  auto frames = segment_frames(list, header, profile);
  if (!frames) return std::unexpected(std::move(frames.error()));
  for (Frame frame : *frames)
    if (!find_row(list[frame.offset], profile))
      return std::unexpected(refused(AdditionalSense::unsupported_segment_descriptor_type_code, frame.offset,
                                     fmt::format("segment descriptor type code {:02X}h", list[frame.offset])));

  std::vector<SegmentDescriptor> segments;
  for (Frame frame : *frames) {
    auto segment = read_segment(list, frame, *find_row(list[frame.offset], profile), header);
    if (!segment) return std::unexpected(std::move(segment.error()));
    if (auto refusal = check_populating(*segment, cscds)) return std::unexpected(std::move(*refusal));
    segments.push_back(std::move(*segment));
  }
  return segments;
}

}  // namespace

std::vector<std::uint8_t> supported_descriptor_types(const DeviceProfile& profile) {
  std::vector<std::uint8_t> types;
  for (const SegmentRow& row : kSegmentRows)
    if (offered(row, profile)) types.push_back(static_cast<std::uint8_t>(row.type));
  types.push_back(kIdentificationCscd);
  if (offers_rods(profile)) types.push_back(kRodCscd);
  std::ranges::sort(types);
  return types;
}

std::vector<std::uint16_t> supported_cscd_ids(const DeviceProfile& profile) {
  std::vector<std::uint16_t> ids{kNullBlockDevice};
  // Where a token comes in, and nowhere else (SPC-4 7.8.17.7).
  if (std::ranges::any_of(profile.rod_types, &tokens::RodTypeSupport::token_in)) ids.push_back(kRodTokenLogicalUnit);
  ids.push_back(kThisLogicalUnit);
  return ids;
}

std::expected<ExtendedCopyHeader, Sense> parse_extended_copy_header(base::Bytes list, ListFormat format,
                                                                    const DeviceProfile& profile) {
  std::size_t size = format == ListFormat::lid1 ? sizeof(ExtendedCopyLid1Header) : sizeof(ExtendedCopyLid4Header);
  if (list.size() < size)
    return std::unexpected(
        length_error(fmt::format("PARAMETER LIST LENGTH {} is less than the header's {} bytes", list.size(), size)));
  Parsed<ExtendedCopyHeader> header = format == ListFormat::lid1 ? lid1_header(list) : lid4_header(list);
  if (!header) return header;
  if (auto refusal = check_header(*header, profile)) return std::unexpected(std::move(*refusal));
  return header;
}

std::expected<ExtendedCopyList, Sense> parse_extended_copy(base::Bytes list, ListFormat format,
                                                           const DeviceProfile& profile) {
  auto header = parse_extended_copy_header(list, format, profile);
  if (!header) return std::unexpected(std::move(header.error()));
  if (auto refusal = check_lengths(*header, list.size(), profile)) return std::unexpected(std::move(*refusal));
  auto cscds = read_cscds(list, *header, profile);
  if (!cscds) return std::unexpected(std::move(cscds.error()));
  auto segments = read_segments(list, *header, *cscds, profile);
  if (!segments) return std::unexpected(std::move(segments.error()));
  return ExtendedCopyList{std::move(*header), std::move(*cscds), std::move(*segments)};
}

}  // namespace scsi
