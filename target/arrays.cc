#include "target/arrays.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "handlers/memory_budget.h"
#include "handlers/memory_pool.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/task_set.h"
#include "target/state_file.h"
#include "tokens/token_manager.h"

namespace target {
namespace {

/// Enough for a few hosts, however small the memory limit is.
constexpr std::uint64_t kLeastDataInFlight = 64 << 20;

/// A token says by its creator's designator which array made it, and a host takes two logical units of one designator
/// for one disk. Within an array that is what it is: the same file behind two targets.
void refuse_shared_designators(const std::vector<std::unique_ptr<Array>>& arrays) {
  std::map<std::array<std::uint8_t, 16>, std::pair<const Array*, const Array::ExportedLun*>> seen;
  for (const auto& array : arrays) {
    for (const Array::ExportedLun& lun : array->luns()) {
      auto [at, is_new] = seen.try_emplace(lun.logical_unit->identity().naa, array.get(), &lun);
      if (is_new || at->second.first == array.get()) continue;
      throw StoreError(
          fmt::format("{}: \"{}\" of array \"{}\" has the designator of \"{}\" of array \"{}\"; expected "
                      "an id for each array",
                      lun.place, lun.logical_unit->config().name, array->name(),
                      at->second.second->logical_unit->config().name, at->second.first->name()));
    }
  }
}

std::unique_ptr<StateFolder> open_state_folder(const std::string& path) {
  if (path.empty()) return nullptr;
  try {
    return std::make_unique<StateFolder>(path);
  } catch (const std::runtime_error& error) {
    throw StoreError(fmt::format("state_dir: {}", error.what()));
  }
}

}  // namespace

Arrays::Arrays(const Config& config, const base::Clock& array_clock, base::TimerQueue& timers, base::Entropy& entropy,
               base::Executor& executor)
    : array_clock_(array_clock),
      pool_(handlers::MemoryPool::create(config.memory_limit.value_or(handlers::default_memory_limit()))),
      state_folder_(open_state_folder(config.state_dir)) {
  directory_.discovery = config.discovery;
  directory_.limits = config.limits;
  directory_.limits.max_data_in_flight = config.max_data_in_flight.value_or(
      std::clamp(pool_->budget().limit() / 4, kLeastDataInFlight, directory_.limits.max_data_in_flight));
  for (std::size_t i = 0; i < config.arrays.size(); ++i) {
    std::vector<const TargetConfig*> targets;
    for (const TargetConfig& target : config.targets)
      if (target.array == i) targets.push_back(&target);
    arrays_.push_back(std::make_unique<Array>(config.arrays[i], targets,
                                              Surroundings{array_clock, timers, entropy, executor, pool_, fabric_,
                                                           state_folder_.get(), config.portal_groups()}));
    std::ranges::copy(arrays_.back()->nodes(), std::back_inserter(directory_.targets));
  }
  refuse_shared_designators(arrays_);
  set_unreachable(config.unreachable);
}

Arrays::~Arrays() {
  // A copy may use a token of another array: none goes before all copies have.
  for (const auto& array : arrays_) array->copy_manager().abandon_jobs();
}

void Arrays::stop_copies() {
  auto nobody = std::make_shared<scsi::Rendezvous>([] {});
  for (const auto& array : arrays_) {
    array->copy_manager().stop_all(nobody);
    for (const Array::ExportedLun& lun : array->luns()) lun.logical_unit->medium().stop_operation();
  }
}

void Arrays::advertise(const std::vector<iscsi::PortalAddress>& portals) {
  for (iscsi::TargetNode& node : directory_.targets) node.portals = portals;
}

void Arrays::set_unreachable(const std::vector<UnreachablePair>& pairs) {
  auto is_array = [this](const std::string& name) {
    return std::ranges::any_of(arrays_, [&](const auto& array) { return array->name() == name; });
  };
  std::vector<scsi::Reachability::Cut> cuts;
  for (const UnreachablePair& pair : pairs) cuts.push_back({pair.a, pair.b, pair.refusal});
  // The first that fits decides, and what is said of logical units goes before what is said of their arrays.
  std::ranges::stable_sort(cuts, {}, [&](const auto& cut) { return is_array(cut.a) + is_array(cut.b); });
  fabric_.reachability().set(std::move(cuts));
}

std::vector<std::string> Arrays::change_access(const std::vector<TargetConfig>& targets) {
  std::vector<std::string> lines;
  for (const auto& array : arrays_) std::ranges::move(array->change_access(targets), std::back_inserter(lines));
  return lines;
}

bool Arrays::reclaim() {
  constexpr std::size_t kTokens = 64, kObjects = 16;  // some 100 microseconds
  bool more = pool_->reclaim(kObjects);
  for (const auto& array : arrays_) {
    tokens::TokenManager& tokens = array->copy_manager().tokens();
    base::TimePoint due = tokens.next_sweep();
    if (due == base::TimePoint::max() || array_clock_.now() < due) continue;
    tokens.sweep(kTokens);
    more = true;
  }
  return more;
}

base::TimePoint Arrays::next_reclaim() const {
  base::TimePoint next = base::TimePoint::max();
  for (const auto& array : arrays_) next = std::min(next, array->copy_manager().tokens().next_sweep());
  return next;
}

std::vector<std::string> Arrays::flush() {
  std::vector<std::string> failures;
  for (const auto& array : arrays_) std::ranges::move(array->flush(), std::back_inserter(failures));
  return failures;
}

std::vector<iscsi::PortalAddress> advertised_portals(const std::vector<PortalConfig>& portals,
                                                     const std::vector<iscsi::PortalAddress>& bound) {
  std::vector<iscsi::PortalAddress> told;
  for (std::size_t i = 0; i < portals.size(); ++i) {
    if (portals[i].is_wildcard() && !portals[i].advertised) return {};
    told.push_back(portals[i].advertised.value_or(bound[i]));
    told.back().portal_group_tag = portals[i].group;
  }
  return told;
}

std::string portal_for_urls(const PortalConfig& portal, const iscsi::PortalAddress& bound) {
  iscsi::PortalAddress address = portal.advertised.value_or(bound);
  if (portal.is_wildcard() && !portal.advertised)
    address.address = address.address.starts_with('[') ? "[::1]" : "127.0.0.1";
  return fmt::format("{}:{}", address.address, address.port);
}

}  // namespace target
