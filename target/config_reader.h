// Strict reading of a TOML document: every key must be known, every value of the right kind and in its range, and
// every refusal names file, line, column, what stands there and what was expected. Owns nothing but the parsed
// document; what the keys mean is config.cc's business. Thread: the one that starts the program.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/config.h"

namespace toml::inline v3 {
class node;
class table;
}  // namespace toml::inline v3

namespace target {

/// One table of the document. Every getter throws ConfigError on a value it does not accept and returns nothing
/// when the key is absent.
class TableReader {
 public:
  /// `path` is what errors call the table ("target.lun"); empty for the document's top. Throws ConfigError when the
  /// table holds a key that is not in `known`.
  TableReader(const std::string& file, const toml::table& table, std::string path,
              std::initializer_list<std::string_view> known);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Whether the key is there and an array, of tables or values.
  bool is_array(std::string_view key) const;

  std::optional<std::string> text(std::string_view key, std::string_view expected) const;
  /// Text that no error message repeats.
  std::optional<std::string> secret(std::string_view key, std::string_view expected) const;
  std::optional<std::uint64_t> number(std::string_view key, std::uint64_t low, std::uint64_t high) const;
  /// A whole number or one with a decimal point.
  std::optional<double> decimal(std::string_view key, double low, double high) const;
  /// One of `choices`.
  std::optional<std::uint64_t> choice(std::string_view key, std::initializer_list<std::uint64_t> choices) const;
  std::optional<bool> flag(std::string_view key) const;
  /// Bytes: a whole number, or text such as "64G".
  std::optional<std::uint64_t> size(std::string_view key, std::uint64_t low) const;
  std::vector<std::string> texts(std::string_view key, std::string_view expected) const;
  std::vector<std::uint64_t> numbers(std::string_view key, std::uint64_t low, std::uint64_t high) const;
  std::optional<TableReader> table(std::string_view key, std::initializer_list<std::string_view> known) const;
  std::vector<TableReader> tables(std::string_view key, std::initializer_list<std::string_view> known) const;

  /// Sets `to` when the key is there.
  template <typename T>
  void number_into(std::string_view key, std::uint64_t low, std::uint64_t high, T& to) const {
    if (auto value = number(key, low, high)) to = T(static_cast<T>(*value));
  }
  void flag_into(std::string_view key, bool& to) const;
  template <typename T>
  void size_into(std::string_view key, std::uint64_t low, T& to) const {
    if (auto value = size(key, low)) to = static_cast<T>(*value);
  }

  /// "FILE:LINE:COLUMN: PATH.KEY is VALUE; expected EXPECTED", or "... is missing" when the key is absent.
  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const;
  /// "FILE:LINE:COLUMN: PATH.KEY TEXT", at the key's value.
  [[noreturn]] void complain(std::string_view key, std::string_view text) const;
  /// The value of a key, for what has a reader of its own; null when the key is absent.
  const toml::node* node(std::string_view key) const { return find(key); }
  /// Where it stands.
  std::string place(const toml::node& node) const;
  /// Where the key's value stands, else where the table stands: "FILE:LINE:COLUMN".
  std::string place(std::string_view key) const;

 private:
  const toml::node* find(std::string_view key) const;
  /// The elements of an array; none when the key is absent.
  template <typename T>
  std::vector<T> elements(std::string_view key, std::string_view expected) const;
  std::string name(std::string_view key) const;

  const std::string* file_;
  const toml::table* table_;
  std::string path_;
  std::vector<std::string_view> known_;
};

/// handlers::parse_size() without an exception: nothing when the text is no size.
std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace target
