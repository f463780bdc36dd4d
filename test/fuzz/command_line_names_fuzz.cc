// Fuzzes what a command line names: URLs of logical units and of files, portals, and sizes. Whatever comes is taken
// apart into parts that keep their promises, or refused with a reason.
#include <cstdlib>
#include <string>

#include "cli/file_url.h"
#include "handlers/factory.h"
#include "initiator/libiscsi_initiator.h"
#include "target/config.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

void file_url(const std::string& text) {
  auto url = cli::parse_file_url(text);
  if (!url) return require(!url.error().empty());
  require(url->local() == !text.starts_with("iscsi://"));
  if (url->local()) return;
  require(!url->path.contains("//") && !url->path.contains('\\'));
  require(!url->path.starts_with('/') && !url->path.ends_with('/'));
  require(url->stream.find_first_of(":/\\") == std::string::npos);
  require(!url->is_volume || url->path.empty());
}

void disk_url(const std::string& text) {
  auto url = initiator::parse_iscsi_url(text);
  if (!url) return require(!url.error().empty());
  require(url->text == text);
}

void portal(const std::string& text) {
  try {
    auto portal = target::parse_portal(text, "fuzz", "--portal");
    auto again = target::parse_portal(portal.text(), "fuzz", "--portal");
    require(again.host == portal.host && again.port == portal.port);
  } catch (const target::ConfigError& error) {
    require(std::string_view(error.what()).starts_with("fuzz"));
  }
}

void size(const std::string& text) {
  try {
    // The unit, if any, is the last character: what stands before it is a decimal number.
    std::uint64_t bytes = handlers::parse_size(text);
    require(!text.empty() && text.front() >= '0' && text.front() <= '9');
    require(handlers::parse_size(std::to_string(bytes)) == bytes);
  } catch (const handlers::OpenError& error) {
    require(*error.what() != '\0');
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
  std::string text(reinterpret_cast<const char*>(data), length);
  // The command line is C strings.
  if (text.contains('\0')) return 0;
  file_url(text);
  disk_url(text);
  portal(text);
  size(text);
  return 0;
}
