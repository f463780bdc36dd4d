// SCSI status, task attributes and the I_T nexus (SAM-5).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace scsi {

/// SAM-5 5.3.1.
enum class Status : std::uint8_t {
  good = 0x00,
  check_condition = 0x02,
  condition_met = 0x04,
  busy = 0x08,
  reservation_conflict = 0x18,
  task_set_full = 0x28,
  aca_active = 0x30,
  task_aborted = 0x40,
};
/// "TASK SET FULL"; of a value that is none of these, "status 22h".
std::string describe(Status status);
/// The other way round, in any case of letters, and "22h"; nothing for anything else.
std::optional<Status> status_named(std::string_view text);

/// SAM-5 8.6; the values are those of the iSCSI SCSI Command PDU (RFC 7143, 11.3.1).
/// WINDOWS: classpnp sends the last retry untagged (its retry.c); it is served as SIMPLE.
enum class TaskAttribute : std::uint8_t { untagged = 0, simple = 1, ordered = 2, head_of_queue = 3, aca = 4 };

/// What names an I_T nexus in iSCSI (RFC 7143, 4.4.2): all connections of a session share it.
struct ITNexus {
  std::string initiator_name;
  std::array<std::uint8_t, 6> isid{};
  std::string target_name;
  std::uint16_t target_portal_group_tag = 1;
  auto operator<=>(const ITNexus&) const = default;
};

/// An attached I_T nexus, as the device server numbers it. Unique among all device servers of the process (copy results
/// are kept by it, and one copy manager serves several targets), and never reused.
enum class NexusId : std::uint32_t { none = 0 };

/// A logical unit number, decoded from its 8-byte form (SAM-5 4.7): peripheral device or flat space
/// addressing, one level.
enum class Lun : std::uint16_t {};

}  // namespace scsi
