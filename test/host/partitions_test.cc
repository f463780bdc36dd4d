// Partition tables by hand: what the standard says, and what a malicious disk would say instead.
//
// Not tested, and why: tables and file systems made by real tools: real_volumes_test.cc. The hybrid MBR of other
// systems: with a protective entry it is a GPT disk, as for Windows.
#include "host/partitions.h"

#include <doctest/doctest.h>

#include <boost/crc.hpp>
#include <random>

#include "test/host/image_disk.h"

namespace {

using host::PartitionStyle;
using test::ImageDisk;
using test::Octets;

constexpr std::size_t kBlocks = 4096;

template <typename Field>
void put(Octets& bytes, std::size_t at, Field value) {
  base::store(base::MutableBytes(bytes).subspan(at), value);
}

void put_mbr_entry(Octets& disk, std::size_t record_at, unsigned index, std::uint8_t type, std::uint32_t first,
                   std::uint32_t count) {
  const std::size_t at = record_at + 446 + 16 * index;
  disk[at + 4] = type;
  put(disk, at + 8, base::le32(first));
  put(disk, at + 12, base::le32(count));
  put(disk, record_at + 510, base::le16(0xAA55));
}

std::uint32_t crc32(base::Bytes bytes) {
  boost::crc_32_type crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

/// A GPT of 128 entries at both ends of a disk, entry i over [first, last].
struct Gpt {
  struct Entry {
    std::uint64_t first, last;
  };
  std::uint32_t block_length = 512;
  std::vector<Entry> entries{};
  std::uint32_t count = 128;
  std::uint32_t entry_length = 128;

  std::size_t table_blocks() const { return std::size_t{count} * entry_length / block_length; }

  void write_header(Octets& disk, std::uint64_t block, std::uint64_t other, std::uint64_t table) const {
    Octets bytes(std::size_t{count} * entry_length);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::size_t at = i * entry_length;
      bytes[at] = 0xA2;  // EBD0A0A2-...: basic data
      bytes[at + 1] = 0xA0;
      bytes[at + 2] = 0xD0;
      bytes[at + 3] = 0xEB;
      put(bytes, at + 32, base::le64(entries[i].first));
      put(bytes, at + 40, base::le64(entries[i].last));
      bytes[at + 56] = static_cast<std::uint8_t>('a' + i);
    }
    std::ranges::copy(bytes, disk.begin() + static_cast<std::ptrdiff_t>(table * block_length));
    Octets header(92);
    std::ranges::copy(base::bytes_of(std::string_view("EFI PART")), header.begin());
    put(header, 8, base::le32(0x00010000));
    put(header, 12, base::le32(92));
    put(header, 24, base::le64(block));
    put(header, 32, base::le64(other));
    put(header, 40, base::le64(2 + table_blocks()));
    put(header, 48, base::le64(disk.size() / block_length - table_blocks() - 2));
    put(header, 72, base::le64(table));
    put(header, 80, base::le32(count));
    put(header, 84, base::le32(entry_length));
    put(header, 88, base::le32(crc32(bytes)));
    std::ranges::copy(header, disk.begin() + static_cast<std::ptrdiff_t>(block * block_length));
    seal(disk, block);
  }
  /// Makes the header's CRC right again.
  void seal(Octets& disk, std::uint64_t block) const {
    const std::size_t at = block * block_length;
    put(disk, at + 16, base::le32(0));
    put(disk, at + 16, base::le32(crc32(base::Bytes(disk).subspan(at, 92))));
  }
  Octets disk() const {
    Octets disk(kBlocks * block_length);
    put_mbr_entry(disk, 0, 0, 0xEE, 1, 0xFFFFFFFF);
    write_header(disk, 1, kBlocks - 1, 2);
    write_header(disk, kBlocks - 1, 1, kBlocks - 1 - table_blocks());
    return disk;
  }
};

host::PartitionTable read(Octets disk, std::uint32_t block_length = 512) {
  ImageDisk image(std::move(disk), block_length);
  return host::read_partition_table(image.driver).value();
}

}  // namespace

TEST_SUITE("host: partition tables") {
  TEST_CASE("a disk of zeros has no partitions") {
    const auto table = read(Octets(kBlocks * 512));
    CHECK(table.style == PartitionStyle::none);
    CHECK(table.partitions.empty());
    CHECK(table.problems.empty());
  }

  TEST_CASE("a disk that does not answer is no empty disk") {
    ImageDisk image(Octets(kBlocks * 512), 512);
    image.fail = initiator::Result{.transport = initiator::Transport::connection_lost};
    CHECK(host::read_partition_table(image.driver).error() == host::NtStatus::device_not_connected);
  }

  TEST_CASE("MBR: primary and logical partitions, numbered as Windows does") {
    for (std::uint32_t block : {512u, 4096u}) {
      Octets disk(kBlocks * block);
      put_mbr_entry(disk, 0, 0, 0x07, 64, 100);
      put_mbr_entry(disk, 0, 1, 0x05, 1000, 2000);
      put_mbr_entry(disk, 0, 2, 0x0C, 200, 50);
      put_mbr_entry(disk, 1000 * block, 0, 0x07, 8, 92);      // 1008 to 1099
      put_mbr_entry(disk, 1000 * block, 1, 0x05, 500, 1000);  // next record at 1500
      put_mbr_entry(disk, 1500 * block, 0, 0x83, 8, 100);     // 1508 to 1607
      const auto table = read(std::move(disk), block);
      CHECK(table.style == PartitionStyle::mbr);
      CHECK(table.problems.empty());
      REQUIRE(table.partitions.size() == 4);
      CHECK(table.partitions[0].type == "07h");
      CHECK(table.partitions[0].first_byte == 64u * block);
      CHECK(table.partitions[0].length == 100u * block);
      CHECK(table.partitions[1].type == "0Ch");
      CHECK(table.partitions[2].first_byte == 1008u * block);
      CHECK(table.partitions[3].first_byte == 1508u * block);
      CHECK(table.partitions[3].number == 4);
    }
  }

  TEST_CASE("MBR: a chain of logical partitions that loops, leaves the disk or breaks off ends there") {
    struct Row {
      std::uint32_t next;
      const char* problem;
    };
    for (const Row& row : {Row{0, "loop"}, Row{100000, "leaves the disk"}, Row{700, "without a signature"}}) {
      Octets disk(kBlocks * 512);
      put_mbr_entry(disk, 0, 0, 0x05, 1000, 2000);
      put_mbr_entry(disk, 1000 * 512, 0, 0x07, 8, 92);
      put_mbr_entry(disk, 1000 * 512, 1, 0x05, row.next, 1000);
      const auto table = read(std::move(disk));
      REQUIRE(table.partitions.size() == 1);
      REQUIRE(table.problems.size() == 1);
      CHECK(table.problems[0].find(row.problem) != std::string::npos);
    }
  }

  TEST_CASE("MBR: a partition off the disk, at block 0, or over another one is left out") {
    Octets disk(kBlocks * 512);
    put_mbr_entry(disk, 0, 0, 0x07, 64, 100);
    put_mbr_entry(disk, 0, 1, 0x07, 100, 100);
    put_mbr_entry(disk, 0, 2, 0x07, 4000, 97);
    put_mbr_entry(disk, 0, 3, 0x07, 0, 10);
    const auto table = read(std::move(disk));
    CHECK(table.partitions.size() == 1);
    CHECK(table.problems.size() == 3);
  }

  TEST_CASE("a boot sector of NTFS is no partition table, whatever its code looks like") {
    Octets disk(kBlocks * 512);
    put_mbr_entry(disk, 0, 0, 0x07, 64, 100);
    std::ranges::copy(base::bytes_of(std::string_view("NTFS    ")), disk.begin() + 3);
    CHECK(read(std::move(disk)).style == PartitionStyle::none);
  }

  TEST_CASE("CRC-32 of GPT is the one of IEEE 802.3") {
    CHECK(crc32(base::bytes_of(std::string_view("123456789"))) == 0xCBF43926);
  }

  TEST_CASE("GPT: type, name and place; unused entries are skipped") {
    for (std::uint32_t block : {512u, 4096u}) {
      Gpt gpt{.block_length = block, .entries = {{64, 127}, {128, 255}}};
      const auto table = read(gpt.disk(), block);
      CHECK(table.style == PartitionStyle::gpt);
      CHECK(table.problems.empty());
      REQUIRE(table.partitions.size() == 2);
      CHECK(table.partitions[0].type.starts_with("EBD0A0A2-"));
      CHECK(table.partitions[1].name == "b");
      CHECK(table.partitions[1].first_byte == 128u * block);
      CHECK(table.partitions[1].length == 128u * block);
    }
  }

  TEST_CASE("GPT: each fault of the primary header is told and the backup used") {
    const Gpt gpt{.entries = {{64, 127}}};
    struct Row {
      const char* problem;
      std::size_t at;
      std::uint32_t value;
      bool seal;
    };
    for (const Row& row : {
             Row{"no signature", 0, 0, true},
             Row{"CRC of the header", 56, 0x12345678, false},
             Row{"header length", 12, 91, true},
             Row{"header length", 12, 513, true},
             Row{"lies elsewhere", 24, 2, true},
             Row{"length of an entry", 84, 127, true},
             Row{"length of an entry", 84, 0x80000000, true},
             Row{"too many entries", 80, 0xFFFFFFFF, true},
             Row{"do not lie on the disk", 72, 4090, true},
             Row{"CRC of the entries", 88, 1, true},
         }) {
      Octets disk = gpt.disk();
      put(disk, 512 + row.at, base::le32(row.value));
      if (row.seal) gpt.seal(disk, 1);
      const auto table = read(std::move(disk));
      CAPTURE(row.problem);
      REQUIRE(table.partitions.size() == 1);
      REQUIRE(table.problems.size() == 2);
      CHECK(table.problems[0].find(row.problem) != std::string::npos);
    }
  }

  TEST_CASE("GPT: with both headers bad there are no partitions, but the disk is GPT") {
    Octets disk = Gpt{.entries = {{64, 127}}}.disk();
    disk[512] = disk[(kBlocks - 1) * 512] = 0;
    const auto table = read(std::move(disk));
    CHECK(table.style == PartitionStyle::gpt);
    CHECK(table.partitions.empty());
    CHECK(table.problems.size() == 2);
  }

  TEST_CASE("GPT: partitions outside the usable blocks, backwards, or over another are left out") {
    const Gpt gpt{.entries = {{64, 127}, {3, 10}, {4000, 4095}, {200, 100}, {100, 300}, {~0ull, ~0ull}}};
    const auto table = read(gpt.disk());
    CHECK(table.partitions.size() == 1);
    CHECK(table.problems.size() == 5);
  }

  TEST_CASE("bytes at random are read without a fault") {
    std::mt19937 random(20261126);
    for (int round = 0; round < 2000; ++round) {
      Octets disk = Gpt{.entries = {{64, 127}}}.disk();
      for (int i = 0; i < 4; ++i) disk[random() % (34 * 512)] = static_cast<std::uint8_t>(random());
      const auto table = read(std::move(disk));
      for (const host::Partition& partition : table.partitions) {
        CHECK(partition.length > 0);
        CHECK(partition.first_byte + partition.length <= kBlocks * 512);
      }
    }
  }
}
