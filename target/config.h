// What odxd is told to be: read from a TOML file or from the short form on the command line, and judged completely, at
// the start and whenever it is to be read again (target/reload.h). Knows no socket and opens no store. Thread: the
// loop's.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/array_clock.h"
#include "base/log.h"
#include "scsi/device_profile.h"
#include "scsi/rules.h"
#include "scsi/target_port_groups.h"
#include "target/iscsi/node.h"

namespace toml::inline v3 {
class table;
}  // namespace toml::inline v3

namespace target {

/// A configuration that cannot be used. Thrown once, up to main(). what() is one complete line that opens with the
/// place: "array.toml:12:14: target.lun.block_size is 520; expected 512 or 4096".
class ConfigError : public std::runtime_error {
 public:
  ConfigError(std::string_view place, std::string_view text, std::string key = {}, std::string rule = {});
  const std::string& text() const { return text_; }  ///< without the place
  const std::string& key() const { return key_; }    ///< what is wrong; empty where it is no key
  const std::string& rule() const { return rule_; }  ///< what is expected of it; may be empty

 private:
  std::string text_, key_, rule_;
};

/// RFC 7143, 4.4.2; 0 is no relative target port identifier (SPC-4).
inline constexpr std::uint64_t kMaxPortalGroup = 65535;

struct PortalConfig {
  std::string host = "127.0.0.1";  ///< a literal IPv4 or IPv6 address, without brackets
  std::uint16_t port = 3260;       ///< 0: a free one
  std::optional<iscsi::PortalAddress> advertised{};
  std::uint16_t group = 1;         ///< target portal group tag, 1 to kMaxPortalGroup
  std::string place = "--portal";  ///< where it was written, for errors

  /// The same portal; where it was written does not matter.
  bool operator==(const PortalConfig& other) const {
    return host == other.host && port == other.port && advertised == other.advertised && group == other.group;
  }
  /// "127.0.0.1:3260", "[::1]:3260".
  std::string text() const;
  bool is_wildcard() const;
  bool is_loopback() const;
};

/// The access state of a LUN through one portal group.
struct AccessConfig {
  std::uint16_t group = 1;
  scsi::AccessState state = scsi::AccessState::active_optimized;
  bool preferred = false;
  bool operator==(const AccessConfig&) const = default;
};

/// What `access` says of a group: nothing is active/optimized.
AccessConfig access_through(const std::vector<AccessConfig>& access, std::uint16_t group);

struct LunConfig {
  std::uint16_t number = 0;  ///< 0 to 16383
  std::string name;          ///< unique in the process
  bool named = false;        ///< it was written, and does not follow from where the LUN stands
  std::string store;         ///< what handlers::open_store() takes: "memory:64G", "file:disk.img"
  std::uint32_t block_size = 512;
  std::uint8_t physical_block_exponent = 0;
  bool read_only = false;
  bool removable = false;
  bool self_encrypting = false;      ///< a store in memory only
  std::uint64_t soft_threshold = 0;  ///< bytes left to it at which hosts are told; 0: none
  bool thin = true;
  std::vector<std::string> allowed_initiators{};      ///< empty: all of the target's
  std::string serial{};                               ///< empty: derived
  std::optional<std::array<std::uint8_t, 16>> naa{};  ///< absent: derived
  std::vector<AccessConfig> access{};                 ///< of groups that are not just active/optimized
  std::string place{};                                ///< of its store, for errors
};

/// One of the arrays of the process: a copy manager, an id and a personality of its own.
struct ArrayConfig {
  std::string name{};  ///< unique, and no LUN's either; empty: the only array
  std::string id{};    ///< empty: derived (target/identity.h)
  scsi::DeviceProfile profile{};
  bool operator==(const ArrayConfig&) const = default;
};

/// Two LUNs or arrays, by their names, between which no data moves.
struct UnreachablePair {
  std::string a, b;
  std::optional<scsi::UnreachableRefusal> refusal{};  ///< absent: the profile's
  bool operator==(const UnreachablePair&) const = default;
};

struct TargetConfig {
  std::size_t array = 0;  ///< index into Config::arrays
  std::string name{};     ///< empty (only when there is one target): derived from the array's id
  std::string alias{};
  iscsi::Authentication authentication{};                            ///< of initiators that have none of their own
  std::map<std::string, iscsi::Authentication> authentication_of{};  ///< by iSCSI name
  std::vector<std::string> allowed_initiators{};
  std::optional<iscsi::Redirection> redirection{};
  std::vector<std::uint16_t> portal_groups{};  ///< ascending; empty: all there are
  scsi::AccessChanges alua = scsi::AccessChanges::none;
  std::vector<LunConfig> luns{};  ///< none only where initiators are sent elsewhere

  /// Whether everybody who reaches it can use a LUN of it.
  bool open_to_all() const;
};

/// A target of another odxd, or of any array with the commands for it, whose tokens work here.
struct PeerConfig {
  iscsi::PortalAddress portal{};
  std::string target_name{};
  std::string initiator_name = "iqn.2026-11.org.odx:copy-manager";  ///< who we say we are
  iscsi::Authentication authentication{};                           ///< what we prove, and it to us
  std::chrono::seconds timeout{3};                                  ///< WINDOWS: a copy has 4 seconds

  bool operator==(const PeerConfig&) const = default;
  std::string text() const;  ///< "192.0.2.7:3260 iqn..."
};

struct JournalConfig {
  std::size_t events = 4096;  ///< that are kept; 0: no journal
  std::string file{};         ///< where they are written as JSON lines; empty: nowhere
  bool operator==(const JournalConfig&) const = default;
};

/// Where odxd is steered (target/control/).
struct ControlConfig {
  std::string unix_path{};               ///< empty: no Unix socket
  std::optional<PortalConfig> listen{};  ///< absent: no TCP
  std::string token{};                   ///< what TCP asks for
  bool operator==(const ControlConfig&) const = default;
};

inline constexpr unsigned kMaxThreads = 64;
/// Those that this process may run on: a container may have some of many.
unsigned usable_processors();
/// One event loop for two processors, at most 8: whoever uses the array runs on the same machine as often as not, and
/// what is done in turns (target/event_loop.h) does not get faster by more.
unsigned usual_threads();

struct Config {
  std::optional<std::uint64_t> memory_limit{};  ///< bytes for all memory LUNs; absent: a share of what there is
  std::optional<unsigned> threads{};            ///< event loops, 1 to kMaxThreads; absent: usual_threads()
  base::log::Level log_level = base::log::Level::info;
  std::string state_dir{};  ///< where reservations of LUNs without a writable image file persist; empty: nowhere
  base::ClockMode clock{};
  JournalConfig journal{};
  std::vector<PortalConfig> portals{};
  std::vector<ArrayConfig> arrays{1};  ///< at least one
  std::vector<TargetConfig> targets{};
  iscsi::Authentication discovery{};
  iscsi::Limits limits{};
  std::optional<std::uint64_t> max_data_in_flight{};  ///< absent: what goes with memory_limit
  std::vector<UnreachablePair> unreachable{};
  std::vector<PeerConfig> peers{};
  std::vector<scsi::Rule> rules{};
  ControlConfig control{};

  /// The portal groups there are, ascending.
  std::vector<std::uint16_t> portal_groups() const;
};

/// Reads a TOML document; `file` is what errors call it. Throws ConfigError.
Config parse_config(std::string_view document, const std::string& file);

/// The same for a document that was made in memory. Throws ConfigError.
Config read_config(const toml::table& document, const std::string& file);

/// Reads the keys of one [[target]], which stand at the top of the document, for a process that serves others: it may
/// have no LUN, and what names are taken is not known. Throws ConfigError.
TargetConfig parse_target(std::string_view document, const std::string& file);

/// Reads a file. Throws ConfigError, also when it cannot be opened.
Config load_config(const std::string& path);

/// Throws ConfigError when a target or an access state names a portal group that no portal is in. For when the command
/// line has had its say on portals, which the file need not know.
void check_portal_groups(const Config& config, const std::string& place);

/// One target whose LUNs are `stores`, numbered from 0 in that order. Throws ConfigError.
Config short_form(const std::vector<std::string>& stores);

/// "ADDR:PORT", "ADDR", "[ADDR6]:PORT", "[ADDR6]" or "ADDR6", perhaps with ",GROUP" behind it; the address is a
/// literal, the default port 3260. Throws ConfigError with `place` and `name` ("--portal").
PortalConfig parse_portal(std::string_view text, const std::string& place, std::string_view name);

/// Debug, info, warning, error or off; nothing for anything else.
std::optional<base::log::Level> parse_log_level(std::string_view text);

/// What may be an array's id: 1 to 64 of a-z, 0-9, '-' and '.', so that it can stand in an iSCSI name.
bool valid_array_id(std::string_view id);
inline constexpr std::string_view kArrayIdRule = "1 to 64 characters of a-z, 0-9, '-' and '.'";

/// Lines worth a warning at the start: an open target beyond loopback, a short CHAP secret.
std::vector<std::string> warnings(const Config& config);

}  // namespace target
