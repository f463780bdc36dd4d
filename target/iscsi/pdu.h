// The basic header segments of RFC 7143, 11, one struct each, as they are on the wire.
//
// Plain layouts: no parsing, no state. Bits that must be zero are reserved fields here. Thread: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace iscsi {

using base::be16;
using base::be24;
using base::be32;
using base::be64;

inline constexpr std::size_t kBhsLength = 48;
inline constexpr std::size_t kDigestLength = 4;
inline constexpr std::size_t kMaxAhsLength = 255 * 4;
/// DataSegmentLength is 24 bits wide.
inline constexpr std::uint32_t kMaxDataSegmentLength = 0xFFFFFF;
/// What either side may send until MaxRecvDataSegmentLength is declared (RFC 7143, 13.12).
inline constexpr std::uint32_t kDefaultMaxRecvDataSegmentLength = 8192;
/// A tag that names nothing (RFC 7143, 11.2.1.8 and 11.7.4).
inline constexpr std::uint32_t kReservedTag = 0xFFFFFFFF;

/// Data segments are padded to whole words (RFC 7143, 11.1).
constexpr std::size_t padding(std::size_t length) { return (4 - length % 4) % 4; }

/// RFC 7143, 11.2.1.2.
enum class Opcode : std::uint8_t {
  nop_out = 0x00,
  scsi_command = 0x01,
  task_management_request = 0x02,
  login_request = 0x03,
  text_request = 0x04,
  data_out = 0x05,
  logout_request = 0x06,
  snack_request = 0x10,
  nop_in = 0x20,
  scsi_response = 0x21,
  task_management_response = 0x22,
  login_response = 0x23,
  text_response = 0x24,
  data_in = 0x25,
  logout_response = 0x26,
  r2t = 0x31,
  async_message = 0x32,
  reject = 0x3F,
};

inline constexpr std::uint8_t kOpcodeMask = 0x3F;
inline constexpr std::uint8_t kImmediate = 0x40;  ///< I bit, byte 0 of a request

inline constexpr std::uint8_t kFinal = 0x80;  ///< F bit, byte 1

// SCSI Command, byte 1 (RFC 7143, 11.3.1).
inline constexpr std::uint8_t kCommandRead = 0x40;
inline constexpr std::uint8_t kCommandWrite = 0x20;
inline constexpr std::uint8_t kCommandAttributeMask = 0x07;

// SCSI Response and SCSI Data-In, byte 1 (RFC 7143, 11.4.1 and 11.7.1).
inline constexpr std::uint8_t kResidualOverflow = 0x04;
inline constexpr std::uint8_t kResidualUnderflow = 0x02;
inline constexpr std::uint8_t kDataInStatus = 0x01;       ///< S bit
inline constexpr std::uint8_t kDataInAcknowledge = 0x40;  ///< A bit; only above ErrorRecoveryLevel 0

// Login and Text, byte 1 (RFC 7143, 11.12.1-3 and 11.10.1-2).
inline constexpr std::uint8_t kTransit = 0x80;   ///< T bit
inline constexpr std::uint8_t kContinue = 0x40;  ///< C bit
inline constexpr std::uint8_t kStageMask = 0x03;
inline constexpr std::uint8_t kCurrentStageFactor = 0x04;  ///< CSG stands two bits left of NSG

inline constexpr std::uint8_t kTaskManagementFunctionMask = 0x7F;
inline constexpr std::uint8_t kLogoutReasonMask = 0x7F;

/// RFC 7143, 11.17.1.
enum class RejectReason : std::uint8_t {
  data_digest_error = 0x02,
  snack_reject = 0x03,
  protocol_error = 0x04,
  command_not_supported = 0x05,
  too_many_immediate_commands = 0x06,
  task_in_progress = 0x07,
  invalid_data_ack = 0x08,
  invalid_pdu_field = 0x09,
  long_operation_reject = 0x0A,
  waiting_for_logout = 0x0C,
};

/// RFC 7143, 11.9.1.
enum class AsyncEvent : std::uint8_t {
  scsi_event = 0,
  logout_request = 1,
  drop_connection = 2,
  drop_session = 3,
  renegotiate = 4,
  tasks_terminated = 5,
};

/// RFC 7143, 11.14.1 and 11.15.1.
enum class LogoutReason : std::uint8_t { close_session = 0, close_connection = 1, remove_for_recovery = 2 };
enum class LogoutStatus : std::uint8_t {
  closed = 0,
  cid_not_found = 1,
  recovery_not_supported = 2,
  cleanup_failed = 3,
};

/// Status-Class in the high byte, Status-Detail in the low one (RFC 7143, 11.13.5).
enum class LoginStatus : std::uint16_t {
  success = 0x0000,
  target_moved_temporarily = 0x0101,
  target_moved_permanently = 0x0102,
  initiator_error = 0x0200,
  authentication_failure = 0x0201,
  authorization_failure = 0x0202,
  target_not_found = 0x0203,
  target_removed = 0x0204,
  unsupported_version = 0x0205,
  too_many_connections = 0x0206,
  missing_parameter = 0x0207,
  cannot_include_in_session = 0x0208,
  session_type_not_supported = 0x0209,
  session_does_not_exist = 0x020A,
  invalid_during_login = 0x020B,
  target_error = 0x0300,
  service_unavailable = 0x0301,
  out_of_resources = 0x0302,
};

using LunField = std::array<std::uint8_t, 8>;
using Isid = std::array<std::uint8_t, 6>;

/// What all headers share (RFC 7143, 11.2.1).
struct Bhs {
  std::uint8_t opcode = 0;  ///< with the I bit
  std::uint8_t flags = 0;
  std::array<std::uint8_t, 2> opcode_specific{};
  std::uint8_t total_ahs_length = 0;  ///< in words
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  std::array<std::uint8_t, 28> rest{};

  Opcode code() const { return static_cast<Opcode>(opcode & kOpcodeMask); }
  bool immediate() const { return (opcode & kImmediate) != 0; }
};
static_assert(sizeof(Bhs) == kBhsLength && offsetof(Bhs, total_ahs_length) == 4);
static_assert(offsetof(Bhs, lun) == 8 && offsetof(Bhs, initiator_task_tag) == 16 && offsetof(Bhs, rest) == 20);

/// Any request that carries CmdSN and ExpStatSN has them here.
struct RequestBhs {
  std::uint8_t opcode = 0;
  std::uint8_t flags = 0;
  std::array<std::uint8_t, 2> opcode_specific{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 cmd_sn = 0;
  be32 exp_stat_sn = 0;
  std::array<std::uint8_t, 16> rest{};
};
static_assert(sizeof(RequestBhs) == kBhsLength && offsetof(RequestBhs, cmd_sn) == 24);
static_assert(offsetof(RequestBhs, exp_stat_sn) == 28);

struct ScsiCommandBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::scsi_command);
  std::uint8_t flags = 0;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 expected_data_transfer_length = 0;
  be32 cmd_sn = 0;
  be32 exp_stat_sn = 0;
  std::array<std::uint8_t, 16> cdb{};
};
static_assert(sizeof(ScsiCommandBhs) == kBhsLength);
static_assert(offsetof(ScsiCommandBhs, expected_data_transfer_length) == 20);
static_assert(offsetof(ScsiCommandBhs, cmd_sn) == 24 && offsetof(ScsiCommandBhs, cdb) == 32);

struct ScsiResponseBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::scsi_response);
  std::uint8_t flags = kFinal;
  std::uint8_t response = 0;  ///< 00h: command completed at target
  std::uint8_t status = 0;
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField reserved8{};
  be32 initiator_task_tag = 0;
  be32 snack_tag = 0;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  be32 exp_data_sn = 0;
  be32 bidirectional_residual_count = 0;
  be32 residual_count = 0;
};
static_assert(sizeof(ScsiResponseBhs) == kBhsLength && offsetof(ScsiResponseBhs, stat_sn) == 24);
static_assert(offsetof(ScsiResponseBhs, exp_data_sn) == 36 && offsetof(ScsiResponseBhs, residual_count) == 44);

struct TaskManagementRequestBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::task_management_request) | kImmediate;
  std::uint8_t function = kFinal;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 referenced_task_tag = kReservedTag;
  be32 cmd_sn = 0;
  be32 exp_stat_sn = 0;
  be32 ref_cmd_sn = 0;
  be32 exp_data_sn = 0;
  std::array<std::uint8_t, 8> reserved40{};
};
static_assert(sizeof(TaskManagementRequestBhs) == kBhsLength);
static_assert(offsetof(TaskManagementRequestBhs, referenced_task_tag) == 20);
static_assert(offsetof(TaskManagementRequestBhs, ref_cmd_sn) == 32);

struct TaskManagementResponseBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::task_management_response);
  std::uint8_t flags = kFinal;
  std::uint8_t response = 0;
  std::uint8_t reserved3 = 0;
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField reserved8{};
  be32 initiator_task_tag = 0;
  be32 reserved20 = 0;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  std::array<std::uint8_t, 12> reserved36{};
};
static_assert(sizeof(TaskManagementResponseBhs) == kBhsLength && offsetof(TaskManagementResponseBhs, stat_sn) == 24);

struct DataOutBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::data_out);
  std::uint8_t flags = 0;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 reserved24 = 0;
  be32 exp_stat_sn = 0;
  be32 reserved32 = 0;
  be32 data_sn = 0;
  be32 buffer_offset = 0;
  be32 reserved44 = 0;
};
static_assert(sizeof(DataOutBhs) == kBhsLength && offsetof(DataOutBhs, target_transfer_tag) == 20);
static_assert(offsetof(DataOutBhs, data_sn) == 36 && offsetof(DataOutBhs, buffer_offset) == 40);

struct DataInBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::data_in);
  std::uint8_t flags = 0;
  std::uint8_t reserved2 = 0;
  std::uint8_t status = 0;
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  be32 data_sn = 0;
  be32 buffer_offset = 0;
  be32 residual_count = 0;
};
static_assert(sizeof(DataInBhs) == kBhsLength && offsetof(DataInBhs, stat_sn) == 24);
static_assert(offsetof(DataInBhs, buffer_offset) == 40 && offsetof(DataInBhs, residual_count) == 44);

struct R2tBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::r2t);
  std::uint8_t flags = kFinal;  // WINDOWS: anything but 80h is refused (event 23)
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = 0;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  be32 r2t_sn = 0;
  be32 buffer_offset = 0;
  be32 desired_data_transfer_length = 0;
};
static_assert(sizeof(R2tBhs) == kBhsLength && offsetof(R2tBhs, r2t_sn) == 36);
static_assert(offsetof(R2tBhs, buffer_offset) == 40 && offsetof(R2tBhs, desired_data_transfer_length) == 44);

struct AsyncMessageBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::async_message);
  std::uint8_t flags = kFinal;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 reserved_tag = kReservedTag;
  be32 reserved20 = 0;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  std::uint8_t async_event = 0;
  std::uint8_t async_vcode = 0;
  be16 parameter1 = 0;
  be16 parameter2 = 0;
  be16 parameter3 = 0;
  be32 reserved44 = 0;
};
static_assert(sizeof(AsyncMessageBhs) == kBhsLength && offsetof(AsyncMessageBhs, async_event) == 36);
static_assert(offsetof(AsyncMessageBhs, parameter1) == 38 && offsetof(AsyncMessageBhs, parameter3) == 42);

struct TextRequestBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::text_request);
  std::uint8_t flags = 0;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 cmd_sn = 0;
  be32 exp_stat_sn = 0;
  std::array<std::uint8_t, 16> reserved32{};
};
static_assert(sizeof(TextRequestBhs) == kBhsLength && offsetof(TextRequestBhs, cmd_sn) == 24);

struct TextResponseBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::text_response);
  std::uint8_t flags = 0;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  std::array<std::uint8_t, 12> reserved36{};
};
static_assert(sizeof(TextResponseBhs) == kBhsLength && offsetof(TextResponseBhs, stat_sn) == 24);

struct LoginRequestBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::login_request) | kImmediate;
  std::uint8_t flags = 0;
  std::uint8_t version_max = 0;
  std::uint8_t version_min = 0;
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  Isid isid{};
  be16 tsih = 0;
  be32 initiator_task_tag = 0;
  be16 cid = 0;
  be16 reserved22 = 0;
  be32 cmd_sn = 0;
  be32 exp_stat_sn = 0;
  std::array<std::uint8_t, 16> reserved32{};
};
static_assert(sizeof(LoginRequestBhs) == kBhsLength && offsetof(LoginRequestBhs, isid) == 8);
static_assert(offsetof(LoginRequestBhs, tsih) == 14 && offsetof(LoginRequestBhs, cid) == 20);
static_assert(offsetof(LoginRequestBhs, cmd_sn) == 24 && offsetof(LoginRequestBhs, exp_stat_sn) == 28);

struct LoginResponseBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::login_response);
  std::uint8_t flags = 0;
  std::uint8_t version_max = 0;
  std::uint8_t version_active = 0;
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  Isid isid{};
  be16 tsih = 0;
  be32 initiator_task_tag = 0;
  be32 reserved20 = 0;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  be16 status = 0;
  be16 reserved38 = 0;
  std::array<std::uint8_t, 8> reserved40{};
};
static_assert(sizeof(LoginResponseBhs) == kBhsLength && offsetof(LoginResponseBhs, stat_sn) == 24);
static_assert(offsetof(LoginResponseBhs, status) == 36);

struct LogoutRequestBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::logout_request);
  std::uint8_t reason = kFinal;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField reserved8{};
  be32 initiator_task_tag = 0;
  be16 cid = 0;
  be16 reserved22 = 0;
  be32 cmd_sn = 0;
  be32 exp_stat_sn = 0;
  std::array<std::uint8_t, 16> reserved32{};
};
static_assert(sizeof(LogoutRequestBhs) == kBhsLength && offsetof(LogoutRequestBhs, cid) == 20);

struct LogoutResponseBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::logout_response);
  std::uint8_t flags = kFinal;
  std::uint8_t response = 0;
  std::uint8_t reserved3 = 0;
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField reserved8{};
  be32 initiator_task_tag = 0;
  be32 reserved20 = 0;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  be32 reserved36 = 0;
  be16 time2wait = 0;
  be16 time2retain = 0;
  be32 reserved44 = 0;
};
static_assert(sizeof(LogoutResponseBhs) == kBhsLength && offsetof(LogoutResponseBhs, time2wait) == 40);

struct RejectBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::reject);
  std::uint8_t flags = kFinal;
  std::uint8_t reason = 0;
  std::uint8_t reserved3 = 0;
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField reserved8{};
  be32 reserved_tag = kReservedTag;
  be32 reserved20 = 0;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  be32 data_sn = 0;
  std::array<std::uint8_t, 8> reserved40{};
};
static_assert(sizeof(RejectBhs) == kBhsLength && offsetof(RejectBhs, stat_sn) == 24);

struct NopOutBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::nop_out);
  std::uint8_t flags = kFinal;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 cmd_sn = 0;
  be32 exp_stat_sn = 0;
  std::array<std::uint8_t, 16> reserved32{};
};
static_assert(sizeof(NopOutBhs) == kBhsLength && offsetof(NopOutBhs, target_transfer_tag) == 20);

struct NopInBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::nop_in);
  std::uint8_t flags = kFinal;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 stat_sn = 0;
  be32 exp_cmd_sn = 0;
  be32 max_cmd_sn = 0;
  std::array<std::uint8_t, 12> reserved36{};
};
static_assert(sizeof(NopInBhs) == kBhsLength && offsetof(NopInBhs, stat_sn) == 24);

struct SnackRequestBhs {
  std::uint8_t opcode = static_cast<std::uint8_t>(Opcode::snack_request);
  std::uint8_t type = kFinal;
  std::array<std::uint8_t, 2> reserved2{};
  std::uint8_t total_ahs_length = 0;
  be24 data_segment_length = 0;
  LunField lun{};
  be32 initiator_task_tag = 0;
  be32 target_transfer_tag = kReservedTag;
  be32 reserved24 = 0;
  be32 exp_stat_sn = 0;
  be64 reserved32 = 0;
  be32 begin_run = 0;
  be32 run_length = 0;
};
static_assert(sizeof(SnackRequestBhs) == kBhsLength && offsetof(SnackRequestBhs, begin_run) == 40);

/// Additional header segment types (RFC 7143, 11.2.2.1).
enum class AhsType : std::uint8_t { extended_cdb = 1, bidirectional_read_expected_length = 2 };

/// The part of an additional header segment before its specific bytes (RFC 7143, 11.2.2).
struct AhsHead {
  be16 length = 0;
  std::uint8_t type = 0;
};
static_assert(sizeof(AhsHead) == 3);

/// SCSI Response data segment before the sense data (RFC 7143, 11.4.7).
struct SenseHead {
  be16 sense_length = 0;
};

/// Views one layout of a header as another.
template <typename To, typename From>
To header_as(const From& header) {
  static_assert(sizeof(To) == kBhsLength && sizeof(From) == kBhsLength);
  return base::load<To>(base::bytes_of(header));
}

}  // namespace iscsi
