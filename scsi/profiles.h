// Ready-made device profiles: personalities of arrays that people meet, by name. "-like" ones imitate what is publicly
// documented of a product, limit by limit, and nothing else; docs/profiles.md says what, with its source.
// Thread: any.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "scsi/device_profile.h"

namespace scsi {

struct NamedProfile {
  std::string_view name;
  std::string_view summary;  ///< one line for people
  DeviceProfile profile;
};

/// All of them; the first is the default.
std::span<const NamedProfile> profiles();

/// Nothing when there is none of that name.
std::optional<DeviceProfile> find_profile(std::string_view name);

}  // namespace scsi
