#include "scsi/command_table.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "scsi/block_commands.h"
#include "scsi/copy_commands.h"
#include "scsi/primary_commands.h"
#include "scsi/reservation_commands.h"

namespace scsi {
namespace {

constexpr std::uint8_t kNaca = 0x04;  ///< CONTROL byte (SAM-5 5.2)

using CdbMask = std::array<std::uint64_t, kMaxCdbLength / sizeof(std::uint64_t)>;

class Table {
 public:
  Table() {
    for (auto family : {primary_commands(), block_commands(), reservation_commands(), copy_commands()})
      rows_.insert(rows_.end(), family.begin(), family.end());
    std::ranges::sort(rows_, [](const CommandDescriptor& a, const CommandDescriptor& b) {
      return std::pair(a.opcode, a.service_action) < std::pair(b.opcode, b.service_action);
    });
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      OpcodeRows& entry = by_opcode_[rows_[i].opcode];
      if (entry.count++ == 0) entry.first = i;
      forbidden_.push_back(std::bit_cast<CdbMask>(forbidden_bits(rows_[i])));
    }
  }

  std::span<const CommandDescriptor> rows() const { return rows_; }
  std::span<const CommandDescriptor> rows(std::uint8_t opcode) const {
    const OpcodeRows& entry = by_opcode_[opcode];
    return std::span(rows_).subspan(entry.first, entry.count);
  }
  const CdbMask& forbidden(const CommandDescriptor& row) const {
    return forbidden_[static_cast<std::size_t>(&row - rows_.data())];
  }

  static std::array<std::uint8_t, kMaxCdbLength> forbidden_bits(const CommandDescriptor& row) {
    std::array<std::uint8_t, kMaxCdbLength> bits{};
    for (std::size_t byte = 1; byte < row.cdb_length; ++byte) bits[byte] = static_cast<std::uint8_t>(~row.usage[byte]);
    if (row.service_action) bits[kServiceActionByte] &= static_cast<std::uint8_t>(~kServiceActionMask);
    bits[row.cdb_length - 1u] |= kNaca;
    return bits;
  }

 private:
  struct OpcodeRows {
    std::size_t first = 0;
    std::size_t count = 0;
  };
  std::vector<CommandDescriptor> rows_;
  std::vector<CdbMask> forbidden_;
  std::array<OpcodeRows, 256> by_opcode_{};
};

const Table& table() {
  static const Table table;
  return table;
}

}  // namespace

std::span<const CommandDescriptor> command_table() { return table().rows(); }

CommandLookup find_command(base::Bytes cdb) {
  auto rows = table().rows(cdb.front());
  if (rows.empty()) return {};
  if (!rows.front().service_action) return {&rows.front(), true};
  std::uint16_t service_action = cdb[kServiceActionByte] & kServiceActionMask;
  auto found = std::ranges::find(rows, service_action, &CommandDescriptor::service_action);
  return {found == rows.end() ? nullptr : &*found, true};
}

std::optional<FieldPointer> forbidden_bit(const CommandDescriptor& row, base::Bytes cdb) {
  const CdbMask& forbidden = table().forbidden(row);
  CdbMask words;
  std::memcpy(words.data(), cdb.data(), sizeof words);
  if (((words[0] & forbidden[0]) | (words[1] & forbidden[1])) == 0) return {};
  auto bits = Table::forbidden_bits(row);
  for (std::size_t byte = 0; byte < bits.size(); ++byte) {
    if (std::uint8_t wrong = cdb[byte] & bits[byte])
      return FieldPointer::cdb(byte, static_cast<std::uint8_t>(std::bit_width(wrong) - 1));
  }
  return {};
}

}  // namespace scsi
