// Bodies of the commands that fill, free and ask about blocks: WRITE SAME, UNMAP, GET LBA STATUS.
//
// Unmapping exists on thin logical units only (LBPME, VPD B2h); there unmapped blocks read as zeros (LBPRZ). Nothing
// can be anchored (ANC_SUP 0). Thread: the loop's; store work where CommandContext::start() runs it.
#pragma once

#include "scsi/command_table.h"

namespace scsi {

/// WRITE SAME (10), (16). NUMBER OF LOGICAL BLOCKS 0 is up to the end (WSNZ 0). UNMAP deallocates where the block is
/// all zeros, and writes where it is not (SBC-3: LBPRZ 1). NDOB is a block of zeros. 05/24/00 WRPROTECT; UNMAP on a
/// logical unit that is not thin; more than MAXIMUM WRITE SAME LENGTH. 05/21/00. 05/0E/03 unless exactly one block
/// comes.
std::expected<void, Sense> check_write_same(const CommandContext& context);
std::expected<void, Sense> write_same(CommandContext& context);
std::uint64_t write_same_length(const Task& task, const LogicalUnit* lu);

/// UNMAP. Nothing is unmapped unless every descriptor is good. 05/20/00 on a logical unit that is not thin; 05/1A/00
/// when the list ends inside its header or is shorter than the CDB says; 05/26/00 at the field that exceeds a limit of
/// VPD B0h; 05/21/00. A descriptor cut off by the PARAMETER LIST LENGTH is ignored (SBC-3).
std::expected<void, Sense> check_unmap(const CommandContext& context);
std::expected<void, Sense> unmap(CommandContext& context);
std::uint64_t unmap_length(const Task& task, const LogicalUnit* lu);

/// GET LBA STATUS: runs of mapped and deallocated blocks from STARTING LOGICAL BLOCK ADDRESS on, as many as the
/// ALLOCATION LENGTH holds, 512 at most. A block with any mapped byte is mapped. 05/21/00 at or beyond the capacity.
std::expected<void, Sense> get_lba_status(CommandContext& context);

}  // namespace scsi
