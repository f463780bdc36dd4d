// One array: its copy manager, its targets with a device server each, their logical units and stores. Owns all of it;
// what the arrays of a process share stands in arrays.h.
//
// Targets and logical units come and go while it serves. What is removed is let go of when nothing uses it any more:
// sessions, tasks, work on other threads, copies. Thread: the loop's.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/executor.h"
#include "base/ref.h"
#include "base/timer_queue.h"
#include "scsi/reservations.h"
#include "scsi/unit_settings.h"
#include "target/config.h"
#include "target/identity.h"
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

/// What cannot be changed as it was asked for while the array serves. what() is one complete line.
class ChangeError : public std::runtime_error {
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
    scsi::DeviceServer* server = nullptr;
    std::string target_name;
    LunConfig config;  ///< as it is by now
    std::shared_ptr<scsi::LogicalUnit> logical_unit;
  };

  /// A logical unit that can be added without anything going wrong: its store is open.
  struct OpenLun {
    OpenLun();
    OpenLun(OpenLun&&) noexcept;
    OpenLun& operator=(OpenLun&&) noexcept;
    ~OpenLun();

    LunConfig config{};
    std::unique_ptr<handlers::BackingStore> store{};
    LunSource source{};
    std::unique_ptr<StateFiles> kept;
    std::optional<scsi::PersistentState> reservations{};
    std::optional<scsi::KeptSettings> settings{};
  };

  /// The array `config`, which offers `targets`. Opens the stores. Throws StoreError.
  Array(const ArrayConfig& config, const std::vector<const TargetConfig*>& targets, const Surroundings& surroundings);
  ~Array();

  /// Empty when it is the only one.
  const std::string& name() const { return name_; }
  const std::string& id() const { return identity_->id(); }
  /// Whether the id is the same at the next start.
  bool id_is_stable() const { return identity_->stable(); }
  /// The name of a target that has none of its own.
  std::string default_target_name() const { return identity_->target_name(); }
  const std::vector<ExportedLun>& luns() const { return luns_; }
  scsi::CopyManager& copy_manager() const { return *copy_manager_; }

  /// Its targets, those that are being removed included.
  std::vector<std::string> target_names() const;
  bool offers(const scsi::DeviceServer& server) const;
  /// Portal groups that a target of that configuration is offered in, ascending.
  std::vector<std::uint16_t> portal_groups(const TargetConfig& config) const;
  /// How the access states of its logical units change.
  scsi::AccessChanges alua(const std::string& target_name) const;
  /// What the iSCSI layer has to know of a target; `config` says who may log in.
  iscsi::TargetNode node(const TargetConfig& config) const;

  // Changes while it serves. LUNs are named by their target's name and their number; the caller knows that they are
  // there and, where something is added, that its number and names are free (arrays.h).

  /// Opens the store. Throws StoreError.
  OpenLun open(const LunConfig& lun) const;
  /// What it would be told by, where no other is known by that already.
  std::array<std::uint8_t, 16> designator_of(const OpenLun& lun) const;
  /// Offers it. What it is told by is never what another, of other data, was told by in this process.
  const ExportedLun& add_lun(const std::string& target_name, OpenLun lun);
  /// Commands for it are 05/25/00 from now on (scsi::DeviceServer::remove()); its store is flushed and closed when
  /// nothing uses it any more.
  void remove_lun(const std::string& target_name, std::uint16_t number);
  /// Whether it may have that size. Throws ChangeError.
  static void judge_size(const ExportedLun& lun, std::uint64_t size_bytes);
  /// After judge_size(). Throws StoreError: its file cannot have that size; then nothing has changed.
  void resize_lun(const ExportedLun& lun, std::uint64_t size_bytes);
  /// Whether it may be so. Throws ChangeError: its file was opened to be read only.
  static void judge_read_only(const ExportedLun& lun, bool read_only);
  static void set_read_only(const ExportedLun& lun, bool read_only);
  /// Gives access states the values in which `access` differs from what was said last, which stays the caller's to set;
  /// every I_T nexus is told. Returns one line for each change, or why it was not made.
  static std::vector<std::string> change_access(const ExportedLun& lun, const std::vector<AccessConfig>& access);
  ExportedLun* find_lun(const std::string& target_name, std::uint16_t number);

  /// Offers a target that has no logical unit yet.
  void add_target(const TargetConfig& config);
  /// It goes, and its logical units with it, when no session with it is left.
  void remove_target(const std::string& name);

  /// Lets go of what was removed and is used no more. At the end of each turn.
  void collect_removed();

  /// Makes everything written durable. Returns what could not be, one line for each logical unit.
  std::vector<std::string> flush();

 private:
  struct Target {
    std::unique_ptr<scsi::DeviceServer> server;
    scsi::AccessChanges alua = scsi::AccessChanges::none;
    bool leaving = false;
  };

  std::string name_of(const TargetConfig& config) const;
  const Target& target(const std::string& name) const;
  scsi::LogicalUnitIdentity new_identity(const OpenLun& lun);
  void close(std::shared_ptr<scsi::LogicalUnit> unit);

  std::string name_;
  Surroundings surroundings_;
  std::string machine_id_;
  std::unique_ptr<ArrayIdentity> identity_;
  std::unique_ptr<scsi::CopyManager> copy_manager_;
  std::vector<Target> targets_;
  std::vector<ExportedLun> luns_;
  /// What data each designator has stood for in this process.
  std::map<std::array<std::uint8_t, 16>, std::string> data_of_designator_;
  unsigned memory_luns_ = 0;
  std::set<std::string> dropped_state_;  ///< files of what was kept of logical units that were removed
  bool something_leaves_ = false;        ///< collect_removed() has something to look at
};

}  // namespace target
