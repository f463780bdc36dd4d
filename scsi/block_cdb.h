// What the block commands' CDBs have in common: address, count, flags, and the rules on them.
//
// Parsing and judging only; no I/O. Thread: the loop's.
#pragma once

#include <cstdint>
#include <expected>

#include "base/units.h"
#include "scsi/block_layouts.h"
#include "scsi/command_table.h"
#include "scsi/logical_unit.h"

namespace scsi {

/// The 6-, 10-, 12- or 16-byte form of a block command's CDB, as numbers.
struct BlockCdb {
  base::Lba lba{};
  base::BlockCount count{};       ///< the 6-byte form's 0 is 256 here
  std::uint8_t flags = 0;         ///< byte 1 (BlockFlags); 0 in the 6-byte form
  std::uint8_t count_offset = 0;  ///< of the TRANSFER LENGTH field, for field pointers

  bool fua() const { return (flags & BlockFlags::kFua) != 0; }
  std::uint8_t byte_check() const { return flags & BlockFlags::kByteCheck; }
};

/// Parses by the operation code's group (SPC-4 4.2.5.1). COMPARE AND WRITE and WRITE ATOMIC, whose counts have one byte
/// and two, included.
BlockCdb parse_block_cdb(base::Bytes cdb);

/// The bytes of [cdb.lba, cdb.lba + cdb.count).
inline handlers::ByteRange byte_range(const LogicalUnit& lu, const BlockCdb& cdb) {
  return lu.bytes(cdb.lba, cdb.count);
}

/// Checks of a command that names blocks, in this order:
///   05/24/00 at RDPROTECT, WRPROTECT or VRPROTECT when not zero: no protection information here;
///   05/21/00 with the first invalid LBA in INFORMATION when the range ends beyond the capacity (SBC-3, error
///   reporting). A range of no blocks may start at the capacity, not beyond it.
std::expected<void, Sense> check_blocks(const LogicalUnit& lu, const BlockCdb& cdb);

/// check_blocks(), and 05/24/00 at TRANSFER LENGTH when more than MAXIMUM TRANSFER LENGTH (VPD B0h) is asked for.
std::expected<void, Sense> check_transfer(const CommandContext& context, const BlockCdb& cdb);

/// 05/21/00 with the first invalid LBA in INFORMATION.
Sense lba_out_of_range(const LogicalUnit& lu, base::Lba lba, base::BlockCount count);

/// 05/0E/03: the initiator's expected data transfer length does not fit the CDB.
Sense wrong_data_out_length(std::uint64_t length, std::uint64_t expected);

}  // namespace scsi
