// The configuration string of a backstore, as LIO passes it on:
//
//   odx/memory[;KEY=VALUE]...            a thin store in memory of the size LIO says
//   odx/file:PATH[;KEY=VALUE]...         a raw image or block device; a file that is not there comes into being
//   odx/PATH;lun=NAME[;initiator=NAME]   a LUN of a configuration file of odxd's, with the profile and the rules there
//
// Judges it completely, and reads the file; opens no store. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "target/config.h"

namespace tcmu {

/// Copies stay among the devices of one group, and nothing of it is known to any other.
struct GroupKey {
  std::string name{};       ///< what the configuration calls it, or the path of its file
  std::string initiator{};  ///< who owns all of it; empty: nobody alone, and there is no third-party copy
  auto operator<=>(const GroupKey&) const = default;
};

struct Configuration {
  GroupKey group{};
  target::LunConfig lun{};      ///< its name may be empty; of a store in memory or in a file, without what LIO says
  target::Config array{};       ///< of its group: one array, without targets
  bool store_has_size = false;  ///< the configuration file says it

  /// Whether a device may go on when it was `other`: nothing but read_only differs.
  bool same_but_read_only(const Configuration& other) const;
};

/// Throws target::ConfigError.
Configuration parse_configuration(std::string_view text);

/// The same with what LIO says: its store is to have that size. `name` where it has none. Throws target::ConfigError.
target::LunConfig lun_of(const Configuration& configuration, const std::string& name, std::uint64_t size_bytes,
                         std::uint32_t block_size);

/// For configuration tools.
extern const char* const kConfigurationDescription;

}  // namespace tcmu
