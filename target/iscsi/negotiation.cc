#include "target/iscsi/negotiation.h"

#include <fmt/format.h>

#include <algorithm>

#include "target/iscsi/pdu.h"

namespace iscsi {
namespace {

constexpr std::uint8_t kLogin = kInSecurity | kInOperational;
constexpr std::uint8_t kAnywhere = kLogin | kInFullFeature;
constexpr std::uint8_t kOperationalNormal = kInOperational | kNotInDiscovery;
constexpr std::uint8_t kSessionWide = kOperationalNormal | kLeadingOnly;
constexpr std::uint64_t kMaxLength = kMaxDataSegmentLength;

using enum KeyFunction;

// RFC 7143, 13: the "Use", "Scope" and "Irrelevant when" lines, defaults, ranges and result functions. The times and
// ErrorRecoveryLevel are negotiated in discovery sessions too; open-iscsi takes nothing but 0 for the latter there.
constexpr std::array<KeyRow, kKeyCount> kTable{{
    {Key::auth_method, "AuthMethod", handled, kInSecurity},
    {Key::header_digest, "HeaderDigest", list_digest, kInOperational},
    {Key::data_digest, "DataDigest", list_digest, kInOperational},
    {Key::max_connections, "MaxConnections", minimum, kSessionWide, 1, 65535, 1},
    {Key::send_targets, "SendTargets", handled, kInFullFeature},
    {Key::target_name, "TargetName", handled, kLogin},
    {Key::initiator_name, "InitiatorName", handled, kLogin},
    {Key::target_alias, "TargetAlias", target_only, 0},
    {Key::initiator_alias, "InitiatorAlias", declared_text, kAnywhere},
    {Key::target_address, "TargetAddress", target_only, 0},
    {Key::target_portal_group_tag, "TargetPortalGroupTag", target_only, 0},
    {Key::initial_r2t, "InitialR2T", boolean_or, kSessionWide, 0, 1, 1},
    {Key::immediate_data, "ImmediateData", boolean_and, kSessionWide, 0, 1, 1},
    {Key::max_recv_data_segment_length, "MaxRecvDataSegmentLength", declared_number, kInOperational | kInFullFeature,
     512, kMaxLength, kDefaultMaxRecvDataSegmentLength},
    {Key::max_burst_length, "MaxBurstLength", minimum, kSessionWide, 512, kMaxLength, 262144},
    {Key::first_burst_length, "FirstBurstLength", minimum, kSessionWide, 512, kMaxLength, 65536},
    {Key::default_time2wait, "DefaultTime2Wait", maximum, kInOperational | kLeadingOnly, 0, 3600, 2},
    {Key::default_time2retain, "DefaultTime2Retain", minimum, kInOperational | kLeadingOnly, 0, 3600, 20},
    {Key::max_outstanding_r2t, "MaxOutstandingR2T", minimum, kSessionWide, 1, 65535, 1},
    {Key::data_pdu_in_order, "DataPDUInOrder", boolean_or, kSessionWide, 0, 1, 1},
    {Key::data_sequence_in_order, "DataSequenceInOrder", boolean_or, kSessionWide, 0, 1, 1},
    {Key::error_recovery_level, "ErrorRecoveryLevel", minimum, kInOperational | kLeadingOnly, 0, 2, 0},
    {Key::session_type, "SessionType", handled, kLogin},
    {Key::task_reporting, "TaskReporting", list_reporting, kSessionWide},
    {Key::protocol_level, "iSCSIProtocolLevel", minimum, kSessionWide, 0, 31, 1},
    {Key::if_marker, "IFMarker", refused_no, kInOperational},
    {Key::of_marker, "OFMarker", refused_no, kInOperational},
    {Key::if_mark_int, "IFMarkInt", refused, kInOperational},
    {Key::of_mark_int, "OFMarkInt", refused, kInOperational},
    {Key::node_architecture, "X#NodeArchitecture", declared_text, kAnywhere},
}};

consteval bool table_is_in_key_order() {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (static_cast<std::size_t>(kTable[i].key) != i) return false;
  return true;
}
static_assert(table_is_in_key_order());

bool is_negotiated(KeyFunction function) {
  switch (function) {
    case list_digest:
    case list_reporting:
    case boolean_and:
    case boolean_or:
    case minimum:
    case maximum:
    case refused_no:
    case refused: return true;
    case declared_number:
    case declared_text:
    case handled:
    case target_only: return false;
  }
  return false;
}

KeyUse use_in(NegotiationStage stage) {
  switch (stage) {
    case NegotiationStage::security: return kInSecurity;
    case NegotiationStage::operational: return kInOperational;
    case NegotiationStage::full_feature: return kInFullFeature;
  }
  return kInFullFeature;
}

/// The reserved answers of RFC 7143, 6.2: a peer that sends one has nothing to negotiate.
/// DEVIATION: as an offer they are a protocol error, but cannot be told from an answer to what we declared.
bool is_answer(std::string_view value) {
  return value == "NotUnderstood" || value == "Irrelevant" || value == "Reject";
}

}  // namespace

std::span<const KeyRow> key_table() { return kTable; }

const KeyRow* find_key(std::string_view name) {
  auto found = std::ranges::find(kTable, name, &KeyRow::name);
  return found == kTable.end() ? nullptr : &*found;
}

Parameters::Parameters() {
  for (const KeyRow& row : kTable) set(row.key, row.initial);
}

std::uint64_t Negotiation::ours(Key key) const {
  switch (key) {
    case Key::initial_r2t: return ours_->initial_r2t;
    case Key::immediate_data: return ours_->immediate_data;
    case Key::max_recv_data_segment_length: return ours_->max_recv_data_segment_length;
    case Key::max_burst_length: return ours_->max_burst_length;
    case Key::first_burst_length: return ours_->first_burst_length;
    case Key::max_outstanding_r2t: return ours_->max_outstanding_r2t;
    case Key::data_pdu_in_order:
    case Key::data_sequence_in_order: return 1;
    case Key::max_connections: return ours_->max_connections_per_session;
    case Key::protocol_level: return 1;
    default: return 0;  // ErrorRecoveryLevel 0; no time to wait and, without recovery, none to retain
  }
}

void Negotiation::take_session_wide(const Parameters& session) {
  for (const KeyRow& row : kTable)
    if (row.use & kLeadingOnly) parameters_.set(row.key, session.value(row.key));
}

std::expected<void, std::string> Negotiation::exchange(std::span<const TextPair> offers, NegotiationStage stage,
                                                       std::string& answers) {
  std::array<Reply, kMaxTextPairs> replies;
  for (std::size_t i = 0; i < offers.size(); ++i) {
    auto reply = consider(offers[i], stage);
    if (!reply) return std::unexpected(std::move(reply.error()));
    replies[i] = *reply;
  }
  // Only now: the order of the keys in a text means nothing (RFC 7143, 13.14).
  std::uint64_t max_burst = parameters_.number(Key::max_burst_length);
  parameters_.set(Key::first_burst_length,
                  std::min<std::uint64_t>(parameters_.number(Key::first_burst_length), max_burst));
  for (std::size_t i = 0; i < offers.size(); ++i) {
    switch (replies[i].answer) {
      case Answer::none: break;
      case Answer::value: append_pair(answers, offers[i].key, text_of(*replies[i].row)); break;
      case Answer::reject: append_pair(answers, offers[i].key, "Reject"); break;
      case Answer::irrelevant: append_pair(answers, offers[i].key, "Irrelevant"); break;
      case Answer::not_understood: append_pair(answers, offers[i].key, "NotUnderstood"); break;
      case Answer::no: append_pair(answers, offers[i].key, "No"); break;
    }
  }
  return {};
}

std::expected<Negotiation::Reply, std::string> Negotiation::consider(const TextPair& offer, NegotiationStage stage) {
  const KeyRow* row = find_key(offer.key);
  if (is_answer(offer.value)) return Reply{row, Answer::none};
  if (!row) return Reply{nullptr, Answer::not_understood};
  if (row->function == handled) {
    return Reply{row, (row->use & use_in(stage)) ? Answer::none : Answer::reject};
  }
  if (row->function == target_only || !(row->use & use_in(stage))) return Reply{row, Answer::reject};
  if (is_negotiated(row->function)) {
    auto bit = static_cast<std::size_t>(row->key);
    if (negotiated_[bit]) return std::unexpected(fmt::format("{} negotiated twice", row->name));
    negotiated_.set(bit);
  }
  if (discovery_ && (row->use & kNotInDiscovery)) return Reply{row, Answer::irrelevant};
  if (!leading_ && (row->use & kLeadingOnly)) return Reply{row, Answer::irrelevant};
  Answer answer = evaluate(*row, offer.value);
  // Our own MaxRecvDataSegmentLength is told once, in the login.
  if (row->function == declared_number && answer == Answer::value && stage == NegotiationStage::full_feature)
    answer = Answer::none;
  return Reply{row, answer};
}

Negotiation::Answer Negotiation::evaluate(const KeyRow& row, std::string_view value) {
  switch (row.function) {
    case list_digest:
    case list_reporting: return evaluate_list(row, value);
    case boolean_and:
    case boolean_or: {
      auto offered = parse_boolean(value);
      if (!offered) return Answer::reject;
      bool own = ours(row.key) != 0;
      parameters_.set(row.key, row.function == boolean_and ? (*offered && own) : (*offered || own));
      return Answer::value;
    }
    case minimum:
    case maximum:
    case declared_number: {
      auto offered = parse_number(value);
      if (!offered || *offered < row.low || *offered > row.high) return Answer::reject;
      std::uint64_t result = *offered;
      if (row.function == minimum) result = std::min(result, ours(row.key));
      if (row.function == maximum) result = std::max(result, ours(row.key));
      parameters_.set(row.key, result);
      return Answer::value;
    }
    case refused_no: return Answer::no;
    case refused:
    case target_only: return Answer::reject;
    case declared_text:
    case handled: return Answer::none;
  }
  return Answer::reject;
}

Negotiation::Answer Negotiation::evaluate_list(const KeyRow& row, std::string_view value) {
  while (true) {
    std::size_t comma = value.find(',');
    std::string_view entry = value.substr(0, comma);
    if (row.function == list_digest && (entry == "None" || entry == "CRC32C")) {
      parameters_.set(row.key, entry == "CRC32C");
      return Answer::value;
    }
    if (row.function == list_reporting && entry == "RFC3720") return Answer::value;
    if (comma == std::string_view::npos) return Answer::reject;
    value.remove_prefix(comma + 1);
  }
}

std::string Negotiation::text_of(const KeyRow& row) const {
  switch (row.function) {
    case list_digest: return parameters_.yes(row.key) ? "CRC32C" : "None";
    case list_reporting: return "RFC3720";
    case boolean_and:
    case boolean_or: return parameters_.yes(row.key) ? "Yes" : "No";
    case declared_number: return fmt::format("{}", ours(row.key));
    default: return fmt::format("{}", parameters_.number(row.key));
  }
}

}  // namespace iscsi
