// Rows of the third-party copy commands, and the bodies of those that abort an operation or receive its results (SPC-4
// 6.24, 6.26).
//
// Originating commands have files of their own: token_commands (POPULATE TOKEN, WRITE USING TOKEN) and extended_copy;
// the other results are read in copy_receive_commands. Results are written in copy_results. Thread: the loop's.
#pragma once

#include <span>

#include "scsi/command_table.h"

namespace scsi {

std::span<const CommandDescriptor> copy_commands();

}  // namespace scsi
