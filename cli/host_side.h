// The host a sub-command plays: sessions, disks, one counter of list identifiers, one clock.
//
// Two disks of one target and portal share a session, and with it the I_T nexus, as they do on Windows.
// Thread: main's.
#pragma once

#include <expected>
#include <list>
#include <memory>
#include <string>

#include "base/clock.h"
#include "cli/report.h"
#include "host/class_driver.h"
#include "initiator/libiscsi_initiator.h"

namespace cli {

/// Options every sub-command has.
struct CommonOptions {
  bool json = false;
  bool show_commands = false;
  std::string initiator_name = "iqn.2026-11.example:odx-client";
  double login_timeout_s = 10;
  double command_timeout_s = 60;
};

struct HostDisk {
  std::string url;  ///< without user and password
  std::shared_ptr<initiator::IscsiSession> session;
  std::unique_ptr<initiator::LibiscsiInitiator> initiator;
  std::unique_ptr<host::ClassDriver> driver;
};

class HostSide {
 public:
  explicit HostSide(const CommonOptions& options) : options_(options) {}

  /// Logs in and finds out about the disk. The error is a report to end with (exit code 3, or 1 when the disk does not
  /// start).
  std::expected<HostDisk*, Report> open(const std::string& url);

  /// From here on commands and bytes are the operation's own, not discovery's.
  void begin_operation();

  /// Adds "wire" (bytes of the operation, sent and received), "seconds" and "commands" in the order they were sent.
  void finish(Report& report);

  const base::Clock& clock() const { return clock_; }

 private:
  initiator::WireCounters wire() const;
  void collect(std::string_view phase);

  struct Sent {
    base::TimePoint when;
    boost::json::object command;
  };

  const CommonOptions& options_;
  base::SteadyClock clock_;
  host::ListIdentifiers list_identifiers_;
  std::list<HostDisk> disks_;
  std::vector<Sent> commands_;
  initiator::WireCounters wire_before_{};
  base::TimePoint started_{};
};

/// For reports: the disk's URL without user and password.
std::string without_secrets(const initiator::IscsiUrl& url);

/// A report that only says why it failed.
Report failure(std::string_view program, host::NtStatus status, std::string_view reason, int exit_code);

/// kOk, kFailed or kNoOdx.
int exit_code_of(host::NtStatus status);

}  // namespace cli
