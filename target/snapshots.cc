#include "target/snapshots.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "handlers/memory_pool.h"
#include "scsi/capacity_change.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "tokens/token_manager.h"

namespace target {
namespace {

void refuse_while_erased(const scsi::LogicalUnit& unit) {
  if (unit.medium().operation() != scsi::Medium::Operation::none)
    throw ChangeError(
        fmt::format("\"{}\" is being formatted or sanitized; expected it when that is over", unit.config().name));
}

bool in_memory(const Array::ExportedLun& lun) { return !lun.logical_unit->store().may_block(); }

std::vector<Arrays::OfferedLun> all_luns(const Arrays& arrays) {
  std::vector<Arrays::OfferedLun> all;
  for (const auto& array : arrays.all())
    for (const Array::ExportedLun& lun : array->luns())
      all.push_back(arrays.find_lun(lun.target_name, lun.config.number));
  std::erase_if(all, [](const Arrays::OfferedLun& lun) { return lun.lun == nullptr; });  // of a target that leaves
  return all;
}

}  // namespace

const Snapshots::Snapshot& Snapshots::take(const std::string& name) {
  if (snapshots_.contains(name)) throw ChangeError(fmt::format("there is a snapshot \"{}\" already", name));
  if (snapshots_.size() >= kMaximum) throw ChangeError(fmt::format("there are {} snapshots already", kMaximum));
  Snapshot snapshot{.name = name, .taken = clock_.now(), .luns = {}};
  for (const Arrays::OfferedLun& each : all_luns(arrays_)) {
    scsi::LogicalUnit& unit = *each.lun->logical_unit;
    Lun lun{.target = each.lun->target_name,
            .number = each.lun->config.number,
            .name = unit.config().name,
            .naa = unit.identity().naa,
            .block_length = unit.block_length(),
            .size_bytes = unit.size_bytes()};
    if (in_memory(*each.lun)) {
      refuse_while_erased(unit);
      const handlers::ByteRange whole{0, unit.size_bytes()};
      auto data = unit.store().capture({&whole, 1});
      if (!data) throw ChangeError(fmt::format("\"{}\" cannot be captured: {}", lun.name, data.error().reason));
      lun.data = std::move(*data);
    } else {
      lun.why_not = "its store is a file or device: use snapshots of the file system, or copy the file";
    }
    snapshot.luns.push_back(std::move(lun));
  }
  snapshot.number = ++taken_;
  return snapshots_.emplace(name, std::move(snapshot)).first->second;
}

void Snapshots::restore(const std::string& name, Done done) {
  auto found = snapshots_.find(name);
  if (found == snapshots_.end()) throw ChangeError(fmt::format("there is no snapshot \"{}\"", name));
  std::vector<Arrays::OfferedLun> concerned;
  std::vector<Lun> wanted;
  for (const Lun& lun : found->second.luns) {
    if (!lun.data) continue;
    const Arrays::OfferedLun now = find(lun);
    if (!now.lun)
      throw ChangeError(
          fmt::format("LUN {} of {} is not the one of the snapshot \"{}\" any more", lun.number, lun.target, name));
    refuse_while_erased(*now.lun->logical_unit);
    concerned.push_back(now);
    wanted.push_back(lun);
  }
  auto change = [this, wanted = std::move(wanted)] {
    std::vector<std::string> failures;
    for (const Lun& lun : wanted)
      if (std::string failure = put_back(lun); !failure.empty()) failures.push_back(std::move(failure));
    return failures;
  };
  power_cycle(concerned, std::move(change), std::move(done));
}

/// A serial that is configured is that of whatever LUN is put in the place of one that was removed.
Arrays::OfferedLun Snapshots::find(const Lun& lun) const {
  const Arrays::OfferedLun now = arrays_.find_lun(lun.target, lun.number);
  if (!now.lun) return {};
  const scsi::LogicalUnit& unit = *now.lun->logical_unit;
  const bool same = unit.identity().naa == lun.naa && unit.block_length() == lun.block_length && in_memory(*now.lun);
  return same ? now : Arrays::OfferedLun{};
}

std::string Snapshots::put_back(const Lun& lun) const {
  const Arrays::OfferedLun now = find(lun);
  if (!now.lun) return {};  // it was removed meanwhile
  scsi::LogicalUnit& unit = *now.lun->logical_unit;
  handlers::BackingStore& store = unit.store();
  constexpr std::size_t kObjects = 4096;
  handlers::IoResult<void> outcome = store.unmap({0, unit.size_bytes()});
  while (arrays_.memory().budget().exhausted() && arrays_.memory().reclaim(kObjects)) continue;
  if (outcome && unit.size_bytes() < lun.size_bytes) outcome = store.resize(lun.size_bytes);
  if (!outcome) return fmt::format("{}: {}", lun.name, outcome.error().reason);
  scsi::change_capacity(unit, now.array->copy_manager(), lun.size_bytes);
  outcome = store.clone(*lun.data, {0, lun.size_bytes}, 0, nullptr);
  return outcome ? std::string() : fmt::format("{}: {}", lun.name, outcome.error().reason);
}

void Snapshots::clear(Done done) {
  std::vector<Arrays::OfferedLun> concerned = all_luns(arrays_);
  for (const Arrays::OfferedLun& each : concerned) refuse_while_erased(*each.lun->logical_unit);
  auto change = [this] {
    std::vector<std::string> failures;
    for (const Arrays::OfferedLun& each : all_luns(arrays_)) {
      scsi::LogicalUnit& unit = *each.lun->logical_unit;
      if (!in_memory(*each.lun)) continue;
      if (auto unmapped = unit.store().unmap({0, unit.size_bytes()}); !unmapped)
        failures.push_back(fmt::format("{}: {}", unit.config().name, unmapped.error().reason));
    }
    return failures;
  };
  power_cycle(concerned, std::move(change), std::move(done));
}

/// Step by step: there may be a million.
void Snapshots::free_forgotten_tokens(Done done, std::vector<std::string> failures) {
  constexpr std::size_t kTokens = 16;  // some ten microseconds
  bool more = false;
  for (const auto& array : arrays_.all()) more |= array->copy_manager().tokens().free_forgotten(kTokens);
  if (!more) return done(std::move(failures));
  executor_.later([this, done = std::move(done), failures = std::move(failures)]() mutable {
    free_forgotten_tokens(std::move(done), std::move(failures));
  });
}

/// What runs is stopped first; then, in a turn of its own, when nothing of it moves any more, the data changes. Hosts
/// are told of both, as they may have asked in between.
void Snapshots::power_cycle(const std::vector<Arrays::OfferedLun>& luns, Change change, Done done) {
  std::vector<std::weak_ptr<scsi::LogicalUnit>> units;
  for (const Arrays::OfferedLun& each : luns) units.push_back(each.lun->logical_unit);
  auto finish = [this, units = std::move(units), change = std::move(change), done = std::move(done)]() mutable {
    std::vector<std::string> failures = change();
    for (const auto& array : arrays_.all()) array->copy_manager().tokens().forget_all();
    for (const auto& each : units)
      if (auto unit = each.lock())
        unit->unit_attentions().establish_for_all(scsi::AdditionalSense::power_on_reset_or_bus_device_reset_occurred);
    free_forgotten_tokens(std::move(done), std::move(failures));
  };
  auto quiet = std::make_shared<scsi::Rendezvous>(
      [this, finish = std::move(finish)]() mutable { executor_.post([] {}, std::move(finish)); });
  for (const Arrays::OfferedLun& each : luns) each.lun->server->power_cycle(*each.lun->logical_unit, quiet);
  // Data of LUNs that stay as they are may be on its way here.
  for (const auto& array : arrays_.all()) array->copy_manager().stop_all(quiet);
}

}  // namespace target
