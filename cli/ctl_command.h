// The commands of `odx ctl` as rows: what each asks odxd for, and what of the answer people see. A test compares them
// with the routes of the control interface. Thread: main's.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace cli {

struct CtlArgument {
  enum class Kind : std::uint8_t {
    text,
    number,
    flag,
    size,
    texts,
    numbers,
    pair,
    document,  ///< JSON, or @FILE: the whole body
  };
  enum class Place : std::uint8_t { path, query, body };

  std::string_view name;  ///< in the path, the query or the body
  Place place = Place::path;
  Kind kind = Kind::text;
  std::string_view about;
  bool required = true;  ///< then it is written without a name; else as --name
};

struct CtlCommand {
  std::string_view group;  ///< "tokens"
  std::string_view name;   ///< "expire"; empty: the group itself
  std::string_view method;
  std::string_view path;  ///< "/v1/tokens/{id}/expire"
  std::string_view about;
  std::span<const CtlArgument> arguments{};
  std::string_view list{};     ///< the key of the answer that is shown: as a table, or as text
  std::string_view columns{};  ///< of it, with blanks between; empty: all
  std::string_view stream{};   ///< where --follow gets what comes
  /// Of a list that comes in pages (`limit`, `after` and `next`): the most that one has. All are asked for, up to
  /// --limit.
  std::uint64_t page = 0;
};

std::span<const CtlCommand> ctl_commands();

/// What the groups are, for --help.
struct CtlGroup {
  std::string_view name;
  std::string_view about;
};
std::span<const CtlGroup> ctl_groups();

}  // namespace cli
