#include "host/file_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "host/fsctl_layouts.h"
#include "host/local_file.h"
#include "host/offload_copy.h"

namespace host {

namespace {

/// What SetFileAttributes can set.
constexpr std::uint32_t kSettable = kFileAttributeReadonly | kFileAttributeHidden | kFileAttributeSystem |
                                    kFileAttributeArchive | kFileAttributeTemporary | kFileAttributeOffline |
                                    kFileAttributeNotContentIndexed;

/// The refusals that concern a volume as a whole, whichever file was asked for.
bool means_unsupported(NtStatus status) {
  using enum NtStatus;
  return status == not_supported || status == device_feature_not_supported || status == invalid_device_request ||
         status == offload_read_flt_not_supported || status == offload_write_flt_not_supported;
}

/// One open stream at one end of the copy.
class End {
 public:
  static NtResult<std::unique_ptr<End>> open(IoManager& io, const FilePlace& place, const std::string& stream,
                                             std::uint32_t access, Disposition disposition) {
    std::unique_ptr<End> end(new End(io, place.volume));
    if (place.volume == nullptr) {
      auto file = LocalFile::open(place.path, disposition);
      if (!file) return std::unexpected(file.error());
      end->local_.emplace(std::move(*file));
      return end;
    }
    auto handle = io.open(*place.volume, {place.path, stream}, {access, disposition});
    if (!handle) return std::unexpected(handle.error());
    end->handle_ = *handle;
    end->stream_ = io.reference(*handle)->open->stream;
    return end;
  }
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  ~End() {
    if (handle_ != 0) io_.close(handle_);
  }

  Volume* volume() const { return volume_; }
  FileStream* stream() const { return stream_.get(); }  ///< nothing: local
  Handle handle() const { return handle_; }
  std::uint64_t size() const { return local_ ? local_->size() : stream_->sizes().end_of_file; }
  bool is(const End& other, const std::string& path) const {
    return local_ ? other.local_ && local_->is(path) : stream_ == other.stream_;
  }
  FileIdentity identity() const {
    if (!local_) return {volume_, 0, stream_->file_number()};
    const auto [device, inode] = local_->identity();
    return {nullptr, device, inode};
  }
  bool is_encrypted() const { return stream_ && stream_->kind().encrypted; }
  bool is_directory() const { return stream_ && stream_->kind().directory; }
  BasicInformation basic_information() const {
    return local_ ? local_->basic_information() : stream_->basic_information();
  }

  NtResult<std::size_t> read(std::uint64_t offset, base::MutableBytes out) {
    return local_ ? local_->read(offset, out) : io_.read(handle_, offset, out);
  }
  NtStatus write(std::uint64_t offset, base::Bytes data) {
    return local_ ? local_->write(offset, data) : io_.write(handle_, offset, data);
  }
  NtStatus set_end_of_file(std::uint64_t length) {
    return local_ ? local_->set_end_of_file(length) : io_.set_end_of_file(handle_, length);
  }
  NtStatus flush() { return local_ ? local_->flush() : stream_->flush(); }

  /// Attributes and the time of the last write, as CopyFile hands them on; the copy is not archived yet.
  NtStatus set_basic_information(const BasicInformation& from) {
    if (local_) return local_->set_last_write_time(from.last_write_time);
    BasicInformation information = stream_->basic_information();
    information.attributes &= ~(kSettable | kFileAttributeNormal);
    information.attributes |= (from.attributes & kSettable) | kFileAttributeArchive;
    information.last_write_time = from.last_write_time;
    return stream_->set_basic_information(information);
  }
  /// Deletes it; the end is good for nothing afterwards.
  NtStatus remove() {
    if (local_) return local_->remove();
    const NtStatus status = io_.mark_deleted(handle_);
    stream_.reset();
    const NtStatus closed = io_.close(std::exchange(handle_, 0));
    return status == NtStatus::success ? closed : status;
  }

 private:
  End(IoManager& io, Volume* volume) : io_(io), volume_(volume) {}

  IoManager& io_;
  Volume* volume_;
  Handle handle_ = 0;
  std::shared_ptr<FileStream> stream_;
  std::optional<LocalFile> local_;
};

/// Copies the content of one stream.
class StreamCopy {
 public:
  StreamCopy(IoManager& io, OffloadMemory& memory, End& from, End& to, const FileCopyOptions& options,
             const OnChunkFinished& progress, StreamOutcome& outcome)
      : io_(io), memory_(memory), from_(from), to_(to), options_(options), progress_(progress), outcome_(outcome) {}

  /// Why it failed stands in failure().
  NtStatus run() {
    outcome_.size = from_.size();
    if (outcome_.size != 0)
      if (NtStatus status = to_.set_end_of_file(outcome_.size); status != NtStatus::success)
        return fail(status, fmt::format("the destination cannot be made {} bytes long", outcome_.size));
    if (may_offload())
      while (done_ < outcome_.size && !cancelled_ && offload_one_token()) {
      }
    if (done_ < outcome_.size && !cancelled_)
      if (NtStatus status = read_and_write(); status != NtStatus::success) return status;
    return cancelled_ ? fail(NtStatus::cancelled, fmt::format("stopped at byte {}", done_)) : NtStatus::success;
  }
  const std::string& failure() const { return failure_; }

 private:
  NtStatus fail(NtStatus status, std::string text) {
    failure_ = std::move(text);
    return succeeded(status) ? NtStatus::unsuccessful : status;
  }

  bool not_tried(NotTried why, std::string reason) {
    outcome_.not_tried = why;
    outcome_.reason = std::move(reason);
    return false;
  }

  bool may_offload() {
    if (options_.no_offload) return not_tried(NotTried::option, "offloading was not wanted");
    if (from_.volume() == nullptr || to_.volume() == nullptr)
      return not_tried(NotTried::local_file, "a file of this machine lies on no disk of the array");
    if (outcome_.size == 0) return not_tried(NotTried::empty, "there is nothing to copy");
    if (outcome_.size < options_.minimum_offload)
      return not_tried(NotTried::too_small, fmt::format("smaller than {} bytes", options_.minimum_offload));
    if (auto why = memory_.remembers(*from_.volume(), *to_.volume()))
      return not_tried(NotTried::remembered, std::move(*why));
    return true;
  }

  bool give_up(NtStatus status, std::string reason) {
    outcome_.offload_status = succeeded(status) ? NtStatus::unsuccessful : status;
    outcome_.reason = std::move(reason);
    return false;
  }

  void advance(std::uint64_t bytes, bool offloaded) {
    bytes = std::min(bytes, outcome_.size - done_);
    done_ += bytes;
    (offloaded ? outcome_.offloaded_bytes : outcome_.read_written_bytes) += bytes;
    if (progress_ && !progress_({outcome_.stream, outcome_.size, done_, bytes, offloaded})) cancelled_ = true;
  }

  bool offload_one_token() {
    const std::uint64_t from_sector = sector(from_), to_sector = sector(to_);
    OffloadReadInput input;
    input.size = sizeof input;
    input.file_offset = done_;
    input.copy_length = round_up(outcome_.size - done_, std::max(from_sector, to_sector));
    FsctlReply reply =
        io_.fs_control(from_.handle(), kFsctlOffloadRead, base::bytes_of(input), sizeof(OffloadReadOutput));
    if (reply.status != NtStatus::success) {
      if (means_unsupported(reply.status)) memory_.cannot_read(*from_.volume(), reply.status);
      return give_up(reply.status, "offload read: " + reply.reason);
    }
    if (reply.output.size() < sizeof(OffloadReadOutput))
      return give_up(NtStatus::unsuccessful, "the reply of the offload read is short");
    const auto token = base::load<OffloadReadOutput>(reply.output);
    const bool zeros_follow = (token.flags & kAllZeroBeyondCurrentRange) != 0;
    // All that is left lies beyond the valid data length: so it does at the destination.
    if (zeros_follow && token.token == zero_token()) return all_zeros();
    ++outcome_.tokens;
    const std::uint64_t held = std::min<std::uint64_t>(token.transfer_length, input.copy_length);
    // A token may end inside a sector of the destination: that one is left to the next token.
    const std::uint64_t usable = held - held % to_sector;
    if (usable == 0)
      return give_up(NtStatus::unsuccessful,
                     fmt::format("the token holds {} bytes, less than a sector of the destination", held));
    if (!use_token(token.token, usable)) return false;
    return cancelled_ || !zeros_follow || usable != held || all_zeros();
  }

  /// Writes `usable` bytes of the token, from its beginning.
  bool use_token(const Token& token, std::uint64_t usable) {
    for (std::uint64_t used = 0; used < usable;) {
      OffloadWriteInput input;
      input.size = sizeof input;
      input.file_offset = done_;
      input.copy_length = std::min(kOffloadChunk, usable - used);
      input.transfer_offset = used;
      input.token = token;
      FsctlReply reply =
          io_.fs_control(to_.handle(), kFsctlOffloadWrite, base::bytes_of(input), sizeof(OffloadWriteOutput));
      if (reply.status != NtStatus::success) {
        remember_write_failure(reply.status);
        return give_up(reply.status, "offload write: " + reply.reason);
      }
      const std::uint64_t written = reply.output.size() < sizeof(OffloadWriteOutput)
                                        ? 0
                                        : base::load<OffloadWriteOutput>(reply.output).length_written.value();
      if (written == 0 || written > input.copy_length)
        return give_up(NtStatus::unsuccessful,
                       fmt::format("an offload write of {} bytes wrote {}", input.copy_length.value(), written));
      used += written;
      advance(written, true);
      if (done_ == outcome_.size || cancelled_) break;
    }
    return true;
  }

  /// An invalid token on the very first write is taken for a pair that cannot reach each other (MS-FSCC, notes on
  /// FSCTL_OFFLOAD_WRITE): arrays answer so. Later it means a token that expired.
  void remember_write_failure(NtStatus status) {
    if (means_unsupported(status)) memory_.cannot_write(*to_.volume(), status);
    if (status == NtStatus::device_unreachable || (status == NtStatus::invalid_token && done_ == 0))
      memory_.unreachable(*from_.volume(), *to_.volume(), status);
  }

  bool all_zeros() {
    outcome_.zero_bytes = outcome_.size - done_;
    done_ = outcome_.size;
    return true;
  }

  NtStatus read_and_write() {
    std::vector<std::uint8_t> buffer;
    while (done_ < outcome_.size && !cancelled_) {
      buffer.resize(std::min(kReadWriteChunk, outcome_.size - done_));
      auto got = from_.read(done_, buffer);
      if (!got) return fail(got.error(), fmt::format("reading the source at byte {}", done_));
      if (*got == 0) return fail(NtStatus::end_of_file, fmt::format("the source ends at byte {}", done_));
      const base::Bytes data = base::Bytes(buffer).first(*got);
      if (NtStatus status = to_.write(done_, data); status != NtStatus::success)
        return fail(status, fmt::format("writing the destination at byte {}", done_));
      advance(*got, false);
    }
    return NtStatus::success;
  }

  static std::uint64_t sector(const End& end) { return end.volume()->device().block_length(); }

  IoManager& io_;
  OffloadMemory& memory_;
  End& from_;
  End& to_;
  const FileCopyOptions& options_;
  const OnChunkFinished& progress_;
  StreamOutcome& outcome_;
  std::uint64_t done_ = 0;
  bool cancelled_ = false;
  std::string failure_;
};

std::string not_opened(std::string_view end, const FilePlace& place, NtStatus status) {
  return fmt::format("the {} {}{} cannot be opened: {}", end, place.volume ? "/" : "", place.path, name(status));
}

class FileCopy {
 public:
  FileCopy(IoManager& io, OffloadMemory& memory, const FilePlace& from, const FilePlace& to,
           const FileCopyOptions& options, const OnChunkFinished& progress)
      : io_(io), memory_(memory), from_(from), to_(to), options_(options), progress_(progress) {}

  FileCopyOutcome run() {
    if ((!from_.stream.empty() && !from_.volume) || (!to_.stream.empty() && !to_.volume))
      return failed(NtStatus::object_name_invalid, "a file of this machine has no named streams");
    auto source = End::open(io_, from_, from_.stream, kFileReadData | kFileReadAttributes, Disposition::open);
    if (!source) return failed(source.error(), not_opened("source", from_, source.error()));
    if ((*source)->is_directory()) return failed(NtStatus::file_is_a_directory, "the source is a directory");
    if (is_reparse_point(**source)) return failed(NtStatus::io_reparse_tag_not_handled, "the source is " + kElsewhere);
    if ((*source)->is_encrypted()) return failed(NtStatus::access_denied, "the source is encrypted");
    if (NtStatus status = look_at_destination(**source); status != NtStatus::success) return std::move(outcome_);
    auto destination = End::open(io_, to_, to_.stream, kFileReadData | kFileWriteData | kFileReadAttributes | kDelete,
                                 options_.fail_if_exists ? Disposition::create : Disposition::overwrite_or_create);
    if (!destination) return failed(destination.error(), not_opened("destination", to_, destination.error()));
    outcome_.status = copy_into(**source, **destination);
    if (outcome_.status != NtStatus::success) {
      outcome_.destination_deleted = (*destination)->remove() == NtStatus::success;
      if (!outcome_.destination_deleted) outcome_.reason += "; what was copied could not be deleted";
    } else if (options_.made != nullptr) {
      options_.made->insert((*destination)->identity());
    }
    return std::move(outcome_);
  }

 private:
  FileCopyOutcome failed(NtStatus status, std::string reason) {
    outcome_.status = succeeded(status) ? NtStatus::unsuccessful : status;
    outcome_.reason = std::move(reason);
    return std::move(outcome_);
  }
  NtStatus fail(NtStatus status, std::string reason) {
    outcome_.status = status;
    outcome_.reason = std::move(reason);
    return status;
  }
  /// Links, deduplicated and compacted files: what its stream holds are not the file's data, and who would know them
  /// (a filter of Windows) is not here.
  static bool is_reparse_point(const End& end) {
    return (end.basic_information().attributes & kFileAttributeReparsePoint) != 0;
  }
  static inline const std::string kElsewhere = "a reparse point (a link, deduplicated): its data lie elsewhere";

  bool one_stream() const { return !from_.stream.empty() || !to_.stream.empty(); }

  /// What is there must be another file, no directory, and may be overwritten.
  NtStatus look_at_destination(const End& source) {
    auto there = End::open(io_, to_, to_.stream, kFileReadAttributes, Disposition::open);
    if (!there) return NtStatus::success;  // opening it to write says what is wrong, if anything
    if (source.is(**there, to_.path))
      return fail(NtStatus::sharing_violation, "source and destination are the same file");
    if (to_.stream.empty() && source.identity() == (*there)->identity())
      return fail(NtStatus::sharing_violation, "overwriting the destination would remove the source, its stream");
    if ((*there)->is_directory()) return fail(NtStatus::file_is_a_directory, "the destination is a directory");
    if (options_.fail_if_exists) return fail(NtStatus::object_name_collision, "the destination exists");
    if (options_.made != nullptr && options_.made->contains((*there)->identity()))
      return fail(NtStatus::object_name_collision, "the destination was made a moment ago, from another source");
    if (is_reparse_point(**there))
      return fail(NtStatus::io_reparse_tag_not_handled, "the destination is " + kElsewhere);
    if (((*there)->basic_information().attributes & kFileAttributeReadonly) != 0)
      return fail(NtStatus::access_denied, "the destination is read-only");
    return NtStatus::success;
  }

  NtStatus copy_into(End& source, End& destination) {
    if (to_.stream.empty() && destination.stream() != nullptr)
      if (NtStatus status = remove_named_streams(destination); status != NtStatus::success) return status;
    if (NtStatus status = copy_stream(source, destination, from_.stream); status != NtStatus::success) return status;
    if (one_stream()) return finish(destination);
    if (NtStatus status = copy_named_streams(source); status != NtStatus::success) return status;
    if (NtStatus status = destination.set_basic_information(source.basic_information()); status != NtStatus::success)
      return fail(status, "setting the attributes and times of the destination");
    return finish(destination);
  }

  NtStatus finish(End& destination) {
    const NtStatus status = destination.flush();
    return status == NtStatus::success ? status : fail(status, "flushing the destination");
  }

  /// Overwriting a file takes its other streams with it (MS-FSA 2.1.5.1.2).
  NtStatus remove_named_streams(End& destination) {
    auto names = destination.stream()->stream_names();
    if (!names) return fail(names.error(), "listing the streams of the destination");
    for (const std::string& name : *names) {
      if (name.empty()) continue;
      auto end = End::open(io_, to_, name, kDelete, Disposition::open);
      NtStatus status = end ? (*end)->remove() : end.error();
      if (status != NtStatus::success) return fail(status, "removing the destination's stream " + name);
    }
    return NtStatus::success;
  }

  NtStatus copy_named_streams(End& source) {
    if (source.stream() == nullptr) return NtStatus::success;
    auto names = source.stream()->stream_names();
    if (!names) return fail(names.error(), "listing the streams of the source");
    for (const std::string& name : *names) {
      if (name.empty()) continue;
      if (to_.volume == nullptr) {
        outcome_.streams_left_out.push_back(name);
        continue;
      }
      auto from = End::open(io_, from_, name, kFileReadData, Disposition::open);
      if (!from) return fail(from.error(), "opening the source's stream " + name);
      auto to = End::open(io_, to_, name, kFileReadData | kFileWriteData, Disposition::overwrite_or_create);
      if (!to) return fail(to.error(), "making the destination's stream " + name);
      if (NtStatus status = copy_stream(**from, **to, name); status != NtStatus::success) return status;
      if (NtStatus status = finish(**to); status != NtStatus::success) return status;
    }
    return NtStatus::success;
  }

  NtStatus copy_stream(End& from, End& to, const std::string& name) {
    outcome_.streams.push_back({.stream = name});
    StreamCopy copy(io_, memory_, from, to, options_, progress_, outcome_.streams.back());
    const NtStatus status = copy.run();
    return status == NtStatus::success ? status : fail(status, copy.failure());
  }

  IoManager& io_;
  OffloadMemory& memory_;
  const FilePlace& from_;
  const FilePlace& to_;
  const FileCopyOptions& options_;
  const OnChunkFinished& progress_;
  FileCopyOutcome outcome_;
};

}  // namespace

std::optional<std::string> OffloadMemory::remembers(const Volume& source, const Volume& destination) const {
  const std::pair<std::pair<const Volume*, const Volume*>, std::string_view> looked_up[] = {
      {{&source, nullptr}, "the source volume refused an offload read"},
      {{nullptr, &destination}, "the destination volume refused an offload write"},
      {{&source, &destination}, "the two volumes could not reach each other"}};
  for (const auto& [key, what] : looked_up) {
    auto found = notes_.find(key);
    if (found == notes_.end()) continue;
    const base::Duration ago = clock_.now() - found->second.at;
    if (ago < kSpan)
      return fmt::format("{} {} s ago ({})", what, std::chrono::duration_cast<std::chrono::seconds>(ago).count(),
                         name(found->second.status));
  }
  return std::nullopt;
}

FileCopyOutcome copy_file(IoManager& io, OffloadMemory& memory, const FilePlace& from, const FilePlace& to,
                          const FileCopyOptions& options, const OnChunkFinished& progress) {
  return FileCopy(io, memory, from, to, options, progress).run();
}

}  // namespace host
