// Volumes and files of hosts: the two FSCTLs, and CopyFile.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "host/file_copy.h"
#include "host/fsctl_layouts.h"
#include "host/memory_file_system.h"
#include "scenario/api.h"
#include "scenario/arguments.h"
#include "scenario/pattern.h"
#include "scenario/real_volume.h"

namespace scenario {

namespace {

constexpr std::uint64_t kMebibyte = 1 << 20;

void check(host::NtStatus status, const std::string& what) {
  if (status != host::NtStatus::success) throw ScriptError(fmt::format("{}: {}", what, host::name(status)));
}

/// `kind` as scripts say it: "sparse", "compressed"...
void set_kind(host::StreamKind& kind, const json::value& words) {
  const json::array* list = words.if_array();
  if (!list) throw ScriptError(fmt::format("create.kind is {}; expected a list of words", shown(words)));
  for (const json::value& each : *list) {
    const std::string word = to_text(each, "create.kind");
    bool* flag = word == "sparse"         ? &kind.sparse
                 : word == "compressed"   ? &kind.compressed
                 : word == "encrypted"    ? &kind.encrypted
                 : word == "resident"     ? &kind.resident
                 : word == "deduplicated" ? &kind.deduplicated
                 : word == "transacted"   ? &kind.transacted
                                          : nullptr;
    if (!flag)
      throw ScriptError(
          fmt::format("create.kind holds {}; expected sparse, compressed, encrypted, resident, "
                      "deduplicated or transacted",
                      shown(each)));
    *flag = true;
  }
}

/// "folder/file:stream".
host::StreamName stream_name(const std::string& path) {
  const std::size_t colon = path.find(':');
  return {path.substr(0, colon), colon == std::string::npos ? "" : path.substr(colon + 1)};
}

/// Throws ScriptError: there is none of that name.
std::shared_ptr<host::FileStream> stream_of(const MountedVolume& on, const std::string& path) {
  if (on.files) {
    if (auto stream = on.files->find(path)) return stream;
    throw ScriptError(fmt::format("there is no file \"{}\"", path));
  }
  host::FileSystem* files = on.volume->file_system();
  auto stream = files ? files->open(stream_name(path), host::Disposition::open)
                      : std::unexpected(host::NtStatus::volume_dismounted);
  if (!stream) check(stream.error(), path);
  return *stream;
}

json::object described(host::FileStream& stream) {
  const host::StreamSizes sizes = stream.sizes();
  const host::StreamKind kind = stream.kind();
  json::object info{
      {"length", sizes.end_of_file}, {"valid", sizes.valid_data_length}, {"allocation", sizes.allocation}};
  info["sparse"] = kind.sparse;
  info["compressed"] = kind.compressed;
  info["encrypted"] = kind.encrypted;
  info["resident"] = kind.resident;
  info["deduplicated"] = kind.deduplicated;
  info["transacted"] = kind.transacted;
  if (auto extents = stream.extents(0, sizes.end_of_file)) info["extents"] = extents->size();
  return info;
}

json::object copied(const host::FileCopyOutcome& outcome) {
  std::uint64_t offloaded = 0, read_written = 0;
  json::object result{{"status", name(outcome.status)}, {"reason", outcome.reason}};
  for (const host::StreamOutcome& stream : outcome.streams) {
    offloaded += stream.offloaded_bytes;
    read_written += stream.read_written_bytes;
    if (!stream.stream.empty()) continue;
    result["offload_status"] = name(stream.offload_status);
    result["tokens"] = stream.tokens;
    if (!stream.reason.empty()) result["reason"] = stream.reason;
  }
  result["offloaded"] = offloaded;
  result["fallback"] = read_written;
  return result;
}

}  // namespace

// Volumes go before the hosts whose drivers they use.
Api::~Api() {
  files_.clear();
  volumes_.clear();
}

MountedVolume& Api::volume_of(const json::value& object) const { return *volumes_.at(number_of(object, "volume")); }
OpenedFile& Api::file_of(const json::value& object) const { return *files_.at(number_of(object, "file")); }

json::value Api::add_new_volume(const Arguments& arguments) {
  const Fields fields(argument(arguments, 2), "volume",
                      {"offset", "length", "cluster", "fragment_clusters", "image", "mount"});
  Disk& disk = disk_of(argument(arguments, 1));
  auto mounted = std::make_unique<MountedVolume>();
  mounted->disk = &disk;
  if (fields.find("image") || fields.flag("mount")) {
    mount_real(*mounted, fields);
    volumes_.push_back(std::move(mounted));
    return handle("volume", volumes_.size() - 1);
  }
  const std::uint64_t offset = fields.size("offset").value_or(kMebibyte);
  const std::uint64_t bytes = disk.driver().disk().bytes();
  const std::uint64_t length = fields.size("length").value_or(bytes > offset ? bytes - offset : 0);
  const std::uint64_t cluster = fields.size("cluster").value_or(4096);
  if (offset > bytes || length > bytes - offset || length < 4 * kMebibyte || cluster < 512 || cluster > 2 * kMebibyte ||
      (cluster & (cluster - 1)) != 0)
    throw ScriptError("volume: does not fit the disk, is smaller than 4M, or its clusters are no power of two");
  const auto mounter = [&](host::VolumeDevice& device, bool read_only) {
    auto made = std::make_unique<host::MemoryFileSystem>(device, static_cast<std::uint32_t>(cluster));
    made->read_only = read_only;
    made->volume().fragment_clusters = fields.size("fragment_clusters").value_or(0);
    mounted->files = made.get();
    return host::NtResult<std::unique_ptr<host::FileSystem>>(std::move(made));
  };
  auto volume = host::Volume::with(disk.driver(), {1, offset, length}, host::FileSystemKind::ntfs, mounter);
  if (!volume) check(volume.error(), "volume");
  mounted->volume = std::move(*volume);
  disk.settle();
  volumes_.push_back(std::move(mounted));
  return handle("volume", volumes_.size() - 1);
}

/// What `image` names is put on the disk, else the volume lies there.
void Api::mount_real(MountedVolume& mounted, const Fields& fields) {
  if (fields.find("cluster") || fields.find("fragment_clusters"))
    throw ScriptError("volume: cluster and fragment_clusters are of volumes that begin empty");
  host::ClassDriver& driver = mounted.disk->driver();
  const std::uint64_t offset = fields.size("offset").value_or(kMebibyte);
  const std::uint64_t bytes = driver.disk().bytes();
  if (offset > bytes) throw ScriptError("volume: begins behind the end of the disk");
  std::uint64_t length = fields.size("length").value_or(bytes - offset);
  if (auto name = fields.text("image")) {
    VolumeImage image(access_, *name);
    if (image.bytes() > length)
      throw ScriptError(fmt::format("volume: \"{}\" has {} bytes, more than fit", *name, image.bytes()));
    length = image.bytes();
    by_pieces(0, length, [&](std::uint64_t from, std::uint64_t piece) {
      image.put(driver, offset, from, piece);
      return true;
    });
  }
  mounted.volume = mount_ntfs(driver, {1, offset, length}, access_);
  mounted.disk->forget();
}

void Api::make_file(MountedVolume& on, const std::string& path, const Fields& fields) {
  const json::value* kind = fields.find("kind");
  std::shared_ptr<host::FileStream> stream;
  if (on.files) {
    auto made = on.files->make(path);
    if (kind) set_kind(made->stream_kind, *kind);
    stream = made;
  } else {
    if (kind)
      throw ScriptError("create.kind is of volumes whose names are in memory: an image has files of every kind");
    host::FileSystem* files = on.volume->file_system();
    auto made = files ? files->open(stream_name(path), host::Disposition::overwrite_or_create)
                      : std::unexpected(host::NtStatus::volume_dismounted);
    if (!made) check(made.error(), path);
    stream = *made;
  }
  const std::uint64_t length = fields.size("length").value_or(0);
  const std::uint64_t seed = fields.size("seed").value_or(0);
  check(stream->set_end_of_file(length), path);
  by_pieces(0, seed == 0 ? 0 : length, [&](std::uint64_t offset, std::uint64_t piece) {
    std::vector<std::uint8_t> data(piece);
    fill_pattern(seed, offset, data);
    check(stream->write(offset, data), path);
    return true;
  });
}

void Api::add_volume() {
  add_method("host", "volume", [this](const Arguments& arguments) { return add_new_volume(arguments); });
  add_method("volume", "create", [this](const Arguments& arguments) -> json::value {
    MountedVolume& on = volume_of(arguments.at(0));
    const std::string path = to_text(argument(arguments, 1), "the path");
    const Fields fields(argument(arguments, 2), "create", {"seed", "length", "kind"});
    make_file(on, path, fields);
    on.disk->settle();
    return nullptr;
  });
  add_method("volume", "open", [this](const Arguments& arguments) -> json::value {
    MountedVolume& on = volume_of(arguments.at(0));
    const std::string path = to_text(argument(arguments, 1), "the path");
    auto opened = on.disk->host().io().open(
        *on.volume, stream_name(path),
        {host::kFileReadData | host::kFileWriteData | host::kDelete, host::Disposition::open});
    if (!opened) check(opened.error(), path);
    on.disk->settle();
    files_.push_back(std::make_unique<OpenedFile>(OpenedFile{&on, *opened}));
    return handle("file", files_.size() - 1);
  });
  add_method("volume", "dismount", [this](const Arguments& arguments) -> json::value {
    MountedVolume& on = volume_of(arguments.at(0));
    return finish(*on.disk, on.volume->dismount());
  });
  add_volume_copies();
  add_volume_looks();
}

void Api::add_volume_looks() {
  add_method("volume", "info", [this](const Arguments& arguments) -> json::value {
    MountedVolume& on = volume_of(arguments.at(0));
    json::object info = described(*stream_of(on, to_text(argument(arguments, 1), "the path")));
    on.disk->forget();
    return info;
  });
  add_method("volume", "hash", [this](const Arguments& arguments) -> json::value {
    constexpr std::uint64_t kLongest = 16 * kMebibyte;
    MountedVolume& on = volume_of(arguments.at(0));
    const std::string path = to_text(argument(arguments, 1), "the path");
    auto stream = stream_of(on, path);
    const std::uint64_t bytes = stream->sizes().end_of_file;
    if (bytes > kLongest) throw ScriptError(fmt::format("hash: {} bytes are more than {}", bytes, kLongest));
    std::vector<std::uint8_t> data(bytes);
    by_pieces(0, bytes, [&](std::uint64_t offset, std::uint64_t piece) {
      auto read = stream->read(offset, base::MutableBytes(data).subspan(offset, piece));
      if (!read) check(read.error(), path);
      return true;
    });
    on.disk->forget();
    return json::string(sha256(data));
  });
}

void Api::add_volume_copies() {
  add_method("volume", "copy", [this](const Arguments& arguments) -> json::value {
    MountedVolume& from = volume_of(arguments.at(0));
    MountedVolume& to = volume_of(argument(arguments, 2));
    Host& host = from.disk->host();
    if (&to.disk->host() != &host) throw ScriptError("copy: the volumes are of two hosts");
    const std::string path = to_text(argument(arguments, 1), "the path");
    const std::string new_path =
        argument(arguments, 3).is_null() ? path : to_text(argument(arguments, 3), "the new path");
    json::object result = copied(
        host::copy_file(host.io(), host.offload_memory(), {from.volume.get(), path}, {to.volume.get(), new_path}, {}));
    describe_commands(result, settle(*from.disk, *to.disk));
    return result;
  });
  add_method("volume", "expect_file", [this](const Arguments& arguments) -> json::value {
    const std::string path = to_text(argument(arguments, 1), "the path");
    const Fields fields(argument(arguments, 2), "expect_file", {"seed", "length"});
    MountedVolume& on = volume_of(arguments.at(0));
    auto stream = stream_of(on, path);
    const std::uint64_t bytes = stream->sizes().end_of_file;
    if (auto length = fields.size("length"); length && *length != bytes)
      throw ScriptError(fmt::format("\"{}\" has {} bytes; expected {}", path, bytes, *length));
    const std::uint64_t seed = to_size(fields.required("seed"), "expect_file.seed");
    std::vector<std::uint8_t> data;
    by_pieces(0, bytes, [&](std::uint64_t offset, std::uint64_t piece) {
      data.resize(piece);
      auto read = stream->read(offset, data);
      on.disk->forget();
      if (!read) check(read.error(), path);
      auto wrong = first_difference(seed, offset, data);
      if (!wrong) return true;
      throw ScriptError(fmt::format("\"{}\": byte {} is {:02X}h; expected that of pattern {}", path, offset + *wrong,
                                    data[*wrong], seed));
    });
    return nullptr;
  });
  add_method("volume", "filter", [this](const Arguments& arguments) -> json::value {
    const Fields fields(argument(arguments, 1), "filter", {"name", "supported_features", "blocks"});
    volume_of(arguments.at(0))
        .volume->attach({fields.text("name").value_or("filter"),
                         static_cast<std::uint32_t>(fields.number("supported_features", 0, 3).value_or(0)),
                         fields.flag("blocks")});
    return nullptr;
  });
}

void Api::add_files() {
  auto io_of = [](OpenedFile& file) -> host::IoManager& { return file.on->disk->host().io(); };
  add_method("file", "offload_read", [this, io_of](const Arguments& arguments) -> json::value {
    OpenedFile& file = file_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "offload_read", {"offset", "length", "time_to_live"});
    host::OffloadReadInput input{};
    input.size = sizeof input;
    input.token_time_to_live_ms = time_to_live(fields, std::chrono::milliseconds(1));
    input.file_offset = fields.size("offset").value_or(0);
    input.copy_length = to_size(fields.required("length"), "offload_read.length");
    auto reply = io_of(file).fs_control(file.handle, host::kFsctlOffloadRead, base::bytes_of(input),
                                        sizeof(host::OffloadReadOutput));
    json::object result = finish(*file.on->disk, reply.status, reply.reason);
    if (reply.output.size() != sizeof(host::OffloadReadOutput)) return result;
    auto output = base::load<host::OffloadReadOutput>(reply.output);
    result["length"] = output.transfer_length.value();
    result["flags"] = output.flags.value();
    result["token"] = base::text_of(base::Bytes(output.token));
    return result;
  });
  add_method("file", "offload_write", [this, io_of](const Arguments& arguments) -> json::value {
    OpenedFile& file = file_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "offload_write", {"token", "token_offset", "offset", "length"});
    host::OffloadWriteInput input{};
    input.size = sizeof input;
    input.file_offset = fields.size("offset").value_or(0);
    input.copy_length = to_size(fields.required("length"), "offload_write.length");
    input.transfer_offset = fields.size("token_offset").value_or(0);
    input.token = token_of(fields);
    auto reply = io_of(file).fs_control(file.handle, host::kFsctlOffloadWrite, base::bytes_of(input),
                                        sizeof(host::OffloadWriteOutput));
    json::object result = finish(*file.on->disk, reply.status, reply.reason);
    if (reply.output.size() != sizeof(host::OffloadWriteOutput)) return result;
    auto output = base::load<host::OffloadWriteOutput>(reply.output);
    result["length"] = output.length_written.value();
    result["flags"] = output.flags.value();
    return result;
  });
  add_method("file", "set_end_of_file", [this, io_of](const Arguments& arguments) -> json::value {
    OpenedFile& file = file_of(arguments.at(0));
    return finish(*file.on->disk,
                  io_of(file).set_end_of_file(file.handle, to_size(argument(arguments, 1), "the length")));
  });
  add_method("file", "lock", [this, io_of](const Arguments& arguments) -> json::value {
    OpenedFile& file = file_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "lock", {"offset", "length", "exclusive"});
    return finish(*file.on->disk, io_of(file).lock(file.handle, fields.size("offset").value_or(0),
                                                   to_size(fields.required("length"), "lock.length"),
                                                   !fields.find("exclusive") || fields.flag("exclusive")));
  });
  add_method("file", "close", [this, io_of](const Arguments& arguments) -> json::value {
    OpenedFile& file = file_of(arguments.at(0));
    return finish(*file.on->disk, io_of(file).close(file.handle));
  });
}

}  // namespace scenario
