// Moving data for copy operations: captured from one logical unit, written to another, in its time.
//
// What every originating command is made of. Judges nothing: ranges, protection and reachability were checked by the
// caller. Thread: the loop's, except store work.
#pragma once

#include <cstdint>
#include <vector>

#include "base/async.h"
#include "handlers/backing_store.h"
#include "scsi/copy_job.h"
#include "scsi/copy_schedule.h"
#include "tokens/rod.h"

namespace scsi {

using Captured = std::expected<handlers::SnapshotRef, Sense>;

/// Captures `ranges` of `lu` under a barrier, so that the snapshot holds exactly the writes answered before it. Errors:
/// 0B/55/03 no room; those of the store.
base::Async<Captured> capture(CopyJob& job, LogicalUnit& lu, std::vector<handlers::ByteRange> ranges);

/// The data of a ROD: what was captured, or, for access upon reference, what its addresses hold now. Errors: 05/08/04
/// when its logical unit is gone, 05/23/08 when that has shrunk; those of capture().
base::Async<Captured> data_of(CopyJob& job, const tokens::Rod& rod);

/// Data to be written: `data` from `offset` on; null: zeros.
struct CopySource {
  handlers::SnapshotRef data{};
  std::uint64_t offset = 0;
};

struct CopyMoved {
  std::uint64_t bytes = 0;  ///< from the first of the first range on, without gaps
  std::uint16_t steps = 0;  ///< that moved data
  std::expected<void, Sense> result{};
  bool data_lost = false;  ///< the source could not be kept; its token is to be cancelled
};

/// Writes `ranges` of `to`, one after another, from `source`. All ranges change at once under one lock when the
/// schedule takes no time or says so; else piece by piece, each at its moment, with the operation's progress reported
/// in blocks of `to` or in bytes, on top of `before`. Stops between pieces when the job is stopping: then `bytes` is
/// less and `result` is good. `schedule` starts with these ranges.
base::Async<CopyMoved> move_data(CopyJob& job, LogicalUnit& to, CopySource source,
                                 std::vector<handlers::ByteRange> ranges, CopySchedule schedule,
                                 tokens::CopyProgress before = {});

/// The first `bytes` of the ranges, taken off them; all there are when those are fewer.
std::vector<handlers::ByteRange> take_front(std::vector<handlers::ByteRange>& ranges, std::uint64_t bytes);

}  // namespace scsi
