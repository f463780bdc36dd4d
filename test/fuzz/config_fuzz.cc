// Fuzzes the configuration: any bytes are either a configuration that keeps its own promises, or refused with one line
// that opens with its place. What a rule was read as is written as a document that is read as the same.
#include <boost/json.hpp>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "target/config.h"
#include "target/rule_document.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

void check(const target::Config& config) {
  require(!config.portals.empty() && !config.targets.empty());
  require(config.limits.first_burst_length <= config.limits.max_burst_length);
  std::set<std::string> names;
  require(!config.arrays.empty());
  for (const target::ArrayConfig& each : config.arrays) {
    require(each.id.empty() || target::valid_array_id(each.id));
    require(names.insert(each.name).second);
    require(each.profile.default_inactivity_timeout_s <= each.profile.maximum_inactivity_timeout_s);
    require(each.profile.minimum_token_lifetime_s <= each.profile.token_lifetime_s);
    require(each.profile.token_lifetime_s <= each.profile.maximum_token_lifetime_s);
  }
  for (const target::TargetConfig& each : config.targets) {
    require(!each.luns.empty() && each.array < config.arrays.size());
    std::set<std::uint16_t> numbers;
    for (const target::LunConfig& lun : each.luns) {
      require(numbers.insert(lun.number).second && lun.number <= 16383);
      require(names.insert(lun.name).second);
      require(lun.block_size == 512 || lun.block_size == 4096);
      require(lun.serial.size() <= 20);
    }
  }
  for (const scsi::Rule& rule : config.rules) {
    const boost::json::object document = target::rule_document(rule);
    require(target::rule_document(target::rule_from(document)) == document);
  }
  for (const auto& [a, b, refusal] : config.unreachable) require(names.contains(a) && names.contains(b));
  target::warnings(config);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    check(target::parse_config({reinterpret_cast<const char*>(data), size}, "fuzz.toml"));
  } catch (const target::ConfigError& error) {
    require(std::string_view(error.what()).starts_with("fuzz.toml:"));
  }
  return 0;
}
