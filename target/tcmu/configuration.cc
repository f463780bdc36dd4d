#include "target/tcmu/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <vector>

#include "handlers/factory.h"
#include "target/iscsi/name.h"

namespace tcmu {
namespace {

using target::ConfigError;

constexpr std::string_view kPrefix = "odx/";
constexpr std::string_view kMemory = "memory";
constexpr std::string_view kFile = "file:";
constexpr std::string_view kDefaultGroup = "default";
constexpr std::string_view kStoreRule =
    "odx/memory, odx/file:PATH or the path of a configuration file, and ;KEY=VALUE for each option";

/// Keys of a LUN in odxd's configuration that mean the same here (docs/odxd.toml.md), and group.
constexpr std::array<std::string_view, 7> kStoreKeys{
    "group", "read_only", "removable", "provisioning", "self_encrypting", "soft_threshold", "physical_block_exponent"};
constexpr std::array<std::string_view, 1> kFileKeys{"lun"};
/// Those that LIO has its own way to say.
constexpr std::array<std::string_view, 5> kKeysOfLio{"size", "block_size", "serial", "naa", "allowed_initiators"};

template <typename List>
bool holds(const List& list, std::string_view key) {
  return std::ranges::find(list, key) != list.end();
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at != std::string_view::npos;) {
    std::size_t end = text.find(';', at);
    parts.push_back(text.substr(at, end == std::string_view::npos ? end : end - at));
    at = end == std::string_view::npos ? end : end + 1;
  }
  return parts;
}

using Options = std::map<std::string_view, std::string_view>;

/// `known`: what there is beside initiator.
template <typename List>
Options parse_options(const std::vector<std::string_view>& parts, const List& known, const std::string& place) {
  Options options;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    std::size_t equals = parts[i].find('=');
    if (equals == std::string_view::npos)
      throw ConfigError(place, fmt::format("\"{}\" is no option; expected KEY=VALUE", parts[i]));
    std::string_view key = parts[i].substr(0, equals);
    if (key == "tcmur_cmd_time_out")
      throw ConfigError(place, "tcmur_cmd_time_out cannot be used with this handler; expected LIO's own cmd_time_out");
    if (holds(kKeysOfLio, key)) throw ConfigError(place, fmt::format("{} is what LIO says of the backstore", key));
    if (key != "initiator" && !holds(known, key))
      throw ConfigError(place,
                        fmt::format("there is no option {} here; expected initiator, {}", key, fmt::join(known, ", ")));
    if (!options.emplace(key, parts[i].substr(equals + 1)).second)
      throw ConfigError(place, fmt::format("{} stands twice", key));
  }
  return options;
}

/// A TOML value: words are what TOML has in quotes.
std::string toml_value(std::string_view text) {
  auto is_digit = [](unsigned char each) { return each >= '0' && each <= '9'; };
  if (text == "true" || text == "false" || (!text.empty() && std::ranges::all_of(text, is_digit)))
    return std::string(text);
  std::string quoted = "\"";
  for (unsigned char each : text) fmt::format_to(std::back_inserter(quoted), "\\u{:04x}", each);
  return quoted + '"';
}

/// Judged by odxd's own reader: they are keys of a [[target.lun]].
target::LunConfig parse_lun(std::string_view store, const Options& options, const std::string& place) {
  std::string document = fmt::format("[[lun]]\nstore = {}\n", toml_value(store));
  for (const auto& [key, value] : options)
    if (key != "group" && key != "initiator") document += fmt::format("{} = {}\n", key, toml_value(value));
  try {
    return target::parse_target(document, place).luns.front();
  } catch (const ConfigError& error) {
    throw ConfigError(place, error.text());
  }
}

std::string parse_initiator(const Options& options, const std::string& place) {
  auto initiator = options.find("initiator");
  if (initiator == options.end()) return {};
  auto normal = iscsi::initiator_name(initiator->second);
  if (!normal)
    throw ConfigError(place, fmt::format("initiator is \"{}\"; expected a name that starts with iqn., eui. or naa.",
                                         initiator->second));
  return *normal;
}

GroupKey parse_group(const Options& options, const std::string& place) {
  GroupKey group{.initiator = parse_initiator(options, place)};
  auto name = options.find("group");
  if (name != options.end() && group.initiator.empty())
    throw ConfigError(place, "group is for copies, which are offered only with initiator=NAME, the one that owns it");
  if (!group.initiator.empty()) group.name = name == options.end() ? kDefaultGroup : name->second;
  if (name != options.end() && name->second.empty()) throw ConfigError(place, "group is empty; expected a name");
  return group;
}

/// A handler is not told which initiator sent a command, and list identifiers are each initiator's own: where several
/// may send, one could be given another's token. Where one owns a group, all its logical units are there for it, and it
/// does not matter that each is a target of its own.
void set_third_party_copy(target::Config& array, const GroupKey& group) {
  scsi::DeviceProfile& profile = array.arrays.front().profile;
  if (group.initiator.empty()) profile.odx = profile.extended_copy = false;
  profile.extended_copy_across_targets = true;
}

Configuration parse_store(std::string_view store, const Options& options, const std::string& place) {
  Configuration configuration;
  configuration.group = parse_group(options, place);
  configuration.lun = parse_lun(store == kMemory ? "memory:1M" : store, options, place);
  configuration.lun.name.clear();
  if (store == kMemory) {
    configuration.lun.store = kMemory;
    return configuration;
  }
  auto file = handlers::parse_store(store);
  if (file.size) throw ConfigError(place, "size is what LIO says of the backstore");
  // The kernel's own reader of such strings ends them at a comma.
  if (file.path.contains(',') || file.read_only)
    throw ConfigError(place, "a comma cannot stand in the string; expected ;read_only=true, and a path without one");
  if (!file.path.starts_with('/'))
    throw ConfigError(place, fmt::format("\"{}\" is a relative path; expected an absolute one", file.path));
  return configuration;
}

/// What a file may not say where LIO is in front, and what a handler has none of.
void judge_file(const target::Config& config, const std::string& path) {
  auto refuse = [&](std::string_view what, std::string_view why) {
    throw ConfigError(path, fmt::format("{} is not for a backstore of LIO: {}", what, why));
  };
  if (config.clock != base::ClockMode{}) refuse("clock", "nothing could move it");
  if (!config.journal.file.empty()) refuse("journal.file", "there is no journal");
  if (config.control != target::ControlConfig{}) refuse("control", "there is no control interface");
  if (!config.peers.empty()) refuse("peer", "copies stay within the file");
  if (config.memory_limit) refuse("memory_limit", "all backstores of the daemon share one");
  if (config.threads) refuse("threads", "there are no connections here");
  for (const target::TargetConfig& target : config.targets) {
    const bool chap = target.authentication.initiator || !target.authentication_of.empty();
    if (chap || !target.allowed_initiators.empty())
      refuse("chap or allowed_initiators", "LIO's ACLs say who may log in");
    for (const target::LunConfig& lun : target.luns) {
      if (!lun.allowed_initiators.empty()) refuse("allowed_initiators", "LIO's ACLs say who may use it");
      if (!lun.serial.empty() || lun.naa) refuse("serial or naa", "LIO says it");
    }
  }
}

const target::LunConfig* find_lun(const target::Config& config, std::string_view name, std::size_t& array) {
  for (const target::TargetConfig& target : config.targets) {
    auto found = std::ranges::find(target.luns, name, &target::LunConfig::name);
    if (found == target.luns.end()) continue;
    array = target.array;
    return &*found;
  }
  return nullptr;
}

target::Config load_file(const std::string& path, const std::string& place) {
  try {
    target::Config config = target::load_config(path);
    judge_file(config, path);
    return config;
  } catch (const ConfigError& error) {
    throw ConfigError(place, error.what());
  }
}

Configuration parse_file(const std::string& path, const Options& options, const std::string& place) {
  target::Config config = load_file(path, place);
  auto name = options.find("lun");
  if (name == options.end()) throw ConfigError(place, "lun is missing; expected the name of a LUN of the file");
  Configuration configuration;
  std::size_t array = 0;
  const target::LunConfig* lun = find_lun(config, name->second, array);
  if (!lun) throw ConfigError(place, fmt::format("{} has no LUN of the name \"{}\"", path, name->second));
  configuration.lun = *lun;
  configuration.lun.number = 0;
  configuration.lun.access.clear();
  configuration.store_has_size = true;
  configuration.group = {fmt::format("{} {}", path, config.arrays[array].name), parse_initiator(options, place)};
  configuration.array = config;
  configuration.array.arrays = {config.arrays[array]};
  configuration.array.targets.clear();
  return configuration;
}

}  // namespace

bool Configuration::same_but_read_only(const Configuration& other) const {
  auto known = [](const target::LunConfig& of) {
    return std::tie(of.name, of.store, of.physical_block_exponent, of.removable, of.self_encrypting, of.soft_threshold,
                    of.thin);
  };
  return group == other.group && known(lun) == known(other.lun);
}

Configuration parse_configuration(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);  // as a shell writes it to configfs
  const std::string place(text);
  if (!text.starts_with(kPrefix)) throw ConfigError(place, fmt::format("expected {}", kStoreRule));
  const auto parts = split(text.substr(kPrefix.size()));
  const std::string_view where = parts.front();
  Configuration configuration;
  if (where.starts_with('/')) {
    configuration = parse_file(std::string(where), parse_options(parts, kFileKeys, place), place);
  } else if (where == kMemory || where.starts_with(kFile)) {
    configuration = parse_store(where, parse_options(parts, kStoreKeys, place), place);
  } else if (where.starts_with(kMemory)) {
    throw ConfigError(place, "a store in memory has the size that LIO says; expected odx/memory");
  } else {
    throw ConfigError(place, fmt::format("\"{}\" is no store; expected {}", where, kStoreRule));
  }
  configuration.lun.place = place;
  set_third_party_copy(configuration.array, configuration.group);
  return configuration;
}

target::LunConfig lun_of(const Configuration& configuration, const std::string& name, std::uint64_t size_bytes,
                         std::uint32_t block_size) {
  target::LunConfig lun = configuration.lun;
  if (lun.name.empty()) lun.name = name;
  if (configuration.store_has_size) {
    if (lun.block_size != block_size)
      throw ConfigError(lun.place,
                        fmt::format("the file says block_size {}, and LIO hw_block_size {}; expected the same",
                                    lun.block_size, block_size));
    return lun;
  }
  if (block_size != 512 && block_size != 4096)
    throw ConfigError(lun.place, fmt::format("LIO's hw_block_size is {}; expected 512 or 4096", block_size));
  lun.block_size = block_size;
  if (lun.store == kMemory) {
    lun.store = fmt::format("memory:{}", size_bytes);
  } else if (!lun.read_only) {
    lun.store += fmt::format(",size={}", size_bytes);
  }
  return lun;
}

const char* const kConfigurationDescription =
    "odx: a logical unit with offloaded copies (ODX)\n"
    "  odx/memory[;KEY=VALUE]...           in memory\n"
    "  odx/file:/PATH[;KEY=VALUE]...       in a raw image, or a block device\n"
    "  odx//PATH;lun=NAME[;initiator=NAME] a LUN of a configuration file of odxd\n"
    "Options:\n"
    "  initiator=NAME  the one initiator that owns the backstore; copies are offered only with it\n"
    "  group=NAME      copies stay among backstores of one group (and one initiator)\n"
    "  read_only, removable, provisioning, physical_block_exponent, self_encrypting, soft_threshold\n";

}  // namespace tcmu
