// All randomness comes from here, so that a test can seed it. Thread: one at a time.
#pragma once

#include <cstdint>
#include <random>

#include "base/bytes.h"

namespace base {

class Entropy {
 public:
  virtual ~Entropy() = default;
  /// Fills every byte of `out`.
  virtual void fill(MutableBytes out) = 0;

  std::uint64_t u64() {
    be64 field;
    std::array<std::uint8_t, sizeof field> raw{};
    fill(raw);
    return load<be64>(raw);
  }
};

/// The operating system's generator, through OpenSSL. Throws std::runtime_error when it has none:
/// tokens made without it would be guessable.
class SystemEntropy final : public Entropy {
 public:
  void fill(MutableBytes out) override;
};

/// Repeatable; for tests and simulations only. Print seed() where a failure is reported.
class SeededEntropy final : public Entropy {
 public:
  explicit SeededEntropy(std::uint64_t seed) : seed_(seed), engine_(seed) {}
  void fill(MutableBytes out) override;
  std::uint64_t seed() const { return seed_; }

 private:
  std::uint64_t seed_;
  std::mt19937_64 engine_;
};

}  // namespace base
