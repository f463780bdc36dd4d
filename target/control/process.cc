// The process as a whole: whether it lives and serves, what memory it holds, its metrics, the way back to how it
// started, and this interface's own description.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <iterator>
#include <memory>
#include <set>

#include "handlers/memory_pool.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "scsi/reservations.h"
#include "scsi/rules.h"
#include "target/control/metrics.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"
#include "target/event_loop.h"
#include "target/reload.h"
#include "target/status_report.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr Field kHealthFields[] = {{.name = "status", .about = "ok"}};
constexpr Shape kHealth{.name = "Health", .about = "It lives", .fields = kHealthFields};
constexpr Field kStatusFields[] = {
    {.name = "version", .about = "of odxd"},
    {.name = "uptime_s", .kind = Kind::number, .about = "real time since it started"},
    {.name = "ready", .kind = Kind::flag, .about = "logins are served"},
    {.name = "arrays", .kind = Kind::whole, .about = "how many"},
    {.name = "targets", .kind = Kind::whole, .about = "how many"},
    {.name = "luns", .kind = Kind::whole, .about = "how many"},
    {.name = "sessions", .kind = Kind::whole, .about = "how many"},
    {.name = "memory_used", .kind = Kind::whole, .about = "bytes that memory stores and snapshots hold"},
    {.name = "memory_limit", .kind = Kind::whole, .about = "beyond, writes are refused (07/27/07)"},
};
constexpr Shape kStatus{.name = "Status", .about = "odxd in a few numbers", .fields = kStatusFields};
constexpr Field kMemoryFields[] = {
    {.name = "used", .kind = Kind::whole, .about = "bytes that memory stores, tokens and snapshots hold"},
    {.name = "limit", .kind = Kind::whole, .about = "bytes they may hold"},
};
constexpr Shape kMemory{.name = "Memory", .about = "The memory of all memory stores", .fields = kMemoryFields};
constexpr Field kTokenMemoryFields[] = {
    {.name = "id", .about = "of the token"},
    {.name = "source", .about = "the LUN its data is of"},
    {.name = "memory", .kind = Kind::whole, .about = "bytes that no LUN and no token made before it keeps"},
};
constexpr Shape kTokenMemory{.name = "TokenMemory", .about = "", .fields = kTokenMemoryFields};
constexpr Field kUsageFields[] = {
    {.name = "used", .kind = Kind::whole, .about = "as in /v1/memory"},
    {.name = "limit", .kind = Kind::whole, .about = "as in /v1/memory"},
    {.name = "of_tokens", .kind = Kind::whole, .about = "bytes that only tokens keep"},
    {.name = "token_count", .kind = Kind::whole, .about = "tokens that were counted"},
    {.name = "tokens",
     .kind = Kind::objects,
     .about = "what each keeps: the 100 of each array that keep most, in the order they were made",
     .shape = &kTokenMemory},
};
constexpr Shape kUsage{.name = "MemoryUsage",
                       .about =
                           "Who keeps the memory. What was written meanwhile may be counted as it was or as it is; "
                           "tokens that ended or were made meanwhile are left out",
                       .fields = kUsageFields};
static_assert(StatusReporter::kMostTokens == 100, "it is in the text above");
constexpr Field kResetFields[] = {
    {.name = "changes", .kind = Kind::texts, .about = "whatever was not as at the start, one line each"}};
constexpr Shape kReset{.name = "Reset", .about = "What was put back", .fields = kResetFields};
constexpr Shape kDocument{.name = "", .about = "An OpenAPI document", .fields = {}, .open = true};

Answer healthz(Steered&, const Call&) { return document(json::object{{"status", "ok"}}); }

Answer readyz(Steered& steered, const Call&) {
  if (!steered.ready)
    throw Refusal({.status = 503, .detail = "logins are not served: odxd starts or ends", .value = {}});
  return document(json::object{{"status", "ok"}});
}

Answer status(Steered& steered, const Call&) {
  std::size_t luns = 0;
  for (const auto& array : steered.arrays.all()) luns += array->luns().size();
  const handlers::MemoryBudget& budget = steered.arrays.memory().budget();
  return document(json::object{{"version", steered.version},
                               {"uptime_s", seconds(steered.loop.clock().now() - steered.started_at)},
                               {"ready", steered.ready},
                               {"arrays", steered.arrays.all().size()},
                               {"targets", steered.arrays.directory().targets.size()},
                               {"luns", luns},
                               {"sessions", steered.sessions.size()},
                               {"memory_used", budget.used()},
                               {"memory_limit", budget.limit()}});
}

Answer memory(Steered& steered, const Call&) {
  const handlers::MemoryBudget& budget = steered.arrays.memory().budget();
  return document(json::object{{"used", budget.used()}, {"limit", budget.limit()}});
}

json::object usage_document(const StatusReport& report) {
  json::array tokens;
  std::size_t count = 0;
  for (const ArrayReport& array : report.arrays) {
    count += array.token_count;
    for (const TokenReport& token : array.tokens)
      tokens.push_back(
          json::object{{"id", fmt::format("{:016x}", token.id)}, {"source", token.source}, {"memory", token.memory}});
  }
  return {{"used", report.memory_used},
          {"limit", report.memory_limit},
          {"of_tokens", report.memory_of_tokens},
          {"token_count", count},
          {"tokens", std::move(tokens)}};
}

Answer memory_usage(Steered& steered, const Call&) {
  return {.begin = [&steered](Answer::Respond respond) {
    steered.reporter.report([respond = std::move(respond)](const StatusReport& report) mutable {
      respond(document(usage_document(report)).response);
    });
  }};
}

Answer metrics(Steered& steered, const Call&) {
  return {.response = {.body = metrics_text(steered), .content_type = "text/plain; version=0.0.4; charset=utf-8"}};
}

Answer openapi(Steered&, const Call&) { return document(openapi_document(routes())); }

/// What a reset answers, when it is over.
struct Reset {
  std::vector<std::string> changes{};
  Answer::Respond respond{};
};

/// What a loss of power is going to take away from hosts.
std::vector<std::string> losses(const Steered& steered) {
  std::vector<std::string> lines;
  std::size_t tokens = 0, copies = 0;
  for (const auto& array : steered.arrays.all()) {
    tokens += array->copy_manager().tokens().tokens();
    copies += array->copy_manager().running_jobs();
    for (const Array::ExportedLun& lun : array->luns()) {
      const std::string name = fmt::format("LUN {} of {}", lun.config.number, lun.target_name);
      scsi::LogicalUnit& unit = *lun.logical_unit;
      if (!unit.store().may_block()) {
        const auto first = unit.store().provisioning(0);
        const bool empty = first && !first->mapped && first->length == unit.size_bytes();
        if (!empty) lines.push_back(name + " is empty");
      }
      const scsi::Reservations& reservations = unit.reservations();
      if (!reservations.registrations().empty() && !reservations.persist_through_power_loss())
        lines.push_back(name + " has no registrations");
    }
  }
  if (copies > 0) lines.push_back(fmt::format("copies that are stopped: {}", copies));
  if (tokens > 0) lines.push_back(fmt::format("tokens that are unknown now: {}", tokens));
  return lines;
}

/// Rules are those of the start, and what they made of the arrays goes, too. Says what was another.
std::vector<std::string> undo_rules(Steered& steered) {
  std::vector<std::string> lines;
  scsi::RuleSet& rules = steered.arrays.rules();
  std::vector<scsi::RuleId> added;
  bool counted = false;
  for (const scsi::RuleSet::Listed& each : rules.list()) {
    if (!each.rule.from_file) added.push_back(each.rule.id);
    counted |= each.rule.from_file && each.matches > 0;
  }
  if (rules.state() != scsi::RuleSet::kInitialState)
    lines.push_back(fmt::format("the state of rules is \"{}\"", scsi::RuleSet::kInitialState));
  for (scsi::RuleId id : added) rules.remove(id);
  if (!added.empty()) lines.push_back(fmt::format("rules that are removed: {}", added.size()));
  if (rules.replace_those_of_file(steered.started.rules) || counted)
    lines.push_back(fmt::format("rules of the file, which count from the start: {}", steered.started.rules.size()));
  rules.start_over();
  const handlers::MemoryBudget& budget = steered.arrays.memory().budget();
  const std::uint64_t used = budget.used();
  rules.fill_pool(false);
  if (budget.used() != used) lines.emplace_back("the memory that rules had taken is free");
  for (const auto& array : steered.arrays.all()) {
    scsi::CopyManager& manager = array->copy_manager();
    const scsi::DeviceProfile before = manager.profile();
    manager.offer_third_party_copy(true);
    if (before.odx != manager.profile().odx || before.extended_copy != manager.profile().extended_copy)
      lines.push_back(fmt::format("third-party copy is offered again by {}", shown_name(*array)));
  }
  return lines;
}

/// A reload, before which LUNs that were added since the start go, whatever stands where they do. All is judged before
/// anything is done.
Answer reset(Steered& steered, const Call&) {
  constexpr std::chrono::seconds kGrace{3};
  std::set<std::array<std::uint8_t, 16>>& at_start = steered.luns_at_start;
  Reload reload(steered.started, steered.started, steered.arrays,
                [&](const Array::ExportedLun& lun) { return !at_start.contains(lun.logical_unit->identity().naa); });
  auto outcome = std::make_shared<Reset>();
  std::vector<std::string> changes = losses(steered);
  steered.snapshots.clear([outcome](const std::vector<std::string>& failures) {
    if (!outcome->respond) return;
    const auto& done = outcome->changes;
    outcome->respond(failures.empty()
                         ? document(json::object{{"changes", json::array(done.begin(), done.end())}}).response
                         : not_all_done(failures));
  });
  std::ranges::move(undo_rules(steered), std::back_inserter(changes));
  for (const auto& array : steered.arrays.all())
    for (const Array::ExportedLun& lun : array->luns())
      if (auto found = steered.arrays.find_lun(lun.target_name, lun.config.number); found.lun)
        look_at_access(*found.lun);
  const auto cuts = [&] { return steered.arrays.all().front()->copy_manager().reachability().cuts(); };
  const auto cuts_before = cuts();
  std::ranges::move(reload.apply(steered.sessions, kGrace), std::back_inserter(changes));
  if (cuts() != cuts_before) changes.emplace_back("what is unreachable is what it was");
  outcome->changes = std::move(changes);
  // Those that were removed are there again, by other names.
  for (const Reload::Place& place : reload.added())
    at_start.insert(steered.arrays.find_lun(place.target, place.number).lun->logical_unit->identity().naa);
  note(steered, "reset: everything is as it was at the start");
  return {.begin = [outcome](Answer::Respond respond) { outcome->respond = std::move(respond); }};
}

constexpr Route kRoutes[] = {
    {.path = "/healthz", .summary = "It lives", .handle = healthz, .result = &kHealth, .open_to_all = true},
    {.path = "/readyz",
     .summary = "Logins are served, or 503",
     .handle = readyz,
     .result = &kHealth,
     .open_to_all = true},
    {.path = "/metrics",
     .summary = "Counters and gauges in Prometheus' text format",
     .handle = metrics,
     .content_type = "text/plain"},
    {.path = "/openapi.json", .summary = "This document", .handle = openapi, .result = &kDocument, .open_to_all = true},
    {.path = "/v1/status", .summary = "odxd in a few numbers", .handle = status, .result = &kStatus},
    {.path = "/v1/memory",
     .summary = "Memory of LUNs in memory, tokens and snapshots",
     .handle = memory,
     .result = &kMemory},
    {.path = "/v1/memory/usage",
     .summary = "Who keeps it, as things were when this began: others are served while all of it is counted",
     .handle = memory_usage,
     .result = &kUsage},
    {.method = Method::post,
     .path = "/v1/reset",
     .summary = "Back to the start: configuration, empty memory, no tokens; hosts are told POWER ON (06/29/00)",
     .handle = reset,
     .result = &kReset},
};

}  // namespace

std::span<const Route> process_routes() { return kRoutes; }

}  // namespace target::control
