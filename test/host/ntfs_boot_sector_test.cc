// The check of the boot sector that stands before libntfs-3g.
//
// Not tested, and why: metadata behind a boot sector that is right: libntfs-3g's to check; the fuzzer tries that.
#include "host/ntfs/boot_sector.h"

#include <doctest/doctest.h>

#include "test/host/ntfs_volume.h"

namespace {

using host::NtStatus;

struct Fault {
  const char* name;
  std::size_t at;
  std::vector<std::uint8_t> value;
  NtStatus status;
};

const std::vector<Fault> kFaults = {
    {"not NTFS", 3, {'N', 'T', 'F', 'X'}, NtStatus::unrecognized_volume},
    {"sectors of 1024 bytes", 11, {0x00, 0x04}, NtStatus::unrecognized_volume},
    {"sectors of no bytes", 11, {0x00, 0x00}, NtStatus::unrecognized_volume},
    {"no sectors in a cluster", 13, {0}, NtStatus::disk_corrupt_error},
    {"3 sectors in a cluster", 13, {3}, NtStatus::disk_corrupt_error},
    {"2^-128 sectors in a cluster", 13, {0x81}, NtStatus::disk_corrupt_error},
    {"clusters of 4 MiB", 13, {0xF3}, NtStatus::disk_corrupt_error},
    {"reserved sectors", 14, {1}, NtStatus::unrecognized_volume},
    {"FATs", 16, {2}, NtStatus::unrecognized_volume},
    {"a FAT's count of sectors", 19, {1}, NtStatus::unrecognized_volume},
    {"no sectors", 40, {0, 0, 0, 0, 0, 0, 0, 0}, NtStatus::disk_corrupt_error},
    {"more sectors than the volume has", 40, {0, 0, 0, 1, 0, 0, 0, 0}, NtStatus::unrecognized_volume},
    {"2^63 sectors", 40, {0, 0, 0, 0, 0, 0, 0, 0x80}, NtStatus::unrecognized_volume},
    {"$MFT over the boot sector", 48, {0, 0, 0, 0, 0, 0, 0, 0}, NtStatus::disk_corrupt_error},
    {"$MFT off the volume", 48, {0, 0, 0, 1, 0, 0, 0, 0}, NtStatus::disk_corrupt_error},
    {"$MFT at a negative cluster", 48, {0, 0, 0, 0, 0, 0, 0, 0xFF}, NtStatus::disk_corrupt_error},
    {"$MFTMirr off the volume", 56, {0, 0, 0, 1, 0, 0, 0, 0}, NtStatus::disk_corrupt_error},
    {"file records of no bytes", 64, {0}, NtStatus::disk_corrupt_error},
    {"file records of 3 clusters", 64, {3}, NtStatus::disk_corrupt_error},
    {"file records of 2^128 bytes", 64, {0x80}, NtStatus::disk_corrupt_error},
    {"file records of 256 bytes", 64, {0xF8}, NtStatus::disk_corrupt_error},
    {"file records of 128 KiB", 64, {0xEF}, NtStatus::disk_corrupt_error},
    {"index records of no bytes", 68, {0}, NtStatus::disk_corrupt_error},
    {"index records of 64 clusters", 68, {0x40}, NtStatus::disk_corrupt_error},
};

}  // namespace

TEST_SUITE("host/ntfs: the boot sector") {
  TEST_CASE("mkntfs's is understood, for every sector and cluster length") {
    for (std::uint32_t sector : {512u, 4096u})
      for (std::uint32_t cluster : {512u, 4096u, 65536u}) {
        if (cluster < sector) continue;
        test::NtfsVolume volume({.sector_length = sector, .cluster_length = cluster});
        const auto boot =
            host::ntfs::parse_boot_sector(base::Bytes(volume.disk->bytes).first(512), sector, volume.image.size)
                .value();
        CHECK(boot.sector_length == sector);
        CHECK(boot.cluster_length == cluster);
        CHECK(boot.file_record_length == std::max(1024u, sector));
        CHECK(boot.serial != 0);
      }
  }

  TEST_CASE("each fault is refused before the library sees it") {
    test::NtfsVolume volume({.size = 16 << 20});
    for (const Fault& fault : kFaults) {
      CAPTURE(fault.name);
      const test::Octets right = volume.disk->bytes;
      std::ranges::copy(fault.value, volume.disk->bytes.begin() + static_cast<std::ptrdiff_t>(fault.at));
      volume.disk->reads = 0;
      for (bool read_only : {false, true}) {
        const auto mounted = host::ntfs::mount(*volume.device, read_only);
        REQUIRE_FALSE(mounted.has_value());
        CHECK(host::name(mounted.error()) == host::name(fault.status));
      }
      CHECK(volume.disk->reads == 2);  // the boot sector
      CHECK(volume.disk->writes == 0);
      volume.disk->bytes = right;
    }
  }

  TEST_CASE("a volume with other sectors than the disk is not mounted") {
    test::NtfsVolume volume({.sector_length = 512});
    test::ImageDisk other(volume.disk->bytes, 4096);
    auto whole = other.whole();
    CHECK(host::ntfs::mount(whole, true).error() == NtStatus::unrecognized_volume);
  }

  TEST_CASE("metadata that are destroyed are a corrupt disk") {
    test::NtfsVolume volume({.size = 16 << 20});
    const auto boot =
        host::ntfs::parse_boot_sector(base::Bytes(volume.disk->bytes).first(512), 512, volume.image.size).value();
    const auto mft = static_cast<std::ptrdiff_t>(boot.mft_cluster * boot.cluster_length);
    std::fill_n(volume.disk->bytes.begin() + mft, 4096, std::uint8_t{0});
    CHECK(host::ntfs::mount(*volume.device, false).error() == NtStatus::disk_corrupt_error);
    CHECK(volume.disk->writes == 0);
  }
}
