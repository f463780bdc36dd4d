// The array as configured: stores, logical units, one device server for each target, the copy manager they share, and
// what the iSCSI layer has to know of them. Owns all of it. Thread: the loop's.
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
class CopyManager;
class DeviceServer;
class LogicalUnit;
struct LogicalUnitIdentity;
}  // namespace scsi

namespace target {

/// A store that cannot be opened. what() is one complete line that opens with the place the store was written at.
class StoreError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Array {
 public:
  /// A logical unit as one target offers it.
  struct ExportedLun {
    std::string target_name;
    std::uint16_t number = 0;
    std::string store;
    std::shared_ptr<scsi::LogicalUnit> logical_unit;
  };

  /// Opens the stores. Throws StoreError. `array_clock`, `timers`, which runs by it, `entropy` and `executor` outlive
  /// the array.
  Array(const Config& config, const base::Clock& array_clock, base::TimerQueue& timers, base::Entropy& entropy,
        base::Executor& executor);
  ~Array();

  const std::string& id() const { return id_; }
  /// Whether the id is the same at the next start.
  bool id_is_stable() const { return id_is_stable_; }
  const std::vector<ExportedLun>& luns() const { return luns_; }

  const iscsi::Directory& directory() const { return directory_; }
  /// What SendTargets tells; none: the address each initiator reached.
  void advertise(const std::vector<iscsi::PortalAddress>& portals);

  /// Frees a bounded amount of what nobody needs any more. Returns whether more waits.
  bool reclaim();
  /// When reclaim() has something to do at the latest though nothing happens: tokens end.
  base::TimePoint next_reclaim() const;

  /// Makes everything written durable. Returns what could not be, one line for each logical unit.
  std::vector<std::string> flush();

 private:
  scsi::DeviceServer& add_target(const TargetConfig& target, const std::string& name, const base::Clock& array_clock,
                                 base::Executor& executor);
  void add_lun(scsi::DeviceServer& server, const LunConfig& lun, scsi::LogicalUnitIdentity identity,
               std::unique_ptr<handlers::BackingStore> store);

  std::string id_;
  bool id_is_stable_ = false;
  const base::Clock& array_clock_;
  base::Ref<handlers::MemoryPool> pool_;
  std::unique_ptr<scsi::CopyManager> copy_manager_;
  std::vector<ExportedLun> luns_;
  std::vector<std::unique_ptr<scsi::DeviceServer>> device_servers_;
  iscsi::Directory directory_;
};

/// The portals as SendTargets is to tell them, given where they are bound: none when each initiator is to be told the
/// address it reached.
std::vector<iscsi::PortalAddress> advertised_portals(const std::vector<PortalConfig>& portals,
                                                     const std::vector<iscsi::PortalAddress>& bound);

/// "ADDR:PORT" under which a program on this machine, or whoever is told the advertised address, reaches the portal.
std::string portal_for_urls(const PortalConfig& portal, const iscsi::PortalAddress& bound);

}  // namespace target
