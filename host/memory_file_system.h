// A file system for tests and scenarios: names, sizes and extents are kept in memory and can be set at will, the files'
// bytes lie on a real volume, so that what the class driver copies is what a read gives back.
//
// Nothing of it is written to the volume but the bytes of files. Clusters are never used again. Thread: the driver's.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "host/file_system.h"
#include "host/volume_device.h"

namespace host {

class MemoryStream;

/// What the streams share; outlives the file system as long as one of them is open.
struct MemoryVolume {
  VolumeDevice& device;
  std::uint64_t cluster_length;
  std::uint64_t next_free = 1 << 20;  ///< byte of the volume
  /// New clusters come in pieces of so many, with one cluster left out between them; 0: in one piece.
  std::uint64_t fragment_clusters = 0;
  bool gone = false;
  std::uint64_t last_number = 0;                                   ///< of a file
  std::map<std::string, std::shared_ptr<MemoryStream>> streams{};  ///< by "path" or "path:stream"

  std::uint64_t round_up(std::uint64_t bytes) const {
    return (bytes + cluster_length - 1) / cluster_length * cluster_length;
  }
};

/// All of it is public: tests set what they need.
class MemoryStream final : public FileStream {
 public:
  MemoryStream(std::shared_ptr<MemoryVolume> volume, std::string name)
      : volume_(std::move(volume)), key(std::move(name)) {
    auto file = volume_->streams.find(key.substr(0, key.find(':')));
    number = file != volume_->streams.end() && key.contains(':') ? file->second->number : ++volume_->last_number;
  }

 private:
  std::shared_ptr<MemoryVolume> volume_;

 public:
  std::string key;
  std::uint64_t number = 0;
  StreamKind stream_kind{};
  StreamSizes stream_sizes{};
  BasicInformation basic{};
  std::vector<Extent> pieces{};                               ///< in file order; holes have no volume offset
  std::vector<std::uint8_t> resident_bytes{};                 ///< the content when stream_kind.resident
  NtStatus set_valid_data_length_status = NtStatus::success;  ///< what the next calls answer
  NtStatus flush_status = NtStatus::success;
  unsigned flushes = 0;
  unsigned valid_data_length_calls = 0;

  std::uint64_t file_number() const override { return number; }
  StreamKind kind() const override { return stream_kind; }
  StreamSizes sizes() const override { return stream_sizes; }

  NtResult<std::vector<Extent>> extents(std::uint64_t offset, std::uint64_t length) override {
    if (volume_->gone) return std::unexpected(NtStatus::volume_dismounted);
    std::vector<Extent> found;
    if (stream_kind.resident) return found;
    const std::uint64_t first = offset / volume_->cluster_length * volume_->cluster_length;
    const std::uint64_t end = volume_->round_up(offset + length);
    for (const Extent& piece : pieces) {
      const std::uint64_t from = std::max(first, piece.file_offset);
      const std::uint64_t to = std::min(end, piece.file_offset + piece.length);
      if (from >= to) continue;
      Extent cut{from, piece.volume_offset, to - from};
      if (cut.volume_offset) *cut.volume_offset += from - piece.file_offset;
      found.push_back(cut);
    }
    return found;
  }

  NtResult<std::size_t> read(std::uint64_t offset, base::MutableBytes out) override {
    if (volume_->gone) return std::unexpected(NtStatus::volume_dismounted);
    if (offset >= stream_sizes.end_of_file) return 0;
    out = out.first(std::min<std::uint64_t>(out.size(), stream_sizes.end_of_file - offset));
    std::ranges::fill(out, std::uint8_t{0});
    if (stream_kind.resident) {
      if (offset < resident_bytes.size())
        std::ranges::copy(base::Bytes(resident_bytes)
                              .subspan(offset)
                              .first(std::min<std::size_t>(out.size(), resident_bytes.size() - offset)),
                          out.begin());
      return out.size();
    }
    const std::uint64_t valid = std::min(offset + out.size(), stream_sizes.valid_data_length);
    if (valid <= offset) return out.size();
    const NtStatus status = each_piece(offset, valid - offset, [&](std::uint64_t at, auto range) {
      return volume_->device.read(at, out.subspan(range.first, range.second));
    });
    if (status != NtStatus::success) return std::unexpected(status);
    return out.size();
  }

  NtStatus write(std::uint64_t offset, base::Bytes data) override {
    if (volume_->gone) return NtStatus::volume_dismounted;
    const std::uint64_t end = offset + data.size();
    if (stream_kind.resident) {
      if (resident_bytes.size() < end) resident_bytes.resize(end);
      std::ranges::copy(data, resident_bytes.begin() + static_cast<std::ptrdiff_t>(offset));
      stream_sizes.end_of_file = stream_sizes.valid_data_length = resident_bytes.size();
      return NtStatus::success;
    }
    if (end > stream_sizes.end_of_file)
      if (NtStatus status = set_end_of_file(end); status != NtStatus::success) return status;
    if (offset > stream_sizes.valid_data_length) {
      const std::uint64_t from = std::exchange(stream_sizes.valid_data_length, offset);
      const std::vector<std::uint8_t> zeros(offset - from);
      if (NtStatus status = put(from, zeros); status != NtStatus::success) return status;
    }
    stream_sizes.valid_data_length = std::max(stream_sizes.valid_data_length, end);
    const NtStatus status = put(offset, data);
    return status == NtStatus::success ? clear_rest_of_sector() : status;
  }

  NtStatus set_end_of_file(std::uint64_t length) override {
    if (volume_->gone) return NtStatus::volume_dismounted;
    if (stream_kind.resident) resident_bytes.resize(length);
    while (!stream_kind.resident && stream_sizes.allocation < length) {
      std::uint64_t piece = volume_->round_up(length) - stream_sizes.allocation;
      if (volume_->fragment_clusters != 0)
        piece = std::min(piece, volume_->fragment_clusters * volume_->cluster_length);
      if (piece > volume_->device.length() - volume_->next_free) return NtStatus::disk_full;
      pieces.push_back({stream_sizes.allocation, volume_->next_free, piece});
      volume_->next_free += piece + (volume_->fragment_clusters != 0 ? volume_->cluster_length : 0);
      stream_sizes.allocation += piece;
    }
    const bool grows = length > std::exchange(stream_sizes.end_of_file, length);
    stream_sizes.valid_data_length = std::min(stream_sizes.valid_data_length, length);
    if (stream_kind.resident) stream_sizes.valid_data_length = length;
    return grows ? clear_rest_of_sector() : NtStatus::success;
  }

  NtStatus set_valid_data_length(std::uint64_t length) override {
    ++valid_data_length_calls;
    if (volume_->gone) return NtStatus::volume_dismounted;
    if (set_valid_data_length_status != NtStatus::success) return set_valid_data_length_status;
    if (length > stream_sizes.end_of_file || length < stream_sizes.valid_data_length)
      return NtStatus::invalid_parameter;
    stream_sizes.valid_data_length = length;
    return NtStatus::success;
  }

  BasicInformation basic_information() const override { return basic; }
  NtStatus set_basic_information(const BasicInformation& information) override {
    basic = information;
    return NtStatus::success;
  }
  NtResult<std::vector<std::string>> stream_names() const override {
    std::vector<std::string> names;
    const std::string path = key.substr(0, key.find(':'));
    for (const auto& [name, stream] : volume_->streams) {
      if (name == path && !stream->stream_kind.directory) names.emplace_back();
      if (name.starts_with(path + ":")) names.push_back(name.substr(path.size() + 1));
    }
    return names;
  }
  NtStatus remove() override {
    if (volume_->gone) return NtStatus::volume_dismounted;
    const bool whole_file = !key.contains(':');
    std::erase_if(volume_->streams, [&](const auto& entry) {
      return entry.first == key || (whole_file && entry.first.starts_with(key + ":"));
    });
    return NtStatus::success;
  }
  NtStatus flush() override {
    ++flushes;
    return volume_->gone ? NtStatus::volume_dismounted : flush_status;
  }

 private:
  /// Calls transfer(byte of the volume, {position in the range, length}) for what is not a hole.
  template <typename Transfer>
  NtStatus each_piece(std::uint64_t offset, std::uint64_t length, const Transfer& transfer) {
    for (const Extent& piece : pieces) {
      const std::uint64_t from = std::max(offset, piece.file_offset);
      const std::uint64_t to = std::min(offset + length, piece.file_offset + piece.length);
      if (from >= to || !piece.volume_offset) continue;
      const NtStatus status =
          transfer(*piece.volume_offset + from - piece.file_offset, std::pair(from - offset, to - from));
      if (status != NtStatus::success) return status;
    }
    return NtStatus::success;
  }
  /// The one in which the valid data length lies.
  NtStatus clear_rest_of_sector() {
    const std::uint64_t sector = volume_->device.block_length();
    const std::uint64_t from = stream_sizes.valid_data_length;
    return put(from, std::vector<std::uint8_t>((sector - from % sector) % sector));
  }
  NtStatus put(std::uint64_t offset, base::Bytes data) {
    return each_piece(offset, data.size(), [&](std::uint64_t at, auto range) {
      return volume_->device.write(at, data.subspan(range.first, range.second));
    });
  }
};

class MemoryFileSystem final : public FileSystem {
 public:
  explicit MemoryFileSystem(VolumeDevice& device, std::uint32_t cluster_length = 4096)
      : volume_(std::make_shared<MemoryVolume>(MemoryVolume{device, cluster_length})) {
    make("")->stream_kind.directory = true;
  }
  ~MemoryFileSystem() override {
    volume_->gone = true;
    volume_->streams.clear();
  }

  // What tests set.
  MemoryVolume& volume() { return *volume_; }
  bool read_only = false;
  NtResult<bool> is_still_there = true;
  std::uint64_t maximum_file_size = (1ull << 32) * 4096 - 65536;
  unsigned flushes = 0;

  /// An empty file, or stream, of that "path" or "path:stream".
  std::shared_ptr<MemoryStream> make(const std::string& key) {
    return volume_->streams[key] = std::make_shared<MemoryStream>(volume_, key);
  }
  /// One with that content, all of it valid.
  std::shared_ptr<MemoryStream> make(const std::string& key, base::Bytes content) {
    auto stream = make(key);
    stream->write(0, content);
    return stream;
  }
  /// As SetEndOfFile leaves a new file: clusters, and no valid data.
  std::shared_ptr<MemoryStream> make_sized(const std::string& key, std::uint64_t end_of_file) {
    auto stream = make(key);
    stream->set_end_of_file(end_of_file);
    return stream;
  }
  /// Nothing when it is not there.
  std::shared_ptr<MemoryStream> find(const std::string& key) const {
    auto found = volume_->streams.find(key);
    return found == volume_->streams.end() ? nullptr : found->second;
  }

  Information information() const override {
    Information information;
    information.name = "NTFS";
    information.serial = 0x1122334455667788;
    information.sector_length = volume_->device.block_length();
    information.cluster_length = static_cast<std::uint32_t>(volume_->cluster_length);
    information.maximum_file_size = maximum_file_size;
    information.free_bytes = volume_->device.length() - volume_->next_free;
    information.read_only = read_only;
    return information;
  }

  NtResult<std::shared_ptr<FileStream>> open(const StreamName& name, Disposition disposition) override {
    using enum Disposition;
    if (volume_->gone) return std::unexpected(NtStatus::volume_dismounted);
    const std::string key = name.stream.empty() ? name.path : name.path + ":" + name.stream;
    auto stream = find(key);
    if (stream && disposition == create) return std::unexpected(NtStatus::object_name_collision);
    if (stream && disposition == overwrite_or_create) {
      if (stream->stream_kind.directory) return std::unexpected(NtStatus::file_is_a_directory);
      if (read_only) return std::unexpected(NtStatus::media_write_protected);
      stream->stream_kind = {};
      stream->stream_sizes = {};
      stream->pieces.clear();
      stream->resident_bytes.clear();
    }
    if (stream) return stream;
    if (disposition == Disposition::open) return std::unexpected(NtStatus::object_name_not_found);
    if (read_only) return std::unexpected(NtStatus::media_write_protected);
    if (!parent_exists(name.path)) return std::unexpected(NtStatus::object_path_not_found);
    if (!name.stream.empty() && !find(name.path)) make(name.path);
    return make(key);
  }

  NtResult<std::vector<DirectoryEntry>> list(std::string_view path) override {
    if (volume_->gone) return std::unexpected(NtStatus::volume_dismounted);
    auto directory = find(std::string(path));
    if (!directory) return std::unexpected(NtStatus::object_path_not_found);
    if (!directory->stream_kind.directory) return std::unexpected(NtStatus::not_a_directory);
    const std::string prefix = path.empty() ? "" : std::string(path) + "/";
    std::vector<DirectoryEntry> entries;
    for (const auto& [key, stream] : volume_->streams) {
      if (key.empty() || !key.starts_with(prefix)) continue;
      const std::string name = key.substr(prefix.size());
      if (name.empty() || name.find_first_of("/:") != std::string::npos) continue;
      entries.push_back({name, stream->stream_kind.directory, stream->stream_sizes, stream->basic});
    }
    return entries;
  }

  NtStatus create_directory(std::string_view path) override {
    if (volume_->gone) return NtStatus::volume_dismounted;
    if (read_only) return NtStatus::media_write_protected;
    if (find(std::string(path))) return NtStatus::object_name_collision;
    if (!parent_exists(path)) return NtStatus::object_path_not_found;
    make(std::string(path))->stream_kind.directory = true;
    return NtStatus::success;
  }
  NtStatus flush() override {
    ++flushes;
    return volume_->gone ? NtStatus::volume_dismounted : NtStatus::success;
  }
  NtStatus unmount() override {
    volume_->gone = true;
    return NtStatus::success;
  }
  void abandon() override { volume_->gone = true; }
  NtResult<bool> still_there() override { return is_still_there; }

 private:
  bool parent_exists(std::string_view path) const {
    const std::size_t slash = path.rfind('/');
    auto parent = find(std::string(slash == std::string_view::npos ? "" : path.substr(0, slash)));
    return parent && parent->stream_kind.directory;
  }

  std::shared_ptr<MemoryVolume> volume_;
};

}  // namespace host
