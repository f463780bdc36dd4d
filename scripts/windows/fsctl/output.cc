#include "fsctl/output.h"

#include <algorithm>

namespace fsctl {
namespace {

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string hex_number(std::uint32_t value) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "0x%08lX", static_cast<unsigned long>(value));
  return digits;
}

std::string hex_lines(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kPerLine = 32;
  if (bytes.size() <= kPerLine) return bytes.empty() ? "(none)" : hex(bytes);
  std::string lines;
  for (std::size_t offset = 0; offset < bytes.size(); offset += kPerLine) {
    char label[16];
    std::snprintf(label, sizeof label, "\n    %04X  ", static_cast<unsigned>(offset));
    lines += label + hex(bytes.subspan(offset, std::min(kPerLine, bytes.size() - offset)));
  }
  return lines;
}

}  // namespace

std::string utf8(std::wstring_view text) {
  if (text.empty()) return {};
  const int length = static_cast<int>(text.size());
  std::string result(static_cast<std::size_t>(length) * 3, '\0');
  const int written = WideCharToMultiByte(CP_UTF8, 0, text.data(), length, result.data(),
                                          static_cast<int>(result.size()), nullptr, nullptr);
  result.resize(static_cast<std::size_t>(std::max(written, 0)));
  return result;
}

void write_text(DWORD standard_handle, std::string_view text) {
  const HANDLE handle = GetStdHandle(standard_handle);
  DWORD done = 0;
  if (DWORD mode = 0; GetConsoleMode(handle, &mode)) {
    std::wstring wide(text.size(), L'\0');
    wide.resize(static_cast<std::size_t>(MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()),
                                                             wide.data(), static_cast<int>(wide.size()))));
    WriteConsoleW(handle, wide.data(), static_cast<DWORD>(wide.size()), &done, nullptr);
    return;
  }
  while (!text.empty() && WriteFile(handle, text.data(), static_cast<DWORD>(text.size()), &done, nullptr) && done > 0) {
    text.remove_prefix(done);
  }
}

std::string hex(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string digits;
  digits.reserve(bytes.size() * 2);
  for (const std::uint8_t byte : bytes) {
    digits += kDigits[byte >> 4];
    digits += kDigits[byte & 15];
  }
  return digits;
}

void Record::number(std::string_view name, std::uint64_t value) {
  entries_.push_back({std::string(name), std::to_string(value), std::to_string(value)});
}

void Record::number32(std::string_view name, std::uint32_t value) {
  entries_.push_back(
      {std::string(name), std::to_string(value), std::to_string(value) + " (" + hex_number(value) + ")"});
}

void Record::boolean(std::string_view name, bool value) {
  entries_.push_back({std::string(name), value ? "true" : "false", value ? "yes" : "no"});
}

void Record::text(std::string_view name, std::string value) {
  entries_.push_back({std::string(name), json_string(value), std::move(value)});
}

void Record::bytes(std::string_view name, std::span<const std::uint8_t> value) {
  entries_.push_back({std::string(name), json_string(hex(value)), hex_lines(value)});
}

void Record::status(std::string_view name, NTSTATUS value) {
  const auto win32 = RtlNtStatusToDosError(value);
  Record status;
  status.text("value", hex_number(static_cast<std::uint32_t>(value)));
  status.text("name", std::string(status_name(value)));
  status.number("win32", win32);
  entries_.push_back(
      {std::string(name), status.as_json(), status_text(value) + " (Win32 error " + std::to_string(win32) + ")"});
}

Record& Record::record(std::string_view name) {
  entries_.push_back({std::string(name), {}, {}, false, std::vector<Record>(1)});
  return entries_.back().records.front();
}

Record::Entry& Record::list_entry(std::string_view name) {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& e) { return e.is_list && e.name == name; });
  if (found != entries_.end()) return *found;
  entries_.push_back({std::string(name), {}, {}, true});
  return entries_.back();
}

Record& Record::item(std::string_view name) { return list_entry(name).records.emplace_back(); }

void Record::list(std::string_view name) { list_entry(name); }

std::string Record::as_json() const {
  std::string json = "{";
  for (const Entry& entry : entries_) {
    if (json.size() > 1) json += ", ";
    json += json_string(entry.name) + ": ";
    if (entry.is_list) json += '[';
    for (const Record& record : entry.records) {
      if (&record != &entry.records.front()) json += ", ";
      json += record.as_json();
    }
    json += entry.is_list ? "]" : entry.json;
  }
  return json + "}";
}

std::string Record::as_text(unsigned indent) const {
  const std::string margin(indent, ' ');
  std::string lines;
  for (const Entry& entry : entries_) {
    if (entry.is_list && entry.records.empty()) lines += margin + entry.name + ": none\n";
    if (!entry.is_list && entry.records.empty()) lines += margin + entry.name + ": " + entry.text + '\n';
    for (const Record& record : entry.records) lines += margin + entry.name + ":\n" + record.as_text(indent + 2);
  }
  return lines;
}

}  // namespace fsctl
