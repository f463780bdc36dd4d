#include "scsi/io_error_sense.h"

#include <utility>

namespace scsi {
namespace {

std::pair<SenseKey, AdditionalSense> key_and_code(handlers::IoError::Kind kind) {
  using Kind = handlers::IoError::Kind;
  switch (kind) {
    case Kind::no_space: return {SenseKey::data_protect, AdditionalSense::space_allocation_failed_write_protect};
    case Kind::write_protected: return {SenseKey::data_protect, AdditionalSense::write_protected};
    case Kind::medium_read: return {SenseKey::medium_error, AdditionalSense::unrecovered_read_error};
    case Kind::medium_write: return {SenseKey::medium_error, AdditionalSense::write_error};
    case Kind::snapshot_lost:
      return {SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_cancelled};
    case Kind::unreachable: return {SenseKey::copy_aborted, AdditionalSense::copy_target_device_not_reachable};
    case Kind::unavailable: break;
  }
  // NOT READY is "the logical unit is not accessible; operator intervention may be required" (SPC-4 4.5.6), which
  // is what a store that is gone means; HARDWARE ERROR would say that a retry can never help.
  return {SenseKey::not_ready, AdditionalSense::logical_unit_not_ready_cause_not_reportable};
}

}  // namespace

Sense io_error_sense(const handlers::IoError& error) {
  auto [key, code] = key_and_code(error.kind);
  Sense sense;
  sense.key = key;
  sense.code = code;
  sense.rule = error.reason;
  return sense;
}

}  // namespace scsi
