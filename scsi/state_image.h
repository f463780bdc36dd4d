// The frame of what is kept of a logical unit, whatever it is: eight bytes that say what, a version and the length at
// the front, a CRC32C at the end. Big-endian. Knows neither the content nor files. Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace scsi {

/// No image is longer: as many registrations as there can be, with the longest names.
inline constexpr std::size_t kMaximumStateImage = 512 * 1024;

/// What the images of one kind begin with.
struct StateImageKind {
  std::array<std::uint8_t, 8> magic;
  std::uint32_t version;
};

std::vector<std::uint8_t> state_image(const StateImageKind& kind, base::Bytes content);

/// The content, which points into `image`; else what is wrong with the frame, in a few words.
std::expected<base::Bytes, std::string> state_image_content(const StateImageKind& kind, base::Bytes image);

}  // namespace scsi
