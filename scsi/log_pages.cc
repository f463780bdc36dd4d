// LOG SENSE and LOG SELECT (SPC-4 6.7, 6.8), and the log pages: 00h supported ones, 02h, 03h and 05h error counters,
// 0Ch Logical Block Provisioning, 0Dh Temperature, 2Fh Informational Exceptions.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"
#include "scsi/provisioning_thresholds.h"
#include "scsi/unit_attentions.h"

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

struct LogSelectCdb {
  std::uint8_t operation_code;
  std::uint8_t flags;
  std::uint8_t pc_page_code;
  std::uint8_t subpage_code;
  std::array<std::uint8_t, 3> reserved;
  base::be16 parameter_list_length;
  std::uint8_t control;

  static constexpr std::uint8_t kParameterCodeReset = 0x02;  ///< PCR
};
static_assert(sizeof(LogSelectCdb) == 10 && offsetof(LogSelectCdb, parameter_list_length) == 7);
static_assert(offsetof(LogSelectCdb, pc_page_code) == offsetof(LogSenseCdb, pc_page_code));

constexpr std::uint8_t kPageCodeMask = 0x3F;
constexpr std::uint8_t kPageCodeHighBit = 5;
constexpr std::uint8_t kSubpageFormat = 0x40;  ///< SPF
constexpr std::uint8_t kAllSubpages = 0xFF;

/// Log page codes (SPC-4 table 322, SBC-3 table 135).
enum LogPageCode : std::uint8_t {
  kSupportedLogPages = 0x00,
  kWriteErrorCounters = 0x02,
  kReadErrorCounters = 0x03,
  kVerifyErrorCounters = 0x05,
  kLogicalBlockProvisioning = 0x0C,
  kTemperature = 0x0D,
  kInformationalExceptions = 0x2F,
};

/// Format and linking: not saved, no threshold (SPC-4 7.3.2.2). A counter stops at its greatest value.
constexpr std::uint8_t kBoundedCounter = 0x00;
constexpr std::uint8_t kListParameter = 0x03;
constexpr std::uint8_t kTemperatureUnknown = 0xFF;

struct LogParameter {
  std::uint16_t code = 0;
  std::uint8_t format = kListParameter;
  std::vector<std::uint8_t> value{};
};
using LogParameters = std::vector<LogParameter>;

// ---- The pages -------------------------------------------------------------------------------------------------

LogParameter counter(std::uint16_t code, std::uint64_t count) {
  LogParameter parameter{code, kBoundedCounter, {}};
  base::ByteWriter(parameter.value).u64(count);
  return parameter;
}

/// SPC-4 7.3.6: there is nothing that could be corrected, and no retry.
LogParameters error_counters(const ErrorCounters& counters, bool with_bytes) {
  constexpr std::uint16_t kCorrectedLast = 0x0004, kBytesProcessed = 0x0005, kUncorrected = 0x0006;
  LogParameters parameters;
  for (std::uint16_t code = 0; code <= kCorrectedLast; ++code) parameters.push_back(counter(code, 0));
  if (with_bytes) parameters.push_back(counter(kBytesProcessed, counters.bytes));
  parameters.push_back(counter(kUncorrected, counters.uncorrected));
  return parameters;
}

/// SBC-3 6.4.4.2.
enum class ProvisioningParameter : std::uint16_t { available = 0x0001, used = 0x0002 };
enum class ResourceScope : std::uint8_t { dedicated = 0x01, may_be_shared = 0x02 };

LogParameter resource_count(ProvisioningParameter code, std::uint64_t threshold_sets, ResourceScope scope) {
  LogParameter parameter{static_cast<std::uint16_t>(code), kListParameter, {}};
  base::ByteWriter writer(parameter.value);
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  writer.u32(static_cast<std::uint32_t>(std::min(threshold_sets, kMost)));
  writer.u8(static_cast<std::uint8_t>(scope));
  writer.zeros(3);
  return parameter;
}

/// WINDOWS: asked for on a thin disk, to know how much of it is left. Memory is one pool for all who write to it; a
/// file has blocks of its own, and what is left is the logical unit's, or what its file system still has.
LogParameters provisioning_parameters(const LogicalUnit& lu) {
  using enum ResourceScope;
  const std::uint64_t set = std::uint64_t{lu.block_length()} << lu.thresholds().exponent();
  const bool pool = lu.thresholds().exponent() != 0;
  const std::uint64_t capacity = lu.capacity().value * lu.block_length();
  std::uint64_t used = lu.store().allocated_bytes();
  if (!pool) used = std::min(used, capacity);
  const std::uint64_t unused = pool ? std::numeric_limits<std::uint64_t>::max() : capacity - used;
  const std::uint64_t available = std::min(lu.store().available_bytes().value_or(unused), unused);
  return {resource_count(ProvisioningParameter::available, available / set, pool ? may_be_shared : dedicated),
          resource_count(ProvisioningParameter::used, used / set, pool ? may_be_shared : dedicated)};
}

/// SPC-4 7.3.20: of the device, and the reference it should stay below.
LogParameters temperatures() {
  return {{0x0000, kListParameter, {0, kTemperatureUnknown}}, {0x0001, kListParameter, {0, kTemperatureUnknown}}};
}

LogParameters parameters_of(const LogicalUnit& lu, std::uint8_t code) {
  switch (code) {
    case kWriteErrorCounters: return error_counters(lu.statistics().write, true);
    case kReadErrorCounters: return error_counters(lu.statistics().read, true);
    case kVerifyErrorCounters: return error_counters(lu.statistics().verify, false);
    case kLogicalBlockProvisioning: return provisioning_parameters(lu);
    case kTemperature: return temperatures();
    case kInformationalExceptions: return {{0, kListParameter, {0, 0, kTemperatureUnknown, 0}}};
    default: return {};
  }
}

std::vector<std::uint8_t> supported_pages(const LogicalUnit& lu) {
  std::vector<std::uint8_t> pages = {kSupportedLogPages, kWriteErrorCounters, kReadErrorCounters, kVerifyErrorCounters};
  if (lu.config().thin) pages.push_back(kLogicalBlockProvisioning);
  pages.insert(pages.end(), {kTemperature, kInformationalExceptions});
  return pages;
}

/// Page 00h, or with `subpages` 00h/FFh, where each page is two bytes (SPC-4 7.3.17, 7.3.18).
void write_supported_pages(base::ByteWriter& writer, const std::vector<std::uint8_t>& pages, bool subpages) {
  if (!subpages) return writer.bytes(pages);
  for (std::uint8_t page : pages) {
    writer.u8(page);
    writer.u8(0);
    if (page != kSupportedLogPages) continue;
    writer.u8(page);
    writer.u8(kAllSubpages);
  }
}

void write_parameters(base::ByteWriter& writer, const LogParameters& parameters, std::uint16_t from) {
  for (const LogParameter& parameter : parameters) {
    if (parameter.code < from) continue;
    writer.u16(parameter.code);
    writer.u8(parameter.format);
    auto length = writer.length8();
    writer.bytes(parameter.value);
  }
}

/// Of LOG SENSE and LOG SELECT: 05/24/00 at a page or subpage that there is not.
std::expected<void, Sense> check_page(const LogicalUnit& lu, std::uint8_t code, std::uint8_t subpage) {
  auto pages = supported_pages(lu);
  if (std::ranges::find(pages, code) == pages.end()) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(LogSenseCdb, pc_page_code), kPageCodeHighBit,
                                                       fmt::format("no log page {:02X}h", code)));
  }
  if (subpage == 0 || (code == kSupportedLogPages && subpage == kAllSubpages)) return {};
  return std::unexpected(Sense::invalid_field_in_cdb(
      offsetof(LogSenseCdb, subpage_code), {}, fmt::format("log page {:02X}h has no subpage {:02X}h", code, subpage)));
}

}  // namespace

// ---- LOG SENSE -------------------------------------------------------------------------------------------------

std::uint64_t log_sense_length(const Task& task, const LogicalUnit*) {
  return base::load<LogSenseCdb>(task.cdb).allocation_length;
}

std::expected<void, Sense> log_sense(CommandContext& context) {
  const LogicalUnit& lu = *context.lu;
  auto cdb = context.cdb_as<LogSenseCdb>();
  std::uint8_t code = cdb.pc_page_code & kPageCodeMask;
  if (auto good = check_page(lu, code, cdb.subpage_code); !good) return good;
  LogParameters parameters = parameters_of(lu, code);
  std::uint16_t last = parameters.empty() ? 0 : parameters.back().code;
  if (cdb.parameter_pointer > last) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(LogSenseCdb, parameter_pointer), {},
        fmt::format("PARAMETER POINTER {} is beyond the last parameter, {}", cdb.parameter_pointer.value(), last)));
  }
  const bool subpage = cdb.subpage_code != 0;
  std::vector<std::uint8_t> out;
  {
    base::ByteWriter writer(out);
    writer.u8(subpage ? code | kSubpageFormat : code);
    writer.u8(cdb.subpage_code);
    auto length = writer.length16();
    if (code == kSupportedLogPages) write_supported_pages(writer, supported_pages(lu), subpage);
    write_parameters(writer, parameters, cdb.parameter_pointer);
  }
  context.respond(std::move(out));
  return {};
}

// ---- LOG SELECT ------------------------------------------------------------------------------------------------

std::expected<void, Sense> log_select(CommandContext& context) {
  LogicalUnit& lu = *context.lu;
  auto cdb = context.cdb_as<LogSelectCdb>();
  std::uint8_t code = cdb.pc_page_code & kPageCodeMask;
  if (auto good = check_page(lu, code, cdb.subpage_code); !good) return good;
  if (!(cdb.flags & LogSelectCdb::kParameterCodeReset)) return {};  // SPC-4 6.7: no list changes nothing
  // Page 00h stands for all of them.
  UnitStatistics left = lu.statistics();
  if (code == kSupportedLogPages || code == kWriteErrorCounters) left.write = {};
  if (code == kSupportedLogPages || code == kReadErrorCounters) left.read = {};
  if (code == kSupportedLogPages || code == kVerifyErrorCounters) left.verify = {};
  if (left == lu.statistics()) return {};
  lu.statistics() = left;
  lu.unit_attentions().establish_for_all(AdditionalSense::log_parameters_changed, context.task.nexus);
  return {};
}

}  // namespace scsi
