// Sense data: what a command body fails with, and how it looks on the wire (SPC-4 4.5).
//
// A field pointer is never a literal: it comes from offsetof on the layout that was parsed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scsi/status.h"

namespace scsi {

/// SPC-4 table 43.
enum class SenseKey : std::uint8_t {
  no_sense = 0x0,
  recovered_error = 0x1,
  not_ready = 0x2,
  medium_error = 0x3,
  hardware_error = 0x4,
  illegal_request = 0x5,
  unit_attention = 0x6,
  data_protect = 0x7,
  blank_check = 0x8,
  copy_aborted = 0xA,
  aborted_command = 0xB,
  volume_overflow = 0xD,
  miscompare = 0xE,
  completed = 0xF,
};

/// ASC in the high byte, ASCQ in the low one, named as T10 names them (SPC-4 annex F).
enum class AdditionalSense : std::uint16_t {
  none = 0x0000,
  operation_in_progress = 0x0016,
  extended_copy_information_available = 0x0020,
  logical_unit_not_ready_cause_not_reportable = 0x0400,
  logical_unit_not_ready_initializing_command_required = 0x0402,
  logical_unit_not_ready_format_in_progress = 0x0404,
  logical_unit_not_accessible_asymmetric_access_state_transition = 0x040A,
  logical_unit_not_accessible_target_port_in_standby_state = 0x040B,
  logical_unit_not_accessible_target_port_in_unavailable_state = 0x040C,
  logical_unit_not_ready_sanitize_in_progress = 0x041B,
  unreachable_copy_target = 0x0804,
  write_error = 0x0C00,
  unexpected_unsolicited_data = 0x0C0C,
  not_enough_unsolicited_data = 0x0C0D,
  error_detected_by_third_party_temporary_initiator = 0x0D00,
  third_party_device_failure = 0x0D01,
  copy_target_device_not_reachable = 0x0D02,
  incorrect_copy_target_device_type = 0x0D03,
  copy_target_device_data_underrun = 0x0D04,
  copy_target_device_data_overrun = 0x0D05,
  invalid_field_in_command_information_unit = 0x0E03,
  unrecovered_read_error = 0x1100,
  parameter_list_length_error = 0x1A00,
  miscompare_during_verify_operation = 0x1D00,
  invalid_command_operation_code = 0x2000,
  logical_block_address_out_of_range = 0x2100,
  invalid_token_operation_cause_not_reportable = 0x2300,
  invalid_token_operation_unsupported_token_type = 0x2301,
  invalid_token_operation_remote_token_usage_not_supported = 0x2302,
  invalid_token_operation_remote_rod_token_creation_not_supported = 0x2303,
  invalid_token_operation_token_unknown = 0x2304,
  invalid_token_operation_token_corrupt = 0x2305,
  invalid_token_operation_token_revoked = 0x2306,
  invalid_token_operation_token_expired = 0x2307,
  invalid_token_operation_token_cancelled = 0x2308,
  invalid_token_operation_token_deleted = 0x2309,
  invalid_token_operation_invalid_token_length = 0x230A,
  invalid_field_in_cdb = 0x2400,
  logical_unit_not_supported = 0x2500,
  invalid_field_in_parameter_list = 0x2600,
  parameter_value_invalid = 0x2602,
  invalid_release_of_persistent_reservation = 0x2604,
  alignment_violation = invalid_release_of_persistent_reservation,  ///< WINDOWS: what it is taken for
  too_many_target_descriptors = 0x2606,
  unsupported_target_descriptor_type_code = 0x2607,
  too_many_segment_descriptors = 0x2608,
  unsupported_segment_descriptor_type_code = 0x2609,
  unexpected_inexact_segment = 0x260A,
  inline_data_length_exceeded = 0x260B,
  invalid_operation_for_copy_source_or_destination = 0x260C,
  copy_segment_granularity_violation = 0x260D,
  copy_source_or_copy_destination_not_authorized = 0x2615,
  fast_copy_not_possible = 0x2616,
  write_protected = 0x2700,
  logical_unit_software_write_protected = 0x2702,
  space_allocation_failed_write_protect = 0x2707,
  not_ready_to_ready_change_medium_may_have_changed = 0x2800,
  power_on_reset_or_bus_device_reset_occurred = 0x2900,
  power_on_occurred = 0x2901,
  bus_device_reset_function_occurred = 0x2903,
  i_t_nexus_loss_occurred = 0x2907,
  mode_parameters_changed = 0x2A01,
  log_parameters_changed = 0x2A02,
  reservations_preempted = 0x2A03,
  reservations_released = 0x2A04,
  registrations_preempted = 0x2A05,
  asymmetric_access_state_changed = 0x2A06,
  capacity_data_has_changed = 0x2A09,
  commands_cleared_by_another_initiator = 0x2F00,
  commands_cleared_by_device_server = 0x2F02,
  medium_format_corrupted = 0x3100,
  format_command_failed = 0x3101,
  sanitize_command_failed = 0x3103,
  thin_provisioning_soft_threshold_reached = 0x3807,
  saving_parameters_not_supported = 0x3900,
  medium_not_present = 0x3A00,
  logical_unit_failed_self_test = 0x3E03,
  inquiry_data_has_changed = 0x3F03,
  device_identifier_changed = 0x3F05,
  reported_luns_data_has_changed = 0x3F0E,
  internal_target_failure = 0x4400,
  protocol_service_crc_error = 0x4705,
  commands_cleared_by_iscsi_event = 0x477F,
  data_phase_error = 0x4B00,
  medium_removal_prevented = 0x5302,
  insufficient_resources = 0x5503,
  insufficient_registration_resources = 0x5504,
  insufficient_resources_to_create_rod = 0x550C,
  insufficient_resources_to_create_rod_token = 0x550D,
  set_target_port_groups_command_failed = 0x670A,
};

/// Sense-key specific data of ILLEGAL REQUEST (SPC-4 4.5.2.4.2) and COPY ABORTED (4.5.2.4.5).
struct FieldPointer {
  bool in_cdb = true;                 ///< C/D: in the CDB, or in the data-out buffer
  std::uint16_t byte = 0;             ///< offset of the (first byte of the) field
  std::optional<std::uint8_t> bit{};  ///< most significant bit of the field in that byte
  bool in_segment = false;            ///< SD, COPY ABORTED only: `byte` counts from the segment descriptor's start
  bool operator==(const FieldPointer&) const = default;

  static FieldPointer cdb(std::size_t byte, std::optional<std::uint8_t> bit = {}) {
    return {true, static_cast<std::uint16_t>(byte), bit};
  }
  static FieldPointer list(std::size_t byte, std::optional<std::uint8_t> bit = {}) {
    return {false, static_cast<std::uint16_t>(byte), bit};
  }
  static FieldPointer segment(std::size_t byte, std::optional<std::uint8_t> bit = {}) {
    return {false, static_cast<std::uint16_t>(byte), bit, true};
  }
};

/// What a copy source or copy destination answered a copy manager with (SPC-4 4.5.2.6, 5.17.7.4).
struct ForwardedSense {
  enum class From : std::uint8_t { copy_source = 1, copy_destination = 2 };  ///< SENSE DATA SOURCE
  From from = From::copy_source;
  Status status = Status::check_condition;
  std::vector<std::uint8_t> sense{};  ///< encoded, either format
  bool operator==(const ForwardedSense&) const = default;
};

struct Sense {
  SenseKey key = SenseKey::no_sense;
  AdditionalSense code = AdditionalSense::none;
  std::optional<std::uint64_t> information{};  ///< VALID and INFORMATION
  std::optional<FieldPointer> field{};
  /// For the log: the rule that was broken and the values. Not sent, not compared.
  std::string rule{};
  /// COMMAND-SPECIFIC INFORMATION of EXTENDED COPY: the segment being processed, from 0 (SPC-4 5.17.7.4), or with key
  /// COMPLETED the segments processed. Fixed format cannot tell 0 from absent, so they are equal.
  std::optional<std::uint16_t> segment{};
  std::vector<ForwardedSense> forwarded{};  ///< COPY ABORTED by EXTENDED COPY: one for each source, at most
  /// PROGRESS INDICATION of NOT READY and NO SENSE, in 65536ths (SPC-4 4.5.2.4.4).
  std::optional<std::uint16_t> progress{};

  bool operator==(const Sense& other) const {
    return key == other.key && code == other.code && information == other.information && field == other.field &&
           segment.value_or(0) == other.segment.value_or(0) && forwarded == other.forwarded &&
           progress == other.progress;
  }

  std::uint8_t asc() const { return static_cast<std::uint8_t>(static_cast<std::uint16_t>(code) >> 8); }
  std::uint8_t ascq() const { return static_cast<std::uint8_t>(static_cast<std::uint16_t>(code)); }

  static Sense illegal_request(AdditionalSense code, std::string rule, std::optional<FieldPointer> field = {}) {
    return {SenseKey::illegal_request, code, {}, field, std::move(rule)};
  }
  /// INVALID FIELD IN CDB (05/24/00).
  static Sense invalid_field_in_cdb(std::size_t byte, std::optional<std::uint8_t> bit, std::string rule) {
    return illegal_request(AdditionalSense::invalid_field_in_cdb, std::move(rule), FieldPointer::cdb(byte, bit));
  }
  /// INVALID FIELD IN PARAMETER LIST (05/26/00).
  static Sense invalid_field_in_list(std::size_t byte, std::optional<std::uint8_t> bit, std::string rule) {
    return illegal_request(AdditionalSense::invalid_field_in_parameter_list, std::move(rule),
                           FieldPointer::list(byte, bit));
  }
};

/// The most there is of sense data (SPC-4 4.5.1): forwarded sense data is cut to fit.
inline constexpr std::size_t kMaximumSenseLength = 252;

/// Fixed format (70h): 18 bytes, and what was forwarded. An INFORMATION above 32 bits leaves VALID 0 (SPC-4 4.5.3).
std::vector<std::uint8_t> encode_fixed(const Sense& sense);

/// Descriptor format (72h): information, command-specific, sense-key specific and forwarded sense descriptors as far as
/// they apply.
std::vector<std::uint8_t> encode_descriptor(const Sense& sense);

/// Either format, for clients; nothing when `bytes` is not current or deferred sense data (70h-73h) or is cut
/// before the ASCQ.
std::optional<Sense> decode(const std::vector<std::uint8_t>& bytes);

/// T10's short text for a key and code, for logs and tables: "ILLEGAL REQUEST, INVALID FIELD IN CDB".
std::string describe(const Sense& sense);
/// Key and code as T10 writes them, two hexadecimal digits each: "05/23/07".
std::string code_text(const Sense& sense);

}  // namespace scsi
