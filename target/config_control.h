// What the configuration says of the control interface. Thread: the one that starts the program.
#pragma once

#include <string>
#include <string_view>

#include "target/config.h"

namespace target {

class TableReader;

/// The table [control] of the document. Throws ConfigError.
ControlConfig read_control(const TableReader& document);

/// Adds where `text` says: "unix:PATH" or "ADDR:PORT" ("--control"). `token`: of the environment; used where `control`
/// has none. Throws ConfigError.
void add_control(std::string_view text, const char* token, ControlConfig& control);

}  // namespace target
