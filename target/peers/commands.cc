#include "target/peers/commands.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "scsi/copy_layouts.h"
#include "scsi/device_server.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/sense.h"

namespace peers {

namespace {

using initiator::Command;

constexpr std::uint8_t kInquiry = 0x12;
constexpr std::uint8_t kReportLuns = 0xA0;
constexpr std::uint8_t kExtendedCopyLid4 = 0x01;
constexpr std::uint8_t kReceiveCopyOperatingParameters = 0x03;
constexpr std::uint8_t kReceiveCopyDataLid4 = 0x06;
constexpr std::uint8_t kHoldBlockToBlock = 0x0D;

constexpr std::uint32_t kLunListLength = 256 * 1024;  // 16384 logical units of one level
constexpr std::uint16_t kPageLength = 0xFFFF;
constexpr std::uint32_t kParametersLength = 1024;
constexpr std::uint32_t kSenseFieldLength = 252;  // the longest that its length field can say, in multiples of 4

template <base::WireLayout T>
std::vector<std::uint8_t> bytes_of(const T& layout) {
  auto bytes = base::bytes_of(layout);
  return {bytes.begin(), bytes.end()};
}

Command copy_in(std::uint8_t service_action, std::uint32_t list_identifier, std::uint32_t length) {
  scsi::CopyResultsCdb cdb{};
  cdb.operation_code = scsi::kThirdPartyCopyIn;
  cdb.service_action = service_action;
  cdb.list_identifier = list_identifier;
  cdb.allocation_length = length;
  return {.cdb = bytes_of(cdb), .data_in_length = length};
}

/// SPC-4 6.33.
struct ReportLunsCdb {
  std::uint8_t operation_code = kReportLuns;
  std::uint8_t reserved_1 = 0;
  std::uint8_t select_report = 0;
  std::array<std::uint8_t, 3> reserved_3{};
  base::be32 allocation_length;
  std::uint8_t reserved_10 = 0;
  std::uint8_t control = 0;
};
static_assert(sizeof(ReportLunsCdb) == 12 && offsetof(ReportLunsCdb, allocation_length) == 6);

/// SPC-4 6.6.
struct InquiryCdb {
  std::uint8_t operation_code = kInquiry;
  std::uint8_t evpd = 0;
  std::uint8_t page_code = 0;
  base::be16 allocation_length;
  std::uint8_t control = 0;
};
static_assert(sizeof(InquiryCdb) == 6 && offsetof(InquiryCdb, allocation_length) == 3);

}  // namespace

Command test_unit_ready() { return {.cdb = std::vector<std::uint8_t>(6)}; }

Command report_luns() {
  ReportLunsCdb cdb;
  cdb.allocation_length = kLunListLength;
  return {.cdb = bytes_of(cdb), .data_in_length = kLunListLength};
}

std::vector<int> luns_of(base::Bytes answer) {
  constexpr std::size_t kReserved = 4, kEntry = 8;
  base::ByteReader reader(answer);
  std::size_t length = reader.u32();
  reader.skip(kReserved);
  std::vector<int> luns;
  for (std::size_t left = std::min(length, reader.remaining()) / kEntry; left > 0; --left)
    if (auto lun = scsi::decode_lun(reader.take(kEntry))) luns.push_back(static_cast<int>(*lun));
  return luns;
}

Command device_identification() {
  InquiryCdb cdb;
  cdb.evpd = 1;
  cdb.page_code = 0x83;
  cdb.allocation_length = kPageLength;
  return {.cdb = bytes_of(cdb), .data_in_length = kPageLength};
}

std::vector<Naa> designators_of(base::Bytes page) {
  std::vector<Naa> found;
  constexpr std::size_t kHeader = 2;
  constexpr std::uint8_t kBinary = 1, kNaa = 3;
  base::ByteReader reader(page);
  reader.skip(kHeader);
  base::ByteReader list(reader.take_up_to(reader.u16()));
  while (list.remaining() > 0) {
    std::uint8_t code_set = list.u8() & scsi::kCscdCodeSetMask;
    std::uint8_t kind = list.u8();
    list.skip(1);
    base::Bytes designator = list.take(list.u8());
    if (!list.ok()) break;
    bool of_logical_unit = (kind & scsi::kCscdAssociationMask) == 0 && (kind & scsi::kCscdDesignatorTypeMask) == kNaa;
    if (code_set != kBinary || !of_logical_unit || designator.size() != sizeof(Naa)) continue;
    std::ranges::copy(designator, found.emplace_back().begin());
  }
  return found;
}

Command receive_copy_operating_parameters() { return copy_in(kReceiveCopyOperatingParameters, 0, kParametersLength); }

std::optional<CopyLimits> copy_limits_of(base::Bytes answer) {
  base::ByteReader reader(answer);
  reader.skip(sizeof(base::be32));  // AVAILABLE DATA
  auto parameters = reader.layout<scsi::OperatingParametersData>();
  if (!reader.ok()) return std::nullopt;
  constexpr std::uint8_t kLargestGranularity = 30;
  std::uint8_t log2 = std::max(parameters.data_segment_granularity, parameters.held_data_granularity);
  if (parameters.maximum_inline_data_length < sizeof(tokens::RodToken) || log2 > kLargestGranularity)
    return std::nullopt;
  CopyLimits limits{.piece = parameters.held_data_limit, .granularity = std::uint64_t{1} << log2};
  if (parameters.maximum_segment_length != 0)
    limits.piece = std::min<std::uint64_t>(limits.piece, parameters.maximum_segment_length);
  if (limits.piece < limits.granularity) return std::nullopt;
  return limits;
}

Command hold_blocks(std::uint32_t list_identifier, const tokens::RodToken& token, std::uint64_t first,
                    std::uint16_t blocks) {
  scsi::ExtendedCopyLid4Header header{};
  header.parameter_list_format = scsi::kLid4ParameterListFormat;
  header.header_cscd_descriptor_list_length = scsi::kLid4HeaderCscdLength;
  header.header_cscd_descriptor_type_code = scsi::kExtensionCscd;
  header.list_identifier = list_identifier;
  header.cscd_descriptor_list_length = sizeof(scsi::RodCscdDescriptor);
  header.segment_descriptor_list_length = sizeof(scsi::BlockToBlockSegment);
  header.inline_data_length = sizeof(tokens::RodToken);

  scsi::RodCscdDescriptor rod{};  // ROD TYPE 0: the token in the inline data, at its offset 0
  rod.descriptor_type_code = scsi::kRodCscd;
  rod.rod_producer_cscd_descriptor_id = scsi::kThisLogicalUnit;
  rod.disk_block_length = token.block_device.logical_block_length.value();

  scsi::BlockToBlockSegment segment{};
  segment.header.descriptor_type_code = kHoldBlockToBlock;
  segment.header.flags = scsi::kCat;
  segment.header.descriptor_length = sizeof(scsi::BlockToBlockSegment) - scsi::kBeforeSegmentLength;
  segment.header.destination_cscd_descriptor_id = scsi::kNullBlockDevice;
  segment.number_of_blocks = blocks;
  segment.source_lba = first;

  Command command;
  base::ByteWriter writer(command.data_out);
  writer.layout(header);
  writer.layout(rod);
  writer.layout(segment);
  writer.layout(token);
  scsi::ExtendedCopyCdb cdb{};
  cdb.operation_code = scsi::kThirdPartyCopyOut;
  cdb.service_action = kExtendedCopyLid4;
  cdb.parameter_list_length = static_cast<std::uint32_t>(command.data_out.size());
  command.cdb = bytes_of(cdb);
  return command;
}

Command receive_copy_data(std::uint32_t list_identifier, std::uint32_t bytes) {
  constexpr std::uint32_t kAround =
      sizeof(base::be32) + sizeof(scsi::CopyStatusHeader) + kSenseFieldLength + sizeof(base::be32);
  return copy_in(kReceiveCopyDataLid4, list_identifier, kAround + bytes);
}

std::optional<base::Bytes> held_data_of(base::Bytes answer) {
  constexpr std::uint8_t kStatusMask = 0x7F;  // above it: HDD
  constexpr std::uint8_t kCompleted = 0x01, kCompletedResidual = 0x04;
  base::ByteReader reader(answer);
  reader.skip(sizeof(base::be32));
  auto header = reader.layout<scsi::CopyStatusHeader>();
  reader.skip(header.sense_data_field_length);
  base::Bytes data = reader.take(reader.u32());
  std::uint8_t status = header.copy_operation_status & kStatusMask;
  if (!reader.ok() || status < kCompleted || status > kCompletedResidual) return std::nullopt;
  return data;
}

std::optional<tokens::TokenError> token_error_of(const std::vector<std::uint8_t>& sense) {
  constexpr std::uint8_t kInvalidTokenOperation = 0x23;
  auto decoded = scsi::decode(sense);
  if (!decoded || decoded->asc() != kInvalidTokenOperation) return std::nullopt;
  using enum tokens::TokenError;
  constexpr std::pair<std::uint8_t, tokens::TokenError> kQualifiers[] = {
      {0x01, unsupported_type}, {0x02, remote_not_supported},
      {0x05, corrupt},          {0x06, revoked},
      {0x07, expired},          {0x08, cancelled},
      {0x09, deleted},          {0x0A, invalid_length}};
  auto found = std::ranges::find(kQualifiers, decoded->ascq(), &std::pair<std::uint8_t, tokens::TokenError>::first);
  return found == std::end(kQualifiers) ? unknown : found->second;
}

}  // namespace peers
