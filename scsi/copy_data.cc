#include "scsi/copy_data.h"

#include <algorithm>
#include <limits>

#include "scsi/copy_fabric.h"
#include "scsi/copy_manager.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/work_queue.h"

namespace scsi {

namespace {

using handlers::ByteRange;
using handlers::IoError;
using handlers::IoResult;
using handlers::SnapshotRef;
using Outcome = std::expected<void, Sense>;

std::uint64_t total(const std::vector<ByteRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.length;
  return bytes;
}

IoResult<void> zero_fill(LogicalUnit& lu, ByteRange range) {
  if (lu.config().thin) return lu.store().unmap(range);
  return lu.store().write_same(range, std::vector<std::uint8_t>(lu.block_length()));
}

/// A part of what is moved, whose data lies in one snapshot.
struct Piece {
  CopySource source;
  ByteRange to;
};

/// Cuts ranges into pieces no longer than a stop may wait for; `most` is as long as the source allows.
std::vector<Piece> pieces_of(const CopySource& source, const std::vector<ByteRange>& ranges, std::uint64_t most) {
  std::vector<Piece> pieces;
  std::uint64_t done = 0;
  for (ByteRange left : ranges) {
    while (left.length > 0) {
      // Pieces end at multiples, so that a file system can share whole blocks of all but the ends.
      std::uint64_t length = std::min(left.length, most - left.offset % most);
      pieces.push_back({{source.data, source.offset + done}, {left.offset, length}});
      left = {left.offset + length, left.length - length};
      done += length;
    }
  }
  return pieces;
}

/// What one turn of store work does: all pieces, one after another.
struct Writer {
  const CopyJob& job;
  LogicalUnit& to;
  CopyMoved moved{};

  void fail(const IoError& error) {
    moved.data_lost = error.kind == IoError::Kind::snapshot_lost;
    moved.result = std::unexpected(io_error_sense(error));
  }

  void write(const std::vector<Piece>& pieces) {
    for (const Piece& piece : pieces) {
      if (job.stopping()) return;
      std::uint64_t copied = 0;
      auto written = piece.source.data ? to.store().clone(*piece.source.data, {piece.source.offset, piece.to.length},
                                                          piece.to.offset, &copied)
                                       : zero_fill(to, piece.to);
      if (written) copied = piece.to.length;
      moved.bytes += copied;
      if (copied > 0 && moved.steps < std::numeric_limits<std::uint16_t>::max()) ++moved.steps;
      if (!written) return fail(written.error());
    }
  }
};

/// Brings data that has to be waited for into memory the destination can share, so that its store is not kept waiting.
base::Async<IoResult<void>> fetch(CopyJob& job, LogicalUnit& to, std::vector<Piece>& pieces) {
  for (Piece& piece : pieces) {
    if (job.stopping()) break;
    IoResult<SnapshotRef> brought{};
    co_await job.elsewhere(
        [&] { brought = to.store().fetch(*piece.source.data, {piece.source.offset, piece.to.length}); });
    if (!brought) co_return std::unexpected(std::move(brought.error()));
    if (*brought) piece.source = {std::move(*brought), 0};
  }
  co_return IoResult<void>{};
}

/// Moves pieces in one turn of the destination's store.
base::Async<CopyMoved> write_at_once(CopyJob& job, LogicalUnit& to, std::vector<Piece> pieces) {
  Writer writer{job, to};
  bool waits = !pieces.empty() && pieces.front().source.data && pieces.front().source.data->may_block();
  if (waits && !to.store().may_block()) {
    if (auto fetched = co_await fetch(job, to, pieces); !fetched) writer.fail(fetched.error());
    if (!writer.moved.result || job.stopping()) co_return std::move(writer.moved);
  }
  std::vector<ByteRange> ranges;
  for (const Piece& piece : pieces) ranges.push_back(piece.to);
  // One lock over all ranges and what lies between: it cannot deadlock with a command that names the same ranges in
  // another order. The source needs none: its snapshot never changes.
  bool written = false;
  Outcome done = co_await job.work(to, Access::exclusive, hull(ranges), [&]() -> Outcome {
    writer.write(pieces);
    written = true;
    return {};
  });
  // WCE is zero and what was written did not reach the medium: nothing counts. Memory that ran out leaves the count.
  if (!done && written) writer.moved = {};
  if (!done) writer.moved.result = std::move(done);
  co_return std::move(writer.moved);
}

/// A piece whose data a rule wants to be wrong.
base::Async<CopyMoved> write_wrongly(CopyJob& job, LogicalUnit& to, CopySource source, std::vector<ByteRange> ranges,
                                     std::uint64_t most) {
  using How = action::WrongData::How;
  const How how = *job.faults().wrong_data;
  const std::uint64_t first = ranges.front().offset;
  if (how == How::not_written) co_return CopyMoved{.bytes = total(ranges), .steps = 1};
  if (how == How::zeros) source = {};
  CopyMoved moved = co_await write_at_once(job, to, pieces_of(source, ranges, most));
  if (how != How::inverted || moved.bytes == 0) co_return moved;
  job.faults().wrong_data.reset();
  if (auto inverted = co_await gate::invert_first_block(job, to, first); !inverted) moved.result = inverted;
  co_return moved;
}

std::uint32_t milliseconds_until(base::TimePoint when, base::TimePoint now) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(std::max(when - now, base::Duration::zero())).count();
  constexpr std::int64_t kLongest = 0xFFFF'FFFD;  // the two above say something else (SPC-4 6.24)
  return static_cast<std::uint32_t>(std::min<std::int64_t>(left, kLongest));
}

}  // namespace

std::vector<ByteRange> take_front(std::vector<ByteRange>& ranges, std::uint64_t bytes) {
  std::vector<ByteRange> taken;
  while (bytes > 0 && !ranges.empty()) {
    ByteRange& first = ranges.front();
    std::uint64_t length = std::min(bytes, first.length);
    taken.push_back({first.offset, length});
    first = {first.offset + length, first.length - length};
    if (first.length == 0) ranges.erase(ranges.begin());
    bytes -= length;
  }
  return taken;
}

base::Async<Captured> capture(CopyJob& job, LogicalUnit& lu, std::vector<ByteRange> ranges) {
  IoResult<SnapshotRef> captured{};
  Outcome done = co_await job.work(lu, Access::barrier, {0, lu.store().size_bytes()}, [&]() -> Outcome {
    captured = lu.store().capture(ranges);
    return {};
  });
  if (!done) co_return std::unexpected(std::move(done.error()));
  if (captured) co_return std::move(*captured);
  if (captured.error().kind == IoError::Kind::no_space)
    co_return std::unexpected(out_of_resources(std::move(captured.error().reason)));
  co_return std::unexpected(io_error_sense(captured.error()));
}

base::Async<Captured> data_of(CopyJob& job, const tokens::Rod& rod) {
  if (rod.data()) co_return rod.data();
  const tokens::RodSource& source = rod.source();
  auto place = job.manager().fabric().find(source.name);
  if (!place || place->lu->identity().naa != source.logical_unit)  // another may have the name by now
    co_return std::unexpected(Sense::illegal_request(AdditionalSense::unreachable_copy_target,
                                                     source.name + ", which the token stands for, is gone"));
  std::uint64_t size = place->lu->size_bytes();
  for (const ByteRange& range : source.ranges)
    if (range.end() > size)
      co_return std::unexpected(io_error_sense({IoError::Kind::snapshot_lost, source.name + " has shrunk"}));
  co_return co_await capture(job, *place->lu, source.ranges);
}

base::Async<CopyMoved> move_data(CopyJob& job, LogicalUnit& to, CopySource source, std::vector<ByteRange> ranges,
                                 CopySchedule schedule, tokens::CopyProgress before) {
  CopyMoved moved;
  const bool in_bytes = job.operation().operation().units() == tokens::TransferCountUnits::bytes;
  const std::uint64_t unit = in_bytes ? 1 : to.block_length();
  const std::uint64_t all = total(ranges);
  const bool waits = to.store().may_block() || (source.data && source.data->may_block());
  const std::uint64_t most = waits ? handlers::kClonePiece : std::numeric_limits<std::uint64_t>::max();
  job.use(to);
  while (moved.bytes < all && !job.stopping()) {
    std::uint64_t length = schedule.piece(all - moved.bytes, to.block_length());
    // What has to be waited for moves in bounded pieces, each with a turn of its own, so that nobody waits for all of
    // it.
    if (waits && !schedule.at_once()) length = std::min(length, most - ranges.front().offset % most);
    if (job.faults().any()) [[unlikely]] {
      length = job.faults().grant(length, to.block_length());
      if (length == 0) {
        moved.result = std::unexpected(job.faults().stopped());
        break;
      }
    }
    base::TimePoint end = schedule.due(all);
    job.operation().report({.transfer_count = before.transfer_count + moved.bytes / unit,
                            .operation_counter = static_cast<std::uint16_t>(before.operation_counter + moved.steps),
                            .segments_processed = before.segments_processed,
                            .update_delay_ms = milliseconds_until(end, job.manager().clock().now())});
    co_await job.until(schedule.due(moved.bytes + length));
    if (job.stopping()) break;
    CopySource next{source.data, source.offset + moved.bytes};
    auto piece = take_front(ranges, length);
    // Not as one expression: g++ 12 copies what co_await gives out of ?: byte by byte, and a short text in it is lost.
    CopyMoved part;
    if (job.faults().wrong_data) [[unlikely]]
      part = co_await write_wrongly(job, to, std::move(next), std::move(piece), most);
    else
      part = co_await write_at_once(job, to, pieces_of(next, piece, most));
    moved.bytes += part.bytes;
    moved.steps = static_cast<std::uint16_t>(moved.steps + part.steps);
    moved.result = std::move(part.result);
    moved.data_lost = part.data_lost;
    if (!moved.result) break;
  }
  co_return moved;
}

}  // namespace scsi
