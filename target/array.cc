#include "target/array.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "base/log.h"
#include "handlers/factory.h"
#include "handlers/memory_pool.h"
#include "scsi/capacity_change.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/reservation_image.h"
#include "scsi/unit_attentions.h"
#include "target/config_ports.h"
#include "target/state_file.h"

namespace target {
namespace {

using handlers::StoreSpec;

/// The path in "file:PATH[,ro][,size=SIZE]"; nothing for other stores.
std::optional<std::string> file_path(const std::string& store) {
  StoreSpec spec = handlers::parse_store(store);
  if (spec.kind != StoreSpec::Kind::file) return std::nullopt;
  return std::move(spec.path);
}

/// A read-only LUN opens its file so, that others may read it too.
std::unique_ptr<handlers::BackingStore> open_store(const LunConfig& lun, base::Ref<handlers::MemoryPool> pool) {
  std::string store = lun.store;
  StoreSpec spec = handlers::parse_store(store);
  if (lun.read_only && spec.kind == StoreSpec::Kind::file && !spec.read_only) store += ",ro";
  return handlers::open_store(store, {.pool = std::move(pool), .block_length = lun.block_size});
}

}  // namespace

/// Where what is kept of one logical unit is; null where nowhere.
struct StateFiles {
  std::unique_ptr<StateFile> reservations{};
  std::unique_ptr<StateFile> settings{};
};

namespace {

/// Beside the image, which no other process serves; what has none, or may have one in common with others, keeps its
/// state in the state folder.
StateFiles state_files(const LunConfig& lun, bool read_only, const StateFolder* folder) {
  auto file = [&](StateKind kind) -> std::unique_ptr<StateFile> {
    std::optional<std::string> path;
    if (auto image = file_path(lun.store); image && !read_only) path = state_file_beside(*image, kind);
    if (!path && folder) path = folder->file(lun.name, kind);
    return path ? std::make_unique<StateFile>(std::move(*path)) : nullptr;
  };
  return {file(StateKind::reservations), file(StateKind::settings)};
}

/// Without ALUA none are reported.
scsi::TargetPortGroups target_port_groups(const scsi::DeviceServer& server, scsi::AccessChanges alua,
                                          const LunConfig& lun) {
  if (alua == scsi::AccessChanges::none) return {};
  std::vector<scsi::TargetPortGroup> groups;
  for (std::uint16_t number : server.target_ports()) {
    AccessConfig access = access_through(lun.access, number);
    groups.push_back({.number = number, .state = access.state, .preferred = access.preferred});
  }
  return {alua, std::move(groups)};
}

/// What comes of the file saying `wanted` now.
std::string change_access_of(scsi::LogicalUnit& unit, const AccessConfig& wanted) {
  scsi::TargetPortGroups& groups = unit.target_port_groups();
  std::string which = fmt::format("{} through portal group {}", unit.config().name, wanted.group);
  if (!groups.find(wanted.group)) return which + ": there are no access states; they come with a start of odxd";
  if (!groups.change_implicitly()) return which + ": only initiators change access states, as alua says";
  bool changed = groups.set_state(wanted.group, wanted.state, scsi::AccessChangedBy::the_array);
  changed |= groups.set_preferred(wanted.group, wanted.preferred);
  if (changed) unit.unit_attentions().establish_for_all(scsi::AdditionalSense::asymmetric_access_state_changed);
  return fmt::format("{} is {}{}", which, word_of(kAccessStateWords, wanted.state),
                     wanted.preferred ? ", preferred" : "");
}

std::string flush_error(const scsi::LogicalUnit& unit, const handlers::IoError& error) {
  return fmt::format("{}: not flushed: {}", unit.config().name, error.reason);
}

}  // namespace

Array::OpenLun::OpenLun() : kept(std::make_unique<StateFiles>()) {}
Array::OpenLun::OpenLun(OpenLun&&) noexcept = default;
Array::OpenLun& Array::OpenLun::operator=(OpenLun&&) noexcept = default;
Array::OpenLun::~OpenLun() = default;

Array::Array(const ArrayConfig& config, const std::vector<const TargetConfig*>& targets,
             const Surroundings& surroundings)
    : name_(config.name),
      surroundings_(surroundings),
      machine_id_(system_machine_id()),
      copy_manager_(std::make_unique<scsi::CopyManager>(config.profile, surroundings.array_clock, surroundings.entropy,
                                                        &surroundings.timers, &surroundings.fabric, config.name)) {
  // Files may come into being when they are opened, so that identity follows.
  std::vector<OpenLun> opened;
  std::vector<LunSource> sources;
  for (const TargetConfig* target : targets) {
    for (const LunConfig& lun : target->luns) {
      opened.push_back(open(lun));
      sources.push_back(opened.back().source);
    }
  }
  identity_ = std::make_unique<ArrayIdentity>(config.id, sources, surroundings.entropy);
  std::size_t next = 0;
  for (const TargetConfig* target : targets) {
    const std::string name = name_of(*target);
    add_target(*target);
    for (std::size_t i = 0; i < target->luns.size(); ++i) add_lun(name, std::move(opened[next++]));
  }
}

Array::~Array() = default;

std::string Array::name_of(const TargetConfig& config) const {
  return config.name.empty() ? default_target_name() : config.name;
}

std::vector<std::string> Array::target_names() const {
  std::vector<std::string> names;
  for (const Target& target : targets_) names.push_back(target.server->config().target_name);
  return names;
}

iscsi::TargetNode Array::node(const TargetConfig& config) const {
  iscsi::TargetNode node;
  node.name = name_of(config);
  scsi::DeviceServer& offered = *target(node.name).server;
  node.alias = config.alias;
  node.redirection = config.redirection;
  node.portal_group_tags = offered.target_ports();
  node.authentication = config.authentication;
  node.authentication_of = config.authentication_of;
  node.allowed_initiators = config.allowed_initiators;
  node.device_server = &offered;
  return node;
}

bool Array::offers(const scsi::DeviceServer& server) const {
  return std::ranges::any_of(targets_, [&](const Target& target) { return target.server.get() == &server; });
}

const Array::Target& Array::target(const std::string& name) const {
  auto named = [&](const Target& target) { return !target.leaving && target.server->config().target_name == name; };
  auto found = std::ranges::find_if(targets_, named);
  assert(found != targets_.end());
  return *found;
}

scsi::AccessChanges Array::alua(const std::string& target_name) const { return target(target_name).alua; }

Array::ExportedLun* Array::find_lun(const std::string& target_name, std::uint16_t number) {
  auto found = std::ranges::find_if(
      luns_, [&](const ExportedLun& lun) { return lun.config.number == number && lun.target_name == target_name; });
  return found == luns_.end() ? nullptr : &*found;
}

Array::OpenLun Array::open(const LunConfig& lun) const {
  OpenLun opened;
  opened.config = lun;
  try {
    opened.store = open_store(lun, surroundings_.pool);
    auto path = file_path(lun.store);
    opened.source = {lun.name, path ? file_identity(*path, machine_id_) : std::nullopt};
    StateFiles& kept = *opened.kept = state_files(lun, opened.store->read_only(), surroundings_.state_folder);
    if (kept.reservations)
      opened.reservations = kept.reservations->read(scsi::parse_reservation_image, "persistent reservations");
    if (kept.settings) opened.settings = kept.settings->read(scsi::parse_settings_image, "saved settings");
  } catch (const std::runtime_error& error) {
    throw StoreError(fmt::format("{}: {}", lun.place, error.what()));
  }
  return opened;
}

std::array<std::uint8_t, 16> Array::designator_of(const OpenLun& lun) const {
  return lun.config.naa.value_or(identity_->logical_unit(lun.source).naa);
}

/// By the same name as before where it is the same file; else hosts would take other data for what they know.
scsi::LogicalUnitIdentity Array::new_identity(const OpenLun& lun) {
  auto path = file_path(lun.config.store);
  const std::string data = path ? lun.source.file.value_or(*path) : fmt::format("memory {}", ++memory_luns_);
  for (unsigned before = 0;; ++before) {
    scsi::LogicalUnitIdentity identity = identity_->logical_unit(lun.source, before);
    auto [known, is_new] = data_of_designator_.try_emplace(identity.naa, data);
    if (is_new || known->second == data) return identity;
  }
}

const Array::ExportedLun& Array::add_lun(const std::string& target_name, OpenLun lun) {
  const LunConfig& wanted = lun.config;
  const Target& offering = target(target_name);
  scsi::LogicalUnitConfig config;
  config.name = wanted.name;
  config.identity = new_identity(lun);
  if (!wanted.serial.empty()) config.identity.serial = wanted.serial;
  if (wanted.naa) config.identity.naa = *wanted.naa;
  config.block_length = wanted.block_size;
  config.blocks_per_physical_exponent = wanted.physical_block_exponent;
  config.thin = wanted.thin;
  config.read_only = wanted.read_only;
  config.removable = wanted.removable;
  config.target_port_groups = target_port_groups(*offering.server, offering.alua, wanted);
  config.self_encrypting = wanted.self_encrypting;
  config.soft_threshold_bytes = wanted.soft_threshold;
  config.allowed_initiators = wanted.allowed_initiators;
  // What was read before the logical unit that wrote it was removed holds no longer.
  auto dropped = [this](const auto& file) { return file && dropped_state_.contains(file->path()); };
  if (dropped(lun.kept->reservations)) lun.reservations.reset();
  if (dropped(lun.kept->settings)) lun.settings.reset();
  auto unit = std::make_shared<scsi::LogicalUnit>(
      std::move(config), std::move(lun.store),
      scsi::StateStores{std::move(lun.kept->reservations), std::move(lun.kept->settings)});
  if (lun.reservations) unit->reservations().restore(*lun.reservations, target_name);
  if (lun.settings) scsi::restore(unit->settings(), *lun.settings);
  offering.server->add(scsi::Lun{wanted.number}, unit);
  luns_.push_back({offering.server.get(), target_name, std::move(lun.config), std::move(unit)});
  return luns_.back();
}

void Array::remove_lun(const std::string& target_name, std::uint16_t number) {
  ExportedLun* lun = find_lun(target_name, number);
  assert(lun);
  StateFiles kept = state_files(lun->config, lun->logical_unit->store().read_only(), surroundings_.state_folder);
  for (const auto* file : {&kept.reservations, &kept.settings})
    if (*file) dropped_state_.insert((*file)->path());
  lun->server->remove(scsi::Lun{number});
  something_leaves_ = true;
  luns_.erase(luns_.begin() + (lun - luns_.data()));
}

void Array::judge_size(const ExportedLun& lun, std::uint64_t size_bytes) {
  const scsi::LogicalUnit& unit = *lun.logical_unit;
  auto refuse = [&](std::string_view why) {
    throw ChangeError(fmt::format("\"{}\" cannot have {} bytes: {}", unit.config().name, size_bytes, why));
  };
  if (size_bytes == 0 || size_bytes % unit.block_length() != 0)
    refuse(fmt::format("expected a positive multiple of its block length {}", unit.block_length()));
  if (unit.store().may_block() && size_bytes < unit.size_bytes())
    refuse(fmt::format("it has {}, and a file or device that is served does not shrink", unit.size_bytes()));
  if (unit.medium().operation() != scsi::Medium::Operation::none) refuse("it is being formatted or sanitized");
}

void Array::resize_lun(const ExportedLun& lun, std::uint64_t size_bytes) {
  scsi::LogicalUnit& unit = *lun.logical_unit;
  if (size_bytes > unit.size_bytes()) {
    auto resized = unit.store().resize(size_bytes);
    if (!resized) throw StoreError(fmt::format("{}: {}", lun.config.place, resized.error().reason));
  }
  scsi::change_capacity(unit, *copy_manager_, size_bytes);
}

void Array::judge_read_only(const ExportedLun& lun, bool read_only) {
  if (!read_only && lun.logical_unit->store().read_only())
    throw ChangeError(
        fmt::format("the file of \"{}\" was opened to be read only; to write it, remove the LUN and "
                    "add it again, or restart odxd",
                    lun.config.name));
}

void Array::set_read_only(const ExportedLun& lun, bool read_only) { lun.logical_unit->set_read_only(read_only); }

std::vector<std::string> Array::change_access(const ExportedLun& lun, const std::vector<AccessConfig>& access) {
  std::vector<std::string> lines;
  std::set<std::uint16_t> groups;
  for (const auto& list : {lun.config.access, access})
    for (const AccessConfig& each : list) groups.insert(each.group);
  for (std::uint16_t group : groups) {
    AccessConfig wanted = access_through(access, group);
    if (wanted != access_through(lun.config.access, group))
      lines.push_back(change_access_of(*lun.logical_unit, wanted));
  }
  return lines;
}

std::vector<std::uint16_t> Array::portal_groups(const TargetConfig& config) const {
  return config.portal_groups.empty() ? surroundings_.portal_groups : config.portal_groups;
}

void Array::add_target(const TargetConfig& config) {
  const auto groups = portal_groups(config);
  scsi::DeviceServer::Config server_config{.target_name = name_of(config),
                                           .target_portal_group_tag = groups.front(),
                                           .further_portal_group_tags = {groups.begin() + 1, groups.end()}};
  targets_.push_back({std::make_unique<scsi::DeviceServer>(server_config, surroundings_.array_clock,
                                                           &surroundings_.executor, *copy_manager_),
                      config.alua});
}

void Array::remove_target(const std::string& name) {
  const scsi::DeviceServer* leaving = target(name).server.get();
  for (Target& each : targets_) each.leaving = each.leaving || each.server.get() == leaving;
  something_leaves_ = true;
}

void Array::collect_removed() {
  if (!something_leaves_) [[likely]]
    return;
  for (Target& target : targets_) {
    scsi::DeviceServer& server = *target.server;
    if (target.leaving && server.nexuses().empty()) {
      const std::string& name = server.config().target_name;
      while (!server.logical_units().empty())
        remove_lun(name, static_cast<std::uint16_t>(server.logical_units().begin()->first));
    }
    if (server.leaving().empty()) continue;
    for (auto& unit : server.take_unused()) close(std::move(unit));
  }
  auto gone = [this](const Target& target) {
    const scsi::DeviceServer& server = *target.server;
    if (!target.leaving || !server.nexuses().empty() || !server.leaving().empty()) return false;
    copy_manager_->target_removed(server.config().target_name);
    return true;
  };
  std::erase_if(targets_, gone);
  something_leaves_ = std::ranges::any_of(
      targets_, [](const Target& target) { return target.leaving || !target.server->leaving().empty(); });
}

/// A store that may wait for a device is flushed where that holds nobody up. Who reads the log may rely on it that the
/// store is closed.
void Array::close(std::shared_ptr<scsi::LogicalUnit> unit) {
  const std::string name = unit->config().name;
  handlers::BackingStore& store = unit->store();
  if (store.read_only() || !store.may_block()) {
    unit.reset();
    return base::log::info("{} is removed", name);
  }
  auto outcome = std::make_shared<handlers::IoResult<void>>();
  surroundings_.executor.post_of(
      unit.get(), [&store, outcome] { *outcome = store.flush(); },
      [unit = std::move(unit), outcome, name]() mutable {
        if (!*outcome) base::log::error("{}", flush_error(*unit, outcome->error()));
        unit.reset();
        base::log::info("{} is removed", name);
      });
}

std::vector<std::string> Array::flush() {
  std::vector<std::string> failures;
  auto flush = [&](const scsi::LogicalUnit& unit) {
    if (unit.store().read_only()) return;
    auto flushed = unit.store().flush();
    if (!flushed) failures.push_back(flush_error(unit, flushed.error()));
  };
  for (const ExportedLun& lun : luns_) flush(*lun.logical_unit);
  for (const Target& target : targets_)
    for (const auto& unit : target.server->leaving()) flush(*unit);
  return failures;
}

}  // namespace target
