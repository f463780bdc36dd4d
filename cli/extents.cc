#include <CLI/CLI.hpp>

#include <boost/json.hpp>
#include <memory>

#include "cli/exit_code.h"
#include "cli/sub_commands.h"
#include "cli/volumes.h"

namespace cli {

namespace json = boost::json;

namespace {

using host::NtStatus;

/// Where the stream lies, into `body`.
NtStatus describe(host::Volume& volume, const FileUrl& url, const std::string& place, json::object& body) {
  auto fail = [&body](NtStatus status, std::string_view why) {
    body["reason"] = why;
    return status;
  };
  if (volume.file_system() == nullptr) return fail(NtStatus::unrecognized_volume, not_ntfs(volume));
  auto stream = volume.file_system()->open({url.path, url.stream}, host::Disposition::open);
  if (!stream) return fail(stream.error(), why_not_opened(place, volume, stream.error()));
  if ((*stream)->kind().directory) return fail(NtStatus::file_is_a_directory, place + " is a directory");
  const host::StreamSizes sizes = (*stream)->sizes();
  auto extents = (*stream)->extents(0, ~0ull);
  if (!extents) return fail(extents.error(), "the extents cannot be read");
  const std::uint32_t cluster = volume.file_system()->information().cluster_length;
  const std::uint32_t block = volume.device().block_length();
  json::array rows;
  std::uint64_t allocated = 0, holes = 0;
  for (const host::Extent& extent : *extents) {
    json::object row{{"file_offset", extent.file_offset}, {"length", extent.length}};
    if (extent.volume_offset) {
      allocated += extent.length;
      row["lcn"] = *extent.volume_offset / cluster;
      row["volume_offset"] = *extent.volume_offset;
      row["lba"] = volume.device().on_disk(*extent.volume_offset, extent.length).offset / block;
      row["blocks"] = extent.length / block;
    } else {
      holes += extent.length;
      for (const char* none : {"lcn", "volume_offset", "lba", "blocks"}) row[none] = nullptr;
    }
    rows.push_back(std::move(row));
  }
  body["resident"] = (*stream)->kind().resident;
  body["end_of_file"] = sizes.end_of_file;
  body["valid_data_length"] = sizes.valid_data_length;
  body["cluster_length"] = cluster;
  body["block_length"] = block;
  body["extent_count"] = rows.size();
  body["allocated_bytes"] = allocated;
  body["hole_bytes"] = holes;
  body["extents"] = std::move(rows);
  return NtStatus::success;
}

Report extents(const CommonOptions& common, const std::string& text) {
  auto url = parse_file_url(text);
  if (!url) return failure("odx extents", NtStatus::object_name_invalid, url.error(), kUsage);
  if (url->local() || url->is_volume)
    return failure("odx extents", NtStatus::object_name_invalid,
                   does_not_fit(*url, "a file on a volume is named by iscsi://HOST:PORT/IQN/LUN#/PATH"), kUsage);
  HostSide host(common);
  Volumes volumes(host);
  const WantedVolume wanted{*url};
  auto opened = volumes.open(std::span(&wanted, 1));
  if (!opened) return std::move(opened.error());
  host::Volume& volume = *opened->front();
  host.begin_operation();
  Report report;
  report.show_commands = common.show_commands;
  const std::string place = volumes.text(*url, &volume);
  report.body = {{"program", "odx extents"}, {"ok", false}, {"file", place}, {"nt_status", nullptr}};
  const NtStatus status = describe(volume, *url, place, report.body);
  report.body["nt_status"] = to_json(status);
  report.body["ok"] = status == NtStatus::success;
  report.exit_code = exit_code_of(status);
  volumes.close();
  host.finish(report);
  return report;
}

}  // namespace

void add_extents(CLI::App& app, const CommonOptions& common, Run& run) {
  auto url = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("extents", "Show where a file on NTFS lies on its volume and disk");
  command->add_option("url", *url, "iscsi://HOST:PORT/IQN/LUN#[PARTITION]/PATH[:STREAM]")->required();
  command->callback([url, &common, &run] { run = [url, &common] { return extents(common, *url); }; });
}

}  // namespace cli
