#include "scsi/sense.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "base/bytes.h"

namespace scsi {
namespace {

constexpr std::uint8_t kResponseCodeMask = 0x7F;
constexpr std::uint8_t kFixedCurrent = 0x70;
constexpr std::uint8_t kFixedDeferred = 0x71;
constexpr std::uint8_t kDescriptorCurrent = 0x72;
constexpr std::uint8_t kDescriptorDeferred = 0x73;
constexpr std::uint8_t kValid = 0x80;
constexpr std::uint8_t kSenseKeyMask = 0x0F;

// Sense-key specific bytes of ILLEGAL REQUEST (SPC-4 4.5.2.4.2) and COPY ABORTED (4.5.2.4.5).
constexpr std::uint8_t kSksv = 0x80;
constexpr std::uint8_t kCommandData = 0x40;
constexpr std::uint8_t kSegmentDescriptor = 0x20;
constexpr std::uint8_t kBitPointerValid = 0x08;
constexpr std::uint8_t kBitPointerMask = 0x07;

/// The sense-key specific bytes: a field pointer, or a progress indication.
struct FieldPointerBytes {
  std::uint8_t flags = 0;
  base::be16 field_pointer{};
};

/// COMMAND-SPECIFIC INFORMATION of EXTENDED COPY in fixed format (SPC-4 5.17.7.4): where the forwarded sense data
/// starts, counted from the first byte of the sense data, 0 when there is none.
struct CopyCommandSpecific {
  std::uint8_t source_sense_offset = 0;
  std::uint8_t destination_sense_offset = 0;
  base::be16 segment{};
};

/// SPC-4 4.5.3, table 51.
struct FixedSenseData {
  std::uint8_t response_code = kFixedCurrent;
  std::uint8_t obsolete = 0;
  std::uint8_t sense_key = 0;
  base::be32 information{};
  std::uint8_t additional_sense_length = 0;
  CopyCommandSpecific command_specific_information{};
  base::be16 additional_sense{};
  std::uint8_t field_replaceable_unit_code = 0;
  FieldPointerBytes sense_key_specific{};
};
static_assert(sizeof(FixedSenseData) == 18);
static_assert(offsetof(FixedSenseData, command_specific_information) == 8);
static_assert(offsetof(FixedSenseData, additional_sense) == 12);
static_assert(offsetof(FixedSenseData, sense_key_specific) == 15);

/// SPC-4 4.5.2.1, table 28.
struct DescriptorSenseHeader {
  std::uint8_t response_code = kDescriptorCurrent;
  std::uint8_t sense_key = 0;
  base::be16 additional_sense{};
  std::array<std::uint8_t, 3> reserved{};
  std::uint8_t additional_sense_length = 0;
};
static_assert(sizeof(DescriptorSenseHeader) == 8);

struct DescriptorPrefix {
  std::uint8_t type = 0;
  std::uint8_t additional_length = 0;
};

constexpr std::uint8_t kInformationDescriptor = 0x00;
constexpr std::uint8_t kCommandSpecificDescriptor = 0x01;
constexpr std::uint8_t kSenseKeySpecificDescriptor = 0x02;
constexpr std::uint8_t kForwardedSenseDescriptor = 0x0C;

/// SPC-4 4.5.2.2.
struct InformationDescriptor {
  DescriptorPrefix prefix{kInformationDescriptor, 0x0A};
  std::uint8_t flags = kValid;
  std::uint8_t reserved = 0;
  base::be64 information{};
};
static_assert(sizeof(InformationDescriptor) == 12);

/// SPC-4 4.5.2.3. EXTENDED COPY's segment number stands at the right end.
struct CommandSpecificDescriptor {
  DescriptorPrefix prefix{kCommandSpecificDescriptor, 0x0A};
  base::be16 reserved{};
  base::be64 information{};
};
static_assert(sizeof(CommandSpecificDescriptor) == 12);

/// SPC-4 4.5.2.6, before the sense data.
struct ForwardedSenseDescriptor {
  DescriptorPrefix prefix{kForwardedSenseDescriptor, 2};
  std::uint8_t source = 0;
  std::uint8_t status = 0;
};
static_assert(sizeof(ForwardedSenseDescriptor) == 4);
constexpr std::uint8_t kForwardedTruncated = 0x80;  ///< FSDT
constexpr std::uint8_t kForwardedSourceMask = 0x0F;

/// SPC-4 4.5.2.4.1.
struct SenseKeySpecificDescriptor {
  DescriptorPrefix prefix{kSenseKeySpecificDescriptor, 0x06};
  base::be16 reserved{};
  FieldPointerBytes sense_key_specific{};
  std::uint8_t reserved7 = 0;
};
static_assert(sizeof(SenseKeySpecificDescriptor) == 8);

/// Sense keys whose sense-key specific bytes are a PROGRESS INDICATION (SPC-4 4.5.2.4.4).
bool tells_progress(SenseKey key) { return key == SenseKey::not_ready || key == SenseKey::no_sense; }

std::optional<FieldPointerBytes> encode_sense_key_specific(const Sense& sense) {
  if (sense.progress && tells_progress(sense.key)) return FieldPointerBytes{kSksv, *sense.progress};
  if (!sense.field) return {};
  FieldPointerBytes bytes{kSksv, sense.field->byte};
  if (sense.key == SenseKey::illegal_request) {
    if (sense.field->in_cdb) bytes.flags |= kCommandData;
  } else if (sense.key == SenseKey::copy_aborted) {
    if (sense.field->in_segment) bytes.flags |= kSegmentDescriptor;
  } else {
    return {};
  }
  if (sense.field->bit) bytes.flags |= kBitPointerValid | (*sense.field->bit & kBitPointerMask);
  return bytes;
}

void decode_sense_key_specific(Sense& sense, const FieldPointerBytes& bytes) {
  if (!(bytes.flags & kSksv)) return;
  FieldPointer pointer{false, bytes.field_pointer, {}};
  if (sense.key == SenseKey::illegal_request) {
    pointer.in_cdb = (bytes.flags & kCommandData) != 0;
  } else if (sense.key == SenseKey::copy_aborted) {
    pointer.in_segment = (bytes.flags & kSegmentDescriptor) != 0;
  } else {
    if (tells_progress(sense.key)) sense.progress = bytes.field_pointer.value();
    return;
  }
  if (bytes.flags & kBitPointerValid) pointer.bit = bytes.flags & kBitPointerMask;
  sense.field = pointer;
}

/// Whether COMMAND-SPECIFIC INFORMATION is EXTENDED COPY's.
bool copy_specific(SenseKey key) { return key == SenseKey::copy_aborted || key == SenseKey::completed; }

/// The part of a layout that `bytes` has; the rest zero (SPC-4 4.5.1: sense data may be cut).
template <base::WireLayout T>
T load_prefix(base::Bytes bytes) {
  std::array<std::uint8_t, sizeof(T)> padded{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), padded.size()), padded.begin());
  return base::load<T>(padded);
}

/// What the sense data at `offset` (its status byte first) says, cut at `end`; nothing where there is none.
std::optional<ForwardedSense> decode_forwarded(ForwardedSense::From from, base::Bytes bytes, std::size_t offset,
                                               std::size_t end) {
  if (offset < sizeof(FixedSenseData) || offset >= end) return {};
  base::Bytes sense = bytes.first(end).subspan(offset + 1);
  return ForwardedSense{from, static_cast<Status>(bytes[offset]), {sense.begin(), sense.end()}};
}

void decode_copy_specific(Sense& sense, const CopyCommandSpecific& specific, base::Bytes bytes) {
  if (!copy_specific(sense.key)) return;
  if (specific.segment != 0) sense.segment = specific.segment;
  std::size_t source = specific.source_sense_offset;
  std::size_t destination = specific.destination_sense_offset;
  std::size_t size = bytes.size();
  using enum ForwardedSense::From;
  if (auto forwarded =
          decode_forwarded(copy_source, bytes, source, destination > source ? std::min(destination, size) : size))
    sense.forwarded.push_back(std::move(*forwarded));
  if (auto forwarded =
          decode_forwarded(copy_destination, bytes, destination, source > destination ? std::min(source, size) : size))
    sense.forwarded.push_back(std::move(*forwarded));
}

std::optional<Sense> decode_fixed(base::Bytes bytes) {
  if (bytes.size() < offsetof(FixedSenseData, additional_sense) + sizeof(base::be16)) return {};
  auto data = load_prefix<FixedSenseData>(bytes);
  Sense sense{static_cast<SenseKey>(data.sense_key & kSenseKeyMask),
              static_cast<AdditionalSense>(data.additional_sense.value())};
  if (data.response_code & kValid) sense.information = data.information.value();
  decode_sense_key_specific(sense, data.sense_key_specific);
  decode_copy_specific(sense, data.command_specific_information, bytes);
  return sense;
}

void decode_one_descriptor(Sense& sense, base::Bytes whole) {
  switch (whole.front()) {
    case kInformationDescriptor: {
      auto information = load_prefix<InformationDescriptor>(whole);
      if (information.flags & kValid) sense.information = information.information.value();
      break;
    }
    case kCommandSpecificDescriptor:
      if (copy_specific(sense.key))
        sense.segment = static_cast<std::uint16_t>(load_prefix<CommandSpecificDescriptor>(whole).information);
      break;
    case kSenseKeySpecificDescriptor:
      decode_sense_key_specific(sense, load_prefix<SenseKeySpecificDescriptor>(whole).sense_key_specific);
      break;
    case kForwardedSenseDescriptor: {
      auto forwarded = load_prefix<ForwardedSenseDescriptor>(whole);
      base::Bytes data = whole.subspan(std::min(whole.size(), sizeof forwarded));
      sense.forwarded.push_back({static_cast<ForwardedSense::From>(forwarded.source & kForwardedSourceMask),
                                 static_cast<Status>(forwarded.status),
                                 {data.begin(), data.end()}});
      break;
    }
    default: break;
  }
}

std::optional<Sense> decode_descriptor(base::Bytes bytes) {
  if (bytes.size() < offsetof(DescriptorSenseHeader, reserved)) return {};
  auto header = load_prefix<DescriptorSenseHeader>(bytes);
  Sense sense{static_cast<SenseKey>(header.sense_key & kSenseKeyMask),
              static_cast<AdditionalSense>(header.additional_sense.value())};
  std::size_t at = std::min(bytes.size(), sizeof header);
  while (bytes.size() - at >= sizeof(DescriptorPrefix)) {
    auto prefix = base::load<DescriptorPrefix>(bytes.subspan(at));
    std::size_t length = std::min(bytes.size() - at, sizeof prefix + prefix.additional_length);
    decode_one_descriptor(sense, bytes.subspan(at, length));
    at += length;
  }
  return sense;
}

std::string_view key_name(SenseKey key) {
  switch (key) {
    case SenseKey::no_sense: return "NO SENSE";
    case SenseKey::recovered_error: return "RECOVERED ERROR";
    case SenseKey::not_ready: return "NOT READY";
    case SenseKey::medium_error: return "MEDIUM ERROR";
    case SenseKey::hardware_error: return "HARDWARE ERROR";
    case SenseKey::illegal_request: return "ILLEGAL REQUEST";
    case SenseKey::unit_attention: return "UNIT ATTENTION";
    case SenseKey::data_protect: return "DATA PROTECT";
    case SenseKey::blank_check: return "BLANK CHECK";
    case SenseKey::copy_aborted: return "COPY ABORTED";
    case SenseKey::aborted_command: return "ABORTED COMMAND";
    case SenseKey::volume_overflow: return "VOLUME OVERFLOW";
    case SenseKey::miscompare: return "MISCOMPARE";
    case SenseKey::completed: return "COMPLETED";
  }
  return "RESERVED";
}

using enum AdditionalSense;
struct CodeName {
  AdditionalSense code;
  std::string_view name;
};
/// SPC-4 annex F.
constexpr CodeName kCodeNames[] = {
    {none, "NO ADDITIONAL SENSE INFORMATION"},
    {operation_in_progress, "OPERATION IN PROGRESS"},
    {extended_copy_information_available, "EXTENDED COPY INFORMATION AVAILABLE"},
    {logical_unit_not_ready_cause_not_reportable, "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE"},
    {logical_unit_not_ready_initializing_command_required, "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED"},
    {logical_unit_not_ready_format_in_progress, "LOGICAL UNIT NOT READY, FORMAT IN PROGRESS"},
    {logical_unit_not_accessible_asymmetric_access_state_transition,
     "LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION"},
    {logical_unit_not_accessible_target_port_in_standby_state,
     "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE"},
    {logical_unit_not_accessible_target_port_in_unavailable_state,
     "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE"},
    {logical_unit_not_ready_sanitize_in_progress, "LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS"},
    {unreachable_copy_target, "UNREACHABLE COPY TARGET"},
    {write_error, "WRITE ERROR"},
    {unexpected_unsolicited_data, "WRITE ERROR - UNEXPECTED UNSOLICITED DATA"},
    {not_enough_unsolicited_data, "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA"},
    {error_detected_by_third_party_temporary_initiator, "ERROR DETECTED BY THIRD PARTY TEMPORARY INITIATOR"},
    {third_party_device_failure, "THIRD PARTY DEVICE FAILURE"},
    {copy_target_device_not_reachable, "COPY TARGET DEVICE NOT REACHABLE"},
    {incorrect_copy_target_device_type, "INCORRECT COPY TARGET DEVICE TYPE"},
    {copy_target_device_data_underrun, "COPY TARGET DEVICE DATA UNDERRUN"},
    {copy_target_device_data_overrun, "COPY TARGET DEVICE DATA OVERRUN"},
    {invalid_field_in_command_information_unit, "INVALID FIELD IN COMMAND INFORMATION UNIT"},
    {unrecovered_read_error, "UNRECOVERED READ ERROR"},
    {parameter_list_length_error, "PARAMETER LIST LENGTH ERROR"},
    {miscompare_during_verify_operation, "MISCOMPARE DURING VERIFY OPERATION"},
    {invalid_command_operation_code, "INVALID COMMAND OPERATION CODE"},
    {logical_block_address_out_of_range, "LOGICAL BLOCK ADDRESS OUT OF RANGE"},
    {invalid_token_operation_cause_not_reportable, "INVALID TOKEN OPERATION, CAUSE NOT REPORTABLE"},
    {invalid_token_operation_unsupported_token_type, "INVALID TOKEN OPERATION, UNSUPPORTED TOKEN TYPE"},
    {invalid_token_operation_remote_token_usage_not_supported,
     "INVALID TOKEN OPERATION, REMOTE TOKEN USAGE NOT SUPPORTED"},
    {invalid_token_operation_remote_rod_token_creation_not_supported,
     "INVALID TOKEN OPERATION, REMOTE ROD TOKEN CREATION NOT SUPPORTED"},
    {invalid_token_operation_token_unknown, "INVALID TOKEN OPERATION, TOKEN UNKNOWN"},
    {invalid_token_operation_token_corrupt, "INVALID TOKEN OPERATION, TOKEN CORRUPT"},
    {invalid_token_operation_token_revoked, "INVALID TOKEN OPERATION, TOKEN REVOKED"},
    {invalid_token_operation_token_expired, "INVALID TOKEN OPERATION, TOKEN EXPIRED"},
    {invalid_token_operation_token_cancelled, "INVALID TOKEN OPERATION, TOKEN CANCELLED"},
    {invalid_token_operation_token_deleted, "INVALID TOKEN OPERATION, TOKEN DELETED"},
    {invalid_token_operation_invalid_token_length, "INVALID TOKEN OPERATION, INVALID TOKEN LENGTH"},
    {invalid_field_in_cdb, "INVALID FIELD IN CDB"},
    {logical_unit_not_supported, "LOGICAL UNIT NOT SUPPORTED"},
    {invalid_field_in_parameter_list, "INVALID FIELD IN PARAMETER LIST"},
    {parameter_value_invalid, "PARAMETER VALUE INVALID"},
    {invalid_release_of_persistent_reservation,
     "INVALID RELEASE OF PERSISTENT RESERVATION (Windows: ALIGNMENT VIOLATION)"},
    {too_many_target_descriptors, "TOO MANY TARGET DESCRIPTORS"},
    {unsupported_target_descriptor_type_code, "UNSUPPORTED TARGET DESCRIPTOR TYPE CODE"},
    {too_many_segment_descriptors, "TOO MANY SEGMENT DESCRIPTORS"},
    {unsupported_segment_descriptor_type_code, "UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE"},
    {unexpected_inexact_segment, "UNEXPECTED INEXACT SEGMENT"},
    {inline_data_length_exceeded, "INLINE DATA LENGTH EXCEEDED"},
    {invalid_operation_for_copy_source_or_destination, "INVALID OPERATION FOR COPY SOURCE OR DESTINATION"},
    {copy_segment_granularity_violation, "COPY SEGMENT GRANULARITY VIOLATION"},
    {copy_source_or_copy_destination_not_authorized, "COPY SOURCE OR COPY DESTINATION NOT AUTHORIZED"},
    {fast_copy_not_possible, "FAST COPY NOT POSSIBLE"},
    {write_protected, "WRITE PROTECTED"},
    {logical_unit_software_write_protected, "LOGICAL UNIT SOFTWARE WRITE PROTECTED"},
    {space_allocation_failed_write_protect, "SPACE ALLOCATION FAILED WRITE PROTECT"},
    {not_ready_to_ready_change_medium_may_have_changed, "NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED"},
    {power_on_reset_or_bus_device_reset_occurred, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED"},
    {power_on_occurred, "POWER ON OCCURRED"},
    {bus_device_reset_function_occurred, "BUS DEVICE RESET FUNCTION OCCURRED"},
    {i_t_nexus_loss_occurred, "I_T NEXUS LOSS OCCURRED"},
    {mode_parameters_changed, "MODE PARAMETERS CHANGED"},
    {log_parameters_changed, "LOG PARAMETERS CHANGED"},
    {reservations_preempted, "RESERVATIONS PREEMPTED"},
    {reservations_released, "RESERVATIONS RELEASED"},
    {registrations_preempted, "REGISTRATIONS PREEMPTED"},
    {asymmetric_access_state_changed, "ASYMMETRIC ACCESS STATE CHANGED"},
    {capacity_data_has_changed, "CAPACITY DATA HAS CHANGED"},
    {commands_cleared_by_another_initiator, "COMMANDS CLEARED BY ANOTHER INITIATOR"},
    {commands_cleared_by_device_server, "COMMANDS CLEARED BY DEVICE SERVER"},
    {medium_format_corrupted, "MEDIUM FORMAT CORRUPTED"},
    {format_command_failed, "FORMAT COMMAND FAILED"},
    {sanitize_command_failed, "SANITIZE COMMAND FAILED"},
    {thin_provisioning_soft_threshold_reached, "THIN PROVISIONING SOFT THRESHOLD REACHED"},
    {saving_parameters_not_supported, "SAVING PARAMETERS NOT SUPPORTED"},
    {medium_not_present, "MEDIUM NOT PRESENT"},
    {logical_unit_failed_self_test, "LOGICAL UNIT FAILED SELF-TEST"},
    {inquiry_data_has_changed, "INQUIRY DATA HAS CHANGED"},
    {device_identifier_changed, "DEVICE IDENTIFIER CHANGED"},
    {reported_luns_data_has_changed, "REPORTED LUNS DATA HAS CHANGED"},
    {internal_target_failure, "INTERNAL TARGET FAILURE"},
    {protocol_service_crc_error, "PROTOCOL SERVICE CRC ERROR"},
    {commands_cleared_by_iscsi_event, "SOME COMMANDS CLEARED BY ISCSI PROTOCOL EVENT"},
    {data_phase_error, "DATA PHASE ERROR"},
    {medium_removal_prevented, "MEDIUM REMOVAL PREVENTED"},
    {insufficient_resources, "INSUFFICIENT RESOURCES"},
    {insufficient_registration_resources, "INSUFFICIENT REGISTRATION RESOURCES"},
    {insufficient_resources_to_create_rod, "INSUFFICIENT RESOURCES TO CREATE ROD"},
    {insufficient_resources_to_create_rod_token, "INSUFFICIENT RESOURCES TO CREATE ROD TOKEN"},
    {set_target_port_groups_command_failed, "SET TARGET PORT GROUPS COMMAND FAILED"},
};

/// What each piece of forwarded sense data may have, when `before` bytes stand before them and each has `overhead`.
std::size_t room_for_forwarded(const Sense& sense, std::size_t before, std::size_t overhead) {
  return (kMaximumSenseLength - before) / sense.forwarded.size() - overhead;
}

}  // namespace

std::vector<std::uint8_t> encode_fixed(const Sense& sense) {
  FixedSenseData data;
  data.sense_key = static_cast<std::uint8_t>(sense.key);
  data.additional_sense = static_cast<std::uint16_t>(sense.code);
  if (sense.information && *sense.information <= std::numeric_limits<std::uint32_t>::max()) {
    data.response_code |= kValid;
    data.information = static_cast<std::uint32_t>(*sense.information);
  }
  if (auto pointer = encode_sense_key_specific(sense)) data.sense_key_specific = *pointer;
  CopyCommandSpecific& specific = data.command_specific_information;
  specific.segment = sense.segment.value_or(0);

  std::vector<std::uint8_t> out(sizeof data);
  for (const ForwardedSense& forwarded : sense.forwarded) {
    bool source = forwarded.from == ForwardedSense::From::copy_source;
    (source ? specific.source_sense_offset : specific.destination_sense_offset) = static_cast<std::uint8_t>(out.size());
    out.push_back(static_cast<std::uint8_t>(forwarded.status));
    std::size_t length = std::min(forwarded.sense.size(), room_for_forwarded(sense, sizeof data, 1));
    out.insert(out.end(), forwarded.sense.begin(), forwarded.sense.begin() + static_cast<std::ptrdiff_t>(length));
  }
  data.additional_sense_length = static_cast<std::uint8_t>(
      out.size() - offsetof(FixedSenseData, additional_sense_length) - sizeof data.additional_sense_length);
  base::store(out, data);
  return out;
}

std::vector<std::uint8_t> encode_descriptor(const Sense& sense) {
  std::vector<std::uint8_t> out;
  base::ByteWriter writer(out);
  DescriptorSenseHeader header;
  header.sense_key = static_cast<std::uint8_t>(sense.key);
  header.additional_sense = static_cast<std::uint16_t>(sense.code);
  writer.layout(header);
  if (sense.information) {
    InformationDescriptor information;
    information.information = *sense.information;
    writer.layout(information);
  }
  if (sense.segment) {
    CommandSpecificDescriptor specific;
    specific.information = *sense.segment;
    writer.layout(specific);
  }
  if (auto pointer = encode_sense_key_specific(sense)) {
    SenseKeySpecificDescriptor specific;
    specific.sense_key_specific = *pointer;
    writer.layout(specific);
  }
  std::size_t before = out.size();
  for (const ForwardedSense& forwarded : sense.forwarded) {
    std::size_t length =
        std::min(forwarded.sense.size(), room_for_forwarded(sense, before, sizeof(ForwardedSenseDescriptor)));
    ForwardedSenseDescriptor descriptor;
    descriptor.prefix.additional_length =
        static_cast<std::uint8_t>(sizeof descriptor - sizeof descriptor.prefix + length);
    descriptor.source = static_cast<std::uint8_t>(forwarded.from);
    if (length < forwarded.sense.size()) descriptor.source |= kForwardedTruncated;
    descriptor.status = static_cast<std::uint8_t>(forwarded.status);
    writer.layout(descriptor);
    writer.bytes(base::Bytes(forwarded.sense).first(length));
  }
  header.additional_sense_length = static_cast<std::uint8_t>(out.size() - sizeof header);
  base::store(out, header);
  return out;
}

std::optional<Sense> decode(const std::vector<std::uint8_t>& bytes) {
  if (bytes.empty()) return {};
  switch (bytes.front() & kResponseCodeMask) {
    case kFixedCurrent:
    case kFixedDeferred: return decode_fixed(bytes);
    case kDescriptorCurrent:
    case kDescriptorDeferred: return decode_descriptor(bytes);
    default: return {};
  }
}

std::string describe(const Sense& sense) {
  auto found = std::ranges::find(kCodeNames, sense.code, &CodeName::code);
  if (found != std::end(kCodeNames)) return fmt::format("{}, {}", key_name(sense.key), found->name);
  return fmt::format("{}, {:02X}h/{:02X}h", key_name(sense.key), sense.asc(), sense.ascq());
}

std::string code_text(const Sense& sense) {
  return fmt::format("{:02X}/{:02X}/{:02X}", static_cast<unsigned>(sense.key), sense.asc(), sense.ascq());
}

}  // namespace scsi
