#include <CLI/CLI.hpp>

#include <boost/json.hpp>
#include <expected>
#include <memory>

#include "cli/binary_file.h"
#include "cli/exit_code.h"
#include "cli/sub_commands.h"

namespace cli {

namespace {

constexpr std::string_view kZero = "zero";

struct OffloadWriteOptions {
  std::string url;
  std::string token;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t token_offset = 0;
};

std::expected<host::Token, std::string> read_token(const std::string& name) {
  if (name == kZero) return host::zero_token();
  const auto bytes = read_file(name);
  host::Token token;
  if (!bytes || bytes->size() != token.size()) return std::unexpected(name + " is not a file of 512 bytes");
  std::ranges::copy(*bytes, token.begin());
  return token;
}

Report offload_write(const CommonOptions& common, const OffloadWriteOptions& options) {
  auto token = read_token(options.token);
  if (!token) return failure("odx offload-write", host::NtStatus::invalid_parameter, token.error(), kUsage);
  HostSide host(common);
  auto disk = host.open(options.url);
  if (!disk) return disk.error();
  const host::DataSetRange range{options.offset, options.length};
  host.begin_operation();
  host::OffloadWriteResult result = (*disk)->driver->offload_write(*token, options.token_offset, std::span(&range, 1));
  Report report;
  report.exit_code = exit_code_of(result.status);
  report.show_commands = true;
  report.body = {{"program", "odx offload-write"},
                 {"ok", result.status == host::NtStatus::success},
                 {"disk", (*disk)->url},
                 {"nt_status", to_json(result.status)},
                 {"reason", result.reason},
                 {"requested_bytes", range.length},
                 {"copied_bytes", result.length_copied},
                 {"range_truncated", result.range_truncated},
                 {"token_invalid", result.token_invalid}};
  host.finish(report);
  return report;
}

}  // namespace

void add_offload_write(CLI::App& app, const CommonOptions& common, Run& run) {
  auto options = std::make_shared<OffloadWriteOptions>();
  CLI::App* command = app.add_subcommand("offload-write", "Write what a token stands for (WRITE USING TOKEN)");
  command->add_option("url", options->url, "URL of the disk")->required();
  command->add_option("--token", options->token, "file with the token, or 'zero' for the well-known zero token")
      ->required();
  command->add_option("--offset", options->offset, "first byte to write (suffixes K, M, G, T; default 0)")
      ->transform(size())
      ->type_name("SIZE");
  command->add_option("--length", options->length, "bytes to write")->required()->transform(size())->type_name("SIZE");
  command->add_option("--token-offset", options->token_offset, "where in the token to begin (default 0)")
      ->transform(size())
      ->type_name("SIZE");
  command->callback([options, &common, &run] { run = [options, &common] { return offload_write(common, *options); }; });
}

}  // namespace cli
