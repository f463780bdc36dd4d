#include "scsi/block_medium.h"

#include <fmt/format.h>

#include <algorithm>

#include "scsi/block_layouts.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"

namespace scsi {
namespace {

constexpr std::uint64_t kLargestLba10 = 0xFFFFFFFF;

std::vector<std::uint8_t> copy_of(base::Bytes bytes) { return {bytes.begin(), bytes.end()}; }

/// The rule READ CAPACITY (10) and (16) share, whose fields stand at the same places.
template <typename Cdb>
std::expected<void, Sense> check_partial_medium(const Cdb& cdb) {
  const bool partial = (cdb.partial_medium_indicator & kPartialMediumIndicator) != 0;
  const std::uint64_t lba = cdb.logical_block_address;
  if (partial || lba == 0) return {};
  return std::unexpected(Sense::invalid_field_in_cdb(offsetof(Cdb, logical_block_address), {},
                                                     fmt::format("LOGICAL BLOCK ADDRESS is {} and PMI is 0", lba)));
}

}  // namespace

std::expected<void, Sense> read_capacity_10(CommandContext& context) {
  const LogicalUnit& lu = *context.lu;
  if (auto good = check_partial_medium(context.cdb_as<ReadCapacity10Cdb>()); !good) return good;
  const std::uint64_t last = lu.capacity().value - 1;
  const ReadCapacity10Data data{static_cast<std::uint32_t>(std::min(last, kLargestLba10)), lu.block_length()};
  context.respond(copy_of(base::bytes_of(data)));
  return {};
}

std::expected<void, Sense> read_capacity_16(CommandContext& context) {
  const LogicalUnit& lu = *context.lu;
  if (auto good = check_partial_medium(context.cdb_as<ServiceActionIn16Cdb>()); !good) return good;
  ReadCapacity16Data data{};
  data.returned_logical_block_address = lu.capacity().value - 1;
  data.block_length_in_bytes = lu.block_length();
  data.logical_blocks_per_physical_block_exponent = lu.config().blocks_per_physical_exponent;
  if (lu.config().thin)
    data.lowest_aligned_logical_block_address = ReadCapacity16Data::kLbpme | ReadCapacity16Data::kLbprz;
  context.respond(copy_of(base::bytes_of(data)));
  return {};
}

std::expected<void, Sense> start_stop_unit(CommandContext& context) {
  const auto cdb = context.cdb_as<StartStopUnitCdb>();
  LogicalUnit& lu = *context.lu;
  if ((cdb.flags & StartStopUnitCdb::kPowerCondition) != 0) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(StartStopUnitCdb, flags), StartStopUnitCdb::kPowerConditionBit,
        fmt::format("no power conditions are supported: POWER CONDITION and flags are {:02X}h", cdb.flags)));
  }
  if ((cdb.flags & StartStopUnitCdb::kLoadEject) != 0) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(StartStopUnitCdb, flags), StartStopUnitCdb::kLoadEjectBit, "LOEJ: the medium is not removable"));
  }
  if ((cdb.flags & StartStopUnitCdb::kStart) != 0) {
    lu.set_stopped(false);
    return {};
  }
  const bool flushing = (cdb.flags & StartStopUnitCdb::kNoFlush) == 0;
  context.start(
      Access::barrier, {0, lu.store().size_bytes()},
      [task = &context.task, flushing]() -> std::expected<void, Sense> {
        return flushing ? io_outcome(task->logical_unit->store().flush()) : std::expected<void, Sense>{};
      },
      [&lu](std::expected<void, Sense> outcome) {
        if (outcome) lu.set_stopped(true);
        return outcome;
      });
  return {};
}

}  // namespace scsi
