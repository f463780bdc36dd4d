#include "scenario/pattern.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <stdexcept>

namespace scenario {
namespace {

/// SplitMix64 of the word's number: any word can be had without those before it.
std::uint64_t word(std::uint64_t seed, std::uint64_t number) {
  constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15, kFirst = 0xBF58476D1CE4E5B9, kSecond = 0x94D049BB133111EB;
  std::uint64_t mixed = seed * kSecond + (number + 1) * kStep;
  mixed = (mixed ^ (mixed >> 30)) * kFirst;
  mixed = (mixed ^ (mixed >> 27)) * kSecond;
  return mixed ^ (mixed >> 31);
}

}  // namespace

void fill_pattern(std::uint64_t seed, std::uint64_t from, base::MutableBytes out) {
  constexpr std::uint64_t kWord = sizeof(std::uint64_t);
  std::uint64_t number = from / kWord, value = word(seed, number);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint64_t at = from + i;
    if (at / kWord != number) value = word(seed, ++number);
    out[i] = seed == 0 ? 0 : static_cast<std::uint8_t>(value >> (at % kWord * 8));
  }
}

std::optional<std::size_t> first_difference(std::uint64_t seed, std::uint64_t from, base::Bytes data) {
  std::array<std::uint8_t, 4096> piece;
  for (std::size_t at = 0; at < data.size(); at += piece.size()) {
    const std::size_t length = std::min(piece.size(), data.size() - at);
    fill_pattern(seed, from + at, base::MutableBytes(piece).first(length));
    for (std::size_t i = 0; i < length; ++i)
      if (data[at + i] != piece[i]) return at + i;
  }
  return std::nullopt;
}

std::string sha256(base::Bytes data) {
  std::array<std::uint8_t, 32> digest{};
  if (EVP_Digest(data.data(), data.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 failed");
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace scenario
