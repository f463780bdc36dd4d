#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <array>
#include <boost/json.hpp>
#include <csignal>
#include <memory>
#include <set>

#include "cli/exit_code.h"
#include "cli/file_tree.h"
#include "cli/progress_bar.h"
#include "cli/sub_commands.h"
#include "cli/volumes.h"
#include "host/file_copy.h"

namespace cli {

namespace json = boost::json;

namespace {

using host::NtStatus;

struct CpOptions {
  std::vector<std::string> names;  ///< the last one is the destination
  bool recursive = false;
  bool no_clobber = false;
  bool no_offload = false;
  bool explain = false;
  std::uint64_t minimum_offload = host::FileCopyOptions{}.minimum_offload;
};

volatile std::sig_atomic_t interrupted = 0;

/// The copy under way is called off, what is half there deleted, and the volumes unmounted. The same signal once more
/// ends the program at once. SIGHUP too, unless it is ignored (nohup).
class StopOnSignal {
 public:
  StopOnSignal() {
    struct sigaction stop{};
    stop.sa_handler = [](int) { interrupted = 1; };
    stop.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      sigaction(kSignals[i], nullptr, &before_[i]);
      if (kSignals[i] != SIGHUP || before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &stop, nullptr);
    }
  }
  ~StopOnSignal() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, kSignals.size()> before_{};
};

/// A file to copy, or a directory to make.
struct Job {
  TreePlace from;
  TreePlace to;
  std::string from_stream;
  std::string to_stream;
  bool directory = false;
  std::uint64_t size = 0;
};

/// Empty when it failed and nothing had been offloaded.
std::string why_text(const host::StreamOutcome& stream, bool failed) {
  if (stream.not_tried != host::NotTried::was_tried) return "not tried: " + stream.reason;
  if (stream.offload_status != NtStatus::success)
    return fmt::format("{}: {}", name(stream.offload_status), stream.reason);
  if (failed)
    return stream.offloaded_bytes == 0 ? "" : fmt::format("{} bytes offloaded before that", stream.offloaded_bytes);
  if (stream.zero_bytes == 0) return "offloaded";
  return stream.offloaded_bytes == 0 ? "nothing to move: no valid data"
                                     : fmt::format("offloaded; the last {} bytes are no valid data", stream.zero_bytes);
}

std::string failed_text(const std::string& reason, const host::StreamOutcome& stream) {
  const std::string before = why_text(stream, true);
  return "failed: " + reason + (before.empty() ? "" : "; " + before);
}

class Cp {
 public:
  Cp(const CommonOptions& common, const CpOptions& options)
      : common_(common), options_(options), host_(common), volumes_(host_), memory_(host_.clock()) {}

  Report run() {
    if (auto report = open()) return std::move(*report);
    host_.begin_operation();
    const StopOnSignal stop;
    for (std::size_t i = 0; i + 1 < urls_.size(); ++i) plan(i);
    copy_all();
    return finish();
  }

 private:
  std::optional<Report> open() {
    std::vector<WantedVolume> wanted;
    for (const std::string& text : options_.names) {
      auto url = parse_file_url(text);
      if (!url) return failure("odx cp", NtStatus::object_name_invalid, url.error(), kUsage);
      wanted.push_back({*url, &text == &options_.names.back()});
      urls_.push_back(std::move(*url));
    }
    for (const FileUrl& url : urls_)
      if (!url.local() && url.is_volume)
        return failure("odx cp", NtStatus::object_name_invalid,
                       does_not_fit(url, "a file is named by #/PATH behind it, the root directory by #/"), kUsage);
    auto opened = volumes_.open(wanted);
    if (!opened) return std::move(opened.error());
    roots_ = std::move(*opened);
    for (std::size_t i = 0; i < roots_.size(); ++i)
      if (roots_[i] != nullptr && roots_[i]->file_system() == nullptr) {
        Report report =
            failure("odx cp", NtStatus::unrecognized_volume, text(i) + ": " + not_ntfs(*roots_[i]), kFailed);
        host_.finish(report);
        return report;
      }
    return look_at_destination();
  }

  std::optional<Report> look_at_destination() {
    const std::size_t last = urls_.size() - 1;
    auto there = look_at({roots_[last], urls_[last].path});
    auto fail = [&](NtStatus status, std::string_view why) {
      Report report = failure("odx cp", status, fmt::format("{} {}", text(last), why), kFailed);
      volumes_.close();
      host_.finish(report);
      return report;
    };
    if (!there) return fail(there.error(), "cannot be opened");
    into_directory_ = there->kind == FileKind::directory;
    if (into_directory_ && !urls_[last].stream.empty()) return fail(NtStatus::file_is_a_directory, "is a directory");
    if (!into_directory_ && (urls_.size() > 2 || (urls_[last].ends_in_slash && !options_.recursive)))
      return fail(NtStatus::not_a_directory, "is no directory");
    return std::nullopt;
  }

  std::string text(std::size_t i) const { return volumes_.text(urls_[i], roots_[i]); }
  std::string text(const TreePlace& place, const std::string& stream) const {
    FileUrl url;
    url.path = place.path;
    url.stream = stream;
    return volumes_.text(url, place.volume);
  }

  void fail(const std::string& file, NtStatus status, const std::string& reason) {
    if (first_failure_ == NtStatus::success) first_failure_ = status;
    failures_.push_back({{"file", file}, {"nt_status", to_json(status)}, {"reason", reason}});
  }

  /// What source `i` comes to.
  void plan(std::size_t i) {
    const FileUrl& url = urls_[i];
    const TreePlace from{roots_[i], url.path};
    TreePlace to{roots_.back(), urls_.back().path};
    auto there = look_at(from);
    if (!there) return fail(text(i), there.error(), "cannot be opened");
    if (there->kind == FileKind::missing) return fail(text(i), NtStatus::object_name_not_found, "is not there");
    if (there->kind == FileKind::other) return fail(text(i), NtStatus::access_denied, "is no ordinary file");
    if (there->kind == FileKind::directory && !options_.recursive)
      return fail(text(i), NtStatus::file_is_a_directory, "is a directory, and -r was not given");
    if (there->kind == FileKind::directory && !(url.stream.empty() && urls_.back().stream.empty()))
      return fail(text(i), NtStatus::file_is_a_directory, "is a directory, and has no streams to copy");
    const std::string name = name_of(url.path);
    if (into_directory_ && !name.empty() && name != "." && name != "..") to = to / name;
    if (there->kind == FileKind::directory && lies_in(to, from))
      return fail(text(i), NtStatus::invalid_parameter, "cannot be copied into itself");
    if (there->kind == FileKind::directory) return plan_directory(from, to);
    jobs_.push_back({from, to, url.stream, urls_.back().stream, false, there->size});
  }

  void plan_directory(const TreePlace& from, const TreePlace& to) {
    jobs_.push_back({from, to, {}, {}, true});
    auto entries = list(from);
    if (!entries) return fail(text(from, ""), entries.error(), "cannot be listed");
    for (const TreeEntry& entry : *entries) {
      const TreePlace below = from / entry.name;
      // A volume is what its target says: such a name would lead out of the destination.
      if (entry.name.find_first_of(std::string_view("/\0", 2)) != std::string::npos)
        fail(text(below, ""), NtStatus::object_name_invalid, "is a path, and no name of a file");
      else if (entry.status != NtStatus::success)
        fail(text(below, ""), entry.status, "cannot be read");
      else if (entry.kind == FileKind::directory)
        plan_directory(below, to / entry.name);
      else if (entry.kind == FileKind::file)
        jobs_.push_back({below, to / entry.name, {}, {}, false, entry.size});
      else
        fail(text(below, ""), NtStatus::not_supported, "is a link or no ordinary file, and left out");
    }
  }

  void copy_all() {
    std::uint64_t total = 0, done = 0;
    for (const Job& job : jobs_) total += job.size;
    ProgressBar bar(total);
    for (const Job& job : jobs_) {
      if (interrupted != 0) return fail(text(job.from, job.from_stream), NtStatus::cancelled, "stopped by a signal");
      if (job.directory) {
        make(job.to);
        continue;
      }
      std::uint64_t of_file = 0;
      copy(job, [&](const host::ChunkFinished& chunk) {
        of_file += chunk.length;
        bar.show(done + std::min(of_file, job.size));
        return interrupted == 0;
      });
      bar.show(done += job.size);
    }
  }

  void make(const TreePlace& directory) {
    NtStatus status = make_directory(directory);
    if (status == NtStatus::object_name_collision) {
      auto there = look_at(directory);
      if (there && there->kind == FileKind::directory) return;
    }
    if (status == NtStatus::success)
      ++directories_;
    else
      fail(text(directory, ""), status, "the directory cannot be made");
  }

  void copy(const Job& job, const host::OnChunkFinished& progress) {
    const std::string file = text(job.from, job.from_stream);
    const host::FileCopyOptions options{options_.no_clobber, options_.no_offload, options_.minimum_offload, &made_};
    const host::FileCopyOutcome outcome = copy_file(io_, memory_, {job.from.volume, job.from.path, job.from_stream},
                                                    {job.to.volume, job.to.path, job.to_stream}, options, progress);
    if (options_.no_clobber && outcome.status == NtStatus::object_name_collision) {
      ++skipped_;
      rows_.push_back(row(file, {}, "skipped: it is there already"));
      return;
    }
    for (const host::StreamOutcome& stream : outcome.streams) {
      offloaded_ += stream.offloaded_bytes;
      read_written_ += stream.read_written_bytes;
      zero_ += stream.zero_bytes;
      tokens_ += stream.tokens;
      const bool failed = outcome.status != NtStatus::success && &stream == &outcome.streams.back();
      rows_.push_back(row(stream.stream.empty() || !job.from_stream.empty() ? file : file + ":" + stream.stream, stream,
                          failed ? failed_text(outcome.reason, stream) : why_text(stream, false)));
    }
    for (const std::string& left_out : outcome.streams_left_out)
      rows_.push_back(row(file + ":" + left_out, {}, "left out: a file of this machine has no named streams"));
    if (outcome.status == NtStatus::success)
      ++files_;
    else
      fail(file, outcome.status, outcome.reason + (outcome.destination_deleted ? "; what was copied is deleted" : ""));
  }

  static json::object row(const std::string& file, const host::StreamOutcome& stream, const std::string& why) {
    return {{"file", file},
            {"bytes", stream.size},
            {"offloaded_bytes", stream.offloaded_bytes},
            {"read_written_bytes", stream.read_written_bytes},
            {"zero_bytes", stream.zero_bytes},
            {"tokens", stream.tokens},
            {"why", why},
            {"offload_nt_status", to_json(stream.offload_status)}};
  }

  /// For a table: "0#/PATH", with the logical unit only; the status stands in `why`.
  static void shorten(json::object& row) {
    row.erase("offload_nt_status");
    const std::string file(row["file"].get_string());
    if (const std::size_t hash = file.find('#'); file.starts_with("iscsi://") && hash != std::string::npos)
      row["file"] = file.substr(file.rfind('/', hash) + 1);
  }

  Report finish() {
    if (const NtStatus status = volumes_.close(); status != NtStatus::success)
      fail(text(urls_.size() - 1), status, "the volume could not be unmounted");
    Report report;
    report.show_commands = common_.show_commands;
    report.exit_code = failures_.empty() ? kOk : kFailed;
    report.body = {{"program", "odx cp"},
                   {"ok", failures_.empty()},
                   {"nt_status", to_json(first_failure_)},
                   {"files", files_},
                   {"directories", directories_},
                   {"skipped", skipped_},
                   {"failed", failures_.size()},
                   {"copied_bytes", offloaded_ + read_written_ + zero_},
                   {"offloaded_bytes", offloaded_},
                   {"read_written_bytes", read_written_},
                   {"zero_bytes", zero_},
                   {"tokens", tokens_}};
    if (!failures_.empty()) report.body["failures"] = std::move(failures_);
    if (common_.json || (options_.explain && !rows_.empty())) {
      if (!common_.json)
        for (json::value& row : rows_) shorten(row.get_object());
      report.body["streams"] = std::move(rows_);
    }
    host_.finish(report);
    return report;
  }

  const CommonOptions& common_;
  const CpOptions& options_;
  HostSide host_;
  Volumes volumes_;
  host::IoManager io_;
  host::OffloadMemory memory_;
  std::vector<FileUrl> urls_;
  std::vector<host::Volume*> roots_;  ///< of urls_
  bool into_directory_ = false;
  std::vector<Job> jobs_;
  std::set<host::FileIdentity> made_;
  json::array rows_, failures_;
  NtStatus first_failure_ = NtStatus::success;
  std::uint64_t files_ = 0, directories_ = 0, skipped_ = 0;
  std::uint64_t offloaded_ = 0, read_written_ = 0, zero_ = 0, tokens_ = 0;
};

}  // namespace

void add_cp(CLI::App& app, const CommonOptions& common, Run& run) {
  auto options = std::make_shared<CpOptions>();
  CLI::App* command = app.add_subcommand("cp", "Copy files on NTFS, as CopyFile does on Windows");
  command
      ->add_option("files", options->names,
                   "sources, then the destination: iscsi://HOST:PORT/IQN/LUN#[PARTITION]/PATH[:STREAM], or a path of "
                   "this machine")
      ->required()
      ->expected(2, CLI::detail::expected_max_vector_size);
  command->add_flag("-r,--recursive", options->recursive, "directories with all that is in them");
  command->add_flag("-n,--no-clobber", options->no_clobber, "leave files alone that are there already");
  command->add_flag("--no-offload", options->no_offload, "read and write only (COPY_FILE_NO_OFFLOAD)");
  command
      ->add_option("--min-offload", options->minimum_offload,
                   "do not offload streams with fewer bytes (suffixes K, M, G, T; default 256K, as Windows)")
      ->transform(size())
      ->type_name("SIZE");
  command->add_flag("--explain", options->explain, "say for each file how it was copied, and why so");
  command->callback([options, &common, &run] { run = [options, &common] { return Cp(common, *options).run(); }; });
}

}  // namespace cli
