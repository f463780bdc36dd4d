#include "scsi/transport_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace scsi {
namespace {

/// SPC-4 tables 452 and 453; the name follows, null-terminated and null-padded.
struct TransportIdHead {
  std::uint8_t format_and_protocol = 0;
  std::uint8_t reserved = 0;
  base::be16 additional_length{};
};
static_assert(sizeof(TransportIdHead) == 4 && offsetof(TransportIdHead, additional_length) == 2);

constexpr std::uint8_t kFormatMask = 0xC0;
constexpr std::uint8_t kFormatDevice = 0x00;
constexpr std::uint8_t kFormatPort = 0x40;
constexpr std::uint8_t kFormatHighBit = 7;
constexpr std::uint8_t kProtocolMask = 0x0F;
constexpr std::uint8_t kProtocolHighBit = 3;
constexpr std::uint8_t kIscsi = 0x05;
constexpr std::size_t kMinimumAdditionalLength = 20;
constexpr std::size_t kMultiple = 4;
constexpr std::size_t kMaximumName = 223;  // RFC 7143, 4.2.7.1
constexpr std::string_view kSeparator = ",i,0x";
constexpr std::size_t kDigitsOfByte = 2;

std::optional<std::array<std::uint8_t, 6>> parse_isid(std::string_view digits) {
  std::array<std::uint8_t, 6> isid{};
  if (digits.size() != isid.size() * kDigitsOfByte) return {};
  for (std::size_t i = 0; i < isid.size(); ++i) {
    std::string_view pair = digits.substr(i * kDigitsOfByte, kDigitsOfByte);
    auto [end, error] = std::from_chars(pair.begin(), pair.end(), isid[i], 16);
    if (error != std::errc{} || end != pair.end()) return {};
  }
  return isid;
}

}  // namespace

std::expected<TransportId, Sense> parse_transport_id(base::ByteReader& reader, std::size_t offset) {
  std::size_t at = offset + reader.position();
  auto wrong = [at](std::size_t byte, std::optional<std::uint8_t> bit, std::string rule) {
    return std::unexpected(Sense::invalid_field_in_list(at + byte, bit, std::move(rule)));
  };
  constexpr std::size_t kLength = offsetof(TransportIdHead, additional_length);
  auto head = reader.layout<TransportIdHead>();
  std::size_t length = head.additional_length;
  base::Bytes rest = reader.ok() ? reader.take(length) : base::Bytes{};
  if (!reader.ok()) return wrong(0, {}, "the parameter list ends inside a TransportID");
  if ((head.format_and_protocol & kProtocolMask) != kIscsi)
    return wrong(0, kProtocolHighBit, "PROTOCOL IDENTIFIER is not that of iSCSI");
  std::uint8_t format = head.format_and_protocol & kFormatMask;
  if (format != kFormatDevice && format != kFormatPort) return wrong(0, kFormatHighBit, "reserved FORMAT CODE");
  if (length < kMinimumAdditionalLength || length % kMultiple)
    return wrong(kLength, {}, fmt::format("ADDITIONAL LENGTH {} is below 20 or no multiple of 4", length));

  std::string_view text = base::text_of(rest);
  auto end = text.find('\0');
  if (end == text.npos) return wrong(sizeof head, {}, "no null ends the name");
  text = text.substr(0, end);
  TransportId id;
  if (format == kFormatPort) {
    auto separator = text.rfind(kSeparator);
    if (separator != text.npos) id.isid = parse_isid(text.substr(separator + kSeparator.size()));
    if (!id.isid) return wrong(sizeof head, {}, "no initiator session identifier after the name");
    text = text.substr(0, separator);
  }
  bool printable = std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
  if (text.empty() || text.size() > kMaximumName || !printable) return wrong(sizeof head, {}, "not an iSCSI name");
  id.initiator_name = text;
  return id;
}

void write_transport_id(base::ByteWriter& writer, const ITNexus& nexus) {
  writer.u8(kFormatPort | kIscsi);
  writer.u8(0);
  auto length = writer.length16();
  std::size_t start = writer.size();
  writer.bytes(base::bytes_of(std::string_view(nexus.initiator_name)));
  writer.bytes(base::bytes_of(kSeparator));
  for (std::uint8_t byte : nexus.isid) writer.bytes(base::bytes_of(std::string_view(fmt::format("{:02x}", byte))));
  std::size_t size = writer.size() - start;
  // At least one null, a multiple of four, and no less than the least.
  writer.zeros(
      std::max(kMultiple - size % kMultiple, kMinimumAdditionalLength - std::min(size, kMinimumAdditionalLength)));
}

}  // namespace scsi
