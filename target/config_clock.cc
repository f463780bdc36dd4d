#include "target/config_clock.h"

#include <fmt/format.h>

#include <charconv>

#include "scsi/journal.h"
#include "target/config_reader.h"

namespace target {
namespace {

using Kind = base::ClockMode::Kind;

constexpr std::uint64_t kMostEvents = 1'000'000;

}  // namespace

std::string clock_mode_text(const base::ClockMode& mode) {
  const std::string_view word = word_of(kClockModeWords, mode.kind);
  return mode.kind == Kind::scaled ? fmt::format("{}:{:g}", word, mode.factor) : std::string(word);
}

std::optional<base::ClockMode> parse_clock_mode(std::string_view text) {
  const std::size_t colon = text.find(':');
  const auto kind = find_word(kClockModeWords, text.substr(0, colon));
  if (!kind || (*kind == Kind::scaled) != (colon != std::string_view::npos)) return std::nullopt;
  if (*kind != Kind::scaled) return base::ClockMode{*kind};
  text.remove_prefix(colon + 1);
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
  const auto kind = mode ? find_word(kClockModeWords, *mode) : std::nullopt;
  if (!kind) table->refuse("mode", kModeRule);
  config.clock = {*kind};
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
