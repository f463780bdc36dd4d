// ROD tokens: which there are, how long they have, and their end.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <memory>
#include <optional>

#include "scsi/copy_manager.h"
#include "scsi/token_words.h"
#include "target/config_profile.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"
#include "tokens/token_manager.h"

namespace target::control {
namespace {

namespace json = boost::json;
using tokens::TokenId;
using tokens::TokenManager;
using tokens::TokenState;

constexpr std::uint64_t kHighestLimit = 1000;
constexpr std::size_t kTokensOfAStep = 16;  // some hundred microseconds

constexpr Field kTokenFields[] = {
    {.name = "id", .about = "COPY MANAGER ROD TOKEN IDENTIFIER, 16 hexadecimal digits"},
    {.name = "number", .kind = Kind::whole, .about = "of those its array made, from 1; what the journal calls it"},
    {.name = "array", .about = "the array that made it"},
    {.name = "source", .about = "the LUN its data is of"},
    {.name = "type", .about = "its ROD type"},
    {.name = "bytes", .kind = Kind::whole, .about = "that it represents"},
    {.name = "age_s", .kind = Kind::number, .about = "since it was made, by the array clock"},
    {.name = "lifetime_s", .kind = Kind::number, .about = "from its making"},
    {.name = "inactivity_timeout_s", .kind = Kind::number, .about = "0: none"},
    {.name = "idle_s", .kind = Kind::number, .about = "since it was made or last used"},
    {.name = "in_use", .kind = Kind::whole, .about = "commands that use it now"},
    {.name = "ends_in_s", .kind = Kind::number, .about = "while nobody uses it"},
    {.name = "last_user", .about = "the initiator that made or last used it; null: not known", .nullable = true},
};
constexpr Shape kToken{.name = "Token", .about = "A valid ROD token", .fields = kTokenFields};
constexpr Field kListFields[] = {
    {.name = "tokens", .kind = Kind::objects, .about = "in the order they were made", .shape = &kToken},
    {.name = "total", .kind = Kind::whole, .about = "how many there are, those on other pages included"},
    {.name = "next", .about = "what \"after\" is to be for the next page; null: there is none", .nullable = true},
};
constexpr Shape kTokens{.name = "Tokens", .about = "", .fields = kListFields};
constexpr Field kQueryFields[] = {
    {.name = "array", .about = "only those of this array", .required = false},
    {.name = "source", .about = "only those of the LUN of this name", .required = false},
    {.name = "limit",
     .kind = Kind::whole,
     .about = "at most so many; 1000",
     .required = false,
     .low = 1,
     .high = kHighestLimit},
    {.name = "after",
     .about = "only those behind this token, an identifier, also when it has ended: \"next\" of the page before",
     .required = false},
};
constexpr Shape kQuery{.name = "", .about = "", .fields = kQueryFields};
constexpr std::string_view kStates[] = {"valid", "expired", "cancelled", "revoked", "deleted", "unknown"};
constexpr Field kStateFields[] = {
    {.name = "id", .about = "COPY MANAGER ROD TOKEN IDENTIFIER, 16 hexadecimal digits"},
    {.name = "state", .about = "what it is now, named as the sense data it is refused with", .words = kStates},
    {.name = "token", .kind = Kind::object, .about = "null once it has ended", .nullable = true, .shape = &kToken},
};
constexpr Shape kState{.name = "TokenState", .about = "A token, valid or not", .fields = kStateFields};

std::string id_text(TokenId id) { return fmt::format("{:016x}", static_cast<std::uint64_t>(id)); }

json::object token_document(const Steered& steered, const Array& array, const TokenManager::Description& token) {
  const base::TimePoint now = steered.array_clock.now();
  json::object object{{"id", id_text(token.id)},
                      {"number", array.copy_manager().tokens().number(token.id)},
                      {"array", shown_name(array)},
                      {"source", token.rod.source().name},
                      {"type", rod_type_word(token.rod.type())},
                      {"bytes", token.rod.size_bytes()},
                      {"age_s", seconds(now - token.created)},
                      {"lifetime_s", seconds(token.record.lifetime)},
                      {"inactivity_timeout_s", seconds(token.record.inactivity_timeout)},
                      {"idle_s", seconds(now - token.record.last_used)},
                      {"in_use", token.record.commands_in_progress},
                      {"ends_in_s", seconds(token.expires - now)},
                      {"last_user", nullptr}};
  if (token.last_user.initiator) object["last_user"] = token.last_user.initiator->text();
  return object;
}

struct Found {
  Array& array;
  TokenId id;
  TokenState state;
};

std::optional<std::uint64_t> parsed(const std::string& text, int base) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The token that `text` names: by its identifier or, where there is one array only, its number. Throws Refusal (400).
TokenId token_id(const Steered& steered, const std::string& text, std::string_view name) {
  constexpr std::size_t kIdentifier = 16;  // digits
  const bool is_number = text.size() < kIdentifier;
  const auto value = parsed(text, is_number ? 10 : 16);
  const auto& arrays = steered.arrays.all();
  if (!value || text.size() > kIdentifier || (is_number && arrays.size() > 1)) {
    const json::value given(text);
    throw not_as_expected(400, std::string(name),
                          "a token's identifier, 16 hexadecimal digits, or, with one array, its number", &given);
  }
  return is_number ? arrays.front()->copy_manager().tokens().id_of(*value) : TokenId{*value};
}

/// The array that knows the token. Throws Refusal: 400, and 404 when none does.
Found find_token(const Steered& steered, const std::string& text) {
  const TokenId id = token_id(steered, text, "id");
  for (const auto& array : steered.arrays.all())
    if (auto state = array->copy_manager().tokens().state(id); state != TokenState::unknown) return {*array, id, state};
  throw no_such("token", text);
}

/// A page of the list. It is written a few tokens at a time, so that nobody waits for a long one.
class TokenPage : public std::enable_shared_from_this<TokenPage> {
 public:
  /// Throws Refusal (400, 404).
  TokenPage(const Steered& steered, const Call& call);

  /// Writes some more. Returns whether the page is complete.
  bool step();
  /// When it is.
  Response response();
  /// Does the other steps in later turns.
  void go_on(Answer::Respond respond);

 private:
  bool is_wanted(const Array& array) const { return !only_ || only_ == &array; }
  void begin_behind(const std::string& text);

  const Steered& steered_;
  const Array* only_ = nullptr;
  std::optional<std::string> source_{};
  std::size_t left_ = kHighestLimit;
  std::uint64_t total_ = 0;
  std::size_t array_ = 0;  ///< where it is ...
  TokenId after_{};        ///< ... and behind which token there
  TokenId last_{};         ///< on this page, whosever
  std::optional<TokenId> next_{};
  std::string text_ = R"({"tokens":[)";
  Answer::Respond respond_;
};

TokenPage::TokenPage(const Steered& steered, const Call& call) : steered_(steered) {
  if (const json::value* only = call.query.if_contains("array"))
    only_ = &find_array(steered, std::string(only->get_string()));
  if (const json::value* source = call.query.if_contains("source")) source_.emplace(source->get_string());
  if (const json::value* limit = call.query.if_contains("limit")) left_ = limit->to_number<std::size_t>();
  if (const json::value* after = call.query.if_contains("after")) begin_behind(std::string(after->get_string()));
  for (const auto& array : steered.arrays.all())
    if (is_wanted(*array)) total_ += array->copy_manager().tokens().count(source_ ? &*source_ : nullptr);
}

void TokenPage::begin_behind(const std::string& text) {
  after_ = token_id(steered_, text, "after");
  const auto& arrays = steered_.arrays.all();
  auto whose = std::ranges::find_if(arrays, [&](const auto& array) {
    return is_wanted(*array) && array->copy_manager().tokens().number(after_) != 0;
  });
  if (whose == arrays.end()) {
    const json::value given(text);
    throw not_as_expected(
        400, "after",
        only_ ? "a token that this array made since odxd started" : "a token that was made since odxd started", &given);
  }
  array_ = static_cast<std::size_t>(whose - arrays.begin());
}

bool TokenPage::step() {
  const auto& arrays = steered_.arrays.all();
  for (std::size_t room = kTokensOfAStep; array_ < arrays.size(); ++array_, after_ = {}) {
    const Array& array = *arrays[array_];
    if (!is_wanted(array)) continue;
    const TokenManager::Wanted wanted{source_ ? &*source_ : nullptr, after_, std::min(left_, room)};
    const auto next = array.copy_manager().tokens().page(wanted, [&](const TokenManager::Description& token) {
      if (text_.back() != '[') text_ += ',';
      text_ += json::serialize(token_document(steered_, array, token));
      last_ = token.id;
      --left_;
      --room;
    });
    if (!next) continue;
    after_ = *next;
    if (left_ > 0) return false;
    next_ = *next == TokenId{} ? last_ : *next;  // the page ended with an earlier array
    return true;
  }
  return true;
}

Response TokenPage::response() {
  text_ +=
      fmt::format("],\"total\":{},\"next\":{}}}\n", total_, next_ ? fmt::format("\"{}\"", id_text(*next_)) : "null");
  return {.body = std::move(text_)};
}

void TokenPage::go_on(Answer::Respond respond) {
  respond_ = std::move(respond);
  steered_.executor.later([self = shared_from_this()] {
    if (self->step()) return self->respond_(self->response());
    self->go_on(std::move(self->respond_));
  });
}

Answer list_tokens(Steered& steered, const Call& call) {
  auto page = std::make_shared<TokenPage>(steered, call);
  if (page->step()) return {.response = page->response()};
  return {.begin = [page](Answer::Respond respond) { page->go_on(std::move(respond)); }};
}

Answer token_state(const Steered& steered, const Found& found) {
  const TokenManager& tokens = found.array.copy_manager().tokens();
  json::object object{{"id", id_text(found.id)}, {"state", scsi::name_of(tokens.state(found.id))}, {"token", nullptr}};
  if (auto token = tokens.find(found.id)) object["token"] = token_document(steered, found.array, *token);
  return document(object);
}

Answer get_token(Steered& steered, const Call& call) {
  return token_state(steered, find_token(steered, call.parameter(0)));
}

template <auto kEnd>
Answer end_token(Steered& steered, const Call& call) {
  const Found found = find_token(steered, call.parameter(0));
  if (found.state != TokenState::valid)
    throw conflict(fmt::format("token {} is {} already", call.parameter(0), scsi::name_of(found.state)), "id",
                   "a valid token");
  kEnd(found.array.copy_manager().tokens(), found.id);
  return token_state(steered, found);
}

void expire(TokenManager& tokens, TokenId id) { tokens.expire(id); }
void revoke(TokenManager& tokens, TokenId id) { tokens.revoke(id); }
void cancel(TokenManager& tokens, TokenId id) { tokens.cancel(id); }
void delete_by_client(TokenManager& tokens, TokenId id) { tokens.delete_by_client(id); }

constexpr Route ending(std::string_view path, std::string_view summary, Answer (*handle)(Steered&, const Call&)) {
  return {.method = Method::post, .path = path, .summary = summary, .handle = handle, .result = &kState};
}

constexpr Route kRoutes[] = {
    {.path = "/v1/tokens",
     .summary =
         "Valid tokens, a page at a time: each that is valid all the while is on one of the pages, and on one only",
     .handle = list_tokens,
     .query = &kQuery,
     .result = &kTokens},
    {.path = "/v1/tokens/{id}",
     .summary = "A token, also one that ended, as long as its end is remembered",
     .handle = get_token,
     .result = &kState},
    ending("/v1/tokens/{id}/expire", "Its time is over: 05/23/07", end_token<expire>),
    ending("/v1/tokens/{id}/revoke", "Revoke it, as an administrator does: 05/23/06", end_token<revoke>),
    ending("/v1/tokens/{id}/cancel", "Its data could not be kept: 05/23/08", end_token<cancel>),
    ending("/v1/tokens/{id}/delete", "Delete it, as a host does with DEL_TKN: 05/23/09", end_token<delete_by_client>),
};

}  // namespace

std::span<const Route> token_routes() { return kRoutes; }

}  // namespace target::control
