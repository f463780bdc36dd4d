// [clock] and [journal] of the configuration. Thread: the one that starts the program.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/array_clock.h"
#include "target/config.h"
#include "target/words.h"

namespace target {

class TableReader;

/// Throw ConfigError.
void read_clock(const TableReader& document, Config& config);
void read_journal(const TableReader& document, Config& config);

inline constexpr Word<base::ClockMode::Kind> kClockModeWords[] = {
    {"real", base::ClockMode::Kind::real},
    {"manual", base::ClockMode::Kind::manual},
    {"scaled", base::ClockMode::Kind::scaled},
};

/// "real", "manual", "scaled:60": what --clock says.
std::string clock_mode_text(const base::ClockMode& mode);
std::optional<base::ClockMode> parse_clock_mode(std::string_view text);
inline constexpr std::string_view kClockModeRule = "real, manual or scaled:FACTOR, FACTOR from 0.001 to 100000";

}  // namespace target
