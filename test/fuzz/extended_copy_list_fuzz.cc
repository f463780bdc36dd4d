// Fuzzes the parameter lists of EXTENDED COPY, both forms: whatever comes in, what is accepted keeps the profile's
// limits, lies inside the list and says only what SPC-4 lets through.
#include <algorithm>
#include <cstdlib>

#include "scsi/extended_copy_layouts.h"
#include "scsi/extended_copy_list.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

void check_rod(const scsi::RodCscd& rod, const scsi::ExtendedCopyList& list, std::size_t size,
               const scsi::DeviceProfile& profile) {
  require(rod.token.has_value() == (rod.rod_type == 0));
  require(!rod.token || rod.token_offset + sizeof(tokens::RodToken) <= size);
  require(!rod.return_token || (list.header.usage != scsi::ListIdUsage::none && rod.rod_type != 0));
  require(rod.return_token || (rod.lifetime_s == 0 && rod.inactivity_timeout_s == 0));
  require(rod.lifetime_s <= profile.maximum_token_lifetime_s);
  require(rod.inactivity_timeout_s <= profile.maximum_inactivity_timeout_s);
}

void check_segment(const scsi::SegmentDescriptor& segment, const scsi::ExtendedCopyList& list, std::size_t size) {
  require(segment.offset + sizeof(scsi::SegmentHeader) <= size);
  require(segment.type != scsi::SegmentType::block_to_block_and_hold || list.header.usage != scsi::ListIdUsage::none);
  const auto* populate = std::get_if<scsi::PopulateRod>(&segment.what);
  if (!populate || segment.destination >= list.cscds.size()) return;
  const auto* rod = std::get_if<scsi::RodCscd>(&list.cscds[segment.destination].what);
  require(!rod || rod->rod_type != 0);
}

void check(const scsi::ExtendedCopyList& list, std::size_t size, const scsi::DeviceProfile& profile) {
  require(list.header.usage != scsi::ListIdUsage::reserved);
  require(list.header.usage != scsi::ListIdUsage::none || list.header.list_identifier == 0);
  require(list.header.inline_data_offset() + list.header.inline_data_length <= size);
  require(list.cscds.size() <= profile.maximum_cscd_descriptors);
  require(list.segments.size() <= profile.maximum_segment_descriptors);
  for (const scsi::CscdDescriptor& cscd : list.cscds) {
    require(cscd.offset + scsi::kCscdDescriptorLength <= list.header.segments_offset());
    if (const auto* rod = std::get_if<scsi::RodCscd>(&cscd.what)) check_rod(*rod, list, size, profile);
  }
  for (const scsi::SegmentDescriptor& segment : list.segments) check_segment(segment, list, size);
}

}  // namespace

/// The first byte: bit 0 the form, bit 1 a profile of small limits, bit 2 one without RODs.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  base::Bytes input(data + 1, size - 1);
  scsi::DeviceProfile profile;
  if (data[0] & 2) {
    profile.maximum_cscd_descriptors = 2;
    profile.maximum_segment_descriptors = 2;
    profile.maximum_descriptor_list_bytes = 256;
    profile.maximum_inline_data_bytes = 600;
    profile.background = false;
  }
  if (data[0] & 4) profile.rod_types.clear();
  auto format = data[0] & 1 ? scsi::ListFormat::lid4 : scsi::ListFormat::lid1;
  auto header = scsi::parse_extended_copy_header(input, format, profile);
  auto list = scsi::parse_extended_copy(input, format, profile);
  require(!list || header);
  if (list) {
    check(*list, input.size(), profile);
    // A byte less than the list's own end is too short.
    std::size_t end = list->header.inline_data_offset() + list->header.inline_data_length;
    require(!scsi::parse_extended_copy(input.first(end - 1), format, profile));
  } else {
    require(list.error().key == scsi::SenseKey::illegal_request);
    require(!list.error().field || list.error().field->in_cdb || list.error().field->byte < input.size());
  }
  return 0;
}
