// What the iSCSI layer has to know of the configuration: target nodes, portals, who may log in, limits.
// Plain data. Limits are fixed while the process runs; target nodes are replaced by others, never changed, while logins
// and sessions hold on to the one they found. Thread: the loop's.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace scsi {
class DeviceServer;
}

namespace iscsi {

/// One CHAP name and secret (RFC 7143, 12.1.3). The secret is never logged.
struct ChapCredentials {
  std::string name;
  std::string secret;
  bool operator==(const ChapCredentials&) const = default;
};

/// Who must prove what. Without `initiator`, nothing.
struct Authentication {
  std::optional<ChapCredentials> initiator{};  ///< what the initiator proves (one-way)
  std::optional<ChapCredentials> target{};     ///< what we prove to it (mutual); the secrets differ
  bool mutual_required = true;                 ///< whether it must ask for that
  bool operator==(const Authentication&) const = default;
};

/// A network portal as SendTargets tells it: the advertised address, which may differ from the bound one, and the
/// portal group it belongs to. `address` is an IPv4 address, a bracketed IPv6 address or a DNS name.
struct PortalAddress {
  std::string address;
  std::uint16_t port = 3260;
  std::uint16_t portal_group_tag = 1;
  bool operator==(const PortalAddress&) const = default;
};

/// Where a target is to be found instead (RFC 7143, 11.13.5).
struct Redirection {
  PortalAddress to{};
  bool permanent = false;  ///< login status 0102h instead of 0101h: initiators remember it
  bool operator==(const Redirection&) const = default;
};

struct TargetNode {
  std::string name;  ///< iSCSI name, normalised
  std::string alias{};
  std::vector<std::uint16_t> portal_group_tags{1};            ///< the groups it is offered in
  std::vector<PortalAddress> portals{};                       ///< advertised, in order, of all groups
  std::optional<Redirection> redirection{};                   ///< nobody logs in here
  Authentication authentication{};                            ///< of initiators that have none of their own
  std::map<std::string, Authentication> authentication_of{};  ///< by iSCSI name
  std::vector<std::string> allowed_initiators{};              ///< iSCSI names; empty: everybody
  scsi::DeviceServer* device_server = nullptr;  ///< there as long as the node is in a Directory or sessions are with it

  bool allows(const std::string& initiator_name) const;
  bool is_offered_in(std::uint16_t portal_group_tag) const;
  /// Whether nobody logs in without proof.
  bool authenticates() const { return authentication.initiator || !authentication_of.empty(); }
  /// What an initiator has to prove. Where the target authenticates and this has no `initiator`, it cannot.
  const Authentication& authentication_for(const std::string& initiator_name) const;
};

/// What we offer and how much one peer may take (RFC 7143, 13). Every limit is a setting.
struct Limits {
  std::uint32_t max_recv_data_segment_length = 262144;  ///< bytes; declared
  std::uint32_t max_burst_length = 1048576;
  std::uint32_t first_burst_length = 262144;
  std::uint16_t max_outstanding_r2t = 8;
  bool initial_r2t = false;
  bool immediate_data = true;
  std::uint32_t command_window = 128;              ///< MaxCmdSN - ExpCmdSN + 1 when idle
  std::uint32_t immediate_commands = 16;           ///< at once per session; beyond: Reject 06h
  std::uint32_t max_sessions = 1024;               ///< beyond: login status 0302h
  std::uint32_t max_connections = 4096;            ///< logged in or not; beyond: the socket is closed
  std::uint16_t max_connections_per_session = 4;   ///< agreed on at most (RFC 7143, 13.2); beyond: 0206h
  std::uint32_t max_half_open_logins = 256;        ///< of them not logged in; beyond: the oldest is closed
  std::uint64_t max_session_data_out = 64u << 20;  ///< bytes gathered for one session's writes; beyond: no new R2T,
                                                   ///< but one write is always served
  std::uint64_t max_session_data_in = 256u << 20;  ///< bytes being read for one session; beyond: TASK SET FULL
  std::uint64_t max_data_in_flight = 1u << 30;     ///< bytes all sessions' commands have under way; beyond: TASK SET
                                                   ///< FULL where a session has more than its share of it
  std::chrono::seconds login_timeout{15};
  std::chrono::seconds nop_interval{0};  ///< target NOP-In when nothing was received; 0: off
  std::chrono::seconds nop_timeout{30};

  bool operator==(const Limits&) const = default;
};

/// Everything a portal serves.
struct Directory {
  std::vector<std::shared_ptr<TargetNode>> targets;
  Authentication discovery{};  ///< for discovery sessions
  Limits limits{};

  /// Null: there is none.
  std::shared_ptr<const TargetNode> find(const std::string& target_name) const;
};

}  // namespace iscsi
