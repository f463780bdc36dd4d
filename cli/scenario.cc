#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

#include "cli/binary_file.h"
#include "cli/exit_code.h"
#include "cli/ntfs.h"
#include "cli/sub_commands.h"
#include "scenario/control_client.h"
#include "scenario/output.h"

namespace cli {

namespace {

struct ScenarioOptions {
  std::vector<std::string> paths;
  scenario::RunOptions run;
  scenario::OutputOptions output;
  std::vector<std::string> parameters;
  std::string image_dir;
  std::vector<std::string> volumes;
  std::optional<double> timeout_s;
  std::uint64_t memory = scenario::ScriptLimits{}.memory_bytes;
  std::string token_file;
  bool list = false;
  bool tap = false;
  std::string junit;
  std::string journal;
};

/// "KEY=VALUE" each. Throws std::invalid_argument.
std::map<std::string, std::string> pairs(const std::vector<std::string>& texts, std::string_view option,
                                         std::string_view expected) {
  std::map<std::string, std::string> found;
  for (const std::string& each : texts) {
    const std::size_t at = each.find('=');
    if (at == 0 || at == std::string::npos)
      throw std::invalid_argument(fmt::format("{} is \"{}\"; expected {}", option, each, expected));
    found[each.substr(0, at)] = each.substr(at + 1);
  }
  return found;
}

/// Throws std::invalid_argument.
scenario::FileAccess files_of(const ScenarioOptions& options) {
  scenario::FileAccess files{options.image_dir, pairs(options.volumes, "--volume", "NAME=FILE"), ntfs_mounter()};
  for (const auto& [name, path] : files.volumes)
    if (std::error_code error; !std::filesystem::is_regular_file(path, error))
      throw std::invalid_argument(fmt::format("--volume {}: there is no file \"{}\"", name, path));
  return files;
}

/// Of an odxd that runs: it is there for one scenario at a time, and people at hosts take their time. Throws
/// std::invalid_argument for a token that is not there.
void read_live(ScenarioOptions& options) {
  scenario::LiveOptions& live = options.run.script.live;
  const bool runs = !live.control.empty() && live.control != scenario::kOwnOdxd;
  options.run.timeout =
      std::chrono::milliseconds(static_cast<std::int64_t>(options.timeout_s.value_or(runs ? 3600 : 60) * 1000));
  if (!runs) return;
  options.run.jobs = 1;
  live.token = scenario::control_token(options.token_file);
}

Report usage(const std::string& why) {
  fmt::print(stderr, "{}\n", why);
  Report report;
  report.exit_code = kUsage;
  report.silent = true;
  return report;
}

Report finished(const std::string& text, int exit_code) {
  fmt::print("{}", text);
  Report report;
  report.exit_code = exit_code;
  report.silent = true;
  return report;
}

Report list(const CommonOptions& common, const scenario::Selection& selection) {
  Report report;
  std::string text;
  boost::json::array scenarios;
  for (const scenario::Selected& each : selection.scenarios) {
    const std::string& file = selection.scripts.at(each.script).name;
    text += fmt::format("{}: {}\n", file, each.name);
    scenarios.push_back(boost::json::object{{"file", file}, {"name", each.name}});
  }
  if (!common.json) return finished(text, kOk);
  report.body["scenarios"] = std::move(scenarios);
  return report;
}

Report json_report(const std::vector<scenario::Result>& results, std::uint64_t seed) {
  Report report;
  const scenario::Totals sum = scenario::totals(results);
  boost::json::array list;
  for (const scenario::Result& each : results) {
    boost::json::array events;
    for (const std::string& line : each.verdict.timeline) events.push_back(boost::json::string(line));
    list.push_back(boost::json::object{{"file", each.file},
                                       {"name", each.name},
                                       {"verdict", scenario::word(each.verdict.kind)},
                                       {"message", each.verdict.message},
                                       {"array_seconds", each.verdict.virtual_seconds},
                                       {"seconds", each.seconds},
                                       {"events", std::move(events)}});
  }
  report.body = {{"seed", seed},
                 {"passed", sum.passed},
                 {"failed", sum.failed},
                 {"skipped", sum.skipped},
                 {"scenarios", std::move(list)}};
  return report;
}

void save(const std::string& path, const std::string& text) {
  if (!write_file(path, base::bytes_of(text))) throw std::runtime_error(fmt::format("{} cannot be written", path));
}

/// A line that names each scenario, before its events.
std::string journal_lines(const std::vector<scenario::Result>& results) {
  std::string text;
  for (const scenario::Result& each : results) {
    const boost::json::object start{{"kind", "scenario"}, {"file", each.file}, {"name", each.name}};
    text += boost::json::serialize(start) + "\n";
    for (const std::string& event : each.verdict.journal) text += event + "\n";
  }
  return text;
}

Report run_scenarios(const CommonOptions& common, ScenarioOptions& options) {
  options.run.script.journal = !options.journal.empty();
  options.run.script.limits.memory_bytes = options.memory;
  scenario::Selection selection;
  try {
    options.run.script.parameters = pairs(options.parameters, "--param", "KEY=VALUE");
    options.run.script.files = files_of(options);
    read_live(options);
    selection = scenario::select(options.paths, options.run);
  } catch (const std::invalid_argument& error) {
    return usage(error.what());
  } catch (const scenario::ScriptError& error) {
    return usage(error.what());
  }
  if (options.list) return list(common, selection);
  if (selection.scenarios.empty()) return usage(fmt::format("no scenario contains \"{}\"", options.run.filter));

  const std::vector<scenario::Result> results = scenario::run(selection, options.run);
  const std::uint64_t seed = options.run.script.seed;
  const int exit_code = scenario::totals(results).failed == 0 ? kOk : kFailed;
  if (!options.junit.empty()) save(options.junit, scenario::junit_of(results, seed, options.output));
  if (!options.journal.empty()) save(options.journal, journal_lines(results));
  if (common.json) {
    Report report = json_report(results, seed);
    report.exit_code = exit_code;
    return report;
  }
  if (options.tap) return finished(scenario::tap_of(results, seed, options.output), exit_code);
  return finished(scenario::text_of(results, options.output), exit_code);
}

void add_selection(CLI::App& command, ScenarioOptions& options) {
  command.add_option("path", options.paths, "Lua files, or folders of them")->required();
  command.add_option("--filter", options.run.filter, "only scenarios whose line in the list contains this text");
  command.add_option("--param", options.parameters, "a value for scripts: param.KEY (may be repeated)")
      ->type_name("KEY=VALUE")
      ->take_all();
}

void add_limits(CLI::App& command, ScenarioOptions& options) {
  command.add_option("--seed", options.run.script.seed, "of all that is random")->capture_default_str();
  command.add_option("--jobs", options.run.jobs, "scenarios at once; each has a process of its own")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command
      .add_option("--timeout", options.timeout_s,
                  "seconds after which a scenario is stopped (default: 60; with --live URL an hour)")
      ->check(CLI::Range(0.001, 86400.0));
  command.add_option("--instructions", options.run.script.limits.instructions, "of Lua, for one scenario at most")
      ->capture_default_str();
  command.add_option("--memory", options.memory, "of Lua, for one scenario at most")
      ->capture_default_str()
      ->transform(size())
      ->type_name("SIZE");
  command
      .add_option("--image-dir", options.image_dir,
                  "a folder whose files scripts may use as disks (default: scripts open no file)")
      ->check(CLI::ExistingDirectory);
  command
      .add_option("--volume", options.volumes,
                  "a file with the bytes of an NTFS volume, which scripts may put on disks: image = \"NAME\" (may be "
                  "repeated)")
      ->type_name("NAME=FILE")
      ->take_all();
}

}  // namespace

void add_scenario(CLI::App& app, const CommonOptions& common, Run& run) {
  auto options = std::make_shared<ScenarioOptions>();
  options->run.jobs = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  CLI::App* command =
      app.add_subcommand("scenario", "Scripts that play arrays, hosts and time, and say what has to come of it");
  command->require_subcommand(1);
  CLI::App* of_run = command->add_subcommand("run", "Run scenarios");
  add_selection(*of_run, *options);
  add_limits(*of_run, *options);
  of_run->add_option("--live", options->run.script.live.control,
                     "arrays over the network: the control URL of an odxd that runs, or \"odxd\": one for each array");
  of_run->add_option("--odxd", options->run.script.live.odxd, "the program of --live odxd")->type_name("PATH");
  of_run->add_option("--token-file", options->token_file, "a file whose first line is the token that TCP asks for");
  of_run->add_flag("--list", options->list, "only name them");
  of_run->add_flag("--tap", options->tap, "the results in the Test Anything Protocol");
  of_run->add_option("--junit", options->junit, "a file for the results in JUnit's XML, besides");
  of_run->add_option("--journal", options->journal, "a file for all events of the arrays' journal, as JSON lines");
  of_run->add_flag("--events", options->output.all_events,
                   "all events of each scenario, not only the last of failures");
  CLI::App* of_list = command->add_subcommand("list", "Name scenarios");
  add_selection(*of_list, *options);
  auto chosen = [options, &common, &run] { run = [options, &common] { return run_scenarios(common, *options); }; };
  of_run->callback(chosen);
  of_list->callback([options, chosen] {
    options->list = true;
    chosen();
  });
}

}  // namespace cli
