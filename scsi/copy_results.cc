#include "scsi/copy_results.h"

#include "base/bytes.h"
#include "scsi/copy_layouts.h"

namespace scsi {

namespace {

constexpr std::uint32_t kNoFurtherUpdate = 0xFFFF'FFFE;
constexpr std::uint32_t kUpdateDelayUnknown = 0xFFFF'FFFF;

void write_status(base::ByteWriter& writer, const tokens::CopyOperation& operation) {
  const tokens::CopyOutcome& outcome = operation.outcome();
  std::size_t field_length = (outcome.sense.size() + 3) / 4 * 4;
  CopyStatusHeader header{};
  header.response_to_service_action = static_cast<std::uint8_t>(operation.command());
  header.copy_operation_status = static_cast<std::uint8_t>(outcome.status);
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

}  // namespace scsi
