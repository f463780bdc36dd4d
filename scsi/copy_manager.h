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
class CopyOperations;
class TokenManager;
}  // namespace tokens

namespace scsi {

class LogicalUnit;

/// Which pairs of logical units can move data between them. All, unless told otherwise.
class Reachability {
 public:
  /// Cuts the pair, both ways. Names are LogicalUnitConfig::name.
  void cut(const std::string& a, const std::string& b);
  bool reachable(const std::string& source, const std::string& destination) const;

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
  tokens::CopyOperations& operations();
  Reachability& reachability();

  /// `lu` is offered through the target `target_name`; DeviceServer::add() says so. From then on tokens made from it
  /// are ours, and with a second target VPD page 8Fh reports REMOTE TOKENS 4h: each iSCSI target node is a SCSI target
  /// device of its own (SPC-4 5.17.6.4).
  void exported(const LogicalUnit& lu, const std::string& target_name);

  /// I_T nexus loss and logical unit reset (SPC-4 5.17.4.3, 5.17.5): results are dropped. Operations being processed go
  /// on after the one; before the other the device server has aborted their commands. Tokens live on.
  void nexus_lost(NexusId nexus);
  void logical_unit_reset(const LogicalUnit& lu);

  /// VPD page 8Fh for `lu`: exactly what is implemented. WINDOWS: Block Device ROD Limits first, 36 bytes.
  std::vector<std::uint8_t> third_party_copy_page(const LogicalUnit& lu) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace scsi
