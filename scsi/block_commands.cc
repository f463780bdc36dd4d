#include "scsi/block_commands.h"

namespace scsi {

std::span<const CommandDescriptor> block_commands() { return {}; }

}  // namespace scsi
