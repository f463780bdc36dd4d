#include "host/disk_discovery.h"

#include <fmt/format.h>

#include "host/scsi_layouts.h"

namespace host {

namespace {

constexpr std::uint8_t kThirdPartyCopyPage = 0x8F;
constexpr std::uint8_t kBlockLimits = 0xB0;
constexpr std::uint8_t kBlockCharacteristics = 0xB1;
constexpr std::uint8_t kProvisioning = 0xB2;
constexpr std::uint16_t kRodLimitsType = 0x0000;
constexpr std::uint16_t kRodLimitsLength = 0x0020;
constexpr std::uint8_t kProvisioningTypeMask = 0x07;
constexpr std::uint8_t kThinProvisioned = 2;
constexpr std::uint8_t kLbpu = 0x80;
constexpr std::uint16_t kLowByte = 0x00FF;

}  // namespace

std::expected<SupportedPages, std::string> read_supported_pages(base::Bytes page) {
  base::ByteReader reader(page);
  const auto header = reader.layout<VpdHeader>();
  if (!reader.ok()) return std::unexpected("VPD page 00h has no header");
  const std::size_t length = header.page_length & kLowByte;
  base::Bytes codes = reader.take_up_to(length);
  if (codes.empty() || codes.front() != 0x00)
    return std::unexpected("VPD page 00h does not start with page 00h; Windows ignores the whole list");
  SupportedPages pages;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    if (i > 0 && codes[i] <= codes[i - 1])
      return std::unexpected(
          fmt::format("VPD page 00h is not ascending ({:02X}h after {:02X}h); Windows ignores the "
                      "whole list",
                      codes[i], codes[i - 1]));
    switch (codes[i]) {
      case kThirdPartyCopyPage: pages.third_party_copy = true; break;
      case kBlockLimits: pages.block_limits = true; break;
      case kBlockCharacteristics: pages.block_characteristics = true; break;
      case kProvisioning: pages.provisioning = true; break;
      default: break;
    }
  }
  return pages;
}

std::expected<RodLimits, std::string> read_rod_limits(base::Bytes page) {
  base::ByteReader reader(page);
  const auto header = reader.layout<VpdHeader>();
  const auto limits = reader.layout<RodLimitsDescriptor>();
  if (!reader.ok() || header.page_length < sizeof(RodLimitsDescriptor))
    return std::unexpected("VPD page 8Fh is shorter than one Block Device ROD Limits descriptor (36 bytes)");
  if (limits.type != kRodLimitsType || limits.length != kRodLimitsLength)
    return std::unexpected(
        fmt::format("the first descriptor of VPD page 8Fh has type {:04X}h and length {:04X}h; Windows wants 0000h "
                    "and 0020h (Block Device ROD Limits) first",
                    limits.type.value(), limits.length.value()));
  return RodLimits{limits.maximum_range_descriptors, limits.maximum_inactivity_timeout_s,
                   limits.default_inactivity_timeout_s, limits.maximum_token_transfer_blocks,
                   limits.optimal_transfer_blocks};
}

std::vector<Designator> read_designators(base::Bytes page) {
  constexpr std::uint8_t kLow = 0x0F, kAssociation = 0x03;
  constexpr unsigned kAssociationUnit = 0x10;  // ASSOCIATION is bits 5-4
  base::ByteReader header(page);
  const std::size_t length = header.layout<VpdHeader>().page_length;
  base::ByteReader reader(header.take_up_to(length));
  std::vector<Designator> designators;
  constexpr std::size_t kDescriptorHeader = 4;
  while (reader.remaining() >= kDescriptorHeader) {
    Designator designator;
    designator.code_set = reader.u8() & kLow;
    const std::uint8_t kind = reader.u8();
    designator.association = kind / kAssociationUnit & kAssociation;
    designator.type = kind & kLow;
    reader.skip(1);
    designator.value = reader.take_up_to(reader.u8());
    designators.push_back(designator);
  }
  return designators;
}

bool read_thin(base::Bytes page) {
  base::ByteReader reader(page);
  const auto provisioning = reader.layout<ProvisioningPage>();
  return reader.ok() && provisioning.header.page_code == kProvisioning &&
         (provisioning.provisioning_type & kProvisioningTypeMask) == kThinProvisioned &&
         (provisioning.flags & kLbpu) != 0;
}

}  // namespace host
