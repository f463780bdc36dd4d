// Unit attention conditions of one logical unit, per I_T nexus (SAM-5 5.14).
//
// A small set per nexus, reported one at a time in the order of precedence, each at most once.
// WINDOWS: two conditions in a row are enough to fail an offload read (classpnp retries it once), so a reset
// condition (29h) stands for everything that was or will be pending beside it: whoever sees it reads all state again.
// Thread: the loop's.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "scsi/sense.h"
#include "scsi/status.h"

namespace scsi {

class UnitAttentions {
 public:
  static constexpr std::size_t kCodes = 19;  ///< conditions known, listed in the .cc by precedence

  /// The nexus exists from now on; `first` is pending for it.
  void attach(NexusId nexus, AdditionalSense first);
  void detach(NexusId nexus);
  bool attached(NexusId nexus) const { return pending_.contains(nexus); }

  /// Makes `code`, one of the conditions known, pending. Ignored for a nexus that is not attached.
  void establish(NexusId nexus, AdditionalSense code);
  void establish_for_all(AdditionalSense code, NexusId except = NexusId::none);

  /// Forgets `code` where it is pending (REPORT LUNS and 3Fh/0Eh, SPC-4 6.33).
  void clear(NexusId nexus, AdditionalSense code);

  /// The condition of highest precedence, as sense data; it is no longer pending afterwards.
  std::optional<Sense> take(NexusId nexus);

 private:
  using Conditions = std::bitset<kCodes>;  ///< by precedence

  void add(Conditions& pending, AdditionalSense code);

  std::map<NexusId, Conditions> pending_;
  std::uint32_t nexuses_with_some_ = 0;  ///< so that a command costs one comparison when nothing is pending
};

}  // namespace scsi
