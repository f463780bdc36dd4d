// Bodies of the commands in primary_commands.cc, by file, and how many bytes their CDBs transfer.
#pragma once

#include "scsi/command_table.h"

namespace scsi {

// identifying_information.cc
std::expected<void, Sense> report_identifying_information(CommandContext& context);
std::expected<void, Sense> check_set_identifying_information(const CommandContext& context);
std::expected<void, Sense> set_identifying_information(CommandContext& context);
std::uint64_t identifying_information_length(const Task& task, const LogicalUnit* lu);

// inquiry.cc
std::expected<void, Sense> inquiry(CommandContext& context);
std::uint64_t inquiry_length(const Task& task, const LogicalUnit* lu);

// log_pages.cc
std::expected<void, Sense> log_sense(CommandContext& context);
std::uint64_t log_sense_length(const Task& task, const LogicalUnit* lu);
std::expected<void, Sense> log_select(CommandContext& context);

// mode_commands.cc
std::expected<void, Sense> mode_sense_6(CommandContext& context);
std::expected<void, Sense> mode_sense_10(CommandContext& context);
std::expected<void, Sense> mode_select_6(CommandContext& context);
std::expected<void, Sense> mode_select_10(CommandContext& context);
std::uint64_t mode_6_length(const Task& task, const LogicalUnit* lu);
std::uint64_t mode_10_length(const Task& task, const LogicalUnit* lu);

// report_commands.cc
std::expected<void, Sense> report_luns(CommandContext& context);
std::expected<void, Sense> report_supported_operation_codes(CommandContext& context);
std::expected<void, Sense> report_supported_task_management_functions(CommandContext& context);
std::uint64_t report_length(const Task& task, const LogicalUnit* lu);

// request_sense.cc
std::expected<void, Sense> request_sense(CommandContext& context);
std::uint64_t request_sense_length(const Task& task, const LogicalUnit* lu);

// target_port_group_commands.cc
std::expected<void, Sense> report_target_port_groups(CommandContext& context);
std::expected<void, Sense> check_set_target_port_groups(const CommandContext& context);
std::expected<void, Sense> set_target_port_groups(CommandContext& context);
std::uint64_t target_port_groups_length(const Task& task, const LogicalUnit* lu);
// send_diagnostic.cc
std::expected<void, Sense> send_diagnostic(CommandContext& context);

}  // namespace scsi
