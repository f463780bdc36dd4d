// Data that can be told from other data: an endless stream of bytes for each seed, of which any piece can be made.
// Seed 0: zeros. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace scenario {

/// The bytes of stream `seed` from its byte `from` on.
void fill_pattern(std::uint64_t seed, std::uint64_t from, base::MutableBytes out);

/// The first byte that differs from the stream's; nothing when all are the same.
std::optional<std::size_t> first_difference(std::uint64_t seed, std::uint64_t from, base::Bytes data);

/// SHA-256 as 64 hexadecimal digits.
std::string sha256(base::Bytes data);

}  // namespace scenario
