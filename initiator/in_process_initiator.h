// Sends commands straight into a DeviceServer of the same process: no socket, no thread, and time only as the clock
// says. It reports status, sense bytes, residuals and data as an iSCSI target would (RFC 7143, 11.4.5), and what rules
// want of a connection as far as a command sees it: one that is broken is there again for the next command.
// Thread: the loop's, one command at a time.
#pragma once

#include <functional>
#include <optional>

#include "base/clock.h"
#include "initiator/initiator.h"
#include "scsi/device_server.h"

namespace initiator {

class InProcessInitiator final : public Initiator, private scsi::TaskObserver {
 public:
  /// Does the next thing that is due (runs posted work, or moves a virtual clock to the next timer and fires it).
  /// False: nothing is left to do.
  using Step = std::function<bool()>;

  /// `nexus` is attached by the caller, and may be shared by initiators of several logical units. Without `step`,
  /// every command has to complete inside the call. References outlive the initiator.
  InProcessInitiator(scsi::DeviceServer& server, scsi::NexusId nexus, scsi::Lun lun, const base::Clock& clock,
                     Step step = {})
      : server_(server), nexus_(nexus), lun_(lun), clock_(clock), step_(std::move(step)) {}

  /// A command that is still running when its time-out has passed, or when nothing is left to do, is aborted with
  /// ABORT TASK and reported as timed_out.
  Result execute(const Command& command) override;
  WireCounters wire() const override { return {}; }

 private:
  void completed(scsi::Task& task) override {
    done_ = true;
    (void)task;
  }
  bool run_until_done(base::TimePoint deadline);
  Result time_out();
  bool breaks_before_data() const;
  std::optional<Result> without_answer(base::TimePoint deadline);
  Result answer(std::uint64_t expected);

  scsi::DeviceServer& server_;
  scsi::NexusId nexus_;
  scsi::Lun lun_;
  const base::Clock& clock_;
  Step step_;
  scsi::Task task_;
  std::uint32_t next_tag_ = 1;
  bool done_ = false;
};

}  // namespace initiator
