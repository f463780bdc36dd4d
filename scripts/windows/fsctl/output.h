// What the program says: UTF-8 to standard output and standard error (UTF-16 to a console), and a record that prints
// itself as text or as JSON.
// Does not: know what it prints.
// Thread: one.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fsctl/definitions.h"

namespace fsctl {

/// A lone surrogate, which a file name of Windows may hold, becomes U+FFFD.
std::string utf8(std::wstring_view text);

/// Writes UTF-8 as it is to a file or pipe, and as UTF-16 to a console.
void write_text(DWORD standard_handle, std::string_view text);

/// Two upper-case digits for each byte.
std::string hex(std::span<const std::uint8_t> bytes);

/// One thing to print: named values in order, some of them records or lists of records.
class Record {
 public:
  void number(std::string_view name, std::uint64_t value);
  void number32(std::string_view name, std::uint32_t value);  ///< text: also in hex
  void boolean(std::string_view name, bool value);
  void text(std::string_view name, std::string value);
  /// Bytes: in JSON a string of hex digits, in text lines of 32 bytes with their offsets.
  void bytes(std::string_view name, std::span<const std::uint8_t> value);
  /// {"value": "0xC0000465", "name": "STATUS_INVALID_TOKEN", "win32": 315}
  void status(std::string_view name, NTSTATUS value);
  /// The reference holds until this record gets its next value; so does that of item().
  Record& record(std::string_view name);
  /// Appends one record to the list of that name.
  Record& item(std::string_view name);
  /// An empty list, so that JSON has the name even if no item follows.
  void list(std::string_view name);

  std::string as_json() const;
  std::string as_text(unsigned indent = 0) const;

 private:
  struct Entry {
    std::string name;
    std::string json;  // of a scalar
    std::string text;  // of a scalar
    bool is_list = false;
    std::vector<Record> records = {};  // one, or the items of a list
  };
  Entry& list_entry(std::string_view name);
  std::vector<Entry> entries_;
};

}  // namespace fsctl
