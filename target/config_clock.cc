#include "target/config_clock.h"

#include <fmt/format.h>

#include <charconv>

#include "scsi/journal.h"
#include "target/config_reader.h"

namespace target {
namespace {

using Kind = base::ClockMode::Kind;

constexpr std::string_view kScaled = "scaled:";
constexpr std::uint64_t kMostEvents = 1'000'000;

}  // namespace

std::string clock_mode_text(const base::ClockMode& mode) {
  switch (mode.kind) {
    case Kind::real: return "real";
    case Kind::manual: return "manual";
    case Kind::scaled: break;
  }
  return fmt::format("{}{:g}", kScaled, mode.factor);
}

std::optional<base::ClockMode> parse_clock_mode(std::string_view text) {
  if (text == "real") return base::ClockMode{Kind::real};
  if (text == "manual") return base::ClockMode{Kind::manual};
  if (!text.starts_with(kScaled)) return std::nullopt;
  text.remove_prefix(kScaled.size());
  double factor = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), factor);
  bool good = error == std::errc{} && end == text.data() + text.size() && factor >= base::ClockMode::kMinimumFactor &&
              factor <= base::ClockMode::kMaximumFactor;
  return good ? std::optional(base::ClockMode{Kind::scaled, factor}) : std::nullopt;
}

void read_clock(const TableReader& document, Config& config) {
  auto table = document.table("clock", {"mode", "factor"});
  if (!table) return;
  constexpr std::string_view kModeRule = "\"real\", \"manual\" or \"scaled\"";
  auto mode = table->text("mode", kModeRule);
  if (mode == "real") {
    config.clock = {Kind::real};
  } else if (mode == "manual") {
    config.clock = {Kind::manual};
  } else if (mode == "scaled") {
    config.clock = {Kind::scaled};
  } else {
    table->refuse("mode", kModeRule);
  }
  auto factor = table->decimal("factor", base::ClockMode::kMinimumFactor, base::ClockMode::kMaximumFactor);
  if (factor && config.clock.kind != Kind::scaled) table->complain("factor", "is for mode = \"scaled\"");
  if (!factor && config.clock.kind == Kind::scaled)
    table->refuse("factor", "how many times as fast as real time the array clock goes");
  if (factor) config.clock.factor = *factor;
}

void read_journal(const TableReader& document, Config& config) {
  auto table = document.table("journal", {"events", "file"});
  if (!table) return;
  table->number_into("events", 0, kMostEvents, config.journal.events);
  if (config.journal.events > 0 && config.journal.events < scsi::Journal::kLeastEvents)
    table->refuse("events", fmt::format("0 for no journal, or {} to {}", scsi::Journal::kLeastEvents, kMostEvents));
  constexpr std::string_view kFileRule = "the path of a file";
  auto file = table->text("file", kFileRule);
  if (!file) return;
  if (file->empty()) table->refuse("file", kFileRule);
  if (config.journal.events == 0) table->complain("file", "is for a journal; expected events of 16 or more");
  config.journal.file = *file;
}

}  // namespace target
