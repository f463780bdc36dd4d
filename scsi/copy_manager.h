// The copy manager: third-party copy commands of all logical units of one array (SPC-4 5.17, SBC-4 4.28).
//
// One per array: it owns the ROD tokens, the operations being processed, and the results of those that ended, which
// live per (I_T nexus, logical unit, list identifier). Bodies of its commands stand elsewhere (copy_commands.h); this
// is what they share. Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/timer_queue.h"
#include "handlers/backing_store.h"
#include "scsi/copy_fabric.h"
#include "scsi/device_profile.h"
#include "scsi/status.h"
#include "tokens/token_manager.h"

namespace tokens {
class CopyOperations;
struct CopyOperationKey;
}  // namespace tokens

namespace scsi {

class CopyJob;
class Journal;
class LogicalUnit;
class Rendezvous;

/// Whether a change of its source ends a token of this type.
bool ends_by_change(const DeviceProfile& profile, tokens::RodType type);

class CopyManager {
 public:
  /// `clock` is the array clock, and `timers` whatever runs by it: without, copies that are to take time never end
  /// unless timers() is run. `fabric` is what it shares with the process's other arrays: without, it is alone.
  /// References outlive the manager.
  CopyManager(DeviceProfile profile, const base::Clock& clock, base::Entropy& entropy,
              base::TimerQueue* timers = nullptr, CopyFabric* fabric = nullptr, std::string array_name = {});
  ~CopyManager();

  const std::string& array_name() const;
  const DeviceProfile& profile() const;
  const base::Clock& clock() const;
  base::TimerQueue& timers();
  tokens::TokenManager& tokens();
  const tokens::TokenManager& tokens() const;
  tokens::CopyOperations& operations();
  CopyFabric& fabric();
  /// Null: nothing is recorded.
  Journal* journal() const;
  Reachability& reachability();

  /// `lu` is offered through the target `target_name`; DeviceServer::add() says so. From then on tokens made from it
  /// are ours, and with a second target VPD page 8Fh reports REMOTE TOKENS 4h: each iSCSI target node is a SCSI target
  /// device of its own (SPC-4 5.17.6.4).
  void exported(LogicalUnit& lu, const std::string& target_name);

  /// The operation of that name that is being processed, or null.
  CopyJob* find_job(const tokens::CopyOperationKey& key) const;
  std::size_t running_jobs() const;
  /// Those that are being processed, in the order they began.
  std::vector<std::shared_ptr<CopyJob>> jobs() const;

  /// I_T nexus loss: results are dropped; operations being processed in the background go on (SPC-4 5.17.5).
  void nexus_lost(NexusId nexus);
  /// Logical unit reset (SPC-4 5.17.4.3, 5.17.5): results are dropped and the operations that use the logical unit
  /// stopped; the device server has aborted its commands. `waiter` is held until nothing moves any more. Tokens live
  /// on.
  void logical_unit_reset(const LogicalUnit& lu, const std::shared_ptr<Rendezvous>& waiter);
  /// Stops what `nexus` copies from or to `lu`, whichever logical unit processes it: its registration was preempted
  /// with PREEMPT AND ABORT (SPC-4 5.12.11.2.6). NexusId::none: whoever's. What is stopped has status 60h.
  void stop_using(const LogicalUnit& lu, NexusId nexus, const std::shared_ptr<Rendezvous>& waiter);
  /// Stops everything, as COPY OPERATION ABORT does: the array is about to end.
  void stop_all(const std::shared_ptr<Rendezvous>& waiter);
  /// Drops what waits where it is: nothing is answered any more. For arrays that end together, before the first does.
  void abandon_jobs();

  // What becomes of the source of tokens. Tokens end as cancelled (23h/08h).
  /// Fewer blocks: copies of any array that use it are stopped; tokens that address lost ones by reference, or that may
  /// end by a change, are cancelled; captured data is kept.
  void logical_unit_shrunk(const LogicalUnit& lu);
  /// Its data is gone: formatted, sanitized, ejected. Copies of any array that use it are stopped, all its tokens
  /// cancelled.
  void medium_lost(const LogicalUnit& lu);
  /// Copies of any array that use it are stopped, all its tokens cancelled, its results dropped, and nothing finds it
  /// any more. No copy uses it when `waiter` is let go of.
  void logical_unit_removed(LogicalUnit& lu, const std::shared_ptr<Rendezvous>& waiter);
  /// Whether there is third-party copy, as the profile has it: without, 3PC is 0, there is no VPD page 8Fh, and its
  /// commands are 05/20/00. A change tells every I_T nexus (06/3F/03) on every logical unit. What runs goes on.
  void offer_third_party_copy(bool offered);
  /// The target offers nothing any more.
  void target_removed(const std::string& target_name);
  /// Whether a copy of any array uses it.
  bool in_use(const LogicalUnit& lu) const;

  /// Cancels the token when any of its source's bytes change (ROD type 0080 0001h, or a profile that says so).
  void watch(LogicalUnit& lu, const std::vector<handlers::ByteRange>& ranges, tokens::TokenId token);

  /// REMOTE TOKENS: what the profile says, or 4h where there are others to take tokens from (SPC-4 table 636).
  std::uint8_t remote_tokens() const;

  /// VPD page 8Fh for `lu`: exactly what is implemented. WINDOWS: Block Device ROD Limits first, 36 bytes.
  std::vector<std::uint8_t> third_party_copy_page(const LogicalUnit& lu) const;

 private:
  friend class CopyJob;
  void stop_jobs(const std::function<bool(const CopyJob&)>& selected, const std::shared_ptr<Rendezvous>& waiter);
  void add(std::shared_ptr<CopyJob> job);
  void remove(CopyJob& job);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace scsi
