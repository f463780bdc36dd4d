#include "scsi/block_vpd.h"

#include <algorithm>
#include <limits>

#include "scsi/block_io.h"
#include "scsi/block_layouts.h"
#include "scsi/device_profile.h"
#include "scsi/logical_unit.h"
#include "scsi/provisioning_thresholds.h"

namespace scsi {
namespace {

/// Stores share and free memory in pieces of this many bytes; freeing less may free nothing.
constexpr std::uint32_t kUnmapGranularityBytes = 4096;

template <typename Page>
Page page_frame() {
  Page page{};
  page.page_code = Page::kPageCode;
  page.page_length = static_cast<std::uint16_t>(sizeof(Page) - offsetof(Page, page_length) - sizeof(page.page_length));
  return page;
}

template <typename Page>
std::vector<std::uint8_t> bytes(const Page& page) {
  base::Bytes content = base::bytes_of(page);
  return {content.begin(), content.end()};
}

template <typename Number>
Number at_most(std::uint64_t value) {
  return static_cast<Number>(std::min<std::uint64_t>(value, std::numeric_limits<Number>::max()));
}

std::uint32_t physical_block(const LogicalUnit& lu) {
  std::uint32_t blocks = 1;
  for (int i = 0; i < lu.config().blocks_per_physical_exponent; ++i) blocks *= 2;
  return blocks;
}

}  // namespace

std::vector<std::uint8_t> block_limits_page(const LogicalUnit& lu, const DeviceProfile& profile) {
  auto page = page_frame<BlockLimitsPage>();
  page.maximum_compare_and_write_length = at_most<std::uint8_t>(profile.maximum_compare_and_write_blocks);
  page.optimal_transfer_length_granularity = at_most<std::uint16_t>(physical_block(lu));
  page.maximum_transfer_length = at_most<std::uint32_t>(profile.maximum_transfer_bytes / lu.block_length());
  page.optimal_transfer_length = at_most<std::uint32_t>(profile.optimal_transfer_length_bytes / lu.block_length());
  page.maximum_write_same_length = profile.maximum_write_same_bytes / lu.block_length();
  const AtomicWriteLimits atomic = atomic_write_limits(lu, profile);
  page.maximum_atomic_transfer_length = static_cast<std::uint32_t>(atomic.most);
  page.maximum_atomic_transfer_length_with_atomic_boundary = page.maximum_atomic_transfer_length;
  page.maximum_atomic_boundary_size = page.maximum_atomic_transfer_length;
  if (atomic.most != 0 && atomic.granularity > 1) {
    page.atomic_alignment = static_cast<std::uint32_t>(atomic.granularity);
    page.atomic_transfer_length_granularity = page.atomic_alignment;
  }
  if (lu.config().thin) {
    page.maximum_unmap_lba_count = profile.maximum_unmap_lba_count;
    page.maximum_unmap_block_descriptor_count = profile.maximum_unmap_descriptors;
    page.optimal_unmap_granularity = std::max(kUnmapGranularityBytes / lu.block_length(), physical_block(lu));
    page.unmap_granularity_alignment = BlockLimitsPage::kUgaValid;
  }
  return bytes(page);
}

std::vector<std::uint8_t> block_device_characteristics_page(const LogicalUnit& lu, const DeviceProfile&) {
  auto page = page_frame<BlockDeviceCharacteristicsPage>();
  page.medium_rotation_rate = BlockDeviceCharacteristicsPage::kNonRotating;
  if (lu.config().thin) page.sanitize_form_factor = BlockDeviceCharacteristicsPage::kReadsAfterBlockErase;
  if (lu.config().self_encrypting)
    page.sanitize_form_factor |= BlockDeviceCharacteristicsPage::kReadsAfterCryptographicErase;
  page.support = BlockDeviceCharacteristicsPage::kVbuls;
  return bytes(page);
}

std::vector<std::uint8_t> logical_block_provisioning_page(const LogicalUnit& lu, const DeviceProfile&) {
  using Page = LogicalBlockProvisioningPage;
  auto page = page_frame<Page>();
  if (lu.config().thin) {
    page.support = Page::kLbpu | Page::kLbpws | Page::kLbpws10 | Page::kLbprz;
    page.provisioning_type = Page::kThinProvisioned;
    page.threshold_exponent = lu.thresholds().exponent();
  }
  return bytes(page);
}

}  // namespace scsi
