// Bodies of the commands that move or compare blocks: READ, WRITE, VERIFY, WRITE AND VERIFY, COMPARE AND WRITE,
// SYNCHRONIZE CACHE, PRE-FETCH.
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
