#include "cli/binary_file.h"

#include <fstream>
#include <iterator>

namespace cli {

std::expected<std::vector<std::uint8_t>, std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file) return std::unexpected("cannot read " + path);
  return bytes;
}

bool write_file(const std::string& path, base::Bytes bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return static_cast<bool>(file);
}

}  // namespace cli
