// Rows and bodies of the third-party copy commands: POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION
// and RECEIVE COPY STATUS(LID4) (SBC-4 5.12, 5.25, 5.59; SPC-4 6.24).
//
// Lists are read in copy_parameter_list, results written in copy_results, tokens judged in tokens/; here they meet the
// stores. Thread: the loop's, except store work.
#pragma once

#include <span>

#include "scsi/command_table.h"

namespace scsi {

std::span<const CommandDescriptor> copy_commands();

}  // namespace scsi
