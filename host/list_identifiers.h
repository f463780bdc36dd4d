// The LIST IDENTIFIERs of a Windows host: one counter for all disks and sessions, taken once for each POPULATE TOKEN
// and WRITE USING TOKEN. It starts again only when the driver is loaded.
// Thread: one at a time.
#pragma once

#include <cstdint>

namespace host {

class ListIdentifiers {
 public:
  /// `maximum`: MaximumListIdentifier of the registry; after it comes 0. Values below 256 are ignored by Windows.
  explicit ListIdentifiers(std::uint32_t maximum = kLargest) : maximum_(maximum < kLeastMaximum ? kLargest : maximum) {}

  std::uint32_t next() {
    std::uint32_t value = next_;
    next_ = value >= maximum_ ? 0 : value + 1;
    return value;
  }

 private:
  static constexpr std::uint32_t kLargest = 0xFFFFFFFF;
  static constexpr std::uint32_t kLeastMaximum = 256;
  std::uint32_t maximum_;
  std::uint32_t next_ = 0;
};

}  // namespace host
