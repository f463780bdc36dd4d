// Events of the journal as JSON objects: what the journal's file, the control interface and scenarios show of them. The
// keys are documented in docs/journal.md. Thread: any.
#pragma once

#include <string>

#include "scsi/journal.h"

namespace boost::json {
class object;
}

namespace target {

/// Keys always stand in the same order; what is absent has none. The same events give the same text.
boost::json::object event_document(const scsi::Event& event);

/// One line, with its end.
std::string event_line(const scsi::Event& event);

}  // namespace target
