// SPDX-License-Identifier: GPL-2.0-or-later
#include "host/ntfs/names.h"

#include <algorithm>
#include <boost/nowide/utf/convert.hpp>

#include "base/bytes.h"

namespace host::ntfs {

DiskName to_disk(std::string_view utf8) {
  const auto wide = boost::nowide::utf::convert_string<char16_t>(utf8.data(), utf8.data() + utf8.size());
  DiskName name(wide.size());
  std::ranges::transform(wide, name.begin(),
                         [](char16_t unit) { return std::bit_cast<std::uint16_t>(base::le16(unit)); });
  return name;
}

std::string from_disk(const std::uint16_t* units, std::size_t count) {
  std::u16string wide(count, 0);
  for (std::size_t i = 0; i < count; ++i) wide[i] = std::bit_cast<base::le16>(units[i]).value();
  return boost::nowide::utf::convert_string<char>(wide.data(), wide.data() + wide.size());
}

bool valid(const DiskName& name) {
  if (name == to_disk(".") || name == to_disk("..")) return false;  // whoever mounts the volume takes them for places
  constexpr std::size_t kLongest = 255;
  constexpr std::u16string_view kForbidden = u"<>:\"/\\|?*";
  return !name.empty() && name.size() <= kLongest && std::ranges::none_of(name, [&](std::uint16_t raw) {
    const char16_t unit = std::bit_cast<base::le16>(raw).value();
    return unit < 0x20 || kForbidden.contains(unit);
  });
}

}  // namespace host::ntfs
