#include "test/sim/rule_model.h"

#include <algorithm>
#include <string_view>

namespace sim {

namespace {

bool is_like(std::string_view pattern, std::string_view name) {
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return pattern.empty() || pattern == name;
}

/// Whether it is the turn of the `number`th command that a rule is for.
bool has_its_turn(const scsi::RuleMatch& match, std::uint64_t number, std::uint64_t hits) {
  if (match.count && hits >= *match.count) return false;
  if (!match.every_nth) return !match.nth || (match.count ? number >= *match.nth : number == *match.nth);
  const std::uint64_t first = match.nth.value_or(*match.every_nth);
  return number >= first && (number - first) % *match.every_nth == 0;
}

}  // namespace

bool RuleModel::is_for(const scsi::RuleMatch& match, const Command& command) const {
  if (!match.when_state.empty() && match.when_state != state) return false;
  if (!is_like(match.initiator, command.initiator)) return false;
  if (!match.lun.empty() && match.lun != command.lun_name && match.lun != std::to_string(command.lun)) return false;
  bool named = match.commands.empty();
  for (const scsi::CommandCode& code : match.commands)
    named |=
        code.opcode == command.opcode && code.service_action.value_or(command.service_action) == command.service_action;
  if (!named || !match.lba) return named;
  if (!command.blocks || command.blocks->second == 0) return false;
  const auto [first, count] = *command.blocks;
  return first <= match.lba->last && match.lba->first < first + count;
}

std::vector<const scsi::Rule*> RuleModel::meet(const Command& command) {
  std::vector<const scsi::Rule*> met;
  std::string next = state;
  for (Entry& entry : rules) {
    if (!is_for(entry.rule.match, command)) continue;
    ++entry.matches;
    if (!has_its_turn(entry.rule.match, entry.matches, entry.hits)) continue;
    ++entry.hits;
    if (!entry.rule.set_state.empty()) next = entry.rule.set_state;
    met.push_back(&entry.rule);
  }
  state = next;
  return met;
}

void RuleModel::start_over() {
  for (Entry& entry : rules) entry.matches = entry.hits = 0;
  state = "initial";
}

}  // namespace sim
