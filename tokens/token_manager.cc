#include "tokens/token_manager.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tokens {

namespace {

/// When there are so many, the table gets room for all there may be: a million are not hashed anew in one turn.
constexpr std::size_t kMany = 4096;

TokenError error_of(TokenState state) {
  switch (state) {
    case TokenState::expired: return TokenError::expired;
    case TokenState::cancelled: return TokenError::cancelled;
    case TokenState::revoked: return TokenError::revoked;
    case TokenState::deleted: return TokenError::deleted;
    case TokenState::valid:
    case TokenState::unknown: break;
  }
  return TokenError::unknown;
}

auto key_of(const IdentificationCscdDescriptor& creator) {
  std::array<std::uint8_t, sizeof creator> key;
  std::memcpy(key.data(), &creator, key.size());
  return key;
}

RodToken body(TokenId id, const Rod& rod, const IdentificationCscdDescriptor& creator) {
  RodToken image{};
  image.rod_type = static_cast<std::uint32_t>(rod.type());
  image.rod_token_length = kRodTokenLength;
  image.copy_manager_rod_token_identifier = static_cast<std::uint64_t>(id);
  image.creator_logical_unit_descriptor = creator;
  image.number_of_bytes_represented = rod.size_bytes();
  return image;
}

}  // namespace

base::TimePoint TokenRecord::expires() const {
  base::TimePoint end_of_life = created + lifetime;
  if (inactivity_timeout == base::Duration::zero() || commands_in_progress > 0) return end_of_life;
  return std::min(end_of_life, last_used + inactivity_timeout);
}

TokenState state_of(const TokenRecord& record, base::TimePoint now) {
  if (now >= record.forgotten()) return TokenState::unknown;
  if (record.ended != TokenState::valid) return record.ended;
  return now >= record.expires() ? TokenState::expired : TokenState::valid;
}

TokenUse::TokenUse(TokenUse&& other) noexcept
    : manager_(std::exchange(other.manager_, nullptr)), id_(other.id_), rod_(std::move(other.rod_)) {}

TokenUse& TokenUse::operator=(TokenUse&& other) noexcept {
  std::swap(manager_, other.manager_);
  std::swap(id_, other.id_);
  std::swap(rod_, other.rod_);
  return *this;
}

TokenUse::~TokenUse() {
  if (manager_) manager_->end_use(id_);
}

void TokenUse::delete_by_client() const {
  if (manager_) manager_->delete_by_client(id_);
}

void TokenUse::cancel() const {
  if (manager_) manager_->cancel(id_, TokenEnd::data_lost);
}

TokenManager::TokenManager(TokenLimits limits, const base::Clock& clock, base::Entropy& entropy)
    // An identifier is never used twice in one start, and starts differ in where they begin to count.
    : limits_(std::move(limits)), clock_(clock), entropy_(entropy), seal_(entropy), first_id_(entropy.u64() / 2 + 1) {}

TokenManager::~TokenManager() = default;

void TokenManager::add_creator(const IdentificationCscdDescriptor& creator) { creators_.insert(key_of(creator)); }

bool TokenManager::created_here(const RodToken& token) const {
  return creators_.contains(key_of(token.creator_logical_unit_descriptor));
}

std::expected<RodToken, TokenError> TokenManager::create(NewToken token) {
  sweep(kSweptByCall);
  if (live_.size() - cancelled_tokens_ >= limits_.tokens) return std::unexpected(TokenError::too_many_tokens);

  TokenId id{next_id_++};
  RodToken image = body(id, *token.rod, token.creator);
  image.block_device = token.block_device;
  image.target_device_descriptor = token.target_device_descriptor;
  seal_.seal(image, entropy_);

  base::TimePoint now = clock_.now();
  Live live{.record = {.created = now,
                       .lifetime = token.lifetime.value_or(limits_.lifetime),
                       .inactivity_timeout = token.inactivity_timeout,
                       .last_used = now},
            .rod = std::move(token.rod),
            .last_user = std::move(token.maker)};
  live.due = live.record.expires();
  by_due_.emplace(live.due, id);
  // Once there are many, room for all there may be: to hash a million anew takes a tenth of a second.
  if (live_.size() == kMany) live_.reserve(limits_.tokens);
  Live& made = live_.emplace(id, std::move(live)).first->second;
  index_.add(number(id));
  link(id, made);
  if (observer_) {
    observer_->created(id, *made.rod, made.last_user, made.record.inactivity_timeout);
    observer_->sweep_changed();
  }
  return image;
}

std::expected<TokenUse, TokenError> TokenManager::use(const RodToken& token, TokenUser user) {
  const RodTypeSupport* type = find_rod_type(limits_.rod_types, token.rod_type);
  if (!type || !type->token_in) return std::unexpected(TokenError::unsupported_type);
  if (token.rod_token_length != kRodTokenLength) return std::unexpected(TokenError::invalid_length);
  // Known by its type and length alone (SBC-4 4.28.4); the rest is reserved.
  if (type->type == RodType::block_device_zero) return TokenUse();

  if (!created_here(token)) return std::unexpected(TokenError::remote_not_supported);
  if (!seal_.same_epoch(token)) return std::unexpected(TokenError::unknown);
  if (!seal_.intact(token)) return std::unexpected(TokenError::corrupt);

  TokenId id{token.copy_manager_rod_token_identifier.value()};
  auto live = live_.find(id);
  if (live != live_.end() && state_of_live(id, live->second) != TokenState::valid) {
    bury(live, ending_of(id, live->second));  // so that its end is told of before the refusal that follows from it
    live = live_.end();
  }
  if (live == live_.end()) return std::unexpected(error_of(state(id)));
  ++live->second.record.commands_in_progress;
  live->second.last_user = std::move(user);
  reschedule(live);
  if (observer_) observer_->used(id, *live->second.rod, live->second.last_user);
  return TokenUse(*this, id, live->second.rod);
}

std::optional<TokenId> TokenManager::genuine(const RodToken& token) {
  if (!created_here(token) || !seal_.same_epoch(token) || !seal_.intact(token)) return {};
  return TokenId{token.copy_manager_rod_token_identifier.value()};
}

std::uint64_t TokenManager::number(TokenId id) const {
  auto value = static_cast<std::uint64_t>(id);
  return value >= first_id_ && value < next_id_ ? value - first_id_ + 1 : 0;
}

TokenState TokenManager::state(TokenId id) const {
  auto live = live_.find(id);
  if (live != live_.end()) return state_of_live(id, live->second);
  const Tombstone* found = tombstone(id);
  return found ? found->ending.state : TokenState::unknown;
}

std::optional<TokenEnding> TokenManager::ending(TokenId id) const {
  auto live = live_.find(id);
  if (live != live_.end()) {
    TokenState state = state_of_live(id, live->second);
    bool ended = state != TokenState::valid && state != TokenState::unknown;
    return ended ? std::optional(ending_of(id, live->second)) : std::nullopt;
  }
  const Tombstone* found = tombstone(id);
  return found ? std::optional(found->ending) : std::nullopt;
}

const TokenManager::Tombstone* TokenManager::tombstone(TokenId id) const {
  auto found = tombstones_.find(id);
  return found == tombstones_.end() || clock_.now() >= found->second.forgotten ? nullptr : &found->second;
}

void TokenManager::end_use(TokenId id) {
  auto live = live_.find(id);
  if (live == live_.end()) return;  // ended meanwhile
  if (state_of_live(id, live->second) != TokenState::valid) return bury(live, ending_of(id, live->second));
  TokenRecord& record = live->second.record;
  --record.commands_in_progress;
  record.last_used = clock_.now();
  reschedule(live);
}

void TokenManager::reschedule(LiveAt token) {
  auto& [id, live] = *token;
  base::TimePoint due = live.record.expires();
  if (due == live.due) return;
  auto node = by_due_.extract({live.due, id});
  node.value().first = live.due = due;
  by_due_.insert(std::move(node));
  if (observer_) observer_->sweep_changed();
}

void TokenManager::end(TokenId id, TokenState state, TokenEnd cause) {
  auto live = live_.find(id);
  if (live == live_.end()) return;
  if (state_of_live(id, live->second) != TokenState::valid) return bury(live, ending_of(id, live->second));
  bury(live, {.state = state, .cause = cause, .at = clock_.now(), .last_user = live->second.last_user});
}

TokenState TokenManager::state_of_live(TokenId id, const Live& live) const {
  TokenState state = state_of(live.record, clock_.now());
  if (state == TokenState::unknown) return state;
  return cancellation_of(id, live) ? TokenState::cancelled : state;
}

std::optional<TokenManager::Cancellation> TokenManager::cancellation_of(TokenId id, const Live& live) {
  const base::TimePoint expires = live.record.expires();
  for (const Loss& loss : live.source->losses)
    if (id <= loss.newest && loss.cancellation.first < expires && loss.lost(*live.rod)) return loss.cancellation;
  const auto& cancelled = live.source->cancelled;
  return cancelled && cancelled->first < expires ? cancelled : std::nullopt;
}

TokenEnding TokenManager::ending_of(TokenId id, const Live& live) {
  const TokenRecord& record = live.record;
  if (const auto cancelled = cancellation_of(id, live))
    return {.state = TokenState::cancelled,
            .cause = cancelled->second,
            .at = cancelled->first,
            .last_user = live.last_user};
  bool of_age = record.expires() == record.created + record.lifetime;
  return {.state = TokenState::expired,
          .cause = of_age ? TokenEnd::lifetime : TokenEnd::inactivity,
          .at = record.expires(),
          .limit = of_age ? record.lifetime : record.inactivity_timeout,
          .last_user = live.last_user};
}

void TokenManager::bury(LiveAt token, TokenEnding ending) {
  TokenId id = token->first;
  Live live = std::move(token->second);
  live_.erase(token);
  index_.remove(number(id));
  unlink(id, live);
  by_due_.erase({live.due, id});
  Tombstone tombstone{std::move(ending), live.record.forgotten()};
  by_forgotten_.emplace(tombstone.forgotten, id);
  const Tombstone& kept = tombstones_.emplace_hint(tombstones_.end(), id, std::move(tombstone))->second;
  if (observer_) {
    observer_->ended(id, *live.rod, kept.ending);
    observer_->sweep_changed();
  }
  if (tombstones_.size() > limits_.tombstones) forget_first();
}

void TokenManager::link(TokenId id, Live& live) {
  const RodSource& source = live.rod->source();
  std::unique_ptr<OfSource>& list = by_source_[{source.logical_unit, source.name}];
  if (!list) list = std::make_unique<OfSource>();
  live.source = list.get();
  live.older = list->newest;
  if (list->count++ == 0)
    list->oldest = id;
  else
    live_.at(live.older).newer = id;
  list->newest = id;
}

void TokenManager::unlink(TokenId id, const Live& live) {
  OfSource& list = *live.source;
  if (list.cancelled) --cancelled_tokens_;
  for (Loss& loss : list.losses)
    if (loss.next == id) loss.next = live.newer;
  if (--list.count > 0) {
    (live.older == TokenId{} ? list.oldest : live_.at(live.older).newer) = live.newer;
    (live.newer == TokenId{} ? list.newest : live_.at(live.newer).older) = live.older;
  } else if (list.cancelled) {
    cancelled_.remove_if([&](const auto& each) { return each.get() == &list; });
  } else {
    if (!list.losses.empty()) losing_.remove(&list);
    by_source_.erase({live.rod->source().logical_unit, live.rod->source().name});
  }
}

void TokenManager::forget_first() {
  TokenId id = by_forgotten_.begin()->second;
  tombstones_.erase(id);
  by_forgotten_.erase(by_forgotten_.begin());
  if (observer_) {
    observer_->forgotten(id);
    observer_->sweep_changed();
  }
}

std::size_t TokenManager::for_each(std::size_t most, const Visit& visit) {
  sweep(kSweptByCall);
  return visit_of(sources_of(nullptr), most, visit);
}

std::size_t TokenManager::for_each_of(const std::array<std::uint8_t, 16>& logical_unit, std::size_t most,
                                      const Visit& visit) {
  sweep(kSweptByCall);
  return visit_of(sources_of(logical_unit), most, visit);
}

std::vector<const TokenManager::OfSource*> TokenManager::sources_of(const std::string* name) const {
  std::vector<const OfSource*> sources;
  for (const auto& [key, each] : by_source_)
    if (!name || key.second == *name) sources.push_back(each.get());
  return sources;
}

TokenId TokenManager::next_live(TokenId id) const {
  const std::uint64_t next = index_.next(number(id));
  return next == 0 ? TokenId{} : id_of(next);
}

std::optional<TokenId> TokenManager::page(const Wanted& wanted, const Visit& visit) {
  sweep(kSweptByCall);
  const std::vector<const OfSource*> sources = sources_of(wanted.source);
  if (sources.empty()) return std::nullopt;
  // From one of the only source the next is known; elsewhere others are passed by.
  const OfSource* only = wanted.source && sources.size() == 1 ? sources.front() : nullptr;
  const auto behind = [&](TokenId id) {
    auto live = only ? live_.find(id) : live_.end();
    return live != live_.end() && live->second.source == only ? live->second.newer : next_live(id);
  };
  TokenId last = wanted.after;
  TokenId id = only && last == TokenId{} ? only->oldest : behind(last);
  for (std::size_t visited = 0, passed_by = 0; id != TokenId{}; id = behind(id)) {
    const Live& live = live_.at(id);
    const bool concerns = (!wanted.source || std::ranges::find(sources, live.source) != sources.end()) &&
                          state_of_live(id, live) == TokenState::valid;
    if (concerns ? visited == wanted.most : passed_by == kMostPassedBy) return last;
    ++(concerns ? visited : passed_by);
    if (concerns) visit(description(id, live));
    last = id;
  }
  return std::nullopt;
}

std::vector<const TokenManager::OfSource*> TokenManager::sources_of(
    const std::array<std::uint8_t, 16>& logical_unit) const {
  std::vector<const OfSource*> sources;
  for (auto at = by_source_.lower_bound({logical_unit, ""}); at != by_source_.end() && at->first.first == logical_unit;
       ++at)
    sources.push_back(at->second.get());
  return sources;
}

std::size_t TokenManager::count_of(const std::vector<const OfSource*>& sources) const {
  const base::TimePoint now = clock_.now();
  std::size_t count = 0, ended = 0, looked = 0;
  for (const OfSource* source : sources) count += source->count;
  // What has ended by itself and is not swept yet is due.
  for (auto due = by_due_.begin(); due != by_due_.end() && due->first <= now && looked < kMostPassedBy; ++due, ++looked)
    if (std::ranges::find(sources, live_.at(due->second).source) != sources.end()) ++ended;
  return count - ended;
}

std::size_t TokenManager::visit_of(const std::vector<const OfSource*>& sources, std::size_t most, const Visit& visit) {
  std::size_t visited = 0;
  std::vector<TokenId> next;  // of each source
  for (const OfSource* source : sources) next.push_back(source->oldest);
  const std::size_t left = count_of(sources);
  for (std::size_t passed_by = 0; visited < std::min(most, left) && passed_by < kMostPassedBy;) {
    constexpr TokenId kNone{};
    auto first = std::ranges::min_element(
        next, [](TokenId a, TokenId b) { return b == kNone ? a != kNone : a != kNone && a < b; });
    const TokenId id = *first;
    if (id == kNone) break;
    const Live& live = live_.at(id);
    *first = live.newer;
    if (state_of_live(id, live) != TokenState::valid) {
      ++passed_by;
      continue;
    }
    visit(description(id, live));
    ++visited;
  }
  return left;
}

TokenManager::Description TokenManager::description(TokenId id, const Live& live) {
  return {id, *live.rod, live.record.created, live.record.expires(), live.record, live.last_user};
}

std::optional<TokenManager::Description> TokenManager::find(TokenId id) const {
  auto live = live_.find(id);
  if (live == live_.end() || state_of_live(id, live->second) != TokenState::valid) return std::nullopt;
  return description(id, live->second);
}

void TokenManager::forget_all() {
  past_.push_back({.live = std::exchange(live_, {}),
                   .index = std::exchange(index_, {}),
                   .by_due = std::exchange(by_due_, {}),
                   .tombstones = std::exchange(tombstones_, {}),
                   .by_forgotten = std::exchange(by_forgotten_, {})});
  losing_.clear();
  by_source_.clear();
  cancelled_.clear();
  cancelled_tokens_ = 0;
  if (observer_) observer_->sweep_changed();
}

bool TokenManager::free_forgotten(std::size_t most) {
  for (; most > 0 && !past_.empty(); --most) {
    Past& past = past_.front();
    if (!past.tombstones.empty()) past.tombstones.erase(past.tombstones.begin());
    if (!past.by_forgotten.empty()) past.by_forgotten.erase(past.by_forgotten.begin());
    if (!past.by_due.empty()) past.by_due.erase(past.by_due.begin());  // one for each that lived
    if (const std::uint64_t first = past.index.next(0)) {
      past.live.erase(id_of(first));
      past.index.remove(first);
      if (observer_) observer_->forgotten(id_of(first));
    } else if (past.tombstones.empty() && past.by_forgotten.empty()) {
      past_.pop_front();
    }
  }
  return !past_.empty();
}

void TokenManager::cancel_of(const std::array<std::uint8_t, 16>& logical_unit, TokenEnd cause) {
  for (auto at = by_source_.lower_bound({logical_unit, ""});
       at != by_source_.end() && at->first.first == logical_unit;) {
    losing_.remove(at->second.get());
    at->second->cancelled.emplace(clock_.now(), cause);
    cancelled_tokens_ += at->second->count;
    cancelled_.push_back(std::move(at->second));
    at = by_source_.erase(at);
  }
  sweep_cancelled(kCancelledAtOnce);
  if (observer_) observer_->sweep_changed();
}

void TokenManager::cancel_of(const std::array<std::uint8_t, 16>& logical_unit,
                             const std::function<bool(const Rod&)>& lost, TokenEnd cause) {
  for (auto at = by_source_.lower_bound({logical_unit, ""}); at != by_source_.end() && at->first.first == logical_unit;
       ++at) {
    OfSource& source = *at->second;
    if (source.losses.empty()) losing_.push_back(&source);
    source.losses.push_back({{clock_.now(), cause}, lost, source.newest, source.oldest});
  }
  sweep_losses(kCancelledAtOnce);
  if (observer_) observer_->sweep_changed();
}

std::size_t TokenManager::sweep_cancelled(std::size_t budget) {
  for (; budget > 0 && !cancelled_.empty(); --budget) {
    auto live = live_.find(cancelled_.front()->oldest);
    bury(live, ending_of(live->first, live->second));
  }
  return budget;
}

std::size_t TokenManager::sweep_losses(std::size_t budget) {
  for (std::size_t looks = kLooksForOne * budget; looks > 0 && budget > 0 && !losing_.empty(); --looks) {
    OfSource& source = *losing_.front();
    Loss& loss = source.losses.front();
    if (loss.next == TokenId{} || loss.next > loss.newest) {
      source.losses.pop_front();
      if (source.losses.empty()) losing_.pop_front();
      continue;
    }
    auto live = live_.find(loss.next);
    loss.next = live->second.newer;
    if (state_of_live(live->first, live->second) == TokenState::valid) continue;
    bury(live, ending_of(live->first, live->second));  // perhaps the last of the source, which goes with it
    --budget;
  }
  return budget;
}

RodToken TokenManager::image_of(const Description& token, const IdentificationCscdDescriptor& creator) {
  return body(token.id, token.rod, creator);
}

void TokenManager::sweep(std::size_t budget) {
  base::TimePoint now = clock_.now();
  for (std::size_t left = sweep_losses(sweep_cancelled(budget));
       left > 0 && !by_due_.empty() && by_due_.begin()->first <= now; --left) {
    auto live = live_.find(by_due_.begin()->second);
    bury(live, ending_of(live->first, live->second));
  }
  for (std::size_t left = budget; left > 0 && !by_forgotten_.empty() && by_forgotten_.begin()->first <= now; --left)
    forget_first();
}

base::TimePoint TokenManager::next_sweep() const {
  base::TimePoint next = base::TimePoint::max();
  if (!cancelled_.empty()) next = cancelled_.front()->cancelled->first;
  if (!losing_.empty()) next = std::min(next, losing_.front()->losses.front().cancellation.first);
  if (!by_due_.empty()) next = std::min(next, by_due_.begin()->first);
  if (!by_forgotten_.empty()) next = std::min(next, by_forgotten_.begin()->first);
  return next;
}

}  // namespace tokens
