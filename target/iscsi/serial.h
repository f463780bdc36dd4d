// Sequence numbers of RFC 7143, 4.2.2.1: 32-bit serial arithmetic (RFC 1982), where "less" means less than half
// the number circle away. CmdSN and StatSN are different types because mixing them would compile.
#pragma once

#include <cstdint>

namespace iscsi {

template <typename Meaning>
struct Serial {
  std::uint32_t value = 0;

  constexpr Serial() = default;
  constexpr explicit Serial(std::uint32_t number) : value(number) {}
  constexpr bool operator==(const Serial&) const = default;
  constexpr Serial operator+(std::uint32_t count) const { return Serial(value + count); }
  constexpr Serial operator-(std::uint32_t count) const { return Serial(value - count); }
  constexpr Serial& operator++() {
    ++value;
    return *this;
  }
  constexpr Serial& operator--() {
    --value;
    return *this;
  }
  /// How far `other` lies behind this one; negative when it is ahead.
  constexpr std::int32_t distance_from(Serial other) const { return static_cast<std::int32_t>(value - other.value); }
  constexpr bool before(Serial other) const { return distance_from(other) < 0; }
  constexpr bool after(Serial other) const { return distance_from(other) > 0; }
};

using CmdSn = Serial<struct CmdSnMeaning>;
using StatSn = Serial<struct StatSnMeaning>;

}  // namespace iscsi
