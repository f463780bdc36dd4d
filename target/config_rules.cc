#include "target/config_rules.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <boost/json.hpp>

#include "target/config_reader.h"
#include "target/rule_document.h"

namespace target {
namespace {

namespace json = boost::json;

json::value json_of(const toml::node& node) {
  if (const toml::table* table = node.as_table()) {
    json::object object;
    for (const auto& [key, value] : *table) object[key.str()] = json_of(value);
    return object;
  }
  if (const toml::array* array = node.as_array()) {
    json::array elements;
    for (const toml::node& element : *array) elements.push_back(json_of(element));
    return elements;
  }
  if (auto text = node.value_exact<std::string>()) return json::value(*text);
  if (auto flag = node.value_exact<bool>()) return *flag;
  if (auto whole = node.value_exact<std::int64_t>()) return *whole;
  if (auto figure = node.value_exact<double>()) return *figure;
  return nullptr;  // dates and times: no key takes one
}

}  // namespace

std::vector<scsi::Rule> read_rules(const TableReader& document) {
  const toml::node* node = document.node("rule");
  if (!node) return {};
  const toml::array* array = node->as_array();
  if (!array || !std::ranges::all_of(*array, [](const toml::node& each) { return each.is_table(); }))
    document.refuse("rule", "tables, written [[rule]]");
  std::vector<scsi::Rule> rules;
  for (const toml::node& each : *array) {
    try {
      rules.push_back(rule_from(json_of(each)));
      rules.back().from_file = true;
    } catch (const RuleError& error) {
      throw ConfigError(document.place(each), error.what());
    }
  }
  return rules;
}

}  // namespace target
