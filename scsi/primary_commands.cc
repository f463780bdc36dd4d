#include "scsi/primary_commands.h"

namespace scsi {
namespace {

/// SPC-4 6.47: the gates answer for a logical unit that is not ready.
std::expected<void, Sense> test_unit_ready(CommandContext&) { return {}; }

constexpr CommandDescriptor kRows[] = {
    {.name = "TEST UNIT READY",
     .opcode = 0x00,
     .cdb_length = 6,
     .usage = {0x00, 0x00, 0x00, 0x00, 0x00, 0x00},
     .direction = DataDirection::none,
     .gates = {},
     .transfer_length = nullptr,
     .body = test_unit_ready},
};

}  // namespace

std::span<const CommandDescriptor> primary_commands() { return kRows; }

}  // namespace scsi
