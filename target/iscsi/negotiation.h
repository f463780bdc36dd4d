// The keys of RFC 7143, 13, as one table: how each is answered, where it may be offered, and what holds when nobody
// says anything. Owns the values negotiated for one connection. Knows no PDU. Thread: the loop's.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "target/iscsi/node.h"
#include "target/iscsi/text_keys.h"

namespace iscsi {

enum class Key : std::uint8_t {
  auth_method,
  header_digest,
  data_digest,
  max_connections,
  send_targets,
  target_name,
  initiator_name,
  target_alias,
  initiator_alias,
  target_address,
  target_portal_group_tag,
  initial_r2t,
  immediate_data,
  max_recv_data_segment_length,
  max_burst_length,
  first_burst_length,
  default_time2wait,
  default_time2retain,
  max_outstanding_r2t,
  data_pdu_in_order,
  data_sequence_in_order,
  error_recovery_level,
  session_type,
  task_reporting,
  protocol_level,
  if_marker,
  of_marker,
  if_mark_int,
  of_mark_int,
  node_architecture,
};
inline constexpr std::size_t kKeyCount = static_cast<std::size_t>(Key::node_architecture) + 1;

/// How an offer is answered.
enum class KeyFunction : std::uint8_t {
  list_digest,      ///< the first entry we support; value: whether it is CRC32C
  list_reporting,   ///< likewise, of TaskReporting
  boolean_and,      ///< Yes when both say Yes
  boolean_or,       ///< No when both say No
  minimum,          ///< the smaller number
  maximum,          ///< the larger one
  declared_number,  ///< each side's own statement
  declared_text,    ///< likewise; for the log
  refused_no,       ///< obsolete, answered No (RFC 7143, 13.25)
  refused,          ///< obsolete, answered Reject
  handled,          ///< by the login phase or the discovery (names, AuthMethod, SendTargets)
  target_only,      ///< a key that only a target may send
};

/// Where a key may be offered.
enum KeyUse : std::uint8_t {
  kInSecurity = 1,      ///< SecurityNegotiation
  kInOperational = 2,   ///< LoginOperationalNegotiation
  kInFullFeature = 4,   ///< Text requests
  kNotInDiscovery = 8,  ///< answered Irrelevant in discovery sessions
  kLeadingOnly = 16,    ///< for the whole session: answered Irrelevant in a login that adds a connection
};

struct KeyRow {
  Key key;
  std::string_view name;
  KeyFunction function;
  std::uint8_t use;       ///< KeyUse bits
  std::uint64_t low = 0;  ///< of numbers
  std::uint64_t high = 0;
  std::uint64_t initial = 0;  ///< what holds when it is never offered
};

std::span<const KeyRow> key_table();
const KeyRow* find_key(std::string_view name);

enum class NegotiationStage : std::uint8_t { security, operational, full_feature };

/// The values in force; RFC 7143's defaults where nothing was said.
class Parameters {
 public:
  Parameters();
  std::uint64_t value(Key key) const { return values_[static_cast<std::size_t>(key)]; }
  std::uint32_t number(Key key) const { return static_cast<std::uint32_t>(value(key)); }
  bool yes(Key key) const { return value(key) != 0; }
  void set(Key key, std::uint64_t value) { values_[static_cast<std::size_t>(key)] = value; }

 private:
  std::array<std::uint64_t, kKeyCount> values_{};
};

class Negotiation {
 public:
  /// `leading`: of the login that opens the session (TSIH 0), not of one that adds or reinstates a connection.
  Negotiation(const Limits& ours, bool discovery, bool leading = true)
      : ours_(&ours), discovery_(discovery), leading_(leading) {}

  /// Answers all offers of one complete text, in their order; keys whose function is `handled` are passed over.
  /// Only what was offered is answered (WINDOWS: anything else makes it log in again).
  /// The error names a rule whose breach ends the negotiation: a key negotiated twice (RFC 7143, 6.3).
  std::expected<void, std::string> exchange(std::span<const TextPair> offers, NegotiationStage stage,
                                            std::string& answers);

  const Parameters& parameters() const { return parameters_; }
  /// The values that hold for the whole session are those of `session`.
  void take_session_wide(const Parameters& session);

 private:
  enum class Answer : std::uint8_t { none, value, reject, irrelevant, not_understood, no };
  struct Reply {
    const KeyRow* row = nullptr;
    Answer answer = Answer::none;
  };

  std::expected<Reply, std::string> consider(const TextPair& offer, NegotiationStage stage);
  Answer evaluate(const KeyRow& row, std::string_view value);
  Answer evaluate_list(const KeyRow& row, std::string_view value);
  std::uint64_t ours(Key key) const;
  std::string text_of(const KeyRow& row) const;

  const Limits* ours_;
  bool discovery_;
  bool leading_;
  Parameters parameters_;
  std::bitset<kKeyCount> negotiated_;
};

}  // namespace iscsi
