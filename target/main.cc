// odxd: an array with iSCSI portals. Starts it, says where it is, and ends it.
#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/json.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "base/array_clock.h"
#include "base/entropy.h"
#include "base/log.h"
#include "scsi/journal.h"
#include "scsi/logical_unit.h"
#include "scsi/rules.h"
#include "target/array_time.h"
#include "target/arrays.h"
#include "target/command_line.h"
#include "target/config_clock.h"
#include "target/control/control_server.h"
#include "target/control/steered.h"
#include "target/event_loop.h"
#include "target/further_loops.h"
#include "target/housekeeping.h"
#include "target/iscsi/session_registry.h"
#include "target/journal_file.h"
#include "target/peers/remote_rods.h"
#include "target/reload.h"
#include "target/status_report.h"
#include "target/tcp_server.h"

namespace target {
namespace {

namespace log = base::log;

constexpr unsigned kWorkers = 4;          // for each store that waits for a device
constexpr unsigned kWorkersForPeers = 8;  // more: copies that wait for a peer hold a worker each
constexpr std::chrono::seconds kLogoutGrace{3};

/// Each connection and each file takes a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// Buffers for data are mapped one by one, so that what many clients made us hold goes back to the system when they are
/// gone. malloc would keep them from the first one freed on: its own threshold follows what is freed.
void map_large_buffers() {
  constexpr int kThreshold = 192 << 10;
  mallopt(M_MMAP_THRESHOLD, kThreshold);
}

/// Small pieces of memory are joined with their neighbours as they are freed. malloc would keep them as they are until
/// it is asked for a large one, and then join all of them: 40 ms of a turn where 100,000 tokens had ended.
void join_freed_memory() { mallopt(M_MXFAST, 0); }

std::string naa_text(const std::array<std::uint8_t, 16>& naa) { return fmt::format("{:02x}", fmt::join(naa, "")); }

using control::ServedPortal;

void announce_lun(const Array& array, const Array::ExportedLun& lun, const ServedPortal& portal, bool json) {
  std::string url = fmt::format("iscsi://{}/{}/{}", portal.address, lun.target_name, lun.config.number);
  if (!json) {
    fmt::print("lun {}\n", url);
    return;
  }
  const scsi::LogicalUnit& unit = *lun.logical_unit;
  boost::json::object line{{"event", "lun"},
                           {"url", url},
                           {"target", lun.target_name},
                           {"lun", lun.config.number},
                           {"portal_group", portal.group},
                           {"name", unit.config().name},
                           {"store", lun.config.store},
                           {"size_bytes", unit.size_bytes()},
                           {"block_size", unit.block_length()},
                           {"read_only", unit.read_only()},
                           {"serial", unit.identity().serial},
                           {"naa", naa_text(unit.identity().naa)}};
  if (!array.name().empty()) line["array"] = array.name();
  fmt::print("{}\n", boost::json::serialize(line));
}

/// The last line before logins are served. Only a process with arrays by name has more than one id.
std::string ready_line(const Arrays& arrays) {
  boost::json::object line{{"event", "ready"}};
  if (arrays.all().front()->name().empty()) {
    line["id"] = arrays.all().front()->id();
    return boost::json::serialize(line);
  }
  boost::json::array& list = line["arrays"].emplace_array();
  for (const auto& array : arrays.all())
    list.push_back(boost::json::object{{"name", array->name()}, {"id", array->id()}});
  return boost::json::serialize(line);
}

/// One for each portal group: its first portal.
std::vector<ServedPortal> portal_urls(const Config& config, const TcpServer& server) {
  std::vector<ServedPortal> portals;
  for (std::uint16_t group : config.portal_groups()) {
    auto first = std::ranges::find(config.portals, group, &PortalConfig::group) - config.portals.begin();
    auto at = static_cast<std::size_t>(first);
    portals.push_back({group, portal_for_urls(config.portals[at], server.bound()[at])});
  }
  return portals;
}

void announce_control(const std::string& url, bool json) {
  if (json)
    fmt::print("{}\n", boost::json::serialize(boost::json::object{{"event", "control"}, {"url", url}}));
  else
    fmt::print("control {}\n", url);
}

/// What scripts wait for, on standard output: the logical units through each portal group, group by group.
void announce(const Arrays& arrays, const std::vector<ServedPortal>& portals, bool json) {
  for (const ServedPortal& portal : portals)
    for (const auto& array : arrays.all())
      for (const Array::ExportedLun& lun : array->luns())
        if (arrays.directory().find(lun.target_name)->is_offered_in(portal.group))
          announce_lun(*array, lun, portal, json);
  fmt::print("{}\n", json ? ready_line(arrays) : "ready");
  std::fflush(stdout);
}

/// The journal, and its file.
struct Records {
  Records(const Config& config, const base::Clock& array_clock, EventLoop& loop) {
    if (config.journal.events == 0) return;
    journal.emplace(array_clock, config.journal.events);
    if (config.journal.file.empty()) return;
    file.emplace(config.journal.file,
                 journal_start_line(std::chrono::system_clock::now(), clock_mode_text(config.clock), ODX_VERSION),
                 *journal, loop);
  }

  std::optional<scsi::Journal> journal;
  std::optional<JournalFile> file;
};

/// SIGUSR1: what there is, to whoever reads the log; with --json, to whoever reads standard output.
void tell_status(const StatusReport& report, bool json) {
  if (json) {
    fmt::print("{}\n", status_json(report));
    std::fflush(stdout);
  } else {
    fmt::print(stderr, "{}", status_text(report));
  }
}

/// SIGUSR2: what the file says by now. A file that is not good, or wants what cannot be, changes nothing.
void read_again(Arrays& arrays, iscsi::SessionRegistry& sessions, const CommandLine& line,
                const std::vector<ServedPortal>& portals) {
  if (!line.read_again) return log::warning("SIGUSR2: there is no configuration file to read again");
  try {
    const Config wanted = line.read_again();
    Reload reload(line.config, wanted, arrays);
    auto changes = reload.apply(sessions, kLogoutGrace);
    log::set_level(wanted.log_level);
    for (const std::string& warning : warnings(wanted)) log::warning("{}", warning);
    for (const std::string& change : changes) {
      log::info("{}", change);
      if (scsi::Journal* journal = arrays.journal())
        journal->record({.kind = scsi::EventKind::configuration, .reason = change});
    }
    for (const ServedPortal& portal : portals) {
      for (const Reload::Place& place : reload.added()) {
        auto added = arrays.find_lun(place.target, place.number);
        if (arrays.directory().find(place.target)->is_offered_in(portal.group))
          announce_lun(*added.array, *added.lun, portal, line.json);
      }
    }
    std::fflush(stdout);
    log::info("SIGUSR2: {} changes, {} unreachable pairs in {}", changes.size(), wanted.unreachable.size(),
              line.config_file);
  } catch (const std::runtime_error& error) {
    log::error("SIGUSR2: nothing changes: {}", error.what());
  }
}

/// What is known when logins are served.
void describe(const Arrays& arrays, const std::vector<ServedPortal>& portals, const base::Clock& wire_clock,
              control::Steered& steered) {
  steered.portals = portals;
  steered.version = odxd_version();
  steered.started_at = wire_clock.now();
  for (const auto& array : arrays.all())
    for (const Array::ExportedLun& lun : array->luns()) steered.luns_at_start.insert(lun.logical_unit->identity().naa);
  steered.ready = true;
}

ExitCode serve(const CommandLine& line) {
  const Config& config = line.config;
  // Destroyed from the last to the first: sockets, sessions, logical units, threads.
  base::SystemEntropy entropy;
  EventLoop loop(kWorkers, config.peers.empty() ? kWorkers : kWorkers + kWorkersForPeers);
  FurtherLoops further_loops(loop, config.threads.value_or(usual_threads()) - 1);
  base::ArrayClock array_clock(loop.clock(), config.clock);
  Records records(config, array_clock, loop);
  peers::RemoteRods remote(config.peers, peers::connect_with_libiscsi, loop.clock());
  Arrays arrays(config, array_clock, array_clock.timers(), entropy, loop);
  if (records.journal) arrays.set_journal(&*records.journal);
  if (!config.peers.empty()) arrays.set_remote_rods(&remote);
  arrays.rules().set_wire_time({&loop.clock(), &loop.timers()});
  iscsi::SessionRegistry sessions(arrays.directory().limits);
  TcpServer server(loop, arrays.directory().limits, further_loops.all());
  Housekeeping housekeeping(loop, arrays);
  ArrayTime array_time(loop, array_clock);
  if (records.file) loop.at_end_of_any_turn([&] { records.file->settle(); });  // behind whatever else records

  Snapshots snapshots(arrays, array_clock, loop);
  StatusReporter reporter(arrays, array_clock, loop);
  control::Steered steered{arrays, sessions, snapshots, reporter, array_clock, loop, loop, config, {}};
  control::ControlServer control(loop, config.control, steered);

  server.listen(config.portals);
  arrays.advertise(advertised_portals(config.portals, server.bound()));
  for (const std::string& warning : warnings(config)) log::warning("{}", warning);
  std::string where;
  for (const auto& bound : server.bound()) where += fmt::format(" {}:{}", bound.address, bound.port);
  for (const auto& array : arrays.all())
    log::info("array {}{}{} listening on{}{}", array->name(), array->name().empty() ? "" : ", ", array->id(), where,
              array->id_is_stable() ? "" : "; its id is random for this start (--id or id keeps one)");

  iscsi::ConnectionContext context{arrays.directory(), sessions, entropy};
  server.serve(context);
  loop.on_signal([&](int signal) {
    log::info("signal {}: {} connections are asked to end", signal, server.connections());
    steered.ready = false;
    server.shut_down(kLogoutGrace, [&] { loop.stop(); });
  });
  loop.on_each_signal(
      SIGUSR1, [&] { reporter.report([json = line.json](const StatusReport& report) { tell_status(report, json); }); });
  const std::vector<ServedPortal> portals = portal_urls(config, server);
  loop.on_each_signal(SIGUSR2, [&] { read_again(arrays, sessions, line, portals); });
  describe(arrays, portals, loop.clock(), steered);
  for (const std::string& url : control.urls()) announce_control(url, line.json);
  announce(arrays, portals, line.json);
  further_loops.start();
  loop.run();

  further_loops.stop();
  arrays.stop_copies();
  loop.finish_posted_work();
  if (records.file) records.file->finish();
  auto failures = arrays.flush();
  for (const std::string& failure : failures) log::error("{}", failure);
  log::info("ended");
  return failures.empty() ? kExitGood : kExitFailed;
}

int run(int argc, const char* const* argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed standard output or socket is an error code, not the end
  auto parsed = parse_command_line(argc, argv);
  if (const auto* code = std::get_if<ExitCode>(&parsed)) return *code;
  const auto& line = std::get<CommandLine>(parsed);
  log::set_level(line.config.log_level);
  if (line.check_only) {
    for (const std::string& warning : warnings(line.config)) log::warning("{}", warning);
    return kExitGood;
  }
  raise_descriptor_limit();
  map_large_buffers();
  join_freed_memory();
  return serve(line);
}

}  // namespace
}  // namespace target

int main(int argc, char** argv) {
  try {
    return target::run(argc, argv);
  } catch (const target::ConfigError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return target::kExitUsage;
  } catch (const target::StoreError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return target::kExitFailed;
  } catch (const std::exception& error) {
    fmt::print(stderr, "odxd: {}\n", error.what());
    return target::kExitFailed;
  }
}
