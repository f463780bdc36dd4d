// docs/protocol-support.md says which commands are served: its table is the command table.
//
// Not tested, and why: the prose around the table, which is for people.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <string>

#include "scsi/command_table.h"

namespace scsi {
namespace {

std::string_view direction_text(DataDirection direction) {
  switch (direction) {
    case DataDirection::none: return "none";
    case DataDirection::in: return "in";
    case DataDirection::out: return "out";
  }
  return "";
}

/// The table as the document has to have it.
std::string expected_table() {
  std::string table = "| Operation code | Service action | Command | CDB | Data |\n| --- | --- | --- | --- | --- |\n";
  for (const CommandDescriptor& row : command_table()) {
    table += fmt::format("| {:02X}h | {} | {} | {} | {} |\n", row.opcode,
                         row.service_action ? fmt::format("{:02X}h", *row.service_action) : "", row.name,
                         row.cdb_length, direction_text(row.direction));
  }
  return table;
}

TEST_CASE("the table of commands in docs/protocol-support.md is the command table") {
  std::ifstream file(ODX_SOURCE_ROOT "/docs/protocol-support.md");
  REQUIRE(file);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::string begin = "<!-- commands: begin -->\n";
  auto from = text.find(begin);
  auto to = text.find("<!-- commands: end -->");
  REQUIRE(from != std::string::npos);
  REQUIRE(to != std::string::npos);
  from += begin.size();
  INFO("the table to put between the marks:\n" << expected_table());
  CHECK((text.substr(from, to - from) == expected_table()));
}

}  // namespace
}  // namespace scsi
