#include "cli/vpd_json.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "cli/report.h"
#include "host/scsi_layouts.h"

namespace cli {

namespace json = boost::json;
using base::ByteReader;

namespace {

std::string trimmed(base::Bytes bytes) {
  std::string text;
  for (std::uint8_t byte : bytes) text += byte >= ' ' && byte < 0x7F ? static_cast<char>(byte) : '.';
  text.erase(text.find_last_not_of(' ') + 1);
  return text.substr(std::min(text.find_first_not_of(' '), text.size()));
}

std::string h2(std::uint8_t value) { return fmt::format("{:02X}h", value); }
std::string h4(std::uint16_t value) { return fmt::format("{:04X}h", value); }
std::string h8(std::uint32_t value) { return fmt::format("{:08X}h", value); }

std::string_view page_name(std::uint8_t page) {
  switch (page) {
    case 0x00: return "Supported VPD pages";
    case 0x80: return "Unit serial number";
    case 0x83: return "Device identification";
    case 0x86: return "Extended INQUIRY data";
    case 0x87: return "Mode page policy";
    case 0x88: return "SCSI ports";
    case 0x8F: return "Third-party copy";
    case 0xB0: return "Block limits";
    case 0xB1: return "Block device characteristics";
    case 0xB2: return "Logical block provisioning";
    default: return "";
  }
}

std::string_view association_name(std::uint8_t association) {
  constexpr std::array<std::string_view, 4> kNames{"logical unit", "target port", "target device", "reserved"};
  return kNames[association & 3];
}

std::string_view designator_type_name(std::uint8_t type) {
  constexpr std::array<std::string_view, 11> kNames{
      "vendor specific",    "T10 vendor id",       "EUI-64", "NAA",           "relative port", "port group",
      "logical unit group", "MD5 logical unit id", "name",   "protocol port", "UUID"};
  return type < kNames.size() ? kNames[type] : "reserved";
}

/// The page's parameters: what follows the header, at most PAGE LENGTH bytes of it.
base::Bytes parameters(base::Bytes page) {
  ByteReader reader(page);
  const auto header = reader.layout<host::VpdHeader>();
  return reader.take_up_to(header.page_length);
}

std::string code_list(base::Bytes codes) {
  std::string text;
  for (std::uint8_t code : codes) text += (text.empty() ? "" : " ") + h2(code);
  return text;
}

// Descriptors of VPD 8Fh (SPC-4 7.8.17). `reader` stands behind DESCRIPTOR LENGTH.

json::object rod_limits(ByteReader reader) {
  reader.skip(sizeof host::RodLimitsDescriptor{}.vendor_specific);
  return {{"maximum_range_descriptors", reader.u16()},
          {"maximum_inactivity_timeout_s", reader.u32()},
          {"default_inactivity_timeout_s", reader.u32()},
          {"maximum_token_transfer_blocks", reader.u64()},
          {"optimal_transfer_blocks", reader.u64()}};
}

json::object supported_commands(ByteReader reader) {
  ByteReader list(reader.take_up_to(reader.u8()));
  std::string text;
  while (list.remaining() >= 2) {
    const std::uint8_t opcode = list.u8();
    const std::size_t count = list.u8();
    text += (text.empty() ? "" : "; ") + h2(opcode) + ":";
    for (std::uint8_t action : list.take_up_to(count)) text += " " + h2(action);
  }
  return {{"commands", text}};
}

json::object parameter_data(ByteReader reader) {
  reader.skip(4);
  return {{"maximum_cscd_descriptors", reader.u16()},
          {"maximum_segment_descriptors", reader.u16()},
          {"maximum_descriptor_list_bytes", reader.u32()},
          {"maximum_inline_data_bytes", reader.u32()}};
}

json::object rod_token_features(ByteReader reader) {
  constexpr std::uint8_t kRemoteTokensMask = 0x0F;
  constexpr std::size_t kReservedAfterRemoteTokens = 11, kReservedBeforeFeatures = 18;
  json::object object{{"remote_tokens", h2(reader.u8() & kRemoteTokensMask)}};
  reader.skip(kReservedAfterRemoteTokens);
  object["minimum_token_lifetime_s"] = reader.u32();
  object["maximum_token_lifetime_s"] = reader.u32();
  object["maximum_inactivity_timeout_s"] = reader.u32();
  reader.skip(kReservedBeforeFeatures);
  ByteReader features(reader.take_up_to(reader.u16()));
  // Block device feature descriptor: format and type, reserved, length, reserved, granularity.
  features.skip(6);
  const std::uint16_t granularity = features.u16();
  const std::uint64_t maximum = features.u64(), optimal = features.u64();
  if (features.ok()) {
    object["optimal_granularity_blocks"] = granularity;
    object["maximum_block_rod_bytes"] = maximum;
    object["optimal_block_rod_transfer_bytes"] = optimal;
  }
  return object;
}

json::object supported_rods(ByteReader reader) {
  constexpr std::size_t kEntry = 64;
  constexpr std::uint8_t kTokenIn = 0x02, kTokenOut = 0x01;
  reader.skip(2);
  ByteReader list(reader.take_up_to(reader.u16()));
  std::string text;
  while (list.remaining() >= kEntry) {
    ByteReader entry(list.take(kEntry));
    const std::uint32_t type = entry.u32();
    const std::uint8_t flags = entry.u8();
    text += (text.empty() ? "" : "; ") + h8(type);
    if ((flags & kTokenIn) != 0) text += " in";
    if ((flags & kTokenOut) != 0) text += " out";
  }
  return {{"rod_types", text}};
}

json::object general_copy(ByteReader reader) {
  return {{"total_concurrent_copies", reader.u32()},
          {"maximum_identified_concurrent_copies", reader.u32()},
          {"maximum_segment_length_bytes", reader.u32()}};
}

struct DescriptorKind {
  std::uint16_t type;
  std::string_view name;
  json::object (*decode)(ByteReader);
};

json::object code_table(ByteReader reader) { return {{"codes", code_list(reader.take_up_to(reader.u8()))}}; }
json::object raw(ByteReader reader) { return {{"data", hex(reader.take(reader.remaining()))}}; }
json::object held_data(ByteReader reader) { return {{"held_data_limit_bytes", reader.u32()}}; }

constexpr DescriptorKind kDescriptorKinds[] = {
    {0x0000, "Block Device ROD Limits", rod_limits},
    {0x0001, "Supported Commands", supported_commands},
    {0x0004, "Parameter Data", parameter_data},
    {0x0008, "Supported Descriptors", code_table},
    {0x000C, "Supported CSCD IDs", raw},
    {0x000D, "Copy Group Identifier", raw},
    {0x0106, "ROD Token Features", rod_token_features},
    {0x0108, "Supported ROD Types", supported_rods},
    {0x8001, "General Copy Operations", general_copy},
    {0x9101, "Stream Copy Operations", raw},
    {0xC001, "Held Data", held_data},
};

std::string fields_text(const json::object& fields) {
  std::string text;
  for (const auto& field : fields) {
    std::string key(field.key());
    std::ranges::replace(key, '_', ' ');
    const json::value& value = field.value();
    text += (text.empty() ? "" : ", ") + key + " " +
            (value.is_string() ? std::string(value.get_string()) : json::serialize(value));
  }
  return text;
}

}  // namespace

json::object standard_inquiry_json(base::Bytes data) {
  constexpr std::uint8_t kTypeMask = 0x1F, kThirdPartyCopyBit = 0x08;
  constexpr std::size_t kVendorLength = 8, kProductLength = 16, kRevisionLength = 4;
  ByteReader reader(data);
  json::object object{{"device_type", h2(reader.u8() & kTypeMask)}};
  reader.skip(1);
  object["version"] = h2(reader.u8());
  reader.skip(2);
  const bool third_party_copy = (reader.u8() & kThirdPartyCopyBit) != 0;
  reader.skip(2);
  object["vendor"] = trimmed(reader.take(kVendorLength));
  object["product"] = trimmed(reader.take(kProductLength));
  object["revision"] = trimmed(reader.take(kRevisionLength));
  object["third_party_copy_bit"] = third_party_copy;
  return object;
}

json::array page_list_json(base::Bytes page) {
  json::array pages;
  for (std::uint8_t code : parameters(page)) {
    std::string_view name = page_name(code);
    pages.push_back(json::object{{"page", h2(code)}, {"name", name}});
  }
  return pages;
}

std::string serial_text(base::Bytes page) { return trimmed(parameters(page)); }

json::array designators_json(base::Bytes page) {
  constexpr std::uint8_t kBinary = 0x01;
  json::array designators;
  for (const auto& [code_set, association, type, value] : host::read_designators(page)) {
    std::string text = hex(value);
    if (code_set == kBinary) std::erase(text, ' ');
    designators.push_back(json::object{
        {"of", association_name(association)},
        {"type", designator_type_name(type)},
        {"designator", code_set == kBinary ? text
                                           : trimmed(value.first(static_cast<std::size_t>(
                                                 std::ranges::find(value, std::uint8_t{0}) - value.begin())))}});
  }
  return designators;
}

json::object block_limits_json(base::Bytes page) {
  ByteReader reader(page);
  const auto limits = reader.layout<host::BlockLimitsPage>();
  if (!reader.ok()) return {{"note", "the page is shorter than SBC-3's"}};
  return {{"maximum_compare_and_write_blocks", limits.maximum_compare_and_write_blocks},
          {"optimal_transfer_granularity_blocks", limits.optimal_transfer_granularity.value()},
          {"maximum_transfer_blocks", limits.maximum_transfer_blocks.value()},
          {"optimal_transfer_blocks", limits.optimal_transfer_blocks.value()},
          {"maximum_unmap_lba_count", limits.maximum_unmap_lba_count.value()},
          {"maximum_unmap_descriptors", limits.maximum_unmap_descriptors.value()},
          {"optimal_unmap_granularity", limits.optimal_unmap_granularity.value()},
          {"maximum_write_same_blocks", limits.maximum_write_same_blocks.value()}};
}

json::object characteristics_json(base::Bytes page) {
  ByteReader reader(page);
  const auto characteristics = reader.layout<host::BlockCharacteristicsPage>();
  constexpr std::uint16_t kNonRotating = 1;
  const std::uint16_t rate = characteristics.rotation_rate;
  return {{"rotation", rate == 0              ? "not reported"
                       : rate == kNonRotating ? "none (solid state)"
                                              : fmt::format("{} rpm", rate)}};
}

json::object provisioning_json(base::Bytes page) {
  constexpr std::uint8_t kTypeMask = 0x07, kLbpu = 0x80, kLbpws = 0x40, kLbpws10 = 0x20, kLbprz = 0x04;
  constexpr std::array<std::string_view, 4> kTypes{"full or not reported", "resource", "thin", "reserved"};
  ByteReader reader(page);
  const auto provisioning = reader.layout<host::ProvisioningPage>();
  const std::uint8_t type = provisioning.provisioning_type & kTypeMask;
  return {{"type", kTypes[std::min<std::size_t>(type, kTypes.size() - 1)]},
          {"unmap", (provisioning.flags & kLbpu) != 0},
          {"write_same_16_unmaps", (provisioning.flags & kLbpws) != 0},
          {"write_same_10_unmaps", (provisioning.flags & kLbpws10) != 0},
          {"unmapped_reads_zero", (provisioning.flags & kLbprz) != 0}};
}

json::array third_party_copy_json(base::Bytes page) {
  json::array descriptors;
  ByteReader reader(parameters(page));
  while (reader.remaining() >= sizeof(base::be32)) {
    const std::uint16_t type = reader.u16();
    const std::size_t length = reader.u16();
    ByteReader body(reader.take_up_to(length));
    auto kind = std::ranges::find(kDescriptorKinds, type, &DescriptorKind::type);
    const bool known = kind != std::end(kDescriptorKinds);
    json::object fields = known ? kind->decode(body) : raw(body);
    descriptors.push_back(json::object{{"type", h4(type)},
                                       {"name", known ? kind->name : "(not known here)"},
                                       {"content", json::object{{"text", fields_text(fields)}, {"fields", fields}}}});
  }
  return descriptors;
}

}  // namespace cli
