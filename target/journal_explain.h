// "Why was this copy not offloaded?", answered in words from the last events of the journal.
//
// Thread: the loop's.
#pragma once

#include <optional>
#include <string>

#include "scsi/journal.h"

namespace target {

/// Whose copies; what is absent or empty may be anybody's.
struct ExplainQuestion {
  std::string initiator{};  ///< iSCSI name
  std::string target{};     ///< iSCSI name
  std::optional<scsi::Lun> lun{};
  std::string logical_unit{};  ///< its name in the configuration
};

/// Several lines: the last refusals and copies that did not complete, grouped, the newest first, each with its reason,
/// what became of its token, and what was done from outside meanwhile; where there are none, how far the host came.
/// `now` is the array clock's time.
std::string explain(const scsi::Journal& journal, const ExplainQuestion& question, base::TimePoint now);

}  // namespace target
