#include "handlers/file_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "handlers/copy_from_snapshot.h"
#include "handlers/file_originals.h"

namespace handlers {

/// What a store shares with its snapshots.
class FileCore {
 public:
  FileCore(const FileStoreOptions& options, MemoryPool& pool)
      : image(options), originals(base::make_ref<FileOriginals>(image, base::Ref(&pool))), pool_(&pool) {}

  FileImage image;
  const base::Ref<FileOriginals> originals;

  base::Ref<base::DataBuffer> take_buffer(std::size_t length) { return pool_->read_buffers().take(length); }

 private:
  const base::Ref<MemoryPool> pool_;
};

namespace {

/// How much is read or copied while a lock is held that keeps a snapshot's data where it is.
constexpr std::uint64_t kPiece = 1 << 20;
/// The same for sharing, which moves no bytes. The file system may have to write out what is dirty in the source first,
/// so this too is bounded.
constexpr std::uint64_t kSharedPiece = kClonePiece;

/// Beyond this a worker copies the bytes, so that the loop goes on meanwhile.
constexpr std::uint64_t kLongestAtOnce = 64 << 10;

IoResult<void> read_image(FileCore& core, ByteRange range, base::Segments& out, std::size_t most_at_once) {
  auto length = static_cast<std::size_t>(range.length);
  base::Ref<base::DataBuffer> buffer = core.take_buffer(length);
  base::MutableBytes bytes = buffer->bytes().first(length);
  if (auto result = core.image.read(range.offset, bytes, most_at_once); !result) return result;
  out.append(bytes, std::move(buffer));
  return {};
}

class FileSnapshot final : public Snapshot {
 public:
  using Part = FileOriginals::Part;
  using Visit = std::function<IoResult<void>(const Part&)>;

  FileSnapshot(const PoolUser& pool, std::shared_ptr<FileCore> core, FileOriginals::CaptureRef capture)
      : pool_(pool), core_(std::move(core)), capture_(std::move(capture)) {}

  std::uint64_t size_bytes() const override { return capture_->size_bytes(); }
  bool may_block() const override { return true; }
  const FileImage& image() const { return core_->image; }

  IoResult<void> read(ByteRange range, base::Segments& out) const override {
    return visit(range, kPiece, [&](const Part& part) -> IoResult<void> {
      if (part.live) return read_image(*core_, part.range, out, FileImage::kLongWorkCall);
      if (!part.chunk) {
        out.append_zeros(part.range.length);
      } else {
        base::Bytes bytes(part.chunk->data() + part.chunk_offset, static_cast<std::size_t>(part.range.length));
        out.append(bytes, base::Ref<const base::RefCounted>(part.chunk));
      }
      return {};
    });
  }

  IoResult<ProvisioningRun> provisioning(std::uint64_t offset) const override {
    std::optional<ProvisioningRun> run;
    const auto& [start, piece] = *capture_->piece_at(offset);
    const std::uint64_t rest = start + piece.range.length - offset;
    auto result = visit({offset, rest}, rest, [&](const Part& part) -> IoResult<void> {
      run = {part.range.length, part.chunk != nullptr};
      if (part.live) {
        run = core_->image.run(part.range.offset);
        run->length = std::min(run->length, part.range.length);
      }
      return std::unexpected(IoError{});  // one is enough
    });
    if (!run) return std::unexpected(result.error());
    return *run;
  }

  std::uint64_t count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const override {
    return core_->originals->count_memory(*capture_, from, usage, left);
  }

  /// Calls `visit` for each part of `range`, at most `most` long, in order. The part does not change meanwhile.
  IoResult<void> visit(ByteRange range, std::uint64_t most, const Visit& visit) const {
    if (range.length == 0) return {};
    for (auto at = capture_->piece_at(range.offset); range.length > 0;) {
      const FileOriginals::Piece& piece = at->second;
      std::uint64_t within = range.offset - at->first;
      std::uint64_t run = std::min({range.length, piece.range.length - within, most});
      if (auto result = core_->originals->visit(piece, {piece.range.offset + within, run}, visit); !result)
        return result;
      range = {range.offset + run, range.length - run};
      if (within + run == piece.range.length) ++at;
    }
    return {};
  }

 private:
  PoolUser pool_;  // goes last: it may have to free what is left
  std::shared_ptr<FileCore> core_;
  FileOriginals::CaptureRef capture_;
};

/// Writes a part of a snapshot that is no longer in its image.
IoResult<void> write_saved(FileImage& to, const FileSnapshot::Part& part, std::uint64_t offset) {
  if (!part.chunk) return to.punch({offset, part.range.length});
  return to.write(offset, {part.chunk->data() + part.chunk_offset, static_cast<std::size_t>(part.range.length)},
                  FileImage::kLongWorkCall);
}

/// Whether `range` of the snapshot could be put at `offset` by sharing what is still in its image. If not, any of it
/// may have been.
bool share(FileImage& to, const FileSnapshot& from, ByteRange range, std::uint64_t offset) {
  bool shared = true;
  auto result = from.visit(range, kSharedPiece, [&](const FileSnapshot::Part& part) -> IoResult<void> {
    std::uint64_t at = offset;
    offset += part.range.length;
    if (!shared) return {};
    if (!part.live) return write_saved(to, part, at);
    shared = to.share_from(from.image(), part.range, at);
    return {};
  });
  return result && shared;
}

IoResult<void> copy(FileImage& to, const FileSnapshot& from, ByteRange range, std::uint64_t offset) {
  return from.visit(range, kPiece, [&](const FileSnapshot::Part& part) {
    std::uint64_t at = offset;
    offset += part.range.length;
    return part.live ? to.copy_from(from.image(), part.range, at) : write_saved(to, part, at);
  });
}

}  // namespace

FileStore::FileStore(const FileStoreOptions& options)
    : pool_(options.pool ? options.pool : MemoryPool::create()),
      core_(std::make_shared<FileCore>(options, *pool_)),
      read_only_(options.read_only) {}
FileStore::~FileStore() = default;

std::uint64_t FileStore::size_bytes() const { return core_->image.size(); }
IoResult<void> FileStore::resize(std::uint64_t size_bytes) { return core_->image.resize(size_bytes); }
IoResult<std::uint64_t> FileStore::measure() const { return core_->image.measure(); }
std::uint64_t FileStore::allocated_bytes() const { return core_->image.allocated_bytes(); }

IoResult<void> FileStore::check_writable() const {
  if (read_only_)
    return std::unexpected(IoError{IoError::Kind::write_protected, core_->image.path() + ": opened read-only"});
  if (const auto kind = flush_failed_.load(std::memory_order_relaxed))
    return std::unexpected(IoError{*kind, core_->image.path() + ": an earlier flush failed; reopen the image"});
  return {};
}

IoResult<void> FileStore::read(ByteRange range, base::Segments& out) {
  if (range.length == 0) return {};
  return read_image(*core_, range, out, FileImage::kAnyCall);
}

IoResult<void> FileStore::write(std::uint64_t offset, base::Bytes data) {
  if (auto result = check_writable(); !result) return result;
  core_->originals->preserve({offset, data.size()});
  return core_->image.write(offset, data);
}

bool FileStore::read_at_once(ByteRange range, base::Segments& out) {
  if (range.length > kLongestAtOnce) return false;
  auto length = static_cast<std::size_t>(range.length);
  base::Ref<base::DataBuffer> buffer = core_->take_buffer(length);
  base::MutableBytes bytes = buffer->bytes().first(length);
  if (!core_->image.read_at_once(range.offset, bytes)) return false;
  out.append(bytes, std::move(buffer));
  return true;
}

bool FileStore::write_at_once(std::uint64_t offset, base::Bytes data) {
  // Saving what a snapshot needs may have to read it first.
  if (data.size() > kLongestAtOnce || !core_->originals->empty() || !check_writable()) return false;
  return core_->image.write_at_once(offset, data);
}

IoResult<void> FileStore::write_same(ByteRange range, base::Bytes pattern) {
  if (range.length == 0) return check_writable();
  if (pattern[0] == 0 && std::memcmp(pattern.data(), pattern.data() + 1, pattern.size() - 1) == 0) return unmap(range);
  std::uint64_t piece = std::max<std::uint64_t>(FileImage::kLongWorkCall / pattern.size(), 1) * pattern.size();
  std::vector<std::uint8_t> data;
  while (data.size() < std::min(piece, range.length)) data.insert(data.end(), pattern.begin(), pattern.end());
  while (range.length > 0) {
    std::uint64_t run = std::min(piece, range.length);
    if (auto result = write(range.offset, base::Bytes(data).first(static_cast<std::size_t>(run))); !result)
      return result;
    range = {range.offset + run, range.length - run};
  }
  return {};
}

IoResult<void> FileStore::unmap(ByteRange range) {
  if (auto result = check_writable(); !result) return result;
  core_->originals->preserve(range);
  return core_->image.punch(range);
}

IoResult<void> FileStore::flush() {
  if (read_only_) return {};
  if (auto result = check_writable(); !result) return result;
  auto result = core_->image.sync();
  if (!result) flush_failed_.store(result.error().kind, std::memory_order_relaxed);
  return result;
}

bool FileStore::flush_at_once() { return (read_only_ || core_->image.in_memory()) && flush(); }

IoResult<ProvisioningRun> FileStore::provisioning(std::uint64_t offset) { return core_->image.run(offset); }

IoResult<SnapshotRef> FileStore::capture(std::span<const ByteRange> ranges) {
  auto captured = core_->originals->capture(ranges);
  if (!captured) return std::unexpected(std::move(captured.error()));
  return base::make_ref<const FileSnapshot>(pool_, core_, std::move(*captured));
}

IoResult<void> FileStore::clone(const Snapshot& snapshot, ByteRange range, std::uint64_t offset,
                                std::uint64_t* copied) {
  auto* source = dynamic_cast<const FileSnapshot*>(&snapshot);
  if (!source) return copy_from_snapshot(*this, snapshot, range, offset, copied);
  if (copied) *copied = 0;
  if (auto result = check_writable(); !result) return result;
  FileImage& image = core_->image;
  bool sharing = true;
  for (std::uint64_t done = 0; done < range.length;) {
    std::uint64_t to = offset + done;
    // Cut where the target's blocks are: a hole's block that two pieces meet in would stay.
    std::uint64_t most = sharing ? kSharedPiece : kPiece;
    std::uint64_t length = std::min(range.length - done, most - to % most);
    // First what this store's snapshots need of the target, which may be what is copied from: then it is no
    // longer live, and is taken from memory below.
    core_->originals->preserve({to, length});
    sharing = sharing && share(image, *source, {range.offset + done, length}, to);
    if (!sharing) {
      length = std::min(length, kPiece - to % kPiece);
      if (auto result = copy(image, *source, {range.offset + done, length}, to); !result) return result;
    }
    done += length;
    // What could not be shared here may be a part of the snapshot with another alignment.
    sharing = sharing || (to + length) % kSharedPiece < length;
    if (copied) *copied = done;
  }
  return {};
}

}  // namespace handlers
