#include "fsctl/options.h"

#include <algorithm>

#include "fsctl/output.h"

namespace fsctl {
namespace {

const OptionRow* find_row(std::span<const std::span<const OptionRow>> tables, std::wstring_view name) {
  for (const auto rows : tables) {
    const auto found = std::ranges::find(rows, name, &OptionRow::name);
    if (found != rows.end()) return &*found;
  }
  return nullptr;
}

int digit_value(wchar_t c) {
  if (c >= L'0' && c <= L'9') return c - L'0';
  if (c >= L'a' && c <= L'f') return c - L'a' + 10;
  if (c >= L'A' && c <= L'F') return c - L'A' + 10;
  return 16;
}

[[noreturn]] void usage(const std::string& message) { throw Failure(ExitCode::usage, message); }

}  // namespace

void bad_value(std::wstring_view option, std::wstring_view value, std::string_view rule) {
  usage(utf8(option) + ": '" + utf8(value) + "' " + std::string(rule));
}

std::uint64_t parse_number(std::wstring_view option, std::wstring_view value, std::uint64_t largest) {
  constexpr std::wstring_view kUnits = L"KMGT";
  std::wstring_view digits = value;
  std::uint64_t unit = 1;
  if (!digits.empty()) {
    if (const auto power = kUnits.find(digits.back()); power != std::wstring_view::npos) {
      unit = std::uint64_t{1} << (10 * (power + 1));
      digits.remove_suffix(1);
    }
  }
  const bool is_hex = digits.starts_with(L"0x") || digits.starts_with(L"0X");
  if (is_hex) digits.remove_prefix(2);
  const std::uint64_t base = is_hex ? 16 : 10;
  std::uint64_t number = 0;
  if (digits.empty()) bad_value(option, value, "is not a number (decimal or 0x..., with K, M, G or T)");
  for (const wchar_t c : digits) {
    const auto digit = static_cast<std::uint64_t>(digit_value(c));
    if (digit >= base) bad_value(option, value, "is not a number (decimal or 0x..., with K, M, G or T)");
    if (number > (UINT64_MAX - digit) / base) bad_value(option, value, "does not fit in 64 bits");
    number = number * base + digit;
  }
  if (number > UINT64_MAX / unit) bad_value(option, value, "does not fit in 64 bits");
  if (number * unit > largest) bad_value(option, value, "is above " + std::to_string(largest));
  return number * unit;
}

Arguments::Arguments(std::span<const std::wstring> words, std::span<const std::span<const OptionRow>> rows,
                     std::span<const std::wstring_view> operands) {
  bool options_ended = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::wstring& word = words[i];
    if (options_ended || !word.starts_with(L"--")) {
      operands_.push_back(word);
      continue;
    }
    if (word == L"--") {
      options_ended = true;
      continue;
    }
    const auto equals = word.find(L'=');
    const std::wstring name = word.substr(0, equals);
    const OptionRow* const row = find_row(rows, name);
    if (row == nullptr) usage(utf8(name) + ": this command has no such option");
    if (values_.contains(name)) usage(utf8(name) + ": given twice");
    if (row->value.empty()) {
      if (equals != std::wstring::npos) bad_value(name, word.substr(equals + 1), "is a value, and it takes none");
      values_[name];
    } else if (equals != std::wstring::npos) {
      values_[name] = word.substr(equals + 1);
    } else if (i + 1 < words.size()) {
      values_[name] = words[++i];
    } else {
      usage(utf8(name) + ": needs a value, " + utf8(row->value));
    }
  }
  if (operands_.size() < operands.size()) usage(utf8(operands[operands_.size()]) + " is missing");
  if (operands_.size() > operands.size()) usage("'" + utf8(operands_[operands.size()]) + "': one name too many");
}

std::optional<std::wstring> Arguments::text(std::wstring_view option) const {
  const auto found = values_.find(option);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::uint64_t> Arguments::number(std::wstring_view option, std::uint64_t largest) const {
  const auto value = text(option);
  if (!value) return std::nullopt;
  return parse_number(option, *value, largest);
}

std::uint32_t Arguments::number32(std::wstring_view option, std::uint32_t otherwise) const {
  return static_cast<std::uint32_t>(number(option, UINT32_MAX).value_or(otherwise));
}

std::uint64_t Arguments::number64(std::wstring_view option, std::uint64_t otherwise) const {
  return number(option).value_or(otherwise);
}

std::optional<std::vector<std::uint8_t>> Arguments::bytes(std::wstring_view option) const {
  const auto value = text(option);
  if (!value) return std::nullopt;
  std::vector<std::uint8_t> result;
  int high = -1;
  for (const wchar_t c : *value) {
    if (c == L' ' && high < 0) continue;
    const int digit = digit_value(c);
    if (digit > 15) bad_value(option, *value, "is not hex: two digits for each byte");
    if (high < 0) {
      high = digit;
    } else {
      result.push_back(static_cast<std::uint8_t>(high * 16 + digit));
      high = -1;
    }
  }
  if (high >= 0) bad_value(option, *value, "has an odd number of hex digits");
  return result;
}

void Arguments::exclusive(std::span<const std::wstring_view> options) const {
  const std::wstring_view* first = nullptr;
  for (const std::wstring_view& option : options) {
    if (!has(option)) continue;
    if (first != nullptr) usage(utf8(option) + ": not together with " + utf8(*first));
    first = &option;
  }
}

}  // namespace fsctl
