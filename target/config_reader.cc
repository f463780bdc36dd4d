#include "target/config_reader.h"

#include <fmt/format.h>

#include <toml++/toml.h>

#include <algorithm>
#include <cassert>
#include <sstream>
#include "handlers/factory.h"

namespace target {
namespace {

/// A table that was not read from a file has no positions.
std::string place_of(const std::string& file, const toml::source_position& at) {
  return at ? fmt::format("{}:{}:{}", file, at.line, at.column) : file;
}

/// A value as a person would write it; long or structured ones by their kind.
std::string shown(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  constexpr std::size_t kLongest = 80;
  std::ostringstream out;
  if (auto text = node.value_exact<std::string>())
    out << '"' << *text << '"';
  else
    node.visit([&](const auto& value) { out << value; });
  std::string text = out.str();
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace

TableReader::TableReader(const std::string& file, const toml::table& table, std::string path,
                         std::initializer_list<std::string_view> known)
    : file_(&file), table_(&table), path_(std::move(path)), known_(known) {
  const toml::key* unknown = nullptr;  // the first in the file; toml++ sorts by name
  for (const auto& [key, value] : table) {
    if (std::ranges::find(known_, key.str()) != known_.end()) continue;
    if (!unknown || key.source().begin < unknown->source().begin) unknown = &key;
  }
  if (!unknown) return;
  throw ConfigError(place_of(file, unknown->source().begin),
                    fmt::format("{} is not a key here; expected {}", name(unknown->str()), fmt::join(known_, ", ")));
}

const toml::node* TableReader::find(std::string_view key) const {
  assert(std::ranges::find(known_, key) != known_.end());
  return table_->get(key);
}

bool TableReader::is_array(std::string_view key) const {
  const toml::node* node = find(key);
  return node && node->is_array();
}

std::string TableReader::name(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

std::string TableReader::place(const toml::node& node) const { return place_of(*file_, node.source().begin); }

std::string TableReader::place(std::string_view key) const {
  const toml::node* node = find(key);
  const toml::source_position& at = node ? node->source().begin : table_->source().begin;
  return place_of(*file_, at);
}

void TableReader::refuse(std::string_view key, std::string_view expected) const {
  const toml::node* node = find(key);
  throw ConfigError(place(key),
                    node ? fmt::format("{} is {}; expected {}", name(key), shown(*node), expected)
                         : fmt::format("{} is missing; expected {}", name(key), expected),
                    name(key), std::string(expected));
}

void TableReader::complain(std::string_view key, std::string_view text) const {
  throw ConfigError(place(key), fmt::format("{} {}", name(key), text), name(key));
}

std::optional<std::string> TableReader::text(std::string_view key, std::string_view expected) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  if (auto value = node->value_exact<std::string>()) return value;
  refuse(key, expected);
}

std::optional<std::string> TableReader::secret(std::string_view key, std::string_view expected) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  auto value = node->value_exact<std::string>();
  constexpr std::size_t kLongest =
      255;  // RFC 7143, 12.1.3: what a binary value of a key may carry is more, hosts' less
  if (value && !value->empty() && value->size() <= kLongest) return value;
  complain(key, fmt::format("is not usable; expected {}", expected));
}

std::optional<std::uint64_t> TableReader::number(std::string_view key, std::uint64_t low, std::uint64_t high) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  auto value = node->value_exact<std::int64_t>();
  if (value && *value >= 0 && static_cast<std::uint64_t>(*value) >= low && static_cast<std::uint64_t>(*value) <= high)
    return static_cast<std::uint64_t>(*value);
  refuse(key, fmt::format("a whole number from {} to {}", low, high));
}

std::optional<double> TableReader::decimal(std::string_view key, double low, double high) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  auto value = node->value_exact<double>();
  if (auto whole = node->value_exact<std::int64_t>()) value = static_cast<double>(*whole);
  if (value && *value >= low && *value <= high) return value;
  refuse(key, fmt::format("a number from {} to {}", low, high));
}

std::optional<std::uint64_t> TableReader::choice(std::string_view key,
                                                 std::initializer_list<std::uint64_t> choices) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  auto value = node->value_exact<std::int64_t>();
  for (std::uint64_t each : choices)
    if (value && *value >= 0 && static_cast<std::uint64_t>(*value) == each) return each;
  refuse(key, fmt::format("{}", fmt::join(choices, " or ")));
}

std::optional<bool> TableReader::flag(std::string_view key) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  if (auto value = node->value_exact<bool>()) return value;
  refuse(key, "true or false");
}

void TableReader::flag_into(std::string_view key, bool& to) const {
  if (auto value = flag(key)) to = *value;
}

std::optional<std::uint64_t> TableReader::size(std::string_view key, std::uint64_t low) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  std::optional<std::uint64_t> value;
  if (auto whole = node->value_exact<std::int64_t>(); whole && *whole >= 0) value = static_cast<std::uint64_t>(*whole);
  if (auto text = node->value_exact<std::string>()) value = parse_size(*text);
  if (value && *value >= low) return value;
  refuse(key, fmt::format("a size of at least {} bytes, such as 65536, \"512M\" or \"64G\"", low));
}

template <typename T>
std::vector<T> TableReader::elements(std::string_view key, std::string_view expected) const {
  const toml::node* node = find(key);
  if (!node) return {};
  const toml::array* array = node->as_array();
  if (!array) refuse(key, expected);
  std::vector<T> values;
  for (const toml::node& element : *array) {
    auto value = element.value_exact<T>();
    if (!value)
      throw ConfigError(place_of(*file_, element.source().begin),
                        fmt::format("{} holds {}; expected {}", name(key), shown(element), expected));
    values.push_back(std::move(*value));
  }
  return values;
}

std::vector<std::string> TableReader::texts(std::string_view key, std::string_view expected) const {
  return elements<std::string>(key, expected);
}

std::vector<std::uint64_t> TableReader::numbers(std::string_view key, std::uint64_t low, std::uint64_t high) const {
  std::string expected = fmt::format("an array of whole numbers from {} to {}", low, high);
  std::vector<std::uint64_t> values;
  for (std::int64_t each : elements<std::int64_t>(key, expected)) {
    auto value = static_cast<std::uint64_t>(each);
    if (each < 0 || value < low || value > high) complain(key, fmt::format("holds {}; expected {}", each, expected));
    values.push_back(value);
  }
  return values;
}

std::optional<TableReader> TableReader::table(std::string_view key,
                                              std::initializer_list<std::string_view> known) const {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  if (!node->is_table()) refuse(key, fmt::format("a table with {}", fmt::join(known, ", ")));
  return TableReader(*file_, *node->as_table(), name(key), known);
}

std::vector<TableReader> TableReader::tables(std::string_view key,
                                             std::initializer_list<std::string_view> known) const {
  const toml::node* node = find(key);
  if (!node) return {};
  const toml::array* array = node->as_array();
  if (!array || !std::ranges::all_of(*array, [](const toml::node& each) { return each.is_table(); }))
    refuse(key, fmt::format("tables, written [[{}]]", name(key)));
  std::vector<TableReader> readers;
  for (const toml::node& element : *array) readers.emplace_back(*file_, *element.as_table(), name(key), known);
  return readers;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  try {
    return handlers::parse_size(text);
  } catch (const handlers::OpenError&) {
    return std::nullopt;
  }
}

}  // namespace target
