#include "target/status_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <deque>
#include <utility>

#include "handlers/memory_pool.h"
#include "handlers/memory_usage.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "target/arrays.h"
#include "target/config_profile.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace target {
namespace {

constexpr std::size_t kNodesOfAStep = 32;  // leaves of trees, some ten microseconds
constexpr std::size_t kTokensAtOnce = 32;  // that are looked for

/// "1.5 GiB", "512 B".
std::string size_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

double seconds(base::Duration duration) { return std::chrono::duration<double>(duration).count(); }

void append_tokens(std::string& text, const ArrayReport& array) {
  if (array.tokens.empty()) return;
  text += fmt::format("  {:>20}  {:<24}  {:<31}  {:>10}  {:>10}  {:>9}\n", "token", "source", "type", "represents",
                      "memory", "ends in");
  for (const TokenReport& token : array.tokens)
    text += fmt::format("  {:>20}  {:<24}  {:<31}  {:>10}  {:>10}  {:>7.1f} s\n", token.id, token.source, token.type,
                        size_text(token.bytes), size_text(token.memory), seconds(token.left));
  if (array.token_count > array.tokens.size())
    text += fmt::format("  and {} more, none of which keeps more memory\n", array.token_count - array.tokens.size());
}

}  // namespace

class StatusReporter::Walk {
 public:
  Walk(const Arrays& arrays, const base::Clock& clock);

  /// Goes on a bit. Returns whether it is done.
  bool step();
  bool is_long() const { return steps_ > 1; }
  StatusReport take() { return std::move(report_); }

 private:
  using Manager = tokens::TokenManager;
  struct Token {
    TokenReport report;
    tokens::RodRef rod;
  };

  // Whether all of it is counted; else this step is over.
  bool count_lun();
  bool count_token(Token& token);
  /// Whether there are more of this array.
  bool find_tokens();
  void keep(TokenReport&& token);
  static void drop_small(std::vector<TokenReport>& tokens);

  const Arrays& arrays_;
  const base::Clock& clock_;
  handlers::PoolUser pool_user_;  // the last one that has nodes of the pool goes before
  handlers::MemoryUsage usage_;
  StatusReport report_;
  std::size_t steps_ = 0;
  std::size_t left_ = 0;  ///< nodes of this step
  std::vector<std::weak_ptr<scsi::LogicalUnit>> luns_;
  std::size_t lun_ = 0;
  std::uint64_t of_luns_ = 0;            ///< bytes
  std::vector<tokens::TokenId> newest_;  ///< of each array as it began
  std::size_t array_ = 0;
  tokens::TokenId after_{};
  std::deque<Token> found_;     ///< of this array; the first is being counted
  std::uint64_t position_ = 0;  ///< in that, or in the LUN
};

StatusReporter::Walk::Walk(const Arrays& arrays, const base::Clock& clock)
    : arrays_(arrays), clock_(clock), pool_user_(base::Ref(&arrays.memory())) {
  handlers::MemoryBudget& budget = arrays.memory().budget();
  report_ = {.memory_used = budget.used(), .memory_limit = budget.limit()};
  for (const auto& array : arrays.all()) {
    for (const Array::ExportedLun& lun : array->luns()) luns_.push_back(lun.logical_unit);
    scsi::CopyManager& manager = array->copy_manager();
    newest_.push_back(manager.tokens().newest());
    ArrayReport& of_array = report_.arrays.emplace_back(
        ArrayReport{.name = array->name(), .id = array->id(), .copies = manager.operations().in_progress()});
    of_array.results = manager.operations().size() - std::min(of_array.copies, manager.operations().size());
  }
}

bool StatusReporter::Walk::step() {
  ++steps_;
  left_ = kNodesOfAStep;
  for (; lun_ < luns_.size(); ++lun_, position_ = 0) {
    if (!count_lun()) return false;
    of_luns_ = usage_.bytes();
  }
  while (array_ < report_.arrays.size()) {
    for (; !found_.empty(); found_.pop_front(), position_ = 0) {
      if (!count_token(found_.front())) return false;
      keep(std::move(found_.front().report));
    }
    if (left_ == 0) return false;
    if (find_tokens()) continue;
    drop_small(report_.arrays[array_].tokens);
    ++array_;
    after_ = {};
  }
  report_.memory_of_tokens = usage_.bytes() - of_luns_;
  return true;
}

bool StatusReporter::Walk::count_lun() {
  auto unit = luns_[lun_].lock();
  if (!unit) return true;  // removed meanwhile
  if (left_ == 0) return false;
  position_ = unit->store().count_memory(usage_, position_, left_);
  return position_ >= unit->store().size_bytes();
}

bool StatusReporter::Walk::count_token(Token& token) {
  if (left_ == 0) return false;
  --left_;
  const handlers::SnapshotRef& data = token.rod->data();
  if (!data) return true;  // access upon reference keeps none
  std::size_t nodes = left_ + 1;
  token.report.memory += usage_.count([&] { position_ = data->count_memory(usage_, position_, nodes); });
  left_ = std::min(left_, nodes);
  return position_ >= data->size_bytes();
}

bool StatusReporter::Walk::find_tokens() {
  const tokens::TokenId newest = newest_[array_];
  if (after_ >= newest) return false;
  const base::TimePoint now = clock_.now();
  Manager& manager = arrays_.all()[array_]->copy_manager().tokens();
  auto next = manager.page({.after = after_, .most = kTokensAtOnce}, [&](const Manager::Description& token) {
    if (token.id > newest) return;
    TokenReport report{.id = static_cast<std::uint64_t>(token.id),
                       .source = token.rod.source().name,
                       .type = std::string(rod_type_word(token.rod.type())),
                       .bytes = token.rod.size_bytes(),
                       .left = token.expires - now};
    found_.push_back({std::move(report), tokens::RodRef(&token.rod)});
  });
  after_ = next.value_or(newest);
  if (found_.empty() && next) left_ = 0;  // many were passed by
  return true;
}

void StatusReporter::Walk::keep(TokenReport&& token) {
  ArrayReport& array = report_.arrays[array_];
  ++array.token_count;
  array.tokens.push_back(std::move(token));
  if (array.tokens.size() >= 2 * kMostTokens) drop_small(array.tokens);
}

void StatusReporter::Walk::drop_small(std::vector<TokenReport>& tokens) {
  if (tokens.size() > kMostTokens) {
    auto end = tokens.begin() + kMostTokens;
    std::ranges::nth_element(tokens, end, [](const TokenReport& a, const TokenReport& b) {
      return std::pair(a.memory, b.id) > std::pair(b.memory, a.id);
    });
    tokens.erase(end, tokens.end());
  }
  std::ranges::sort(tokens, {}, &TokenReport::id);
}

StatusReporter::StatusReporter(const Arrays& arrays, const base::Clock& array_clock, base::Executor& executor)
    : arrays_(arrays), clock_(array_clock), executor_(executor) {}
StatusReporter::~StatusReporter() = default;

void StatusReporter::report(Done done) {
  if (walk_) return of_the_next_.push_back(std::move(done));
  of_this_walk_.push_back(std::move(done));
  begin();
}

void StatusReporter::begin() {
  walk_ = std::make_shared<Walk>(arrays_, clock_);
  step();
}

void StatusReporter::step() {
  if (walk_->step()) return end();
  executor_.later([this, weak = std::weak_ptr(walk_)] {
    if (!weak.expired()) step();
  });
}

void StatusReporter::end() {
  const StatusReport report = walk_->take();
  auto walk = std::exchange(walk_, nullptr);
  // What it has marked may be much to be freed.
  if (walk->is_long()) executor_.long_work().post([walk = std::move(walk)]() mutable { walk.reset(); }, [] {});
  for (Done& done : std::exchange(of_this_walk_, {})) done(report);
  if (walk_ || of_the_next_.empty()) return;
  of_this_walk_ = std::exchange(of_the_next_, {});
  begin();
}

std::string status_text(const StatusReport& report) {
  std::string text = fmt::format("memory: {} used of {}, {} of it for tokens only\n", size_text(report.memory_used),
                                 size_text(report.memory_limit), size_text(report.memory_of_tokens));
  for (const ArrayReport& array : report.arrays) {
    text += fmt::format("array {}{}{}: {} tokens, {} copies under way, {} results\n", array.name,
                        array.name.empty() ? "" : ", ", array.id, array.token_count, array.copies, array.results);
    append_tokens(text, array);
  }
  return text;
}

std::string status_json(const StatusReport& report) {
  boost::json::object line{{"event", "status"},
                           {"memory_used", report.memory_used},
                           {"memory_limit", report.memory_limit},
                           {"memory_of_tokens", report.memory_of_tokens}};
  boost::json::array& arrays = line["arrays"].emplace_array();
  for (const ArrayReport& array : report.arrays) {
    boost::json::array tokens;
    for (const TokenReport& token : array.tokens)
      tokens.push_back(boost::json::object{{"id", token.id},
                                           {"source", token.source},
                                           {"type", token.type},
                                           {"bytes", token.bytes},
                                           {"memory", token.memory},
                                           {"ends_in_s", seconds(token.left)}});
    boost::json::object object{
        {"id", array.id}, {"copies", array.copies}, {"results", array.results}, {"token_count", array.token_count}};
    if (!array.name.empty()) object["name"] = array.name;
    object["tokens"] = std::move(tokens);
    arrays.push_back(std::move(object));
  }
  return boost::json::serialize(line);
}

}  // namespace target
