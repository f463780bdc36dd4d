// What happens to tokens, for whoever keeps a journal of it or has to know when the next one ends.
//
// Knows no CDB, no words and no journal. Thread: the loop's.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/ref.h"
#include "tokens/copy_operation.h"
#include "tokens/rod.h"

namespace tokens {

/// Named after the sense each produces (SPC-4 5.17.6.5.2).
enum class TokenState : std::uint8_t { valid, expired, cancelled, revoked, deleted, unknown };

/// COPY MANAGER ROD TOKEN IDENTIFIER.
enum class TokenId : std::uint64_t {};

/// The name of an initiator, shared by everything that remembers it.
class InitiatorName final : public base::RefCounted {
 public:
  explicit InitiatorName(std::string text) : text_(std::move(text)) {}
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// Who named a token last, its making included.
struct TokenUser {
  CopyCommand command = CopyCommand::populate_token;
  base::Ref<const InitiatorName> initiator{};  ///< null: not known
};

/// What ended a token.
enum class TokenEnd : std::uint8_t {
  lifetime,           ///< expired: it was as old as a token may be
  inactivity,         ///< expired: nobody used it for its inactivity timeout
  source_changed,     ///< cancelled: its source was written, and it stands for what was there
  source_shrank,      ///< cancelled: blocks of its source are gone
  source_lost,        ///< cancelled: its source was formatted, sanitized or ejected
  source_removed,     ///< cancelled: the logical unit of its source was removed
  data_lost,          ///< cancelled: its data could not be kept
  command_failed,     ///< cancelled: the command that made it failed after it had
  deleted_by_client,  ///< deleted: a command said DEL_TKN
  on_demand,          ///< any state: by the administrator, or by a rule
};

/// How a token ended; small, since it is kept of many that did.
struct TokenEnding {
  TokenState state = TokenState::unknown;
  TokenEnd cause = TokenEnd::on_demand;
  base::TimePoint at;      ///< when
  base::Duration limit{};  ///< the lifetime or inactivity timeout that was over, of these
  TokenUser last_user{};
};

class TokenObserver {
 public:
  virtual ~TokenObserver() = default;
  /// Called when it is done. May look at the manager, but uses and ends no token.
  virtual void created(TokenId id, const Rod& rod, const TokenUser& maker, base::Duration inactivity_timeout) = 0;
  virtual void used(TokenId id, const Rod& rod, const TokenUser& user) = 0;
  virtual void ended(TokenId id, const Rod& rod, const TokenEnding& ending) = 0;
  /// From now on nobody knows how it ended.
  virtual void forgotten(TokenId id) = 0;
  /// TokenManager::next_sweep() may have become another time.
  virtual void sweep_changed() = 0;
};

}  // namespace tokens
