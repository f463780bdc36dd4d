#include "scsi/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "scsi/block_cdb.h"
#include "scsi/command_events.h"
#include "scsi/command_table.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/copy_parameter_list.h"
#include "scsi/device_server.h"
#include "scsi/journal.h"
#include "scsi/logical_unit.h"

namespace scsi {
namespace {

constexpr std::uint8_t kUnmap = 0x42;
constexpr std::uint8_t kInquiry = 0x12, kEvpd = 0x01;

/// Commands whose CDB has an address and a count where parse_block_cdb() looks for them.
constexpr std::array<std::uint8_t, 23> kBlockCommands{0x08, 0x0A, 0x28, 0x2A, 0x2E, 0x2F, 0x34, 0x35,
                                                      0x41, 0x88, 0x89, 0x8A, 0x8B, 0x8E, 0x8F, 0x90,
                                                      0x91, 0x93, 0x9C, 0xA8, 0xAA, 0xAE, 0xAF};
/// Of these, SYNCHRONIZE CACHE, PRE-FETCH and WRITE SAME: no blocks are all to the end (SBC-3 5.18, 5.26, 5.42).
constexpr std::array<std::uint8_t, 6> kToTheEnd{0x34, 0x35, 0x41, 0x90, 0x91, 0x93};

/// As names are compared: capital letters, no spaces.
std::string plain(std::string_view text) {
  std::string out;
  for (unsigned char each : text)
    if (each != ' ') out.push_back(static_cast<char>(std::toupper(each)));
  return out;
}

/// "83H" as a number up to FFh.
std::optional<std::uint8_t> code_of(std::string_view text) {
  std::uint8_t value = 0;
  constexpr int kHexadecimal = 16;
  if (!text.ends_with('H')) return std::nullopt;
  text.remove_suffix(1);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, kHexadecimal);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::vector<CommandCode> commands_by_code(std::string_view text) {
  std::size_t slash = text.find('/');
  auto opcode = code_of(text.substr(0, slash));
  if (!opcode) return {};
  if (slash == std::string_view::npos) return {{*opcode, {}}};
  auto action = code_of(text.substr(slash + 1));
  if (!action || *action > kServiceActionMask) return {};
  return {{*opcode, *action}};
}

/// Whether `pattern`, which may end in '*', is `text`; empty is anything.
bool like(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return true;
  if (!pattern.ends_with('*')) return pattern == text;
  return text.starts_with(pattern.substr(0, pattern.size() - 1));
}

bool overlaps(const LbaRange& wanted, std::uint64_t first, std::uint64_t blocks) {
  return blocks > 0 && first <= wanted.last && wanted.first - std::min(wanted.first, first) < blocks;
}

bool is_token_command(const Task& task, CopyOutServiceAction action) {
  return task.cdb[0] == kThirdPartyCopyOut &&
         (task.cdb[kServiceActionByte] & kServiceActionMask) == static_cast<std::uint8_t>(action);
}

/// Whether it is the parameter list, and not the CDB, that names its blocks and token.
bool names_in_list(const Task& task) {
  return task.cdb[0] == kUnmap || is_token_command(task, CopyOutServiceAction::populate_token) ||
         is_token_command(task, CopyOutServiceAction::write_using_token);
}

bool needs_list(const RuleMatch& match) { return match.lba || match.token; }

/// Whether a rule hits no more: it has as often as it may, or the turn that `nth` alone gives it has passed.
bool spent(const RuleMatch& match, std::uint64_t matches, std::uint64_t hits) {
  const auto limit = match.limit();
  const bool only_nth = match.nth && !match.every_nth && !match.count;
  return (limit && hits >= *limit) || (only_nth && matches >= *match.nth);
}

std::string name_in_events(const Rule& rule) {
  return rule.name.empty() ? fmt::format("{}", static_cast<unsigned>(rule.id)) : rule.name;
}

void record_hit(Journal& journal, const Rule& rule, const Task& task) {
  Event event = event_of(EventKind::rule_hit, *task.server, task);
  event.rule = name_in_events(rule);
  event.reason = fmt::format("{}: {}", describe(rule), describe(rule.action));
  journal.record(std::move(event));
}

}  // namespace

/// What a command is matched by.
struct RuleSet::Facts {
  struct Blocks {
    std::uint64_t first = 0, count = 0;
  };
  explicit Facts(const Task& task);
  void add_from_cdb(const Task& task);
  void add_from_list(const Task& task);
  void add(const CopyRanges& ranges, const LogicalUnit& lu) {
    for (const auto& range : ranges.ranges)
      blocks.push_back({range.offset / lu.block_length(), range.length / lu.block_length()});
  }

  std::string_view initiator{};
  std::string_view target{};
  std::string_view lun_name{};
  unsigned lun = 0;
  std::uint8_t opcode = 0;
  std::uint16_t service_action = 0;
  std::optional<std::uint8_t> page{};
  std::vector<Blocks> blocks{};
  std::optional<std::uint64_t> token{};
};

RuleSet::Facts::Facts(const Task& task) {
  const auto& nexuses = task.server->nexuses();
  if (auto nexus = nexuses.find(task.nexus); nexus != nexuses.end()) initiator = nexus->second.initiator_name;
  target = task.server->config().target_name;
  if (task.logical_unit) lun_name = task.logical_unit->config().name;
  lun = static_cast<unsigned>(task.lun);
  opcode = task.cdb[0];
  service_action = task.cdb[kServiceActionByte] & kServiceActionMask;
  if (opcode == kInquiry && (task.cdb[1] & kEvpd) != 0) page = task.cdb[2];
}

void RuleSet::Facts::add_from_cdb(const Task& task) {
  if (std::ranges::find(kBlockCommands, opcode) == kBlockCommands.end()) return;
  BlockCdb cdb = parse_block_cdb(task.cdb);
  std::uint64_t count = cdb.count.value;
  if (count == 0 && std::ranges::find(kToTheEnd, opcode) != kToTheEnd.end() && task.logical_unit) {
    const std::uint64_t capacity = task.logical_unit->capacity().value;
    count = capacity - std::min(capacity, cdb.lba.value);
  }
  blocks.push_back({cdb.lba.value, count});
}

void RuleSet::Facts::add_from_list(const Task& task) {
  const LogicalUnit& lu = *task.logical_unit;
  const DeviceProfile& profile = task.server->copy_manager().profile();
  // A list that is not good names nothing.
  if (opcode == kUnmap) {
    base::ByteReader reader(task.data_out);
    reader.layout<UnmapHeader>();
    while (reader.remaining() >= sizeof(UnmapBlockDescriptor)) {
      auto descriptor = reader.layout<UnmapBlockDescriptor>();
      blocks.push_back({descriptor.logical_block_address, descriptor.number_of_logical_blocks});
    }
  } else if (is_token_command(task, CopyOutServiceAction::populate_token)) {
    if (auto request = parse_populate_token(task.data_out, lu, profile)) add(request->ranges, lu);
  } else if (auto request = parse_write_using_token(task.data_out, lu, profile)) {
    add(request->ranges, lu);
    const CopyManager* creator = task.server->copy_manager().fabric().creator_of(request->token);
    if (creator)
      token = creator->tokens().number(tokens::TokenId{request->token.copy_manager_rod_token_identifier.value()});
  }
}

std::vector<CommandCode> commands_named(std::string_view text) {
  std::string wanted = plain(text);
  if (auto codes = commands_by_code(wanted); !codes.empty()) return codes;
  std::vector<CommandCode> found;
  for (const CommandDescriptor& row : command_table()) {
    std::string name = plain(row.name);
    if (name == wanted || name.starts_with(wanted + "(")) found.push_back({row.opcode, row.service_action});
  }
  return found;
}

std::optional<std::uint64_t> RuleMatch::limit() const {
  if (count) return count;
  if (nth && !every_nth) return 1;
  return std::nullopt;
}

bool Rule::same_as(const Rule& other) const {
  return name == other.name && match == other.match && action == other.action && set_state == other.set_state;
}

/// A hit: by itself, or as one of the many of its second.
void RuleSet::Entry::tell(const Task& task, const WireTime& wire, std::string_view initiator) {
  const CopyManager& manager = task.server->copy_manager();
  const base::Clock& clock = wire.timers ? *wire.clock : manager.clock();
  constexpr base::Duration kSecond = std::chrono::seconds(1);
  if (const base::TimePoint now = clock.now(); now >= second_ends) {
    tell_left_out();
    second_ends = now + kSecond;
    told = 0;
  }
  journal = manager.journal();
  if (told < kHitsToldEachSecond) {
    ++told;
    base::log::info("{} hits {} from {} to LUN {}: {}", describe(rule),
                    task.descriptor ? task.descriptor->name : "a command", initiator, static_cast<unsigned>(task.lun),
                    describe(rule.action));
    if (journal) record_hit(*journal, rule, task);
    return;
  }
  if (left_out++ > 0) return;
  timers = wire.timers ? wire.timers : &task.server->copy_manager().timers();
  timer = timers->at(second_ends, [this] {
    timer = base::TimerQueue::Id::none;
    tell_left_out();
  });
}

void RuleSet::Entry::tell_left_out() {
  forget();
  const std::uint64_t count = std::exchange(left_out, 0);
  if (count == 0) return;
  const std::string text =
      fmt::format("{}: {} more hits, of more than {} in a second", describe(rule), count, kHitsToldEachSecond);
  base::log::info("{}", text);
  if (journal)
    journal->record({.kind = EventKind::rule_hit, .rule = name_in_events(rule), .left_out = count, .reason = text});
}

void RuleSet::Entry::forget() {
  if (base::TimerQueue* its = std::exchange(timers, nullptr))
    its->cancel(std::exchange(timer, base::TimerQueue::Id::none));
}

/// Commands that met a rule may keep it for longer, and for longer than the timers are there.
RuleSet::~RuleSet() {
  for (const auto& entry : rules_) entry->forget();
}

RuleId RuleSet::add(Rule rule) {
  rule.id = RuleId{++last_id_};
  RuleId id = rule.id;
  rules_.push_back(std::make_shared<Entry>(std::move(rule)));
  find_operation_codes();
  return id;
}

void RuleSet::find_operation_codes() {
  operation_codes_.reset();
  for (const auto& entry : rules_) {
    const auto& commands = entry->rule.match.commands;
    if (commands.empty()) operation_codes_.set();
    for (const CommandCode& code : commands) operation_codes_.set(code.opcode);
  }
}

/// Those for which `wanted`; what is left to be told of them is told.
bool RuleSet::remove_those(const std::function<bool(const Rule&)>& wanted) {
  const auto gone = std::ranges::stable_partition(rules_, [&](const auto& entry) { return !wanted(entry->rule); });
  const std::vector<std::shared_ptr<Entry>> removed(gone.begin(), gone.end());
  rules_.erase(gone.begin(), gone.end());
  find_operation_codes();
  for (const auto& entry : removed) entry->tell_left_out();
  return !removed.empty();
}

bool RuleSet::remove(RuleId id) {
  return remove_those([&](const Rule& rule) { return rule.id == id; });
}

void RuleSet::clear() {
  remove_those([](const Rule&) { return true; });
}

bool RuleSet::replace_those_of_file(std::vector<Rule> rules) {
  std::vector<const Rule*> before;
  for (const auto& entry : rules_)
    if (entry->rule.from_file) before.push_back(&entry->rule);
  auto same = [](const Rule* a, const Rule& b) { return a->same_as(b); };
  if (std::ranges::equal(before, rules, same)) return false;
  remove_those([](const Rule& rule) { return rule.from_file; });
  for (Rule& rule : rules) {
    rule.from_file = true;
    add(std::move(rule));
  }
  return true;
}

RuleSet::Listed RuleSet::listed(const Entry& entry) {
  return {entry.rule, entry.matches, entry.hits, spent(entry.rule.match, entry.matches, entry.hits)};
}

std::vector<RuleSet::Listed> RuleSet::list() const {
  std::vector<Listed> all;
  for (const auto& entry : rules_) all.push_back(listed(*entry));
  return all;
}

std::optional<RuleSet::Listed> RuleSet::find(RuleId id) const {
  auto found = std::ranges::find_if(rules_, [&](const auto& entry) { return entry->rule.id == id; });
  if (found == rules_.end()) return std::nullopt;
  return listed(**found);
}

void RuleSet::start_over() {
  for (auto& entry : rules_) {
    entry->tell_left_out();
    entry->second_ends = {};
    entry->matches = entry->hits = 0;
    entry->chance = base::SeededEntropy(entry->rule.match.seed);
  }
  state_ = kInitialState;
}

bool RuleSet::fits(const RuleMatch& match, const Facts& facts, const std::string& state) {
  if (!match.when_state.empty() && match.when_state != state) return false;
  if (!like(match.initiator, facts.initiator) || !like(match.target, facts.target)) return false;
  if (!match.lun.empty() && match.lun != facts.lun_name && match.lun != fmt::format("{}", facts.lun)) return false;
  auto is_it = [&](const CommandCode& code) {
    return code.opcode == facts.opcode && (!code.service_action || *code.service_action == facts.service_action);
  };
  if (!match.commands.empty() && std::ranges::none_of(match.commands, is_it)) return false;
  if (match.page && match.page != facts.page) return false;
  if (match.token && match.token != facts.token) return false;
  return !match.lba || std::ranges::any_of(facts.blocks, [&](const Facts::Blocks& blocks) {
    return overlaps(*match.lba, blocks.first, blocks.count);
  });
}

/// Counts a command that fits, and says whether the rule hits it.
bool RuleSet::its_turn(Entry& entry) {
  const RuleMatch& match = entry.rule.match;
  const bool over = spent(match, entry.matches, entry.hits);
  ++entry.matches;
  if (over) return false;
  const std::uint64_t every = match.every_nth.value_or(1);
  const std::uint64_t first = match.nth.value_or(every);
  if (entry.matches < first || (entry.matches - first) % every != 0) return false;
  if (match.probability) {
    constexpr int kBits = 53;  // what a double tells apart
    const double drawn = static_cast<double>(entry.chance.u64() >> (64 - kBits)) / static_cast<double>(1ull << kBits);
    if (drawn >= *match.probability) return false;
  }
  ++entry.hits;
  return true;
}

RuleSet::Hits RuleSet::decide(const Task& task, const Facts& facts, const std::function<bool(const RuleMatch&)>& now) {
  Hits hits;
  const std::string state = state_;  // what a hit makes of it is for the next command
  const auto rules = rules_;         // whoever reads the journal may add or remove some
  for (const auto& entry : rules) {
    if (!now(entry->rule.match) || !fits(entry->rule.match, facts, state) || !its_turn(*entry)) continue;
    if (!entry->rule.set_state.empty()) state_ = entry->rule.set_state;
    hits.emplace_back(entry, &entry->rule);
    entry->tell(task, wire_, facts.initiator);
  }
  return hits;
}

RuleSet::Hits RuleSet::meet(const Task& task, bool& list_awaited) {
  Facts facts(task);
  facts.add_from_cdb(task);
  const bool in_list = names_in_list(task) && task.has_data_out() && task.logical_unit;
  list_awaited =
      in_list && std::ranges::any_of(rules_, [](const auto& entry) { return needs_list(entry->rule.match); });
  return decide(task, facts, [&](const RuleMatch& match) { return !in_list || !needs_list(match); });
}

RuleSet::Hits RuleSet::meet_with_list(const Task& task) {
  Facts facts(task);
  facts.add_from_list(task);
  return decide(task, facts, [](const RuleMatch& match) { return needs_list(match); });
}

}  // namespace scsi
