// What the fuzzers of files that are kept beside a logical unit share: the frame's checksum would stop nearly every
// input, so each is tried as it is and with the checksum and length that its other bytes want.
#pragma once

#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "base/crc.h"

namespace fuzz {

inline void require(bool good) {
  if (!good) std::abort();
}

template <typename Check>
void check_as_is_and_sealed(base::Bytes input, Check check) {
  check(input);
  constexpr std::size_t kLengthAt = 12;
  if (input.size() < kLengthAt + sizeof(base::be32)) return;
  std::vector<std::uint8_t> sealed(input.begin(), input.end());
  base::store(base::MutableBytes(sealed).subspan(kLengthAt),
              base::be32(static_cast<std::uint32_t>(input.size() + sizeof(std::uint32_t))));
  std::uint32_t checksum = base::crc32c(sealed);
  base::ByteWriter(sealed).u32(checksum);
  check(sealed);
}

}  // namespace fuzz
