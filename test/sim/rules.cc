// Rules that come and go, and what each allows a command that meets it.
//
// At most one rule of those that are there does something; the others count, and move the state they share. Not tested
// here, and why: `delay` after a command is executed, where its blocks change long before its answer; `delay`,
// `truncate` and `wrong_data` of copies, whose lists and tokens are judged when the wait is over, and what a token is
// called by a list cut short; a copy that hides its count; tokens whose bytes are altered; third-party copy that is
// no longer offered, and `fill_pool`, which reach beyond the command; `edit_data`, which does to READ what `wrong_data`
// does; chance, whose draws are the array's own
// (test/scsi/rules_test.cc has all of these); what happens to connections and digests (test/iscsi/rules_test.cc).
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <variant>

#include "scsi/copy_layouts.h"
#include "scsi/rule_gates.h"
#include "test/sim/simulation.h"

namespace sim {

namespace action = scsi::action;
using scsi::AdditionalSense;
using scsi::CommandCode;
using scsi::describe;
using scsi::Moment;
using scsi::SenseKey;
using scsi::Status;

namespace {

constexpr std::size_t kMostRules = 5;
constexpr std::uint64_t kLongestDelay_us = 200'000;
constexpr std::uint64_t kMostDelayed = 4;  // by one rule: they hold up others
constexpr std::size_t kInverted = 8;       // bytes of each block

constexpr CommandCode kRead{0x88, {}}, kWrite{0x8A, {}}, kUnmap{0x42, {}}, kWriteSame{0x93, {}};
constexpr CommandCode kWriteUsingToken{0x83, 0x11}, kInformation{0x84, 0x07}, kCopyStatus{0x84, 0x05};
constexpr CommandCode kAny[] = {kRead,        kWrite,       {0x89, {}}, kUnmap,       kWriteSame, {0x83, 0x10},
                                {0x83, 0x11}, {0x83, 0x1C}, {0x83, {}}, kInformation, {0x84, {}}, {0x5F, {}}};

bool reads_or_writes(const scsi::RuleMatch& match) {
  return !match.commands.empty() &&
         std::ranges::all_of(match.commands, [](const CommandCode& code) { return code == kRead || code == kWrite; });
}

/// For events: "for 83h/11h of LUN file512, nth 3".
std::string text_of(const scsi::Rule& rule) {
  const scsi::RuleMatch& match = rule.match;
  std::string text = "for";
  for (const CommandCode& code : match.commands)
    text += fmt::format(" {:02X}h/{:02X}h", code.opcode, code.service_action.value_or(0));
  text += fmt::format(" of \"{}\" LUN \"{}\"", match.initiator, match.lun);
  if (match.lba) text += fmt::format(" blocks {} to {}", match.lba->first, match.lba->last);
  if (match.nth) text += fmt::format(" nth {}", *match.nth);
  if (match.every_nth) text += fmt::format(" every_nth {}", *match.every_nth);
  if (match.count) text += fmt::format(" count {}", *match.count);
  return text + fmt::format(" state \"{}\" then \"{}\"", match.when_state, rule.set_state);
}

const char* name_of(const scsi::Action& action) {
  static constexpr const char* kNames[] = {
      "nothing",    "fail",      "delay",        "truncate",      "short copy",     "wrong result",
      "wrong data", "edit data", "drop command", "drop response", "end connection", "digest error",
      "end token",  "reach",     "offer copies", "fill pool",     "async message"};
  static_assert(std::size(kNames) == std::variant_size_v<scsi::Action>);
  return kNames[action.index()];
}

}  // namespace

/// Something for a rule to do, and the commands whose outcome is then known.
scsi::Action Simulation::some_action(std::vector<CommandCode>& commands) {
  auto one_of = [&](std::initializer_list<CommandCode> codes) { commands = {std::data(codes)[pick(codes.size())]}; };
  switch (pick(9)) {
    case 0: {
      if (!one_in(3)) commands = {kAny[pick(std::size(kAny))]};
      static constexpr Status kStatuses[] = {Status::busy, Status::task_set_full, Status::reservation_conflict};
      if (one_in(2)) return action::Fail{.status = kStatuses[pick(std::size(kStatuses))]};
      return action::Fail{.sense = {SenseKey::aborted_command, AdditionalSense::internal_target_failure, {}, {}, {}}};
    }
    case 1:
      one_of({kRead, kWrite, kUnmap, kWriteSame});
      return action::Fail{.sense = {SenseKey::hardware_error, AdditionalSense::internal_target_failure, {}, {}, {}},
                          .moment = Moment::after};
    case 2:
      one_of({kRead, kWrite});
      return action::Delay{.time = base::Duration(static_cast<base::Duration::rep>(1 + pick(kLongestDelay_us)))};
    case 3:
      one_of({kRead, kWrite});
      return action::Truncate{.bytes = 4096 + pick(30) * 512 + (one_in(3) ? pick(512) : 0)};
    case 4: commands = {kWriteUsingToken}; return action::ShortCopy{.blocks = 1 + pick(60)};
    case 5: {
      one_of({kInformation, kCopyStatus});
      action::WrongResult wrong;
      if (one_in(2)) wrong.transfer_count = random_();
      if (one_in(2)) wrong.copy_status = static_cast<std::uint8_t>(pick(256));
      if (one_in(2)) wrong.segments_processed = static_cast<std::uint16_t>(pick(65536));
      return wrong;
    }
    case 6: {
      using How = action::WrongData::How;
      one_of({kRead, kWrite});
      const bool write = commands.front() == kWrite;
      static constexpr How kHows[] = {How::zeros, How::inverted, How::not_written};
      return action::WrongData{.how = kHows[pick(write ? 3 : 2)]};
    }
    case 7: {
      using How = action::EndToken::How;
      static constexpr How kHows[] = {How::expired, How::revoked, How::cancelled, How::deleted};
      commands = {kWriteUsingToken};
      return action::EndToken{.how = kHows[pick(std::size(kHows))]};
    }
    default: break;
  }
  if (one_in(2)) {
    if (!one_in(3)) commands = {kAny[pick(std::size(kAny))]};
    return action::DropCommand{};
  }
  const std::size_t luns = model_.logical_units.size(), a = pick(luns), b = (a + 1 + pick(luns - 1)) % luns;
  return action::Reach{.a = model_.logical_units[a].name, .b = model_.logical_units[b].name, .reachable = one_in(2)};
}

scsi::Rule Simulation::some_rule(bool acts) {
  scsi::Rule rule;
  scsi::RuleMatch& match = rule.match;
  if (acts) {
    rule.action = some_action(match.commands);
  } else {
    for (std::uint64_t count = pick(3); count > 0; --count) match.commands.push_back(kAny[pick(std::size(kAny))]);
  }
  if (one_in(3)) match.initiator = one_in(2) ? "iqn.2025-01.*" : nexuses_[pick(nexuses_.size())].initiator;
  const std::size_t lun = pick(model_.logical_units.size());
  if (one_in(3)) match.lun = one_in(2) ? model_.logical_units[lun].name : fmt::format("{}", lun);
  if (reads_or_writes(match) && one_in(3)) {
    const std::uint64_t first = pick(300);
    match.lba = {first, first + pick(100)};
  }
  if (one_in(2)) match.nth = 1 + pick(4);
  if (one_in(2)) match.every_nth = 1 + pick(4);
  if (one_in(2)) match.count = 1 + pick(6);
  if (std::holds_alternative<action::Delay>(rule.action)) match.count = 1 + pick(kMostDelayed);
  if (one_in(4)) match.when_state = one_in(2) ? "initial" : "late";
  if (one_in(4)) rule.set_state = one_in(2) ? "initial" : "late";
  return rule;
}

/// One is added or removed, or all count from the start.
void Simulation::change_rules() {
  scsi::RuleSet& rules = world_.copies.fabric().rules();
  auto& known = rules_.rules;
  if (one_in(12)) {
    rules.start_over();
    rules_.start_over();
    return note("rules count from the start");
  }
  if (!known.empty() && (known.size() >= kMostRules || one_in(2))) {
    const auto entry = known.begin() + static_cast<std::ptrdiff_t>(pick(known.size()));
    note(fmt::format("rule {} is removed", static_cast<unsigned>(entry->rule.id)));
    require(rules.remove(entry->rule.id), "a rule was not there");
    known.erase(entry);
    return;
  }
  const bool acts = std::ranges::all_of(
      known, [](const RuleModel::Entry& entry) { return std::holds_alternative<action::Nothing>(entry.rule.action); });
  scsi::Rule rule = some_rule(acts);
  rule.id = rules.add(rule);
  note(fmt::format("{}: {} is added, {}", describe(rule), describe(rule.action), text_of(rule)));
  known.push_back({std::move(rule)});
}

/// A command that its CDB lets pass: what it meets, and what that makes of it and of the array.
void Simulation::meet_rules(Operation& operation) {
  const scsi::Task& task = operation.task;
  RuleModel::Command command{.initiator = nexuses_[operation.nexus].initiator,
                             .lun_name = model_.logical_units[operation.lun].name,
                             .lun = operation.lun,
                             .opcode = task.cdb[0],
                             .service_action = static_cast<std::uint16_t>(task.cdb[1] & 0x1F)};
  if (operation.kind == Kind::read || operation.kind == Kind::write)
    command.blocks = {operation.ranges.front().lba, operation.ranges.front().blocks};
  for (const scsi::Rule* rule : rules_.meet(command)) {
    if (std::holds_alternative<action::Nothing>(rule->action)) continue;
    operation.met = rule->action;
    report_.count(std::string("rules met: ") + name_of(rule->action));
    note(fmt::format("  #{} meets {}", operation.number, describe(*rule)));
  }
  if (operation.met) foretell(operation);
}

void Simulation::foretell(Operation& operation) {
  if (const auto* fail = operation.met_rule<action::Fail>(); fail && fail->moment == Moment::before) {
    if (fail->status == Status::check_condition)
      operation.refusal = fail->sense;
    else
      operation.turned_away = fail->status;
  }
  if (operation.met_rule<action::DropCommand>()) operation.turned_away = Status::task_aborted;
  if (const auto* delay = operation.met_rule<action::Delay>()) {
    operation.late = true;
    operation.delay = delay->time;
  }
  if (const auto* reach = operation.met_rule<action::Reach>()) {
    auto lun = [&](const std::string& name) {
      const auto& units = model_.logical_units;
      return static_cast<std::size_t>(std::ranges::find(units, name, &LogicalUnitModel::name) - units.begin());
    };
    const std::size_t a = lun(reach->a), b = lun(reach->b);
    model_.unreachable.erase({a, b});
    model_.unreachable.erase({b, a});
    if (!reach->reachable) model_.unreachable.insert({a, b});
  }
  if (operation.kind == Kind::write) foretell_write(operation);
}

/// A WRITE of whose last block a part came writes nothing (05/0E/03).
bool Simulation::ends_inside_a_block(const Operation& operation) const {
  const auto* truncate = operation.met_rule<action::Truncate>();
  return truncate && operation.kind == Kind::write && truncate->bytes < operation.data_out.size() &&
         truncate->bytes % model_.logical_units[operation.lun].block_length != 0;
}

/// What it leaves on the medium.
void Simulation::foretell_write(Operation& operation) {
  const std::uint64_t block = model_.logical_units[operation.lun].block_length;
  const auto* truncate = operation.met_rule<action::Truncate>();
  if (truncate && !ends_inside_a_block(operation)) {
    Range& range = operation.ranges.front();
    range.blocks = static_cast<std::uint32_t>(std::min<std::uint64_t>(range.blocks, truncate->bytes / block));
    operation.new_data.resize(range.blocks * block);
  }
  const auto* wrong = operation.met_rule<action::WrongData>();
  if (!wrong) return;
  if (wrong->how == action::WrongData::How::not_written)
    operation.ranges.clear();
  else
    make_wrong(operation.new_data, *wrong, block);
}

void Simulation::make_wrong(Bytes& data, const action::WrongData& wrong, std::uint64_t block) {
  if (wrong.how == action::WrongData::How::zeros) return void(std::ranges::fill(data, std::uint8_t{0}));
  for (std::size_t at = 0; at < data.size(); ++at)
    if (at % block < kInverted) data[at] = static_cast<std::uint8_t>(~data[at]);
}

/// A rule ends the token that a WRITE USING TOKEN names, before it is looked at.
void Simulation::end_named_token(Operation& operation) {
  const auto* end = operation.met_rule<action::EndToken>();
  constexpr std::size_t kToken = offsetof(scsi::WriteUsingTokenList, rod_token);
  if (!end || operation.data_out.size() < kToken + sizeof(tokens::RodToken)) return;
  const auto image = base::load<tokens::RodToken>(base::Bytes(operation.data_out).subspan(kToken));
  static constexpr TokenEnd kEnds[] = {TokenEnd::expired, TokenEnd::revoked, TokenEnd::cancelled, TokenEnd::deleted};
  for (const TokenRef& token : model_.tokens())
    if (token->identifier == image.copy_manager_rod_token_identifier && token->identifier != 0)
      end_token(*token, kEnds[static_cast<std::size_t>(end->how)]);
}

/// What a READ gives, of what is there.
Bytes Simulation::as_read(const Operation& operation, Bytes data) const {
  if (const auto* wrong = operation.met_rule<action::WrongData>())
    make_wrong(data, *wrong, model_.logical_units[operation.lun].block_length);
  if (const auto* truncate = operation.met_rule<action::Truncate>())
    data.resize(std::min<std::size_t>(data.size(), truncate->bytes));
  return data;
}

/// Whether the array has counted as the model has.
void Simulation::compare_rules() {
  const scsi::RuleSet& rules = world_.copies.fabric().rules();
  require(rules.state() == rules_.state,
          fmt::format("the state of rules is {}, the model says {}", rules.state(), rules_.state));
  for (const RuleModel::Entry& entry : rules_.rules) {
    const auto found = rules.find(entry.rule.id);
    require(found.has_value(), describe(entry.rule) + " is gone");
    require(found->matches == entry.matches && found->hits == entry.hits,
            fmt::format("{}, {}, has {} matches and {} hits, the model says {} and {}", describe(entry.rule),
                        text_of(entry.rule), found->matches, found->hits, entry.matches, entry.hits));
  }
}

}  // namespace sim
