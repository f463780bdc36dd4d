// The commands of the program: one table row each, one body each.
// Thread: one.
#pragma once

#include <span>
#include <string_view>

#include "fsctl/options.h"
#include "fsctl/output.h"

namespace fsctl {

struct Command {
  std::wstring_view name;
  std::span<const std::wstring_view> operands;
  std::span<const std::span<const OptionRow>> options;
  std::wstring_view help;
  /// Fills the record; a refusal by the system is an exit code, not an exception.
  ExitCode (*body)(const Arguments&, Record&);
};

std::span<const Command> commands();

/// One offloaded request or one range of a copy, also used by `copy`.
ExitCode offload_read(const Arguments& arguments, Record& record);
ExitCode offload_write(const Arguments& arguments, Record& record);
ExitCode copy(const Arguments& arguments, Record& record);

}  // namespace fsctl
