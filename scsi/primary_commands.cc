#include "scsi/primary_commands.h"

#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"

namespace scsi {
namespace {

/// SPC-4 6.47: the gates answer for a logical unit that is not ready.
std::expected<void, Sense> test_unit_ready(CommandContext&) { return {}; }

/// INQUIRY, REPORT LUNS and REQUEST SENSE are served whatever the state (SAM-5 5.14, SPC-4 6.6.1).
constexpr Gates kAlways{.logical_unit = false,
                        .unit_attention = false,
                        .reservation = ReservationGate::none,
                        .unit_reservation = UnitReservationGate::none,
                        .access = AccessGate::transitioning,
                        .ready = false,
                        .during_format = true};
/// LOG SENSE passes every reservation, also one made with RESERVE (SPC-2 5.5.1).
constexpr Gates kLogging{.reservation = ReservationGate::none,
                         .unit_reservation = UnitReservationGate::none,
                         .access = AccessGate::standby,
                         .ready = false};
constexpr Gates kNotReadyToo{.reservation = ReservationGate::none, .ready = false};
// Through write exclusive reservations, as ALLOW COMMANDS of REPORT CAPABILITIES says (SPC-4 6.15.4).
constexpr Gates kModeSense{.reservation = ReservationGate::read, .access = AccessGate::standby, .ready = false};
// The standard leaves it to the device server whether they are served in standby (SPC-4 5.15.2.4.4).
constexpr Gates kReportingCommands{
    .reservation = ReservationGate::read, .access = AccessGate::standby, .ready = false, .during_format = true};
constexpr Gates kChanging{.reservation = ReservationGate::write, .ready = false};
constexpr Gates kModeSelect{.reservation = ReservationGate::write, .access = AccessGate::standby, .ready = false};
constexpr Gates kReportingPorts{
    .reservation = ReservationGate::none, .access = AccessGate::transitioning, .ready = false};
constexpr Gates kSettingPorts{.reservation = ReservationGate::write, .access = AccessGate::unavailable, .ready = false};

bool reports_ports(const DeviceProfile&, const LogicalUnit* lu) { return !lu || lu->target_port_groups().reported(); }
bool sets_ports(const DeviceProfile&, const LogicalUnit* lu) {
  return !lu || lu->target_port_groups().change_explicitly();
}

constexpr Gates kTesting{.reservation = ReservationGate::write};

constexpr CommandDescriptor kRows[] = {
    {.name = "TEST UNIT READY",
     .opcode = 0x00,
     .cdb_length = 6,
     .usage = {0x00, 0x00, 0x00, 0x00, 0x00, 0x00},
     .direction = DataDirection::none,
     .gates = {.reservation = ReservationGate::none},
     .transfer_length = nullptr,
     .body = test_unit_ready},
    {.name = "REQUEST SENSE",
     .opcode = 0x03,
     .cdb_length = 6,
     .usage = {0x03, 0x01, 0x00, 0x00, 0xFF, 0x00},
     .direction = DataDirection::in,
     .gates = kAlways,
     .transfer_length = request_sense_length,
     .body = request_sense},
    {.name = "INQUIRY",
     .opcode = 0x12,
     .cdb_length = 6,
     .usage = {0x12, 0x01, 0xFF, 0xFF, 0xFF, 0x00},
     .direction = DataDirection::in,
     .gates = kAlways,
     .transfer_length = inquiry_length,
     .body = inquiry},
    {.name = "MODE SELECT(6)",
     .opcode = 0x15,
     .cdb_length = 6,
     .usage = {0x15, 0x11, 0x00, 0x00, 0xFF, 0x00},
     .direction = DataDirection::out,
     .gates = kModeSelect,
     .transfer_length = mode_6_length,
     .body = mode_select_6},
    {.name = "MODE SENSE(6)",
     .opcode = 0x1A,
     .cdb_length = 6,
     .usage = {0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0x00},
     .direction = DataDirection::in,
     .gates = kModeSense,
     .transfer_length = mode_6_length,
     .body = mode_sense_6},
    // SELF-TEST CODE, PF, SELFTEST, DEVOFFL, UNITOFFL. PARAMETER LIST LENGTH has to be 0: there are no diagnostic
    // pages.
    {.name = "SEND DIAGNOSTIC",
     .opcode = 0x1D,
     .cdb_length = 6,
     .usage = {0x1D, 0xF7, 0x00, 0x00, 0x00, 0x00},
     .direction = DataDirection::none,
     .gates = kTesting,
     .transfer_length = nullptr,
     .body = send_diagnostic},
    // PCR; SP has to be 0, and PARAMETER LIST LENGTH too: there are no parameters that could be set.
    {.name = "LOG SELECT",
     .opcode = 0x4C,
     .cdb_length = 10,
     .usage = {0x4C, 0x02, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00},
     .direction = DataDirection::none,
     .gates = kChanging,
     .transfer_length = nullptr,
     .body = log_select},
    {.name = "LOG SENSE",
     .opcode = 0x4D,
     .cdb_length = 10,
     .usage = {0x4D, 0x00, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00},
     .direction = DataDirection::in,
     .gates = kLogging,
     .transfer_length = log_sense_length,
     .body = log_sense},
    {.name = "MODE SELECT(10)",
     .opcode = 0x55,
     .cdb_length = 10,
     .usage = {0x55, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00},
     .direction = DataDirection::out,
     .gates = kModeSelect,
     .transfer_length = mode_10_length,
     .body = mode_select_10},
    {.name = "MODE SENSE(10)",
     .opcode = 0x5A,
     .cdb_length = 10,
     .usage = {0x5A, 0x18, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00},
     .direction = DataDirection::in,
     .gates = kModeSense,
     .transfer_length = mode_10_length,
     .body = mode_sense_10},
    {.name = "REPORT LUNS",
     .opcode = 0xA0,
     .cdb_length = 12,
     .usage = {0xA0, 0x00, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     .direction = DataDirection::in,
     .gates = kAlways,
     .transfer_length = report_length,
     .body = report_luns},
    {.name = "REPORT IDENTIFYING INFORMATION",
     .opcode = 0xA3,
     .service_action = 0x05,
     .cdb_length = 12,
     .usage = {0xA3, 0x05, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0x00},
     .direction = DataDirection::in,
     .gates = kNotReadyToo,
     .transfer_length = identifying_information_length,
     .body = report_identifying_information},
    {.name = "SET IDENTIFYING INFORMATION",
     .opcode = 0xA4,
     .service_action = 0x06,
     .cdb_length = 12,
     .usage = {0xA4, 0x06, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0x00},
     .direction = DataDirection::out,
     .gates = kChanging,
     .transfer_length = identifying_information_length,
     .body = set_identifying_information,
     .check = check_set_identifying_information},
    {.name = "REPORT TARGET PORT GROUPS",
     .opcode = 0xA3,
     .service_action = 0x0A,
     .cdb_length = 12,
     .usage = {0xA3, 0xEA, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     .direction = DataDirection::in,
     .gates = kReportingPorts,
     .transfer_length = target_port_groups_length,
     .body = report_target_port_groups,
     .offered = reports_ports},
    {.name = "SET TARGET PORT GROUPS",
     .opcode = 0xA4,
     .service_action = 0x0A,
     .cdb_length = 12,
     .usage = {0xA4, 0x0A, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     .direction = DataDirection::out,
     .gates = kSettingPorts,
     .transfer_length = target_port_groups_length,
     .body = set_target_port_groups,
     .check = check_set_target_port_groups,
     .offered = sets_ports},
    {.name = "REPORT SUPPORTED OPERATION CODES",
     .opcode = 0xA3,
     .service_action = 0x0C,
     .cdb_length = 12,
     .usage = {0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     .direction = DataDirection::in,
     .gates = kReportingCommands,
     .transfer_length = report_length,
     .body = report_supported_operation_codes},
    {.name = "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
     .opcode = 0xA3,
     .service_action = 0x0D,
     .cdb_length = 12,
     .usage = {0xA3, 0x0D, 0x80, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     .direction = DataDirection::in,
     .gates = kReportingCommands,
     .transfer_length = report_length,
     .body = report_supported_task_management_functions},
};

}  // namespace

std::span<const CommandDescriptor> primary_commands() { return kRows; }

}  // namespace scsi
