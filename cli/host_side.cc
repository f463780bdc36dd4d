#include "cli/host_side.h"

#include <algorithm>
#include <thread>

#include "cli/exit_code.h"

namespace cli {

namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(seconds));
}

/// The part of a URL that names the session: everything but the logical unit.
std::string session_key(const std::string& url) { return url.substr(0, url.rfind('/')); }

}  // namespace

std::string without_secrets(const initiator::IscsiUrl& url) {
  return "iscsi://" + url.portal + "/" + url.target_name + "/" + std::to_string(url.lun);
}

Report failure(std::string_view program, host::NtStatus status, std::string_view reason, int exit_code) {
  Report report;
  report.body = {{"program", program}, {"ok", false}, {"nt_status", to_json(status)}, {"reason", reason}};
  report.exit_code = exit_code;
  return report;
}

int exit_code_of(host::NtStatus status) {
  if (status == host::NtStatus::success) return kOk;
  return status == host::NtStatus::device_feature_not_supported ? kNoOdx : kFailed;
}

std::expected<HostDisk*, Report> HostSide::open(const std::string& url) {
  auto names = initiator::parse_iscsi_url(url);
  if (!names) return std::unexpected(failure("odx", host::NtStatus::invalid_parameter, names.error(), kUsage));
  HostDisk disk;
  disk.url = without_secrets(*names);
  for (const HostDisk& other : disks_)
    if (session_key(other.url) == session_key(disk.url)) disk.session = other.session;
  if (!disk.session) {
    auto session =
        initiator::IscsiSession::open(url, {options_.initiator_name, milliseconds(options_.login_timeout_s)});
    if (!session)
      return std::unexpected(
          failure("odx", host::NtStatus::device_not_connected, disk.url + ": " + session.error(), kNoConnection));
    disk.session = *session;
  }
  disk.initiator = std::make_unique<initiator::LibiscsiInitiator>(disk.session, names->lun);
  host::ClassDriver::Config config;
  config.command_timeout = milliseconds(options_.command_timeout_s);
  config.wait = [](base::Duration duration) { std::this_thread::sleep_for(duration); };
  disk.driver = std::make_unique<host::ClassDriver>(*disk.initiator, clock_, list_identifiers_, std::move(config));
  disks_.push_back(std::move(disk));
  HostDisk& opened = disks_.back();
  if (host::NtStatus status = opened.driver->start(); status != host::NtStatus::success) {
    Report report = failure("odx", status, opened.url + ": the disk does not start", kFailed);
    report.show_commands = true;
    finish(report);
    return std::unexpected(std::move(report));
  }
  return &opened;
}

initiator::WireCounters HostSide::wire() const {
  initiator::WireCounters sum;
  std::vector<const initiator::IscsiSession*> counted;
  for (const HostDisk& disk : disks_) {
    if (std::ranges::find(counted, disk.session.get()) != counted.end()) continue;
    counted.push_back(disk.session.get());
    initiator::WireCounters one = disk.session->wire();
    sum.sent += one.sent;
    sum.received += one.received;
  }
  return sum;
}

void HostSide::collect(std::string_view phase) {
  for (HostDisk& disk : disks_)
    for (const host::TraceEntry& entry : disk.driver->take_trace())
      commands_.push_back({entry.sent, to_json(entry, disk.url.substr(disk.url.rfind('/') + 1), phase)});
}

void HostSide::begin_operation() {
  collect("discovery");
  wire_before_ = wire();
  started_ = clock_.now();
}

void HostSide::finish(Report& report) {
  const base::TimePoint now = clock_.now();
  const initiator::WireCounters after = wire();
  const bool began = started_ != base::TimePoint{};
  collect(began ? "operation" : "discovery");
  std::ranges::stable_sort(commands_, {}, &Sent::when);
  if (began) report.body["seconds"] = std::chrono::duration<double>(now - started_).count();
  report.body["wire"] = boost::json::object{{"sent_bytes", after.sent - wire_before_.sent},
                                            {"received_bytes", after.received - wire_before_.received}};
  boost::json::array commands;
  for (Sent& sent : commands_) commands.push_back(std::move(sent.command));
  commands_.clear();
  report.body["commands"] = std::move(commands);
}

}  // namespace cli
