// A logical unit: identity, geometry, state, a store, and the order of work on it.
//
// Thread: the loop's, except that work started through CommandContext::start() touches the store on a worker
// thread. Ordering belongs here and not to stores: overlapping ranges are served in arrival order, and a
// barrier is alone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/units.h"
#include "handlers/backing_store.h"
#include "scsi/sense.h"
#include "scsi/status.h"
#include "scsi/target_port_groups.h"
#include "scsi/unit_statistics.h"

namespace scsi {

/// What a host tells a logical unit by. Follows from the array's id and the configuration; never shared
/// between two logical units.
struct LogicalUnitIdentity {
  std::string vendor = "ODX";            ///< T10 VENDOR IDENTIFICATION, at most 8 ASCII characters
  std::string product = "VIRTUAL-DISK";  ///< at most 16
  std::string revision = "0001";         ///< at most 4
  std::string serial;                    ///< VPD 80h, printable ASCII characters, at most 128
  std::array<std::uint8_t, 16> naa{};    ///< NAA IEEE Registered Extended (6h) designator, VPD 83h
  std::array<std::uint8_t, 8> eui64{};   ///< EUI-64 designator and "eui." name, VPD 83h; all zeros: none
};

struct LogicalUnitConfig {
  std::string name;  ///< unique in the array; for logs and reachability
  LogicalUnitIdentity identity{};
  std::uint32_t block_length = 512;               ///< 512 or 4096 bytes
  std::uint8_t blocks_per_physical_exponent = 0;  ///< LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT
  bool thin = true;                               ///< LBPME, LBPU, VPD B2h PROVISIONING TYPE 2
  bool read_only = false;                         ///< SWP; DATA PROTECT 07/27/00 for every write
  bool removable = false;                         ///< RMB; START STOP UNIT with LOEJ ejects and loads
  bool self_encrypting = false;                   ///< SANITIZE, CRYPTOGRAPHIC ERASE; a store in memory only
  /// Hosts are told (06/38/07) when no more than so many bytes are left to it; 0: not unless they set a threshold.
  std::uint64_t soft_threshold_bytes = 0;
  std::vector<std::string> allowed_initiators{};  ///< iSCSI names of those it exists for; empty: everybody
  TargetPortGroups target_port_groups{};          ///< as they are at the start
};

class Medium;
class ModePages;
class ProvisioningThresholds;
class ReservationChanges;
class Reservations;
class SettingsChanges;
class TaskSet;
class UnitAttentions;
class WorkQueue;
struct StateStores;
struct UnitSettings;

class LogicalUnit {
 public:
  LogicalUnit(LogicalUnitConfig config, std::unique_ptr<handlers::BackingStore> store);
  /// With places where its state outlives the process (scsi/state_changes.h).
  LogicalUnit(LogicalUnitConfig config, std::unique_ptr<handlers::BackingStore> store, StateStores kept);
  ~LogicalUnit();

  const LogicalUnitConfig& config() const { return config_; }
  const LogicalUnitIdentity& identity() const { return config_.identity; }
  /// Before the first command: nobody was told the other.
  void set_identity(LogicalUnitIdentity identity) { config_.identity = std::move(identity); }
  handlers::BackingStore& store() const { return *store_; }

  std::uint32_t block_length() const { return config_.block_length; }
  base::BlockCount capacity() const { return capacity_; }
  std::uint64_t size_bytes() const { return capacity_.value * block_length(); }
  /// See scsi/capacity_change.h, which tells everybody who has to know.
  void set_capacity(base::BlockCount capacity);
  /// Whether tasks may be under way whose ranges were judged by more blocks than there are.
  bool has_shrunk() const { return has_shrunk_; }
  bool read_only() const { return config_.read_only || store_->read_only(); }
  /// Tells every I_T nexus, if it changes anything: the WP bit of the mode parameter header (2A/01). Writes under way
  /// are finished.
  void set_read_only(bool read_only);

  /// Whether it is not there for everybody.
  bool restricted() const { return !config_.allowed_initiators.empty(); }
  /// Whether it is there for an initiator. Asked once for an I_T nexus, when it comes (DeviceServer::may_use()).
  bool allows(const std::string& initiator_name) const;

  /// Blocks to bytes. The caller has checked the range against capacity().
  handlers::ByteRange bytes(base::Lba lba, base::BlockCount count) const {
    return {lba.value * block_length(), count.value * block_length()};
  }
  /// Whether [lba, lba + count) lies inside, with no overflow.
  bool contains(base::Lba lba, base::BlockCount count) const;

  UnitAttentions& unit_attentions() { return *unit_attentions_; }
  const UnitAttentions& unit_attentions() const { return *unit_attentions_; }
  ModePages& mode_pages() { return *mode_pages_; }
  const ModePages& mode_pages() const { return *mode_pages_; }
  Reservations& reservations() { return *reservations_; }
  const Reservations& reservations() const { return *reservations_; }
  ReservationChanges& reservation_changes() { return *reservation_changes_; }
  TargetPortGroups& target_port_groups() { return config_.target_port_groups; }
  const TargetPortGroups& target_port_groups() const { return config_.target_port_groups; }
  UnitSettings& settings() { return *settings_; }
  SettingsChanges& settings_changes() const { return *settings_changes_; }
  ProvisioningThresholds& thresholds() const { return *thresholds_; }
  UnitStatistics& statistics() { return statistics_; }
  const UnitStatistics& statistics() const { return statistics_; }
  Medium& medium() { return *medium_; }
  const Medium& medium() const { return *medium_; }
  TaskSet& tasks() { return *tasks_; }
  WorkQueue& work() { return *work_; }

  /// Why commands that need the logical unit ready fail, or nothing: the medium's condition, then 02/04/02 while
  /// stopped by START STOP UNIT.
  std::optional<Sense> why_not_ready() const;
  bool stopped() const { return stopped_; }
  /// Whether no task, no work and no change of reservations or settings is left, and its medium is not being erased:
  /// all there may still be is a copy (CopyManager::in_use()).
  bool idle() const;
  void set_stopped(bool stopped) { stopped_ = stopped; }

 private:
  LogicalUnitConfig config_;
  std::unique_ptr<handlers::BackingStore> store_;
  base::BlockCount capacity_;
  bool has_shrunk_ = false;
  std::unique_ptr<UnitAttentions> unit_attentions_;
  std::unique_ptr<ProvisioningThresholds> thresholds_;
  std::unique_ptr<UnitSettings> settings_;
  ModePages* mode_pages_;  ///< of the settings
  std::unique_ptr<SettingsChanges> settings_changes_;
  std::unique_ptr<Reservations> reservations_;
  std::unique_ptr<ReservationChanges> reservation_changes_;
  std::unique_ptr<Medium> medium_;
  std::unique_ptr<TaskSet> tasks_;
  std::unique_ptr<WorkQueue> work_;
  UnitStatistics statistics_{};
  bool stopped_ = false;
};

}  // namespace scsi
