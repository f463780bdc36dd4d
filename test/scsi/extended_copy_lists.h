// Parameter lists of EXTENDED COPY in short, both forms: CSCD and segment descriptors as bytes, and what puts them
// together with lengths that fit.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/extended_copy_list.h"
#include "scsi/transport_id.h"
#include "tokens/rod_token.h"

namespace test {

using List = std::vector<std::uint8_t>;

template <base::WireLayout T>
List as_list(const T& layout) {
  auto bytes = base::bytes_of(layout);
  return {bytes.begin(), bytes.end()};
}

/// E4h naming a logical unit by its NAA.
inline List naa_cscd(const std::array<std::uint8_t, 16>& naa, std::uint32_t block_length = 512, bool pad = false) {
  tokens::IdentificationCscdDescriptor cscd{};
  std::copy(naa.begin(), naa.end(), cscd.designator.begin());
  cscd.disk_block_length = block_length;
  cscd.reserved_28 = pad ? scsi::kPad : 0;
  return as_list(cscd);
}

struct RodOptions {
  std::uint32_t type = 0x00800000;
  bool r_token = false;
  bool del_tkn = false;
  std::uint32_t lifetime_s = 0;
  std::uint32_t inactivity_s = 0;
  std::uint32_t token_offset = 0;
  std::uint16_t producer = scsi::kThisLogicalUnit;
  std::uint32_t block_length = 512;
  std::uint8_t device_type = 0;
};
inline List rod_cscd(RodOptions options = {}) {
  scsi::RodCscdDescriptor cscd{};
  cscd.descriptor_type_code = scsi::kRodCscd;
  cscd.peripheral_device_type = options.device_type;
  cscd.rod_producer_cscd_descriptor_id = options.producer;
  cscd.rod_type = options.type;
  cscd.requested_rod_token_lifetime_s = options.lifetime_s;
  cscd.requested_rod_token_inactivity_timeout_s = options.inactivity_s;
  cscd.r_token = options.r_token ? scsi::kRToken : 0;
  cscd.del_tkn = options.del_tkn ? scsi::kRodCscdDelTkn : 0;
  cscd.rod_token_offset = options.token_offset;
  cscd.disk_block_length = options.block_length;
  return as_list(cscd);
}

struct SegmentOptions {
  std::uint8_t flags = 0;
  std::uint16_t source = 0;
  std::uint16_t destination = 1;
};
inline scsi::SegmentHeader segment_header(std::uint8_t type, std::size_t size, SegmentOptions options) {
  scsi::SegmentHeader header{};
  header.descriptor_type_code = type;
  header.flags = options.flags;
  header.descriptor_length = static_cast<std::uint16_t>(size - scsi::kBeforeSegmentLength);
  header.source_cscd_descriptor_id = options.source;
  header.destination_cscd_descriptor_id = options.destination;
  return header;
}

inline List blocks_segment(std::uint16_t blocks, std::uint64_t source_lba, std::uint64_t destination_lba,
                           SegmentOptions options = {}, std::uint8_t type = 0x02) {
  scsi::BlockToBlockSegment segment{};
  segment.header = segment_header(type, sizeof segment, options);
  segment.number_of_blocks = blocks;
  segment.source_lba = source_lba;
  segment.destination_lba = destination_lba;
  return as_list(segment);
}

inline List bytes_segment(const scsi::CopyBytes& copy, SegmentOptions options = {}) {
  scsi::BlockOffsetToBlockOffsetSegment segment{};
  segment.header = segment_header(0x0A, sizeof segment, options);
  segment.number_of_bytes = copy.bytes;
  segment.source_lba = copy.source_lba;
  segment.destination_lba = copy.destination_lba;
  segment.source_byte_offset = copy.source_byte_offset;
  segment.destination_byte_offset = copy.destination_byte_offset;
  return as_list(segment);
}

inline List image_segment(std::uint32_t blocks, std::uint64_t source_lba, std::uint64_t destination_lba,
                          SegmentOptions options = {}) {
  scsi::BlockImageSegment segment{};
  segment.header = segment_header(0x16, sizeof segment, options);
  segment.source_lba = source_lba;
  segment.destination_lba = destination_lba;
  segment.number_of_blocks = blocks;
  return as_list(segment);
}

inline List verify_segment(bool test_unit_ready, SegmentOptions options = {}) {
  scsi::VerifyCscdSegment segment{};
  segment.header = segment_header(0x07, sizeof segment, options);
  segment.tur = test_unit_ready ? scsi::kTur : 0;
  return as_list(segment);
}

inline List populate_segment(const std::vector<scsi::PopulateRod::Range>& ranges,
                             SegmentOptions options = {.source = scsi::kThisLogicalUnit}) {
  scsi::PopulateRodSegment segment{};
  constexpr std::size_t kRange = 16;
  segment.header = segment_header(0xBE, sizeof segment + ranges.size() * kRange, options);
  segment.range_descriptor_type = scsi::kFourGibiBlockRanges;
  segment.range_descriptors_length = static_cast<std::uint16_t>(ranges.size() * kRange);
  List list = as_list(segment);
  base::ByteWriter writer(list);
  for (const auto& range : ranges) {
    writer.u64(range.lba);
    writer.u32(range.blocks);
    writer.zeros(4);
  }
  return list;
}

inline List populate_one_segment(std::uint64_t lba, std::uint32_t blocks,
                                 SegmentOptions options = {.source = scsi::kThisLogicalUnit}) {
  scsi::PopulateRodFromOneRangeSegment segment{};
  segment.header = segment_header(0xBF, sizeof segment, options);
  segment.lba = lba;
  segment.number_of_blocks = blocks;
  return as_list(segment);
}

inline List register_key_segment(std::uint64_t key, std::uint64_t new_key, SegmentOptions options = {}) {
  scsi::RegisterKeySegment segment{};
  segment.header = segment_header(0x14, sizeof segment, options);
  segment.reservation_key = key;
  segment.service_action_reservation_key = new_key;
  return as_list(segment);
}

struct MoveOptions {
  std::uint8_t flags = 0;
  std::uint16_t port = 1;
};

inline List source_nexus_segment(std::uint64_t key, std::uint64_t new_key, const scsi::ITNexus& to,
                                 MoveOptions move = {}, SegmentOptions options = {}) {
  List transport_id;
  base::ByteWriter writer(transport_id);
  scsi::write_transport_id(writer, to);
  scsi::SourceNexusSegment segment{};
  segment.header = segment_header(0x15, sizeof segment + transport_id.size(), options);
  segment.reservation_key = key;
  segment.service_action_reservation_key = new_key;
  segment.flags = move.flags;
  segment.relative_target_port_identifier = move.port;
  segment.transport_id_length = static_cast<std::uint32_t>(transport_id.size());
  List list = as_list(segment);
  list.insert(list.end(), transport_id.begin(), transport_id.end());
  return list;
}

/// A parameter list in the making.
struct CopyList {
  scsi::ListFormat format = scsi::ListFormat::lid1;
  std::uint32_t list_identifier = 0x2C;
  scsi::ListIdUsage usage = scsi::ListIdUsage::hold;
  std::uint8_t flags = 0;  ///< STR and PRIORITY
  std::uint8_t g_sense_immed = 0;
  std::vector<List> cscds{};
  std::vector<List> segments{};
  List inline_data{};

  List bytes() const {
    List descriptors;
    std::size_t cscd_length = 0;
    for (const List& cscd : cscds) descriptors.insert(descriptors.end(), cscd.begin(), cscd.end());
    cscd_length = descriptors.size();
    for (const List& segment : segments) descriptors.insert(descriptors.end(), segment.begin(), segment.end());
    List list = header(cscd_length, descriptors.size() - cscd_length);
    list.insert(list.end(), descriptors.begin(), descriptors.end());
    list.insert(list.end(), inline_data.begin(), inline_data.end());
    return list;
  }

  /// Where the descriptors begin, and where CSCD and segment `index` do.
  std::size_t start() const { return format == scsi::ListFormat::lid1 ? 16 : 48; }
  std::size_t cscd_at(std::size_t index) const { return start() + sizes(cscds, index); }
  std::size_t segment_at(std::size_t index) const {
    return start() + sizes(cscds, cscds.size()) + sizes(segments, index);
  }

 private:
  static std::size_t sizes(const std::vector<List>& parts, std::size_t count) {
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i) size += parts[i].size();
    return size;
  }

  List header(std::size_t cscd_length, std::size_t segment_length) const {
    auto first_flags = static_cast<std::uint8_t>(flags | static_cast<std::uint8_t>(usage) << scsi::kListIdUsageShift);
    if (format == scsi::ListFormat::lid1) {
      scsi::ExtendedCopyLid1Header layout{};
      layout.list_identifier = static_cast<std::uint8_t>(list_identifier);
      layout.flags = first_flags;
      layout.cscd_descriptor_list_length = static_cast<std::uint16_t>(cscd_length);
      layout.segment_descriptor_list_length = static_cast<std::uint32_t>(segment_length);
      layout.inline_data_length = static_cast<std::uint32_t>(inline_data.size());
      return as_list(layout);
    }
    scsi::ExtendedCopyLid4Header layout{};
    layout.parameter_list_format = scsi::kLid4ParameterListFormat;
    layout.flags = first_flags;
    layout.header_cscd_descriptor_list_length = scsi::kLid4HeaderCscdLength;
    layout.g_sense_immed = g_sense_immed;
    layout.header_cscd_descriptor_type_code = scsi::kExtensionCscd;
    layout.list_identifier = list_identifier;
    layout.cscd_descriptor_list_length = static_cast<std::uint16_t>(cscd_length);
    layout.segment_descriptor_list_length = static_cast<std::uint16_t>(segment_length);
    layout.inline_data_length = static_cast<std::uint16_t>(inline_data.size());
    return as_list(layout);
  }
};

}  // namespace test
