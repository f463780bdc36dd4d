#include "target/control/shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <optional>

#include "target/config_reader.h"
#include "target/control/problem.h"

namespace target::control {
namespace {

namespace json = boost::json;

std::optional<std::uint64_t> whole(const json::value& value) {
  if (const auto* number = value.if_uint64()) return *number;
  if (const auto* number = value.if_int64(); number && *number >= 0) return static_cast<std::uint64_t>(*number);
  return std::nullopt;
}

std::string range_rule(std::string_view what, const Field& field) {
  if (field.high != UINT64_MAX) return fmt::format("{} from {} to {}", what, field.low, field.high);
  return field.low == 0 ? std::string(what) : fmt::format("{} of at least {}", what, field.low);
}

std::string rule_of(const Field& field) {
  std::string rule;
  switch (field.kind) {
    case Kind::text:
      if (!field.words.empty()) return fmt::format("one of \"{}\"", fmt::join(field.words, "\", \""));
      rule = field.low == 0 && field.high == UINT64_MAX ? "text" : range_rule("text of a length", field);
      break;
    case Kind::whole: rule = range_rule("a whole number", field); break;
    case Kind::number: rule = "a number"; break;
    case Kind::flag: rule = "true or false"; break;
    case Kind::size: rule = range_rule("a size in bytes, or text such as \"64G\",", field); break;
    case Kind::object: rule = "an object"; break;
    case Kind::objects: rule = "an array of objects"; break;
    case Kind::texts: rule = "an array of text"; break;
    case Kind::wholes: rule = range_rule("an array of whole numbers", field); break;
    case Kind::anything: rule = "a value"; break;
  }
  if (rule.ends_with(',')) rule.pop_back();
  return field.nullable ? rule + ", or null" : rule;
}

bool within(const Field& field, std::uint64_t number) { return number >= field.low && number <= field.high; }

bool whole_within(const Field& field, const json::value& value) {
  auto number = whole(value);
  return number && within(field, *number);
}

/// Whether a value that is no object is as `field` says.
bool fits(const Field& field, const json::value& value) {
  switch (field.kind) {
    case Kind::text: {
      const auto* text = value.if_string();
      if (!text) return false;
      if (!field.words.empty()) return std::ranges::find(field.words, std::string_view(*text)) != field.words.end();
      return within(field, text->size());
    }
    case Kind::whole: return whole_within(field, value);
    case Kind::number: return value.is_number();
    case Kind::flag: return value.is_bool();
    case Kind::size: {
      auto bytes = value.is_string() ? parse_size(value.get_string()) : whole(value);
      return bytes && within(field, *bytes);
    }
    case Kind::object: return value.is_object();
    case Kind::objects:
      return value.is_array() &&
             std::ranges::all_of(value.get_array(), [](const auto& each) { return each.is_object(); });
    case Kind::texts:
      return value.is_array() &&
             std::ranges::all_of(value.get_array(), [](const auto& each) { return each.is_string(); });
    case Kind::wholes:
      return value.is_array() &&
             std::ranges::all_of(value.get_array(), [&](const auto& each) { return whole_within(field, each); });
    case Kind::anything: return true;
  }
  return false;
}

void judge_field(const Field& field, const json::value& value, const std::string& name) {
  if (field.nullable && value.is_null()) return;
  if (!fits(field, value)) throw not_as_expected(422, name, rule_of(field), field.secret ? nullptr : &value);
  if (!field.shape) return;
  if (field.kind == Kind::object) judge(*field.shape, value, name);
  if (field.kind != Kind::objects) return;
  std::size_t at = 0;
  for (const json::value& each : value.get_array()) judge(*field.shape, each, fmt::format("{}[{}]", name, at++));
}

json::value query_value(const Field& field, const std::string& text) {
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = error == std::errc{} && end == text.data() + text.size() && !text.empty();
  if (field.kind == Kind::whole && is_number) return number;
  if (field.kind == Kind::flag && (text == "true" || text == "false")) return text == "true";
  return json::value(text);
}

json::object array_of(json::object items) { return {{"type", "array"}, {"items", std::move(items)}}; }

void add_limits(json::object& schema, const Field& field, std::string_view least, std::string_view most) {
  if (field.low != 0) schema[least] = field.low;
  if (field.high != UINT64_MAX) schema[most] = field.high;
}

}  // namespace

void judge(const Shape& shape, const json::value& body, const std::string& path) {
  if (!body.is_object()) throw not_as_expected(422, path.empty() ? "the body" : path, "an object", &body);
  auto named = [&](std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
  };
  for (const auto& [key, value] : body.get_object()) {
    if (shape.open || std::ranges::find(shape.fields, std::string_view(key), &Field::name) != shape.fields.end())
      continue;
    std::vector<std::string_view> known;
    for (const Field& field : shape.fields) known.push_back(field.name);
    const std::string rule = known.empty() ? "no keys" : fmt::format("one of {}", fmt::join(known, ", "));
    throw Refusal({.status = 422,
                   .detail = fmt::format("{} is not a key here; expected {}", named(key), rule),
                   .name = named(key),
                   .rule = rule,
                   .value = {}});
  }
  for (const Field& field : shape.fields) {
    const json::value* value = body.get_object().if_contains(field.name);
    if (value) judge_field(field, *value, named(field.name));
    if (!value && field.required) throw not_as_expected(422, named(field.name), rule_of(field), nullptr);
  }
}

json::object read_query(const Shape& shape, std::span<const QueryParameter> parameters) {
  json::object query;
  for (const QueryParameter& parameter : parameters) {
    auto field = std::ranges::find(shape.fields, parameter.name, &Field::name);
    const json::value given(parameter.value);
    if (field == shape.fields.end()) {
      std::vector<std::string_view> known;
      for (const Field& each : shape.fields) known.push_back(each.name);
      const std::string rule = known.empty() ? "no query" : fmt::format("one of {}", fmt::join(known, ", "));
      throw Refusal({.status = 400,
                     .detail = fmt::format("{} is not a query parameter here; expected {}", parameter.name, rule),
                     .name = parameter.name,
                     .rule = rule,
                     .value = {}});
    }
    if (query.contains(parameter.name)) throw not_as_expected(400, parameter.name, "it once", &given);
    json::value value = query_value(*field, parameter.value);
    if (!fits(*field, value)) throw not_as_expected(400, parameter.name, rule_of(*field), &given);
    query[parameter.name] = std::move(value);
  }
  for (const Field& field : shape.fields)
    if (field.required && !query.contains(field.name))
      throw not_as_expected(400, std::string(field.name), rule_of(field), nullptr);
  return query;
}

json::object schema_of(const Field& field) {
  json::object schema;
  switch (field.kind) {
    case Kind::text:
      schema["type"] = "string";
      if (!field.words.empty()) schema["enum"] = json::array(field.words.begin(), field.words.end());
      add_limits(schema, field, "minLength", "maxLength");
      break;
    case Kind::whole:
      schema["type"] = "integer";
      schema["minimum"] = field.low;
      if (field.high != UINT64_MAX) schema["maximum"] = field.high;
      break;
    case Kind::number: schema["type"] = "number"; break;
    case Kind::flag: schema["type"] = "boolean"; break;
    case Kind::size:
      schema["oneOf"] = json::array{json::object{{"type", "integer"}, {"minimum", field.low}},
                                    json::object{{"type", "string"}, {"pattern", "^[0-9]+[KMGTP]?$"}}};
      break;
    case Kind::object: schema = field.shape ? reference_to(*field.shape) : json::object{{"type", "object"}}; break;
    case Kind::objects:
      schema = array_of(field.shape ? reference_to(*field.shape) : json::object{{"type", "object"}});
      break;
    case Kind::texts: schema = array_of({{"type", "string"}}); break;
    case Kind::wholes: schema = array_of({{"type", "integer"}, {"minimum", field.low}}); break;
    case Kind::anything: break;
  }
  if (field.nullable) schema = {{"anyOf", json::array{std::move(schema), json::object{{"type", "null"}}}}};
  if (!field.about.empty()) schema["description"] = field.about;
  return schema;
}

json::object schema_of(const Shape& shape) {
  json::object properties;
  json::array required;
  for (const Field& field : shape.fields) {
    properties[field.name] = schema_of(field);
    if (field.required) required.emplace_back(field.name);
  }
  json::object schema{{"type", "object"}, {"properties", std::move(properties)}};
  if (!shape.about.empty()) schema["description"] = shape.about;
  if (!required.empty()) schema["required"] = std::move(required);
  if (!shape.open) schema["additionalProperties"] = false;
  return schema;
}

json::object reference_to(const Shape& shape) {
  if (shape.name.empty()) return schema_of(shape);
  return {{"$ref", fmt::format("#/components/schemas/{}", shape.name)}};
}

std::uint64_t size_bytes(const json::value& size) {
  return size.is_string() ? parse_size(size.get_string()).value() : whole(size).value();
}

}  // namespace target::control
