// The process as a whole: whether it lives and serves, what memory it holds, its metrics, the way back to how it
// started, and this interface's own description.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <memory>
#include <set>

#include "handlers/memory_pool.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
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
    {.name = "memory", .kind = Kind::whole, .about = "bytes that no LUN and no token listed before it keeps"},
};
constexpr Shape kTokenMemory{.name = "TokenMemory", .about = "", .fields = kTokenMemoryFields};
constexpr Field kUsageFields[] = {
    {.name = "used", .kind = Kind::whole, .about = "as in /v1/memory"},
    {.name = "limit", .kind = Kind::whole, .about = "as in /v1/memory"},
    {.name = "of_tokens", .kind = Kind::whole, .about = "bytes that only tokens keep"},
    {.name = "tokens", .kind = Kind::objects, .about = "what each keeps", .shape = &kTokenMemory},
};
constexpr Shape kUsage{.name = "MemoryUsage", .about = "Who keeps the memory", .fields = kUsageFields};
constexpr Field kResetFields[] = {
    {.name = "changes", .kind = Kind::texts, .about = "of targets and LUNs, one line each"}};
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

Answer memory_usage(Steered& steered, const Call&) {
  const StatusReport report = status_report(steered.arrays, steered.array_clock.now());
  json::array tokens;
  for (const ArrayReport& array : report.arrays)
    for (const TokenReport& token : array.tokens)
      tokens.push_back(
          json::object{{"id", fmt::format("{:016x}", token.id)}, {"source", token.source}, {"memory", token.memory}});
  return document(json::object{{"used", report.memory_used},
                               {"limit", report.memory_limit},
                               {"of_tokens", report.memory_of_tokens},
                               {"tokens", std::move(tokens)}});
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

/// What rules made of the arrays goes, too.
void undo_rules(Steered& steered) {
  scsi::RuleSet& rules = steered.arrays.rules();
  rules.clear();
  rules.replace_those_of_file(steered.started.rules);
  rules.start_over();
  rules.fill_pool(false);
  for (const auto& array : steered.arrays.all()) array->copy_manager().offer_third_party_copy(true);
}

/// A reload, before which LUNs that were added since the start go, whatever stands where they do. All is judged before
/// anything is done.
Answer reset(Steered& steered, const Call&) {
  constexpr std::chrono::seconds kGrace{3};
  std::set<std::array<std::uint8_t, 16>>& at_start = steered.luns_at_start;
  Reload reload(steered.started, steered.started, steered.arrays,
                [&](const Array::ExportedLun& lun) { return !at_start.contains(lun.logical_unit->identity().naa); });
  auto outcome = std::make_shared<Reset>();
  steered.snapshots.clear([outcome](const std::vector<std::string>& failures) {
    if (!outcome->respond) return;
    const auto& changes = outcome->changes;
    outcome->respond(failures.empty()
                         ? document(json::object{{"changes", json::array(changes.begin(), changes.end())}}).response
                         : not_all_done(failures));
  });
  undo_rules(steered);
  for (const auto& array : steered.arrays.all())
    for (const Array::ExportedLun& lun : array->luns())
      if (auto found = steered.arrays.find_lun(lun.target_name, lun.config.number); found.lun)
        look_at_access(*found.lun);
  outcome->changes = reload.apply(steered.sessions, kGrace);
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
     .summary = "Who keeps it: walks all of it, a second for each 10 million extents, while nothing else is served",
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
