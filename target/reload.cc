#include "target/reload.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "handlers/factory.h"
#include "scsi/logical_unit.h"
#include "scsi/rules.h"
#include "target/iscsi/session_registry.h"

namespace target {
namespace {

using handlers::StoreSpec;

std::string text_of(const Reload::Place& place) { return fmt::format("LUN {} of {}", place.number, place.target); }

/// Whether both lines name the same data.
bool same_data(const StoreSpec& a, const StoreSpec& b) { return a.kind == b.kind && a.path == b.path; }

StoreSpec store_of(const LunConfig& lun) {
  try {
    return handlers::parse_store(lun.store);
  } catch (const handlers::OpenError& error) {
    throw StoreError(fmt::format("{}: {}", lun.place, error.what()));
  }
}

bool read_only(const LunConfig& lun) { return lun.read_only || store_of(lun).read_only; }

/// What is wrong with a change is said with the place that asks for it.
template <typename Judge>
void judge_at(const std::string& place, Judge judge) {
  try {
    judge();
  } catch (const ChangeError& error) {
    throw ChangeError(fmt::format("{}: {}", place, error.what()));
  }
}

}  // namespace

Reload::Reload(const Config& started, const Config& wanted, Arrays& arrays,
               std::function<bool(const Array::ExportedLun&)> foreign)
    : arrays_(arrays), wanted_(wanted), foreign_(std::move(foreign)) {
  judge_process(started);
  if (restart_.empty()) judge_targets();  // which array is whose is known
  if (!restart_.empty()) throw ChangeError(fmt::format("these need a restart of odxd: {}", fmt::join(restart_, "; ")));
  judge_names();
  for (const Addition& each : additions_) opened_.push_back(arrays_.open_lun(each.array, each.config));
}

void Reload::judge_process(const Config& started) {
  auto fixed = [this](bool same, std::string_view key) {
    if (!same) needs_restart(std::string(key));
  };
  fixed(wanted_.memory_limit == started.memory_limit, "memory_limit");
  fixed(wanted_.threads == started.threads, "threads");
  fixed(wanted_.state_dir == started.state_dir, "state_dir");
  fixed(wanted_.clock == started.clock, "[clock]");
  fixed(wanted_.journal == started.journal, "[journal]");
  fixed(wanted_.portals == started.portals, "[[portal]]");
  fixed(wanted_.arrays == started.arrays, "id, profile, [tokens], [copy], [block_limits] or [[array]]");
  fixed(wanted_.limits == started.limits && wanted_.max_data_in_flight == started.max_data_in_flight, "[iscsi]");
  fixed(wanted_.peers == started.peers, "[[peer]]");
  fixed(wanted_.control == started.control, "[control]");
}

void Reload::judge_targets() {
  std::set<std::string> names;
  for (TargetConfig& target : wanted_.targets) {
    if (target.name.empty()) target.name = arrays_.all().at(target.array)->default_target_name();
    names.insert(target.name);
    const Array* offering = arrays_.find_array(target.name);
    if (!offering) {
      new_targets_.push_back(target);
      for (const LunConfig& lun : target.luns) additions_.push_back({target.name, target.array, lun});
    } else if (offering != arrays_.all().at(target.array).get()) {
      needs_restart(fmt::format("the array of {}", target.name));
    } else {
      judge_ports(target);
      judge_luns(target);
    }
  }
  for (const auto& node : arrays_.directory().targets)
    if (!names.contains(node->name)) gone_targets_.push_back(node->name);
}

/// What a device server is made with.
void Reload::judge_ports(const TargetConfig& target) {
  const Array& array = *arrays_.find_array(target.name);
  if (array.portal_groups(target) != arrays_.directory().find(target.name)->portal_group_tags)
    needs_restart(fmt::format("portal_groups of {}", target.name));
  if (target.alua != array.alua(target.name)) needs_restart(fmt::format("alua of {}", target.name));
}

void Reload::judge_luns(const TargetConfig& target) {
  std::set<std::uint16_t> numbers;
  for (const LunConfig& lun : target.luns) {
    numbers.insert(lun.number);
    const Arrays::OfferedLun now = arrays_.find_lun(target.name, lun.number);
    if (!now.lun) {
      additions_.push_back({target.name, target.array, lun});
    } else if (same_data(store_of(lun), store_of(now.lun->config)) && !(foreign_ && foreign_(*now.lun))) {
      judge_kept(target, lun, now);
    } else {  // another disk with the same number
      gone_luns_.push_back({target.name, lun.number});
      additions_.push_back({target.name, target.array, lun});
    }
  }
  for (const Array::ExportedLun& now : arrays_.find_array(target.name)->luns())
    if (now.target_name == target.name && !numbers.contains(now.config.number))
      gone_luns_.push_back({target.name, now.config.number});
}

void Reload::judge_kept(const TargetConfig& target, const LunConfig& lun, const Arrays::OfferedLun& now) {
  const LunConfig& before = now.lun->config;
  const Place place{target.name, lun.number};
  auto fixed = [&](bool same, std::string_view key) {
    if (!same) needs_restart(fmt::format("{}: {} of {}", lun.place, key, text_of(place)));
  };
  fixed(!lun.named || lun.name == before.name, "name");
  fixed(lun.block_size == before.block_size, "block_size");
  fixed(lun.physical_block_exponent == before.physical_block_exponent, "physical_block_exponent");
  fixed(lun.removable == before.removable, "removable");
  fixed(lun.thin == before.thin, "provisioning");
  fixed(lun.self_encrypting == before.self_encrypting, "self_encrypting");
  fixed(lun.soft_threshold == before.soft_threshold, "soft_threshold");
  fixed(lun.allowed_initiators == before.allowed_initiators, "allowed_initiators");
  fixed(lun.serial == before.serial, "serial");
  fixed(lun.naa == before.naa, "naa");
  Kept kept{place, lun, lun.name};
  kept.config.name = before.name;  // one that follows from where a LUN stands does not change with that
  kept_.push_back(std::move(kept));
  if (lun.block_size == before.block_size) judge_size(lun, now, place);
  if (read_only(lun) != now.lun->logical_unit->read_only()) {
    judge_at(lun.place, [&] { Array::judge_read_only(*now.lun, read_only(lun)); });
    protections_.push_back({place, read_only(lun)});
  }
}

void Reload::judge_size(const LunConfig& lun, const Arrays::OfferedLun& now, const Place& place) {
  const scsi::LogicalUnit& unit = *now.lun->logical_unit;
  Resize resize{place, store_of(lun).size.value_or(0), lun.place};
  if (resize.size_bytes == 0) {
    auto there = unit.store().measure();
    if (!there) throw StoreError(fmt::format("{}: {}", lun.place, there.error().reason));
    resize.size_bytes = *there / unit.block_length() * unit.block_length();
    resize.outside = true;
    if (resize.size_bytes < unit.size_bytes()) {
      base::log::warning("{}: {} has {} bytes and its file or device only {}", lun.place, text_of(place),
                         unit.size_bytes(), *there);
      return;
    }
  }
  if (resize.size_bytes == unit.size_bytes()) return;
  judge_at(lun.place, [&] { Array::judge_size(*now.lun, resize.size_bytes); });
  resizes_.push_back(resize);
}

/// Of a process in which some LUNs keep names that the file does not say, and others are still being removed.
void Reload::judge_names() const {
  std::set<std::string> targets = arrays_.target_names();
  for (const TargetConfig& target : new_targets_)
    if (targets.contains(target.name))
      throw ChangeError(fmt::format("{} is still being removed; expected it when that is over", target.name));
  std::set<std::string> names = arrays_.lun_names();
  for (const Place& gone : gone_luns_) names.erase(arrays_.find_lun(gone.target, gone.number).lun->config.name);
  for (const Addition& each : additions_)
    if (!names.insert(each.config.name).second)
      throw ChangeError(
          fmt::format("{}: the name \"{}\" is taken by a LUN that is served; expected another, or the LUN "
                      "when that one is gone",
                      each.config.place, each.config.name));
}

std::vector<std::string> Reload::apply(iscsi::SessionRegistry& sessions, std::chrono::seconds grace) {
  grow();
  remove(sessions, grace);
  change();
  add();
  // A pair names LUNs as the file does, where that is by where they stand.
  std::map<std::string, std::string> names;
  for (const Kept& kept : kept_) names[kept.name_in_file] = kept.config.name;
  for (UnreachablePair& pair : wanted_.unreachable)
    for (std::string* end : {&pair.a, &pair.b})
      if (auto known = names.find(*end); known != names.end()) *end = known->second;
  arrays_.set_unreachable(wanted_.unreachable);
  return std::move(changes_);
}

/// Everything of which the operating system may say no.
void Reload::grow() {
  std::vector<std::pair<handlers::BackingStore*, std::uint64_t>> grown;
  for (const Resize& each : resizes_) {
    const Arrays::OfferedLun now = arrays_.find_lun(each.place.target, each.place.number);
    handlers::BackingStore& store = now.lun->logical_unit->store();
    const std::uint64_t before = store.size_bytes();
    if (each.outside || each.size_bytes < before) continue;
    auto resized = store.resize(each.size_bytes);
    if (resized) {
      grown.emplace_back(&store, before);
      continue;
    }
    for (auto& [longer, size] : grown) (void)longer->resize(size);
    throw StoreError(fmt::format("{}: {}", each.written, resized.error().reason));
  }
}

void Reload::remove(iscsi::SessionRegistry& sessions, std::chrono::seconds grace) {
  for (const std::string& name : gone_targets_) {
    arrays_.remove_target(name);
    sessions.request_logout(name, grace);
    changes_.push_back(fmt::format("{} is removed", name));
  }
  for (const Place& place : gone_luns_) {
    arrays_.remove_lun(place.target, place.number);
    changes_.push_back(fmt::format("{} is removed", text_of(place)));
  }
}

void Reload::change() {
  for (const Resize& each : resizes_) {
    arrays_.resize_lun(each.place.target, each.place.number, each.size_bytes);
    changes_.push_back(fmt::format("{} has {} bytes", text_of(each.place), each.size_bytes));
  }
  for (const Protection& each : protections_) {
    arrays_.set_read_only(each.place.target, each.place.number, each.read_only);
    changes_.push_back(fmt::format("{} is {}", text_of(each.place), each.read_only ? "read-only" : "writable"));
  }
  for (Kept& kept : kept_) {
    std::ranges::move(arrays_.change_access(kept.place.target, kept.place.number, kept.config.access),
                      std::back_inserter(changes_));
    const Arrays::OfferedLun now = arrays_.find_lun(kept.place.target, kept.place.number);
    now.lun->config = kept.config;
  }
  if (arrays_.set_discovery(wanted_.discovery)) changes_.push_back("discovery has another CHAP");
  if (arrays_.rules().replace_those_of_file(wanted_.rules))
    changes_.push_back(fmt::format("{} rules of the file, which count from the start", wanted_.rules.size()));
}

void Reload::add() {
  for (const TargetConfig& target : new_targets_) {
    arrays_.add_target(target);
    changes_.push_back(fmt::format("{} is added", target.name));
  }
  for (const TargetConfig& target : wanted_.targets)
    if (arrays_.set_login(target)) changes_.push_back(fmt::format("who may log in to {} is changed", target.name));
  for (std::size_t i = 0; i < additions_.size(); ++i) {
    const Addition& each = additions_[i];
    arrays_.add_lun(each.target, std::move(opened_[i]));
    added_.push_back({each.target, each.config.number});
    changes_.push_back(fmt::format("{} is added: {}", text_of(added_.back()), each.config.store));
  }
}

}  // namespace target
