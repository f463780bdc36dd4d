// Ports of targets in the configuration: the portal groups a target is offered in, and asymmetric access through them
// (ALUA). Thread: the one that starts the program.
#pragma once

#include <string_view>
#include <vector>

#include "target/config.h"

namespace target {

class TableReader;

/// Sets what the [[target]] `table` says of its portal groups and of ALUA. Throws ConfigError.
void read_ports(const TableReader& table, TargetConfig& target);

/// What alua has to be where a target has access states.
inline constexpr std::string_view kAluaRuleWithStates =
    "\"implicit\", \"explicit\" or \"both\", since there are access states";

/// What the configuration calls an access state: "active/optimized".
std::string_view access_state_word(scsi::AccessState state);

/// What it calls who changes them: "implicit".
std::string_view alua_word(scsi::AccessChanges changes);
/// The access state of that name, or nothing.
std::optional<scsi::AccessState> find_access_state(std::string_view word);

/// The access states of a LUN: what the [[target]] says of all its LUNs, and what the [[target.lun]] says instead.
/// Throws ConfigError.
std::vector<AccessConfig> read_access(const TableReader& target, const TableReader& lun);

}  // namespace target
