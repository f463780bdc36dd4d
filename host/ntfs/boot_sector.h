// SPDX-License-Identifier: GPL-2.0-or-later
// The boot sector of an NTFS volume, judged before libntfs-3g sees it: a malicious target serves it too.
// Pure; any thread.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "host/file_system.h"

namespace host::ntfs {

struct BootSector {
  std::uint32_t sector_length = 0;
  std::uint32_t cluster_length = 0;
  std::uint64_t sectors = 0;
  std::uint64_t mft_cluster = 0;
  std::uint64_t mft_mirror_cluster = 0;
  std::uint32_t file_record_length = 0;
  std::uint32_t index_record_length = 0;
  std::uint64_t serial = 0;
};

inline constexpr std::size_t kBootSectorLength = 512;

/// STATUS_UNRECOGNIZED_VOLUME when it is not NTFS's, or describes a volume that does not fit the disk: sectors of
/// another length than `block_length`, more of them than `volume_length` holds. STATUS_DISK_CORRUPT_ERROR when it
/// contradicts itself.
NtResult<BootSector> parse_boot_sector(base::Bytes sector, std::uint32_t block_length, std::uint64_t volume_length);

}  // namespace host::ntfs
