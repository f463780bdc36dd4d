// SPDX-License-Identifier: GPL-2.0-or-later
// Names as NTFS keeps them: UTF-16, little endian, up to 255 units.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace host::ntfs {

/// Units as they lie on the disk (ntfschar).
using DiskName = std::vector<std::uint16_t>;

/// What is no UTF-8 becomes U+FFFD, and so do lone surrogates the other way.
DiskName to_disk(std::string_view utf8);
std::string from_disk(const std::uint16_t* units, std::size_t count);
inline std::string from_disk(const DiskName& name) { return from_disk(name.data(), name.size()); }

/// Whether Windows lets a file or stream be called so: 1 to 255 units, none of < > : " / \ | ? *, no controls.
bool valid(const DiskName& name);

}  // namespace host::ntfs
