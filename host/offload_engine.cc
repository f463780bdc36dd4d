#include "host/offload_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <span>

#include "host/fsctl_layouts.h"

namespace host {

namespace {

enum class Direction : std::uint8_t { read, write };

/// The fields both requests have; `transfer_offset` only a write.
struct Fields {
  std::uint64_t size = 0;
  std::uint64_t file_offset = 0;
  std::uint64_t copy_length = 0;
  std::uint64_t transfer_offset = 0;
};

using Refusal = std::optional<FsctlReply>;

FsctlReply refuse(NtStatus status, std::string reason) { return {status, {}, std::move(reason)}; }

template <base::WireLayout Output>
FsctlReply succeed(const Output& output) {
  const base::Bytes bytes = base::bytes_of(output);
  return {NtStatus::success, {bytes.begin(), bytes.end()}, {}};
}

FsctlReply succeed_reading(std::uint32_t flags, std::uint64_t transfer_length, const Token& token) {
  OffloadReadOutput output{};
  output.size = sizeof output;
  output.flags = flags;
  output.transfer_length = transfer_length;
  output.token = token;
  return succeed(output);
}

FsctlReply succeed_writing(std::uint64_t length_written) {
  OffloadWriteOutput output{};
  output.size = sizeof output;
  output.length_written = length_written;
  return succeed(output);
}

/// The storage has no offload, and will not be asked again.
bool unsupported(NtStatus status) {
  return status == NtStatus::not_supported || status == NtStatus::device_feature_not_supported;
}

/// One request on one stream: the checks, each group in the order of docs/windows.md.
class Request {
 public:
  Request(FileObject& file, Direction direction) : file_(file), volume_(*file.volume), direction_(direction) {}

  /// What can be said without looking at the request: a file system that has offloads, the file object, the volume.
  Refusal judge_state() const {
    using enum Volume::State;
    if (!file_.open)
      return refuse(NtStatus::invalid_device_request, "the handle is of a volume, not of a file on NTFS");
    if (file_.cleaned_up) return refuse(NtStatus::file_closed, "the last handle to the file object is closed");
    if (volume_.state() == dismounted) return refuse(NtStatus::volume_dismounted, "the volume is dismounted");
    if (writing() && volume_.state() == shut_down) return refuse(NtStatus::too_late, "the volume is shut down");
    if (writing() && volume_.read_only())
      return refuse(NtStatus::media_write_protected, "the volume is mounted read-only");
    if (!(writing() ? volume_.offload_write_supported : volume_.offload_read_supported))
      return refuse(NtStatus::not_supported, "the storage answered before that it has no offload");
    return std::nullopt;
  }

  Refusal judge_buffers(std::size_t input, std::size_t output) const {
    const std::size_t input_needed = writing() ? sizeof(OffloadWriteInput) : sizeof(OffloadReadInput);
    const std::size_t output_needed = writing() ? sizeof(OffloadWriteOutput) : sizeof(OffloadReadOutput);
    if (input < input_needed)
      return refuse(NtStatus::buffer_too_small,
                    fmt::format("the input buffer has {} bytes, not {}", input, input_needed));
    if (output < output_needed)
      return refuse(NtStatus::buffer_too_small,
                    fmt::format("the output buffer has {} bytes, not {}", output, output_needed));
    return std::nullopt;
  }

  Refusal judge_fields(const Fields& fields) {
    fields_ = fields;
    if (auto refusal = unaligned("FileOffset", fields.file_offset)) return refusal;
    if (auto refusal = unaligned("CopyLength", fields.copy_length)) return refusal;
    if (auto refusal = unaligned("TransferOffset", fields.transfer_offset)) return refusal;
    const std::size_t size = writing() ? sizeof(OffloadWriteInput) : sizeof(OffloadReadInput);
    if (fields.size != size)
      return refuse(NtStatus::invalid_parameter, fmt::format("Size is {}, not {}", fields.size, size));
    if (fields.copy_length > std::numeric_limits<std::uint64_t>::max() - fields.file_offset)
      return refuse(NtStatus::invalid_parameter,
                    fmt::format("FileOffset {} and CopyLength {} add up to more than 64 bits", fields.file_offset,
                                fields.copy_length));
    return std::nullopt;
  }

  Refusal judge_file() {
    const StreamKind kind = stream().kind();
    const StreamSizes sizes = stream().sizes();
    // What has no data of a user is refused as that, however small it is.
    const bool user_data = !kind.directory && !kind.metadata;
    if (user_data && sizes.end_of_file < sector())
      return refuse(NtStatus::invalid_parameter,
                    fmt::format("the file has {} bytes, less than a sector of {} bytes", sizes.end_of_file, sector()));
    if (const char* what = not_offloadable(kind))
      return refuse(file_not_supported(), fmt::format("the stream is {}", what));
    if (file_.open->delete_pending()) return refuse(NtStatus::file_deleted, "the file is marked deleted");
    if (auto refusal = judge_limits()) return refusal;
    const auto intent = writing() ? ByteRangeLocks::Intent::write : ByteRangeLocks::Intent::read;
    if (const auto* lock = file_.open->locks.conflict(file_.number, fields_.file_offset, fields_.copy_length, intent))
      return refuse(
          NtStatus::file_lock_conflict,
          fmt::format(
              "the {} byte-range lock of {} handle on {} bytes at {} conflicts with the request's {} bytes at {}",
              lock->exclusive ? "exclusive" : "shared", lock->owner == file_.number ? "this" : "another", lock->length,
              lock->offset, fields_.copy_length, fields_.file_offset));
    if (fields_.file_offset >= sizes.end_of_file)
      return refuse(NtStatus::end_of_file, fmt::format("FileOffset {} is not before the end of the file, {}",
                                                       fields_.file_offset, sizes.end_of_file));
    if (writing() && fields_.file_offset > sizes.valid_data_length)
      return refuse(volume_.beyond_vdl_status ? NtStatus::beyond_vdl : NtStatus::invalid_parameter,
                    fmt::format("FileOffset {} is beyond the valid data length {}", fields_.file_offset,
                                sizes.valid_data_length));
    return std::nullopt;
  }

  /// Where [FileOffset, end) lies on the disk, in file order; what lies together is one range.
  std::expected<std::vector<DataSetRange>, FsctlReply> locate(std::uint64_t end) {
    std::uint64_t at = fields_.file_offset;
    auto extents = stream().extents(at, end - at);
    if (!extents) return std::unexpected(refuse(extents.error(), "the extents of the file cannot be read"));
    std::vector<DataSetRange> ranges;
    for (const Extent& extent : *extents) {
      if (at == end) break;
      const std::uint64_t skip = at - extent.file_offset;
      if (extent.file_offset > at || skip >= extent.length || !extent.volume_offset) break;
      const std::uint64_t length = std::min(end - at, extent.length - skip);
      const std::uint64_t offset = *extent.volume_offset + skip;
      if (offset > volume_.device().length() || length > volume_.device().length() - offset)
        return std::unexpected(refuse(NtStatus::nonexistent_sector, fmt::format("the file's byte {} lies beyond the "
                                                                                "volume",
                                                                                at)));
      const DataSetRange range = volume_.device().on_disk(offset, length);
      if (!ranges.empty() && ranges.back().offset + ranges.back().length == range.offset)
        ranges.back().length += length;
      else
        ranges.push_back(range);
      at += length;
    }
    if (at != end)
      return std::unexpected(refuse(file_not_supported(), fmt::format("no clusters hold the file's byte {}", at)));
    return ranges;
  }

  FsctlReply read(std::uint32_t time_to_live_ms) {
    const StreamSizes sizes = stream().sizes();
    const std::uint64_t wanted_end = fields_.file_offset + fields_.copy_length;
    if (fields_.file_offset >= sizes.valid_data_length) {
      const std::uint64_t end = cut(wanted_end, sizes.end_of_file);
      return succeed_reading(kAllZeroBeyondCurrentRange, end - fields_.file_offset, zero_token());
    }
    std::uint32_t flags = wanted_end > sizes.valid_data_length ? kAllZeroBeyondCurrentRange : 0;
    const std::uint64_t end = cut(wanted_end, sizes.valid_data_length);
    auto ranges = prepare(end);
    if (!ranges) return ranges.error();
    constexpr std::uint64_t kMillisecondsPerSecond = 1000;
    const std::uint64_t seconds = round_up(time_to_live_ms, kMillisecondsPerSecond) / kMillisecondsPerSecond;
    OffloadReadResult result = volume_.device().driver().offload_read(*ranges, static_cast<std::uint32_t>(seconds));
    if (unsupported(result.status)) volume_.offload_read_supported = false;
    if (result.status != NtStatus::success) return refuse(result.status, std::move(result.reason));
    if (result.length_protected < end - fields_.file_offset) flags = 0;
    return succeed_reading(flags, result.length_protected, result.token);
  }

  FsctlReply write(const Token& token) {
    const StreamSizes sizes = stream().sizes();
    const std::uint64_t end = cut(fields_.file_offset + fields_.copy_length, sizes.end_of_file);
    auto ranges = prepare(end);
    if (!ranges) return ranges.error();
    OffloadWriteResult result = volume_.device().driver().offload_write(token, fields_.transfer_offset, *ranges);
    if (unsupported(result.status)) volume_.offload_write_supported = false;
    if (result.status != NtStatus::success) return refuse(result.status, std::move(result.reason));
    const std::uint64_t written_end = fields_.file_offset + result.length_copied;
    const std::uint64_t valid = std::min(sizes.end_of_file, std::max(sizes.valid_data_length, written_end));
    if (NtStatus status = stream().set_valid_data_length(valid); status != NtStatus::success)
      return refuse(status, fmt::format("the data is written, but the valid data length {} is not", valid));
    return succeed_writing(result.length_copied);
  }

 private:
  bool writing() const { return direction_ == Direction::write; }
  FileStream& stream() const { return *file_.open->stream; }
  std::uint32_t sector() const { return volume_.device().block_length(); }
  NtStatus file_not_supported() const {
    return writing() ? NtStatus::offload_write_file_not_supported : NtStatus::offload_read_file_not_supported;
  }

  /// The end of a range, at most `limit` rounded up to a sector.
  std::uint64_t cut(std::uint64_t end, std::uint64_t limit) const {
    return limit < end ? round_up(limit, sector()) : end;
  }

  Refusal unaligned(std::string_view name, std::uint64_t value) const {
    if (value % sector() == 0) return std::nullopt;
    return refuse(NtStatus::invalid_parameter,
                  fmt::format("{} {} is not a multiple of the sector length {}", name, value, sector()));
  }

  /// Why a stream like this is not offloaded; nothing when it is.
  const char* not_offloadable(const StreamKind& kind) const {
    if (kind.directory) return "a directory";
    if (kind.metadata) return "the file system's own";
    if (kind.sparse) return "sparse";
    if (kind.encrypted) return "encrypted";
    if (kind.compressed) return "compressed";
    if (file_.transacted || kind.transacted) return "part of a transaction";
    if (kind.resident) return "resident";
    if (kind.deduplicated) return "deduplicated";
    return nullptr;
  }

  /// Offsets are signed to NTFS, and files end somewhere.
  Refusal judge_limits() const {
    if (fields_.file_offset > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return refuse(NtStatus::invalid_parameter,
                    fmt::format("FileOffset {} is negative as a signed number", fields_.file_offset));
    if (!writing()) return std::nullopt;
    const FileSystem* file_system = volume_.file_system();
    const std::uint64_t end = fields_.file_offset + fields_.copy_length;
    if (file_system != nullptr && end > file_system->information().maximum_file_size)
      return refuse(NtStatus::invalid_parameter, fmt::format("the range ends at {}, beyond the largest file", end));
    return std::nullopt;
  }

  /// The last steps before the device: what the file system still holds of the stream is written, and then located.
  std::expected<std::vector<DataSetRange>, FsctlReply> prepare(std::uint64_t end) {
    if (NtStatus status = stream().flush(); status != NtStatus::success)
      return std::unexpected(refuse(status, "the file could not be flushed"));
    return locate(end);
  }

  FileObject& file_;
  Volume& volume_;
  Direction direction_;
  Fields fields_{};
};

}  // namespace

FsctlReply OffloadEngine::offload_read(FileObject& file, base::Bytes input, std::size_t output_length) {
  Request request(file, Direction::read);
  if (auto refusal = request.judge_state()) return *refusal;
  if (auto refusal = request.judge_buffers(input.size(), output_length)) return *refusal;
  const auto fields = base::load<OffloadReadInput>(input);
  if (auto refusal = request.judge_fields({fields.size, fields.file_offset, fields.copy_length})) return *refusal;
  if (fields.copy_length == 0) return succeed_reading(0, 0, zero_token());
  if (auto refusal = request.judge_file()) return *refusal;
  return request.read(fields.token_time_to_live_ms);
}

FsctlReply OffloadEngine::offload_write(FileObject& file, base::Bytes input, std::size_t output_length) {
  Request request(file, Direction::write);
  if (auto refusal = request.judge_state()) return *refusal;
  if (auto refusal = request.judge_buffers(input.size(), output_length)) return *refusal;
  const auto fields = base::load<OffloadWriteInput>(input);
  if (auto refusal =
          request.judge_fields({fields.size, fields.file_offset, fields.copy_length, fields.transfer_offset}))
    return *refusal;
  if (fields.copy_length == 0) return succeed_writing(0);
  if (auto refusal = request.judge_file()) return *refusal;
  return request.write(fields.token);
}

}  // namespace host
