#include "target/config_ports.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "target/config_reader.h"

namespace target {
namespace {

struct AluaWord {
  std::string_view word;
  scsi::AccessChanges changes;
};
constexpr AluaWord kAluaWords[] = {
    {"none", scsi::AccessChanges::none},
    {"implicit", scsi::AccessChanges::implicitly},
    {"explicit", scsi::AccessChanges::explicitly},
    {"both", scsi::AccessChanges::by_either_side},
};
constexpr std::string_view kAluaRule = "\"none\", \"implicit\", \"explicit\" or \"both\"";

struct StateWord {
  std::string_view word;
  scsi::AccessState state;
};
constexpr StateWord kStateWords[] = {
    {"active/optimized", scsi::AccessState::active_optimized},
    {"active/non-optimized", scsi::AccessState::active_non_optimized},
    {"standby", scsi::AccessState::standby},
    {"unavailable", scsi::AccessState::unavailable},
    {"transitioning", scsi::AccessState::transitioning},
};
constexpr std::string_view kStateRule =
    "\"active/optimized\", \"active/non-optimized\", \"standby\", \"unavailable\" or \"transitioning\"";

std::vector<AccessConfig> read_tables(const TableReader& table) {
  std::vector<AccessConfig> read;
  for (const TableReader& each : table.tables("access", {"group", "state", "preferred"})) {
    AccessConfig access;
    if (!each.has("group")) each.refuse("group", "the number of a portal group");
    each.number_into("group", 1, kMaxPortalGroup, access.group);
    if (std::ranges::find(read, access.group, &AccessConfig::group) != read.end())
      each.refuse("group", "each portal group once");
    if (auto state = each.text("state", kStateRule)) {
      const auto* found = std::ranges::find(kStateWords, *state, &StateWord::word);
      if (found == std::end(kStateWords)) each.refuse("state", kStateRule);
      access.state = found->state;
    }
    each.flag_into("preferred", access.preferred);
    read.push_back(access);
  }
  return read;
}

}  // namespace

void read_ports(const TableReader& table, TargetConfig& target) {
  std::set<std::uint16_t> groups;
  for (std::uint64_t each : table.numbers("portal_groups", 1, kMaxPortalGroup))
    if (!groups.insert(static_cast<std::uint16_t>(each)).second)
      table.refuse("portal_groups", "each portal group once");
  if (groups.empty() && table.has("portal_groups"))
    table.refuse("portal_groups", "at least one portal group, or no such key for all of them");
  target.portal_groups.assign(groups.begin(), groups.end());
  if (auto word = table.text("alua", kAluaRule)) {
    const auto* found = std::ranges::find(kAluaWords, *word, &AluaWord::word);
    if (found == std::end(kAluaWords)) table.refuse("alua", kAluaRule);
    target.alua = found->changes;
  }
}

std::vector<AccessConfig> read_access(const TableReader& target, const TableReader& lun) {
  std::vector<AccessConfig> access = read_tables(lun);
  for (const AccessConfig& each : read_tables(target))
    if (std::ranges::find(access, each.group, &AccessConfig::group) == access.end()) access.push_back(each);
  return access;
}

std::string_view access_state_word(scsi::AccessState state) {
  return std::ranges::find(kStateWords, state, &StateWord::state)->word;
}

std::string_view alua_word(scsi::AccessChanges changes) {
  return std::ranges::find(kAluaWords, changes, &AluaWord::changes)->word;
}

std::optional<scsi::AccessState> find_access_state(std::string_view word) {
  const auto* found = std::ranges::find(kStateWords, word, &StateWord::word);
  return found == std::end(kStateWords) ? std::nullopt : std::optional(found->state);
}

AccessConfig access_through(const std::vector<AccessConfig>& access, std::uint16_t group) {
  auto found = std::ranges::find(access, group, &AccessConfig::group);
  return found == access.end() ? AccessConfig{.group = group} : *found;
}

std::vector<std::uint16_t> Config::portal_groups() const {
  std::set<std::uint16_t> groups;
  for (const PortalConfig& portal : portals) groups.insert(portal.group);
  return {groups.begin(), groups.end()};
}

void check_portal_groups(const Config& config, const std::string& place) {
  const std::vector<std::uint16_t> all = config.portal_groups();
  auto check = [&](std::string_view what, std::uint16_t group, const std::vector<std::uint16_t>& among) {
    if (std::ranges::find(among, group) != among.end()) return;
    throw ConfigError(place,
                      fmt::format("{} names portal group {}; expected {}", what, group, fmt::join(among, " or ")));
  };
  for (const TargetConfig& target : config.targets) {
    for (std::uint16_t group : target.portal_groups) check("target.portal_groups", group, all);
    for (const LunConfig& lun : target.luns)
      for (const AccessConfig& access : lun.access)
        check(fmt::format("the access of LUN \"{}\"", lun.name), access.group,
              target.portal_groups.empty() ? all : target.portal_groups);
  }
}

}  // namespace target
