// What a file is called on the command line: iscsi://HOST:PORT/IQN/LUN#[PARTITION]/PATH[:STREAM], or a path of this
// machine. Only taken apart here; nothing is looked at.
// Thread: any, nothing is shared.
#pragma once

#include <expected>
#include <optional>
#include <string>

namespace cli {

struct FileUrl {
  std::string disk{};                   ///< the disk's URL, perhaps with secrets; empty: a path of this machine
  std::optional<unsigned> partition{};  ///< absent: the disk itself when it has no partition table, else the only NTFS
  bool is_volume = false;               ///< no path: the volume itself, or the disk
  std::string path{};                   ///< "/" between names, none at the ends; as given for a path of this machine
  std::string stream{};                 ///< empty: the unnamed one
  bool ends_in_slash = false;           ///< meant as a directory

  bool local() const { return disk.empty(); }
};

/// "\" and "/" both stand between names. "::$DATA" and ":STREAM:$DATA" are understood. The error says what is wrong.
std::expected<FileUrl, std::string> parse_file_url(const std::string& text);

}  // namespace cli
