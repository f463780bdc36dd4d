// What the configuration says about an array's personality: a ready-made profile by its name, and every key that
// overrides one of its limits. Judges the result as a whole. Thread: the one that starts the program.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "scsi/device_profile.h"
#include "target/config_reader.h"
#include "target/words.h"

namespace target {

/// The profile of the array that `table` describes: its keys profile, tokens, copy and block_limits. Throws
/// ConfigError.
scsi::DeviceProfile read_profile(const TableReader& table);

/// The names a profile may have, for errors.
std::string profile_rule();

/// What the configuration calls a ROD type: "point-in-time-default".
std::string_view rod_type_word(tokens::RodType type);

inline constexpr Word<scsi::UnreachableRefusal> kRefusalWords[] = {
    {"unreachable-copy-target", scsi::UnreachableRefusal::unreachable_copy_target},
    {"remote-token-usage-not-supported", scsi::UnreachableRefusal::remote_token_usage_not_supported},
    {"copy-target-device-not-reachable", scsi::UnreachableRefusal::copy_target_device_not_reachable},
};

/// One of scsi::UnreachableRefusal by its name; nothing when the key is absent. Throws ConfigError.
std::optional<scsi::UnreachableRefusal> read_refusal(const TableReader& table, std::string_view key);

}  // namespace target
