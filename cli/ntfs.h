// NTFS, when this odx was built with it. The only place that knows whether it was.
// Thread: main's.
#pragma once

#include <string_view>

#include "host/volume.h"

namespace cli {

inline constexpr std::string_view kWithoutNtfs = "this odx was built without NTFS (meson setup -Dntfs=enabled)";

bool has_ntfs();
/// Mounts NTFS; nothing without it.
host::Volume::Mounter ntfs_mounter();

}  // namespace cli
