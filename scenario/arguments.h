// What a script passed to a function of ours: judged strictly, and refused in words that name the key.
// Every getter throws ScriptError. Thread: any.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace scenario {

namespace json = boost::json;

/// A value for messages: `"text"`, `12`, `{status = "STATUS_SUCCESS"}`; long text is cut, bytes are in hex.
std::string shown(const json::value& value);

/// Bytes: a whole number, or text such as "64M". `what` names the value in errors.
std::uint64_t to_size(const json::value& value, std::string_view what);
/// Seconds, or text with a unit: us, ms, s, m, h or d ("1.5s", "10ms", "2h").
base::Duration to_duration(const json::value& value, std::string_view what);
std::int64_t to_number(const json::value& value, std::string_view what, std::int64_t low, std::int64_t high);
std::string to_text(const json::value& value, std::string_view what);

/// A table with named values.
class Fields {
 public:
  /// `value` may be nil: an empty table. Throws when it holds a name that is not in `known`. The value outlives it.
  Fields(const json::value& value, std::string_view of, std::initializer_list<std::string_view> known);

  const json::value* find(std::string_view key) const;
  const json::value& required(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  std::optional<std::uint64_t> size(std::string_view key) const;
  std::optional<base::Duration> duration(std::string_view key) const;
  std::optional<std::int64_t> number(std::string_view key, std::int64_t low, std::int64_t high) const;
  bool flag(std::string_view key) const;  ///< false when it is not there

 private:
  std::string name(std::string_view key) const;
  const json::object* object_ = nullptr;
  std::string of_;
};

/// The argument of that number, nil when the script passed fewer. 0 is `self`.
const json::value& argument(const std::vector<json::value>& arguments, std::size_t number);

}  // namespace scenario
