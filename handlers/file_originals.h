// What keeps a file store's snapshots true: old data is saved, in memory counted by the pool's limit, just before
// it is overwritten, and only where some snapshot still needs it.
//
// An Original is a range of the file as it was at some capture. Captures share the Originals that are still
// current (not overwritten since) and make new ones for the rest, so a write costs what it overlaps, however many
// snapshots there are. Saved data goes when the last capture made before it was saved is gone. When saving fails the
// Original is lost, and its snapshots with it; the write goes on.
//
// What says where data is (pieces, users, what is saved and current) counts against the same limit, since a host makes
// as much of it as it likes: beyond the limit nothing is captured, and what was to be saved is lost, holes too.
//
// Why memory and not a file beside the image: tokens live a minute, the limit is one number for the whole process,
// and there is no second thing to clean up, fill a disk or leave behind after a crash.
//
// A capture that is released costs no write anything from then on: nothing more is saved for it. What it leaves is
// taken apart in slices: the first at once, which is all of a small one, the others by the pool's graveyard. Until
// they are through, empty() may be false though nothing has to be saved.
//
// What throws std::bad_alloc has changed nothing: a capture that fails is released, and what is to be saved is still in
// the file. To release one needs no memory.
//
// Thread: any. Readers of old data share one lock while they read, and whoever has saved some waits for them before
// the file may change. All that is kept here is behind another, which is held for some ten microseconds at a time,
// never while a device is waited for or memory is allocated (that may call the graveyard).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <span>
#include <utility>
#include <vector>

#include "handlers/counted_allocator.h"
#include "handlers/file_image.h"

namespace handlers {

/// Outlives its image, which is used by preserve() and visit() alone, while what a released capture left is buried.
class FileOriginals final : public base::RefCounted {
 private:
  template <typename Value>
  using CountedMap =
      std::map<std::uint64_t, Value, std::less<>, CountedAllocator<std::pair<const std::uint64_t, Value>>>;
  struct Saved {
    std::uint64_t length = 0;
    base::Ref<Chunk> chunk;      ///< null: it was a hole
    std::uint64_t captures = 0;  ///< how many captures had been made: only those can need it
  };
  using SavedMap = CountedMap<Saved>;  ///< by offset in the file
  struct Original {
    Original(ByteRange its_range, MemoryBudget* budget) : range(its_range), users(budget), saved(budget) {}

    ByteRange range;
    CountedMap<std::size_t> users;  ///< captures that refer to it, by number, with how many pieces
    bool lost = false;
    bool forgotten = false;  ///< lost, and nothing of it is saved or current any more
    SavedMap saved;
    std::uint64_t least_captures = 0;  ///< nothing in `saved` has less
  };
  using Originals = std::list<Original, CountedAllocator<Original>>;
  static constexpr std::uint64_t kLost = 0;  ///< the number of a capture that stands for no snapshot

 public:
  /// A part of a snapshot.
  struct Piece {
    ByteRange range;  ///< in the file
    Originals::iterator original;
  };
  /// By their start in the snapshot. Most captures have one, and those that have a million free them one by one.
  using Pieces = CountedMap<Piece>;
  /// Released by who lets go of it: that takes a moment and no memory, and reclaim() of the pool does what is left.
  class Capture final : public Sliced {
   public:
    explicit Capture(base::Ref<FileOriginals> originals)
        : originals_(std::move(originals)), pieces_(originals_->budget()) {}
    std::uint64_t size_bytes() const { return size_bytes_; }
    const Pieces& pieces() const { return pieces_; }
    /// The one that has byte `offset`.
    Pieces::const_iterator piece_at(std::uint64_t offset) const { return std::prev(pieces_.upper_bound(offset)); }

   private:
    friend class FileOriginals;
    void dispose() override;
    void free_slice() override;

    const base::Ref<FileOriginals> originals_;
    std::uint64_t number_ = kLost;
    std::uint64_t size_bytes_ = 0;
    Pieces pieces_;
    // How far its release has come, at the first of its pieces that are left.
    std::uint64_t oldest_ = 0;  ///< the first capture that still needs the original; 0: not looked for yet
    std::uint64_t saved_from_ = 0;
    std::uint64_t current_from_ = 0;
  };
  using CaptureRef = base::Ref<Capture>;

  /// Where the bytes of a part of a piece are.
  struct Part {
    ByteRange range;               ///< in the file
    bool live = false;             ///< still in the file itself
    const Chunk* chunk = nullptr;  ///< else here, from its start; null: a hole
    std::uint64_t chunk_offset = 0;
  };

  FileOriginals(const FileImage& image, base::Ref<MemoryPool> pool) : image_(image), pool_(std::move(pool)) {}

  /// The pieces that make up `ranges` now. Takes as long as there are many; others get the lock in between.
  /// Errors: no_space, when they do not fit into the limit.
  IoResult<CaptureRef> capture(std::span<const ByteRange> ranges);

  /// Whether preserve() of any range has nothing to do. Where captures are alone.
  bool empty() const { return !any_current_.load(std::memory_order_relaxed); }
  /// Saves what snapshots need of `range`. Call before changing it; nothing else may change it meanwhile.
  void preserve(ByteRange range);

  /// Calls `visit` for the parts of [range] of `piece`, in order, while they cannot change. Stops at the first
  /// error. Errors: snapshot_lost, and those of `visit`.
  IoResult<void> visit(const Piece& piece, ByteRange range,
                       const std::function<IoResult<void>(const Part&)>& visit) const;

  /// Snapshot::count_memory() of what is saved for a capture.
  std::uint64_t count_memory(const Capture& capture, std::uint64_t from, MemoryUsage& usage, std::size_t& left) const;

 private:
  struct Current {
    std::uint64_t end = 0;
    Originals::iterator original;
  };
  using CurrentMap = CountedMap<Current>;

  MemoryBudget* budget() const { return &pool_->budget(); }
  bool room() const;
  std::unique_lock<std::mutex> lock() const;
  std::shared_lock<std::shared_mutex> lock_to_read() const;
  CurrentMap::iterator first_overlapping(std::uint64_t offset);
  bool needed(const Original& original) const { return !original.lost && oldest_needing(original) != kNone; }
  std::uint64_t oldest_needing(const Original& original) const;
  CaptureRef new_capture();
  void capture_some(ByteRange& range, Capture& out);
  CurrentMap::iterator add_original(CurrentMap::iterator before, ByteRange range, Capture& user);
  void add_piece(Capture& capture, const Piece& piece);
  ByteRange next_to_save(ByteRange range);
  bool save(ByteRange range, SavedMap& saved);
  void keep(ByteRange range, SavedMap saved, bool whole);
  void forget(ByteRange range);
  void let_go(const Capture& capture);
  bool discard_some(Capture& released);
  bool discard_piece(Capture& released, std::size_t& left);
  static bool drop_saved(Original& original, std::uint64_t oldest, std::uint64_t& from, std::size_t& left);
  bool drop_current(Originals::iterator original, std::uint64_t& from, std::size_t& left);
  static bool count_some(const Original& original, MemoryUsage& usage, std::size_t& most);
  bool find_parts(const Original& original, ByteRange& range, std::vector<Part>& parts) const;
  void note_current() { any_current_.store(!current_.empty(), std::memory_order_relaxed); }

  static constexpr std::uint64_t kNone = UINT64_MAX;

  const FileImage& image_;
  const base::Ref<MemoryPool> pool_;
  mutable std::mutex gate_;            ///< held while reading_ is waited for, so that who has to change it comes in
  mutable std::shared_mutex reading_;  ///< taken before mutex_
  mutable std::mutex next_;            ///< held by who waits for mutex_
  mutable std::mutex mutex_;           ///< for all that follows
  Originals originals_{budget()};
  std::uint64_t captures_ = 0;
  /// Numbers of captures that are not released; others may still be users of originals. Not counted, as snapshots
  /// themselves are not.
  std::set<std::uint64_t> needing_;
  CurrentMap current_{budget()};  ///< by start: parts of originals not overwritten yet; they do not overlap
  std::atomic<bool> any_current_{false};
};

}  // namespace handlers
