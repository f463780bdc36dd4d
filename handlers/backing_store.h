// Where blocks live: the interface every store implements and every wrapper repeats.
//
// A store is an array of bytes; it knows no blocks, commands or tokens. Its caller (the
// logical unit) keeps operations on overlapping ranges apart and in order, and never passes a range that
// ends beyond size_bytes(). Addresses are bytes, so that logical units of different block lengths can share
// snapshots (docs/decisions/0001).
//
// Thread: a store whose may_block() is false is called on the loop's thread only and answers at once.
// One whose may_block() is true is called from several worker threads at once, on ranges that do not
// overlap (a capture is alone).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ref.h"
#include "base/segments.h"

namespace handlers {

class MemoryUsage;

struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t end() const { return offset + length; }
  bool operator==(const ByteRange&) const = default;
};

/// How much callers clone at once into a store that may block, so that they can look in between whether to go on. Cut
/// where the offset in the store is a multiple of it: then blocks of the file system are shared whole.
constexpr std::uint64_t kClonePiece = 64 << 20;

/// Why a store could not do what it was asked. One function maps it to sense data
/// (scsi/io_error_sense.h).
struct IoError {
  enum class Kind {
    no_space,         ///< the medium, the disk or the memory limit is full
    write_protected,  ///< the store was opened read-only
    medium_read,      ///< the data cannot be read
    medium_write,     ///< the data cannot be written
    snapshot_lost,    ///< a snapshot's old data could not be kept (its token is cancelled, 23h/08h)
    unreachable,      ///< another array has a snapshot's data, and does not give it
    unavailable,      ///< the store is gone
  };
  Kind kind = Kind::unavailable;
  std::string reason;  ///< for the log: what failed, with path and errno text
  bool operator==(const IoError&) const = default;
};

template <typename T>
using IoResult = std::expected<T, IoError>;

/// SBC provisioning status of a run of bytes (GET LBA STATUS).
struct ProvisioningRun {
  std::uint64_t length = 0;  ///< bytes from the asked offset with this status; may stop short of the next change
  bool mapped = false;
};

/// What a range list held when it was captured: a concatenation of the captured ranges, immutable.
/// Holding it keeps the data; releasing it frees what nobody else shares. Outlives its store.
class Snapshot : public base::RefCounted {
 public:
  virtual std::uint64_t size_bytes() const = 0;

  /// Whether reading may wait for a device: then it is done on a worker thread.
  virtual bool may_block() const { return false; }

  /// Appends `range` (offsets into the concatenation) to `out`. Errors: medium_read, snapshot_lost,
  /// unreachable, unavailable.
  virtual IoResult<void> read(ByteRange range, base::Segments& out) const = 0;

  /// The run at `offset`, so that copies keep holes.
  virtual IoResult<ProvisioningRun> provisioning(std::uint64_t offset) const = 0;

  /// Adds the memory it keeps to a walk (memory_usage.h), in steps: from the byte `from` on, which is 0 or where the
  /// step before has stopped. `left`, not 0, goes down by the leaves of a tree that were counted, and at 0 the step is
  /// over. Returns where it stopped, which may be where it began (MemoryUsage::within()); size_bytes() at the end.
  /// Waits for no device.
  virtual std::uint64_t count_memory(MemoryUsage&, std::uint64_t, std::size_t& left) const {
    --left;
    return size_bytes();
  }
};
using SnapshotRef = base::Ref<const Snapshot>;

/// A piece of memory that a store lends for data to be written.
struct LoanPart {
  base::MutableBytes bytes{};
  base::Ref<base::RefCounted> owner{};
};
/// Pieces whose bytes follow each other in what is written. What is passed around keeps its capacity.
using Loan = std::vector<LoanPart>;
inline constexpr std::size_t kMostLoanParts = 17;
/// Empties a loan in the end, whatever becomes of what was lent.
class LoanEnd {
 public:
  explicit LoanEnd(Loan& loan) : loan_(loan) {}
  LoanEnd(const LoanEnd&) = delete;
  LoanEnd& operator=(const LoanEnd&) = delete;
  ~LoanEnd() { loan_.clear(); }

 private:
  Loan& loan_;
};

class BackingStore {
 public:
  virtual ~BackingStore() = default;

  virtual std::uint64_t size_bytes() const = 0;

  /// Makes it `size_bytes` long. Bytes that are new read as zeros, or as what a longer file or device has there; those
  /// cut off are gone, except in snapshots in memory. Nothing is under way beyond the shorter of both sizes. Thread:
  /// the loop's, of every store, while workers may use the rest. Errors: no_space, write_protected, medium_write,
  /// unavailable.
  virtual IoResult<void> resize(std::uint64_t) {
    return std::unexpected(IoError{IoError::Kind::unavailable, "a store of this kind keeps its size"});
  }

  /// How long what is behind it is by now, which others may have changed. Errors: unavailable.
  virtual IoResult<std::uint64_t> measure() const { return size_bytes(); }

  /// Whether calls may wait for a device: then they are made on worker threads.
  virtual bool may_block() const = 0;

  /// Whether writes are refused with write_protected.
  virtual bool read_only() const = 0;

  /// Appends the bytes of `range` to `out`, pinned: a later write never changes what was handed out.
  /// Unmapped bytes read as zeros. Errors: medium_read, unavailable.
  virtual IoResult<void> read(ByteRange range, base::Segments& out) = 0;

  /// read(), where that needs no device: what a store that may block has in memory. False when it would have to wait,
  /// or failed; then nothing is appended, and read() can do it or say what is wrong. Thread: the loops', several at
  /// once, while others use other ranges.
  virtual bool read_at_once(ByteRange, base::Segments&) { return false; }

  /// write() likewise: false when it would have to wait, or failed; then write() does it, any part of it again. One at
  /// a time.
  virtual bool write_at_once(std::uint64_t, base::Bytes) { return false; }

  /// Fills `loan`, which is empty, with memory for what is to be written to the range, in at most kMostLoanParts
  /// pieces: what write_lent() there need not copy. It may be dropped unused. False, and nothing lent: it is better
  /// received elsewhere. Thread: the loop's.
  virtual bool lend(ByteRange, Loan&) { return false; }
  /// write() of all the bytes of a loan, perhaps another store's; the loan is empty afterwards. Thread: as write().
  virtual IoResult<void> write_lent(std::uint64_t offset, Loan& loan) {
    const LoanEnd end(loan);
    IoResult<void> written;
    for (const LoanPart& part : loan) {
      if (written = write(offset, part.bytes); !written) break;
      offset += part.bytes.size();
    }
    return written;
  }

  /// Writes `data` at `offset`. On an error any part of the range may hold new data. Errors: no_space,
  /// write_protected, medium_write, unavailable.
  virtual IoResult<void> write(std::uint64_t offset, base::Bytes data) = 0;

  /// Fills `range` with repetitions of `pattern` (its size divides range.length). Errors as write().
  virtual IoResult<void> write_same(ByteRange range, base::Bytes pattern) = 0;

  /// Deallocates `range`: it reads as zeros afterwards. Errors: write_protected, medium_write,
  /// unavailable.
  virtual IoResult<void> unmap(ByteRange range) = 0;

  /// Makes everything written before the call durable. Errors: no_space, medium_write, unavailable.
  virtual IoResult<void> flush() = 0;

  /// flush() likewise at once: false when it would have to wait, or failed; then flush() does it or says what is wrong.
  virtual bool flush_at_once() { return false; }

  /// The run at `offset`.
  virtual IoResult<ProvisioningRun> provisioning(std::uint64_t offset) = 0;

  /// Captures `ranges`, in their order, as they are now. Errors: no_space, medium_read, unavailable.
  virtual IoResult<SnapshotRef> capture(std::span<const ByteRange> ranges) = 0;

  /// Makes [offset, offset + range.length) here equal to `range` of `snapshot`, which may come from any
  /// store. Atomic when the snapshot is of the store's own kind. Holes arrive as unmapped. Errors as
  /// write(), and those of Snapshot::read; bytes before a failing point may hold new data: `copied`,
  /// when given, says how many whole bytes from the start surely do.
  virtual IoResult<void> clone(const Snapshot& snapshot, ByteRange range, std::uint64_t offset,
                               std::uint64_t* copied) = 0;

  /// For stores whose may_block() is false, and called on a worker thread all the same: brings `range` of a snapshot
  /// that may block here, as a snapshot of its own that clone() shares at once. Touches nothing that the loop's
  /// thread may be using. Null when the store cannot. Errors: those of Snapshot::read, and no_space.
  virtual IoResult<SnapshotRef> fetch(const Snapshot&, ByteRange) { return SnapshotRef{}; }

  /// Bytes of storage in use (memory, or allocated on the file system), shared ones counted once.
  virtual std::uint64_t allocated_bytes() const = 0;

  /// Bytes that are left to be allocated, perhaps to others too; nothing where that is not known.
  virtual std::optional<std::uint64_t> available_bytes() const { return {}; }

  /// Adds the memory that holds what the store shows to a walk, in steps, as Snapshot's does; the store may change in
  /// between. None for stores on a medium.
  virtual std::uint64_t count_memory(MemoryUsage&, std::uint64_t, std::size_t& left) const {
    --left;
    return size_bytes();
  }
};

}  // namespace handlers
