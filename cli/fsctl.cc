// odx fsctl offload-read, odx fsctl offload-write: one request, every field and the state it meets settable.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <boost/json.hpp>
#include <charconv>
#include <memory>

#include "cli/binary_file.h"
#include "cli/exit_code.h"
#include "cli/sub_commands.h"
#include "cli/volumes.h"
#include "host/fsctl_layouts.h"
#include "host/io_manager.h"

namespace cli {

namespace json = boost::json;

namespace {

using host::NtStatus;
using Octets = std::vector<std::uint8_t>;

struct FsctlOptions {
  bool write = false;
  std::string url;
  // The fields.
  std::optional<std::uint32_t> size;
  std::uint32_t flags = 0;
  std::uint32_t time_to_live_ms = 0;
  std::uint32_t reserved = 0;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  std::uint64_t transfer_offset = 0;
  std::string token_file;
  std::string token_hex;
  // Instead of them, and the buffers.
  std::string input_hex;
  std::string input_file;
  std::optional<std::size_t> input_length;
  std::optional<std::size_t> output_length;
  // What the request meets.
  std::string access;
  std::vector<std::string> filters;
  std::uint32_t features_mode = 0;
  std::vector<std::string> locks;
  bool read_only = false;
  bool transacted = false;
  std::optional<std::uint64_t> end_of_file;
  // What is kept.
  std::string output_file;
  std::string token_out;
};

/// Thrown up to the sub-command: what was asked for makes no sense.
struct Usage {
  std::string what;
};

Octets from_hex(std::string_view text) {
  Octets bytes;
  std::string digits;
  for (char c : text) {
    if (c == ' ' || c == '\n' || c == '\t' || c == ':') continue;
    digits += c;
    if (digits.size() < 2) continue;
    std::uint8_t byte = 0;
    constexpr int kBase = 16;
    if (std::from_chars(digits.data(), digits.data() + 2, byte, kBase).ptr != digits.data() + 2)
      throw Usage{"'" + digits + "' are no hexadecimal digits"};
    bytes.push_back(byte);
    digits.clear();
  }
  if (!digits.empty()) throw Usage{"an odd number of hexadecimal digits"};
  return bytes;
}

Octets from_file(const std::string& path) {
  auto bytes = read_file(path);
  if (!bytes) throw Usage{bytes.error()};
  return std::move(*bytes);
}

host::Token token_of(const FsctlOptions& options) {
  if (options.token_file == "zero") return host::zero_token();
  host::Token token{};
  Octets bytes = options.token_hex.empty() ? from_file(options.token_file) : from_hex(options.token_hex);
  if (bytes.size() > token.size()) throw Usage{fmt::format("a token has 512 bytes, not {}", bytes.size())};
  std::ranges::copy(bytes, token.begin());  // a short one is filled up with zeros
  return token;
}

std::uint64_t number_of(std::string text) {
  const CLI::Validator to_bytes = size();
  std::uint64_t number = 0;
  if (std::string wrong = to_bytes(text); !wrong.empty()) throw Usage{wrong};
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

struct Lock {
  bool exclusive = false;
  bool own = false;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

Lock lock_of(const std::string& text) {
  std::vector<std::string> parts = split(text, ':');
  if (parts.size() == 3) parts.emplace_back("other");
  if (parts.size() != 4 || (parts[0] != "shared" && parts[0] != "exclusive") ||
      (parts[3] != "own" && parts[3] != "other"))
    throw Usage{"'" + text + "' is not shared|exclusive:OFFSET:LENGTH[:own|other]"};
  return {parts[0] == "exclusive", parts[3] == "own", number_of(parts[1]), number_of(parts[2])};
}

std::uint32_t access_of(const FsctlOptions& options) {
  const std::string access = options.access.empty() ? (options.write ? "write" : "read") : options.access;
  if (access == "read") return host::kFileReadData;
  if (access == "write") return host::kFileWriteData;
  return access == "both" ? host::kFileReadData | host::kFileWriteData : host::kFileReadAttributes;
}

host::Filter filter_of(const std::string& text) {
  constexpr std::uint32_t kBoth = host::kSupportsOffloadRead | host::kSupportsOffloadWrite;
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) throw Usage{"--filter '" + text + "': expected NAME=FEATURES"};
  const std::string features = text.substr(equals + 1);
  if (features == "blocks") return {text.substr(0, equals), kBoth, true};
  if (features.size() != 1 || features[0] < '0' || features[0] > '3')
    throw Usage{"--filter '" + text + "': expected 0, 1, 2, 3 or blocks after the ="};
  return {text.substr(0, equals), static_cast<std::uint32_t>(features[0] - '0'), false};
}

class Fsctl {
 public:
  Fsctl(const CommonOptions& common, const FsctlOptions& options)
      : common_(common), options_(options), host_(common), volumes_(host_) {}

  Report run() {
    try {
      return issue();
    } catch (const Usage& usage) {
      return failure(program(), NtStatus::invalid_parameter, usage.what, kUsage);
    }
  }

 private:
  std::string program() const { return options_.write ? "odx fsctl offload-write" : "odx fsctl offload-read"; }

  Report issue() {
    auto url = parse_file_url(options_.url);
    if (!url) throw Usage{url.error()};
    if (url->local()) throw Usage{does_not_fit(*url, "expected iscsi://HOST:PORT/IQN/LUN#[PARTITION][/PATH[:STREAM]]")};
    for (const std::string& text : options_.locks) locks_.push_back(lock_of(text));
    std::vector<host::Filter> filters;
    for (const std::string& text : options_.filters) filters.push_back(filter_of(text));
    const bool writes = !options_.read_only && (options_.write || options_.end_of_file);
    const WantedVolume wanted{*url, writes};
    auto opened = volumes_.open(std::span(&wanted, 1));
    if (!opened) return std::move(opened.error());
    volume_ = opened->front();
    for (host::Filter& filter : filters) volume_->attach(std::move(filter));
    io_.filter_supported_features_mode = options_.features_mode;
    report_.body = {
        {"program", program()}, {"ok", false}, {"file", volumes_.text(*url, volume_)}, {"nt_status", nullptr}};
    report_.show_commands = true;
    host_.begin_operation();
    if (NtStatus status = prepare(*url); status != NtStatus::success) return ended(status);
    const Octets input = this->input();
    const std::size_t reply_length =
        options_.write ? sizeof(host::OffloadWriteOutput) : sizeof(host::OffloadReadOutput);
    host_.begin_operation();  // so that only the request's own commands are counted
    const host::FsctlReply reply =
        io_.fs_control(handle_, options_.write ? host::kFsctlOffloadWrite : host::kFsctlOffloadRead, input,
                       options_.output_length.value_or(reply_length));
    decode(reply, input);
    return ended(reply.status);
  }

  /// Opens, sets the end of file, locks; the reason of a failure stands in the report.
  NtStatus prepare(const FileUrl& url) {
    auto failed = [this](NtStatus status, const std::string& what) {
      report_.body["reason"] = what;
      return status;
    };
    const host::StreamName name{url.path, url.stream};
    const std::string place = volumes_.text(url, volume_);
    if (options_.end_of_file) {
      auto handle = io_.open(*volume_, name, {host::kFileWriteData, host::Disposition::open_or_create});
      if (!handle) return failed(handle.error(), why_not_opened(place, *volume_, handle.error()));
      const NtStatus status = io_.set_end_of_file(*handle, *options_.end_of_file);
      const NtStatus closed = io_.close(*handle);
      if (status != NtStatus::success) return failed(status, "the end of file cannot be set");
      if (closed != NtStatus::success) return failed(closed, "the file whose end was set cannot be closed");
    }
    auto handle = url.is_volume
                      ? io_.open_volume(*volume_, access_of(options_))
                      : io_.open(*volume_, name, {access_of(options_), host::Disposition::open, options_.transacted});
    if (!handle) return failed(handle.error(), why_not_opened(place, *volume_, handle.error()));
    handle_ = *handle;
    for (const Lock& lock : locks_) {
      host::Handle owner = handle_;
      if (!lock.own) {
        auto other = io_.open(*volume_, name, {host::kFileReadData, host::Disposition::open});
        if (!other) return failed(other.error(), "the file cannot be opened a second time");
        owner = *other;
      }
      const NtStatus status = io_.lock(owner, lock.offset, lock.length, lock.exclusive);
      if (status != NtStatus::success) return failed(status, "the range cannot be locked");
    }
    return NtStatus::success;
  }

  std::uint64_t length() const {
    if (options_.length) return *options_.length;
    auto file = io_.reference(handle_);
    if (!file || !file->open) return 0;
    const std::uint64_t end = host::round_up(file->open->stream->sizes().end_of_file, volume_->device().block_length());
    return end - std::min(end, options_.offset);
  }

  Octets input() const {
    Octets bytes;
    if (!options_.input_hex.empty())
      bytes = from_hex(options_.input_hex);
    else if (!options_.input_file.empty())
      bytes = from_file(options_.input_file);
    else if (options_.write)
      bytes = write_input();
    else
      bytes = read_input();
    if (options_.input_length) bytes.resize(*options_.input_length);
    return bytes;
  }

  Octets read_input() const {
    host::OffloadReadInput input;
    input.size = options_.size.value_or(sizeof input);
    input.flags = options_.flags;
    input.token_time_to_live_ms = options_.time_to_live_ms;
    input.reserved = options_.reserved;
    input.file_offset = options_.offset;
    input.copy_length = length();
    const base::Bytes bytes = base::bytes_of(input);
    return {bytes.begin(), bytes.end()};
  }

  Octets write_input() const {
    if (options_.token_file.empty() && options_.token_hex.empty())
      throw Usage{"a token is needed: --token FILE, --token zero or --token-hex HEX"};
    host::OffloadWriteInput input;
    input.size = options_.size.value_or(sizeof input);
    input.flags = options_.flags;
    input.file_offset = options_.offset;
    input.copy_length = length();
    input.transfer_offset = options_.transfer_offset;
    input.token = token_of(options_);
    const base::Bytes bytes = base::bytes_of(input);
    return {bytes.begin(), bytes.end()};
  }

  void decode(const host::FsctlReply& reply, const Octets& input) {
    json::object& body = report_.body;
    body["reason"] = reply.reason;
    if (reply.status == NtStatus::success && copy_length_of(input) == 0)
      body["note"] = "CopyLength is 0: nothing after check 15 was looked at";
    show("input", input);
    show("output", reply.output);
    if (options_.write && reply.output.size() >= sizeof(host::OffloadWriteOutput)) {
      const auto output = base::load<host::OffloadWriteOutput>(reply.output);
      body["reply"] = json::object{{"size", output.size.value()},
                                   {"flags", output.flags.value()},
                                   {"length_written_bytes", output.length_written.value()}};
    }
    if (!options_.write && reply.output.size() >= sizeof(host::OffloadReadOutput)) {
      const auto output = base::load<host::OffloadReadOutput>(reply.output);
      body["reply"] =
          json::object{{"size", output.size.value()},
                       {"flags", output.flags.value()},
                       {"all_zero_beyond_current_range", (output.flags & host::kAllZeroBeyondCurrentRange) != 0},
                       {"transfer_length_bytes", output.transfer_length.value()},
                       {"token_type", hex(base::Bytes(output.token).first(4))},
                       {"zero_token", output.token == host::zero_token()}};
      keep(options_.token_out, output.token);
    }
    keep(options_.output_file, reply.output);
  }

  /// Of an input that is long enough, as that of every success is.
  std::uint64_t copy_length_of(const Octets& input) const {
    return options_.write ? base::load<host::OffloadWriteInput>(input).copy_length.value()
                          : base::load<host::OffloadReadInput>(input).copy_length.value();
  }

  void show(std::string_view name, base::Bytes bytes) {
    if (common_.json)
      report_.body[name] = hex(bytes);
    else if (!bytes.empty())
      report_.body[name] = hex_rows(bytes);
  }

  void keep(const std::string& path, base::Bytes bytes) {
    if (path.empty() || write_file(path, bytes)) return;
    report_.body["reason"] = "cannot write " + path;
    not_kept_ = true;
  }

  /// In text the request's own commands will do, without what the mount has sent.
  void keep_own_commands() {
    json::array own;
    for (json::value& command : report_.body["commands"].get_array())
      if (command.at("phase") == "operation") own.push_back(std::move(command));
    report_.body["commands"] = std::move(own);
  }

  Report ended(NtStatus status) {
    report_.body["nt_status"] = to_json(status);
    report_.body["ok"] = status == NtStatus::success && !not_kept_;
    report_.exit_code = not_kept_ ? kFailed : exit_code_of(status);
    host_.finish(report_);
    if (NtStatus closed = volumes_.close(); closed != NtStatus::success && status == NtStatus::success) {
      report_.body["ok"] = false;
      report_.body["reason"] = fmt::format("the volume could not be unmounted: {}", name(closed));
      report_.exit_code = kFailed;
    }
    if (!common_.json && !common_.show_commands) keep_own_commands();
    return std::move(report_);
  }

  const CommonOptions& common_;
  const FsctlOptions& options_;
  HostSide host_;
  Volumes volumes_;
  host::IoManager io_;
  host::Volume* volume_ = nullptr;
  host::Handle handle_ = 0;
  std::vector<Lock> locks_;
  Report report_;
  bool not_kept_ = false;
};

void add_fields(CLI::App& command, FsctlOptions& options) {
  auto bytes = [&command](const std::string& name, auto& value, const std::string& what) {
    return command.add_option(name, value, what)->transform(size())->type_name("SIZE");
  };
  command.add_option("--size", options.size, "field Size (default: the structure's)");
  command.add_option("--flags", options.flags, "field Flags (default 0)");
  bytes("--offset", options.offset, "field FileOffset (suffixes K, M, G, T; default 0)");
  bytes("--length", options.length, "field CopyLength (default: up to the end of the file, rounded up to a sector)");
  if (options.write) {
    bytes("--transfer-offset", options.transfer_offset, "field TransferOffset (default 0)");
    auto* file = command.add_option("--token", options.token_file,
                                    "file with the token, or 'zero' for the well-known zero token");
    command.add_option("--token-hex", options.token_hex, "the token, filled up with zeros")->excludes(file);
  } else {
    command.add_option("--ttl-ms", options.time_to_live_ms, "field TokenTimeToLive (default 0: the disk's default)");
    command.add_option("--reserved", options.reserved, "field Reserved (default 0)");
    command.add_option("--token-out", options.token_out, "file for the 512 bytes of the token");
  }
  auto* input = command.add_option("--input-hex", options.input_hex, "the input buffer instead of the fields");
  command.add_option("--input-file", options.input_file, "the same from a file")->excludes(input);
  bytes("--input-length", options.input_length, "cuts or fills up the input buffer");
  bytes("--output-length", options.output_length, "size of the output buffer (default: the structure's)");
  command.add_option("--output", options.output_file, "file for the reply's bytes");
}

void add_state(CLI::App& command, FsctlOptions& options) {
  command.add_option("--access", options.access, "rights of the handle: read, write, both or none")
      ->check(CLI::IsMember({"read", "write", "both", "none"}));
  command.add_option("--filter", options.filters,
                     "NAME=FEATURES: attaches a minifilter with these SupportedFeatures (0 to 3), or NAME=blocks");
  command.add_option("--features-mode", options.features_mode, "FilterSupportedFeaturesMode (1: no offload)");
  command.add_option("--lock", options.locks,
                     "shared|exclusive:OFFSET:LENGTH[:own|other]: locks a range, by the handle of the request or by "
                     "another one (default)");
  command.add_flag("--read-only", options.read_only, "mounts the volume read-only");
  command.add_flag("--transacted", options.transacted, "opens the file in a transaction");
  command
      .add_option("--set-eof", options.end_of_file,
                  "SetEndOfFile before; makes the file when it is not there (suffixes K, M, G, T)")
      ->transform(size())
      ->type_name("SIZE");
}

}  // namespace

void add_fsctl(CLI::App& app, const CommonOptions& common, Run& run) {
  CLI::App* fsctl = app.add_subcommand("fsctl", "Issue one FSCTL_OFFLOAD_READ or FSCTL_OFFLOAD_WRITE, byte for byte");
  fsctl->require_subcommand(1);
  for (const bool write : {false, true}) {
    auto options = std::make_shared<FsctlOptions>();
    options->write = write;
    CLI::App* command = write ? fsctl->add_subcommand("offload-write", "FSCTL_OFFLOAD_WRITE (MS-FSCC 2.3.43)")
                              : fsctl->add_subcommand("offload-read", "FSCTL_OFFLOAD_READ (MS-FSCC 2.3.41)");
    command
        ->add_option("url", options->url,
                     "iscsi://HOST:PORT/IQN/LUN#[PARTITION]/PATH[:STREAM]; without /PATH the volume itself")
        ->required();
    add_fields(*command, *options);
    add_state(*command, *options);
    command->callback([options, &common, &run] { run = [options, &common] { return Fsctl(common, *options).run(); }; });
  }
}

}  // namespace cli
