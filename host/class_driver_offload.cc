// Offload read and offload write of ClassDriver.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "host/class_driver.h"
#include "scsi/sense.h"

namespace host {

namespace {

/// classpnp's cap on fragments of one command.
constexpr std::size_t kLargestDescriptorCount = 64;
constexpr std::size_t kLargestParameterList = 65535;
constexpr std::uint64_t kDefaultWriteBytes = 64ull << 20;   // per WRITE USING TOKEN when OPTIMAL TRANSFER COUNT is 0
constexpr std::uint64_t kLargestWriteBytes = 256ull << 20;  // per WRITE USING TOKEN
constexpr unsigned kPopulateTokenRetries = 1;
constexpr unsigned kWriteUsingTokenRetries = 2;

constexpr std::size_t kLargestSense = 255;
/// The answer to RRTI without its token: header, sense data, ROD TOKEN DESCRIPTORS LENGTH.
constexpr std::size_t kTokenInformationLength = sizeof(TokenInformationHeader) + kLargestSense;
constexpr std::uint32_t kPopulateInformationLength =
    kTokenInformationLength + sizeof(be32) + sizeof(RodTokenDescriptor);
static_assert(kPopulateInformationLength == 805);

// COPY OPERATION STATUS (SPC-4 6.24), and its mask.
constexpr std::uint8_t kCopyStatusMask = 0x7F;
constexpr std::uint8_t kCompleted = 0x01;
constexpr std::uint8_t kCompletedWithErrors = 0x02;
constexpr std::uint8_t kCompletedPartial = 0x03;
constexpr std::uint8_t kTerminated = 0x60;

template <base::WireLayout T>
std::vector<std::uint8_t> bytes_vector(const T& layout) {
  base::Bytes bytes = base::bytes_of(layout);
  return {bytes.begin(), bytes.end()};
}

/// Fills in the two length fields and appends the descriptors.
template <typename Header>
std::vector<std::uint8_t> parameter_list(Header header, const RangeCut& cut) {
  const std::size_t descriptors = cut.descriptors.size() * sizeof(RangeDescriptor);
  header.data_length = static_cast<std::uint16_t>(sizeof header + descriptors - sizeof header.data_length);
  header.range_descriptors_length = static_cast<std::uint16_t>(descriptors);
  std::vector<std::uint8_t> list;
  base::ByteWriter writer(list);
  writer.layout(header);
  for (const RangeDescriptor& descriptor : cut.descriptors) writer.layout(descriptor);
  return list;
}

initiator::Command token_command(std::uint8_t service_action, std::uint32_t list_identifier,
                                 std::vector<std::uint8_t> list) {
  TokenOperationCdb cdb;
  cdb.service_action = service_action;
  cdb.list_identifier = list_identifier;
  cdb.parameter_list_length = static_cast<std::uint32_t>(list.size());
  return {bytes_vector(cdb), std::move(list)};
}

/// "05/23/07 ILLEGAL REQUEST, INVALID TOKEN OPERATION, TOKEN EXPIRED".
std::string sense_text(const SenseView& view) {
  scsi::Sense sense;
  sense.key = static_cast<scsi::SenseKey>(view.key);
  sense.code = static_cast<scsi::AdditionalSense>(view.asc << 8 | view.ascq);
  return fmt::format("{} {}", scsi::code_text(sense), scsi::describe(sense));
}

std::string why(base::Bytes cdb, const Interpretation& means, const initiator::Result& result) {
  std::string text = ClassDriver::command_name(cdb);
  if (result.transport != initiator::Transport::delivered) return text + ": " + result.reason;
  if (auto sense = read_sense(result.sense)) return fmt::format("{}: sense {}", text, sense_text(*sense));
  return fmt::format("{}: SCSI status {:02X}h, {}", text, result.status, name(means.status));
}

/// WRITE USING TOKEN that ended early and said how far it got: COPY ABORTED or ABORTED COMMAND with COPY TARGET DEVICE
/// DATA UNDERRUN, and INFORMATION not 0.
std::uint64_t blocks_from_sense(base::Bytes sense_bytes) {
  constexpr std::uint8_t kCopyAborted = 0x0A, kAbortedCommand = 0x0B, kAsc = 0x0D, kAscq = 0x04;
  auto sense = read_sense(sense_bytes);
  if (!sense || sense->asc != kAsc || sense->ascq != kAscq) return 0;
  if (sense->key != kCopyAborted && sense->key != kAbortedCommand) return 0;
  return sense->information.value_or(0);
}

}  // namespace

std::optional<std::string> ClassDriver::refuse(std::span<const DataSetRange> ranges, NtStatus& status) const {
  status = NtStatus::device_feature_not_supported;
  if (!disk_.rod_limits) return disk_.no_odx_reason.empty() ? "the disk was not started" : disk_.no_odx_reason;
  status = NtStatus::invalid_parameter;
  if (ranges.empty()) return "no ranges";
  for (const DataSetRange& range : ranges) {
    status = NtStatus::invalid_parameter;
    if (range.length == 0 || range.length % disk_.block_length != 0 || range.offset % disk_.block_length != 0)
      return fmt::format("range of {} bytes at {} is not made of blocks of {} bytes", range.length, range.offset,
                         disk_.block_length);
    status = NtStatus::nonexistent_sector;
    if (range.offset > disk_.bytes() || range.length > disk_.bytes() - range.offset)
      return fmt::format("range of {} bytes at {} ends beyond the disk of {} bytes", range.length, range.offset,
                         disk_.bytes());
  }
  return std::nullopt;
}

CutLimits ClassDriver::descriptor_limits(std::size_t header_length) const {
  const RodLimits& limits = *disk_.rod_limits;
  CutLimits cut;
  cut.descriptors =
      std::min((kLargestParameterList - header_length) / sizeof(RangeDescriptor), kLargestDescriptorCount);
  if (limits.maximum_range_descriptors != 0)
    cut.descriptors = std::min<std::size_t>(cut.descriptors, limits.maximum_range_descriptors);
  cut.blocks = limits.maximum_token_transfer_blocks != 0 ? limits.maximum_token_transfer_blocks
                                                         : std::numeric_limits<std::uint64_t>::max();
  return cut;
}

CutLimits ClassDriver::populate_limits(std::uint32_t time_to_live) const {
  CutLimits cut = descriptor_limits(sizeof(PopulateTokenHeader));
  const std::uint64_t optimal = disk_.rod_limits->optimal_transfer_blocks;
  if (time_to_live == 0 && optimal != 0) cut.blocks = std::min(cut.blocks, optimal);
  return cut;
}

CutLimits ClassDriver::write_limits() const {
  CutLimits cut = descriptor_limits(sizeof(WriteUsingTokenHeader));
  const std::uint64_t optimal = disk_.rod_limits->optimal_transfer_blocks;
  const std::uint64_t step = optimal == 0 ? kDefaultWriteBytes / disk_.block_length
                                          : std::min(optimal, kLargestWriteBytes / disk_.block_length);
  // A target may claim blocks longer than a step.
  cut.blocks = std::min(cut.blocks, std::max<std::uint64_t>(step, 1));
  return cut;
}

ClassDriver::TokenInformation ClassDriver::receive_token_information(std::uint32_t list_identifier,
                                                                     std::uint32_t allocation_length, unsigned retries,
                                                                     std::uint64_t requested_blocks) {
  ReceiveRodTokenInformationCdb cdb;
  cdb.list_identifier = list_identifier;
  cdb.allocation_length = allocation_length;
  Outcome outcome = send({bytes_vector(cdb), {}, allocation_length}, CommandKind::receive_token_information, retries);
  TokenInformation information;
  // WINDOWS: "data overrun" is what short data looks like here, whatever it came from.
  if (!outcome.good() && outcome.means.status != NtStatus::data_overrun) {
    information.status = outcome.means.status;
    information.reason = why(base::bytes_of(cdb), outcome.means, outcome.result);
    return information;
  }
  // The host's buffer was zeroed: what did not come reads as zero.
  std::vector<std::uint8_t> buffer = std::move(outcome.result.data_in);
  buffer.resize(std::max<std::size_t>(allocation_length, kTokenInformationLength));
  base::ByteReader reader(buffer);
  const auto header = reader.layout<TokenInformationHeader>();
  const std::uint8_t status = header.copy_operation_status & kCopyStatusMask;
  if (status != kCompleted && status != kCompletedWithErrors && status != kCompletedPartial && status != kTerminated) {
    information.status = NtStatus::unsuccessful;
    information.reason = fmt::format("COPY OPERATION STATUS {:02X}h is not a final one", status);
    return information;
  }
  information.blocks = header.transfer_count;
  if (information.blocks > requested_blocks) {
    information.reason =
        fmt::format("TRANSFER COUNT {} is more than the {} blocks asked for", information.blocks, requested_blocks);
    information.blocks = 0;
  }
  if (status != kCompleted && status != kCompletedPartial) {
    information.reason = fmt::format("COPY OPERATION STATUS {:02X}h", status);
    information.blocks = 0;
  }
  if (status != kCompleted && header.sense_length > 0) {
    base::Bytes sense_bytes(base::Bytes(buffer).subspan(sizeof header, header.sense_length));
    auto sense = read_sense(sense_bytes);
    information.status =
        sense ? sense_to_nt_status(sense->key, sense->asc, sense->ascq).status : NtStatus::io_device_error;
    information.token_invalid = information.status == NtStatus::invalid_token;
    if (sense) information.reason = fmt::format("RECEIVE ROD TOKEN INFORMATION carries sense {}", sense_text(*sense));
  }
  reader.skip(header.sense_field_length);
  if (reader.u32() == sizeof(RodTokenDescriptor)) {
    auto descriptor = reader.layout<RodTokenDescriptor>();
    if (reader.ok()) information.token = descriptor.token;
  }
  return information;
}

OffloadReadResult ClassDriver::offload_read(std::span<const DataSetRange> ranges, std::uint32_t time_to_live) {
  OffloadReadResult result;
  auto fail = [&result](NtStatus status, std::string reason) {
    result.status = status;
    result.reason = std::move(reason);
    return result;
  };
  NtStatus status{};
  if (auto refusal = refuse(ranges, status)) return fail(status, *refusal);
  const std::uint32_t maximum = disk_.rod_limits->maximum_inactivity_timeout_s;
  if (maximum != 0 && time_to_live > maximum)
    return fail(NtStatus::invalid_parameter,
                fmt::format("a time to live of {} s is above MAXIMUM INACTIVITY TIMEOUT, {} s", time_to_live, maximum));

  const RangeCut cut = cut_ranges(ranges, disk_.block_length, 0, populate_limits(time_to_live));
  const std::uint32_t list_identifier = list_identifiers_.next();
  PopulateTokenHeader header;
  header.inactivity_timeout = time_to_live;
  initiator::Command command = token_command(kPopulateTokenAction, list_identifier, parameter_list(header, cut));
  const std::vector<std::uint8_t> cdb = command.cdb;
  Outcome outcome = send(std::move(command), CommandKind::token_operation, kPopulateTokenRetries);
  if (!outcome.good()) return fail(outcome.means.status, why(cdb, outcome.means, outcome.result));

  TokenInformation information =
      receive_token_information(list_identifier, kPopulateInformationLength, kPopulateTokenRetries, cut.blocks);
  if (information.blocks == 0 || !information.token) {
    if (information.reason.empty()) information.reason = "RECEIVE ROD TOKEN INFORMATION has no token of 512 bytes";
    return fail(succeeded(information.status) ? NtStatus::unsuccessful : information.status, information.reason);
  }
  std::uint64_t asked = 0;
  for (const DataSetRange& range : ranges) asked += range.length;
  result.length_protected = information.blocks * disk_.block_length;
  result.range_truncated = result.length_protected < asked;
  result.token = *information.token;
  return result;
}

ClassDriver::TokenInformation ClassDriver::write_step(const Token& token, std::uint64_t offset_into_rod,
                                                      const RangeCut& cut) {
  const std::uint32_t list_identifier = list_identifiers_.next();
  WriteUsingTokenHeader header;
  header.offset_into_rod = offset_into_rod;
  header.token = token;
  initiator::Command command = token_command(kWriteUsingTokenAction, list_identifier, parameter_list(header, cut));
  const std::vector<std::uint8_t> cdb = command.cdb;
  Outcome outcome = send(std::move(command), CommandKind::token_operation, kWriteUsingTokenRetries);

  TokenInformation step;
  step.status = outcome.means.status;
  step.reason = why(cdb, outcome.means, outcome.result);
  // The target keeps nothing about a command that failed like this.
  if (step.status == NtStatus::invalid_token || step.status == NtStatus::invalid_parameter) {
    step.token_invalid = step.status == NtStatus::invalid_token;
    return step;
  }
  if (outcome.good() && outcome.result.good()) {
    step.blocks = cut.blocks;
    return step;
  }
  if (outcome.good()) {
    step.blocks = blocks_from_sense(outcome.result.sense);
    if (step.blocks > cut.blocks) {
      // DEVIATION: classpnp does not compare, and walks past its range list in kernel memory.
      step.reason = fmt::format("INFORMATION {} is more than the {} blocks asked for; Windows would corrupt memory",
                                step.blocks, cut.blocks);
      step.blocks = 0;
      step.status = NtStatus::unsuccessful;
      return step;
    }
    if (step.blocks != 0) return step;
  }
  const std::size_t ranges = disk_.rod_limits->maximum_range_descriptors;
  const std::size_t largest_list =
      ranges == 0 ? kLargestParameterList : sizeof(WriteUsingTokenHeader) + ranges * sizeof(RangeDescriptor);
  const std::size_t allocation = std::min(std::max(largest_list, kTokenInformationLength), kLargestParameterList);
  TokenInformation information = receive_token_information(list_identifier, static_cast<std::uint32_t>(allocation),
                                                           kWriteUsingTokenRetries, cut.blocks);
  if (information.blocks != 0)
    information.status = NtStatus::success;
  else if (succeeded(information.status))
    information.status = NtStatus::unsuccessful;
  return information;
}

OffloadWriteResult ClassDriver::offload_write(const Token& token, std::uint64_t token_offset,
                                              std::span<const DataSetRange> ranges) {
  OffloadWriteResult result;
  if (auto refusal = refuse(ranges, result.status)) {
    result.reason = *refusal;
    return result;
  }
  result.status = NtStatus::success;
  std::uint64_t total = 0;
  for (const DataSetRange& range : ranges) total += range.length / disk_.block_length;
  const base::TimePoint started = clock_.now();
  std::uint64_t done = 0;
  while (done < total) {
    const RangeCut cut = cut_ranges(ranges, disk_.block_length, done, write_limits());
    TokenInformation step = write_step(token, token_offset / disk_.block_length + done, cut);
    result.token_invalid = result.token_invalid || step.token_invalid;
    if (step.blocks == 0) {
      result.reason = step.reason;
      // Whatever failed: something was written, so the request is a truncated success.
      if (done == 0) result.status = step.status;
      break;
    }
    done += step.blocks;
    if (done < total && clock_.now() - started >= config_.maximum_target_duration) {
      result.reason = "time limit of one offload write reached";
      break;
    }
  }
  result.length_copied = done * disk_.block_length;
  result.range_truncated = done > 0 && done < total;
  return result;
}

}  // namespace host
