// The sub-commands of odx, one file each. Each adds itself to the command line and, when it was chosen, sets `run`.
// Thread: main's.
#pragma once

#include <functional>

#include "cli/host_side.h"

namespace CLI {
class App;
class Validator;
}  // namespace CLI

namespace cli {

using Run = std::function<Report()>;

/// Transforms what an option of type SIZE is given to bytes: a whole number, perhaps with K, M, G, T or P behind it.
CLI::Validator size();

void add_probe(CLI::App& app, const CommonOptions& common, Run& run);
void add_copy(CLI::App& app, const CommonOptions& common, Run& run);
void add_offload_read(CLI::App& app, const CommonOptions& common, Run& run);
void add_offload_write(CLI::App& app, const CommonOptions& common, Run& run);
void add_cp(CLI::App& app, const CommonOptions& common, Run& run);
void add_fsctl(CLI::App& app, const CommonOptions& common, Run& run);
void add_ls(CLI::App& app, const CommonOptions& common, Run& run);
void add_extents(CLI::App& app, const CommonOptions& common, Run& run);
void add_scenario(CLI::App& app, const CommonOptions& common, Run& run);
void add_ctl(CLI::App& app, const CommonOptions& common, Run& run);
/// `app` outlives the run, and has all other sub-commands by then.
void add_completion(CLI::App& app, const CommonOptions& common, Run& run);
/// `command` outlives the run.
void add_captive_run(CLI::App& app, const std::vector<std::string>& command, Run& run);

}  // namespace cli
