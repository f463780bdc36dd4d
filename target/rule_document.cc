#include "target/rule_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <iterator>
#include <limits>

#include "scsi/command_table.h"
#include "target/config_profile.h"
#include "target/words.h"

namespace target {
namespace {

namespace json = boost::json;
namespace action = scsi::action;
using scsi::Moment;

constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();  // what TOML can say
constexpr std::uint64_t kLongestDelayMs = 366ull * 24 * 60 * 60 * 1000;
constexpr std::string_view kSenseRule = "sense key, code and qualifier in hexadecimal such as \"05/23/07\"";
constexpr std::string_view kCommandRule =
    "a command by its name (\"WRITE USING TOKEN\", \"READ (10)\", \"READ\" for all its lengths) or its operation code "
    "and service action (\"2Ah\", \"83h/11h\"), or several";

constexpr Word<Moment> kMoments[] = {{"before", Moment::before}, {"after", Moment::after}};
constexpr Word<action::WrongData::How> kData[] = {{"zeros", action::WrongData::How::zeros},
                                                  {"inverted", action::WrongData::How::inverted},
                                                  {"not_written", action::WrongData::How::not_written}};
constexpr Word<action::EndConnection::At> kPlaces[] = {
    {"command", action::EndConnection::At::command},   {"r2t", action::EndConnection::At::r2t},
    {"data_out", action::EndConnection::At::data_out}, {"data_in", action::EndConnection::At::data_in},
    {"response", action::EndConnection::At::response}, {"after_response", action::EndConnection::At::after_response}};
constexpr Word<action::DigestError::Of> kDigests[] = {{"header", action::DigestError::Of::header},
                                                      {"data", action::DigestError::Of::data},
                                                      {"received_data", action::DigestError::Of::received_data}};
constexpr Word<action::AsyncMessage::Event> kEvents[] = {
    {"logout_request", action::AsyncMessage::Event::logout_request},
    {"drop_connection", action::AsyncMessage::Event::drop_connection},
    {"drop_session", action::AsyncMessage::Event::drop_session}};
constexpr Word<bool> kClocks[] = {{"array", false}, {"wire", true}};
constexpr Word<action::EndToken::How> kTokenEnds[] = {{"expire_token", action::EndToken::How::expired},
                                                      {"revoke_token", action::EndToken::How::revoked},
                                                      {"cancel_token", action::EndToken::How::cancelled},
                                                      {"delete_token", action::EndToken::How::deleted},
                                                      {"corrupt_token", action::EndToken::How::corrupted}};

/// One object of the document: the rule itself, its match or its action.
class Keys {
 public:
  Keys(std::string rule, std::string path, const json::object& object, std::initializer_list<std::string_view> known)
      : rule_(std::move(rule)), path_(std::move(path)), object_(object) {
    for (const auto& [key, value] : object)
      if (std::ranges::find(known, std::string_view(key)) == known.end())
        throw RuleError(fmt::format("{}: {} is not a key here; expected {}", rule_, name(key), fmt::join(known, ", ")));
  }

  bool has(std::string_view key) const { return object_.contains(key); }

  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const {
    const json::value* value = object_.if_contains(key);
    throw RuleError(value ? fmt::format("{}: {} is {}; expected {}", rule_, name(key), shown(*value), expected)
                          : fmt::format("{}: {} is missing; expected {}", rule_, name(key), expected));
  }

  std::optional<std::string> text(std::string_view key, std::string_view expected) const {
    const json::value* value = object_.if_contains(key);
    if (!value) return std::nullopt;
    if (!value->is_string() || value->get_string().empty()) refuse(key, expected);
    return std::string(value->get_string());
  }
  std::string text_required(std::string_view key, std::string_view expected) const {
    auto value = text(key, expected);
    if (!value) refuse(key, expected);
    return *value;
  }

  std::optional<std::uint64_t> number(std::string_view key, std::uint64_t low, std::uint64_t high) const {
    const json::value* value = object_.if_contains(key);
    if (!value) return std::nullopt;
    std::optional<std::uint64_t> whole;
    if (value->is_uint64()) whole = value->get_uint64();
    if (value->is_int64() && value->get_int64() >= 0) whole = static_cast<std::uint64_t>(value->get_int64());
    if (value->is_double()) whole = whole_of(value->get_double());  // a scripting language may have no others
    if (whole && *whole >= low && *whole <= high) return whole;
    refuse(key, fmt::format("a whole number from {} to {}", low, high));
  }
  std::uint64_t number_required(std::string_view key, std::uint64_t low, std::uint64_t high) const {
    auto value = number(key, low, high);
    if (!value) refuse(key, fmt::format("a whole number from {} to {}", low, high));
    return *value;
  }
  std::optional<double> real(std::string_view key, double low, double high) const {
    const json::value* value = object_.if_contains(key);
    if (!value) return std::nullopt;
    boost::system::error_code error;
    const auto figure = value->to_number<double>(error);
    if (!error && figure >= low && figure <= high) return figure;
    refuse(key, fmt::format("a number from {} to {}", low, high));
  }
  std::optional<bool> flag(std::string_view key) const {
    const json::value* value = object_.if_contains(key);
    if (!value) return std::nullopt;
    if (!value->is_bool()) refuse(key, "true or false");
    return value->get_bool();
  }
  template <typename T, std::size_t kCount>
  std::optional<T> word(std::string_view key, const Word<T> (&words)[kCount]) const {
    auto written = text(key, one_of(words));
    if (!written) return std::nullopt;
    auto value = find_word(words, *written);
    if (!value) refuse(key, one_of(words));
    return value;
  }
  Keys object(std::string_view key, std::initializer_list<std::string_view> known, std::string_view expected) const {
    const json::value* value = object_.if_contains(key);
    if (!value || !value->is_object()) refuse(key, expected);
    return {rule_, name(key), value->get_object(), known};
  }
  const json::value* find(std::string_view key) const { return object_.if_contains(key); }
  /// Which rule it is, for errors.
  const std::string& of() const { return rule_; }

 private:
  static std::optional<std::uint64_t> whole_of(double figure) {
    constexpr double kExact = 9007199254740992.0;  // 2^53: beyond it, not every whole number is one
    if (figure < 0 || figure > kExact || std::floor(figure) != figure) return std::nullopt;
    return static_cast<std::uint64_t>(figure);
  }
  static std::string shown(const json::value& value) {
    if (value.is_object()) return "a table";
    constexpr std::size_t kLongest = 80;
    std::string text = json::serialize(value);
    return text.size() > kLongest ? text.substr(0, kLongest) + "..." : text;
  }
  std::string name(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

  std::string rule_;
  std::string path_;
  const json::object& object_;
};

std::vector<scsi::CommandCode> read_commands(const Keys& match) {
  const json::value* value = match.find("command");
  if (!value) return {};
  std::vector<scsi::CommandCode> commands;
  auto add = [&](const json::value& name) {
    auto named =
        name.is_string() ? scsi::commands_named(std::string_view(name.get_string())) : std::vector<scsi::CommandCode>();
    if (named.empty()) match.refuse("command", kCommandRule);
    commands.insert(commands.end(), named.begin(), named.end());
  };
  if (!value->is_array()) {
    add(*value);
  } else {
    for (const json::value& each : value->get_array()) add(each);
    if (commands.empty()) match.refuse("command", kCommandRule);
  }
  return commands;
}

std::optional<scsi::LbaRange> read_lba(const Keys& match) {
  constexpr std::string_view kRule = "the first and the last address such as [0, 2047]";
  const json::value* value = match.find("lba");
  if (!value) return std::nullopt;
  if (!value->is_array() || value->get_array().size() != 2) match.refuse("lba", kRule);
  const json::array& ends = value->get_array();
  boost::system::error_code wrong_first, wrong_last;
  auto first = ends[0].to_number<std::uint64_t>(wrong_first);
  auto last = ends[1].to_number<std::uint64_t>(wrong_last);
  if (wrong_first || wrong_last || first > last) match.refuse("lba", kRule);
  return scsi::LbaRange{first, last};
}

scsi::RuleMatch read_match(const Keys& rule) {
  scsi::RuleMatch match;
  if (!rule.has("match")) return match;
  Keys keys = rule.object("match",
                          {"initiator", "target", "lun", "command", "page", "lba", "token", "when_state", "nth",
                           "every_nth", "count", "probability", "seed"},
                          "a table of what a command has to be");
  constexpr std::string_view kNameRule = "an iSCSI name, or the start of one with * behind it";
  match.initiator = keys.text("initiator", kNameRule).value_or("");
  match.target = keys.text("target", kNameRule).value_or("");
  if (const json::value* lun = keys.find("lun")) {
    constexpr std::uint64_t kMostLun = 16383;
    if (lun->is_string())
      match.lun = *keys.text("lun", "the name or the number of a LUN");
    else
      match.lun = fmt::format("{}", *keys.number("lun", 0, kMostLun));
  }
  match.commands = read_commands(keys);
  if (auto page = keys.number("page", 0, 0xFF)) match.page = static_cast<std::uint8_t>(*page);
  match.lba = read_lba(keys);
  match.token = keys.number("token", 1, kMost);
  match.when_state = keys.text("when_state", "the name of a state").value_or("");
  match.nth = keys.number("nth", 1, kMost);
  match.every_nth = keys.number("every_nth", 1, kMost);
  match.count = keys.number("count", 1, kMost);
  match.probability = keys.real("probability", 0, 1);
  match.seed = keys.number("seed", 0, kMost).value_or(0);
  return match;
}

Moment read_moment(const Keys& keys) { return keys.word("when", kMoments).value_or(Moment::before); }

/// "05/23/07".
std::optional<scsi::Sense> parse_sense(std::string_view text) {
  constexpr unsigned kHighestKey = 0xF, kHighestCode = 0xFF;
  constexpr int kHexadecimal = 16;
  unsigned parts[3] = {};
  for (unsigned& part : parts) {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), part, kHexadecimal);
    bool last = &part == std::end(parts) - 1;
    if (error != std::errc{}) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (last ? !text.empty() : !text.starts_with('/')) return std::nullopt;
    if (!last) text.remove_prefix(1);
  }
  if (parts[0] > kHighestKey || parts[1] > kHighestCode || parts[2] > kHighestCode) return std::nullopt;
  scsi::Sense sense;
  sense.key = static_cast<scsi::SenseKey>(parts[0]);
  sense.code = static_cast<scsi::AdditionalSense>(parts[1] << 8 | parts[2]);
  return sense;
}

/// "8000 0004": pairs of digits, with or without spaces between them.
std::optional<std::vector<std::uint8_t>> parse_bytes(std::string_view text) {
  constexpr int kHexadecimal = 16;
  std::string digits;
  std::ranges::copy_if(text, std::back_inserter(digits), [](char each) { return each != ' '; });
  std::vector<std::uint8_t> bytes(digits.size() / 2);
  if (digits.empty() || digits.size() % 2 != 0) return std::nullopt;
  const char* at = digits.data();
  for (std::uint8_t& byte : bytes) {
    if (auto [end, error] = std::from_chars(at, at + 2, byte, kHexadecimal); error != std::errc{} || end != at + 2)
      return std::nullopt;
    at += 2;
  }
  return bytes;
}

// One reader for each type of action. `rule` has the keys of the rule.

scsi::Action read_status(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "status", "when"}, "");
  constexpr std::string_view kRule = "a status such as \"BUSY\" or \"08h\"; CHECK CONDITION has an action \"sense\"";
  auto status = scsi::status_named(keys.text_required("status", kRule));
  if (!status || *status == scsi::Status::check_condition) keys.refuse("status", kRule);
  return action::Fail{*status, {}, read_moment(keys)};
}

scsi::Action read_sense(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "sense", "information", "when"}, "");
  auto sense = parse_sense(keys.text_required("sense", kSenseRule));
  if (!sense) keys.refuse("sense", kSenseRule);
  sense->information = keys.number("information", 0, kMost);
  return action::Fail{scsi::Status::check_condition, *sense, read_moment(keys)};
}

scsi::Action read_delay(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "ms", "when", "clock"}, "");
  auto ms = keys.real("ms", 0, kLongestDelayMs);
  if (!ms) keys.refuse("ms", "milliseconds such as 4100");
  auto time = std::chrono::round<base::Duration>(std::chrono::duration<double, std::milli>(*ms));
  return action::Delay{time, read_moment(keys), keys.word("clock", kClocks).value_or(false)};
}

scsi::Action read_truncate(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "bytes"}, "");
  return action::Truncate{keys.number_required("bytes", 0, kMost)};
}

scsi::Action read_short_copy(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "blocks", "count"}, "");
  constexpr std::uint64_t kMostBlocks = kMost / 4096;
  return action::ShortCopy{keys.number_required("blocks", 0, kMostBlocks), keys.flag("count").value_or(true)};
}

scsi::Action read_wrong_result(const Keys& rule) {
  Keys keys =
      rule.object("action", {"type", "transfer_count", "copy_status", "segments_processed", "descriptors_length"}, "");
  action::WrongResult wrong;
  wrong.transfer_count = keys.number("transfer_count", 0, kMost);
  if (auto status = keys.number("copy_status", 0, 0x7F)) wrong.copy_status = static_cast<std::uint8_t>(*status);
  if (auto segments = keys.number("segments_processed", 0, 0xFFFF))
    wrong.segments_processed = static_cast<std::uint16_t>(*segments);
  if (auto length = keys.number("descriptors_length", 0, 0xFFFF'FFFF))
    wrong.descriptors_length = static_cast<std::uint32_t>(*length);
  if (wrong == action::WrongResult{}) keys.refuse("transfer_count", "one of the fields of the result");
  return wrong;
}

scsi::Action read_wrong_data(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "data"}, "");
  return action::WrongData{keys.word("data", kData).value_or(action::WrongData::How::zeros)};
}

scsi::Action read_edit_data(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "at", "cut", "put", "move_to"}, "");
  constexpr std::string_view kRule =
      "up to 4096 bytes in hexadecimal such as \"8000 0004\"; or cut, alone or with move_to";
  constexpr std::size_t kMostBytes = 4096;
  action::EditData edit{keys.number("at", 0, kMost).value_or(0)};
  if (auto put = keys.text("put", kRule)) {
    auto bytes = parse_bytes(*put);
    if (!bytes || bytes->size() > kMostBytes || keys.has("move_to")) keys.refuse("put", kRule);
    edit.put = std::move(*bytes);
  } else if (!keys.has("cut")) {
    keys.refuse("put", kRule);
  }
  edit.cut = keys.number("cut", edit.put.empty() ? 1 : 0, kMost).value_or(edit.put.size());
  edit.move_to = keys.number("move_to", 0, kMost);
  return edit;
}

template <typename T>
scsi::Action read_plain(const Keys& rule) {
  rule.object("action", {"type"}, "");
  return T{};
}

template <bool kReset>
scsi::Action read_end_connection(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "at", "nth"}, "");
  auto nth = keys.number("nth", 1, 0xFFFF'FFFF).value_or(1);
  return action::EndConnection{keys.word("at", kPlaces).value_or(action::EndConnection::At::response),
                               static_cast<std::uint32_t>(nth), kReset};
}

scsi::Action read_digest_error(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "of", "nth"}, "");
  auto nth = keys.number("nth", 1, 0xFFFF'FFFF).value_or(1);
  return action::DigestError{keys.word("of", kDigests).value_or(action::DigestError::Of::data),
                             static_cast<std::uint32_t>(nth)};
}

template <action::EndToken::How kHow>
scsi::Action read_end_token(const Keys& rule) {
  if constexpr (kHow == action::EndToken::How::corrupted) {
    rule.object("action", {"type"}, "");
    return action::EndToken{kHow};
  } else {
    Keys keys = rule.object("action", {"type", "token", "when"}, "");
    return action::EndToken{kHow, read_moment(keys), keys.number("token", 1, kMost)};
  }
}

scsi::Action read_unreachable(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "a", "b", "refusal", "when"}, "");
  constexpr std::string_view kRule = "the name of a LUN or an array";
  return action::Reach{keys.text_required("a", kRule), keys.text_required("b", kRule), false,
                       keys.word("refusal", kRefusalWords), read_moment(keys)};
}
scsi::Action read_reachable(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "a", "b", "when"}, "");
  constexpr std::string_view kRule = "the name of a LUN or an array";
  return action::Reach{keys.text_required("a", kRule), keys.text_required("b", kRule), true, {}, read_moment(keys)};
}

template <bool kOffered>
scsi::Action read_offer(const Keys& rule) {
  return action::OfferCopies{kOffered, read_moment(rule.object("action", {"type", "when"}, ""))};
}
template <bool kFull>
scsi::Action read_pool(const Keys& rule) {
  return action::FillPool{kFull, read_moment(rule.object("action", {"type", "when"}, ""))};
}

scsi::Action read_async_message(const Keys& rule) {
  Keys keys = rule.object("action", {"type", "event", "seconds"}, "");
  auto seconds = keys.number("seconds", 0, 0xFFFF);
  action::AsyncMessage message{keys.word("event", kEvents).value_or(action::AsyncMessage::Event::logout_request)};
  if (seconds) message.seconds = static_cast<std::uint16_t>(*seconds);
  return message;
}

constexpr Word<scsi::Action (*)(const Keys&)> kTypes[] = {
    {"nothing", read_plain<action::Nothing>},
    {"status", read_status},
    {"sense", read_sense},
    {"delay", read_delay},
    {"truncate", read_truncate},
    {"short_copy", read_short_copy},
    {"wrong_result", read_wrong_result},
    {"wrong_data", read_wrong_data},
    {"edit_data", read_edit_data},
    {"drop_command", read_plain<action::DropCommand>},
    {"drop_response", read_plain<action::DropResponse>},
    {"drop_connection", read_end_connection<false>},
    {"reset_connection", read_end_connection<true>},
    {"digest_error", read_digest_error},
    {"expire_token", read_end_token<action::EndToken::How::expired>},
    {"revoke_token", read_end_token<action::EndToken::How::revoked>},
    {"cancel_token", read_end_token<action::EndToken::How::cancelled>},
    {"delete_token", read_end_token<action::EndToken::How::deleted>},
    {"corrupt_token", read_end_token<action::EndToken::How::corrupted>},
    {"unreachable", read_unreachable},
    {"reachable", read_reachable},
    {"odx_off", read_offer<false>},
    {"odx_on", read_offer<true>},
    {"fill_pool", read_pool<true>},
    {"free_pool", read_pool<false>},
    {"async_message", read_async_message},
};

scsi::Action read_action(const Keys& rule) {
  const json::value* written = rule.find("action");
  if (!written || !written->is_object()) rule.refuse("action", "a table with a type");
  const json::value* type = written->get_object().if_contains("type");
  auto found = std::ranges::find_if(
      kTypes, [&](const auto& each) { return type && type->is_string() && each.word == type->get_string(); });
  if (found != std::end(kTypes)) return found->value(rule);
  throw RuleError(fmt::format("{}: action.type is {}; expected {}", rule.of(),
                              type ? json::serialize(*type) : "missing", one_of(kTypes)));
}

// Writing.

void put_moment(json::object& out, Moment moment) {
  if (moment == Moment::after) out["when"] = word_of(kMoments, moment);
}

json::object written(const action::Nothing&) { return {{"type", "nothing"}}; }
json::object written(const action::Fail& fail) {
  json::object out;
  if (fail.status == scsi::Status::check_condition) {
    out = {{"type", "sense"}, {"sense", scsi::code_text(fail.sense)}};
    if (fail.sense.information) out["information"] = *fail.sense.information;
  } else {
    std::string name = scsi::describe(fail.status);
    if (!scsi::status_named(name)) name = fmt::format("{:02X}h", static_cast<unsigned>(fail.status));
    out = {{"type", "status"}, {"status", name}};
  }
  put_moment(out, fail.moment);
  return out;
}
json::object written(const action::Delay& delay) {
  json::object out{{"type", "delay"}};
  constexpr std::int64_t kMicroseconds = 1000;
  if (delay.time.count() % kMicroseconds == 0)
    out["ms"] = delay.time.count() / kMicroseconds;
  else
    out["ms"] = static_cast<double>(delay.time.count()) / kMicroseconds;
  put_moment(out, delay.moment);
  if (delay.wire_clock) out["clock"] = word_of(kClocks, true);
  return out;
}
json::object written(const action::Truncate& truncate) { return {{"type", "truncate"}, {"bytes", truncate.bytes}}; }
json::object written(const action::ShortCopy& copy) {
  json::object out{{"type", "short_copy"}, {"blocks", copy.blocks}};
  if (!copy.counted) out["count"] = false;
  return out;
}
json::object written(const action::WrongResult& wrong) {
  json::object out{{"type", "wrong_result"}};
  if (wrong.transfer_count) out["transfer_count"] = *wrong.transfer_count;
  if (wrong.copy_status) out["copy_status"] = *wrong.copy_status;
  if (wrong.segments_processed) out["segments_processed"] = *wrong.segments_processed;
  if (wrong.descriptors_length) out["descriptors_length"] = *wrong.descriptors_length;
  return out;
}
json::object written(const action::WrongData& wrong) {
  return {{"type", "wrong_data"}, {"data", word_of(kData, wrong.how)}};
}
json::object written(const action::EditData& edit) {
  json::object out{{"type", "edit_data"}, {"at", edit.at}};
  if (edit.cut != edit.put.size()) out["cut"] = edit.cut;
  if (!edit.put.empty()) out["put"] = fmt::format("{:02X}", fmt::join(edit.put, ""));
  if (edit.move_to) out["move_to"] = *edit.move_to;
  return out;
}
json::object written(const action::DropCommand&) { return {{"type", "drop_command"}}; }
json::object written(const action::DropResponse&) { return {{"type", "drop_response"}}; }
json::object written(const action::EndConnection& end) {
  json::object out{{"type", end.reset ? "reset_connection" : "drop_connection"}, {"at", word_of(kPlaces, end.at)}};
  if (end.nth != 1) out["nth"] = end.nth;
  return out;
}
json::object written(const action::DigestError& error) {
  json::object out{{"type", "digest_error"}, {"of", word_of(kDigests, error.of)}};
  if (error.nth != 1) out["nth"] = error.nth;
  return out;
}
json::object written(const action::EndToken& end) {
  json::object out{{"type", word_of(kTokenEnds, end.how)}};
  if (end.token) out["token"] = *end.token;
  put_moment(out, end.moment);
  return out;
}
json::object written(const action::Reach& reach) {
  json::object out{{"type", reach.reachable ? "reachable" : "unreachable"}, {"a", reach.a}, {"b", reach.b}};
  if (reach.refusal) out["refusal"] = word_of(kRefusalWords, *reach.refusal);
  put_moment(out, reach.moment);
  return out;
}
json::object written(const action::OfferCopies& offer) {
  json::object out{{"type", offer.offered ? "odx_on" : "odx_off"}};
  put_moment(out, offer.moment);
  return out;
}
json::object written(const action::FillPool& pool) {
  json::object out{{"type", pool.full ? "fill_pool" : "free_pool"}};
  put_moment(out, pool.moment);
  return out;
}
json::object written(const action::AsyncMessage& message) {
  json::object out{{"type", "async_message"}, {"event", word_of(kEvents, message.event)}};
  if (message.event == action::AsyncMessage::Event::logout_request) out["seconds"] = message.seconds;
  return out;
}

/// As commands_named() reads it again: by its name, where it has one.
std::string command_text(const scsi::CommandCode& code) {
  for (const scsi::CommandDescriptor& row : scsi::command_table())
    if (row.opcode == code.opcode && row.service_action == code.service_action) return std::string(row.name);
  if (!code.service_action) return fmt::format("{:02X}h", code.opcode);
  return fmt::format("{:02X}h/{:02X}h", code.opcode, *code.service_action);
}

json::object written(const scsi::RuleMatch& match) {
  json::object out;
  if (!match.initiator.empty()) out["initiator"] = match.initiator;
  if (!match.target.empty()) out["target"] = match.target;
  if (!match.lun.empty()) out["lun"] = match.lun;
  if (match.commands.size() == 1) out["command"] = command_text(match.commands.front());
  if (match.commands.size() > 1) {
    json::array& names = out["command"].emplace_array();
    for (const auto& each : match.commands) names.emplace_back(command_text(each));
  }
  if (match.page) out["page"] = *match.page;
  if (match.lba) out["lba"] = json::array{match.lba->first, match.lba->last};
  if (match.token) out["token"] = *match.token;
  if (!match.when_state.empty()) out["when_state"] = match.when_state;
  if (match.nth) out["nth"] = *match.nth;
  if (match.every_nth) out["every_nth"] = *match.every_nth;
  if (match.count) out["count"] = *match.count;
  if (match.probability) {
    out["probability"] = *match.probability;
    out["seed"] = match.seed;
  }
  return out;
}

}  // namespace

scsi::Rule rule_from(const boost::json::value& document) {
  if (!document.is_object()) throw RuleError("a rule is a table with an action");
  const json::object& object = document.get_object();
  const json::value* name = object.if_contains("name");
  Keys keys(name ? fmt::format("rule {}", json::serialize(*name)) : "rule", "", object,
            {"name", "match", "action", "set_state", "id", "origin", "matches", "hits", "spent"});
  scsi::Rule rule;
  rule.name = keys.text("name", "text").value_or("");
  rule.match = read_match(keys);
  rule.action = read_action(keys);
  rule.set_state = keys.text("set_state", "the name of a state").value_or("");
  return rule;
}

boost::json::object rule_document(const scsi::Rule& rule) {
  json::object out;
  if (!rule.name.empty()) out["name"] = rule.name;
  if (auto match = written(rule.match); !match.empty()) out["match"] = std::move(match);
  out["action"] = std::visit([](const auto& each) { return written(each); }, rule.action);
  if (!rule.set_state.empty()) out["set_state"] = rule.set_state;
  return out;
}

boost::json::object rule_document(const scsi::RuleSet::Listed& listed) {
  json::object out{{"id", static_cast<std::uint32_t>(listed.rule.id)},
                   {"origin", listed.rule.from_file ? "file" : "control"}};
  for (auto& [key, value] : rule_document(listed.rule)) out[key] = std::move(value);
  out["matches"] = listed.matches;
  out["hits"] = listed.hits;
  out["spent"] = listed.spent;
  return out;
}

}  // namespace target
