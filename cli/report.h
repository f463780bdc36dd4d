// What a sub-command found out: one JSON document, or the same as text with aligned columns.
// Thread: main's.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <span>
#include <string>

#include "base/bytes.h"
#include "host/class_driver.h"
#include "host/nt_status.h"

namespace cli {

struct Report {
  boost::json::object body;
  int exit_code = 0;
  bool show_commands = false;  ///< in text: the table of commands too
  bool silent = false;         ///< nothing is printed: the sub-command's output was another program's
};

/// {"name": "STATUS_SUCCESS", "value": "0x00000000"}.
boost::json::object to_json(host::NtStatus status);

/// One command: name, CDB in hex, bytes out and in, status, sense (key, asc, ascq, T10's text, bytes), microseconds.
boost::json::object to_json(const host::TraceEntry& entry, std::string_view disk, std::string_view phase);

std::string hex(base::Bytes bytes);

/// Rows of an offset and 16 bytes, as a table; one or more rows equal to the row before become one "*".
boost::json::array hex_rows(base::Bytes bytes);

/// Text for people. Objects become sections, arrays of objects tables; an empty string is left out.
std::string render_text(const Report& report);

/// A table with the keys of the first row as its head; nothing when there are no rows.
std::string render_table(const boost::json::array& rows);

/// The JSON document, indented.
std::string render_json(const Report& report);

}  // namespace cli
