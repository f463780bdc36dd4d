#include "tokens/token_manager.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tokens {

namespace {

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
  if (manager_) manager_->cancel(id_);
}

TokenManager::TokenManager(TokenLimits limits, const base::Clock& clock, base::Entropy& entropy)
    // An identifier is never used twice in one start, and starts differ in where they begin to count.
    : limits_(std::move(limits)), clock_(clock), entropy_(entropy), seal_(entropy), next_id_(entropy.u64() / 2 + 1) {}

TokenManager::~TokenManager() = default;

void TokenManager::add_creator(const IdentificationCscdDescriptor& creator) { creators_.insert(key_of(creator)); }

bool TokenManager::created_here(const RodToken& token) const {
  return creators_.contains(key_of(token.creator_logical_unit_descriptor));
}

std::expected<RodToken, TokenError> TokenManager::create(NewToken token) {
  sweep();
  if (live_.size() >= limits_.tokens) return std::unexpected(TokenError::too_many_tokens);

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
            .rod = std::move(token.rod)};
  live.due = live.record.expires();
  by_due_.emplace(live.due, id);
  live_.emplace(id, std::move(live));
  return image;
}

std::expected<TokenUse, TokenError> TokenManager::use(const RodToken& token) {
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
  if (live == live_.end()) return std::unexpected(error_of(tombstone_state(id)));
  TokenState state = state_of(live->second.record, clock_.now());
  if (state != TokenState::valid) return std::unexpected(error_of(state));
  ++live->second.record.commands_in_progress;
  return TokenUse(*this, id, live->second.rod);
}

TokenState TokenManager::state(TokenId id) const {
  auto live = live_.find(id);
  return live == live_.end() ? tombstone_state(id) : state_of(live->second.record, clock_.now());
}

TokenState TokenManager::tombstone_state(TokenId id) const {
  auto tombstone = tombstones_.find(id);
  if (tombstone == tombstones_.end() || clock_.now() >= tombstone->second.forgotten) return TokenState::unknown;
  return tombstone->second.state;
}

void TokenManager::end_use(TokenId id) {
  auto live = live_.find(id);
  if (live == live_.end()) return;  // ended meanwhile
  TokenRecord& record = live->second.record;
  base::TimePoint now = clock_.now();
  if (state_of(record, now) != TokenState::valid) return bury(live, TokenState::expired);
  --record.commands_in_progress;
  record.last_used = now;
  if (record.expires() < live->second.due) {
    by_due_.erase({live->second.due, id});
    live->second.due = record.expires();
    by_due_.emplace(live->second.due, id);
  }
}

void TokenManager::end(TokenId id, TokenState reason) {
  auto live = live_.find(id);
  if (live == live_.end()) return;
  TokenState state = state_of(live->second.record, clock_.now());
  bury(live, state == TokenState::valid ? reason : state);
}

void TokenManager::bury(std::unordered_map<TokenId, Live>::iterator token, TokenState reason) {
  auto& [id, live] = *token;
  Tombstone tombstone{reason, live.record.forgotten()};
  by_due_.erase({live.due, id});
  by_forgotten_.emplace(tombstone.forgotten, id);
  tombstones_.emplace(id, tombstone);
  live_.erase(token);
  if (tombstones_.size() > limits_.tombstones) {
    tombstones_.erase(by_forgotten_.begin()->second);
    by_forgotten_.erase(by_forgotten_.begin());
  }
}

void TokenManager::for_each(const std::function<void(const Description&)>& visit) const {
  base::TimePoint now = clock_.now();
  std::vector<TokenId> ids;
  ids.reserve(live_.size());
  for (const auto& [id, live] : live_)
    if (state_of(live.record, now) == TokenState::valid) ids.push_back(id);
  std::ranges::sort(ids);
  for (TokenId id : ids) {
    const Live& live = live_.at(id);
    visit({id, *live.rod, live.record.created, live.record.expires()});
  }
}

void TokenManager::cancel_if(const std::function<bool(const Rod&)>& lost) {
  std::vector<TokenId> ids;
  for (const auto& [id, live] : live_)
    if (lost(*live.rod)) ids.push_back(id);
  for (TokenId id : ids) cancel(id);
}

RodToken TokenManager::image_of(const Description& token, const IdentificationCscdDescriptor& creator) {
  return body(token.id, token.rod, creator);
}

void TokenManager::sweep(std::size_t budget) {
  base::TimePoint now = clock_.now();
  for (std::size_t left = budget; left > 0 && !by_due_.empty() && by_due_.begin()->first <= now; --left) {
    TokenId id = by_due_.begin()->second;
    auto live = live_.find(id);
    if (state_of(live->second.record, now) != TokenState::valid) {
      bury(live, TokenState::expired);
      continue;
    }
    // It was used since the entry was made.
    by_due_.erase(by_due_.begin());
    live->second.due = live->second.record.expires();
    by_due_.emplace(live->second.due, id);
  }
  for (std::size_t left = budget; left > 0 && !by_forgotten_.empty() && by_forgotten_.begin()->first <= now; --left) {
    tombstones_.erase(by_forgotten_.begin()->second);
    by_forgotten_.erase(by_forgotten_.begin());
  }
}

base::TimePoint TokenManager::next_sweep() const {
  base::TimePoint next = base::TimePoint::max();
  if (!by_due_.empty()) next = std::min(next, by_due_.begin()->first);
  if (!by_forgotten_.empty()) next = std::min(next, by_forgotten_.begin()->first);
  return next;
}

}  // namespace tokens
