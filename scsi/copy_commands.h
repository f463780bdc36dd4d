// Rows of the command table: third-party copy commands (SPC-4 6.3, SBC-3 5.23).
#pragma once

#include <span>

#include "scsi/command_table.h"

namespace scsi {

std::span<const CommandDescriptor> copy_commands();

}  // namespace scsi
