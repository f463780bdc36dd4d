#include "scsi/copy_identity.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <stdexcept>

#include "base/bytes.h"
#include "scsi/extended_copy_list.h"
#include "scsi/logical_unit.h"

namespace scsi {

namespace {

constexpr std::uint16_t kLbpme = 0x8000;
constexpr std::uint16_t kLbprz = 0x4000;

/// A designation descriptor (SPC-4 7.8.6.1) holding an NAA Locally Assigned designator.
struct TargetNaaDescriptor {
  std::uint8_t protocol_and_code_set = 0x51;  ///< iSCSI, binary
  std::uint8_t piv_association_type = 0xA3;   ///< PIV, target device (10b), NAA (3h)
  std::uint8_t reserved_2 = 0;
  std::uint8_t designator_length = 8;
  std::array<std::uint8_t, 8> designator{};
};
static_assert(sizeof(TargetNaaDescriptor) == 12);
constexpr std::uint8_t kNaaLocallyAssigned = 0x30;  // NAA field in the high four bits
constexpr std::uint8_t kBelowNaaField = 0x0F;

}  // namespace

tokens::IdentificationCscdDescriptor creator_descriptor(const LogicalUnit& lu) {
  tokens::IdentificationCscdDescriptor descriptor{};
  std::ranges::copy(lu.identity().naa, descriptor.designator.begin());
  descriptor.disk_block_length = lu.block_length();
  return descriptor;
}

std::string eui_name(const LogicalUnitIdentity& identity) {
  return fmt::format("eui.{:016X}", base::load<base::be64>(identity.eui64).value());
}

bool designates(const LogicalUnitCscd& cscd, const LogicalUnitIdentity& identity) {
  constexpr std::uint8_t kBinary = 1, kUtf8 = 3;               // CODE SET
  constexpr std::uint8_t kEui64 = 2, kNaa = 3, kScsiName = 8;  // DESIGNATOR TYPE
  base::Bytes name = cscd.name();
  if (cscd.association != 0) return false;
  if (cscd.designator_type == kNaa) return cscd.code_set == kBinary && std::ranges::equal(name, identity.naa);
  if (identity.eui64 == decltype(identity.eui64){}) return false;
  if (cscd.designator_type == kEui64) return cscd.code_set == kBinary && std::ranges::equal(name, identity.eui64);
  if (cscd.designator_type != kScsiName || cscd.code_set != kUtf8) return false;
  std::string_view text = base::text_of(name);
  return text.substr(0, text.find('\0')) == eui_name(identity);
}

tokens::BlockDeviceRodData block_device_rod_data(const LogicalUnit& lu) {
  tokens::BlockDeviceRodData data{};
  data.logical_block_length = lu.block_length();
  data.exponents = lu.config().blocks_per_physical_exponent;
  if (lu.config().thin) data.provisioning_and_lowest_alignment = kLbpme | kLbprz;
  return data;
}

std::array<std::uint8_t, tokens::kTargetDeviceDescriptorSize> target_device_descriptor(std::string_view target_name) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  if (EVP_Q_digest(nullptr, "SHA256", nullptr, target_name.data(), target_name.size(), digest.data(), nullptr) != 1)
    throw std::runtime_error("OpenSSL offers no SHA-256");
  TargetNaaDescriptor descriptor{};
  std::copy_n(digest.begin(), descriptor.designator.size(), descriptor.designator.begin());
  descriptor.designator[0] = kNaaLocallyAssigned | (descriptor.designator[0] & kBelowNaaField);
  std::array<std::uint8_t, tokens::kTargetDeviceDescriptorSize> field{};
  base::store(field, descriptor);
  return field;
}

tokens::CopyOperationKey copy_operation_key(NexusId nexus, const LogicalUnit& lu, std::uint32_t list_identifier) {
  return {.nexus = static_cast<std::uint32_t>(nexus),
          .logical_unit = lu.identity().naa,
          .list_identifier = list_identifier};
}

}  // namespace scsi
