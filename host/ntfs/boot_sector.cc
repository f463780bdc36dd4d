// SPDX-License-Identifier: GPL-2.0-or-later
#include "host/ntfs/boot_sector.h"

#include <bit>
#include <optional>

namespace host::ntfs {

namespace {

struct Layout {
  std::uint8_t jump[3];
  std::uint8_t oem_id[8];
  base::le16 bytes_per_sector;
  std::uint8_t sectors_per_cluster;
  base::le16 reserved_sectors;
  std::uint8_t fats;
  base::le16 root_entries;
  base::le16 small_sectors;
  std::uint8_t media;
  base::le16 sectors_per_fat;
  std::uint8_t geometry[8];
  base::le32 large_sectors;
  std::uint8_t drive[4];
  base::le64 sectors;
  base::le64 mft_cluster;
  base::le64 mft_mirror_cluster;
  std::uint8_t clusters_per_file_record;
  std::uint8_t reserved1[3];
  std::uint8_t clusters_per_index_record;
  std::uint8_t reserved2[3];
  base::le64 serial;
};
static_assert(sizeof(Layout) == 80 && offsetof(Layout, sectors) == 40 && offsetof(Layout, serial) == 72);

/// Above 128 it is a negative power of two (clusters above 64 KiB).
std::optional<std::uint32_t> cluster_length(const Layout& layout) {
  constexpr std::uint32_t kLargest = 2u << 20;
  const std::uint8_t code = layout.sectors_per_cluster;
  std::uint64_t sectors = code;
  if (code > 128) {
    const unsigned exponent = 256u - code;
    if (exponent > 12) return std::nullopt;
    sectors = 1ull << exponent;
  }
  const std::uint64_t length = sectors * layout.bytes_per_sector;
  if (!std::has_single_bit(sectors) || length > kLargest) return std::nullopt;
  return static_cast<std::uint32_t>(length);
}

/// A count of clusters, or as a negative number the power of two of bytes.
std::optional<std::uint32_t> record_length(std::uint8_t code, std::uint32_t cluster) {
  constexpr std::uint32_t kSmallest = 512;
  constexpr std::uint64_t kLargest = 64 << 10;
  const unsigned exponent = 256u - code;
  std::uint64_t length = static_cast<std::uint64_t>(code) * cluster;
  if (code > 127) length = exponent < 32 ? 1ull << exponent : 0;
  if (length < kSmallest || length > kLargest || !std::has_single_bit(length)) return std::nullopt;
  return static_cast<std::uint32_t>(length);
}

}  // namespace

NtResult<BootSector> parse_boot_sector(base::Bytes sector, std::uint32_t block_length, std::uint64_t volume_length) {
  const auto unrecognized = std::unexpected(NtStatus::unrecognized_volume);
  const auto corrupt = std::unexpected(NtStatus::disk_corrupt_error);
  if (sector.size() < sizeof(Layout)) return unrecognized;
  const auto layout = base::load<Layout>(sector);
  if (base::text_of(layout.oem_id) != "NTFS    ") return unrecognized;
  if (layout.reserved_sectors != 0 || layout.fats != 0 || layout.root_entries != 0 || layout.small_sectors != 0 ||
      layout.sectors_per_fat != 0 || layout.large_sectors != 0)
    return unrecognized;

  BootSector boot;
  boot.sector_length = layout.bytes_per_sector;
  if (boot.sector_length != block_length || !std::has_single_bit(boot.sector_length)) return unrecognized;
  const auto cluster = cluster_length(layout);
  if (!cluster) return corrupt;
  boot.cluster_length = *cluster;
  boot.sectors = layout.sectors;
  if (boot.sectors > volume_length / boot.sector_length) return unrecognized;
  const std::uint64_t clusters = boot.sectors / (boot.cluster_length / boot.sector_length);
  boot.mft_cluster = layout.mft_cluster;
  boot.mft_mirror_cluster = layout.mft_mirror_cluster;
  if (boot.mft_cluster == 0 || boot.mft_mirror_cluster == 0 || boot.mft_cluster >= clusters ||
      boot.mft_mirror_cluster >= clusters || boot.mft_cluster == boot.mft_mirror_cluster)
    return corrupt;
  const auto file_record = record_length(layout.clusters_per_file_record, *cluster);
  const auto index_record = record_length(layout.clusters_per_index_record, *cluster);
  if (!file_record || !index_record) return corrupt;
  boot.file_record_length = *file_record;
  boot.index_record_length = *index_record;
  boot.serial = layout.serial;
  return boot;
}

}  // namespace host::ntfs
