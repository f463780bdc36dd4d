#include "target/iscsi/text_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace iscsi {
namespace {

bool is_label_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
         c == '+' || c == '@' || c == '_' || c == '#';
}

bool starts_with_hex(std::string_view value) { return value.starts_with("0x") || value.starts_with("0X"); }
bool starts_with_base64(std::string_view value) { return value.starts_with("0b") || value.starts_with("0B"); }

constexpr std::string_view kBase64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::expected<std::vector<std::uint8_t>, std::string> parse_hex(std::string_view digits) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(digits.size() / 2 + 1);
  // An odd number of digits means a leading zero (it is a number's notation).
  std::size_t first = digits.size() % 2;
  for (std::size_t i = 0; i < digits.size();) {
    std::size_t width = i == 0 && first == 1 ? 1 : 2;
    std::uint8_t byte = 0;
    const char* from = digits.data() + i;
    auto [end, error] = std::from_chars(from, from + width, byte, 16);
    if (error != std::errc{} || end != from + width) return std::unexpected("not hexadecimal");
    bytes.push_back(byte);
    i += width;
  }
  return bytes;
}

std::expected<std::vector<std::uint8_t>, std::string> parse_base64(std::string_view digits) {
  if (digits.size() % 4 != 0) return std::unexpected("base64 of a length that is no multiple of 4");
  std::vector<std::uint8_t> bytes;
  bytes.reserve(digits.size() / 4 * 3);
  for (std::size_t i = 0; i < digits.size(); i += 4) {
    std::string_view quad = digits.substr(i, 4);
    std::size_t pads = 0;
    if (i + 4 == digits.size()) pads = quad.ends_with("==") ? 2 : quad.ends_with('=') ? 1 : 0;
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      std::size_t sextet = k < 4 - pads ? kBase64Alphabet.find(quad[k]) : 0;
      if (sextet == std::string_view::npos) return std::unexpected("not base64");
      bits = bits * 64 + static_cast<std::uint32_t>(sextet);
    }
    base::be24 three(bits);
    base::Bytes raw = base::bytes_of(three);
    bytes.insert(bytes.end(), raw.begin(), raw.end() - static_cast<std::ptrdiff_t>(pads));
  }
  return bytes;
}

}  // namespace

std::optional<std::string_view> value_of(std::span<const TextPair> pairs, std::string_view key) {
  auto found = std::ranges::find(pairs, key, &TextPair::key);
  if (found == pairs.end()) return std::nullopt;
  return found->value;
}

std::expected<std::vector<TextPair>, std::string> parse_text(std::string_view text) {
  std::vector<TextPair> pairs;
  while (!text.empty()) {
    std::size_t end = text.find('\0');
    std::string_view pair = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (pair.empty()) continue;  // pad bytes counted into the segment by careless initiators
    std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return std::unexpected("text without '='");
    TextPair parsed{pair.substr(0, equals), pair.substr(equals + 1)};
    if (parsed.key.empty() || parsed.key.size() > kMaxKeyLength) {
      return std::unexpected(fmt::format("a key of {} characters", parsed.key.size()));
    }
    if (!std::ranges::all_of(parsed.key, is_label_character))
      return std::unexpected("a key with characters outside A-Z a-z 0-9 . - + @ _ #");
    if (pairs.size() == kMaxTextPairs) return std::unexpected("too many keys");
    if (std::ranges::any_of(pairs, [&](const TextPair& earlier) { return earlier.key == parsed.key; })) {
      return std::unexpected(fmt::format("key {} given twice", parsed.key));
    }
    pairs.push_back(parsed);
  }
  return pairs;
}

void append_pair(std::string& text, std::string_view key, std::string_view value) {
  text.append(key).append(1, '=').append(value).append(1, '\0');
}

bool TextAssembler::add(base::Bytes data) {
  if (data.size() > kMaxTextLength - text_.size()) return false;
  text_.append(base::text_of(data));
  return true;
}

std::string TextAssembler::take() { return std::exchange(text_, {}); }

TextSlicer::Piece TextSlicer::next(std::size_t limit) {
  std::string_view piece = std::string_view(text_).substr(position_, limit);
  position_ += piece.size();
  return {piece, position_ == text_.size()};
}

void TextSlicer::clear() {
  text_.clear();
  position_ = 0;
}

std::expected<bool, std::string> parse_boolean(std::string_view value) {
  if (value == "Yes") return true;
  if (value == "No") return false;
  return std::unexpected("neither Yes nor No");
}

std::expected<std::uint64_t, std::string> parse_number(std::string_view value) {
  int base = 10;
  if (starts_with_hex(value)) {
    base = 16;
    value.remove_prefix(2);
  }
  // A decimal constant begins with a digit that is not zero, or is 0.
  if (base == 10 && value.size() > 1 && value.front() == '0') return std::unexpected("a number with a leading zero");
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number, base);
  if (value.empty() || error != std::errc{} || end != value.data() + value.size())
    return std::unexpected("not a number");
  return number;
}

std::expected<std::vector<std::uint8_t>, std::string> parse_binary(std::string_view value, std::size_t limit) {
  bool hex = starts_with_hex(value);
  if (!hex && !starts_with_base64(value)) return std::unexpected("neither 0x nor 0b");
  std::string_view digits = value.substr(2);
  // Four base64 digits or six hexadecimal ones stand for three bytes at the most.
  if (digits.empty() || digits.size() > limit * 2 + 2) return std::unexpected("empty or too long");
  auto bytes = hex ? parse_hex(digits) : parse_base64(digits);
  if (bytes && (bytes->empty() || bytes->size() > limit)) return std::unexpected("empty or too long");
  return bytes;
}

std::string format_binary(base::Bytes value) {
  std::string text = "0x";
  for (std::uint8_t byte : value) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

}  // namespace iscsi
