// What keeps a file store's snapshots true: old data is saved, in memory counted by the pool's limit, just before
// it is overwritten, and only where some snapshot still needs it.
//
// An Original is a range of the file as it was at some capture. Captures share the Originals that are still
// current (not overwritten since) and make new ones for the rest, so a write costs what it overlaps, however many
// snapshots there are. Saved data goes when the last capture made before it was saved is gone. When saving fails the
// Original is lost, and its snapshots with it; the write goes on.
//
// Why memory and not a file beside the image: tokens live a minute, the limit is one number for the whole process,
// and there is no second thing to clean up, fill a disk or leave behind after a crash.
//
// Thread: any. Readers of old data share a lock, whoever saves or captures holds it alone; nobody holds it while
// writing to the image.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <set>
#include <shared_mutex>
#include <span>
#include <vector>

#include "handlers/file_image.h"

namespace handlers {

class FileOriginals {
 private:
  struct Saved {
    std::uint64_t length = 0;
    base::Ref<Chunk> chunk;      ///< null: it was a hole
    std::uint64_t captures = 0;  ///< how many captures had been made: only those can need it
  };
  struct Original {
    ByteRange range;
    std::multiset<std::uint64_t> users{};  ///< the numbers of the captures that refer to it
    bool lost = false;
    std::map<std::uint64_t, Saved> saved{};  ///< by offset in the file
  };

 public:
  /// A part of a snapshot.
  struct Piece {
    ByteRange range;  ///< in the file
    std::list<Original>::iterator original;
    std::uint64_t capture = 0;
  };

  /// Where the bytes of a part of a piece are.
  struct Part {
    ByteRange range;               ///< in the file
    bool live = false;             ///< still in the file itself
    const Chunk* chunk = nullptr;  ///< else here, from its start; null: a hole
    std::uint64_t chunk_offset = 0;
  };

  FileOriginals(const FileImage& image, MemoryPool& pool) : image_(image), pool_(pool) {}

  /// The pieces that make up `ranges` now.
  std::vector<Piece> capture(std::span<const ByteRange> ranges);
  void release(const std::vector<Piece>& pieces);

  /// Whether preserve() of any range has nothing to do. Where captures are alone.
  bool empty() const { return !any_current_.load(std::memory_order_relaxed); }
  /// Saves what snapshots need of `range`. Call before changing it; nothing else may change it meanwhile.
  void preserve(ByteRange range);

  /// Calls `visit` for the parts of [range] of `piece`, in order, while they cannot change. Stops at the first
  /// error. Errors: snapshot_lost, and those of `visit`.
  IoResult<void> visit(const Piece& piece, ByteRange range,
                       const std::function<IoResult<void>(const Part&)>& visit) const;

  /// Adds what is saved for these pieces to a walk.
  void count_memory(const std::vector<Piece>& pieces, MemoryUsage& usage) const;

 private:
  struct Current {
    std::uint64_t end = 0;
    std::list<Original>::iterator original;
  };
  using CurrentMap = std::map<std::uint64_t, Current>;

  CurrentMap::iterator first_overlapping(std::uint64_t offset);
  void capture_range(ByteRange range, std::vector<Piece>& out);
  void forget(ByteRange range);
  void forget(std::list<Original>::iterator original);
  bool save(Original& original, ByteRange range);

  const FileImage& image_;
  MemoryPool& pool_;
  mutable std::shared_mutex mutex_;
  std::list<Original> originals_;
  std::uint64_t captures_ = 0;
  CurrentMap current_;  ///< by start: parts of originals not overwritten yet; they do not overlap
  std::atomic<bool> any_current_{false};
};

}  // namespace handlers
