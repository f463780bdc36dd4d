// Bodies of the THIRD-PARTY COPY IN commands that go with EXTENDED COPY (SPC-4 6.20 to 6.25). Their data is encoded in
// copy_results; RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS(LID4) are copy_commands'. Thread: the loop's.
#pragma once

#include <expected>

#include "scsi/command_table.h"
#include "scsi/sense.h"

namespace scsi {

// Errors of the first four: 05/24/00 at LIST IDENTIFIER when no such operation is known to the I_T nexus, or what is
// asked for was delivered, or (but for the status) while it is being processed.
std::expected<void, Sense> receive_copy_status_lid1(CommandContext& context);
std::expected<void, Sense> receive_copy_data_lid1(CommandContext& context);
std::expected<void, Sense> receive_copy_data_lid4(CommandContext& context);
std::expected<void, Sense> receive_copy_failure_details(CommandContext& context);

std::expected<void, Sense> receive_copy_operating_parameters(CommandContext& context);
std::expected<void, Sense> report_all_rod_tokens(CommandContext& context);

}  // namespace scsi
