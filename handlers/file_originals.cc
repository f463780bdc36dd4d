#include "handlers/file_originals.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "handlers/memory_usage.h"

namespace handlers {
namespace {

/// How much is read before it is put where readers find it.
constexpr std::uint64_t kSavedAtOnce = 1 << 20;
/// Pieces, and parts of originals, that are looked at while others wait for the lock: some ten microseconds.
constexpr std::size_t kStep = 64;
/// What is saved and counts as much as a leaf of a tree does.
constexpr std::size_t kSavedOfALeaf = 4;

}  // namespace

void FileOriginals::Capture::dispose() {
  originals_->let_go(*this);
  free_slice();
}

void FileOriginals::Capture::free_slice() {
  if (originals_->discard_some(*this))
    delete this;
  else
    originals_->pool_->bury(this);
}

/// Whoever waits for it is next, also when its holder takes it again at once.
std::unique_lock<std::mutex> FileOriginals::lock() const {
  std::lock_guard next(next_);
  return std::unique_lock(mutex_);
}

/// Whether the limit is not reached, or was because of what waits to be freed.
bool FileOriginals::room() const {
  while (budget()->exhausted())
    if (!pool_->reclaim(1)) return !budget()->exhausted();
  return true;
}

/// Readers that overlap do not keep a write waiting: those that come after it come in after it. A reader must not come
/// in again.
std::shared_lock<std::shared_mutex> FileOriginals::lock_to_read() const {
  std::lock_guard gate(gate_);
  return std::shared_lock(reading_);
}

FileOriginals::CurrentMap::iterator FileOriginals::first_overlapping(std::uint64_t offset) {
  auto at = current_.upper_bound(offset);
  if (at != current_.begin() && std::prev(at)->second.end > offset) --at;
  return at;
}

std::uint64_t FileOriginals::oldest_needing(const Original& original) const {
  auto needs = [this](const auto& user) { return needing_.contains(user.first); };
  auto oldest = std::ranges::find_if(original.users, needs);
  return oldest == original.users.end() ? kNone : oldest->first;
}

FileOriginals::CaptureRef FileOriginals::new_capture() {
  auto capture = base::make_ref<Capture>(base::Ref(this));
  const auto locked = lock();
  needing_.insert(captures_ + 1);
  capture->number_ = ++captures_;
  return capture;
}

IoResult<FileOriginals::CaptureRef> FileOriginals::capture(std::span<const ByteRange> ranges) {
  CaptureRef capture = new_capture();
  for (ByteRange range : ranges) {
    while (range.length > 0) {
      if (!room())
        return std::unexpected(IoError{
            IoError::Kind::no_space,
            fmt::format("{}: the memory limit of {} bytes is reached, and a snapshot of bytes {} to {} needs more",
                        image_.path(), budget()->limit(), range.offset, range.end())});
      const auto locked = lock();
      capture_some(range, *capture);
      note_current();
    }
  }
  return capture;
}

/// Takes from the start of `range` what it has captured.
void FileOriginals::capture_some(ByteRange& range, Capture& out) {
  auto at = first_overlapping(range.offset);
  for (std::size_t left = kStep; left > 0 && range.length > 0; --left) {
    if (at != current_.end() && at->first < range.end() && at->second.original->lost) {
      at = current_.erase(at);
      continue;
    }
    std::uint64_t end = at == current_.end() ? range.end() : std::min(at->first, range.end());
    if (range.offset < end) {
      at = add_original(at, {range.offset, end - range.offset}, out);
    } else {
      end = std::min(at->second.end, range.end());
      add_piece(out, {{range.offset, end - range.offset}, at->second.original});
    }
    range = {end, range.end() - end};
    ++at;
  }
}

/// One that is current, with its first user. Returns where it is.
FileOriginals::CurrentMap::iterator FileOriginals::add_original(CurrentMap::iterator before, ByteRange range,
                                                                Capture& user) {
  Originals original(budget());
  original.emplace_back(range, budget());
  CurrentMap current(budget());
  current.emplace(range.offset, Current{range.end(), original.begin()});
  add_piece(user, {range, original.begin()});
  originals_.splice(originals_.end(), original);
  return current_.insert(before, current.extract(current.begin()));
}

/// At its end.
void FileOriginals::add_piece(Capture& capture, const Piece& piece) {
  Pieces added(budget());
  added.emplace(capture.size_bytes_, piece);
  ++piece.original->users[capture.number_];
  capture.pieces_.insert(capture.pieces_.end(), added.extract(added.begin()));
  capture.size_bytes_ += piece.range.length;
}

/// From now on nothing is saved for it.
void FileOriginals::let_go(const Capture& capture) {
  const auto locked = lock();
  needing_.erase(capture.number_);
}

/// Whether nothing of it is left.
bool FileOriginals::discard_some(Capture& released) {
  const auto locked = lock();
  std::size_t left = kStep;
  Pieces& pieces = released.pieces_;
  while (!pieces.empty() && left > 0 && discard_piece(released, left)) {
    pieces.erase(pieces.begin());
    released.oldest_ = released.saved_from_ = released.current_from_ = 0;
  }
  note_current();
  return pieces.empty();
}

/// Whether its first piece is no longer a user of its original. While it is, the original stays.
bool FileOriginals::discard_piece(Capture& released, std::size_t& left) {
  --left;
  const std::uint64_t number = released.number_;
  const auto original = released.pieces_.begin()->second.original;
  const auto user = original->users.find(number);
  if (user->second > 1) {
    --user->second;
    return true;
  }
  if (original->lost || original->users.size() == 1) {
    if (!original->forgotten && !(drop_saved(*original, kNone, released.saved_from_, left) &&
                                  drop_current(original, released.current_from_, left)))
      return false;
    original->forgotten = true;
  } else {
    // The last of those that need nothing does all the rest.
    if (released.oldest_ == 0) released.oldest_ = oldest_needing(*original);
    const std::uint64_t oldest = released.oldest_;
    if (oldest != kNone && oldest > number && oldest > original->least_captures) {
      if (!drop_saved(*original, oldest, released.saved_from_, left)) return false;
      original->least_captures = oldest;
    }
  }
  original->users.erase(user);
  if (original->users.empty()) originals_.erase(original);
  return true;
}

/// Frees what captures before `oldest` needed, from the offset `from` on. Whether it has come to the end.
bool FileOriginals::drop_saved(Original& original, std::uint64_t oldest, std::uint64_t& from, std::size_t& left) {
  auto at = original.saved.lower_bound(from);
  for (; at != original.saved.end() && left > 0; --left)
    at = at->second.captures < oldest ? original.saved.erase(at) : std::next(at);
  const bool done = at == original.saved.end();
  from = done ? kNone : at->first;
  return done;
}

/// The same for what is current of it.
bool FileOriginals::drop_current(std::list<Original>::iterator original, std::uint64_t& from, std::size_t& left) {
  auto at = first_overlapping(std::max(from, original->range.offset));
  for (; at != current_.end() && at->first < original->range.end() && left > 0; --left)
    at = at->second.original == original ? current_.erase(at) : std::next(at);
  const bool done = at == current_.end() || at->first >= original->range.end();
  from = done ? kNone : at->first;
  return done;
}

void FileOriginals::preserve(ByteRange range) {
  // Captures are alone on their store, so what this load misses cannot have been captured before this change.
  while (any_current_.load(std::memory_order_relaxed) && range.length > 0) {
    ByteRange part = next_to_save(range);
    if (part.length > 0) {
      SavedMap saved(budget());
      const bool whole = save(part, saved);
      keep(part, std::move(saved), whole);
    }
    range = {part.end(), range.end() - part.end()};
  }
}

/// The next part to be saved. An empty one: nothing is, before it.
ByteRange FileOriginals::next_to_save(ByteRange range) {
  const auto locked = lock();
  auto at = first_overlapping(range.offset);
  for (std::size_t left = kStep; at != current_.end() && at->first < range.end(); --left) {
    const std::uint64_t from = std::max(at->first, range.offset);
    if (left == 0) return {from, 0};
    const std::uint64_t to = std::min({at->second.end, range.end(), from + kSavedAtOnce});
    if (needed(*at->second.original)) return {from, to - from};
    at = current_.erase(at);
    note_current();
  }
  return {range.end(), 0};
}

bool FileOriginals::save(ByteRange range, SavedMap& saved) {
  while (range.length > 0) {
    if (!room()) return false;
    ProvisioningRun run = image_.run(range.offset);
    std::uint64_t length = std::min(run.length, range.length);
    base::Ref<Chunk> chunk;
    if (run.mapped) {
      chunk = pool_->allocate(static_cast<std::size_t>(std::min<std::uint64_t>(length, kMaxChunk)));
      if (!chunk) return false;
      length = std::min<std::uint64_t>(length, chunk->size());
      if (!image_.read(range.offset, {chunk->data(), static_cast<std::size_t>(length)})) return false;
    }
    saved.emplace(range.offset, Saved{.length = length, .chunk = std::move(chunk)});
    range.offset += length;
    range.length -= length;
  }
  return true;
}

/// Puts it where readers find it, when none is left that reads it from the file. What is not whole is lost.
void FileOriginals::keep(ByteRange range, SavedMap saved, bool whole) {
  CaptureRef lost;  // goes when nothing is locked
  if (!whole) lost = base::make_ref<Capture>(base::Ref(this));
  std::lock_guard gate(gate_);
  std::unique_lock reading(reading_);
  const auto locked = lock();
  auto at = first_overlapping(range.offset);
  // It may have been released meanwhile.
  if (at == current_.end() || at->first >= range.end() || !needed(*at->second.original)) return;
  const auto original = at->second.original;
  if (!whole) {
    add_piece(*lost, {{}, original});
    original->lost = true;
    return;
  }
  forget(range);
  note_current();
  if (original->saved.empty()) original->least_captures = captures_;
  for (auto& [offset, piece] : saved) piece.captures = captures_;
  original->saved.merge(saved);
}

/// What is current in `range`, which is of one original, is no longer.
void FileOriginals::forget(ByteRange range) {
  auto at = first_overlapping(range.offset);
  Current& current = at->second;
  const bool more = range.end() < current.end;
  if (at->first < range.offset) {
    if (more) current_.emplace_hint(std::next(at), range.end(), current);
    current.end = range.offset;
    return;
  }
  auto rest = current_.extract(at);
  rest.key() = range.end();
  if (more) current_.insert(std::move(rest));
}

std::uint64_t FileOriginals::count_memory(const Capture& capture, std::uint64_t from, MemoryUsage& usage,
                                          std::size_t& left) const {
  if (from >= capture.size_bytes()) return capture.size_bytes();
  const auto end = capture.pieces().end();
  auto at = capture.piece_at(from);
  for (; at != end && left > 0; --left) {
    const auto locked = lock();
    for (std::size_t most = kSavedOfALeaf; at != end && most > 0;)
      if (count_some(*at->second.original, usage, most)) ++at;
  }
  return at == end ? capture.size_bytes() : at->first;
}

/// Goes on where it has stopped. Whether it is through.
bool FileOriginals::count_some(const Original& original, MemoryUsage& usage, std::size_t& most) {
  const bool met = usage.within() == 0 && !usage.enter(&original);
  auto at = met ? original.saved.end() : original.saved.lower_bound(usage.within());
  for (; at != original.saved.end() && most > 0; ++at, --most)
    if (at->second.chunk) usage.add(*at->second.chunk);
  const bool done = at == original.saved.end();
  if (done && most > 0) --most;
  usage.stop_within(done ? 0 : at->first);
  return done;
}

IoResult<void> FileOriginals::visit(const Piece& piece, ByteRange range,
                                    const std::function<IoResult<void>(const Part&)>& visit) const {
  const auto reading = lock_to_read();
  std::vector<Part> parts;
  while (range.length > 0) {
    parts.clear();
    if (!find_parts(*piece.original, range, parts)) {
      const ByteRange& lost = piece.original->range;
      return std::unexpected(IoError{IoError::Kind::snapshot_lost,
                                     fmt::format("{}: no memory to keep old data of bytes {} to {} for a snapshot",
                                                 image_.path(), lost.offset, lost.end())});
    }
    for (const Part& part : parts)
      if (auto result = visit(part); !result) return result;
  }
  return {};
}

/// Takes from the start of `range` what it has found. False: it is lost. Nothing is, and no part goes, while reading_
/// is held and its capture is not released.
bool FileOriginals::find_parts(const Original& original, ByteRange& range, std::vector<Part>& parts) const {
  const auto locked = lock();
  if (original.lost) return false;
  auto at = original.saved.upper_bound(range.offset);
  if (at != original.saved.begin() && std::prev(at)->first + std::prev(at)->second.length > range.offset) --at;
  while (range.length > 0 && parts.size() < kStep) {
    Part part;
    std::uint64_t end = at == original.saved.end() ? range.end() : std::min(at->first, range.end());
    part.live = range.offset < end;
    if (!part.live) {
      end = std::min(at->first + at->second.length, range.end());
      part.chunk = at->second.chunk.get();
      part.chunk_offset = range.offset - at->first;
      ++at;
    }
    part.range = {range.offset, end - range.offset};
    range = {end, range.end() - end};
    parts.push_back(part);
  }
  return true;
}

}  // namespace handlers
