// Rows of the command table: commands of every device type (SPC-4 6).
#pragma once

#include <span>

#include "scsi/command_table.h"

namespace scsi {

std::span<const CommandDescriptor> primary_commands();

}  // namespace scsi
