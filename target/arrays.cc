#include "target/arrays.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "handlers/memory_budget.h"
#include "handlers/memory_pool.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/rules.h"
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
                      lun.config.place, lun.logical_unit->config().name, array->name(),
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

Arrays::OfferedLun existing(Arrays::OfferedLun found, const std::string& target_name, std::uint16_t number) {
  if (!found.lun) throw ChangeError(fmt::format("there is no LUN {} of {}", number, target_name));
  return found;
}

}  // namespace

Arrays::Arrays(const Config& config, const base::Clock& array_clock, base::TimerQueue& timers, base::Entropy& entropy,
               base::Executor& executor, base::Ref<handlers::MemoryPool> pool)
    : pool_(pool ? std::move(pool)
                 : handlers::MemoryPool::create(config.memory_limit.value_or(handlers::default_memory_limit()))),
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
    for (const TargetConfig* target : targets) offer(arrays_.back()->node(*target));
  }
  refuse_shared_designators(arrays_);
  set_unreachable(config.unreachable);
  rules().replace_those_of_file(config.rules);
  rules().on_fill_pool([this](bool full) { fill_pool(full); });
}

/// As if somebody else had written so much: what is freed can be written again.
void Arrays::fill_pool(bool full) {
  handlers::MemoryBudget& budget = pool_->budget();
  if (!full) return budget.refund(std::exchange(taken_from_pool_, 0));
  const std::uint64_t left = budget.available().value_or(0);
  if (budget.try_charge(left)) taken_from_pool_ += left;
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
  advertised_ = portals;
  for (const auto& node : directory_.targets) node->portals = portals;  // before the first login
}

void Arrays::offer(const iscsi::TargetNode& node) {
  auto offered = std::make_shared<iscsi::TargetNode>(node);
  offered->portals = advertised_;
  if (auto* known = find_node(node.name)) {
    *known = std::move(offered);
  } else {
    directory_.targets.push_back(std::move(offered));
  }
}

std::shared_ptr<iscsi::TargetNode>* Arrays::find_node(const std::string& target_name) {
  auto found = std::ranges::find(directory_.targets, target_name, [](const auto& node) -> auto& { return node->name; });
  return found == directory_.targets.end() ? nullptr : &*found;
}

Array* Arrays::find_array(const std::string& target_name) const {
  auto node = directory_.find(target_name);
  if (!node) return nullptr;
  for (const auto& array : arrays_)
    if (array->offers(*node->device_server)) return array.get();
  return nullptr;
}

Arrays::OfferedLun Arrays::find_lun(const std::string& target_name, std::uint16_t number) const {
  Array* array = find_array(target_name);
  Array::ExportedLun* lun = array ? array->find_lun(target_name, number) : nullptr;
  return lun ? OfferedLun{array, lun} : OfferedLun{};
}

Array::OpenLun Arrays::open_lun(std::size_t array, const LunConfig& lun) const {
  Array::OpenLun opened = arrays_.at(array)->open(lun);
  for (const auto& other : arrays_) {
    if (other == arrays_.at(array)) continue;
    for (const Array::ExportedLun& known : other->luns()) {
      if (known.logical_unit->identity().naa != arrays_.at(array)->designator_of(opened)) continue;
      throw StoreError(
          fmt::format("{}: \"{}\" would have the designator of \"{}\" of array \"{}\"; expected an id for "
                      "each array",
                      lun.place, lun.name, known.config.name, other->name()));
    }
  }
  return opened;
}

const Array::ExportedLun& Arrays::add_lun(const std::string& target_name, Array::OpenLun lun) {
  return find_array(target_name)->add_lun(target_name, std::move(lun));
}

const Array::ExportedLun& Arrays::add_lun(const std::string& target_name, const LunConfig& lun) {
  Array* array = find_array(target_name);
  if (!array) throw ChangeError(fmt::format("there is no target {}", target_name));
  if (array->find_lun(target_name, lun.number))
    throw ChangeError(fmt::format("{} has a LUN {} already", target_name, lun.number));
  if (lun_names().contains(lun.name)) throw ChangeError(fmt::format("a LUN has the name \"{}\" already", lun.name));
  auto index = std::ranges::find(arrays_, array, [](const auto& each) { return each.get(); }) - arrays_.begin();
  return array->add_lun(target_name, open_lun(static_cast<std::size_t>(index), lun));
}

void Arrays::remove_lun(const std::string& target_name, std::uint16_t number) {
  existing(find_lun(target_name, number), target_name, number).array->remove_lun(target_name, number);
}

void Arrays::resize_lun(const std::string& target_name, std::uint16_t number, std::uint64_t size_bytes) {
  OfferedLun found = existing(find_lun(target_name, number), target_name, number);
  Array::judge_size(*found.lun, size_bytes);
  found.array->resize_lun(*found.lun, size_bytes);
}

void Arrays::set_read_only(const std::string& target_name, std::uint16_t number, bool read_only) {
  OfferedLun found = existing(find_lun(target_name, number), target_name, number);
  Array::judge_read_only(*found.lun, read_only);
  Array::set_read_only(*found.lun, read_only);
}

std::vector<std::string> Arrays::change_access(const std::string& target_name, std::uint16_t number,
                                               const std::vector<AccessConfig>& access) {
  OfferedLun found = existing(find_lun(target_name, number), target_name, number);
  std::vector<std::string> lines = Array::change_access(*found.lun, access);
  found.lun->config.access = access;
  return lines;
}

void Arrays::add_target(const TargetConfig& config) {
  if (target_names().contains(config.name))
    throw ChangeError(fmt::format("there is a target {} already, or it is still being removed", config.name));
  Array& array = *arrays_.at(config.array);
  array.add_target(config);
  offer(array.node(config));
}

void Arrays::remove_target(const std::string& target_name) {
  Array* array = find_array(target_name);
  if (!array) throw ChangeError(fmt::format("there is no target {}", target_name));
  array->remove_target(target_name);
  std::erase_if(directory_.targets, [&](const auto& node) { return node->name == target_name; });
}

bool Arrays::set_login(const TargetConfig& config) {
  Array* array = find_array(config.name);
  if (!array) throw ChangeError(fmt::format("there is no target {}", config.name));
  iscsi::TargetNode wanted = array->node(config);
  const iscsi::TargetNode& now = **find_node(config.name);
  if (now.alias == wanted.alias && now.redirection == wanted.redirection &&
      now.authentication == wanted.authentication && now.authentication_of == wanted.authentication_of &&
      now.allowed_initiators == wanted.allowed_initiators)
    return false;
  offer(wanted);
  return true;
}

bool Arrays::set_discovery(const iscsi::Authentication& authentication) {
  if (directory_.discovery == authentication) return false;
  directory_.discovery = authentication;
  return true;
}

std::set<std::string> Arrays::target_names() const {
  std::set<std::string> names;
  for (const auto& array : arrays_) std::ranges::copy(array->target_names(), std::inserter(names, names.end()));
  return names;
}

std::set<std::string> Arrays::lun_names() const {
  std::set<std::string> names;
  for (const auto& array : arrays_)
    for (const Array::ExportedLun& lun : array->luns()) names.insert(lun.config.name);
  return names;
}

void Arrays::set_unreachable(const std::vector<UnreachablePair>& pairs) {
  auto is_array = [this](const std::string& name) {
    return std::ranges::any_of(arrays_, [&](const auto& array) { return array->name() == name; });
  };
  std::vector<scsi::Reachability::Cut> cuts;
  for (const UnreachablePair& pair : pairs) cuts.push_back({pair.a, pair.b, pair.refusal});
  // The first that fits decides, and what is said of logical units goes before what is said of their arrays.
  std::ranges::stable_sort(cuts, {}, [&](const auto& cut) { return is_array(cut.a) + is_array(cut.b); });
  fabric_.set_cuts(std::move(cuts));
}

bool Arrays::let_go() {
  constexpr std::size_t kResults = 16;  // some ten microseconds
  bool more = false;
  for (const auto& array : arrays_) {
    array->collect_removed();
    more |= array->copy_manager().operations().free_lost(kResults);
  }
  return more;
}

bool Arrays::reclaim() {
  const bool more = let_go();
  return pool_->reclaim(kObjectsOfATurn) || more;
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
