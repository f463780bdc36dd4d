#include "scsi/block_commands.h"

#include "scsi/block_io.h"
#include "scsi/block_layouts.h"
#include "scsi/block_medium.h"
#include "scsi/block_provisioning.h"
#include "scsi/format_commands.h"
#include "scsi/format_layouts.h"
#include "scsi/logical_unit.h"

namespace scsi {
namespace {

/// A CDB's length, its operation code and its usage mask.
struct Form {
  std::uint8_t length;
  std::array<std::uint8_t, kMaxCdbLength> usage;
};

/// What the forms of one command share.
struct Kind {
  DataDirection direction;
  Gates gates;
  TransferLength transfer_length;
  CommandBody body;
  CommandCheck check = nullptr;
  bool (*offered)(const DeviceProfile& profile, const LogicalUnit* lu) = nullptr;
  Counted counted = Counted::nothing;
  bool takes_loans = false;
};

constexpr std::uint8_t kGroup = 0x3F;  ///< GROUP NUMBER: taken and not used, there is no grouping function
constexpr std::uint8_t kImmediate = 0x02;
constexpr std::uint8_t kSyncNv = 0x04;  ///< obsolete after SBC-3: a flush goes to the medium, whatever it says
constexpr std::uint8_t kAll = 0xFF;

constexpr Form form_6(std::uint8_t code) { return {6, {code, 0x1F, kAll, kAll, kAll}}; }
constexpr Form form_10(std::uint8_t code, std::uint8_t flags) {
  return {10, {code, flags, kAll, kAll, kAll, kAll, kGroup, kAll, kAll}};
}
constexpr Form form_12(std::uint8_t code, std::uint8_t flags) {
  return {12, {code, flags, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kGroup}};
}
constexpr Form form_16(std::uint8_t code, std::uint8_t flags) {
  return {16, {code, flags, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kGroup}};
}

constexpr CommandDescriptor row(std::string_view name, Form form, Kind kind,
                                std::optional<std::uint16_t> service_action = {}) {
  return {.name = name,
          .opcode = form.usage[0],
          .service_action = service_action,
          .cdb_length = form.length,
          .usage = form.usage,
          .direction = kind.direction,
          .gates = kind.gates,
          .transfer_length = kind.transfer_length,
          .body = kind.body,
          .check = kind.check,
          .offered = kind.offered,
          .counted = kind.counted,
          .takes_loans = kind.takes_loans};
}

std::uint64_t read_capacity_10_length(const Task&, const LogicalUnit*) { return sizeof(ReadCapacity10Data); }
std::uint64_t service_action_in_length(const Task& task, const LogicalUnit*) {
  return base::load<ServiceActionIn16Cdb>(task.cdb).allocation_length;
}

bool thin(const DeviceProfile&, const LogicalUnit* lu) { return !lu || lu->config().thin; }
bool atomic(const DeviceProfile& profile, const LogicalUnit* lu) {
  return !lu || atomic_write_limits(*lu, profile).most != 0;
}
bool self_encrypting(const DeviceProfile&, const LogicalUnit* lu) { return !lu || lu->config().self_encrypting; }
bool removable(const DeviceProfile&, const LogicalUnit* lu) { return !lu || lu->config().removable; }

// Reservations as in SBC-3 table 13.
/// READ CAPACITY. Served in standby, too (SPC-4 5.15.2.4.4 leaves it open): without it a host that finds a disk through
/// such a port first has a disk of no size.
constexpr Gates kWithMedium{
    .reservation = ReservationGate::none, .access = AccessGate::standby, .ready = false, .medium = true};
// FORMAT UNIT and SANITIZE end the state of a damaged medium; their checks want one that is there.
constexpr Gates kErasing{.reservation = ReservationGate::write, .ready = false, .write = true};
constexpr Gates kPreventing{.reservation = ReservationGate::prevent, .ready = false};
constexpr Gates kStarting{.reservation = ReservationGate::start_stop, .ready = false};
constexpr Gates kReading{.reservation = ReservationGate::read};
constexpr Gates kFlushing{.reservation = ReservationGate::write};
constexpr Gates kWriting{.reservation = ReservationGate::write, .write = true};

constexpr std::uint8_t kReadFlags = BlockFlags::kProtect | BlockFlags::kDpo | BlockFlags::kFua;
constexpr std::uint8_t kVerifyFlags = BlockFlags::kProtect | BlockFlags::kDpo | BlockFlags::kByteCheck;
/// WRITE AND VERIFY has no BYTCHK 10b and 11b.
constexpr std::uint8_t kWriteVerifyFlags = BlockFlags::kProtect | BlockFlags::kDpo | BlockFlags::kByteCheckEach;
constexpr std::uint8_t kWriteSameFlags = BlockFlags::kProtect | BlockFlags::kUnmap;

constexpr Kind kRead{DataDirection::in, kReading, read_length, read_blocks, nullptr, nullptr, Counted::read};
constexpr Kind kWrite{DataDirection::out, kWriting, write_length,   write_blocks,
                      check_write,        nullptr,  Counted::write, true};
constexpr Kind kWriteVerify{DataDirection::out, kWriting, write_length,  write_and_verify,
                            check_write,        nullptr,  Counted::write};
constexpr Kind kOrWrite{DataDirection::out, kWriting, write_length, or_write, check_write, nullptr, Counted::write};
constexpr Kind kWriteAtomic{DataDirection::out, kWriting, write_length,  write_atomic,
                            check_write_atomic, atomic,   Counted::write};
constexpr Kind kVerify{DataDirection::out, kReading, verify_length,  verify_blocks,
                       check_verify,       nullptr,  Counted::verify};
constexpr Kind kCompareAndWrite{
    DataDirection::out, kWriting, compare_and_write_length, compare_and_write, check_compare_and_write, nullptr,
    Counted::write};
constexpr Kind kWriteSame{DataDirection::out, kWriting, write_same_length, write_same, check_write_same};
constexpr Kind kUnmap{DataDirection::out, kWriting, unmap_length, unmap, check_unmap, thin};
constexpr Kind kGetLbaStatus{DataDirection::in, kReading, service_action_in_length, get_lba_status};
constexpr Kind kSynchronizeCache{DataDirection::none, kFlushing, nullptr, synchronize_cache};
constexpr Kind kPreFetch{DataDirection::none, kReading, nullptr, pre_fetch};
constexpr Kind kReadCapacity10{DataDirection::in, kWithMedium, read_capacity_10_length, read_capacity_10};
constexpr Kind kReadCapacity16{DataDirection::in, kWithMedium, service_action_in_length, read_capacity_16};
constexpr Kind kStartStopUnit{DataDirection::none, kStarting, nullptr, start_stop_unit};
constexpr Kind kFormatUnit{DataDirection::out, kErasing, format_unit_length, format_unit, check_format_unit};
constexpr Kind kSanitizeOverwrite{DataDirection::out, kErasing, sanitize_overwrite_length, sanitize_overwrite,
                                  check_sanitize_overwrite};
constexpr Kind kSanitizeBlockErase{DataDirection::none, kErasing, nullptr, sanitize_block_erase, nullptr, thin};
constexpr Kind kSanitizeCryptographicErase{DataDirection::none,          kErasing, nullptr,
                                           sanitize_cryptographic_erase, nullptr,  self_encrypting};
constexpr Kind kSanitizeExitFailureMode{DataDirection::none, kErasing, nullptr, sanitize_exit_failure_mode};
constexpr Kind kReadDefectData10{DataDirection::in, kReading, read_defect_data_10_length, read_defect_data_10};
constexpr Kind kReadDefectData12{DataDirection::in, kReading, read_defect_data_12_length, read_defect_data_12};
constexpr Kind kPreventAllow{DataDirection::none,          kPreventing, nullptr,
                             prevent_allow_medium_removal, nullptr,     removable};

constexpr std::uint8_t kDefectLists = DefectLists::kRequested | DefectLists::kFormat;

/// PARAMETER LIST LENGTH has to be 0 where there is no list: `length` is its mask.
constexpr CommandDescriptor sanitize_row(std::string_view name, SanitizeServiceAction action, std::uint8_t length,
                                         Kind kind) {
  const auto code = static_cast<std::uint8_t>(action);
  const std::uint8_t flags = SanitizeCdb::kImmediate | SanitizeCdb::kUnrestrictedExit;
  return row(name, {10, {0x48, static_cast<std::uint8_t>(flags | code), 0, 0, 0, 0, 0, length, length}}, kind, code);
}

constexpr CommandDescriptor kRows[] = {
    row("READ (6)", form_6(0x08), kRead),
    row("READ (10)", form_10(0x28, kReadFlags), kRead),
    row("READ (12)", form_12(0xA8, kReadFlags), kRead),
    row("READ (16)", form_16(0x88, kReadFlags), kRead),
    row("WRITE (6)", form_6(0x0A), kWrite),
    row("WRITE (10)", form_10(0x2A, kReadFlags), kWrite),
    row("WRITE (12)", form_12(0xAA, kReadFlags), kWrite),
    row("WRITE (16)", form_16(0x8A, kReadFlags), kWrite),
    row("WRITE AND VERIFY (10)", form_10(0x2E, kWriteVerifyFlags), kWriteVerify),
    row("WRITE AND VERIFY (12)", form_12(0xAE, kWriteVerifyFlags), kWriteVerify),
    row("WRITE AND VERIFY (16)", form_16(0x8E, kWriteVerifyFlags), kWriteVerify),
    row("ORWRITE (16)", form_16(0x8B, kReadFlags), kOrWrite),
    row("WRITE ATOMIC (16)", form_16(0x9C, kReadFlags), kWriteAtomic),
    row("VERIFY (10)", form_10(0x2F, kVerifyFlags), kVerify),
    row("VERIFY (12)", form_12(0xAF, kVerifyFlags), kVerify),
    row("VERIFY (16)", form_16(0x8F, kVerifyFlags), kVerify),
    row("COMPARE AND WRITE",
        {16, {0x89, kReadFlags, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, 0, 0, 0, kAll, kGroup}},
        kCompareAndWrite),
    row("WRITE SAME (10)", form_10(0x41, kWriteSameFlags), kWriteSame),
    row("WRITE SAME (16)", form_16(0x93, kWriteSameFlags | BlockFlags::kNoDataOutBuffer), kWriteSame),
    row("UNMAP", {10, {0x42, 0, 0, 0, 0, 0, kGroup, kAll, kAll}}, kUnmap),
    row("GET LBA STATUS", {16, {0x9E, 0x12, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll}},
        kGetLbaStatus, 0x12),
    row("SYNCHRONIZE CACHE (10)", form_10(0x35, kImmediate | kSyncNv), kSynchronizeCache),
    row("SYNCHRONIZE CACHE (16)", form_16(0x91, kImmediate | kSyncNv), kSynchronizeCache),
    row("PRE-FETCH (10)", form_10(0x34, kImmediate), kPreFetch),
    row("PRE-FETCH (16)", form_16(0x90, kImmediate), kPreFetch),
    row("READ CAPACITY (10)", {10, {0x25, 0, kAll, kAll, kAll, kAll, 0, 0, kPartialMediumIndicator}}, kReadCapacity10),
    row("READ CAPACITY (16)",
        {16,
         {0x9E, 0x10, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kPartialMediumIndicator}},
        kReadCapacity16, 0x10),
    row("START STOP UNIT",
        {6,
         {0x1B, 0x01, 0, 0,
          StartStopUnitCdb::kPowerCondition | StartStopUnitCdb::kNoFlush | StartStopUnitCdb::kLoadEject |
              StartStopUnitCdb::kStart}},
        kStartStopUnit),
    row("FORMAT UNIT",
        {6,
         {0x04, FormatUnitCdb::kLongList | FormatUnitCdb::kFormatData | FormatUnitCdb::kCompleteList |
                    FormatUnitCdb::kDefectListFormat}},
        kFormatUnit),
    sanitize_row("SANITIZE, OVERWRITE", SanitizeServiceAction::overwrite, kAll, kSanitizeOverwrite),
    sanitize_row("SANITIZE, BLOCK ERASE", SanitizeServiceAction::block_erase, 0, kSanitizeBlockErase),
    sanitize_row("SANITIZE, CRYPTOGRAPHIC ERASE", SanitizeServiceAction::cryptographic_erase, 0,
                 kSanitizeCryptographicErase),
    sanitize_row("SANITIZE, EXIT FAILURE MODE", SanitizeServiceAction::exit_failure_mode, 0, kSanitizeExitFailureMode),
    row("READ DEFECT DATA (10)", {10, {0x37, 0, kDefectLists, 0, 0, 0, 0, kAll, kAll}}, kReadDefectData10),
    row("READ DEFECT DATA (12)", {12, {0xB7, kDefectLists, kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll}},
        kReadDefectData12),
    row("PREVENT ALLOW MEDIUM REMOVAL", {6, {0x1E, 0, 0, 0, PreventAllowMediumRemovalCdb::kPrevent}}, kPreventAllow),
};

}  // namespace

std::span<const CommandDescriptor> block_commands() { return kRows; }

}  // namespace scsi
