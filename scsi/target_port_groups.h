// Asymmetric logical unit access (SPC-4 5.15.2): how one logical unit is reached through each target port group.
//
// A target port group is one target port here, and both have the number of the iSCSI portal group: a portal group is a
// port (RFC 7143, 4.4.2). Knows states, not commands: those are in target_port_group_commands.cc, and what a state lets
// through is judged by the device server. Thread: the loop's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "scsi/sense.h"

namespace scsi {

/// TPGS of standard INQUIRY data (SPC-4 6.4.2): who changes access states.
enum class AccessChanges : std::uint8_t {
  none = 0,        ///< access is symmetric
  implicitly = 1,  ///< the array
  explicitly = 2,  ///< application clients, with SET TARGET PORT GROUPS
  by_either_side = 3,
};

/// ASYMMETRIC ACCESS STATE (SPC-4 6.37). Logical block dependent (4h) and the secondary state offline (Eh) do not
/// occur: a port that is offline takes no connection.
enum class AccessState : std::uint8_t {
  active_optimized = 0x0,
  active_non_optimized = 0x1,
  standby = 0x2,
  unavailable = 0x3,
  transitioning = 0xF,
};

/// STATUS CODE of a target port group descriptor (SPC-4 6.37): what changed the state last.
enum class AccessChangedBy : std::uint8_t { nobody = 0, set_target_port_groups = 1, the_array = 2 };

struct TargetPortGroup {
  std::uint16_t number = 1;  ///< TARGET PORT GROUP, and the RELATIVE TARGET PORT IDENTIFIER of its only port
  AccessState state = AccessState::active_optimized;
  bool preferred = false;  ///< PREF
  AccessChangedBy changed_by = AccessChangedBy::nobody;
};

/// The most restricted access state in which a command is served (SPC-4 5.15.2.4).
enum class AccessGate : std::uint8_t { active, standby, unavailable, transitioning };

class TargetPortGroups {
 public:
  /// Symmetric access, and nothing to report.
  TargetPortGroups() = default;
  /// `groups` are all ports of the target, ascending.
  TargetPortGroups(AccessChanges changes, std::vector<TargetPortGroup> groups)
      : changes_(changes), groups_(std::move(groups)) {
    note_states();
  }

  AccessChanges changes() const { return changes_; }
  bool reported() const { return changes_ != AccessChanges::none; }
  bool change_implicitly() const { return has(AccessChanges::implicitly); }
  bool change_explicitly() const { return has(AccessChanges::explicitly); }

  std::span<const TargetPortGroup> groups() const { return groups_; }
  /// Null when there is no such group.
  const TargetPortGroup* find(std::uint16_t number) const;

  /// Why a command with this gate is not served through target port `port`: 02/04/0A, 02/04/0B or 02/04/0C; nothing
  /// when it is.
  std::optional<Sense> refusal(std::uint16_t port, AccessGate gate) const;

  /// Nothing is refused through any port.
  bool all_active() const { return all_active_; }

  /// Whether `port` is unavailable, so that INQUIRY says that nothing is connected there (SPC-4 5.15.2.4.5).
  bool unavailable(std::uint16_t port) const;

  /// Changes a group that there is. Returns whether that made a difference.
  bool set_state(std::uint16_t number, AccessState state, AccessChangedBy by);
  bool set_preferred(std::uint16_t number, bool preferred);

 private:
  bool has(AccessChanges side) const {
    return (static_cast<std::uint8_t>(changes_) & static_cast<std::uint8_t>(side)) != 0;
  }
  TargetPortGroup* group(std::uint16_t number);
  void note_states();

  AccessChanges changes_ = AccessChanges::none;
  std::vector<TargetPortGroup> groups_{};
  bool all_active_ = true;  ///< so that a command costs one comparison
};

}  // namespace scsi
