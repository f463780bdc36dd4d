#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <optional>

#include "cli/exit_code.h"
#include "cli/progress_bar.h"
#include "cli/sub_commands.h"
#include "host/offload_copy.h"

namespace cli {

namespace {

struct CopyOptions {
  std::string source;
  std::string destination;
  std::uint64_t offset = 0;
  std::uint64_t destination_offset = 0;
  std::optional<std::uint64_t> length;
  std::uint32_t time_to_live = 0;
  bool fallback = false;
};

Report copy(const CommonOptions& common, const CopyOptions& options) {
  HostSide host(common);
  auto source = host.open(options.source);
  if (!source) return source.error();
  auto destination = host.open(options.destination);
  if (!destination) return destination.error();
  const host::Disk& from = (*source)->driver->disk();
  const host::Disk& to = (*destination)->driver->disk();
  if (options.offset > from.bytes() || options.destination_offset > to.bytes())
    return failure("odx copy", host::NtStatus::nonexistent_sector, "the offset is beyond the disk", kUsage);
  host::CopyRequest request{options.offset, options.destination_offset,
                            options.length.value_or(from.bytes() - options.offset), options.time_to_live,
                            options.fallback};
  if (request.length > from.bytes() - options.offset || request.length > to.bytes() - options.destination_offset)
    return failure("odx copy", host::NtStatus::nonexistent_sector,
                   fmt::format("{} bytes do not fit: the source has {} after its offset, the destination {}",
                               request.length, from.bytes() - options.offset, to.bytes() - options.destination_offset),
                   kUsage);

  host.begin_operation();
  const base::TimePoint started = host.clock().now();
  host::CopyOutcome outcome;
  {
    ProgressBar bar(request.length);
    outcome = host::copy(*(*source)->driver, *(*destination)->driver, request,
                         [&bar](std::uint64_t done) { bar.show(done); });
  }
  const double seconds = std::chrono::duration<double>(host.clock().now() - started).count();
  const std::uint64_t copied = outcome.offloaded_bytes + outcome.fallback_bytes;
  Report report;
  report.exit_code = exit_code_of(outcome.status);
  report.show_commands = common.show_commands;
  report.body = {{"program", "odx copy"},
                 {"ok", outcome.status == host::NtStatus::success},
                 {"source", (*source)->url},
                 {"destination", (*destination)->url},
                 {"nt_status", to_json(outcome.status)},
                 {"offload_nt_status", to_json(outcome.offload_status)},
                 {"reason", outcome.reason},
                 {"requested_bytes", request.length},
                 {"copied_bytes", copied},
                 {"offloaded_bytes", outcome.offloaded_bytes},
                 {"fallback_bytes", outcome.fallback_bytes},
                 {"tokens", outcome.tokens},
                 {"mib_per_second", seconds > 0 ? static_cast<double>(copied >> 20) / seconds : 0.0}};
  host.finish(report);
  return report;
}

}  // namespace

void add_copy(CLI::App& app, const CommonOptions& common, Run& run) {
  auto options = std::make_shared<CopyOptions>();
  CLI::App* command = app.add_subcommand("copy", "Copy a disk, or a range of one, to another as Windows does");
  command->add_option("source", options->source, "URL of the disk to copy from")->required();
  command->add_option("destination", options->destination, "URL of the disk to copy to")->required();
  command->add_option("--offset", options->offset, "first byte to copy (suffixes K, M, G, T; default 0)")
      ->transform(size())
      ->type_name("SIZE");
  command->add_option("--dst-offset", options->destination_offset, "where it goes (default 0)")
      ->transform(size())
      ->type_name("SIZE");
  command->add_option("--length", options->length, "bytes to copy (default: all that follows the offset)")
      ->transform(size())
      ->type_name("SIZE");
  command->add_option("--ttl", options->time_to_live,
                      "inactivity timeout of each token, in seconds (default 0: the disk's default)");
  command->add_flag("--fallback", options->fallback,
                    "after an error copy the rest with READ and WRITE, as a Windows program would");
  command->callback([options, &common, &run] { run = [options, &common] { return copy(common, *options); }; });
}

}  // namespace cli
