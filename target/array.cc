#include "target/array.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "handlers/factory.h"
#include "handlers/memory_pool.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_image.h"
#include "scsi/reservations.h"
#include "scsi/unit_attentions.h"
#include "scsi/unit_settings.h"
#include "target/config_ports.h"
#include "target/identity.h"
#include "target/state_file.h"

namespace target {
namespace {

constexpr std::string_view kFilePrefix = "file:";

/// The path in "file:PATH[,ro][,size=SIZE]"; nothing for other stores.
std::optional<std::string> file_path(std::string_view store) {
  if (!store.starts_with(kFilePrefix)) return std::nullopt;
  store.remove_prefix(kFilePrefix.size());
  for (;;) {
    std::size_t comma = store.rfind(',');
    if (comma == std::string_view::npos) break;
    std::string_view option = store.substr(comma + 1);
    if (option != "ro" && !option.starts_with("size=")) break;
    store = store.substr(0, comma);
  }
  return std::string(store);
}

/// A read-only LUN opens its file so, that others may read it too.
std::unique_ptr<handlers::BackingStore> open_store(const LunConfig& lun, base::Ref<handlers::MemoryPool> pool) {
  std::string store = lun.store;
  if (lun.read_only && store.starts_with(kFilePrefix) && !store.ends_with(",ro")) store += ",ro";
  try {
    return handlers::open_store(store, {.pool = std::move(pool), .block_length = lun.block_size});
  } catch (const handlers::OpenError& error) {
    throw StoreError(fmt::format("{}: {}", lun.place, error.what()));
  }
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
  return fmt::format("{} is {}{}", which, access_state_word(wanted.state), wanted.preferred ? ", preferred" : "");
}

}  // namespace

Array::Array(const ArrayConfig& config, const std::vector<const TargetConfig*>& targets,
             const Surroundings& surroundings)
    : name_(config.name),
      copy_manager_(std::make_unique<scsi::CopyManager>(config.profile, surroundings.array_clock, surroundings.entropy,
                                                        &surroundings.timers, &surroundings.fabric, config.name)) {
  // Files may come into being when they are opened, so that identity follows.
  std::string machine_id = system_machine_id();
  std::vector<std::unique_ptr<handlers::BackingStore>> stores;
  std::vector<LunSource> sources;
  for (const TargetConfig* target : targets) {
    for (const LunConfig& lun : target->luns) {
      stores.push_back(open_store(lun, surroundings.pool));
      auto path = file_path(lun.store);
      sources.push_back({lun.name, path ? file_identity(*path, machine_id) : std::nullopt});
    }
  }
  ArrayIdentity identity(config.id, sources, surroundings.entropy);
  id_ = identity.id();
  id_is_stable_ = identity.stable();

  std::size_t next = 0;
  for (const TargetConfig* target : targets) {
    scsi::DeviceServer& server =
        add_target(*target, target->name.empty() ? identity.target_name() : target->name, surroundings);
    for (const LunConfig& lun : target->luns) {
      StateFiles kept = state_files(lun, stores[next]->read_only(), surroundings.state_folder);
      add_lun(server, target->alua, lun, identity.logical_unit(sources[next]), std::move(stores[next]),
              std::move(kept));
      ++next;
    }
  }
}

Array::~Array() = default;

scsi::DeviceServer& Array::add_target(const TargetConfig& target, const std::string& name,
                                      const Surroundings& surroundings) {
  const auto& groups = target.portal_groups.empty() ? surroundings.portal_groups : target.portal_groups;
  scsi::DeviceServer::Config server_config{.target_name = name,
                                           .target_portal_group_tag = groups.front(),
                                           .further_portal_group_tags = {groups.begin() + 1, groups.end()}};
  device_servers_.push_back(std::make_unique<scsi::DeviceServer>(server_config, surroundings.array_clock,
                                                                 &surroundings.executor, *copy_manager_));
  iscsi::TargetNode node;
  node.name = name;
  node.alias = target.alias;
  node.redirection = target.redirection;
  node.portal_group_tags = groups;
  node.authentication = target.authentication;
  node.authentication_of = target.authentication_of;
  node.allowed_initiators = target.allowed_initiators;
  node.device_server = device_servers_.back().get();
  nodes_.push_back(std::move(node));
  return *device_servers_.back();
}

void Array::add_lun(scsi::DeviceServer& server, scsi::AccessChanges alua, const LunConfig& lun,
                    scsi::LogicalUnitIdentity identity, std::unique_ptr<handlers::BackingStore> store,
                    StateFiles kept) {
  scsi::LogicalUnitConfig config;
  config.name = lun.name;
  config.identity = std::move(identity);
  if (!lun.serial.empty()) config.identity.serial = lun.serial;
  if (lun.naa) config.identity.naa = *lun.naa;
  config.block_length = lun.block_size;
  config.blocks_per_physical_exponent = lun.physical_block_exponent;
  config.thin = lun.thin;
  config.read_only = lun.read_only;
  config.removable = lun.removable;
  config.target_port_groups = target_port_groups(server, alua, lun);
  config.self_encrypting = lun.self_encrypting;
  config.soft_threshold_bytes = lun.soft_threshold;
  config.allowed_initiators = lun.allowed_initiators;
  std::optional<scsi::PersistentState> reservations;
  std::optional<scsi::KeptSettings> settings;
  try {
    if (kept.reservations)
      reservations = kept.reservations->read(scsi::parse_reservation_image, "persistent reservations");
    if (kept.settings) settings = kept.settings->read(scsi::parse_settings_image, "saved settings");
  } catch (const std::runtime_error& error) {
    throw StoreError(fmt::format("{}: {}", lun.place, error.what()));
  }
  auto unit = std::make_shared<scsi::LogicalUnit>(
      std::move(config), std::move(store), scsi::StateStores{std::move(kept.reservations), std::move(kept.settings)});
  if (reservations) unit->reservations().restore(*reservations, server.config().target_name);
  if (settings) scsi::restore(unit->settings(), *settings);
  server.add(scsi::Lun{lun.number}, unit);
  luns_.push_back({server.config().target_name, lun.number, lun.store, lun.place, std::move(unit), lun.access});
}

std::vector<std::string> Array::change_access(const std::vector<TargetConfig>& targets) {
  std::vector<std::string> lines;
  for (const TargetConfig& target : targets) {
    for (const LunConfig& lun : target.luns) {
      auto found = std::ranges::find(luns_, lun.name, [](const ExportedLun& each) -> const std::string& {
        return each.logical_unit->config().name;
      });
      if (found == luns_.end()) continue;
      std::set<std::uint16_t> groups;
      for (const auto& list : {found->access, lun.access})
        for (const AccessConfig& access : list) groups.insert(access.group);
      for (std::uint16_t group : groups) {
        AccessConfig wanted = access_through(lun.access, group);
        if (wanted != access_through(found->access, group))
          lines.push_back(change_access_of(*found->logical_unit, wanted));
      }
      found->access = lun.access;
    }
  }
  return lines;
}

std::vector<std::string> Array::flush() {
  std::vector<std::string> failures;
  for (const ExportedLun& lun : luns_) {
    if (lun.logical_unit->read_only()) continue;
    auto flushed = lun.logical_unit->store().flush();
    if (!flushed)
      failures.push_back(fmt::format("{}: not flushed: {}", lun.logical_unit->config().name, flushed.error().reason));
  }
  return failures;
}

}  // namespace target
