#include <fmt/chrono.h>
#include <fmt/format.h>
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

struct LsOptions {
  std::string url;
  bool streams = false;
};

struct Flag {
  std::uint32_t bit;
  char letter;
};
/// MS-FSCC 2.6, with the letters of Windows' attrib where it has them.
constexpr Flag kAttributes[] = {{host::kFileAttributeReadonly, 'R'},
                                {host::kFileAttributeHidden, 'H'},
                                {host::kFileAttributeSystem, 'S'},
                                {host::kFileAttributeArchive, 'A'},
                                {host::kFileAttributeSparseFile, 'P'},
                                {host::kFileAttributeReparsePoint, 'L'},
                                {host::kFileAttributeCompressed, 'C'},
                                {host::kFileAttributeOffline, 'O'},
                                {host::kFileAttributeNotContentIndexed, 'I'},
                                {host::kFileAttributeEncrypted, 'E'}};

std::string attribute_letters(std::uint32_t attributes) {
  std::string text;
  for (const Flag& flag : kAttributes)
    if ((attributes & flag.bit) != 0) text += flag.letter;
  return text.empty() ? "-" : text;
}

json::array kind_words(const host::StreamKind& kind) {
  json::array words;
  for (const auto& [is, word] :
       {std::pair(kind.directory, "directory"), std::pair(kind.metadata, "metadata"), std::pair(kind.sparse, "sparse"),
        std::pair(kind.compressed, "compressed"), std::pair(kind.encrypted, "encrypted"),
        std::pair(kind.resident, "resident"), std::pair(kind.deduplicated, "deduplicated"),
        std::pair(kind.transacted, "transacted")})
    if (is) words.push_back(word);
  return words;
}

std::string kind_text(const json::array& words) {
  std::string text;
  for (const json::value& word : words) text += (text.empty() ? "" : ",") + std::string(word.get_string());
  return text.empty() ? "-" : text;
}

/// 100 ns since 1601 as "2026-11-20 10:00:00" UTC.
std::string time_text(std::uint64_t time) {
  using host::kSecondsFrom1601To1970;
  const std::uint64_t seconds = time / host::kFileTimeTicksPerSecond;
  if (seconds < kSecondsFrom1601To1970) return "-";
  constexpr std::uint64_t kYear10000 = 253'402'300'800;
  if (seconds - kSecondsFrom1601To1970 >= kYear10000) return "-";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(static_cast<std::time_t>(seconds - kSecondsFrom1601To1970)));
}

class Ls {
 public:
  Ls(const CommonOptions& common, const LsOptions& options)
      : common_(common), options_(options), host_(common), volumes_(host_) {}

  Report run() {
    auto url = parse_file_url(options_.url);
    if (!url) return failure("odx ls", NtStatus::object_name_invalid, url.error(), kUsage);
    if (url->local())
      return failure("odx ls", NtStatus::object_name_invalid,
                     does_not_fit(*url, "expected iscsi://HOST:PORT/IQN/LUN[#[PARTITION][/PATH]]"), kUsage);
    return url->is_volume ? disk(*url) : files(*url);
  }

 private:
  Report disk(const FileUrl& url) {
    auto opened = host_.open(url.disk);
    if (!opened) return std::move(opened.error());
    host::ClassDriver& driver = *(*opened)->driver;
    host_.begin_operation();
    auto table = host::read_partition_table(driver);
    host::NtResult<json::array> rows = table ? partitions_json(driver, *table) : std::unexpected(table.error());
    const NtStatus status = rows ? NtStatus::success : rows.error();
    Report report = about((*opened)->url, status, status == NtStatus::success ? "" : "the disk cannot be read");
    if (rows) {
      constexpr std::string_view kStyles[] = {"none", "MBR", "GPT"};
      report.body["partition_table"] = kStyles[static_cast<std::size_t>(table->style)];
      report.body["length_bytes"] = driver.disk().bytes();
      report.body["block_length"] = driver.disk().block_length;
      if (!table->problems.empty()) {
        json::array problems;
        for (const std::string& problem : table->problems) problems.push_back(json::object{{"problem", problem}});
        report.body["problems"] = std::move(problems);
      }
      json::array shown;
      for (json::value& row : *rows)
        if (!url.partition || row.at("number").to_number<unsigned>() == *url.partition) shown.push_back(std::move(row));
      report.body["volumes"] = std::move(shown);
    }
    host_.finish(report);
    return report;
  }

  Report files(const FileUrl& url) {
    const WantedVolume wanted{url};
    auto opened = volumes_.open(std::span(&wanted, 1));
    if (!opened) return std::move(opened.error());
    host::Volume& volume = *opened->front();
    host_.begin_operation();
    json::array rows;
    const NtStatus status =
        volume.file_system() == nullptr ? NtStatus::unrecognized_volume : collect(*volume.file_system(), url, rows);
    const std::string place = volumes_.text(url, &volume);
    Report report = about(place, status, status == NtStatus::success ? "" : why_not_opened(place, volume, status));
    if (volume.file_system() != nullptr) {
      const host::FileSystem::Information information = volume.file_system()->information();
      report.body["volume"] = json::object{{"file_system", information.name},
                                           {"label", information.label},
                                           {"serial", fmt::format("{:016X}", information.serial)},
                                           {"sector_length", information.sector_length},
                                           {"cluster_length", information.cluster_length},
                                           {"free_bytes", information.free_bytes}};
    }
    if (!rows.empty()) report.body["files"] = std::move(rows);
    volumes_.close();
    host_.finish(report);
    return report;
  }

  NtStatus collect(host::FileSystem& file_system, const FileUrl& url, json::array& rows) {
    auto stream = file_system.open({url.path, url.stream}, host::Disposition::open);
    if (!stream) return stream.error();
    if (!(*stream)->kind().directory) {
      const std::string name = url.path.substr(url.path.rfind('/') + 1);
      add(rows, url.stream.empty() ? name : name + ":" + url.stream, **stream);
      if (url.stream.empty()) add_streams(file_system, url.path, name, **stream, rows);
      return NtStatus::success;
    }
    stream->reset();
    auto entries = file_system.list(url.path);
    if (!entries) return entries.error();
    std::ranges::sort(*entries, {}, &host::DirectoryEntry::name);
    for (const host::DirectoryEntry& entry : *entries) {
      const std::string path = url.path.empty() ? entry.name : url.path + "/" + entry.name;
      auto opened = file_system.open({path}, host::Disposition::open);
      const NtStatus status = opened ? entry.status : opened.error();
      if (status != NtStatus::success) {
        rows.push_back(row(entry.name, entry.sizes, entry.basic, {std::string(name(status))}));
        continue;
      }
      add(rows, entry.name, **opened);
      add_streams(file_system, path, entry.name, **opened, rows);
    }
    return NtStatus::success;
  }

  void add_streams(host::FileSystem& file_system, const std::string& path, const std::string& name,
                   host::FileStream& file, json::array& rows) const {
    if (!options_.streams) return;
    auto names = file.stream_names();
    if (!names) return;
    for (const std::string& each : *names) {
      if (each.empty()) continue;
      if (auto stream = file_system.open({path, each}, host::Disposition::open)) add(rows, name + ":" + each, **stream);
    }
  }

  void add(json::array& rows, const std::string& name, const host::FileStream& stream) const {
    rows.push_back(row(name, stream.sizes(), stream.basic_information(), kind_words(stream.kind())));
  }

  json::object row(const std::string& name, const host::StreamSizes& sizes, const host::BasicInformation& basic,
                   const json::array& kind) const {
    json::object object{
        {"size", sizes.end_of_file}, {"valid_data_length", sizes.valid_data_length}, {"allocation", sizes.allocation}};
    if (common_.json)
      object["attributes"] = basic.attributes;
    else
      object["attributes"] = attribute_letters(basic.attributes);
    if (common_.json)
      object["kind"] = kind;
    else
      object["kind"] = kind_text(kind);
    object["last_write"] = time_text(basic.last_write_time);
    if (common_.json) object["last_write_time"] = basic.last_write_time;
    object["name"] = name;
    return object;
  }

  Report about(const std::string& what, NtStatus status, const std::string& why) const {
    Report report;
    report.exit_code = exit_code_of(status);
    report.show_commands = common_.show_commands;
    report.body = {{"program", "odx ls"},
                   {"ok", status == NtStatus::success},
                   {"place", what},
                   {"nt_status", to_json(status)},
                   {"reason", why}};
    return report;
  }

  const CommonOptions& common_;
  const LsOptions& options_;
  HostSide host_;
  Volumes volumes_;
};

}  // namespace

void add_ls(CLI::App& app, const CommonOptions& common, Run& run) {
  auto options = std::make_shared<LsOptions>();
  CLI::App* command = app.add_subcommand("ls", "List a directory on NTFS, or the volumes of a disk");
  command
      ->add_option("url", options->url, "iscsi://HOST:PORT/IQN/LUN#[PARTITION]/PATH; without /PATH the disk's volumes")
      ->required();
  command->add_flag("--streams", options->streams, "named streams too");
  command->callback([options, &common, &run] { run = [options, &common] { return Ls(common, *options).run(); }; });
}

}  // namespace cli
