#include "handlers/file_originals.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "handlers/memory_usage.h"

namespace handlers {
namespace {

/// How much is saved before readers of other old data get their turn.
constexpr std::uint64_t kLockedPiece = 1 << 20;

}  // namespace

FileOriginals::CurrentMap::iterator FileOriginals::first_overlapping(std::uint64_t offset) {
  auto at = current_.upper_bound(offset);
  if (at != current_.begin() && std::prev(at)->second.end > offset) --at;
  return at;
}

std::vector<FileOriginals::Piece> FileOriginals::capture(std::span<const ByteRange> ranges) {
  std::vector<Piece> pieces;
  std::lock_guard lock(mutex_);
  ++captures_;
  for (const ByteRange& range : ranges) capture_range(range, pieces);
  any_current_.store(!current_.empty(), std::memory_order_relaxed);
  return pieces;
}

void FileOriginals::capture_range(ByteRange range, std::vector<Piece>& out) {
  auto at = first_overlapping(range.offset);
  for (std::uint64_t offset = range.offset; offset < range.end();) {
    std::uint64_t next = at == current_.end() ? range.end() : std::min(at->first, range.end());
    if (offset < next) {
      auto original = originals_.insert(originals_.end(), Original{.range = {offset, next - offset}});
      at = current_.emplace_hint(at, offset, Current{next, original});
    }
    next = std::min(at->second.end, range.end());
    at->second.original->users.insert(captures_);
    out.push_back({{offset, next - offset}, at->second.original, captures_});
    ++at;
    offset = next;
  }
}

void FileOriginals::release(const std::vector<Piece>& pieces) {
  std::lock_guard lock(mutex_);
  for (const Piece& piece : pieces) {
    Original& original = *piece.original;
    original.users.erase(original.users.find(piece.capture));
    if (original.users.empty()) {
      forget(piece.original);
      originals_.erase(piece.original);
    } else if (std::uint64_t oldest = *original.users.begin(); oldest > piece.capture) {
      std::erase_if(original.saved, [&](const auto& entry) { return entry.second.captures < oldest; });
    }
  }
  any_current_.store(!current_.empty(), std::memory_order_relaxed);
}

void FileOriginals::preserve(ByteRange range) {
  // Captures are alone on their store, so what this load misses cannot have been captured before this change.
  while (any_current_.load(std::memory_order_relaxed) && range.length > 0) {
    std::lock_guard lock(mutex_);
    auto at = first_overlapping(range.offset);
    if (at == current_.end() || at->first >= range.end()) return;
    auto original = at->second.original;
    std::uint64_t from = std::max(at->first, range.offset);
    std::uint64_t to = std::min({at->second.end, range.end(), from + kLockedPiece});
    if (save(*original, {from, to - from})) {
      forget({from, to - from});
    } else {
      original->lost = true;
      original->saved.clear();
      forget(original);
    }
    range = {to, range.end() - to};
    any_current_.store(!current_.empty(), std::memory_order_relaxed);
  }
}

void FileOriginals::forget(std::list<Original>::iterator original) {
  ByteRange range = original->range;
  for (auto at = first_overlapping(range.offset); at != current_.end() && at->first < range.end();)
    at = at->second.original == original ? current_.erase(at) : std::next(at);
}

void FileOriginals::forget(ByteRange range) {
  for (auto at = first_overlapping(range.offset); at != current_.end() && at->first < range.end();) {
    std::uint64_t start = at->first;
    Current whole = at->second;
    at = current_.erase(at);
    if (start < range.offset) current_.emplace_hint(at, start, Current{range.offset, whole.original});
    if (range.end() < whole.end) at = current_.emplace_hint(at, range.end(), whole);
  }
}

bool FileOriginals::save(Original& original, ByteRange range) {
  while (range.length > 0) {
    ProvisioningRun run = image_.run(range.offset);
    std::uint64_t length = std::min(run.length, range.length);
    Saved saved{length, {}, captures_};
    if (run.mapped) {
      saved.chunk = pool_.allocate(static_cast<std::size_t>(std::min<std::uint64_t>(length, kMaxChunk)));
      if (!saved.chunk) return false;
      length = std::min<std::uint64_t>(length, saved.chunk->size());
      saved.length = length;
      if (!image_.read(range.offset, {saved.chunk->data(), static_cast<std::size_t>(length)})) return false;
    }
    original.saved.emplace(range.offset, std::move(saved));
    range.offset += length;
    range.length -= length;
  }
  return true;
}

void FileOriginals::count_memory(const std::vector<Piece>& pieces, MemoryUsage& usage) const {
  std::shared_lock lock(mutex_);
  for (const Piece& piece : pieces) {
    if (!usage.enter(&*piece.original)) continue;
    for (const auto& [offset, saved] : piece.original->saved)
      if (saved.chunk) usage.add(*saved.chunk);
  }
}

IoResult<void> FileOriginals::visit(const Piece& piece, ByteRange range,
                                    const std::function<IoResult<void>(const Part&)>& visit) const {
  std::shared_lock lock(mutex_);
  const Original& original = *piece.original;
  if (original.lost) {
    return std::unexpected(IoError{IoError::Kind::snapshot_lost,
                                   fmt::format("{}: no memory to keep old data of bytes {} to {} for a snapshot",
                                               image_.path(), original.range.offset, original.range.end())});
  }
  auto at = original.saved.upper_bound(range.offset);
  if (at != original.saved.begin() && std::prev(at)->first + std::prev(at)->second.length > range.offset) --at;
  for (std::uint64_t offset = range.offset; offset < range.end();) {
    Part part;
    std::uint64_t end = at == original.saved.end() ? range.end() : std::min(at->first, range.end());
    part.live = offset < end;
    if (!part.live) {
      end = std::min(at->first + at->second.length, range.end());
      part.chunk = at->second.chunk.get();
      part.chunk_offset = offset - at->first;
      ++at;
    }
    part.range = {offset, end - offset};
    if (auto result = visit(part); !result) return result;
    offset = end;
  }
  return {};
}

}  // namespace handlers
