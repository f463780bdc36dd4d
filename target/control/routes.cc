// The table of routes as a whole, and what its rows have in common.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>

#include "scsi/journal.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;

/// TOML's text of a JSON value (TOML 1.0: strings, numbers and arrays are written alike, objects as inline tables).
void append_toml(std::string& out, const json::value& value) {
  if (const auto* object = value.if_object()) {
    out += '{';
    for (bool first = true; const auto& [key, each] : *object) {
      out += std::exchange(first, false) ? "" : ", ";
      out += json::serialize(key) + " = ";
      append_toml(out, each);
    }
    out += '}';
  } else if (const auto* array = value.if_array()) {
    out += '[';
    for (bool first = true; const json::value& each : *array) {
      out += std::exchange(first, false) ? "" : ", ";
      append_toml(out, each);
    }
    out += ']';
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::span<const Route> routes() {
  static const std::vector<Route> kAll = [] {
    std::vector<Route> all;
    for (auto rows : {process_routes(), page_routes(), array_routes(), target_routes(), lun_routes(), session_routes(),
                      token_routes(), operation_routes(), reachability_routes(), snapshot_routes(), clock_routes(),
                      event_routes(), rule_routes()})
      all.insert(all.end(), rows.begin(), rows.end());
    return all;
  }();
  return kAll;
}

void note(const Steered& steered, std::string change) {
  if (scsi::Journal* journal = steered.arrays.journal())
    journal->record({.kind = scsi::EventKind::configuration, .reason = std::move(change)});
}

json::object list_of(std::string_view name, json::array items) {
  json::object list;
  list[name] = std::move(items);
  return list;
}

Response not_all_done(const std::vector<std::string>& failures) {
  return problem_response({.status = 507,
                           .detail = fmt::format("{}", fmt::join(failures, "; ")),
                           .name = "memory_limit",
                           .rule = "room for what is to be put back",
                           .value = {}});
}

double seconds(base::Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string hexadecimal(std::span<const std::uint8_t> bytes) { return fmt::format("{:02x}", fmt::join(bytes, "")); }

std::uint64_t number_of(const std::string& text, std::string_view name, std::uint64_t highest) {
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number <= highest) return number;
  const json::value given(text);
  throw not_as_expected(400, std::string(name), fmt::format("a whole number from 0 to {}", highest), &given);
}

Array& find_array(const Steered& steered, const std::string& id) {
  for (const auto& array : steered.arrays.all())
    if (array->id() == id || (!array->name().empty() && array->name() == id)) return *array;
  throw no_such("array", id);
}

std::shared_ptr<const iscsi::TargetNode> find_target(const Steered& steered, const std::string& name) {
  auto node = steered.arrays.directory().find(name);
  if (!node) throw no_such("target", name);
  return node;
}

Arrays::OfferedLun find_lun(const Steered& steered, const std::string& target, const std::string& number) {
  constexpr std::uint64_t kHighest = 16383;
  find_target(steered, target);
  auto lun = steered.arrays.find_lun(target, static_cast<std::uint16_t>(number_of(number, "number", kHighest)));
  if (!lun.lun) throw no_such("LUN", fmt::format("{} of {}", number, target));
  return lun;
}

const std::string& shown_name(const Array& array) { return array.name().empty() ? array.id() : array.name(); }

TargetConfig target_config(const json::object& keys) {
  std::string text;
  for (const auto& [key, value] : keys) {
    text += json::serialize(key) + " = ";
    append_toml(text, value);
    text += '\n';
  }
  return parse_target(text, "the request");
}

}  // namespace target::control
