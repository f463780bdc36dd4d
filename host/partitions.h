// What lies on a disk: partitions (GPT, UEFI 2.10 section 5; MBR), and which file system a volume holds. Pure reading,
// of bytes nobody should trust.
// Thread: the driver's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/file_system.h"
#include "host/volume_device.h"

namespace host {

enum class PartitionStyle : std::uint8_t { none, mbr, gpt };

struct Partition {
  unsigned number = 0;  ///< from 1, as Windows counts; 0: the whole disk
  std::uint64_t first_byte = 0;
  std::uint64_t length = 0;
  std::string type{};  ///< the GPT type's GUID, or "07h"
  std::string name{};  ///< GPT
};

struct PartitionTable {
  PartitionStyle style = PartitionStyle::none;
  std::vector<Partition> partitions{};  ///< in order of number; those that lie off the disk or overlap are left out
  std::vector<std::string> problems{};  ///< for people: what was left out, a primary GPT header that is bad
};

/// Reads MBR (with logical partitions) and GPT (the backup header when the primary's CRC is wrong). A disk without
/// either has no partitions. Fails only when the disk does not answer.
NtResult<PartitionTable> read_partition_table(ClassDriver& driver);

enum class FileSystemKind : std::uint8_t { none, ntfs, fat, exfat, refs, bitlocker, ext, xfs, btrfs };

/// "NTFS", "FAT", "ext2/3/4", "nothing known".
std::string_view name(FileSystemKind kind);

/// By signatures; `ntfs` says only that the boot sector claims it.
NtResult<FileSystemKind> recognise(VolumeDevice& device);

}  // namespace host
