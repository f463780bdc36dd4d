#include "target/iscsi/name.h"

#include <algorithm>
#include <cctype>

namespace iscsi {
namespace {

constexpr std::size_t kLongest = 223;

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char each) { return static_cast<char>(std::tolower(each)); });
  return lower;
}

bool is_digit(char each) { return each >= '0' && each <= '9'; }
bool is_hex(char each) { return is_digit(each) || (each >= 'a' && each <= 'f'); }

/// "iqn.YYYY-MM.NAMING-AUTHORITY[:STRING]" (RFC 7143, 4.2.7.4).
bool valid_iqn(std::string_view name) {
  std::string_view date = name.substr(4);
  if (date.size() < 9 || !std::all_of(date.begin(), date.begin() + 4, is_digit) || date[4] != '-' ||
      !is_digit(date[5]) || !is_digit(date[6]) || date[7] != '.')
    return false;
  int month = (date[5] - '0') * 10 + (date[6] - '0');
  std::string_view authority = date.substr(8, date.substr(8).find(':'));
  return month >= 1 && month <= 12 && !authority.empty() && authority.front() != '.' && authority.back() != '.';
}

}  // namespace

std::optional<std::string> normalised_name(std::string_view name) {
  if (name.size() > kLongest) return std::nullopt;
  std::string lower = lower_case(name);
  bool characters = std::ranges::all_of(lower, [](char each) {
    return (each >= 'a' && each <= 'z') || is_digit(each) || each == '-' || each == '.' || each == ':';
  });
  if (!characters) return std::nullopt;
  std::string_view digits = std::string_view(lower).substr(std::min<std::size_t>(4, lower.size()));
  if (lower.starts_with("iqn.") && valid_iqn(lower)) return lower;
  if (lower.starts_with("eui.") && digits.size() == 16 && std::ranges::all_of(digits, is_hex)) return lower;
  if (lower.starts_with("naa.") && (digits.size() == 16 || digits.size() == 32) && std::ranges::all_of(digits, is_hex))
    return lower;
  return std::nullopt;
}

std::optional<std::string> initiator_name(std::string_view name) {
  if (auto normal = normalised_name(name)) return normal;
  std::string lower = lower_case(name.substr(0, kLongest + 1));
  bool prefixed = lower.starts_with("iqn.") || lower.starts_with("eui.") || lower.starts_with("naa.");
  bool printable = std::ranges::all_of(lower, [](char each) { return each > ' ' && each <= '~'; });
  if (!prefixed || !printable || lower.size() > kLongest || lower.size() < 5) return std::nullopt;
  return lower;
}

}  // namespace iscsi
