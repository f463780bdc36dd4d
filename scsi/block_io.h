// Bodies of the commands that move or compare blocks: READ, WRITE, VERIFY, WRITE AND VERIFY, ORWRITE, COMPARE AND
// WRITE, SYNCHRONIZE CACHE, PRE-FETCH.
//
// A volatile cache in front of the medium is what a store's flush() empties: FUA and the verify commands go through it
// first. Thread: the loop's; store work where CommandContext::start() runs it.
#pragma once

#include "scsi/command_table.h"

namespace scsi {

/// READ (6), (10), (12), (16). 05/24/00 RDPROTECT, or more than MAXIMUM TRANSFER LENGTH; 05/21/00.
std::expected<void, Sense> read_blocks(CommandContext& context);
std::uint64_t read_length(const Task& task, const LogicalUnit* lu);

/// WRITE (6), (10), (12), (16). Errors as READ, and 05/0E/03 when the initiator's expected data transfer length ends
/// inside a block; one that is short by whole blocks writes the blocks there are, and the transport reports the
/// residual overflow (RFC 7143, 11.4.5). FUA is answered after a flush.
std::expected<void, Sense> check_write(const CommandContext& context);
std::expected<void, Sense> write_blocks(CommandContext& context);
std::uint64_t write_length(const Task& task, const LogicalUnit* lu);

/// WRITE AND VERIFY (10), (12), (16): written, flushed, read back, and with BYTCHK 1 compared (0E/1D/00).
std::expected<void, Sense> write_and_verify(CommandContext& context);

/// ORWRITE (16): each bit of the range becomes one where it is one on the medium or in the Data-Out Buffer; nothing on
/// the range comes between read and write (SBC-3). Errors, FUA and short data as WRITE.
std::expected<void, Sense> or_write(CommandContext& context);

/// What WRITE ATOMIC is held to, in blocks; VPD page B0h says it. Atomic writes are of whole physical blocks. `most` 0:
/// there is none. Only a store that changes at once, on the loop's thread, and is gone with the process has it: a file
/// may be caught between two pages.
struct AtomicWriteLimits {
  std::uint64_t most = 0;
  std::uint64_t granularity = 1;  ///< of LOGICAL BLOCK ADDRESS and TRANSFER LENGTH
};
AtomicWriteLimits atomic_write_limits(const LogicalUnit& lu, const DeviceProfile& profile);

/// WRITE ATOMIC (16): all of the data or none, also when the store fails. Errors as WRITE, and 05/24/00 at LOGICAL
/// BLOCK ADDRESS, ATOMIC BOUNDARY and TRANSFER LENGTH that are not what VPD B0h says, 05/0E/03 unless exactly what the
/// CDB asks for comes. All boundaries are kept, since the whole is (SBC-4).
std::expected<void, Sense> check_write_atomic(const CommandContext& context);
std::expected<void, Sense> write_atomic(CommandContext& context);

/// VERIFY (10), (12), (16). BYTCHK 0 reads what is mapped; 1 compares with as many blocks, 3 with one block, of the
/// Data-Out Buffer: 0E/1D/00. BYTCHK 2 is reserved: 05/24/00. Unmapped blocks compare as the zeros they read as
/// (VBULS).
std::expected<void, Sense> check_verify(const CommandContext& context);
std::expected<void, Sense> verify_blocks(CommandContext& context);
std::uint64_t verify_length(const Task& task, const LogicalUnit* lu);

/// COMPARE AND WRITE: nothing on the range comes between compare and write. 0E/1D/00 with the offset of the first
/// unequal byte in INFORMATION, nothing written; 05/24/00 at NUMBER OF LOGICAL BLOCKS above the limit of VPD B0h, or
/// when the initiator announces more data than that; 05/0E/03 unless exactly two times that many blocks come. None at
/// all is no error (SBC-3).
std::expected<void, Sense> check_compare_and_write(const CommandContext& context);
std::expected<void, Sense> compare_and_write(CommandContext& context);
std::uint64_t compare_and_write_length(const Task& task, const LogicalUnit* lu);

/// SYNCHRONIZE CACHE (10), (16). 05/21/00; NUMBER OF LOGICAL BLOCKS 0 is up to the end.
/// DEVIATION: IMMED is not early; status says that the data is on the medium, as every host hopes it does.
std::expected<void, Sense> synchronize_cache(CommandContext& context);

/// PRE-FETCH (10), (16): GOOD, never CONDITION MET: there is no cache of ours that could hold the blocks (SBC-3).
std::expected<void, Sense> pre_fetch(CommandContext& context);

}  // namespace scsi
