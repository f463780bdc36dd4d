// The 8-byte form of a logical unit number (SAM-5 4.7).
#include <algorithm>

#include "scsi/device_server.h"

namespace scsi {
namespace {

constexpr std::uint16_t kAddressMethodMask = 0xC000;
constexpr std::uint16_t kPeripheralDevice = 0x0000;  ///< SAM-5 4.7.7.2
constexpr std::uint16_t kFlatSpace = 0x4000;         ///< SAM-5 4.7.7.3
constexpr std::uint16_t kBusIdentifierMask = 0x3F00;
constexpr std::uint16_t kPeripheralLunLimit = 0x100;

struct LunField {
  base::be16 first_level{};
  std::array<std::uint8_t, 6> deeper_levels{};
};
static_assert(sizeof(LunField) == 8);

}  // namespace

std::optional<Lun> decode_lun(base::Bytes bytes) {
  if (bytes.size() != sizeof(LunField)) return {};
  auto field = base::load<LunField>(bytes);
  if (std::ranges::any_of(field.deeper_levels, [](std::uint8_t byte) { return byte != 0; })) return {};
  std::uint16_t level = field.first_level;
  std::uint16_t method = level & kAddressMethodMask;
  if (method == kFlatSpace) return static_cast<Lun>(level & ~kAddressMethodMask);
  if (method == kPeripheralDevice && (level & kBusIdentifierMask) == 0) return static_cast<Lun>(level);
  return {};
}

std::array<std::uint8_t, 8> encode_lun(Lun lun) {
  auto number = static_cast<std::uint16_t>(lun);
  LunField field{number < kPeripheralLunLimit ? number : static_cast<std::uint16_t>(number | kFlatSpace)};
  return std::bit_cast<std::array<std::uint8_t, 8>>(field);
}

}  // namespace scsi
