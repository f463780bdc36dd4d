// LOG SENSE (SPC-4 6.8) and its pages: 00h supported, 0Ch Logical Block Provisioning, 2Fh Informational Exceptions.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <limits>

#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"

namespace scsi {
namespace {

struct LogSenseCdb {
  std::uint8_t operation_code;
  std::uint8_t sp;
  std::uint8_t pc_page_code;
  std::uint8_t subpage_code;
  std::uint8_t reserved4;
  base::be16 parameter_pointer;
  base::be16 allocation_length;
  std::uint8_t control;
};
static_assert(sizeof(LogSenseCdb) == 10 && offsetof(LogSenseCdb, parameter_pointer) == 5);
constexpr std::uint8_t kPageCodeMask = 0x3F;
constexpr std::uint8_t kPageCodeHighBit = 5;

constexpr std::uint8_t kSupportedLogPages = 0x00;
constexpr std::uint8_t kLogicalBlockProvisioning = 0x0C;
constexpr std::uint8_t kInformationalExceptions = 0x2F;

/// Not saved, no threshold, binary list parameter (SPC-4 7.3.2.2).
constexpr std::uint8_t kListParameter = 0x03;
constexpr std::uint8_t kTemperatureUnknown = 0xFF;

/// SBC-3 6.4.4.2.
enum class ProvisioningParameter : std::uint16_t { available = 0x0001, used = 0x0002 };
constexpr std::uint8_t kScopeDedicated = 0x01;

struct LogParameter {
  std::uint16_t code = 0;
  std::vector<std::uint8_t> value{};
};

/// Counts are in blocks: no threshold sets are offered (THRESHOLD EXPONENT is zero in VPD page B2h).
LogParameter resource_count(ProvisioningParameter code, std::uint64_t blocks) {
  LogParameter parameter{static_cast<std::uint16_t>(code), {}};
  base::ByteWriter writer(parameter.value);
  writer.u32(static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks, std::numeric_limits<std::uint32_t>::max())));
  writer.u8(kScopeDedicated);
  writer.zeros(3);
  return parameter;
}

/// WINDOWS: asked for on a thin disk, to know how much of it is left.
std::vector<LogParameter> provisioning_parameters(const LogicalUnit& lu) {
  std::uint64_t used = std::min(lu.store().allocated_bytes() / lu.block_length(), lu.capacity().value);
  return {resource_count(ProvisioningParameter::available, lu.capacity().value - used),
          resource_count(ProvisioningParameter::used, used)};
}

void write_parameters(base::ByteWriter& writer, const std::vector<LogParameter>& parameters, std::uint16_t from) {
  for (const LogParameter& parameter : parameters) {
    if (parameter.code < from) continue;
    writer.u16(parameter.code);
    writer.u8(kListParameter);
    auto length = writer.length8();
    writer.bytes(parameter.value);
  }
}

std::vector<std::uint8_t> supported_pages(const LogicalUnit& lu) {
  if (lu.config().thin) return {kSupportedLogPages, kLogicalBlockProvisioning, kInformationalExceptions};
  return {kSupportedLogPages, kInformationalExceptions};
}

}  // namespace

std::uint64_t log_sense_length(const Task& task, const LogicalUnit*) {
  return base::load<LogSenseCdb>(task.cdb).allocation_length;
}

std::expected<void, Sense> log_sense(CommandContext& context) {
  auto cdb = context.cdb_as<LogSenseCdb>();
  std::uint8_t code = cdb.pc_page_code & kPageCodeMask;
  auto pages = supported_pages(*context.lu);
  if (std::ranges::find(pages, code) == pages.end()) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(LogSenseCdb, pc_page_code), kPageCodeHighBit,
                                                       fmt::format("no log page {:02X}h", code)));
  }
  if (cdb.subpage_code != 0) {
    return std::unexpected(
        Sense::invalid_field_in_cdb(offsetof(LogSenseCdb, subpage_code), {},
                                    fmt::format("log page {:02X}h has no subpage {:02X}h", code, cdb.subpage_code)));
  }
  std::vector<LogParameter> parameters;
  if (code == kLogicalBlockProvisioning) parameters = provisioning_parameters(*context.lu);
  if (code == kInformationalExceptions) parameters = {{0, {0, 0, kTemperatureUnknown, 0}}};
  std::uint16_t last = parameters.empty() ? 0 : parameters.back().code;
  if (cdb.parameter_pointer > last) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(LogSenseCdb, parameter_pointer), {},
        fmt::format("PARAMETER POINTER {} is beyond the last parameter, {}", cdb.parameter_pointer.value(), last)));
  }
  std::vector<std::uint8_t> out;
  {
    base::ByteWriter writer(out);
    writer.u8(code);
    writer.u8(0);
    auto length = writer.length16();
    if (code == kSupportedLogPages) writer.bytes(pages);
    write_parameters(writer, parameters, cdb.parameter_pointer);
  }
  context.respond(std::move(out));
  return {};
}

}  // namespace scsi
