#include "scsi/token_words.h"

#include <fmt/format.h>

#include "scsi/copy_fabric.h"
#include "scsi/copy_manager.h"

namespace scsi {
namespace {

/// ", last used by WRITE USING TOKEN from iqn..."
std::string user_words(const tokens::TokenUser& user) {
  if (!user.initiator) return "";
  // Nothing else can have been the last: what makes a token names none.
  bool unused = user.command == tokens::CopyCommand::populate_token;
  return fmt::format(", {} by {} from {}", unused ? "never used since it was made" : "last used", name_of(user.command),
                     user.initiator->text());
}

std::string cause_words(const tokens::TokenEnding& ending) {
  using enum tokens::TokenEnd;
  switch (ending.cause) {
    case lifetime: return fmt::format("lifetime {}{}", duration_words(ending.limit), user_words(ending.last_user));
    case inactivity:
      return fmt::format("inactivity timeout {}{}", duration_words(ending.limit), user_words(ending.last_user));
    case source_changed: return "its source was written";
    case source_shrank: return "blocks of its source are gone";
    case source_lost: return "its source was formatted, sanitized or ejected";
    case source_removed: return "the logical unit of its source was removed";
    case data_lost: return "its data could not be kept";
    case command_failed: return "the command that made it failed";
    case deleted_by_client: return fmt::format("a command said so (DEL_TKN){}", user_words(ending.last_user));
    case on_demand: break;
  }
  return "on demand";
}

}  // namespace

std::string_view name_of(tokens::CopyCommand command) {
  switch (command) {
    case tokens::CopyCommand::extended_copy_lid1: return "EXTENDED COPY(LID1)";
    case tokens::CopyCommand::extended_copy: return "EXTENDED COPY(LID4)";
    case tokens::CopyCommand::populate_token: return "POPULATE TOKEN";
    case tokens::CopyCommand::write_using_token: break;
  }
  return "WRITE USING TOKEN";
}

std::string_view name_of(tokens::TokenState state) {
  switch (state) {
    case tokens::TokenState::valid: return "valid";
    case tokens::TokenState::expired: return "expired";
    case tokens::TokenState::cancelled: return "cancelled";
    case tokens::TokenState::revoked: return "revoked";
    case tokens::TokenState::deleted: return "deleted";
    case tokens::TokenState::unknown: break;
  }
  return "unknown";
}

std::string duration_words(base::Duration duration) {
  using namespace std::chrono_literals;
  if (duration < 1ms) return fmt::format("{} us", duration.count());
  if (duration < 1s) return fmt::format("{:g} ms", static_cast<double>(duration.count()) / 1e3);
  if (duration % 1s == 0us) return fmt::format("{} s", duration / 1s);
  // What is longer is not looked at to the microsecond.
  std::string text = fmt::format("{}.{:03}", duration / 1s, duration % 1s / 1ms);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text + " s";
}

std::string token_words(const CopyManager& manager, tokens::TokenId id) {
  std::uint64_t number = manager.tokens().number(id);
  if (number == 0) return "the token";
  if (manager.array_name().empty()) return fmt::format("token {}", number);
  return fmt::format("token {} of array {}", number, manager.array_name());
}

std::string ending_words(const tokens::TokenEnding& ending, base::TimePoint now) {
  std::string ago = now > ending.at ? fmt::format(" {} ago", duration_words(now - ending.at)) : "";
  return fmt::format("{}{}: {}", name_of(ending.state), ago, cause_words(ending));
}

std::string refusal_words(CopyManager& manager, const tokens::RodToken& token, tokens::TokenError error) {
  using enum tokens::TokenError;
  CopyManager* maker = manager.fabric().creator_of(token);
  if (!maker) return "";
  if (error == corrupt)
    return fmt::format("the token was altered: it says it is {}",
                       token_words(*maker, tokens::TokenId{token.copy_manager_rod_token_identifier.value()}));
  auto id = maker->tokens().genuine(token);
  if (!id) return "";
  if (auto ending = maker->tokens().ending(*id))
    return fmt::format("{} {}", token_words(*maker, *id), ending_words(*ending, maker->clock().now()));
  if (error != unknown) return "";
  return fmt::format("{} is forgotten: how a token ended is remembered until twice its lifetime has passed",
                     token_words(*maker, *id));
}

}  // namespace scsi
