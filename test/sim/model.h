// What an array must answer, kept as plainly as can be: an array of bytes for each logical unit, a copy of the bytes
// for each token, results by I_T nexus, logical unit and list identifier, and pending unit attentions.
//
// Written from the standard's rules and not from the sources it judges: it shares with them the wire layouts of a token
// and the names of sense data, and nothing else. It runs no command: the simulation tells it what was sent and when
// something ended. Thread: one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "scsi/sense.h"
#include "test/scsi/copy_fixture.h"
#include "tokens/rod_token.h"

namespace sim {

using test::Bytes;
using test::Range;
using test::Ranges;

/// The limits of the array under test; the simulation makes its profile from them.
struct Limits {
  std::size_t range_descriptors = 6;
  std::uint64_t transfer_bytes = 384 << 10;
  std::uint32_t maximum_inactivity_timeout_s = 100;
  std::uint32_t default_inactivity_timeout_s = 40;
  std::uint32_t lifetime_s = 150;
  std::size_t tokens = 48;
  std::size_t operations = 10;
  std::size_t results = 100;
};

struct LogicalUnitModel {
  std::string name;
  std::uint32_t block_length = 512;
  bool thin = true;
  Bytes bytes;
  tokens::IdentificationCscdDescriptor creator{};
  std::vector<std::uint16_t> depths{};  ///< through how many tokens each block's data went

  std::uint64_t capacity() const { return bytes.size() / block_length; }
  /// The bytes of the ranges, one after the other.
  Bytes at(const Ranges& ranges) const;
  std::uint8_t* block(std::uint64_t lba) { return bytes.data() + lba * block_length; }
  unsigned depth(const Ranges& ranges) const;
};

enum class TokenEnd : std::uint8_t { none, expired, cancelled, revoked, deleted, forgotten };

struct TokenModel {
  Bytes bytes;          ///< what it stands for
  std::size_t lun = 0;  ///< where it was captured
  unsigned depth = 1;   ///< copies of copies: how many tokens its data went through, this one included
  base::TimePoint created, last_used;
  base::Duration lifetime{}, inactivity_timeout{};
  unsigned commands_in_progress = 0;
  TokenEnd ended = TokenEnd::none;  ///< by what, when not by time
  tokens::RodType type = tokens::RodType::point_in_time_default;
  // Of a token that a change of its source cancels.
  bool vulnerable = false;
  Ranges source{};
  std::uint64_t identifier = 0;  ///< known before a host has it
  bool source_may_have_changed = false, source_has_changed = false;
  /// So many tokens had ended that why this one did may be forgotten before its time (a limit of the array's).
  bool reason_may_be_lost = false;
  std::optional<tokens::RodToken> image{};  ///< once a host has it

  base::TimePoint expires() const;
  base::TimePoint forgotten() const { return created + 2 * lifetime; }
  TokenEnd state(base::TimePoint now) const;
};
using TokenRef = std::shared_ptr<TokenModel>;

/// What a copy operation leaves for RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS.
struct ResultModel {
  std::uint8_t service_action = 0;
  std::uint8_t status = 0x11;
  std::uint64_t transfer_count = 0;
  std::uint8_t completion_status = 0;
  Bytes sense{};
  TokenRef token{};
  bool token_information_kept = true;
  Bytes seen{};  ///< the longest beginning of the token information that a host has read

  bool in_progress() const { return (status & 0xF0) == 0x10; }
};
using ResultRef = std::shared_ptr<ResultModel>;

/// A POPULATE TOKEN or WRITE USING TOKEN parameter list, with what may be wrong in its lengths.
struct CopyRequest {
  enum class Defect : std::uint8_t { none, list_too_short, data_length, descriptor_length };
  Ranges ranges{};
  Defect defect = Defect::none;
  std::uint8_t flags = 0;
  std::uint32_t timeout_s = 0;  ///< POPULATE TOKEN
  std::uint32_t rod_type = 0;   ///< POPULATE TOKEN with RTV
  std::uint64_t offset = 0;     ///< WRITE USING TOKEN, blocks
  tokens::RodToken token{};     ///< WRITE USING TOKEN

  std::uint64_t blocks() const;
};

/// A token that a WRITE USING TOKEN may use, or why not; null: the zero token.
struct Judged {
  std::optional<scsi::Sense> refusal{};
  TokenRef token{};  ///< also of one that has ended
};

class Model {
 public:
  Model(Limits limits, const base::Clock& clock) : limits_(limits), clock_(clock) {}

  const Limits& limits() const { return limits_; }
  std::vector<LogicalUnitModel> logical_units{};
  std::set<std::pair<std::size_t, std::size_t>> unreachable{};  ///< pairs, both ways

  // What a command is refused with, when it is.
  std::optional<scsi::Sense> judge_block_range(std::size_t lun, std::uint64_t lba, std::uint64_t blocks) const;
  std::optional<scsi::Sense> judge_unmap(std::size_t lun, const Ranges& ranges) const;
  std::optional<scsi::Sense> judge_populate(std::size_t lun, const CopyRequest& request) const;
  std::optional<scsi::Sense> judge_write_using_list(std::size_t lun, const CopyRequest& request) const;
  Judged judge_token(const tokens::RodToken& image) const;
  /// After its token was good.
  std::optional<scsi::Sense> judge_rod(std::size_t lun, const CopyRequest& request, const TokenModel& token) const;

  // Copy operations. Keys: nexus, logical unit, list identifier.
  using Key = std::tuple<std::size_t, std::size_t, std::uint32_t>;
  /// Takes the list identifier, or says why not. One too many takes it too, to leave a result.
  std::optional<scsi::Sense> begin_operation(const Key& key, std::uint8_t service_action, ResultRef& result);
  void finish_operation(const ResultRef& result);
  ResultRef find_result(const Key& key) const;
  /// Of all results; or of those with a token that nobody has read.
  std::vector<Key> keys(bool with_token) const;
  void nexus_lost(std::size_t nexus);
  void logical_unit_reset(std::size_t lun);
  std::size_t results() const { return results_.size(); }

  // Tokens.
  bool room_for_token() const;
  TokenRef create_token(std::size_t lun, Bytes bytes, std::uint32_t timeout_s);
  /// What ended a token is remembered of so many only: from here on the reason of each may be lost.
  void lose_reasons();
  void begin_use(TokenModel& token) { ++token.commands_in_progress; }
  /// Blocks of a logical unit may be about to change, or have changed.
  void source_changes(std::size_t lun, std::uint64_t first, std::uint64_t end, bool surely);
  void end_use(TokenModel& token);
  void end(TokenModel& token, TokenEnd reason) const;
  /// A host has read its token: what its bytes say must be true. Empty: it is.
  std::string learn(TokenModel& token, const tokens::RodToken& image);
  std::size_t valid_tokens() const;
  const std::vector<TokenRef>& tokens() const { return tokens_; }
  void forget_old_tokens();

  // Unit attentions.
  void establish(std::size_t nexus, std::size_t lun, scsi::AdditionalSense code);
  std::optional<scsi::Sense> take_unit_attention(std::size_t nexus, std::size_t lun);
  void forget_unit_attentions(std::size_t nexus);

 private:
  std::optional<scsi::Sense> judge_lists_end(std::size_t lun, const CopyRequest& request,
                                             std::size_t length_field) const;
  void drop(std::map<Key, ResultRef>::iterator result);

  Limits limits_;
  const base::Clock& clock_;
  std::map<Key, ResultRef> results_{};
  std::deque<ResultRef> by_age_{};  ///< finished and kept, oldest first
  std::size_t in_progress_ = 0;
  std::vector<TokenRef> tokens_{};
  std::vector<tokens::RodToken> forgotten_{};  ///< of tokens so old that they stand for nothing any more
  std::set<std::uint64_t> token_identifiers_{};
  std::optional<std::array<std::uint8_t, 16>> key_epoch_{};
  std::map<std::pair<std::size_t, std::size_t>, std::set<scsi::AdditionalSense>> unit_attentions_{};
};

}  // namespace sim
