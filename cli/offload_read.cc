#include <CLI/CLI.hpp>

#include <boost/json.hpp>
#include <fstream>
#include <memory>
#include <optional>

#include "cli/binary_file.h"
#include "cli/exit_code.h"
#include "cli/sub_commands.h"

namespace cli {

namespace {

struct OffloadReadOptions {
  std::string url;
  std::string token_file;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  std::uint32_t time_to_live = 0;
};

Report offload_read(const CommonOptions& common, const OffloadReadOptions& options) {
  HostSide host(common);
  auto disk = host.open(options.url);
  if (!disk) return disk.error();
  host::ClassDriver& driver = *(*disk)->driver;
  const std::uint64_t end = driver.disk().bytes();
  const host::DataSetRange range{options.offset, options.length.value_or(end - std::min(end, options.offset))};
  host.begin_operation();
  host::OffloadReadResult result = driver.offload_read(std::span(&range, 1), options.time_to_live);
  Report report;
  report.exit_code = exit_code_of(result.status);
  report.show_commands = true;
  report.body = {{"program", "odx offload-read"},
                 {"ok", result.status == host::NtStatus::success},
                 {"disk", (*disk)->url},
                 {"nt_status", to_json(result.status)},
                 {"reason", result.reason},
                 {"requested_bytes", range.length},
                 {"protected_bytes", result.length_protected},
                 {"range_truncated", result.range_truncated}};
  if (result.status == host::NtStatus::success) {
    report.body["token_file"] = options.token_file;
    if (!write_file(options.token_file, result.token)) {
      report.body["ok"] = false;
      report.body["reason"] = "cannot write " + options.token_file;
      report.exit_code = kFailed;
    }
  }
  host.finish(report);
  return report;
}

}  // namespace

void add_offload_read(CLI::App& app, const CommonOptions& common, Run& run) {
  auto options = std::make_shared<OffloadReadOptions>();
  CLI::App* command =
      app.add_subcommand("offload-read", "Make a token for a range (POPULATE TOKEN) and keep it in a file");
  command->add_option("url", options->url, "URL of the disk")->required();
  command->add_option("--token", options->token_file, "file for the 512 bytes of the token")->required();
  command->add_option("--offset", options->offset, "first byte (suffixes K, M, G, T; default 0)")
      ->transform(size())
      ->type_name("SIZE");
  command->add_option("--length", options->length, "bytes (default: all that follows the offset)")
      ->transform(size())
      ->type_name("SIZE");
  command->add_option("--ttl", options->time_to_live,
                      "inactivity timeout of the token, in seconds (default 0: the disk's default)");
  command->callback([options, &common, &run] { run = [options, &common] { return offload_read(common, *options); }; });
}

}  // namespace cli
