// What the configuration, rules and the control interface call the values of an enumeration: one table for each, from
// which come reading, writing and what errors say. Thread: any.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

namespace target {

template <typename T>
struct Word {
  std::string_view word;
  T value;
};

/// What `value`, which has one, is called.
template <typename T, std::size_t kCount>
std::string_view word_of(const Word<T> (&words)[kCount], T value) {
  return std::ranges::find(words, value, &Word<T>::value)->word;
}

/// The value of that name, or nothing.
template <typename T, std::size_t kCount>
std::optional<T> find_word(const Word<T> (&words)[kCount], std::string_view text) {
  auto found = std::ranges::find(words, text, &Word<T>::word);
  if (found == std::end(words)) return std::nullopt;
  return found->value;
}

/// For errors: "a", "b".
template <typename T, std::size_t kCount>
std::string quoted(const Word<T> (&words)[kCount]) {
  std::string text;
  for (const auto& each : words) text += fmt::format("{}\"{}\"", text.empty() ? "" : ", ", each.word);
  return text;
}
/// For errors: one of "a", "b".
template <typename T, std::size_t kCount>
std::string one_of(const Word<T> (&words)[kCount]) {
  return "one of " + quoted(words);
}

/// The words alone.
template <typename T, std::size_t kCount>
constexpr std::array<std::string_view, kCount> spelled(const Word<T> (&words)[kCount]) {
  std::array<std::string_view, kCount> all;
  std::ranges::transform(words, all.begin(), &Word<T>::word);
  return all;
}

}  // namespace target
