#include "base/entropy.h"

#include <openssl/rand.h>

#include <stdexcept>

namespace base {

void SystemEntropy::fill(MutableBytes out) {
  if (RAND_bytes(out.data(), static_cast<int>(out.size())) != 1)
    throw std::runtime_error("the system gives no secure randomness (RAND_bytes failed)");
}

void SeededEntropy::fill(MutableBytes out) {
  for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(engine_());
}

}  // namespace base
