// Partition tables and file systems made by the tools people use: sfdisk, fdisk, mkfs. They run on files in a temporary
// folder, which is read into a disk in memory.
//
// Not tested, and why: exFAT, ReFS and BitLocker by real tools: Debian has none that makes the last two; their boot
// sectors are made by hand.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "host/partitions.h"
#include "test/host/image_disk.h"

namespace {

using host::FileSystemKind;
using test::ImageDisk;
using test::Octets;

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/odx-real-volumes-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  /// An empty file of so many bytes, after `command` with its name for each "@".
  Octets made_by(std::string command, std::uintmax_t size) {
    const std::string file = path_ + "/disk";
    {
      std::ofstream create(file, std::ios::trunc);
    }
    std::filesystem::resize_file(file, size);
    for (std::size_t at = command.find('@'); at != std::string::npos; at = command.find('@'))
      command.replace(at, 1, file);
    const std::string line = "PATH=/usr/sbin:/sbin:$PATH; { " + command + "; } >/dev/null 2>&1";
    CAPTURE(command);
    REQUIRE(std::system(line.c_str()) == 0);  // NOLINT(cert-env33-c): a fixed command
    return test::load_file(file);
  }

 private:
  std::string path_;
};

FileSystemKind recognised(Octets bytes, std::uint32_t block_length = 512) {
  ImageDisk disk(std::move(bytes), block_length);
  auto whole = disk.whole();
  return host::recognise(whole).value();
}

constexpr std::uintmax_t MiB = 1 << 20;

}  // namespace

TEST_SUITE("host: volumes made by real tools") {
  TEST_CASE("sfdisk: MBR with logical partitions") {
    Folder folder;
    ImageDisk disk(folder.made_by("printf '1 : start=2048, size=2048, type=7\\n2 : start=8192, type=5\\n"
                                  "3 : start=4096, size=2048, type=c\\n5 : size=2048, type=7\\n"
                                  "6 : size=4096, type=83\\n' | sfdisk --label dos @",
                                  32 * MiB),
                   512);
    const auto table = host::read_partition_table(disk.driver).value();
    CHECK(table.style == host::PartitionStyle::mbr);
    CHECK(table.problems.empty());
    REQUIRE(table.partitions.size() == 4);
    CHECK(table.partitions[0].first_byte == MiB);
    CHECK(table.partitions[0].length == MiB);
    CHECK(table.partitions[1].type == "0Ch");
    CHECK(table.partitions[1].first_byte == 2 * MiB);
    CHECK(table.partitions[2].length == MiB);
    CHECK(table.partitions[3].length == 2 * MiB);
    CHECK(table.partitions[3].type == "83h");
  }

  TEST_CASE("sfdisk: GPT; its backup alone will do") {
    Folder folder;
    Octets bytes = folder.made_by(
        "printf '2048,4096,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7,\\n,,L\\n' | sfdisk --label gpt @ && "
        "sfdisk --part-label @ 1 'Basic data'",
        32 * MiB);
    for (bool damage : {false, true}) {
      if (damage) bytes[512] = 0;
      ImageDisk disk(bytes, 512);
      const auto table = host::read_partition_table(disk.driver).value();
      CHECK(table.style == host::PartitionStyle::gpt);
      CHECK(table.problems.empty() == !damage);
      REQUIRE(table.partitions.size() == 2);
      CHECK(table.partitions[0].type == "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7");
      CHECK(table.partitions[0].name == "Basic data");
      CHECK(table.partitions[0].first_byte == MiB);
      CHECK(table.partitions[0].length == 2 * MiB);
    }
  }

  TEST_CASE("fdisk: GPT and MBR on blocks of 4096 bytes") {
    Folder folder;
    for (const char* label : {"g\\nn\\n1", "o\\nn\\np\\n1"}) {
      const std::string script = std::string("printf '") + label + "\\n256\\n1023\\nw\\n' | fdisk -b 4096 @";
      ImageDisk disk(folder.made_by(script, 32 * MiB), 4096);
      const auto table = host::read_partition_table(disk.driver).value();
      CHECK(table.problems.empty());
      REQUIRE(table.partitions.size() == 1);
      CHECK(table.partitions[0].first_byte == MiB);
      CHECK(table.partitions[0].length == 3 * MiB);
    }
  }

  TEST_CASE("mkfs: each file system is recognised, and none is a partition table") {
    struct Row {
      const char* command;
      std::uintmax_t size;
      FileSystemKind kind;
    };
    Folder folder;
    for (const Row& row : {
             Row{"mkntfs -F -Q @", 8 * MiB, FileSystemKind::ntfs},
             Row{"mkfs.vfat -F 12 @", 4 * MiB, FileSystemKind::fat},
             Row{"mkfs.vfat -F 16 @", 32 * MiB, FileSystemKind::fat},
             Row{"mkfs.vfat -F 32 @", 64 * MiB, FileSystemKind::fat},
             Row{"mkfs.ext2 -F @", 8 * MiB, FileSystemKind::ext},
             Row{"mkfs.ext4 -F @", 16 * MiB, FileSystemKind::ext},
             Row{"mkfs.xfs -f @", 300 * MiB, FileSystemKind::xfs},
             Row{"mkfs.btrfs -f @", 128 * MiB, FileSystemKind::btrfs},
             Row{"true", 8 * MiB, FileSystemKind::none},
         }) {
      CAPTURE(row.command);
      Octets bytes = folder.made_by(row.command, row.size);
      CHECK(recognised(bytes) == row.kind);
      ImageDisk disk(std::move(bytes), 512);
      CHECK(host::read_partition_table(disk.driver).value().partitions.empty());
    }
  }

  TEST_CASE("boot sectors by hand: exFAT, ReFS, BitLocker") {
    struct Row {
      std::string_view name;
      FileSystemKind kind;
    };
    for (const Row& row : {Row{"EXFAT   ", FileSystemKind::exfat}, Row{{"ReFS\0\0\0\0", 8}, FileSystemKind::refs},
                           Row{"-FVE-FS-", FileSystemKind::bitlocker}}) {
      Octets bytes(MiB);
      std::ranges::copy(base::bytes_of(row.name), bytes.begin() + 3);
      CHECK(recognised(bytes) == row.kind);
      CHECK(recognised(bytes, 4096) == row.kind);
    }
  }

  TEST_CASE("a volume too small to hold anything holds nothing") {
    ImageDisk disk(Octets(4096), 512);
    host::VolumeDevice one_block(disk.driver, 0, 512);
    CHECK(host::recognise(one_block).value() == FileSystemKind::none);
    host::VolumeDevice none(disk.driver, 0, 0);
    CHECK(host::recognise(none).value() == FileSystemKind::none);
  }
}
