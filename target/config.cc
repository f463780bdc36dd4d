#include "target/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sched.h>

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <sstream>
#include <thread>

#include "target/config_clock.h"
#include "target/config_control.h"
#include "target/config_ports.h"
#include "target/config_profile.h"
#include "target/config_reader.h"
#include "target/config_rules.h"
#include "target/iscsi/name.h"

namespace target {
namespace {

constexpr std::uint64_t kMaxLun = 16383;  // flat space addressing, SAM-5 4.7.7.4: 14 bits
constexpr std::string_view kStoreRule = "a store such as \"memory:64G\" or \"file:/path/disk.img\"";
constexpr std::string_view kMemoryRule =
    "\"memory:SIZE\", a size from 1 to 4096P in bytes or with K, M, G, T or P: \"memory:64G\"";
constexpr std::string_view kPortalRule = "an address and port such as 127.0.0.1:3260 or [::1]:3260";
constexpr std::string_view kIscsiNameRule = "an iSCSI name such as \"iqn.2026-11.org.example:disk\" (RFC 7143, 4.2.7)";

constexpr std::string_view kNameRule = "a name of 1 to 64 printable characters";

/// Of an array or a LUN.
bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         std::ranges::all_of(name, [](unsigned char each) { return std::isprint(each) != 0; });
}

std::string_view store_rule(std::string_view text) { return text.starts_with("memory:") ? kMemoryRule : kStoreRule; }

/// Whether a store is spelled well; whether it can be opened shows when it is.
bool valid_store(std::string_view text) {
  if (text.starts_with("memory:")) {
    auto size = parse_size(text.substr(7));
    return size && *size > 0;
  }
  return text.starts_with("file:") && text.size() > 5;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return port;
}

/// Splits "HOST:PORT", "HOST", "[HOST]:PORT" or "[HOST]"; an unbracketed IPv6 address has no port.
std::optional<std::pair<std::string, std::uint16_t>> split_host_port(std::string_view text) {
  constexpr std::uint16_t kIscsiPort = 3260;
  std::string_view host = text;
  std::string_view rest;
  if (text.starts_with('[')) {
    std::size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
  } else if (std::ranges::count(text, ':') == 1) {
    host = text.substr(0, text.find(':'));
    rest = text.substr(text.find(':'));
  }
  if (host.empty()) return std::nullopt;
  if (rest.empty()) return std::pair(std::string(host), kIscsiPort);
  auto port = rest.starts_with(':') ? parse_port(rest.substr(1)) : std::nullopt;
  if (!port) return std::nullopt;
  return std::pair(std::string(host), *port);
}

bool is_ipv6(const std::string& host) {
  in6_addr address{};
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}
bool is_ipv4(const std::string& host) {
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

std::string with_brackets(const std::string& host) { return is_ipv6(host) ? "[" + host + "]" : host; }

bool is_dns_name(std::string_view host) {
  return host.size() <= 253 && std::ranges::all_of(host, [](unsigned char each) {
           return std::isalnum(each) || each == '-' || each == '.' || each == '_';
         });
}

std::optional<PortalConfig> portal_from(std::string_view text) {
  auto split = split_host_port(text);
  if (!split || (!is_ipv4(split->first) && !is_ipv6(split->first))) return std::nullopt;
  PortalConfig portal;
  portal.host = split->first;
  portal.port = split->second;
  return portal;
}

std::string portal_text(const TableReader& table, std::string_view key, std::string_view rule) {
  auto text = table.text(key, rule);
  if (!text) table.refuse(key, rule);
  return *text;
}

/// An address or name with an optional port; nothing when the key is absent.
std::optional<iscsi::PortalAddress> read_address(const TableReader& table, std::string_view key) {
  constexpr std::string_view kRule = "an address or name and port such as array.example.org:3260";
  auto text = table.text(key, kRule);
  if (!text) return std::nullopt;
  auto split = split_host_port(*text);
  if (!split || split->second == 0 || (!is_ipv6(split->first) && !is_dns_name(split->first))) table.refuse(key, kRule);
  return iscsi::PortalAddress{with_brackets(split->first), split->second};
}

PortalConfig read_portal(const TableReader& table) {
  auto portal = portal_from(portal_text(table, "listen", kPortalRule));
  if (!portal) table.refuse("listen", kPortalRule);
  portal->place = table.place("listen");
  portal->advertised = read_address(table, "advertise");
  table.number_into("group", 1, kMaxPortalGroup, portal->group);
  return *portal;
}

std::vector<PortalConfig> read_portals(const TableReader& document) {
  std::vector<PortalConfig> portals;
  const TableReader* wildcard = nullptr;
  std::set<std::string> seen;
  auto tables = document.tables("portal", {"listen", "advertise", "group"});
  for (const TableReader& table : tables) {
    portals.push_back(read_portal(table));
    const PortalConfig& portal = portals.back();
    if (portal.port != 0 && !seen.insert(portal.text()).second)
      table.refuse("listen", "an address and port that no other portal has");
    if (portal.is_wildcard() && !portal.advertised) wildcard = &table;
  }
  // A portal on all addresses is told to each initiator as the address it reached, which cannot be said beside
  // others that are told by name.
  if (wildcard && portals.size() > 1)
    wildcard->complain("advertise",
                       "is missing; expected one, since this portal listens on all addresses and others exist");
  if (portals.empty()) portals.emplace_back();
  return portals;
}

iscsi::ChapCredentials read_credentials(const TableReader& table) {
  constexpr std::string_view kChapNameRule = "a CHAP name of 1 to 255 characters";
  constexpr std::string_view kSecretRule = "a CHAP secret of 1 to 255 characters (12 or more for Windows)";
  auto name = table.text("name", kChapNameRule);
  if (!name || name->empty() || name->size() > 255) table.refuse("name", kChapNameRule);
  auto secret = table.secret("secret", kSecretRule);
  if (!secret) table.refuse("secret", kSecretRule);
  return {*name, *secret};
}

/// `required` says what is asked of an initiator; a peer is always asked.
enum class ProvedBy { initiator, peer };

iscsi::Authentication read_authentication(const TableReader& chap, ProvedBy who) {
  iscsi::Authentication authentication;
  authentication.initiator = read_credentials(chap);
  const bool asked_always = who == ProvedBy::peer;
  if (auto mutual = asked_always ? chap.table("mutual", {"name", "secret"})
                                 : chap.table("mutual", {"name", "secret", "required"})) {
    if (!asked_always) mutual->flag_into("required", authentication.mutual_required);
    authentication.target = read_credentials(*mutual);
    if (authentication.target->secret == authentication.initiator->secret)
      mutual->complain("secret", "is the same as chap.secret; expected another one (RFC 7143, 9.2.1)");
  }
  return authentication;
}

iscsi::Authentication read_chap(const TableReader& parent, ProvedBy who = ProvedBy::initiator) {
  auto chap = parent.table("chap", {"name", "secret", "mutual"});
  return chap ? read_authentication(*chap, who) : iscsi::Authentication{};
}

/// An array of iSCSI names; nothing when the key is absent. They are what initiators call themselves, which is not
/// always what the standard allows.
std::vector<std::string> read_initiators(const TableReader& table) {
  constexpr std::string_view kKey = "allowed_initiators";
  std::vector<std::string> names;
  for (const std::string& each : table.texts(kKey, "an array of iSCSI names")) {
    auto name = iscsi::initiator_name(each);
    if (!name) table.complain(kKey, fmt::format("holds \"{}\"; expected {}", each, kIscsiNameRule));
    names.push_back(*name);
  }
  if (names.empty() && table.has(kKey)) table.complain(kKey, "is empty; expected a name, or no such key for everybody");
  return names;
}

/// [target.chap], for everybody, or [[target.chap]] with a secret for each initiator.
void read_target_chap(const TableReader& table, TargetConfig& target) {
  if (!table.is_array("chap")) {
    target.authentication = read_chap(table);
    return;
  }
  auto tables = table.tables("chap", {"initiator", "name", "secret", "mutual"});
  if (tables.empty()) table.complain("chap", "is empty; expected a [[target.chap]], or no such key");
  for (const TableReader& chap : tables) {
    iscsi::Authentication authentication = read_authentication(chap, ProvedBy::initiator);
    auto text = chap.text("initiator", kIscsiNameRule);
    if (!text) {
      if (target.authentication.initiator)
        chap.complain("initiator", "is missing; expected only one [[target.chap]] for all other initiators");
      target.authentication = std::move(authentication);
      continue;
    }
    auto name = iscsi::initiator_name(*text);
    if (!name) chap.refuse("initiator", kIscsiNameRule);
    if (!target.authentication_of.emplace(*name, std::move(authentication)).second)
      chap.refuse("initiator", "an initiator that no other [[target.chap]] is for");
  }
}

std::optional<std::array<std::uint8_t, 16>> parse_naa(std::string_view text) {
  std::array<std::uint8_t, 16> naa{};
  if (text.starts_with("naa.")) text.remove_prefix(4);
  if (text.size() != 2 * naa.size() || text.front() != '6') return std::nullopt;
  for (std::size_t i = 0; i < naa.size(); ++i) {
    const char* at = text.data() + 2 * i;
    auto [end, error] = std::from_chars(at, at + 2, naa[i], 16);
    if (error != std::errc{} || end != at + 2) return std::nullopt;
  }
  return naa;
}

void read_lun_identity(const TableReader& table, LunConfig& lun) {
  if (auto name = table.text("name", kNameRule)) {
    lun.name = *name;
    if (!valid_name(lun.name)) table.refuse("name", kNameRule);
  }
  constexpr std::string_view kSerialRule = "1 to 20 characters of A-Z, a-z, 0-9, '-', '_' and '.'";
  if (auto serial = table.text("serial", kSerialRule)) {
    lun.serial = *serial;
    if (lun.serial.empty() || lun.serial.size() > 20 || !std::ranges::all_of(lun.serial, [](unsigned char each) {
          return std::isalnum(each) || each == '-' || each == '_' || each == '.';
        }))
      table.refuse("serial", kSerialRule);
  }
  constexpr std::string_view kNaaRule = "32 hexadecimal digits of which the first is 6 (NAA IEEE Registered Extended)";
  if (auto naa = table.text("naa", kNaaRule)) {
    lun.naa = parse_naa(*naa);
    if (!lun.naa) table.refuse("naa", kNaaRule);
  }
}

LunConfig read_lun(const TableReader& table, std::uint16_t number) {
  LunConfig lun;
  lun.number = number;
  table.number_into("number", 0, kMaxLun, lun.number);
  auto store = table.text("store", kStoreRule);
  if (!store || !valid_store(*store)) table.refuse("store", store_rule(store.value_or("")));
  lun.store = *store;
  lun.place = table.place("store");
  if (auto size = table.choice("block_size", {512, 4096})) lun.block_size = static_cast<std::uint32_t>(*size);
  table.number_into("physical_block_exponent", 0, 15, lun.physical_block_exponent);
  table.flag_into("read_only", lun.read_only);
  table.flag_into("removable", lun.removable);
  constexpr std::string_view kProvisioningRule = "\"thin\" or \"thick\"";
  if (auto provisioning = table.text("provisioning", kProvisioningRule)) {
    if (*provisioning != "thin" && *provisioning != "thick") table.refuse("provisioning", kProvisioningRule);
    lun.thin = *provisioning == "thin";
  }
  const bool memory = lun.store.starts_with("memory:");
  table.flag_into("self_encrypting", lun.self_encrypting);
  if (lun.self_encrypting && !memory) table.refuse("self_encrypting", "false, or a store in memory");
  table.size_into("soft_threshold", 1, lun.soft_threshold);
  if (lun.soft_threshold > 0 && !(memory && lun.thin)) table.complain("soft_threshold", "is for a thin LUN in memory");
  lun.allowed_initiators = read_initiators(table);
  read_lun_identity(table, lun);
  return lun;
}

/// What no two LUNs may share, and no two targets.
struct Taken {
  std::set<std::string> target_names, lun_names, serials;
  std::set<std::array<std::uint8_t, 16>> naas;
};

/// `admitted`: who may log in to the target; empty: everybody.
std::vector<LunConfig> read_luns(const TableReader& target, const std::string& name_prefix,
                                 const std::vector<std::string>& admitted, Taken& taken) {
  std::vector<LunConfig> luns;
  std::set<std::uint16_t> numbers;
  for (const TableReader& table :
       target.tables("lun", {"number", "name", "store", "block_size", "physical_block_exponent", "read_only",
                             "removable", "provisioning", "self_encrypting", "soft_threshold", "allowed_initiators",
                             "serial", "naa", "access"})) {
    LunConfig lun = read_lun(table, luns.empty() ? 0 : static_cast<std::uint16_t>(luns.back().number + 1));
    lun.named = !lun.name.empty();
    if (!lun.named) lun.name = fmt::format("{}lun{}", name_prefix, lun.number);
    if (lun.number > kMaxLun || !numbers.insert(lun.number).second)
      table.refuse("number", "a number that no other LUN of the target has");
    if (!taken.lun_names.insert(lun.name).second) {
      if (!table.text("name", "")) table.refuse("name", fmt::format("one, since \"{}\" is taken", lun.name));
      table.refuse("name", "a name that no other LUN and no array has");
    }
    if (!lun.serial.empty() && !taken.serials.insert(lun.serial).second)
      table.refuse("serial", "a serial that no other LUN has");
    if (lun.naa && !taken.naas.insert(*lun.naa).second) table.refuse("naa", "an NAA that no other LUN has");
    lun.access = read_access(target, table);
    for (const std::string& each : lun.allowed_initiators)
      if (!admitted.empty() && std::ranges::find(admitted, each) == admitted.end())
        table.complain("allowed_initiators",
                       fmt::format("holds \"{}\"; expected one of target.allowed_initiators", each));
    luns.push_back(std::move(lun));
  }
  return luns;
}

std::optional<iscsi::Redirection> read_redirection(const TableReader& target) {
  auto temporary = read_address(target, "redirect");
  auto permanent = read_address(target, "redirect_permanently");
  if (temporary && permanent) target.complain("redirect", "stands beside redirect_permanently; expected one of them");
  if (permanent) return iscsi::Redirection{*permanent, true};
  if (temporary) return iscsi::Redirection{*temporary, false};
  return std::nullopt;
}

const std::initializer_list<std::string_view> kTargetKeys = {
    "array",         "name", "alias",  "chap", "allowed_initiators", "redirect", "redirect_permanently",
    "portal_groups", "alua", "access", "lun"};

TargetConfig read_target(const TableReader& table, std::size_t index, std::size_t count, Taken& taken) {
  TargetConfig target;
  auto name = table.text("name", kIscsiNameRule);
  if (name) {
    auto normal = iscsi::normalised_name(*name);
    if (!normal) table.refuse("name", kIscsiNameRule);
    target.name = *normal;
    if (!taken.target_names.insert(target.name).second) table.refuse("name", "a name that no other target has");
  } else if (count > 1) {
    table.refuse("name", std::string(kIscsiNameRule) + ", since there are several targets");
  }
  constexpr std::string_view kAliasRule = "text of at most 255 bytes";
  if (auto alias = table.text("alias", kAliasRule)) {
    if (alias->size() > 255 || alias->contains('\0')) table.refuse("alias", kAliasRule);
    target.alias = *alias;
  }
  read_target_chap(table, target);
  target.allowed_initiators = read_initiators(table);
  target.redirection = read_redirection(table);
  read_ports(table, target);
  target.luns =
      read_luns(table, count > 1 ? fmt::format("target{}-", index + 1) : "", target.allowed_initiators, taken);
  bool has_states = std::ranges::any_of(target.luns, [](const LunConfig& lun) { return !lun.access.empty(); });
  if (has_states && target.alua == scsi::AccessChanges::none) table.refuse("alua", kAluaRuleWithStates);
  return target;
}

void read_seconds(const TableReader& table, std::string_view key, std::uint64_t low, std::chrono::seconds& to) {
  if (auto value = table.number(key, low, 86400)) to = std::chrono::seconds(*value);
}

void read_iscsi(const TableReader& document, Config& config) {
  iscsi::Limits& limits = config.limits;
  auto table = document.table(
      "iscsi", {"max_recv_data_segment_length", "max_burst_length", "first_burst_length", "max_outstanding_r2t",
                "initial_r2t", "immediate_data", "command_window", "immediate_commands", "max_sessions",
                "max_connections", "max_connections_per_session", "max_half_open_logins", "max_session_data_out",
                "max_data_in_flight", "login_timeout_s", "nop_interval_s", "nop_timeout_s"});
  if (!table) return;
  constexpr std::uint64_t kLongest = (1u << 24) - 1;  // RFC 7143, 13.12 to 13.14
  table->number_into("max_recv_data_segment_length", 512, kLongest, limits.max_recv_data_segment_length);
  table->number_into("max_burst_length", 512, kLongest, limits.max_burst_length);
  table->number_into("first_burst_length", 512, kLongest, limits.first_burst_length);
  if (limits.first_burst_length > limits.max_burst_length)
    table->refuse(table->number("first_burst_length", 512, kLongest) ? "first_burst_length" : "max_burst_length",
                  fmt::format("first_burst_length ({}) at most max_burst_length ({}) (RFC 7143, 13.14)",
                              limits.first_burst_length, limits.max_burst_length));
  table->number_into("max_outstanding_r2t", 1, 65535, limits.max_outstanding_r2t);
  table->flag_into("initial_r2t", limits.initial_r2t);
  table->flag_into("immediate_data", limits.immediate_data);
  table->number_into("command_window", 1, 4096, limits.command_window);
  table->number_into("immediate_commands", 1, 4096, limits.immediate_commands);
  table->number_into("max_sessions", 1, 1000000, limits.max_sessions);
  table->number_into("max_connections", 1, 1000000, limits.max_connections);
  table->number_into("max_connections_per_session", 1, 65535, limits.max_connections_per_session);
  table->number_into("max_half_open_logins", 1, 1000000, limits.max_half_open_logins);
  table->size_into("max_session_data_out", kLongest + 1, limits.max_session_data_out);
  config.max_data_in_flight = table->size("max_data_in_flight", 1 << 20);
  read_seconds(*table, "login_timeout_s", 1, limits.login_timeout);
  read_seconds(*table, "nop_interval_s", 0, limits.nop_interval);
  read_seconds(*table, "nop_timeout_s", 1, limits.nop_timeout);
}

void read_id(const TableReader& table, std::string& to) {
  auto id = table.text("id", kArrayIdRule);
  if (!id) return;
  if (!valid_array_id(*id)) table.refuse("id", kArrayIdRule);
  to = *id;
}

void read_process(const TableReader& document, Config& config) {
  if (auto limit = document.size("memory_limit", 1 << 20)) config.memory_limit = *limit;
  if (auto threads = document.number("threads", 1, kMaxThreads)) config.threads = static_cast<unsigned>(*threads);
  constexpr std::string_view kLevelRule = "\"debug\", \"info\", \"warning\", \"error\" or \"off\"";
  if (auto text = document.text("log_level", kLevelRule)) {
    auto level = parse_log_level(*text);
    if (!level) document.refuse("log_level", kLevelRule);
    config.log_level = *level;
  }
  constexpr std::string_view kFolderRule = "the path of a folder";
  if (auto folder = document.text("state_dir", kFolderRule)) {
    if (folder->empty()) document.refuse("state_dir", kFolderRule);
    config.state_dir = *folder;
  }
}

/// What the top of the file says of its array, or each [[array]].
std::vector<ArrayConfig> read_arrays(const TableReader& document) {
  std::vector<ArrayConfig> arrays;
  std::set<std::string> names, ids;
  for (const TableReader& table :
       document.tables("array", {"name", "id", "profile", "tokens", "copy", "block_limits"})) {
    ArrayConfig array;
    auto name = table.text("name", kNameRule);
    if (!name || !valid_name(*name)) table.refuse("name", kNameRule);
    if (!names.insert(*name).second) table.refuse("name", "a name that no other array has");
    array.name = *name;
    read_id(table, array.id);
    if (!array.id.empty() && !ids.insert(array.id).second) table.refuse("id", "an id that no other array has");
    array.profile = read_profile(table);
    arrays.push_back(std::move(array));
  }
  if (!arrays.empty()) {
    for (std::string_view key : {"id", "profile", "tokens", "copy", "block_limits"})
      if (document.has(key)) document.complain(key, "stands beside [[array]]; expected it in the array it is about");
    return arrays;
  }
  ArrayConfig& only = arrays.emplace_back();
  read_id(document, only.id);
  only.profile = read_profile(document);
  return arrays;
}

/// Whose target it is.
std::size_t read_array_of_target(const TableReader& target, const std::vector<ArrayConfig>& arrays) {
  std::vector<std::string> names;
  for (const ArrayConfig& array : arrays) names.push_back(array.name);
  bool several = !names.front().empty();
  if (!several && target.has("array")) target.refuse("array", "none, since there is no [[array]]");
  if (!several) return 0;
  std::string rule = fmt::format("the name of an array: {}", fmt::join(names, ", "));
  auto name = target.text("array", rule);
  if (!name && names.size() == 1) return 0;
  auto found = std::ranges::find(names, name.value_or(""));
  if (found == names.end()) target.refuse("array", rule);
  return static_cast<std::size_t>(found - names.begin());
}

std::set<std::string> names_of(const Config& config) {
  std::set<std::string> names;
  for (const ArrayConfig& array : config.arrays)
    if (!array.name.empty()) names.insert(array.name);
  for (const TargetConfig& target : config.targets)
    for (const LunConfig& lun : target.luns) names.insert(lun.name);
  return names;
}

std::vector<UnreachablePair> read_unreachable(const TableReader& document, const Config& config) {
  const std::string rule = config.arrays.front().name.empty() ? "the name of a LUN" : "the name of a LUN or an array";
  const std::set<std::string> names = names_of(config);
  auto name_at = [&](const TableReader& table, std::string_view key) {
    auto name = table.text(key, rule);
    if (!name) table.refuse(key, rule);
    if (!names.contains(*name)) table.refuse(key, fmt::format("{}: {}", rule, fmt::join(names, ", ")));
    return *name;
  };
  std::vector<UnreachablePair> pairs;
  for (const TableReader& table : document.tables("unreachable", {"a", "b", "refusal"}))
    pairs.push_back({name_at(table, "a"), name_at(table, "b"), read_refusal(table, "refusal")});
  return pairs;
}

std::vector<PeerConfig> read_peers(const TableReader& document, const std::set<std::string>& own_targets) {
  std::vector<PeerConfig> peers;
  std::set<std::string> seen;
  auto iscsi_name = [](const TableReader& table, std::string_view key) {
    auto name = table.text(key, kIscsiNameRule);
    auto normal = name ? iscsi::normalised_name(*name) : std::nullopt;
    if (!normal) table.refuse(key, kIscsiNameRule);
    return *normal;
  };
  for (const TableReader& table : document.tables("peer", {"portal", "target", "initiator", "chap", "timeout_s"})) {
    PeerConfig peer;
    auto portal = read_address(table, "portal");
    if (!portal) table.refuse("portal", "an address or name and port such as array.example.org:3260");
    peer.portal = *portal;
    peer.target_name = iscsi_name(table, "target");
    if (own_targets.contains(peer.target_name)) table.refuse("target", "a target of another process");
    if (table.has("initiator")) peer.initiator_name = iscsi_name(table, "initiator");
    peer.authentication = read_chap(table, ProvedBy::peer);
    read_seconds(table, "timeout_s", 1, peer.timeout);
    if (!seen.insert(peer.text()).second) table.refuse("target", "a portal and target that no other peer has");
    peers.push_back(std::move(peer));
  }
  return peers;
}

/// Calls `each` with whose credentials they are, for all that initiators log in here with.
void for_each_authentication(const Config& config,
                             const std::function<void(const std::string&, const iscsi::Authentication&)>& each) {
  for (const TargetConfig& target : config.targets) {
    std::string of = target.name.empty() ? "the target" : target.name;
    each(of, target.authentication);
    for (const auto& [initiator, authentication] : target.authentication_of) each(of, authentication);
  }
  each("discovery", config.discovery);
}

/// A secret by which we prove who we are is none by which an initiator does, wherever in the file they stand: else an
/// initiator that knows its own could pose as us (RFC 7143, 9.2.1).
void check_secrets(const Config& config, const std::string& file) {
  std::set<std::string> of_initiators;
  for_each_authentication(config, [&](const std::string&, const iscsi::Authentication& authentication) {
    if (authentication.initiator) of_initiators.insert(authentication.initiator->secret);
  });
  for_each_authentication(config, [&](const std::string& of, const iscsi::Authentication& authentication) {
    if (authentication.target && of_initiators.contains(authentication.target->secret))
      throw ConfigError(file, fmt::format("the chap.mutual secret of \"{}\" ({}) is also one that initiators prove; "
                                          "expected another one (RFC 7143, 9.2.1)",
                                          authentication.target->name, of));
  });
}

toml::table parse_toml(std::string_view document, const std::string& file) {
  try {
    return toml::parse(document, file);
  } catch (const toml::parse_error& error) {
    const toml::source_position& at = error.source().begin;
    throw ConfigError(fmt::format("{}:{}:{}", file, at.line, at.column), std::string(error.description()));
  }
}

}  // namespace

ConfigError::ConfigError(std::string_view place, std::string_view text, std::string key, std::string rule)
    : std::runtime_error(fmt::format("{}: {}", place, text)),
      text_(text),
      key_(std::move(key)),
      rule_(std::move(rule)) {}

std::string PortalConfig::text() const { return fmt::format("{}:{}", with_brackets(host), port); }

bool TargetConfig::open_to_all() const {
  return !authentication.initiator && authentication_of.empty() && allowed_initiators.empty() &&
         std::ranges::any_of(luns, [](const LunConfig& lun) { return lun.allowed_initiators.empty(); });
}

std::string PeerConfig::text() const { return fmt::format("{}:{} {}", portal.address, portal.port, target_name); }

bool PortalConfig::is_wildcard() const {
  in6_addr address{};
  return host == "0.0.0.0" || (inet_pton(AF_INET6, host.c_str(), &address) == 1 && IN6_IS_ADDR_UNSPECIFIED(&address));
}

bool PortalConfig::is_loopback() const {
  in6_addr address{};
  return (is_ipv4(host) && host.starts_with("127.")) ||
         (inet_pton(AF_INET6, host.c_str(), &address) == 1 && IN6_IS_ADDR_LOOPBACK(&address));
}

bool valid_array_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::ranges::all_of(id, [](unsigned char each) {
    return (each >= 'a' && each <= 'z') || (each >= '0' && each <= '9') || each == '-' || each == '.';
  });
}

unsigned usable_processors() {
  cpu_set_t usable{};
  if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return std::thread::hardware_concurrency();
  return static_cast<unsigned>(CPU_COUNT(&usable));
}

unsigned usual_threads() { return std::clamp(usable_processors() / 2, 1U, 8U); }

std::optional<base::log::Level> parse_log_level(std::string_view text) {
  using base::log::Level;
  if (text == "debug") return Level::debug;
  if (text == "info") return Level::info;
  if (text == "warning") return Level::warning;
  if (text == "error") return Level::error;
  if (text == "off") return Level::off;
  return std::nullopt;
}

PortalConfig parse_portal(std::string_view text, const std::string& place, std::string_view name) {
  // As SendTargets writes it: "ADDR:PORT,TAG".
  std::size_t comma = text.rfind(',');
  auto portal = portal_from(text.substr(0, comma));
  if (!portal) throw ConfigError(place, fmt::format("{} is \"{}\"; expected {}", name, text, kPortalRule));
  auto group = comma == std::string_view::npos ? std::uint16_t{1} : parse_port(text.substr(comma + 1)).value_or(0);
  if (group == 0)
    throw ConfigError(place, fmt::format("{} is \"{}\"; expected a portal group from 1 to {} behind the comma", name,
                                         text, kMaxPortalGroup));
  portal->group = group;
  portal->place = name;
  return *portal;
}

Config parse_config(std::string_view document, const std::string& file) {
  return read_config(parse_toml(document, file), file);
}

Config read_config(const toml::table& document, const std::string& file) {
  TableReader reader(file, document, "",
                     {"id",    "log_level",    "memory_limit", "threads", "state_dir", "profile", "tokens",
                      "copy",  "block_limits", "clock",        "journal", "array",     "portal",  "discovery",
                      "iscsi", "target",       "unreachable",  "peer",    "rule",      "control"});
  Config config;
  read_process(reader, config);
  read_clock(reader, config);
  read_journal(reader, config);
  config.arrays = read_arrays(reader);
  config.portals = read_portals(reader);
  if (auto discovery = reader.table("discovery", {"chap"})) config.discovery = read_chap(*discovery);
  read_iscsi(reader, config);
  auto targets = reader.tables("target", kTargetKeys);
  if (targets.empty()) reader.complain("target", "is missing; expected at least one [[target]]");
  Taken taken;
  for (const ArrayConfig& array : config.arrays) taken.lun_names.insert(array.name);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    config.targets.push_back(read_target(targets[i], i, targets.size(), taken));
    if (config.targets.back().luns.empty() && !config.targets.back().redirection)
      targets[i].complain("lun", "is missing; expected at least one [[target.lun]]");
    config.targets.back().array = read_array_of_target(targets[i], config.arrays);
  }
  for (std::size_t i = 0; i < config.arrays.size(); ++i)
    if (std::ranges::find(config.targets, i, &TargetConfig::array) == config.targets.end())
      reader.complain("array", fmt::format("\"{}\" has no target; expected a [[target]] of it", config.arrays[i].name));
  check_secrets(config, file);
  config.unreachable = read_unreachable(reader, config);
  config.peers = read_peers(reader, taken.target_names);
  config.rules = read_rules(reader);
  config.control = read_control(reader);
  return config;
}

TargetConfig parse_target(std::string_view document, const std::string& file) {
  toml::table table = parse_toml(document, file);
  TableReader reader(file, table, "", kTargetKeys);
  Taken taken;
  Config alone;
  alone.targets.push_back(read_target(reader, 0, 1, taken));
  check_secrets(alone, file);
  return std::move(alone.targets.front());
}

Config load_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string document(std::istreambuf_iterator<char>(file), {});
  if (!file) throw ConfigError(path, "cannot be read; expected a TOML file (docs/odxd.toml.md)");
  return parse_config(document, path);
}

Config short_form(const std::vector<std::string>& stores) {
  Config config;
  config.portals.emplace_back();
  TargetConfig target;
  for (const std::string& store : stores) {
    LunConfig lun;
    lun.number = static_cast<std::uint16_t>(target.luns.size());
    lun.name = fmt::format("lun{}", lun.number);
    lun.store = store;
    lun.place = "odxd";
    if (!valid_store(store))
      throw ConfigError("odxd", fmt::format("\"{}\" is not a store; expected {}", store, store_rule(store)));
    target.luns.push_back(std::move(lun));
  }
  if (target.luns.empty() || target.luns.size() > kMaxLun + 1)
    throw ConfigError("odxd", fmt::format("expected 1 to {} stores", kMaxLun + 1));
  config.targets.push_back(std::move(target));
  return config;
}

std::vector<std::string> warnings(const Config& config) {
  std::vector<std::string> lines;
  auto beyond = std::ranges::find_if(config.portals, [](const PortalConfig& each) { return !each.is_loopback(); });
  constexpr std::size_t kShortestSecret = 12;  // 96 bits: RFC 7143, 9.2.1. WINDOWS: refuses shorter ones
  auto check_secret = [&](std::string_view of, const std::optional<iscsi::ChapCredentials>& credentials) {
    if (credentials && credentials->secret.size() < kShortestSecret)
      lines.push_back(
          fmt::format("{}: the CHAP secret of \"{}\" has fewer than 12 bytes; Windows refuses it (RFC 7143, 9.2.1)", of,
                      credentials->name));
  };
  for (const TargetConfig& target : config.targets) {
    std::string of = target.name.empty() ? "the target" : target.name;
    if (beyond != config.portals.end() && target.open_to_all())
      lines.push_back(
          fmt::format("{} listens beyond loopback and {} has neither CHAP nor allowed_initiators: everybody who "
                      "reaches the portal can read and write its LUNs",
                      beyond->text(), of));
  }
  for_each_authentication(config, [&](const std::string& of, const iscsi::Authentication& authentication) {
    check_secret(of, authentication.initiator);
    check_secret(of, authentication.target);
  });
  for (const PeerConfig& peer : config.peers) {
    check_secret("peer " + peer.text(), peer.authentication.initiator);
    check_secret("peer " + peer.text(), peer.authentication.target);
  }
  return lines;
}

}  // namespace target
