// Which rules a command meets (docs/faults.md): what it has to be, whose turn it is, and the state they share. Says
// nothing of what they do. Thread: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "scsi/rules.h"

namespace sim {

class RuleModel {
 public:
  struct Command {
    std::string initiator;
    std::string lun_name;
    std::size_t lun = 0;
    std::uint8_t opcode = 0;
    std::uint16_t service_action = 0;
    std::optional<std::pair<std::uint64_t, std::uint64_t>> blocks{};  ///< the first, and how many, where its CDB says
  };
  struct Entry {
    scsi::Rule rule;
    std::uint64_t matches = 0, hits = 0;
  };

  std::vector<Entry> rules{};
  std::string state = "initial";

  /// Those that the command meets, in their order. Counts it.
  std::vector<const scsi::Rule*> meet(const Command& command);
  void start_over();

 private:
  bool is_for(const scsi::RuleMatch& match, const Command& command) const;
};

}  // namespace sim
