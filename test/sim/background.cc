#include <fmt/format.h>

#include <algorithm>

#include "test/sim/simulation.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace sim {

/// Copies whose results are gone.
std::vector<Operation*> Simulation::unseen_copies() const {
  std::vector<Operation*> unseen;
  std::ranges::copy_if(in_flight_, std::back_inserter(unseen), &Operation::unseen);
  return unseen;
}

/// Looks which copies in the background have ended.
void Simulation::poll() {
  for (Operation* copy : std::vector<Operation*>(in_flight_)) {
    if (!copy->background) continue;
    const tokens::CopyOperation* result = copy->unseen ? nullptr : world_.copies.operations().find(copy->key);
    if (result && !tokens::in_progress(result->status())) {
      settle_background(*copy, result);
    } else if (copy->job.expired()) {
      copy->unseen = true;
      settle_background(*copy, nullptr);
    }
  }
}

void Simulation::settle_background(Operation& operation, const tokens::CopyOperation* copy) {
  if (copy) {
    operation.status = static_cast<scsi::Status>(copy->outcome().completion_status);
    operation.sense = scsi::decode(copy->outcome().sense).value_or(scsi::Sense{});
  }
  try {
    conclude(operation);
  } catch (const Disagreement& found) {
    if (!disagreement_) disagreement_ = found.what();
  }
}

/// Whether the array and the model agree on every token.
void Simulation::compare_tokens() {
  using tokens::TokenState;
  resolve_vulnerable();
  model_.lose_reasons();
  for (const TokenRef& token : model_.tokens()) {
    if (token->identifier == 0 || token->reason_may_be_lost) continue;
    TokenState state = world_.copies.tokens().state(tokens::TokenId{token->identifier});
    static constexpr TokenState kStates[] = {TokenState::valid,   TokenState::expired, TokenState::cancelled,
                                             TokenState::revoked, TokenState::deleted, TokenState::unknown};
    TokenState expected = kStates[static_cast<std::size_t>(token->state(world_.clock.now()))];
    require(state == expected, fmt::format("token {:X} is {}, the model says {}", token->identifier,
                                           static_cast<int>(state), static_cast<int>(expected)));
  }
}

/// Whether the captured data of every token is what it was.
void Simulation::compare_token_data() {
  world_.copies.tokens().for_each(SIZE_MAX, [&](const tokens::TokenManager::Description& description) {
    auto id = static_cast<std::uint64_t>(description.id);
    auto known = std::ranges::find(model_.tokens(), id, [](const TokenRef& token) { return token->identifier; });
    if (known == model_.tokens().end() || !description.rod.data()) return;
    base::Segments out;
    auto read = description.rod.data()->read({0, description.rod.size_bytes()}, out);
    bool lost = !read && read.error().kind == handlers::IoError::Kind::snapshot_lost && traits_.tight;
    require(lost || (read && out.to_vector() == (*known)->bytes), fmt::format("token {:X} has other data now", id));
    report_.count("bytes of tokens compared", out.size());
  });
}

/// A token that a change of its source has ended already keeps that reason.
void Simulation::end_token(TokenModel& token, TokenEnd reason) {
  resolve_vulnerable();
  model_.end(token, reason);
}

/// Asks the array which tokens a change of their source has cancelled: at the latest when the change has ended, and no
/// token whose source nobody was about to change.
void Simulation::resolve_vulnerable() {
  for (const TokenRef& token : model_.tokens()) {
    if (!token->vulnerable || !token->source_may_have_changed || token->ended != TokenEnd::none) continue;
    tokens::TokenState state = world_.copies.tokens().state(tokens::TokenId{token->identifier});
    if (state == tokens::TokenState::cancelled) {
      token->ended = TokenEnd::cancelled;
      report_.count("tokens cancelled by a change of their source");
    }
    require(!token->source_has_changed || state != tokens::TokenState::valid,
            fmt::format("token {:X} outlived a change of its source", token->identifier));
  }
}

}  // namespace sim
