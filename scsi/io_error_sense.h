// The one place where a store's error becomes sense data. Thread: any.
#pragma once

#include <expected>

#include "handlers/backing_store.h"
#include "scsi/sense.h"

namespace scsi {

/// Sense for a store's failure, without INFORMATION: a store does not say at which block it failed.
///   no_space         07/27/07  SPACE ALLOCATION FAILED WRITE PROTECT (SBC-3, thin provisioning)
///   write_protected  07/27/00  WRITE PROTECTED
///   medium_read      03/11/00  UNRECOVERED READ ERROR
///   medium_write     03/0C/00  WRITE ERROR
///   snapshot_lost    05/23/08  INVALID TOKEN OPERATION, TOKEN CANCELLED: only copies read snapshots
///   unreachable      0A/0D/02  COPY TARGET DEVICE NOT REACHABLE: the array that made a token
///   unavailable      02/04/00  LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE
Sense io_error_sense(const handlers::IoError& error);

/// A store's outcome as a command's.
inline std::expected<void, Sense> io_outcome(const handlers::IoResult<void>& result) {
  if (result) [[likely]]
    return {};
  return std::unexpected(io_error_sense(result.error()));
}

}  // namespace scsi
