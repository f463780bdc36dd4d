// Rows of the command table: block device commands (SBC-3). Bodies stand in block_io, block_provisioning and
// block_medium. Thread: any, nothing changes.
#pragma once

#include <span>

#include "scsi/command_table.h"

namespace scsi {

std::span<const CommandDescriptor> block_commands();

}  // namespace scsi
