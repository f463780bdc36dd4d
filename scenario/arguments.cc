#include "scenario/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>

#include "handlers/factory.h"
#include "scenario/lua_state.h"

namespace scenario {
namespace {

[[noreturn]] void refuse(std::string_view what, const json::value& value, std::string_view expected) {
  throw ScriptError(value.is_null() ? fmt::format("{} is missing; expected {}", what, expected)
                                    : fmt::format("{} is {}; expected {}", what, shown(value), expected));
}

bool printable(std::string_view text) {
  return std::ranges::all_of(text, [](unsigned char each) { return each >= 0x20 && each != 0x7F; });
}

std::string shown_text(std::string_view text) {
  constexpr std::size_t kLongest = 120, kLongestHex = 16;
  if (printable(text)) return fmt::format("\"{}{}\"", text.substr(0, kLongest), text.size() > kLongest ? "..." : "");
  std::string hex;
  for (unsigned char each : text.substr(0, kLongestHex)) hex += fmt::format("{}{:02x}", hex.empty() ? "" : " ", each);
  return fmt::format("{} bytes ({}{})", text.size(), hex, text.size() > kLongestHex ? " ..." : "");
}

std::string shown_object(const json::object& object) {
  if (const json::value* kind = object.if_contains(kHandleKind))
    return fmt::format("a {}", kind->is_string() ? std::string_view(kind->get_string()) : "?");
  std::string text;
  for (const auto& field : object)
    text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", std::string_view(field.key()), shown(field.value()));
  return "{" + text + "}";
}

}  // namespace

std::string shown(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: return "nil";
    case json::kind::string: return shown_text(value.get_string());
    case json::kind::object: return shown_object(value.get_object());
    case json::kind::double_: return fmt::format("{}", value.get_double());
    case json::kind::array: {
      constexpr std::size_t kMost = 12;
      std::string text;
      const json::array& array = value.get_array();
      for (std::size_t i = 0; i < std::min(array.size(), kMost); ++i) text += (i == 0 ? "" : ", ") + shown(array[i]);
      return fmt::format("{{{}{}}}", text, array.size() > kMost ? fmt::format(", ... ({})", array.size()) : "");
    }
    default: return json::serialize(value);
  }
}

std::uint64_t to_size(const json::value& value, std::string_view what) {
  if (const std::int64_t* number = value.if_int64(); number && *number >= 0) return static_cast<std::uint64_t>(*number);
  if (const json::string* text = value.if_string()) {
    try {
      return handlers::parse_size(*text);
    } catch (const handlers::OpenError&) {
    }
  }
  refuse(what, value, "bytes, such as 65536, \"512K\" or \"8M\"");
}

base::Duration to_duration(const json::value& value, std::string_view what) {
  struct Unit {
    std::string_view name;
    double microseconds;
  };
  constexpr std::array<Unit, 6> kUnits{
      {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"m", 60e6}, {"h", 3600e6}, {"d", 86400e6}}};
  constexpr double kLongest = 1e16;  // 300 years
  double number = -1;
  std::string_view unit = "s";
  if (value.is_number()) {
    number = value.to_number<double>();
  } else if (const json::string* text = value.if_string()) {
    const char* end = text->data() + text->size();
    auto [rest, error] = std::from_chars(text->data(), end, number);
    if (error != std::errc{}) number = -1;
    unit = std::string_view(rest, static_cast<std::size_t>(end - rest));
  }
  auto known = std::ranges::find(kUnits, unit, &Unit::name);
  if (known == kUnits.end() || !(number >= 0) || number * known->microseconds > kLongest)
    refuse(what, value, "seconds, or a time such as \"10ms\", \"1.5s\" or \"2h\"");
  return base::Duration(std::llround(number * known->microseconds));
}

std::int64_t to_number(const json::value& value, std::string_view what, std::int64_t low, std::int64_t high) {
  if (const std::int64_t* number = value.if_int64(); number && *number >= low && *number <= high) return *number;
  refuse(what, value, fmt::format("a whole number from {} to {}", low, high));
}

std::string to_text(const json::value& value, std::string_view what) {
  if (const json::string* text = value.if_string()) return std::string(*text);
  refuse(what, value, "text");
}

Fields::Fields(const json::value& value, std::string_view of, std::initializer_list<std::string_view> known) : of_(of) {
  if (value.is_null()) return;
  object_ = value.if_object();
  if (!object_ || object_->contains(kHandleKind))
    refuse(of, value, fmt::format("a table with {}", fmt::join(known, ", ")));
  for (const auto& field : *object_)
    if (std::ranges::find(known, std::string_view(field.key())) == known.end())
      throw ScriptError(fmt::format("{} is not a key here; expected {}", name(field.key()), fmt::join(known, ", ")));
}

std::string Fields::name(std::string_view key) const { return fmt::format("{}.{}", of_, key); }

const json::value* Fields::find(std::string_view key) const { return object_ ? object_->if_contains(key) : nullptr; }

const json::value& Fields::required(std::string_view key) const {
  if (const json::value* value = find(key)) return *value;
  throw ScriptError(fmt::format("{} is missing", name(key)));
}

std::optional<std::string> Fields::text(std::string_view key) const {
  const json::value* value = find(key);
  return value ? std::optional(to_text(*value, name(key))) : std::nullopt;
}

std::optional<std::uint64_t> Fields::size(std::string_view key) const {
  const json::value* value = find(key);
  return value ? std::optional(to_size(*value, name(key))) : std::nullopt;
}

std::optional<base::Duration> Fields::duration(std::string_view key) const {
  const json::value* value = find(key);
  return value ? std::optional(to_duration(*value, name(key))) : std::nullopt;
}

std::optional<std::int64_t> Fields::number(std::string_view key, std::int64_t low, std::int64_t high) const {
  const json::value* value = find(key);
  return value ? std::optional(to_number(*value, name(key), low, high)) : std::nullopt;
}

bool Fields::flag(std::string_view key) const {
  const json::value* value = find(key);
  if (!value) return false;
  if (const bool* flag = value->if_bool()) return *flag;
  refuse(name(key), *value, "true or false");
}

const json::value& argument(const std::vector<json::value>& arguments, std::size_t number) {
  static const json::value nil;
  return number < arguments.size() ? arguments[number] : nil;
}

}  // namespace scenario
