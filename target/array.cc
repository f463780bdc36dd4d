#include "target/array.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>
#include <utility>

#include "handlers/factory.h"
#include "handlers/memory_pool.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/reservations.h"
#include "target/identity.h"
#include "target/reservation_file.h"

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

/// Beside the image, which no other process serves; what has none, or may have one in common with others, keeps its
/// reservations in the state folder. Null where there is neither.
std::unique_ptr<ReservationFile> reservation_file(const LunConfig& lun, bool read_only, const StateFolder* folder) {
  std::optional<std::string> path;
  if (auto image = file_path(lun.store); image && !read_only) path = reservation_path_beside(*image);
  if (!path && folder) path = folder->reservation_path(lun.name);
  return path ? std::make_unique<ReservationFile>(std::move(*path)) : nullptr;
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
      auto kept = reservation_file(lun, stores[next]->read_only(), surroundings.state_folder);
      add_lun(server, lun, identity.logical_unit(sources[next]), std::move(stores[next]), std::move(kept));
      ++next;
    }
  }
}

Array::~Array() = default;

scsi::DeviceServer& Array::add_target(const TargetConfig& target, const std::string& name,
                                      const Surroundings& surroundings) {
  scsi::DeviceServer::Config server_config{.target_name = name};
  device_servers_.push_back(std::make_unique<scsi::DeviceServer>(server_config, surroundings.array_clock,
                                                                 &surroundings.executor, *copy_manager_));
  iscsi::TargetNode node;
  node.name = name;
  node.alias = target.alias;
  node.portal_group_tag = server_config.target_portal_group_tag;
  node.authentication = target.authentication;
  node.authentication_of = target.authentication_of;
  node.allowed_initiators = target.allowed_initiators;
  node.device_server = device_servers_.back().get();
  nodes_.push_back(std::move(node));
  return *device_servers_.back();
}

void Array::add_lun(scsi::DeviceServer& server, const LunConfig& lun, scsi::LogicalUnitIdentity identity,
                    std::unique_ptr<handlers::BackingStore> store, std::unique_ptr<ReservationFile> reservation_file) {
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
  config.allowed_initiators = lun.allowed_initiators;
  std::optional<scsi::PersistentState> kept;
  try {
    if (reservation_file) kept = reservation_file->read();
  } catch (const std::runtime_error& error) {
    throw StoreError(fmt::format("{}: {}", lun.place, error.what()));
  }
  auto unit = std::make_shared<scsi::LogicalUnit>(std::move(config), std::move(store), std::move(reservation_file));
  if (kept) unit->reservations().restore(*kept, server.config().target_name);
  server.add(scsi::Lun{lun.number}, unit);
  luns_.push_back({server.config().target_name, lun.number, lun.store, lun.place, std::move(unit)});
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
