#include "host/sense_to_nt_status.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "scsi/sense.h"
#include "scsi/status.h"

namespace host {

namespace {

using namespace std::chrono_literals;

constexpr std::uint8_t kSenseKeyMask = 0x0F;
constexpr std::uint8_t kIncorrectLengthIndicator = 0x20;  // fixed format, byte 2 bit 5
constexpr std::uint8_t kResponseCodeMask = 0x7F;          // byte 0; bit 7 is VALID
/// The sense buffer disk.sys gives the port driver.
constexpr std::size_t kSenseBufferLength = 18;

/// Fixed format sense data (SPC-4 4.5.3), as far as it is read here.
struct FixedSense {
  std::uint8_t response_code;
  std::uint8_t obsolete;
  std::uint8_t flags_and_key;
  base::be32 information;
  std::uint8_t additional_length;
  base::be32 command_specific_information;
  std::uint8_t asc;
  std::uint8_t ascq;
};
static_assert(sizeof(FixedSense) == 14);
static_assert(offsetof(FixedSense, information) == 3 && offsetof(FixedSense, asc) == 12);

/// Descriptor format sense data (SPC-4 4.5.2.1).
struct DescriptorSense {
  std::uint8_t response_code;
  std::uint8_t key;
  std::uint8_t asc;
  std::uint8_t ascq;
  std::array<std::uint8_t, 3> reserved;
  std::uint8_t additional_length;
};
static_assert(sizeof(DescriptorSense) == 8);

constexpr std::uint8_t kInformationDescriptor = 0x00;

struct InformationDescriptor {
  std::uint8_t type;
  std::uint8_t additional_length;
  std::uint8_t valid;
  std::uint8_t reserved;
  base::be64 information;
};
static_assert(sizeof(InformationDescriptor) == 12);

/// One row: a sense key, then how much of the additional sense code it needs. The first row that fits counts.
struct Row {
  std::optional<std::uint8_t> asc;
  std::optional<std::uint8_t> ascq;
  Interpretation means;
};

constexpr std::optional<std::uint8_t> any{};
constexpr bool kRetry = true;

constexpr auto kNoSense = std::to_array<Row>({
    {any, any, {NtStatus::io_device_error, kRetry}},
});
constexpr auto kRecoveredError = std::to_array<Row>({
    {0x5D, any, {NtStatus::success, false, 0s, "failure prediction"}},
    {any, any, {NtStatus::success}},
});
constexpr auto kNotReady = std::to_array<Row>({
    {0x04, 0x00, {NtStatus::device_not_ready}},
    {0x04, 0x01, {NtStatus::device_not_ready, kRetry, 10s}},
    {0x04, 0x03, {NtStatus::no_media_in_device}},
    {0x04, 0x04, {NtStatus::device_not_ready}},
    {0x04, 0x07, {NtStatus::device_not_ready, kRetry, 10s}},
    {0x04, 0x08, {NtStatus::device_not_ready}},
    {0x04, 0x14, {NtStatus::retry, kRetry, 10s}},
    {0x3A, any, {NtStatus::no_media_in_device}},
    {any, any, {NtStatus::device_not_ready, kRetry}},
});
constexpr auto kMediumError = std::to_array<Row>({
    {0x30, 0x01, {NtStatus::unrecognized_media}},
    {0x30, 0x03, {NtStatus::cleaner_cartridge_installed}},
    {any, any, {NtStatus::device_data_error}},
});
constexpr auto kHardwareError = std::to_array<Row>({
    {0x08, 0x03, {NtStatus::device_hardware_error, kRetry, 1s}},
    {any, any, {NtStatus::device_hardware_error, false, 0s, "logged"}},
});
constexpr auto kIllegalRequest = std::to_array<Row>({
    {0x00, 0x16, {NtStatus::operation_in_progress}},
    {0x08, 0x04, {NtStatus::device_unreachable}},
    {0x0D, 0x04, {NtStatus::data_overrun}},
    {0x1A, any, {NtStatus::data_overrun}},
    {0x21, any, {NtStatus::nonexistent_sector}},
    {0x23, any, {NtStatus::invalid_token}},
    {0x24, any, {NtStatus::invalid_initiator_target_path}},
    {0x25, any, {NtStatus::no_such_device}},
    {0x26, 0x04, {NtStatus::invalid_offset_alignment}},
    {0x26, 0x08, {NtStatus::too_many_segment_descriptors}},
    {0x26, any, {NtStatus::invalid_field_in_parameter_list}},
    {0x6F, 0x00, {NtStatus::css_authentication_failure}},
    {0x6F, 0x01, {NtStatus::css_key_not_present}},
    {0x6F, 0x02, {NtStatus::css_key_not_established}},
    {0x6F, 0x03, {NtStatus::css_scrambled_sector}},
    {0x6F, 0x04, {NtStatus::css_region_mismatch}},
    {0x6F, 0x05, {NtStatus::css_resets_exhausted}},
    {0x6F, any, {NtStatus::copy_protection_failure}},
    {any, any, {NtStatus::invalid_device_request}},
});
constexpr auto kUnitAttention = std::to_array<Row>({
    {0x28, any, {NtStatus::io_device_error, kRetry, 0s, "media state update"}},
    {0x2A, 0x09, {NtStatus::io_device_error, kRetry, 1s, "capacity event, READ CAPACITY"}},
    {0x38, 0x07, {NtStatus::io_device_error, kRetry, 0s, "thin provisioning soft threshold event"}},
    {0x38, any, {NtStatus::io_device_error}},
    {0x3F, 0x01, {NtStatus::io_device_error, kRetry, 1s}},
    {0x3F, 0x03, {NtStatus::io_device_error, kRetry, 5s, "provisioning change event, bus rescan"}},
    {0x3F, any, {NtStatus::io_device_error, kRetry, 5s, "bus rescan"}},
    {0x5A, any, {NtStatus::io_device_error, kRetry, 0s, "operator request"}},
    {0x5D, any, {NtStatus::io_device_error, kRetry, 0s, "failure prediction"}},
    {any, any, {NtStatus::io_device_error, kRetry}},
});
constexpr auto kDataProtect = std::to_array<Row>({
    {0x27, 0x07, {NtStatus::disk_resources_exhausted, false, 0s, "disk resources exhausted event"}},
    {0x27, any, {NtStatus::io_device_error}},
    {any, any, {NtStatus::access_denied}},
});
constexpr auto kBlankCheck = std::to_array<Row>({
    {any, any, {NtStatus::no_data_detected}},
});
/// 9h, Ch, Dh, Eh and Fh.
constexpr auto kOtherKey = std::to_array<Row>({
    {any, any, {NtStatus::io_device_error, kRetry}},
});
constexpr auto kCopyAborted = std::to_array<Row>({
    {0x0D, 0x04, {NtStatus::success}},
    {any, any, {NtStatus::io_device_error, kRetry}},
});
constexpr auto kAbortedCommand = std::to_array<Row>({
    {0x0D, 0x04, {NtStatus::success}},
    {0x55, 0x03, {NtStatus::insufficient_resources}},
    {any, any, {NtStatus::io_device_error, kRetry}},
});

std::span<const Row> rows_of(std::uint8_t key) {
  switch (static_cast<scsi::SenseKey>(key)) {
    case scsi::SenseKey::no_sense: return kNoSense;
    case scsi::SenseKey::recovered_error: return kRecoveredError;
    case scsi::SenseKey::not_ready: return kNotReady;
    case scsi::SenseKey::medium_error: return kMediumError;
    case scsi::SenseKey::hardware_error: return kHardwareError;
    case scsi::SenseKey::illegal_request: return kIllegalRequest;
    case scsi::SenseKey::unit_attention: return kUnitAttention;
    case scsi::SenseKey::data_protect: return kDataProtect;
    case scsi::SenseKey::blank_check: return kBlankCheck;
    case scsi::SenseKey::copy_aborted: return kCopyAborted;
    case scsi::SenseKey::aborted_command: return kAbortedCommand;
    default: return kOtherKey;
  }
}

std::optional<SenseView> read_fixed(base::Bytes sense) {
  // A sense key is enough; codes cut off are read as 00h.
  if (sense.size() <= offsetof(FixedSense, flags_and_key)) return std::nullopt;
  std::array<std::uint8_t, sizeof(FixedSense)> padded{};
  std::ranges::copy(sense.first(std::min(sense.size(), padded.size())), padded.begin());
  const auto fixed = base::load<FixedSense>(padded);
  SenseView view;
  view.key = fixed.flags_and_key & kSenseKeyMask;
  view.incorrect_length_indicator = (fixed.flags_and_key & kIncorrectLengthIndicator) != 0;
  view.asc = fixed.asc;
  view.ascq = fixed.ascq;
  if (sense.size() >= offsetof(FixedSense, additional_length)) view.information = fixed.information.value();
  return view;
}

std::optional<SenseView> read_descriptor(base::Bytes sense) {
  base::ByteReader reader(sense);
  const auto header = reader.layout<DescriptorSense>();
  if (!reader.ok()) return std::nullopt;
  SenseView view;
  view.key = header.key & kSenseKeyMask;
  view.asc = header.asc;
  view.ascq = header.ascq;
  while (reader.remaining() >= sizeof(InformationDescriptor)) {
    base::Bytes rest = sense.subspan(reader.position());
    const auto descriptor = base::load<InformationDescriptor>(rest);
    if (descriptor.type == kInformationDescriptor) {
      view.information = descriptor.information.value();
      break;
    }
    reader.skip(offsetof(InformationDescriptor, valid) + descriptor.additional_length);
  }
  return view;
}

}  // namespace

std::optional<SenseView> read_sense(base::Bytes sense) {
  sense = sense.first(std::min(sense.size(), kSenseBufferLength));
  if (sense.empty()) return std::nullopt;
  constexpr std::uint8_t kFixedCurrent = 0x70, kFixedDeferred = 0x71, kDescriptorCurrent = 0x72,
                         kDescriptorDeferred = 0x73;
  switch (sense.front() & kResponseCodeMask) {
    case kFixedCurrent:
    case kFixedDeferred: return read_fixed(sense);
    case kDescriptorCurrent:
    case kDescriptorDeferred: return read_descriptor(sense);
    default: return std::nullopt;
  }
}

Interpretation sense_to_nt_status(std::uint8_t key, std::uint8_t asc, std::uint8_t ascq, bool ili) {
  key &= kSenseKeyMask;
  if (key == static_cast<std::uint8_t>(scsi::SenseKey::no_sense) && ili) return {NtStatus::invalid_block_length};
  for (const Row& row : rows_of(key))
    if ((!row.asc || *row.asc == asc) && (!row.ascq || *row.ascq == ascq)) return row.means;
  return {NtStatus::io_device_error, kRetry};  // every key has a row that fits all
}

namespace {

bool is_offload(CommandKind kind) {
  return kind == CommandKind::token_operation || kind == CommandKind::receive_token_information;
}

bool may_be_short(CommandKind kind) {
  return kind == CommandKind::receive_token_information || kind == CommandKind::query;
}

Interpretation interpret_sense(const SenseView& sense, CommandKind kind) {
  constexpr std::uint8_t kLbaOutOfRange = 0x21, kLogicalUnitNotSupported = 0x25, kWriteProtected = 0x27,
                         kSpaceAllocationFailed = 0x07;
  const auto key = static_cast<scsi::SenseKey>(sense.key);
  if (!is_offload(kind)) {
    if (key == scsi::SenseKey::illegal_request && sense.asc != kLbaOutOfRange && sense.asc != kLogicalUnitNotSupported)
      return {NtStatus::invalid_device_request};
    if (key == scsi::SenseKey::data_protect && sense.asc == kWriteProtected && sense.ascq != kSpaceAllocationFailed)
      return {NtStatus::media_write_protected};
  }
  return sense_to_nt_status(sense.key, sense.asc, sense.ascq, sense.incorrect_length_indicator);
}

}  // namespace

Interpretation interpret(const initiator::Result& result, CommandKind kind) {
  using initiator::Transport;
  switch (result.transport) {
    case Transport::delivered: break;
    case Transport::timed_out:
    case Transport::aborted: return {NtStatus::io_timeout, kRetry, 1s};
    // Nobody answers at the address: storport's selection time-out.
    case Transport::connection_lost: return {NtStatus::device_not_connected};
  }
  switch (static_cast<scsi::Status>(result.status)) {
    case scsi::Status::good:
      if (result.residual == initiator::Result::Residual::none || may_be_short(kind)) return {NtStatus::success};
      return {NtStatus::data_overrun};
    case scsi::Status::check_condition:
      if (auto sense = read_sense(result.sense)) return interpret_sense(*sense, kind);
      return {NtStatus::io_device_error, kRetry};
    case scsi::Status::reservation_conflict: return {NtStatus::device_busy};
    case scsi::Status::busy: return {NtStatus::device_not_ready, kRetry, 0s, "bus reset"};
    default: return {NtStatus::io_device_error, kRetry};
  }
}

}  // namespace host
