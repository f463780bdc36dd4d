#include "target/config_ports.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "target/config_reader.h"

namespace target {
namespace {

constexpr std::string_view kAluaRule = "\"none\", \"implicit\", \"explicit\" or \"both\"";

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
      auto found = find_word(kAccessStateWords, *state);
      if (!found) each.refuse("state", kStateRule);
      access.state = *found;
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
    auto found = find_word(kAluaWords, *word);
    if (!found) table.refuse("alua", kAluaRule);
    target.alua = *found;
  }
}

std::vector<AccessConfig> read_access(const TableReader& target, const TableReader& lun) {
  std::vector<AccessConfig> access = read_tables(lun);
  for (const AccessConfig& each : read_tables(target))
    if (std::ranges::find(access, each.group, &AccessConfig::group) == access.end()) access.push_back(each);
  return access;
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
