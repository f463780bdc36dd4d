// What a logical unit and its target can do, reported: REPORT LUNS (SPC-4 6.33), REPORT SUPPORTED OPERATION CODES
// (6.35) and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (6.36).
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"
#include "scsi/unit_attentions.h"

namespace scsi {
namespace {

struct ReportLunsCdb {
  std::uint8_t operation_code;
  std::uint8_t reserved1;
  std::uint8_t select_report;
  std::array<std::uint8_t, 3> reserved3;
  base::be32 allocation_length;
  std::uint8_t reserved10;
  std::uint8_t control;
};
static_assert(sizeof(ReportLunsCdb) == 12 && offsetof(ReportLunsCdb, allocation_length) == 6);

/// SPC-4 table 285. There are no well known, administrative or subsidiary logical units here.
enum class SelectReport : std::uint8_t {
  addressable = 0x00,
  well_known = 0x01,
  all = 0x02,
  administrative = 0x10,
  not_subsidiary = 0x11,
  subsidiary = 0x12,
};

struct ReportSupportedOperationCodesCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  std::uint8_t rctd_reporting_options;
  std::uint8_t requested_operation_code;
  base::be16 requested_service_action;
  base::be32 allocation_length;
  std::uint8_t reserved10;
  std::uint8_t control;
};
static_assert(sizeof(ReportSupportedOperationCodesCdb) == 12);
static_assert(offsetof(ReportSupportedOperationCodesCdb, allocation_length) ==
              offsetof(ReportLunsCdb, allocation_length));

constexpr std::uint8_t kRctd = 0x80;
constexpr std::uint8_t kReportingOptionsMask = 0x07;
constexpr std::uint8_t kReportingOptionsHighBit = 2;
enum class ReportingOptions : std::uint8_t { all = 0, one_operation_code = 1, one_service_action = 2 };

/// SPC-4 table 291.
struct AllCommandsDescriptor {
  std::uint8_t operation_code = 0;
  std::uint8_t reserved1 = 0;
  base::be16 service_action{};
  std::uint8_t reserved4 = 0;
  std::uint8_t flags = 0;
  base::be16 cdb_length{};
};
static_assert(sizeof(AllCommandsDescriptor) == 8 && offsetof(AllCommandsDescriptor, flags) == 5);
constexpr std::uint8_t kCtdpOfAll = 0x02;
constexpr std::uint8_t kServactv = 0x01;

/// SPC-4 table 292.
struct OneCommandHead {
  std::uint8_t reserved = 0;
  std::uint8_t ctdp_support = 0;
  base::be16 cdb_size{};
};
static_assert(sizeof(OneCommandHead) == 4);
constexpr std::uint8_t kCtdpOfOne = 0x80;
constexpr std::uint8_t kNotSupported = 0x01;
constexpr std::uint8_t kSupportedAsStandard = 0x03;

/// SPC-4 table 293.
struct CommandTimeoutsDescriptor {
  base::be16 descriptor_length = 0x0A;
  std::uint8_t reserved = 0;
  std::uint8_t command_specific = 0;
  base::be32 nominal_command_processing_timeout{};
  base::be32 recommended_command_timeout{};
};
static_assert(sizeof(CommandTimeoutsDescriptor) == 12);

void timeouts(base::ByteWriter& writer, const CommandDescriptor& row) {
  CommandTimeoutsDescriptor descriptor;
  descriptor.recommended_command_timeout = row.recommended_timeout_s;
  writer.layout(descriptor);
}

std::vector<std::uint8_t> all_commands(const DeviceServer& server, const LogicalUnit* lu, bool rctd) {
  std::vector<std::uint8_t> out;
  base::ByteWriter writer(out);
  {
    auto length = writer.length32();
    for (const CommandDescriptor& row : command_table()) {
      if (!offers(server.copy_manager().profile(), lu, row)) continue;
      AllCommandsDescriptor descriptor;
      descriptor.operation_code = row.opcode;
      descriptor.service_action = row.service_action.value_or(0);
      descriptor.flags = (row.service_action ? kServactv : 0) | (rctd ? kCtdpOfAll : 0);
      descriptor.cdb_length = row.cdb_length;
      writer.layout(descriptor);
      if (rctd) timeouts(writer, row);
    }
  }
  return out;
}

std::vector<std::uint8_t> one_command(const CommandDescriptor* row, bool rctd) {
  std::vector<std::uint8_t> out;
  base::ByteWriter writer(out);
  OneCommandHead head;
  if (!row) {
    head.ctdp_support = kNotSupported;
    writer.layout(head);
    return out;
  }
  head.ctdp_support = kSupportedAsStandard | (rctd ? kCtdpOfOne : 0);
  head.cdb_size = row->cdb_length;
  writer.layout(head);
  writer.bytes(std::span(row->usage).first(row->cdb_length));
  if (rctd) timeouts(writer, *row);
  return out;
}

/// SPC-4 6.36.
struct SupportedTaskManagementFunctions {
  std::uint8_t functions = 0;
  std::uint8_t more_functions = 0;
  std::uint8_t reserved = 0;
  std::uint8_t additional_length = 0;
};
constexpr std::uint8_t kAts = 0x80;
constexpr std::uint8_t kAtss = 0x40;
constexpr std::uint8_t kCtss = 0x10;
constexpr std::uint8_t kLurs = 0x08;
constexpr std::uint8_t kTrs = 0x02;

/// With REPD: timeouts of which none is specified.
struct ExtendedTaskManagementFunctions {
  SupportedTaskManagementFunctions functions{};
  base::be32 tmftmov{};
  base::be32 long_timeout{};
  base::be32 short_timeout{};
};
static_assert(sizeof(ExtendedTaskManagementFunctions) == 16);

struct ReportTaskManagementCdb {
  std::uint8_t operation_code;
  std::uint8_t service_action;
  std::uint8_t repd;
};
constexpr std::uint8_t kRepd = 0x80;

}  // namespace

std::uint64_t report_length(const Task& task, const LogicalUnit*) {
  return base::load<ReportLunsCdb>(task.cdb).allocation_length;
}

std::expected<void, Sense> report_luns(CommandContext& context) {
  auto select = context.cdb_as<ReportLunsCdb>().select_report;
  bool ordinary = false;
  switch (static_cast<SelectReport>(select)) {
    case SelectReport::addressable:
    case SelectReport::all:
    case SelectReport::not_subsidiary: ordinary = true; break;
    case SelectReport::well_known:
    case SelectReport::administrative:
    case SelectReport::subsidiary: break;
    default:
      return std::unexpected(Sense::invalid_field_in_cdb(offsetof(ReportLunsCdb, select_report), {},
                                                         fmt::format("SELECT REPORT {:02X}h is reserved", select)));
  }
  std::vector<Lun> luns;
  for (auto& [lun, lu] : context.server.logical_units())
    if (ordinary && DeviceServer::may_use(context.task.nexus, *lu)) luns.push_back(lun);
  std::vector<std::uint8_t> out;
  base::ByteWriter writer(out);
  writer.u32(static_cast<std::uint32_t>(luns.size() * sizeof(std::uint64_t)));
  writer.u32(0);
  for (Lun lun : luns) writer.bytes(encode_lun(lun));
  // The inventory is told now, whatever was pending about its change (SPC-4 6.33).
  for (auto& [lun, lu] : context.server.logical_units())
    lu->unit_attentions().clear(context.task.nexus, AdditionalSense::reported_luns_data_has_changed);
  context.respond(std::move(out));
  return {};
}

std::expected<void, Sense> report_supported_operation_codes(CommandContext& context) {
  using Cdb = ReportSupportedOperationCodesCdb;
  auto cdb = context.cdb_as<Cdb>();
  bool rctd = cdb.rctd_reporting_options & kRctd;
  auto options = static_cast<ReportingOptions>(cdb.rctd_reporting_options & kReportingOptionsMask);
  if (options == ReportingOptions::all) {
    context.respond(all_commands(context.server, context.lu, rctd));
    return {};
  }
  if (options != ReportingOptions::one_operation_code && options != ReportingOptions::one_service_action) {
    return std::unexpected(
        Sense::invalid_field_in_cdb(offsetof(Cdb, rctd_reporting_options), kReportingOptionsHighBit,
                                    fmt::format("REPORTING OPTIONS {} is reserved", static_cast<unsigned>(options))));
  }
  bool wants_action = options == ReportingOptions::one_service_action;
  std::uint8_t opcode = cdb.requested_operation_code;
  std::uint16_t action = cdb.requested_service_action;
  const CommandDescriptor* found = nullptr;
  for (const CommandDescriptor& row : command_table()) {
    if (row.opcode != opcode || !offers(context.server.copy_manager().profile(), context.lu, row)) continue;
    // SPC-4 table 290: an operation code with service actions is asked for with one, any other without.
    if (row.service_action.has_value() != wants_action) {
      return std::unexpected(Sense::invalid_field_in_cdb(
          offsetof(Cdb, rctd_reporting_options), kReportingOptionsHighBit,
          fmt::format("operation code {:02X}h {} service actions", opcode, wants_action ? "has no" : "has")));
    }
    if (!wants_action || row.service_action == action) found = &row;
  }
  context.respond(one_command(found, rctd));
  return {};
}

std::expected<void, Sense> report_supported_task_management_functions(CommandContext& context) {
  ExtendedTaskManagementFunctions data;
  data.functions.functions = kAts | kAtss | kCtss | kLurs | kTrs;
  bool extended = context.cdb_as<ReportTaskManagementCdb>().repd & kRepd;
  if (extended) data.functions.additional_length = sizeof data - sizeof data.functions;
  base::Bytes bytes = base::bytes_of(data).first(extended ? sizeof data : sizeof data.functions);
  context.respond({bytes.begin(), bytes.end()});
  return {};
}

}  // namespace scsi
