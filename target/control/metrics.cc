#include "target/control/metrics.h"

#include <fmt/format.h>

#include <string_view>

#include "base/array_clock.h"
#include "handlers/memory_pool.h"
#include "scsi/command_counts.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/journal.h"
#include "scsi/logical_unit.h"
#include "scsi/rules.h"
#include "target/control/resources.h"
#include "target/control/steered.h"
#include "target/event_loop.h"
#include "tokens/copy_operation.h"

namespace target::control {
namespace {

/// A label's value: backslash, quote and line feed are escaped.
std::string escaped(std::string_view text) {
  std::string out;
  for (char each : text) {
    if (each == '\\' || each == '"') out += '\\';
    if (each == '\n')
      out += "\\n";
    else
      out += each;
  }
  return out;
}

class Text {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
  }
  void value(double value, std::string_view labels = {}) {
    text_ += labels.empty() ? fmt::format("{} {}\n", name_, value) : fmt::format("{}{{{}}} {}\n", name_, labels, value);
  }
  template <typename Number>
    requires std::is_integral_v<Number>
  void value(Number value, std::string_view labels = {}) {
    text_ += labels.empty() ? fmt::format("{} {}\n", name_, value) : fmt::format("{}{{{}}} {}\n", name_, labels, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string_view name_;
  std::string text_;
};

template <typename Visit>
void for_each_lun(const Steered& steered, Visit visit) {
  for (const auto& array : steered.arrays.all())
    for (const Array::ExportedLun& lun : array->luns()) visit(*lun.logical_unit);
}

void of_luns(Text& text, const Steered& steered) {
  text.family("odx_bytes_total", "counter", "Bytes that good commands read and wrote; LOG SELECT may reset it.");
  for_each_lun(steered, [&](const scsi::LogicalUnit& unit) {
    const std::string lun = escaped(unit.config().name);
    text.value(unit.statistics().read.bytes, fmt::format("lun=\"{}\",direction=\"read\"", lun));
    text.value(unit.statistics().write.bytes, fmt::format("lun=\"{}\",direction=\"write\"", lun));
  });
  text.family("odx_medium_errors_total", "counter", "Commands that ended with MEDIUM ERROR or HARDWARE ERROR.");
  for_each_lun(steered, [&](const scsi::LogicalUnit& unit) {
    const std::string lun = escaped(unit.config().name);
    text.value(unit.statistics().read.uncorrected, fmt::format("lun=\"{}\",direction=\"read\"", lun));
    text.value(unit.statistics().write.uncorrected, fmt::format("lun=\"{}\",direction=\"write\"", lun));
  });
  text.family("odx_lun_size_bytes", "gauge", "Capacity.");
  for_each_lun(steered, [&](const scsi::LogicalUnit& unit) {
    text.value(unit.size_bytes(), fmt::format("lun=\"{}\"", escaped(unit.config().name)));
  });
}

/// "2Ah", "83h/11h"
std::string opcode_text(const scsi::CommandDescriptor& row) {
  const std::string opcode = fmt::format("{:02X}h", row.opcode);
  return row.service_action ? fmt::format("{}/{:02X}h", opcode, *row.service_action) : opcode;
}

void of_commands(Text& text, const Steered& steered) {
  text.family("odx_commands_total", "counter", "Commands that ended, by status, since the target was made.");
  for (const auto& node : steered.arrays.directory().targets) {
    const std::string target = escaped(node->name);
    node->device_server->counts().for_each([&](const scsi::CommandDescriptor* row, std::optional<scsi::Status> status,
                                               std::uint64_t count) {
      text.value(count,
                 fmt::format("target=\"{}\",command=\"{}\",opcode=\"{}\",status=\"{}\"", target, row ? row->name : "",
                             row ? opcode_text(*row) : "", status ? scsi::describe(*status) : "other"));
    });
  }
}

template <typename Value>
void of_arrays(Text& text, const Steered& steered, Value value) {
  for (const auto& array : steered.arrays.all())
    text.value(value(array->copy_manager()), fmt::format("array=\"{}\"", escaped(shown_name(*array))));
}

void of_copies(Text& text, const Steered& steered) {
  using Manager = scsi::CopyManager;
  text.family("odx_tokens", "gauge", "Valid ROD tokens, and those that ended a moment ago.");
  of_arrays(text, steered, [](Manager& manager) { return manager.tokens().tokens(); });
  text.family("odx_tokens_ended", "gauge", "Tokens that ended and whose reason is remembered.");
  of_arrays(text, steered, [](Manager& manager) { return manager.tokens().tombstones(); });
  text.family("odx_copy_operations", "gauge", "Copy operations in progress.");
  of_arrays(text, steered, [](Manager& manager) { return manager.operations().in_progress(); });
  text.family("odx_unreachable_pairs", "gauge", "Pairs of LUNs or arrays between which no data moves.");
  text.value(steered.arrays.all().front()->copy_manager().reachability().cuts().size());
}

}  // namespace

std::string metrics_text(const Steered& steered) {
  Text text;
  text.family("odx_build_info", "gauge", "Always 1; the label is the version.");
  text.value(1, fmt::format("version=\"{}\"", escaped(steered.version)));
  text.family("odx_uptime_seconds", "gauge", "Real time since the start.");
  text.value(seconds(steered.loop.clock().now() - steered.started_at));
  text.family("odx_ready", "gauge", "1: logins are served.");
  text.value(steered.ready ? 1 : 0);
  const auto sessions = steered.sessions.list();
  std::size_t connections = 0, commands = 0;
  for (const auto& session : sessions) {
    connections += session.peers.size();
    commands += session.commands;
  }
  text.family("odx_sessions", "gauge", "iSCSI sessions.");
  text.value(sessions.size());
  text.family("odx_connections", "gauge", "Their connections.");
  text.value(connections);
  text.family("odx_commands_in_progress", "gauge", "Commands of all sessions.");
  text.value(commands);
  of_commands(text, steered);
  of_luns(text, steered);
  of_copies(text, steered);
  const handlers::MemoryBudget& budget = steered.arrays.memory().budget();
  text.family("odx_memory_used_bytes", "gauge", "What memory stores, tokens and snapshots hold.");
  text.value(budget.used());
  text.family("odx_memory_limit_bytes", "gauge", "What they may hold.");
  text.value(budget.limit());
  text.family("odx_array_clock_seconds", "counter", "What the array clock shows.");
  text.value(seconds(base::ArrayClock::since_start(steered.array_clock.now())));
  if (const scsi::Journal* journal = steered.arrays.journal()) {
    text.family("odx_events_total", "counter", "Events of the journal.");
    text.value(journal->last());
  }
  text.family("odx_rule_hits_total", "counter", "Commands that a rule acted on.");
  for (const scsi::RuleSet::Listed& each : steered.arrays.rules().list())
    text.value(each.hits,
               fmt::format("rule=\"{}\",name=\"{}\"", static_cast<unsigned>(each.rule.id), escaped(each.rule.name)));
  text.family("odx_snapshots", "gauge", "Snapshots of the array.");
  text.value(steered.snapshots.all().size());
  return text.take();
}

}  // namespace target::control
