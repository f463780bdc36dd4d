// One array: its copy manager, its targets with a device server each, their logical units and stores. Owns all of it;
// what the arrays of a process share stands in arrays.h. Thread: the loop's.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/executor.h"
#include "base/ref.h"
#include "base/timer_queue.h"
#include "target/config.h"
#include "target/iscsi/node.h"

namespace handlers {
class BackingStore;
class MemoryPool;
}  // namespace handlers
namespace scsi {
class CopyFabric;
class CopyManager;
class DeviceServer;
class LogicalUnit;
struct LogicalUnitIdentity;
}  // namespace scsi

namespace target {

class StateFolder;
struct StateFiles;

/// A store that cannot be opened, or not be told from another, or what persists beside it. what() is one complete line
/// that opens with the place the store was written at.
class StoreError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What every array of a process works with. All of it outlives the arrays.
struct Surroundings {
  const base::Clock& array_clock;
  base::TimerQueue& timers;  ///< which runs by it
  base::Entropy& entropy;
  base::Executor& executor;
  base::Ref<handlers::MemoryPool> pool;
  scsi::CopyFabric& fabric;
  const StateFolder* state_folder = nullptr;
  std::vector<std::uint16_t> portal_groups{1};  ///< ascending
};

class Array {
 public:
  /// A logical unit as one target offers it.
  struct ExportedLun {
    std::string target_name;
    std::uint16_t number = 0;
    std::string store;
    std::string place;  ///< where the store was written
    std::shared_ptr<scsi::LogicalUnit> logical_unit;
    std::vector<AccessConfig> access{};  ///< as the configuration said last
  };

  /// The array `config`, which offers `targets`. Opens the stores. Throws StoreError.
  Array(const ArrayConfig& config, const std::vector<const TargetConfig*>& targets, const Surroundings& surroundings);
  ~Array();

  /// Empty when it is the only one.
  const std::string& name() const { return name_; }
  const std::string& id() const { return id_; }
  /// Whether the id is the same at the next start.
  bool id_is_stable() const { return id_is_stable_; }
  const std::vector<ExportedLun>& luns() const { return luns_; }
  const std::vector<iscsi::TargetNode>& nodes() const { return nodes_; }
  scsi::CopyManager& copy_manager() const { return *copy_manager_; }

  /// Gives access states, LUN by LUN, the values in which `targets` differs from what was said last; every I_T nexus is
  /// told. Returns one line for each change, or why it was not made.
  std::vector<std::string> change_access(const std::vector<TargetConfig>& targets);

  /// Makes everything written durable. Returns what could not be, one line for each logical unit.
  std::vector<std::string> flush();

 private:
  scsi::DeviceServer& add_target(const TargetConfig& target, const std::string& name, const Surroundings& surroundings);
  void add_lun(scsi::DeviceServer& server, scsi::AccessChanges alua, const LunConfig& lun,
               scsi::LogicalUnitIdentity identity, std::unique_ptr<handlers::BackingStore> store, StateFiles kept);

  std::string name_;
  std::string id_;
  bool id_is_stable_ = false;
  std::unique_ptr<scsi::CopyManager> copy_manager_;
  std::vector<ExportedLun> luns_;
  std::vector<std::unique_ptr<scsi::DeviceServer>> device_servers_;
  std::vector<iscsi::TargetNode> nodes_;
};

}  // namespace target
