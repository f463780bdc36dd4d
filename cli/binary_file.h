// Tokens and buffers in files of this machine.
// Thread: any, nothing is shared.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace cli {

/// All of it. The error is for people.
std::expected<std::vector<std::uint8_t>, std::string> read_file(const std::string& path);

/// False: it could not be written.
bool write_file(const std::string& path, base::Bytes bytes);

}  // namespace cli
