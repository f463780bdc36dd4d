#include "target/identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace target {
namespace {

using Digest = std::array<std::uint8_t, 32>;

/// SHA-256 of the parts, each closed by a NUL, so that "ab","c" and "a","bc" differ.
Digest digest_of(std::initializer_list<std::string_view> parts) {
  std::string joined;
  for (std::string_view part : parts) {
    joined += part;
    joined += '\0';
  }
  Digest digest{};
  unsigned size = 0;
  if (EVP_Digest(joined.data(), joined.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 is not available");
  return digest;
}

std::string hexadecimal(base::Bytes bytes) {
  std::string text;
  for (std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

constexpr std::size_t kIdBytes = 6;
constexpr std::size_t kSerialBytes = 10;

/// SPC-4 7.8.6.6.5: NAA 6h in four bits, company id in 24, vendor specific identifier in 36, its extension in 64.
struct NaaRegisteredExtended {
  std::array<std::uint8_t, 4> naa_and_company{0x60, 0x24, 0xF4, 0x40};  ///< the last four bits belong to the identifier
  std::array<std::uint8_t, 12> identifier{};
};
static_assert(sizeof(NaaRegisteredExtended) == 16);

/// SPC-4 7.8.6.5.2: company id in 24 bits, vendor specific extension identifier in 40. The same company id as above.
struct Eui64 {
  std::array<std::uint8_t, 3> company{0x02, 0x4F, 0x44};
  std::array<std::uint8_t, 5> identifier{};
};
static_assert(sizeof(Eui64) == 8);

}  // namespace

ArrayIdentity::ArrayIdentity(const std::string& configured, const std::vector<LunSource>& luns, base::Entropy& entropy)
    : id_(configured), configured_(!configured.empty()) {
  if (configured_) return;
  if (!luns.empty() && std::ranges::all_of(luns, [](const LunSource& lun) { return lun.file.has_value(); })) {
    std::string files;
    for (const LunSource& lun : luns) files += *lun.file + '\n';
    id_ = hexadecimal(base::Bytes(digest_of({"odx array of files", files})).first(kIdBytes));
    return;
  }
  stable_ = false;
  std::array<std::uint8_t, kIdBytes> random{};
  entropy.fill(random);
  id_ = hexadecimal(random);
}

std::string ArrayIdentity::target_name() const { return "iqn.2026-11.org.odx:" + id_; }

scsi::LogicalUnitIdentity ArrayIdentity::logical_unit(const LunSource& lun, unsigned before) const {
  Digest digest = lun.file && !configured_ ? digest_of({"odx file", *lun.file})
                  : before == 0            ? digest_of({"odx lun", id_, lun.name})
                                           : digest_of({"odx lun", id_, lun.name, fmt::format("{}", before)});
  base::Bytes bytes(digest);
  scsi::LogicalUnitIdentity identity;
  identity.serial = hexadecimal(bytes.first(kSerialBytes));
  NaaRegisteredExtended naa;
  constexpr std::uint8_t kIdentifierBits = 0x0F;
  naa.naa_and_company.back() |= digest.back() & kIdentifierBits;
  std::ranges::copy(bytes.first(naa.identifier.size()), naa.identifier.begin());
  std::ranges::copy(naa.naa_and_company, identity.naa.begin());
  std::ranges::copy(naa.identifier, identity.naa.begin() + naa.naa_and_company.size());
  Eui64 eui64;
  std::ranges::copy(bytes.subspan(naa.identifier.size(), eui64.identifier.size()), eui64.identifier.begin());
  base::store(identity.eui64, eui64);
  return identity;
}

std::optional<std::string> file_identity(const std::string& path, std::string_view machine_id) {
  if (machine_id.empty()) return std::nullopt;
  struct statx status{};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE | STATX_BTIME, &status) != 0) return std::nullopt;
  // A device node is new at each boot, and where a link in /dev/disk points to may change: its name is what stays.
  if (!S_ISREG(status.stx_mode))
    return fmt::format("{}:device:{}", machine_id, std::filesystem::absolute(path).lexically_normal().string());
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::canonical(path, error);
  if (error) return std::nullopt;
  std::string born = "unknown";
  if (status.stx_mask & STATX_BTIME) born = fmt::format("{}.{:09}", status.stx_btime.tv_sec, status.stx_btime.tv_nsec);
  return fmt::format("{}:{}:{}", machine_id, born, absolute.string());
}

std::string system_machine_id() {
  std::ifstream file("/etc/machine-id");
  std::string id;
  constexpr std::size_t kLength = 32;
  if (!std::getline(file, id) || id.size() != kLength) return {};
  return id;
}

}  // namespace target
