// Numbers of different meaning are different types where mixing them would compile.
#pragma once

#include <compare>
#include <cstdint>

namespace base {

/// A number with a meaning. Explicit in, explicit out (`.value`); same kinds compare and add.
template <typename Meaning>
struct Quantity {
  std::uint64_t value = 0;

  constexpr Quantity() = default;
  constexpr explicit Quantity(std::uint64_t number) : value(number) {}
  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity operator+(Quantity other) const { return Quantity(value + other.value); }
  constexpr Quantity operator-(Quantity other) const { return Quantity(value - other.value); }
  constexpr Quantity& operator+=(Quantity other) {
    value += other.value;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity other) {
    value -= other.value;
    return *this;
  }
};

using Lba = Quantity<struct LbaMeaning>;                ///< a logical block address
using BlockCount = Quantity<struct BlockCountMeaning>;  ///< a number of logical blocks
using ByteCount = Quantity<struct ByteCountMeaning>;    ///< a number of bytes

/// The address `count` blocks after `lba`; the caller has excluded overflow.
constexpr Lba operator+(Lba lba, BlockCount count) { return Lba(lba.value + count.value); }

}  // namespace base
