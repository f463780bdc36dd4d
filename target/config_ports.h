// Ports of targets in the configuration: the portal groups a target is offered in, and asymmetric access through them
// (ALUA). Thread: the one that starts the program.
#pragma once

#include <string_view>
#include <vector>

#include "target/config.h"
#include "target/words.h"

namespace target {

class TableReader;

/// Sets what the [[target]] `table` says of its portal groups and of ALUA. Throws ConfigError.
void read_ports(const TableReader& table, TargetConfig& target);

/// What alua has to be where a target has access states.
inline constexpr std::string_view kAluaRuleWithStates =
    "\"implicit\", \"explicit\" or \"both\", since there are access states";

inline constexpr Word<scsi::AccessState> kAccessStateWords[] = {
    {"active/optimized", scsi::AccessState::active_optimized},
    {"active/non-optimized", scsi::AccessState::active_non_optimized},
    {"standby", scsi::AccessState::standby},
    {"unavailable", scsi::AccessState::unavailable},
    {"transitioning", scsi::AccessState::transitioning},
};
/// Who changes them.
inline constexpr Word<scsi::AccessChanges> kAluaWords[] = {
    {"none", scsi::AccessChanges::none},
    {"implicit", scsi::AccessChanges::implicitly},
    {"explicit", scsi::AccessChanges::explicitly},
    {"both", scsi::AccessChanges::by_either_side},
};

/// The access states of a LUN: what the [[target]] says of all its LUNs, and what the [[target.lun]] says instead.
/// Throws ConfigError.
std::vector<AccessConfig> read_access(const TableReader& target, const TableReader& lun);

}  // namespace target
