// The copy manager: third-party copy commands of all logical units of one array (SPC-4 5.17, SBC-4 4.28).
//
// One per array: it owns the ROD tokens and the results of copy operations, which live per (I_T nexus,
// logical unit, list identifier). Bodies of its commands stand in copy_commands.cc; this is what they share.
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "scsi/device_profile.h"
#include "scsi/status.h"

namespace tokens {
class TokenManager;
}

namespace scsi {

class LogicalUnit;

/// Which pairs of logical units can move data between them. All, unless told otherwise.
class Reachability {
 public:
  /// Cuts the pair, both ways. Names are LogicalUnitConfig::name.
  void cut(const std::string& a, const std::string& b);
  bool reachable(const LogicalUnit& source, const LogicalUnit& destination) const;

 private:
  std::vector<std::pair<std::string, std::string>> cut_;
};

class CopyManager {
 public:
  /// `clock` is the array clock. References outlive the manager.
  CopyManager(DeviceProfile profile, const base::Clock& clock, base::Entropy& entropy);
  ~CopyManager();

  const DeviceProfile& profile() const;
  tokens::TokenManager& tokens();
  Reachability& reachability();

  /// Events of section 8.2 of the facts: results are dropped, running operations terminated where the
  /// standard says so.
  void nexus_lost(NexusId nexus);
  void logical_unit_reset(LogicalUnit& lu);

  /// VPD page 8Fh for `lu`: exactly what is implemented. WINDOWS: Block Device ROD Limits first, 36 bytes.
  std::vector<std::uint8_t> third_party_copy_page(const LogicalUnit& lu) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace scsi
