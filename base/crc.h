// Checksums of bytes, by ISA-L. Thread: any, nothing is shared.
#pragma once

#include "base/bytes.h"

namespace base {

/// Continues a running CRC32C (Castagnoli); begin with kCrc32cStart, and take the complement at the end.
inline constexpr std::uint32_t kCrc32cStart = 0xFFFFFFFF;
std::uint32_t crc32c_add(std::uint32_t running, Bytes bytes);
inline std::uint32_t crc32c(Bytes bytes) { return ~crc32c_add(kCrc32cStart, bytes); }

/// CRC-32 of IEEE 802.3, as in a GPT (UEFI 2.10, 5.3.2).
std::uint32_t crc32(Bytes bytes);

}  // namespace base
