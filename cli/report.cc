#include "cli/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <vector>

#include "scsi/sense.h"
#include "scsi/status.h"

namespace cli {

namespace json = boost::json;

namespace {

constexpr std::string_view kCommands = "commands";

std::string status_text(const host::TraceEntry& entry) {
  using initiator::Transport;
  switch (entry.transport) {
    case Transport::delivered: break;
    case Transport::timed_out: return "(timed out)";
    case Transport::connection_lost: return "(connection lost)";
    case Transport::aborted: return "(aborted)";
  }
  return scsi::describe(static_cast<scsi::Status>(entry.status));
}

std::string human_size(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  constexpr double kStep = 1024.0;
  double value = static_cast<double>(bytes);
  std::string_view unit;
  for (std::string_view candidate : kUnits) {
    if (value < kStep) break;
    value /= kStep;
    unit = candidate;
  }
  return fmt::format("{:.4g} {}", value, unit);
}

bool counts_bytes(std::string_view key) { return key == "bytes" || key.ends_with("_bytes"); }

std::string words(std::string_view key) {
  std::string text(key);
  std::ranges::replace(text, '_', ' ');
  return text;
}

std::string scalar_text(std::string_view key, const json::value& value) {
  constexpr std::uint64_t kWorthAUnit = 1024;
  switch (value.kind()) {
    case json::kind::string: return std::string(value.get_string());
    case json::kind::bool_: return value.get_bool() ? "yes" : "no";
    case json::kind::double_: {
      constexpr double kWholeFrom = 1000;
      const double number = value.get_double();
      return number < kWholeFrom ? fmt::format("{:.6g}", number) : fmt::format("{:.0f}", number);
    }
    case json::kind::null: return "";
    case json::kind::int64:
    case json::kind::uint64: {
      const auto number = value.to_number<std::uint64_t>();
      std::string text = fmt::format("{}", number);
      if (counts_bytes(key) && number >= kWorthAUnit) text += fmt::format(" ({})", human_size(number));
      return text;
    }
    default: break;
  }
  if (value.is_object()) {
    const json::object& object = value.get_object();
    const json::value* name = object.if_contains("name");
    const json::value* number = object.if_contains("value");
    if (name && number) return fmt::format("{} ({})", name->get_string().c_str(), number->get_string().c_str());
    if (const json::value* text = object.if_contains("text")) return std::string(text->get_string());
  }
  return json::serialize(value);
}

using Row = std::vector<std::string>;

std::string table(const std::vector<Row>& rows, std::string_view indent) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i)
      line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}", row[i], widths[i] + 2);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

/// The columns of an array of objects are the keys of its first one.
std::string object_table(const json::array& array, std::string_view indent) {
  std::vector<Row> rows;
  const json::object& first = array.front().get_object();
  Row head;
  for (const auto& field : first) head.push_back(words(field.key()));
  rows.push_back(head);
  for (const json::value& element : array) {
    Row row;
    for (const auto& field : first) {
      const json::value* value = element.get_object().if_contains(field.key());
      row.push_back(value ? scalar_text(field.key(), *value) : "");
    }
    rows.push_back(row);
  }
  return table(rows, indent);
}

bool is_section(const json::value& value) {
  if (value.is_object()) return !value.get_object().contains("value") && !value.get_object().contains("text");
  return value.is_array() && !value.get_array().empty() && value.get_array().front().is_object();
}

std::string list_text(const json::array& array) {
  std::string text;
  for (const json::value& element : array) text += (text.empty() ? "" : " ") + scalar_text("", element);
  return text;
}

std::string object_text(const json::object& object, const std::string& indent) {
  std::vector<Row> rows;
  std::string sections;
  for (const auto& field : object) {
    const json::value& value = field.value();
    if (is_section(value)) {
      sections += "\n" + indent + words(field.key()) + "\n";
      sections += value.is_object() ? object_text(value.get_object(), indent + "  ")
                                    : object_table(value.get_array(), indent + "  ");
      continue;
    }
    std::string text = value.is_array() ? list_text(value.get_array()) : scalar_text(field.key(), value);
    if (!text.empty()) rows.push_back({words(field.key()), text});
  }
  return table(rows, indent) + sections;
}

std::string commands_text(const json::array& commands) {
  if (commands.empty()) return "\ncommands\n  none sent\n";
  std::vector<Row> rows{{"disk", "command", "out", "in", "status", "sense", "NTSTATUS", "us"}};
  for (const json::value& element : commands) {
    const json::object& command = element.get_object();
    auto text = [&command](std::string_view key) { return scalar_text("", command.at(key)); };
    rows.push_back({text("disk"), text("name"), text("data_out"), text("data_in"), text("status"), text("sense"),
                    std::string(command.at("nt_status").at("name").get_string()), text("microseconds")});
  }
  return "\ncommands\n" + table(rows, "  ");
}

void indent_json(std::string& out, const json::value& value, std::size_t depth) {
  constexpr std::size_t kIndent = 2;
  auto line = [&out](std::size_t level) { out += "\n" + std::string(level * kIndent, ' '); };
  if (value.is_object() && !value.get_object().empty()) {
    out += "{";
    bool first = true;
    for (const auto& field : value.get_object()) {
      if (!first) out += ",";
      first = false;
      line(depth + 1);
      out += json::serialize(field.key()) + ": ";
      indent_json(out, field.value(), depth + 1);
    }
    line(depth);
    out += "}";
  } else if (value.is_array() && !value.get_array().empty() && value.get_array().front().is_object()) {
    out += "[";
    bool first = true;
    for (const json::value& element : value.get_array()) {
      if (!first) out += ",";
      first = false;
      line(depth + 1);
      out += json::serialize(element);
    }
    line(depth);
    out += "]";
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string hex(base::Bytes bytes) {
  std::string text;
  for (std::uint8_t byte : bytes) text += fmt::format("{}{:02X}", text.empty() ? "" : " ", byte);
  return text;
}

json::array hex_rows(base::Bytes bytes) {
  constexpr std::size_t kRow = 16;
  json::array rows;
  bool starred = false;
  for (std::size_t at = 0; at < bytes.size(); at += kRow) {
    const base::Bytes row = bytes.subspan(at, std::min(kRow, bytes.size() - at));
    // The last row is shown, so that the length can be seen.
    const bool same = at != 0 && at + kRow < bytes.size() && std::ranges::equal(row, bytes.subspan(at - kRow, kRow));
    if (!same) rows.push_back(json::object{{"offset", fmt::format("{:04X}", at)}, {"bytes", hex(row)}});
    if (same && !starred) rows.push_back(json::object{{"offset", "*"}, {"bytes", ""}});
    starred = same;
  }
  return rows;
}

json::object to_json(host::NtStatus status) {
  return {{"name", name(status)}, {"value", fmt::format("0x{:08X}", static_cast<std::uint32_t>(status))}};
}

json::object to_json(const host::TraceEntry& entry, std::string_view disk, std::string_view phase) {
  json::object object{{"disk", disk},
                      {"phase", phase},
                      {"name", host::ClassDriver::command_name(entry.cdb)},
                      {"cdb", hex(entry.cdb)},
                      {"data_out", entry.data_out_length},
                      {"data_in", entry.data_in_length},
                      {"attempt", entry.attempt},
                      {"status", status_text(entry)},
                      {"sense", nullptr},
                      {"nt_status", to_json(entry.nt_status)},
                      {"microseconds", entry.duration.count()}};
  if (!entry.transport_reason.empty()) object["reason"] = entry.transport_reason;
  if (auto sense = scsi::decode(entry.sense)) {
    object["sense"] = json::object{{"key", static_cast<unsigned>(sense->key)},
                                   {"asc", sense->asc()},
                                   {"ascq", sense->ascq()},
                                   {"text", scsi::describe(*sense)},
                                   {"bytes", hex(entry.sense)}};
    if (sense->information) object["sense"].get_object()["information"] = *sense->information;
  }
  return object;
}

std::string render_text(const Report& report) {
  json::object body = report.body;
  body.erase(kCommands);
  std::string text = object_text(body, "");
  const json::value* commands = report.body.if_contains(kCommands);
  if (report.show_commands && commands) text += commands_text(commands->get_array());
  return text;
}

std::string render_table(const json::array& rows) { return rows.empty() ? std::string() : object_table(rows, ""); }

std::string render_json(const Report& report) {
  std::string text;
  indent_json(text, report.body, 0);
  return text + "\n";
}

}  // namespace cli
