// Rows of the command table: block device commands (SBC-3).
#pragma once

#include <span>

#include "scsi/command_table.h"

namespace scsi {

std::span<const CommandDescriptor> block_commands();

}  // namespace scsi
