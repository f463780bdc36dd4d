#include "scsi/copy_results.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "base/bytes.h"
#include "scsi/copy_layouts.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/extended_copy_list.h"

namespace scsi {

namespace {

constexpr std::uint32_t kNoFurtherUpdate = 0xFFFF'FFFE;
constexpr std::uint32_t kUpdateDelayUnknown = 0xFFFF'FFFF;

/// After AVAILABLE DATA (SPC-4 6.20, table 206).
struct CopyStatusLid1Data {
  std::uint8_t hdd_and_status = 0;
  base::be16 segments_processed;
  std::uint8_t transfer_count_units = 0;
  base::be32 transfer_count;
};
static_assert(sizeof(CopyStatusLid1Data) == 12 - 4 && offsetof(CopyStatusLid1Data, transfer_count) == 8 - 4);
constexpr std::uint8_t kHdd = 0x80;

/// After AVAILABLE DATA (SPC-4 6.23).
struct FailureDetailsData {
  std::array<std::uint8_t, 52> reserved_4{};
  std::uint8_t extended_copy_command_status = 0;
  std::uint8_t reserved_57 = 0;
  base::be16 sense_data_length;
};
static_assert(sizeof(FailureDetailsData) == 60 - 4 && offsetof(FailureDetailsData, sense_data_length) == 58 - 4);

constexpr std::uint8_t kSnlid = 0x01;

/// What a narrower field says of a figure it cannot hold.
template <typename Field>
Field saturated(std::uint64_t figure) {
  return static_cast<Field>(std::min<std::uint64_t>(figure, std::numeric_limits<Field>::max()));
}

bool without_errors(tokens::CopyStatus status) {
  return !tokens::in_progress(status) && status != tokens::CopyStatus::completed_with_errors &&
         status != tokens::CopyStatus::terminated;
}

/// `held_data_discarded`: HDD, which only RECEIVE COPY DATA(LID4) has.
void write_status(base::ByteWriter& writer, const tokens::CopyOperation& operation, bool held_data_discarded = false) {
  const tokens::CopyOutcome& outcome = operation.outcome();
  std::size_t field_length = (outcome.sense.size() + 3) / 4 * 4;
  CopyStatusHeader header{};
  header.response_to_service_action = static_cast<std::uint8_t>(operation.command());
  header.copy_operation_status = static_cast<std::uint8_t>(outcome.status);
  if (held_data_discarded) header.copy_operation_status |= kHdd;
  header.operation_counter = outcome.operation_counter;
  header.estimated_status_update_delay_ms = tokens::in_progress(outcome.status)
                                                ? operation.update_delay_ms().value_or(kUpdateDelayUnknown)
                                                : kNoFurtherUpdate;
  header.extended_copy_completion_status = outcome.completion_status;
  header.sense_data_field_length = static_cast<std::uint8_t>(field_length);
  header.sense_data_length = static_cast<std::uint8_t>(outcome.sense.size());
  header.transfer_count_units = static_cast<std::uint8_t>(operation.units());
  header.transfer_count = outcome.transfer_count;
  header.segments_processed = outcome.segments_processed;
  writer.layout(header);
  writer.bytes(outcome.sense);
  writer.zeros(field_length - outcome.sense.size());
}

}  // namespace

std::vector<std::uint8_t> encode_rod_token_information(const tokens::CopyOperation& operation) {
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  {
    auto available_data = writer.length32();
    write_status(writer, operation);
    auto descriptors_length = writer.length32();
    for (const tokens::CreatedToken& created : operation.outcome().tokens) {
      writer.u16(created.cscd_index);
      writer.layout(created.token);
    }
  }
  return data;
}

std::vector<std::uint8_t> encode_copy_status(const tokens::CopyOperation& operation) {
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  {
    auto available_data = writer.length32();
    write_status(writer, operation);
  }
  return data;
}

std::vector<std::uint8_t> encode_copy_status_lid1(const CopyStatusLid1Fields& fields) {
  constexpr std::uint64_t kUnitFactor = 1024;
  CopyStatusLid1Data body{};
  body.hdd_and_status = static_cast<std::uint8_t>(fields.status);
  if (fields.held_data_discarded) body.hdd_and_status |= kHdd;
  body.segments_processed = fields.segments_processed;
  body.transfer_count_units = static_cast<std::uint8_t>(fields.units);
  std::uint64_t count = fields.transfer_count;
  if (fields.units == tokens::TransferCountUnits::bytes)
    for (; count > std::numeric_limits<std::uint32_t>::max(); count /= kUnitFactor) ++body.transfer_count_units;
  body.transfer_count = saturated<std::uint32_t>(count);
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  {
    auto available_data = writer.length32();
    writer.layout(body);
  }
  return data;
}

std::vector<std::uint8_t> encode_held_data_lid4(const tokens::CopyOperation& operation) {
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  {
    auto available_data = writer.length32();
    write_status(writer, operation, operation.outcome().held_data_discarded);
    auto held_data_length = writer.length32();
    if (without_errors(operation.status())) writer.bytes(operation.outcome().held_data);
  }
  return data;
}

std::vector<std::uint8_t> encode_held_data_lid1(base::Bytes held_data) {
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  {
    auto available_data = writer.length32();
    writer.bytes(held_data);
  }
  return data;
}

std::vector<std::uint8_t> encode_failure_details(std::uint8_t command_status, base::Bytes sense) {
  FailureDetailsData body{};
  body.extended_copy_command_status = command_status;
  body.sense_data_length = static_cast<std::uint16_t>(sense.size());
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  {
    auto available_data = writer.length32();
    writer.layout(body);
    writer.bytes(sense);
  }
  return data;
}

std::vector<std::uint8_t> encode_no_failure_details() { return std::vector<std::uint8_t>(sizeof(base::be32)); }

std::vector<std::uint8_t> encode_copy_operating_parameters(const DeviceProfile& profile) {
  OperatingParametersData body{};
  body.snlid = kSnlid;
  body.maximum_cscd_descriptor_count = profile.maximum_cscd_descriptors;
  body.maximum_segment_descriptor_count = profile.maximum_segment_descriptors;
  body.maximum_descriptor_list_length = profile.maximum_descriptor_list_bytes;
  body.maximum_segment_length = profile.maximum_segment_bytes;
  body.maximum_inline_data_length = profile.maximum_inline_data_bytes;
  body.held_data_limit = profile.held_data_limit_bytes;
  body.total_concurrent_copies = saturated<std::uint16_t>(profile.maximum_copy_operations);
  body.maximum_concurrent_copies = saturated<std::uint8_t>(profile.maximum_copy_operations);
  body.data_segment_granularity = profile.data_segment_granularity_log2;
  body.held_data_granularity = profile.held_data_granularity_log2;
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  {
    auto available_data = writer.length32();
    writer.layout(body);
    auto codes_length = writer.length8();
    writer.bytes(supported_descriptor_types(profile));
  }
  return data;
}

std::vector<std::uint8_t> encode_all_rod_tokens(std::span<const tokens::RodToken> rod_tokens, std::size_t all) {
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  const std::uint64_t available = sizeof(base::be32) + std::uint64_t{all} * kManagementTokenLength;
  writer.u32(static_cast<std::uint32_t>(std::min<std::uint64_t>(available, UINT32_MAX)));
  writer.zeros(4);
  for (const tokens::RodToken& token : rod_tokens) writer.bytes(base::bytes_of(token).first(kManagementTokenLength));
  return data;
}

}  // namespace scsi
