// The arrays of the process, and what they share: portals, the memory of memory stores, the matrix of who can reach
// whom, and the names of targets and LUNs. Owns all of it. Here is what can be changed while they serve; who changes it
// stands elsewhere (reload.h). Thread: the loop's.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "handlers/memory_pool.h"
#include "scsi/copy_fabric.h"
#include "target/array.h"

namespace target {

class Arrays {
 public:
  /// Opens the stores. Throws StoreError. `array_clock`, `timers`, which runs by it, `entropy` and `executor` outlive
  /// the arrays. `pool` is given when others use it, too, and memory_limit does not count.
  Arrays(const Config& config, const base::Clock& array_clock, base::TimerQueue& timers, base::Entropy& entropy,
         base::Executor& executor, base::Ref<handlers::MemoryPool> pool = {});
  ~Arrays();

  const std::vector<std::unique_ptr<Array>>& all() const { return arrays_; }

  const iscsi::Directory& directory() const { return directory_; }
  /// What SendTargets tells; none: the address each initiator reached.
  void advertise(const std::vector<iscsi::PortalAddress>& portals);

  // Changes. A target is named by its iSCSI name, a LUN by that and its number. Each is done completely or throws, and
  // then nothing has changed. ChangeError: there is no such thing, or a number or name is taken, or it cannot be so
  // while it is served; StoreError: the store cannot be opened, or be so long.

  /// Where a LUN is offered: `lun` until the next change of its array.
  struct OfferedLun {
    Array* array = nullptr;
    Array::ExportedLun* lun = nullptr;
  };
  /// Null where there is none, or the target is being removed.
  OfferedLun find_lun(const std::string& target_name, std::uint16_t number) const;
  Array* find_array(const std::string& target_name) const;

  /// For several additions that are to be done together or not at all: opens the store of a LUN for the array of that
  /// index, and judges what it would be told by.
  Array::OpenLun open_lun(std::size_t array, const LunConfig& lun) const;
  const Array::ExportedLun& add_lun(const std::string& target_name, Array::OpenLun lun);
  const Array::ExportedLun& add_lun(const std::string& target_name, const LunConfig& lun);
  void remove_lun(const std::string& target_name, std::uint16_t number);
  void resize_lun(const std::string& target_name, std::uint16_t number, std::uint64_t size_bytes);
  void set_read_only(const std::string& target_name, std::uint16_t number, bool read_only);
  /// The access states that `access` gives another value than was said last, and what came of it, one line each
  /// (Array::change_access()).
  std::vector<std::string> change_access(const std::string& target_name, std::uint16_t number,
                                         const std::vector<AccessConfig>& access);

  /// Offers the target of `config`, with no LUN of it yet.
  void add_target(const TargetConfig& config);
  /// Nobody finds it any more; it goes, and its LUNs with it, when no session with it is left. The caller asks those to
  /// log out (iscsi::SessionRegistry::request_logout()).
  void remove_target(const std::string& target_name);
  /// Alias, who may log in, and whether they are sent elsewhere, from the next login on. Returns whether that was
  /// another.
  bool set_login(const TargetConfig& config);
  /// The same for discovery sessions.
  bool set_discovery(const iscsi::Authentication& authentication);

  /// Names of targets and LUNs that nothing new may have, those included of what is being removed.
  std::set<std::string> target_names() const;
  std::set<std::string> lun_names() const;

  /// These pairs, and no others, are unreachable from now on; copies that run go on.
  void set_unreachable(const std::vector<UnreachablePair>& pairs);

  /// Who is asked about tokens that none of the arrays made; outlives the arrays' use.
  void set_remote_rods(scsi::RemoteRods* remote) { fabric_.set_remote_rods(remote); }

  /// Where what happens is recorded; null: nowhere. Outlives the arrays.
  void set_journal(scsi::Journal* journal) { fabric_.set_journal(journal); }
  scsi::Journal* journal() const { return fabric_.journal(); }

  /// Failures on demand, for all arrays.
  scsi::RuleSet& rules() { return fabric_.rules(); }

  handlers::MemoryPool& memory() const { return *pool_; }
  /// Lets go of what was removed, and of some results of copies that are lost. Returns whether more waits.
  bool let_go();
  /// The same, and frees some of what stores and snapshots left.
  bool reclaim();
  /// Of memory(), in a turn: a few microseconds for each, which a command that comes meanwhile waits.
  static constexpr std::size_t kObjectsOfATurn = 2;

  /// Stops every copy that is being processed; workers end with the piece they are at.
  void stop_copies();

  /// Makes everything written durable. Returns what could not be, one line for each logical unit.
  std::vector<std::string> flush();

 private:
  std::shared_ptr<iscsi::TargetNode>* find_node(const std::string& target_name);
  void offer(const iscsi::TargetNode& node);
  void fill_pool(bool full);

  base::Ref<handlers::MemoryPool> pool_;
  handlers::PoolUser pool_user_{pool_};  ///< the last one goes in a turn, or after all turns
  std::uint64_t taken_from_pool_ = 0;    ///< bytes, by scsi::action::FillPool
  scsi::CopyFabric fabric_;
  std::unique_ptr<StateFolder> state_folder_;
  std::vector<std::unique_ptr<Array>> arrays_;
  iscsi::Directory directory_;
  std::vector<iscsi::PortalAddress> advertised_;
};

/// The portals as SendTargets is to tell them, given where they are bound: none when each initiator is to be told the
/// address it reached.
std::vector<iscsi::PortalAddress> advertised_portals(const std::vector<PortalConfig>& portals,
                                                     const std::vector<iscsi::PortalAddress>& bound);

/// "ADDR:PORT" under which a program on this machine, or whoever is told the advertised address, reaches the portal.
std::string portal_for_urls(const PortalConfig& portal, const iscsi::PortalAddress& bound);

}  // namespace target
