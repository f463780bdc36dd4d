// The arrays of the process, and what they share: portals, the memory of memory stores, the matrix of who can reach
// whom. Owns all of it. Thread: the loop's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "scsi/copy_fabric.h"
#include "target/array.h"

namespace target {

class Arrays {
 public:
  /// Opens the stores. Throws StoreError. `array_clock`, `timers`, which runs by it, `entropy` and `executor` outlive
  /// the arrays.
  Arrays(const Config& config, const base::Clock& array_clock, base::TimerQueue& timers, base::Entropy& entropy,
         base::Executor& executor);
  ~Arrays();

  const std::vector<std::unique_ptr<Array>>& all() const { return arrays_; }

  const iscsi::Directory& directory() const { return directory_; }
  /// What SendTargets tells; none: the address each initiator reached.
  void advertise(const std::vector<iscsi::PortalAddress>& portals);

  /// These pairs, and no others, are unreachable from now on; copies that run go on.
  void set_unreachable(const std::vector<UnreachablePair>& pairs);

  /// Access states that `targets` gives another value than was said last (Array::change_access()).
  std::vector<std::string> change_access(const std::vector<TargetConfig>& targets);

  /// Who is asked about tokens that none of the arrays made; outlives the arrays' use.
  void set_remote_rods(scsi::RemoteRods* remote) { fabric_.set_remote_rods(remote); }

  handlers::MemoryPool& memory() const { return *pool_; }
  /// Frees a bounded amount of what nobody needs any more. Returns whether more waits.
  bool reclaim();
  /// When reclaim() has something to do at the latest though nothing happens: tokens end.
  base::TimePoint next_reclaim() const;

  /// Stops every copy that is being processed; workers end with the piece they are at.
  void stop_copies();

  /// Makes everything written durable. Returns what could not be, one line for each logical unit.
  std::vector<std::string> flush();

 private:
  const base::Clock& array_clock_;
  base::Ref<handlers::MemoryPool> pool_;
  scsi::CopyFabric fabric_;
  std::unique_ptr<StateFolder> state_folder_;
  std::vector<std::unique_ptr<Array>> arrays_;
  iscsi::Directory directory_;
};

/// The portals as SendTargets is to tell them, given where they are bound: none when each initiator is to be told the
/// address it reached.
std::vector<iscsi::PortalAddress> advertised_portals(const std::vector<PortalConfig>& portals,
                                                     const std::vector<iscsi::PortalAddress>& bound);

/// "ADDR:PORT" under which a program on this machine, or whoever is told the advertised address, reaches the portal.
std::string portal_for_urls(const PortalConfig& portal, const iscsi::PortalAddress& bound);

}  // namespace target
