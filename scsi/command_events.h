// Commands, copies and I_T nexuses as events of the journal.
//
// Called only where there is a journal. Thread: the loop's.
#pragma once

#include <string>
#include <string_view>

#include "scsi/journal.h"
#include "scsi/task.h"

namespace scsi {

class DeviceServer;
enum class TaskManagementFunction : std::uint8_t;

/// Token and ranges.
void add_subject(Event& event, const CopySubject& subject);

/// What every event about `task` says, and what its CDB tells. For rules as well.
Event event_of(EventKind kind, const DeviceServer& server, const Task& task);

/// A task that ended: `rule` is what it was refused for, empty where its sense data says all.
void record_outcome(Journal& journal, const DeviceServer& server, const Task& task, const std::string& rule);

/// Whether a command that succeeded is in the journal: third-party copy, and INQUIRY of VPD page 8Fh.
bool is_recorded(const Task& task);

void record_nexus(Journal& journal, EventKind kind, const DeviceServer& server, const ITNexus& nexus);

void record_function(Journal& journal, const DeviceServer& server, TaskManagementFunction function, NexusId nexus,
                     std::optional<Lun> lun);

}  // namespace scsi
