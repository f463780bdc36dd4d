#include "scsi/block_medium.h"

#include <fmt/format.h>

#include <algorithm>

#include "scsi/block_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/unit_attentions.h"

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

namespace {

using Outcome = std::expected<void, Sense>;

/// SPC-4 6.15 inhibits removal; that loading is refused too is what iscsi-test-cu (PreventAllow.Eject) wants.
Outcome check_removal(const Medium& medium) {
  if (!medium.removal_prevented()) return {};
  return std::unexpected(Sense::illegal_request(AdditionalSense::medium_removal_prevented,
                                                "PREVENT ALLOW MEDIUM REMOVAL of an I_T nexus prevents it"));
}

/// The medium comes back: whoever knew it before has to look again, but the nexus that sent for it.
Outcome load(LogicalUnit& lu, NexusId nexus) {
  if (!lu.medium().present()) {
    if (auto good = check_removal(lu.medium()); !good) return good;
    lu.medium().set_present(true);
    lu.unit_attentions().establish_for_all(AdditionalSense::not_ready_to_ready_change_medium_may_have_changed, nexus);
  }
  lu.set_stopped(false);
  return {};
}

/// When everything before it is on the medium and nothing is under way any more.
Outcome eject(DeviceServer& server, LogicalUnit& lu) {
  if (auto good = check_removal(lu.medium()); !good) return good;
  lu.medium().set_present(false);
  server.copy_manager().medium_lost(lu);
  return {};
}

/// After a flush, unless NO_FLUSH: `then`.
template <typename Then>
Outcome after_flush(CommandContext& context, const StartStopUnitCdb& cdb, Then then) {
  const bool flushing = (cdb.flags & StartStopUnitCdb::kNoFlush) == 0;
  context.start(
      Access::barrier, {0, context.lu->store().size_bytes()},
      [task = &context.task, flushing]() -> Outcome {
        return flushing ? io_outcome(task->logical_unit->store().flush()) : Outcome{};
      },
      [then = std::move(then)](Outcome outcome) { return outcome ? then() : outcome; });
  return {};
}

/// LOEJ=1.
Outcome load_or_eject(CommandContext& context, const StartStopUnitCdb& cdb) {
  LogicalUnit& lu = *context.lu;
  if (!lu.config().removable) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(StartStopUnitCdb, flags), StartStopUnitCdb::kLoadEjectBit, "LOEJ: the medium is not removable"));
  }
  if ((cdb.flags & StartStopUnitCdb::kStart) != 0) return load(lu, context.task.nexus);
  if (!lu.medium().present()) return {};
  if (auto good = check_removal(lu.medium()); !good) return good;
  return after_flush(context, cdb, [&server = context.server, &lu] { return eject(server, lu); });
}

}  // namespace

Outcome start_stop_unit(CommandContext& context) {
  const auto cdb = context.cdb_as<StartStopUnitCdb>();
  LogicalUnit& lu = *context.lu;
  if ((cdb.flags & StartStopUnitCdb::kPowerCondition) != 0) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(StartStopUnitCdb, flags), StartStopUnitCdb::kPowerConditionBit,
        fmt::format("no power conditions are supported: POWER CONDITION and flags are {:02X}h", cdb.flags)));
  }
  if ((cdb.flags & StartStopUnitCdb::kLoadEject) != 0) return load_or_eject(context, cdb);
  if ((cdb.flags & StartStopUnitCdb::kStart) != 0) {
    if (!lu.medium().present()) return std::unexpected(lu.medium().condition());
    lu.set_stopped(false);
    return {};
  }
  if (!lu.medium().present()) return {};
  return after_flush(context, cdb, [&lu]() -> Outcome {
    lu.set_stopped(true);
    return {};
  });
}

Outcome prevent_allow_medium_removal(CommandContext& context) {
  const auto cdb = context.cdb_as<PreventAllowMediumRemovalCdb>();
  Medium& medium = context.lu->medium();
  if ((cdb.prevent & PreventAllowMediumRemovalCdb::kPrevent) != 0)
    medium.prevent_removal(context.task.nexus);
  else
    medium.allow_removal(context.task.nexus);
  return {};
}

}  // namespace scsi
