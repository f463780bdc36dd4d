#include "host/partitions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/nowide/utf/convert.hpp>
#include <optional>
#include <set>

#include "base/crc.h"

namespace host {

namespace {

constexpr std::size_t kSectorLength = 512;  // a boot record has this length whatever the block length

struct MbrEntry {
  std::uint8_t status;
  std::uint8_t first_chs[3];
  std::uint8_t type;
  std::uint8_t last_chs[3];
  base::le32 first_block;
  base::le32 blocks;
};
static_assert(sizeof(MbrEntry) == 16);

struct BootRecord {
  std::uint8_t code[446];
  MbrEntry entries[4];
  base::le16 signature;
};
static_assert(sizeof(BootRecord) == kSectorLength);

constexpr std::uint16_t kBootSignature = 0xAA55;
constexpr std::uint8_t kProtective = 0xEE;

/// UEFI 2.10, table 5.5.
struct GptHeader {
  std::uint8_t signature[8];
  base::le32 revision;
  base::le32 header_length;
  base::le32 header_crc;
  base::le32 reserved;
  base::le64 my_block;
  base::le64 alternate_block;
  base::le64 first_usable_block;
  base::le64 last_usable_block;
  std::uint8_t disk_guid[16];
  base::le64 entries_block;
  base::le32 entries;
  base::le32 entry_length;
  base::le32 entries_crc;
};
static_assert(sizeof(GptHeader) == 92);

/// UEFI 2.10, table 5.6.
struct GptEntry {
  std::uint8_t type[16];
  std::uint8_t guid[16];
  base::le64 first_block;
  base::le64 last_block;
  base::le64 attributes;
  std::uint8_t name[72];
};
static_assert(sizeof(GptEntry) == 128);

/// As Microsoft and UEFI print it: the first three fields are little endian.
std::string guid_text(base::Bytes guid) {
  const auto first = base::load<base::le32>(guid);
  const auto second = base::load<base::le16>(guid.subspan(4));
  const auto third = base::load<base::le16>(guid.subspan(6));
  std::string text =
      fmt::format("{:08X}-{:04X}-{:04X}-{:02X}{:02X}-", first.value(), second.value(), third.value(), guid[8], guid[9]);
  for (std::uint8_t byte : guid.subspan(10)) text += fmt::format("{:02X}", byte);
  return text;
}

std::string gpt_name(base::Bytes units) {
  std::u16string wide;
  for (; units.size() >= 2; units = units.subspan(2)) {
    const auto unit = static_cast<char16_t>(base::load<base::le16>(units).value());
    if (unit == 0) break;
    wide += unit;
  }
  return boost::nowide::utf::convert_string<char>(wide.data(), wide.data() + wide.size());
}

class Reader {
 public:
  explicit Reader(ClassDriver& driver) : driver_(driver) {}

  NtResult<PartitionTable> read() {
    NtStatus status = NtStatus::success;
    if (block_length() >= kSectorLength && block_length() <= kLongestVolumeBlock && blocks() > 0) {
      auto record = boot_record(0, status);
      if (record) {
        const bool gpt = std::ranges::any_of(record->entries, [](const MbrEntry& e) { return e.type == kProtective; });
        status = gpt ? read_gpt() : read_mbr(*record);
      }
    }
    if (status != NtStatus::success) return std::unexpected(status);
    keep_those_that_fit();
    return std::move(table_);
  }

 private:
  std::uint64_t block_length() const { return driver_.disk().block_length; }
  std::uint64_t blocks() const { return driver_.disk().blocks; }
  void problem(std::string text) { table_.problems.push_back(std::move(text)); }

  NtStatus read_blocks(std::uint64_t block, std::uint64_t count, std::vector<std::uint8_t>& out) {
    out.resize(static_cast<std::size_t>(count * block_length()));
    return driver_.read(block * block_length(), out);
  }

  /// Nothing when it has no signature, or with `status` set when the disk does not answer.
  std::optional<BootRecord> boot_record(std::uint64_t block, NtStatus& status) {
    std::vector<std::uint8_t> bytes;
    status = read_blocks(block, 1, bytes);
    if (status != NtStatus::success) return std::nullopt;
    const auto record = base::load<BootRecord>(bytes);
    if (record.signature != kBootSignature) return std::nullopt;
    return record;
  }

  void add(unsigned number, std::uint64_t first_block, std::uint64_t count, std::string type, std::string name = {}) {
    if (first_block == 0 || count == 0 || first_block >= blocks() || count > blocks() - first_block)
      return problem(fmt::format("partition {} is left out: blocks {} to {} do not lie on the disk", number,
                                 first_block, first_block + count - 1));
    table_.partitions.push_back(
        {number, first_block * block_length(), count * block_length(), std::move(type), std::move(name)});
  }

  static bool is_extended(std::uint8_t type) { return type == 0x05 || type == 0x0F || type == 0x85; }
  /// The first sector of a FAT or NTFS volume without a partition table has the signature too.
  static bool is_table(const BootRecord& record) {
    const std::string_view name = base::text_of(base::Bytes(record.code).subspan(3, 8));
    if (name == "NTFS    " || name == "EXFAT   " || name == "-FVE-FS-") return false;
    return std::ranges::all_of(record.entries, [](const MbrEntry& e) { return (e.status & 0x7F) == 0; });
  }

  NtStatus read_mbr(const BootRecord& record) {
    if (!is_table(record)) return NtStatus::success;
    std::uint64_t extended = 0;
    unsigned number = 0;
    for (const MbrEntry& entry : record.entries) {
      if (entry.type == 0 || entry.blocks == 0) continue;
      table_.style = PartitionStyle::mbr;
      if (!is_extended(entry.type))
        add(++number, entry.first_block, entry.blocks, fmt::format("{:02X}h", entry.type));
      else if (extended == 0)
        extended = entry.first_block;
      else
        problem("a second extended partition is left out");
    }
    return extended == 0 ? NtStatus::success : read_logical(extended, number);
  }

  /// Each record of the chain holds one logical partition, relative to the record, and the next record, relative to the
  /// extended partition.
  NtStatus read_logical(std::uint64_t extended, unsigned number) {
    constexpr unsigned kMost = 128;
    std::set<std::uint64_t> seen;
    std::uint64_t at = extended;
    while (true) {
      if (at >= blocks()) return problem("the chain of logical partitions leaves the disk"), NtStatus::success;
      if (!seen.insert(at).second) return problem("the chain of logical partitions is a loop"), NtStatus::success;
      if (seen.size() > kMost) return problem("the chain of logical partitions is too long"), NtStatus::success;
      NtStatus status = NtStatus::success;
      const auto record = boot_record(at, status);
      if (!record) {
        if (status == NtStatus::success) problem("the chain of logical partitions ends without a signature");
        return status;
      }
      std::uint64_t next = 0;
      for (const MbrEntry& entry : record->entries) {
        if (entry.type == 0 || entry.blocks == 0) continue;
        if (is_extended(entry.type))
          next = extended + entry.first_block;
        else
          add(++number, at + entry.first_block, entry.blocks, fmt::format("{:02X}h", entry.type));
      }
      if (next == 0) return NtStatus::success;
      at = next;
    }
  }

  NtStatus read_gpt() {
    table_.style = PartitionStyle::gpt;
    if (blocks() < 2) return problem("the disk is too small for a GPT"), NtStatus::success;
    NtStatus status = NtStatus::success;
    if (read_gpt_at(1, "primary", status) || status != NtStatus::success) return status;
    if (read_gpt_at(blocks() - 1, "backup", status) && status == NtStatus::success)
      problem("the partitions are those of the backup GPT");
    return status;
  }

  /// False when it is bad, with a problem, or when the disk does not answer.
  bool read_gpt_at(std::uint64_t block, std::string_view which, NtStatus& status) {
    constexpr std::uint32_t kMostEntries = 16384;
    const auto bad = [&](std::string_view what) { return problem(fmt::format("{} GPT: {}", which, what)), false; };
    std::vector<std::uint8_t> bytes;
    status = read_blocks(block, 1, bytes);
    if (status != NtStatus::success) return false;
    auto header = base::load<GptHeader>(bytes);
    if (base::text_of(header.signature) != "EFI PART") return bad("no signature");
    if (header.header_length < sizeof(GptHeader) || header.header_length > bytes.size()) return bad("header length");
    const std::uint32_t header_crc = header.header_crc;
    base::store(base::MutableBytes(bytes).subspan(offsetof(GptHeader, header_crc)), base::le32(0));
    if (base::crc32(base::Bytes(bytes).first(header.header_length)) != header_crc) return bad("CRC of the header");
    if (header.my_block != block) return bad("it says that it lies elsewhere");
    if (header.entry_length < sizeof(GptEntry) || header.entry_length % 8 != 0 || header.entry_length > 4096)
      return bad("length of an entry");
    if (header.entries > kMostEntries) return bad("too many entries");

    const std::uint64_t length = std::uint64_t{header.entries} * header.entry_length;
    const std::uint64_t count = (length + block_length() - 1) / block_length();
    if (header.entries_block >= blocks() || count > blocks() - header.entries_block)
      return bad("the entries do not lie on the disk");
    status = read_blocks(header.entries_block, count, bytes);
    if (status != NtStatus::success) return false;
    if (base::crc32(base::Bytes(bytes).first(static_cast<std::size_t>(length))) != header.entries_crc)
      return bad("CRC of the entries");
    add_gpt_entries(header, bytes);
    return true;
  }

  /// Numbered as Windows does: those that are used, one after the other.
  void add_gpt_entries(const GptHeader& header, base::Bytes bytes) {
    unsigned number = 0;
    for (std::uint32_t i = 0; i < header.entries; ++i) {
      const auto entry = base::load<GptEntry>(bytes.subspan(std::size_t{i} * header.entry_length));
      if (std::ranges::all_of(entry.type, [](std::uint8_t byte) { return byte == 0; })) continue;
      ++number;
      if (entry.first_block < header.first_usable_block || entry.last_block > header.last_usable_block ||
          entry.last_block < entry.first_block) {
        problem(fmt::format("partition {} is left out: outside the usable blocks", number));
        continue;
      }
      add(number, entry.first_block, entry.last_block - entry.first_block + 1, guid_text(entry.type),
          gpt_name(entry.name));
    }
  }

  /// The first of two that overlap stays.
  void keep_those_that_fit() {
    std::vector<Partition> kept;
    for (Partition& partition : table_.partitions) {
      const auto other = std::ranges::find_if(kept, [&](const Partition& k) {
        return partition.first_byte < k.first_byte + k.length && k.first_byte < partition.first_byte + partition.length;
      });
      if (other == kept.end())
        kept.push_back(std::move(partition));
      else
        problem(fmt::format("partition {} is left out: it overlaps partition {}", partition.number, other->number));
    }
    table_.partitions = std::move(kept);
  }

  ClassDriver& driver_;
  PartitionTable table_;
};

}  // namespace

NtResult<PartitionTable> read_partition_table(ClassDriver& driver) { return Reader(driver).read(); }

}  // namespace host
