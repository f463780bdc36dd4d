// What copy managers know of each other: which array made a token, where its data is, and which pairs of logical units
// can move data between them. The rules of the process stand here, too (scsi/rules.h).
//
// One for all arrays of a process; a copy manager on its own brings one of its own. Owns no manager and no logical
// unit. Thread: the loop's, except RemoteRods.
#pragma once

#include <atomic>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "handlers/backing_store.h"
#include "scsi/device_profile.h"
#include "tokens/rod_token.h"
#include "tokens/token_manager.h"

namespace scsi {

class CopyManager;
class Journal;
class LogicalUnit;
class RuleSet;

/// Which pairs can move data between them. All, unless told otherwise; may change at any time, and what runs goes on.
/// Names are those of logical units (LogicalUnitConfig::name) or of arrays.
class Reachability {
 public:
  struct Cut {
    std::string a;
    std::string b;
    std::optional<UnreachableRefusal> refusal{};  ///< absent: the destination's profile says
    bool operator==(const Cut&) const = default;
  };

  /// Cuts the pair, both ways. The newest cut decides.
  void cut(const std::string& a, const std::string& b, std::optional<UnreachableRefusal> refusal = {}) {
    cuts_.insert(cuts_.begin(), {a, b, refusal});
  }
  /// Takes back every cut between these two names.
  void mend(const std::string& a, const std::string& b) {
    std::erase_if(cuts_, [&](const Cut& cut) { return (cut.a == a && cut.b == b) || (cut.a == b && cut.b == a); });
  }
  /// Replaces all cuts.
  void set(std::vector<Cut> cuts) { cuts_ = std::move(cuts); }
  const std::vector<Cut>& cuts() const { return cuts_; }

  /// The cut between them, or null. Each end is known by several names: its own and its array's.
  const Cut* find(const std::vector<std::string>& source, const std::vector<std::string>& destination) const;

 private:
  std::vector<Cut> cuts_;
};

/// Tokens whose creator is none of this process's logical units. Thread: a worker's.
class RemoteRods {
 public:
  virtual ~RemoteRods() = default;

  struct Refusal {
    /// What the creator says of the token; absent: the creator is not known or cannot be reached.
    std::optional<tokens::TokenError> token{};
    bool creator_known = false;
    std::string reason;
  };
  /// Finds the creator and asks it for the data, as a snapshot that is read on worker threads. Waits no longer than its
  /// own limits, nor after `stopped` is true.
  virtual std::expected<handlers::SnapshotRef, Refusal> open(const tokens::RodToken& token,
                                                             const std::atomic<bool>& stopped) = 0;
};

class CopyFabric {
 public:
  CopyFabric();
  ~CopyFabric();

  Reachability& reachability() { return reachability_; }
  const Reachability& reachability() const { return reachability_; }

  RuleSet& rules() { return *rules_; }

  /// Null: tokens from elsewhere are refused (05/23/02). Outlives the fabric's use.
  void set_remote_rods(RemoteRods* remote) { remote_ = remote; }
  RemoteRods* remote_rods() const { return remote_; }

  /// These cuts, and no others, from now on; the journal has what changed.
  void set_cuts(std::vector<Reachability::Cut> cuts);

  /// Null: nothing is recorded. Outlives the fabric's use.
  void set_journal(Journal* journal) { journal_ = journal; }
  Journal* journal() const { return journal_; }

  std::uint64_t next_job_number() { return ++last_job_number_; }

  void add(CopyManager& manager) { managers_.push_back(&manager); }
  void remove(CopyManager& manager);
  const std::vector<CopyManager*>& managers() const { return managers_; }

  void add(LogicalUnit& lu, CopyManager& manager);
  void remove(const LogicalUnit& lu);

  struct Place {
    LogicalUnit* lu = nullptr;
    CopyManager* manager = nullptr;
  };
  /// The logical unit of that name, or nothing.
  std::optional<Place> find(const std::string& name) const;
  /// The first logical unit of `manager` that `matches`, or null.
  LogicalUnit* find_if(const CopyManager& manager, const std::function<bool(const LogicalUnit&)>& matches) const;
  /// Every logical unit of `manager`.
  void for_each(const CopyManager& manager, const std::function<void(LogicalUnit&)>& visit) const;
  /// Whose logical unit the token says it was made from, or null.
  CopyManager* creator_of(const tokens::RodToken& token) const;

 private:
  Reachability reachability_;
  std::unique_ptr<RuleSet> rules_;
  RemoteRods* remote_ = nullptr;
  Journal* journal_ = nullptr;
  std::vector<CopyManager*> managers_;
  std::map<std::string, Place> units_;
  std::uint64_t last_job_number_ = 0;
};

}  // namespace scsi
