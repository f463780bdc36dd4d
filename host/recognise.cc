#include <algorithm>
#include <bit>

#include "host/partitions.h"

namespace host {

namespace {

bool says(base::Bytes bytes, std::size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() && base::text_of(bytes.subspan(offset, text.size())) == text;
}

/// A FAT boot sector has no signature of its own: the fields have to make sense (Microsoft's FAT specification 1.03).
bool is_fat(base::Bytes sector) {
  constexpr std::size_t kBytesPerSector = 11, kSectorsPerCluster = 13, kReserved = 14, kFats = 16, kMedia = 21;
  constexpr std::size_t kSignature = 510;
  const std::uint16_t bytes_per_sector = base::load<base::le16>(sector.subspan(kBytesPerSector));
  const std::uint8_t media = sector[kMedia];
  return base::load<base::le16>(sector.subspan(kSignature)) == 0xAA55 && (sector[0] == 0xEB || sector[0] == 0xE9) &&
         std::has_single_bit(bytes_per_sector) && bytes_per_sector >= 512 && bytes_per_sector <= 4096 &&
         std::has_single_bit(sector[kSectorsPerCluster]) && base::load<base::le16>(sector.subspan(kReserved)) != 0 &&
         (sector[kFats] == 1 || sector[kFats] == 2) && (media == 0xF0 || media >= 0xF8);
}

}  // namespace

std::string_view name(FileSystemKind kind) {
  switch (kind) {
    case FileSystemKind::none: return "nothing known";
    case FileSystemKind::ntfs: return "NTFS";
    case FileSystemKind::fat: return "FAT";
    case FileSystemKind::exfat: return "exFAT";
    case FileSystemKind::refs: return "ReFS";
    case FileSystemKind::bitlocker: return "BitLocker";
    case FileSystemKind::ext: return "ext2/3/4";
    case FileSystemKind::xfs: return "XFS";
    case FileSystemKind::btrfs: return "Btrfs";
  }
  return "?";
}

NtResult<FileSystemKind> recognise(VolumeDevice& device) {
  constexpr std::uint64_t kBtrfsSuperblock = 64 << 10, kBtrfsMagic = 64;
  constexpr std::size_t kExtMagic = 1024 + 56;
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(std::min<std::uint64_t>(device.length(), 4096)));
  if (bytes.size() < 512 || device.block_length() > kLongestVolumeBlock) return FileSystemKind::none;
  NtStatus status = device.read(0, bytes);
  if (status != NtStatus::success) return std::unexpected(status);
  // BitLocker keeps an NTFS or FAT boot sector but for the name; so it goes first, and FAT, the vaguest, last.
  if (says(bytes, 3, "-FVE-FS-")) return FileSystemKind::bitlocker;
  if (says(bytes, 3, "NTFS    ")) return FileSystemKind::ntfs;
  if (says(bytes, 3, "EXFAT   ")) return FileSystemKind::exfat;
  if (says(bytes, 3, std::string_view("ReFS\0\0\0\0", 8))) return FileSystemKind::refs;
  if (says(bytes, 0, "XFSB")) return FileSystemKind::xfs;
  if (says(bytes, kExtMagic, "\x53\xEF")) return FileSystemKind::ext;
  if (is_fat(bytes)) return FileSystemKind::fat;
  if (device.length() >= kBtrfsSuperblock + 4096) {
    status = device.read(kBtrfsSuperblock, bytes);
    if (status != NtStatus::success) return std::unexpected(status);
    if (says(bytes, kBtrfsMagic, "_BHRfS_M")) return FileSystemKind::btrfs;
  }
  return FileSystemKind::none;
}

}  // namespace host
