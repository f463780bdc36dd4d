// All ROD tokens of an array: made, judged, used, ended, forgotten.
//
// A token's state is a pure function of its record and the time; sweeping frees memory, and lets the observer know in
// time. A token that ended is remembered with its reason until twice its lifetime has passed (SPC-4 5.17.6.5), in a
// tombstone of some 100 bytes with a limit of its own. Knows no CDB and no sense data. Thread: the loop's.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "tokens/rod.h"
#include "tokens/rod_token.h"
#include "tokens/token_events.h"
#include "tokens/token_index.h"

namespace tokens {

/// Why a token cannot be used, or made.
enum class TokenError : std::uint8_t {
  unsupported_type,      ///< 23h/01h
  remote_not_supported,  ///< 23h/02h: another array's copy manager made it
  unknown,               ///< 23h/04h: never existed, forgotten, or from before a restart
  corrupt,               ///< 23h/05h
  revoked,               ///< 23h/06h
  expired,               ///< 23h/07h
  cancelled,             ///< 23h/08h
  deleted,               ///< 23h/09h
  invalid_length,        ///< 23h/0Ah
  too_many_tokens,       ///< the limit on tokens is reached
};

/// Everything a token's state depends on, apart from the time.
struct TokenRecord {
  base::TimePoint created;
  base::Duration lifetime{};
  base::Duration inactivity_timeout{};  ///< zero: none
  base::TimePoint last_used;            ///< creation, or the end of the last command that named it
  std::uint32_t commands_in_progress = 0;
  TokenState ended = TokenState::valid;  ///< any other, when something ended it early

  /// When it ends by itself while nobody uses it: of lifetime and inactivity the earlier.
  base::TimePoint expires() const;
  /// From when on even the reason of its end is forgotten: twice the lifetime.
  base::TimePoint forgotten() const { return created + 2 * lifetime; }
};

/// The state at `now`. What ended a token first is its state from then on; a limit is reached at its very microsecond.
TokenState state_of(const TokenRecord& record, base::TimePoint now);

struct TokenLimits {
  std::size_t tokens = 65536;       ///< beyond: TokenError::too_many_tokens
  std::size_t tombstones = 262144;  ///< beyond: the one that would be forgotten first goes, and is unknown from then on
  base::Duration lifetime = std::chrono::hours(1);
  std::vector<RodTypeSupport> rod_types = all_rod_types();  ///< tokens of other types are refused
};

/// What a new token says about itself, apart from what the manager fills in.
struct NewToken {
  RodRef rod;
  std::optional<base::Duration> lifetime{};  ///< absent: TokenLimits::lifetime
  base::Duration inactivity_timeout{};       ///< zero: none
  IdentificationCscdDescriptor creator{};
  BlockDeviceRodData block_device{};
  std::array<std::uint8_t, kTargetDeviceDescriptorSize> target_device_descriptor{};
  TokenUser maker{};
};

class TokenManager;

/// A token while a command names it: its inactivity time stands still, and starts over when this ends. The data
/// stays usable even when the token ends meanwhile.
class TokenUse {
 public:
  TokenUse(TokenUse&& other) noexcept;
  TokenUse& operator=(TokenUse&& other) noexcept;
  ~TokenUse();

  /// The well-known zero token: no rod, no id.
  bool zero() const { return !rod_; }
  TokenId id() const { return id_; }
  const RodRef& rod() const { return rod_; }

  // Ends the token, whichever array's it is; the well-known one has no end.
  void delete_by_client() const;  ///< DEL_TKN
  void cancel() const;            ///< its data could not be kept

 private:
  friend class TokenManager;
  TokenUse() = default;
  TokenUse(TokenManager& manager, TokenId id, RodRef rod) : manager_(&manager), id_(id), rod_(std::move(rod)) {}

  TokenManager* manager_ = nullptr;
  TokenId id_{};
  RodRef rod_;
};

class TokenManager {
 public:
  /// References outlive the manager; the manager outlives every TokenUse.
  TokenManager(TokenLimits limits, const base::Clock& clock, base::Entropy& entropy);
  ~TokenManager();

  /// Tokens with this creator are ours. A token of any other creator is remote (23h/02h).
  void add_creator(const IdentificationCscdDescriptor& creator);
  bool created_here(const RodToken& token) const;

  /// Errors: too_many_tokens.
  std::expected<RodToken, TokenError> create(NewToken token);

  /// Who is told what happens; null: nobody. Outlives its use.
  void set_observer(TokenObserver* observer) { observer_ = observer; }

  /// Judges a token and begins its use by `user`. In this order: type, length, creator, key epoch, seal, state.
  /// Transfers nothing and restarts nothing when it fails.
  std::expected<TokenUse, TokenError> use(const RodToken& token, TokenUser user = {});

  /// The identifier of a token that this manager made since its start and nobody altered; nothing for any other.
  std::optional<TokenId> genuine(const RodToken& token);
  /// Which one it is of those made since the start, counted from 1; 0: none of them. For people: identifiers are long.
  std::uint64_t number(TokenId id) const;
  TokenId id_of(std::uint64_t number) const { return TokenId{first_id_ + number - 1}; }

  /// The state of a token by its identifier, now.
  TokenState state(TokenId id) const;
  /// How a token ended, as long as that is remembered; nothing for one that is valid, never was or is forgotten.
  std::optional<TokenEnding> ending(TokenId id) const;

  // Ending a token early. One that has ended already keeps its first reason; an unknown one is ignored.
  void delete_by_client(TokenId id) { end(id, TokenState::deleted, TokenEnd::deleted_by_client); }  ///< DEL_TKN
  void revoke(TokenId id) { end(id, TokenState::revoked, TokenEnd::on_demand); }  ///< by the administrator
  void expire(TokenId id) { end(id, TokenState::expired, TokenEnd::on_demand); }  ///< before its time
  void cancel(TokenId id, TokenEnd cause = TokenEnd::on_demand) { end(id, TokenState::cancelled, cause); }

  /// All there are, and those that ended, are unknown from now on, as after a restart: at once, however many there are.
  /// Their memory comes back with free_forgotten(), from which the observer hears of those that lived, in the order of
  /// their creation.
  void forget_all();
  /// Frees at most `most` of them. Returns whether there are more.
  bool free_forgotten(std::size_t most);

  /// A valid token, for whoever wants to know which there are.
  struct Description {
    TokenId id;
    const Rod& rod;
    base::TimePoint created;
    base::TimePoint expires;
    const TokenRecord& record;
    const TokenUser& last_user;
  };
  using Visit = std::function<void(const Description&)>;
  /// Calls `visit` for valid tokens, `most` at most, in the order of their creation; gives how many there are. Passes
  /// by kMostPassedBy at most that have ended and are not swept yet: where there are more of them, those behind count
  /// as valid, and are not visited.
  std::size_t for_each(std::size_t most, const Visit& visit);
  /// The same for those of one logical unit's data.
  std::size_t for_each_of(const std::array<std::uint8_t, 16>& logical_unit, std::size_t most, const Visit& visit);

  /// Which of the valid tokens are wanted.
  struct Wanted {
    const std::string* source = nullptr;  ///< only those of the source of this name
    TokenId after{};                      ///< only those made after this one, which may have ended; 0: all
    std::size_t most = SIZE_MAX;
  };
  /// Calls `visit` for them in the order of their creation. Returns what `after` is to be to go on; nothing when there
  /// are no more. The cost is that of `most` tokens, however many there are: kMostPassedBy others are passed by at
  /// most, so that a page may have fewer than `most`, or none, and a next one all the same. Whoever goes on from page
  /// to page sees each token once that is valid all the time.
  std::optional<TokenId> page(const Wanted& wanted, const Visit& visit);
  /// How many valid ones there are, as for_each() counts: all, or those of the source of this name.
  std::size_t count(const std::string* source = nullptr) const { return count_of(sources_of(source)); }
  /// The one that was made last, whatever has become of it; where none was, one that sorts before all.
  TokenId newest() const { return TokenId{next_id_ - 1}; }
  /// Nothing when it is not valid; state() says why. Until the next call that changes anything.
  std::optional<Description> find(TokenId id) const;

  /// Cancels every token of a logical unit's data, which was removed or lost: at once, however many there are. The
  /// observer hears of the first kCancelledAtOnce at once, too, and of the others as they are swept.
  void cancel_of(const std::array<std::uint8_t, 16>& logical_unit, TokenEnd cause);
  static constexpr std::size_t kCancelledAtOnce = 64;
  /// The same for those for whose ROD `lost` says true, now and whenever it is asked. Those that are not swept yet
  /// count as tokens.
  void cancel_of(const std::array<std::uint8_t, 16>& logical_unit, const std::function<bool(const Rod&)>& lost,
                 TokenEnd cause);

  /// The body of a token as REPORT ALL ROD TOKENS lists it: its first 96 bytes (SPC-4 6.25).
  static RodToken image_of(const Description& token, const IdentificationCscdDescriptor& creator);

  /// Frees what ended and forgets what is to be forgotten, at most `budget` tokens of each. Judging never depends
  /// on it. create() and for_each_of() sweep kSweptByCall, so that an idle loop need not.
  void sweep(std::size_t budget = 64);
  static constexpr std::size_t kSweptByCall = 8;
  static constexpr std::size_t kMostPassedBy = 1024;
  /// Tokens that are looked at for each that sweep() may end, where a condition says which of them are cancelled.
  static constexpr std::size_t kLooksForOne = 8;
  /// When sweep() next has something to do: a token ends, or one that did is forgotten; the far future when never.
  base::TimePoint next_sweep() const;

  /// Valid tokens, and those that ended but are not swept yet.
  std::size_t tokens() const { return live_.size(); }
  std::size_t tombstones() const { return tombstones_.size(); }

 private:
  friend class TokenUse;

  /// When and why tokens were cancelled.
  using Cancellation = std::pair<base::TimePoint, TokenEnd>;
  /// Some tokens of a source were cancelled. They wait to be swept with those that were not.
  struct Loss {
    Cancellation cancellation;
    std::function<bool(const Rod&)> lost;
    TokenId newest;  ///< what was made later is not concerned
    TokenId next;    ///< the first that was not looked at; 0: none is left
  };
  /// The live tokens of one source, in the order of their creation.
  struct OfSource {
    TokenId oldest{}, newest{};
    std::size_t count = 0;
    /// When and why all of them were cancelled that had not expired; then they only wait to be swept.
    std::optional<Cancellation> cancelled{};
    std::deque<Loss> losses{};
  };
  /// Designator and name: what is one logical unit to hosts may have several names.
  using SourceKey = std::pair<std::array<std::uint8_t, 16>, std::string>;
  struct Live {
    TokenRecord record;
    RodRef rod;
    base::TimePoint due;  ///< its key in by_due_: when it ends by itself
    TokenUser last_user;
    OfSource* source = nullptr;
    TokenId older{}, newer{};  ///< of the same source; 0: none
  };
  struct Tombstone {
    TokenEnding ending;
    base::TimePoint forgotten;
  };
  using Due = std::pair<base::TimePoint, TokenId>;
  using LiveAt = std::unordered_map<TokenId, Live>::iterator;

  /// What forget_all() took away.
  struct Past {
    std::unordered_map<TokenId, Live> live;
    TokenIndex index;
    std::set<Due> by_due;
    std::map<TokenId, Tombstone> tombstones;
    std::set<Due> by_forgotten;
  };

  static Description description(TokenId id, const Live& live);
  TokenState state_of_live(TokenId id, const Live& live) const;
  static TokenEnding ending_of(TokenId id, const Live& live);  ///< of one that has ended
  static std::optional<Cancellation> cancellation_of(TokenId id, const Live& live);
  std::size_t count_of(const std::vector<const OfSource*>& sources) const;
  std::size_t visit_of(const std::vector<const OfSource*>& sources, std::size_t most, const Visit& visit);
  std::vector<const OfSource*> sources_of(const std::array<std::uint8_t, 16>& logical_unit) const;
  std::vector<const OfSource*> sources_of(const std::string* name) const;
  TokenId next_live(TokenId id) const;
  std::size_t sweep_cancelled(std::size_t budget);
  std::size_t sweep_losses(std::size_t budget);
  void end(TokenId id, TokenState state, TokenEnd cause);
  void end_use(TokenId id);
  void bury(LiveAt token, TokenEnding ending);
  void link(TokenId id, Live& live);
  void unlink(TokenId id, const Live& live);
  /// Its end by itself has become another time.
  void reschedule(LiveAt token);
  void forget_first();
  const Tombstone* tombstone(TokenId id) const;

  TokenLimits limits_;
  const base::Clock& clock_;
  base::Entropy& entropy_;
  TokenSeal seal_;
  const std::uint64_t first_id_;
  std::uint64_t next_id_ = first_id_;
  std::set<std::array<std::uint8_t, sizeof(IdentificationCscdDescriptor)>> creators_;
  std::unordered_map<TokenId, Live> live_;
  TokenIndex index_;  ///< of live_, by number()
  std::map<SourceKey, std::unique_ptr<OfSource>> by_source_;
  std::list<std::unique_ptr<OfSource>> cancelled_;  ///< no longer in by_source_
  std::size_t cancelled_tokens_ = 0;                ///< of these
  std::list<OfSource*> losing_;                     ///< of by_source_: those with losses to be swept
  std::set<Due> by_due_;
  std::map<TokenId, Tombstone> tombstones_;  // which would take long to be hashed anew when there are many
  std::set<Due> by_forgotten_;
  std::list<Past> past_;
  TokenObserver* observer_ = nullptr;
};

}  // namespace tokens
