#include "cli/file_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "initiator/libiscsi_initiator.h"

namespace cli {

namespace {

constexpr std::string_view kScheme = "iscsi://";
constexpr std::string_view kDataType = ":$DATA";

std::unexpected<std::string> wrong(const std::string& text, std::string_view why) {
  return std::unexpected(fmt::format("{}: {}", text.substr(text.find('#') + 1), why));
}

/// Without slashes at the ends and in a row.
std::string normal(std::string_view path) {
  std::string text;
  for (char c : path) {
    if (c == '\\') c = '/';
    if (c == '/' && (text.empty() || text.back() == '/')) continue;
    text += c;
  }
  if (text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace

std::expected<FileUrl, std::string> parse_file_url(const std::string& text) {
  FileUrl url;
  if (!text.starts_with(kScheme)) {
    if (text.empty()) return std::unexpected("an empty name names no file");
    url.path = text;
    url.ends_in_slash = text.ends_with('/');
    return url;
  }
  const std::size_t hash = text.find('#');
  url.disk = text.substr(0, hash);
  if (auto names = initiator::parse_iscsi_url(url.disk); !names) return std::unexpected(names.error());
  std::string_view rest = hash == std::string::npos ? std::string_view() : std::string_view(text).substr(hash + 1);
  const std::size_t slash = std::min(rest.find_first_of("/\\"), rest.size());
  if (const std::string_view number = rest.substr(0, slash); !number.empty()) {
    unsigned partition = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), partition);
    if (error != std::errc() || end != number.data() + number.size())
      return wrong(text, "after # comes the number of a partition, or /");
    url.partition = partition;
  }
  rest.remove_prefix(slash);
  url.is_volume = rest.empty();
  url.ends_in_slash = rest.ends_with('/') || rest.ends_with('\\');
  const std::size_t name = rest.find_last_of("/\\") == std::string_view::npos ? 0 : rest.find_last_of("/\\") + 1;
  if (const std::size_t colon = rest.find(':'); colon != std::string_view::npos) {
    if (colon < name || colon == name) return wrong(text, "only the last name may be followed by : and a stream");
    std::string_view stream = rest.substr(colon + 1);
    if (stream.ends_with(kDataType)) stream.remove_suffix(kDataType.size());
    if (stream.contains(':')) return wrong(text, "a stream's name holds no :");
    if (stream.empty() && !rest.ends_with(kDataType)) return wrong(text, "no stream's name after the :");
    url.stream = stream;
    rest = rest.substr(0, colon);
  }
  url.path = normal(rest);
  return url;
}

}  // namespace cli
