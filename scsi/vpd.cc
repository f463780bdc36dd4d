#include "scsi/vpd.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <iterator>
#include <string>

#include "base/bytes.h"
#include "scsi/block_vpd.h"
#include "scsi/command_table.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"

namespace scsi {
namespace {

using Page = std::vector<std::uint8_t>;

constexpr std::uint8_t kDirectAccess = 0x00;  ///< PERIPHERAL QUALIFIER 000b, PERIPHERAL DEVICE TYPE 00h

/// A page around what `content` writes (SPC-4 table 566).
Page framed(std::uint8_t code, const std::function<void(base::ByteWriter&)>& content) {
  Page out;
  base::ByteWriter writer(out);
  writer.u8(kDirectAccess);
  writer.u8(code);
  {
    auto length = writer.length16();
    content(writer);
  }
  return out;
}

constexpr std::uint8_t kSupportedPages = 0x00;
constexpr std::uint8_t kUnitSerialNumber = 0x80;
constexpr std::uint8_t kDeviceIdentification = 0x83;
constexpr std::uint8_t kExtendedInquiryData = 0x86;
constexpr std::uint8_t kThirdPartyCopy = 0x8F;
constexpr std::uint8_t kBlockLimits = 0xB0;
constexpr std::uint8_t kBlockDeviceCharacteristics = 0xB1;
constexpr std::uint8_t kLogicalBlockProvisioning = 0xB2;

/// SPC-4 7.8.15.
Page supported_pages_page(const CommandContext& context) {
  return framed(kSupportedPages, [&](base::ByteWriter& writer) {
    for (const VpdPage& page : vpd_pages(context.server)) writer.u8(page.code);
  });
}

/// SPC-4 7.8.18.
Page unit_serial_number_page(const CommandContext& context) {
  return framed(kUnitSerialNumber, [&](base::ByteWriter& writer) {
    writer.bytes(base::bytes_of(std::string_view(context.lu->identity().serial)));
  });
}

enum class CodeSet : std::uint8_t { binary = 1, ascii = 2, utf8 = 3 };
enum class Association : std::uint8_t { logical_unit = 0x00, target_port = 0x10, target_device = 0x20 };
enum class DesignatorType : std::uint8_t {
  t10_vendor_id = 1,
  eui64 = 2,
  naa = 3,
  relative_target_port = 4,
  target_port_group = 5,
  scsi_name_string = 8,
};
constexpr std::uint8_t kIscsiProtocol = 0x50;  ///< PROTOCOL IDENTIFIER 5h, in the high nibble
constexpr std::uint8_t kPiv = 0x80;

/// SPC-4 7.8.6.1. The protocol is named where the association is with a port or a device.
void designator(base::ByteWriter& writer, CodeSet code_set, Association association, DesignatorType type,
                const std::function<void()>& content) {
  bool protocol = association != Association::logical_unit;
  writer.u8((protocol ? kIscsiProtocol : 0) | static_cast<std::uint8_t>(code_set));
  writer.u8((protocol ? kPiv : 0) | static_cast<std::uint8_t>(association) | static_cast<std::uint8_t>(type));
  writer.u8(0);
  auto length = writer.length8();
  content();
}

/// A null-terminated name, padded with nulls to a multiple of four bytes (SPC-4 7.8.6.11).
void name_string(base::ByteWriter& writer, const std::string& name) {
  constexpr std::size_t kMultiple = 4;
  writer.bytes(base::bytes_of(std::string_view(name)));
  writer.zeros(kMultiple - name.size() % kMultiple);
}

/// `port` is the target port they are asked for through.
void designators(base::ByteWriter& writer, const LogicalUnitIdentity& identity, const std::string& target_name,
                 std::uint16_t port) {
  designator(writer, CodeSet::binary, Association::logical_unit, DesignatorType::naa,
             [&] { writer.bytes(identity.naa); });
  designator(writer, CodeSet::ascii, Association::logical_unit, DesignatorType::t10_vendor_id, [&] {
    writer.ascii(identity.vendor, 8);
    writer.bytes(base::bytes_of(std::string_view(identity.serial)));
  });
  if (identity.eui64 != decltype(identity.eui64){}) {
    designator(writer, CodeSet::binary, Association::logical_unit, DesignatorType::eui64,
               [&] { writer.bytes(identity.eui64); });
    designator(writer, CodeSet::utf8, Association::logical_unit, DesignatorType::scsi_name_string,
               [&] { name_string(writer, eui_name(identity)); });
  }
  // Relative target port identifier and target port group are the portal group tag: a portal group is a port, unique in
  // its target (RFC 7143, 4.4.2), and a group of its own.
  designator(writer, CodeSet::binary, Association::target_port, DesignatorType::relative_target_port,
             [&] { writer.u16(0), writer.u16(port); });
  designator(writer, CodeSet::binary, Association::target_port, DesignatorType::target_port_group,
             [&] { writer.u16(0), writer.u16(port); });
  designator(writer, CodeSet::utf8, Association::target_port, DesignatorType::scsi_name_string,
             [&] { name_string(writer, fmt::format("{},t,0x{:04x}", target_name, port)); });
  designator(writer, CodeSet::utf8, Association::target_device, DesignatorType::scsi_name_string,
             [&] { name_string(writer, target_name); });
}

/// SPC-4 7.8.6. The NAA comes first: it is what hosts know the logical unit by. Copy managers take the EUI-64 and the
/// name as well (scsi/copy_identity.h).
Page device_identification_page(const CommandContext& context) {
  return framed(kDeviceIdentification, [&](base::ByteWriter& writer) {
    designators(writer, context.lu->identity(), context.server.config().target_name,
                context.server.target_port(context.task.nexus));
  });
}

/// SPC-4 7.8.7.
struct ExtendedInquiryData {
  std::uint8_t peripheral = kDirectAccess;
  std::uint8_t page_code = kExtendedInquiryData;
  base::be16 page_length = 0x3C;
  std::uint8_t checks = 0;
  std::uint8_t task_attributes = 0;
  std::uint8_t volatile_cache = 0;
  std::array<std::uint8_t, 57> rest{};
};
static_assert(sizeof(ExtendedInquiryData) == 64 && offsetof(ExtendedInquiryData, volatile_cache) == 6);
constexpr std::uint8_t kHeadSup = 0x04;
constexpr std::uint8_t kOrdSup = 0x02;
constexpr std::uint8_t kSimpSup = 0x01;
constexpr std::uint8_t kVSup = 0x01;

Page extended_inquiry_data_page(const CommandContext&) {
  ExtendedInquiryData data;
  data.task_attributes = kHeadSup | kOrdSup | kSimpSup;
  data.volatile_cache = kVSup;
  base::Bytes bytes = base::bytes_of(data);
  return {bytes.begin(), bytes.end()};
}

Page third_party_copy_page(const CommandContext& context) {
  return context.server.copy_manager().third_party_copy_page(*context.lu);
}
bool offers_third_party_copy(const DeviceServer& server) { return server.copy_manager().profile().third_party_copy(); }

/// A page of block_vpd.h as a row wants it.
template <Page (*page)(const LogicalUnit&, const DeviceProfile&)>
Page block_page(const CommandContext& context) {
  return page(*context.lu, context.server.copy_manager().profile());
}

constexpr VpdPage kPages[] = {
    {kSupportedPages, supported_pages_page},
    {kUnitSerialNumber, unit_serial_number_page},
    {kDeviceIdentification, device_identification_page},
    {kExtendedInquiryData, extended_inquiry_data_page},
    {kThirdPartyCopy, third_party_copy_page, offers_third_party_copy},
    {kBlockLimits, block_page<block_limits_page>},
    {kBlockDeviceCharacteristics, block_page<block_device_characteristics_page>},
    {kLogicalBlockProvisioning, block_page<logical_block_provisioning_page>},
};
static_assert(std::ranges::adjacent_find(kPages, std::ranges::greater_equal{}, &VpdPage::code) == std::end(kPages),
              "strictly ascending");

}  // namespace

std::vector<VpdPage> vpd_pages(const DeviceServer& server) {
  std::vector<VpdPage> pages;
  std::ranges::copy_if(kPages, std::back_inserter(pages),
                       [&](const VpdPage& page) { return !page.offered || page.offered(server); });
  return pages;
}

}  // namespace scsi
