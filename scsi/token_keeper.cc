#include "scsi/token_keeper.h"

#include <fmt/format.h>

#include <utility>

#include "scsi/copy_fabric.h"
#include "scsi/copy_manager.h"
#include "scsi/journal.h"
#include "scsi/token_words.h"

namespace scsi {
namespace {

/// Of what ends at one time: some ten microseconds of work, so that others have their turn in between.
constexpr std::size_t kTokensAtOnce = 2;

Event event_of(EventKind kind, const tokens::Rod& rod, const tokens::TokenUser& user) {
  Event event{.kind = kind, .logical_unit = rod.source().name, .bytes = rod.size_bytes()};
  event.command = name_of(user.command);
  if (user.initiator) event.initiator = user.initiator->text();
  return event;
}

}  // namespace

TokenKeeper::TokenKeeper(CopyManager& manager) : manager_(manager) { manager_.tokens().set_observer(this); }

TokenKeeper::~TokenKeeper() {
  manager_.tokens().set_observer(nullptr);
  manager_.timers().cancel(timer_);
}

void TokenKeeper::sweep_changed() {
  if (sweeping_) return;
  base::TimePoint next = manager_.tokens().next_sweep();
  if (next == timer_at_) return;
  manager_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
  timer_at_ = next;
  if (next != base::TimePoint::max()) timer_ = manager_.timers().at(next, [this] { sweep(); });
}

void TokenKeeper::sweep() {
  timer_ = base::TimerQueue::Id::none;
  timer_at_ = base::TimePoint::max();
  sweeping_ = true;
  manager_.tokens().sweep(kTokensAtOnce);
  sweeping_ = false;
  sweep_changed();
}

void TokenKeeper::record(Event event, tokens::TokenId id) const {
  event.array = manager_.array_name();
  event.token = EventToken{manager_.array_name(), manager_.tokens().number(id), id};
  manager_.fabric().journal()->record(std::move(event));
}

void TokenKeeper::created(tokens::TokenId id, const tokens::Rod& rod, const tokens::TokenUser& maker,
                          base::Duration inactivity_timeout) {
  if (!manager_.fabric().journal()) return;
  Event event = event_of(EventKind::token_created, rod, maker);
  event.reason =
      fmt::format("{} represents {} bytes of {}", token_words(manager_, id), rod.size_bytes(), rod.source().name);
  if (inactivity_timeout != base::Duration::zero())
    event.reason += fmt::format(", inactivity timeout {}", duration_words(inactivity_timeout));
  record(std::move(event), id);
}

void TokenKeeper::used(tokens::TokenId id, const tokens::Rod& rod, const tokens::TokenUser& user) {
  if (!manager_.fabric().journal()) return;
  Event event = event_of(EventKind::token_used, rod, user);
  event.reason = fmt::format("{} is used by {}", token_words(manager_, id), event.command);
  record(std::move(event), id);
}

void TokenKeeper::ended(tokens::TokenId id, const tokens::Rod& rod, const tokens::TokenEnding& ending) {
  if (!manager_.fabric().journal()) return;
  Event event = event_of(EventKind::token_ended, rod, ending.last_user);
  event.token_state = ending.state;
  event.reason = fmt::format("{} {}", token_words(manager_, id), ending_words(ending, manager_.clock().now()));
  record(std::move(event), id);
}

void TokenKeeper::forgotten(tokens::TokenId id) {
  if (!manager_.fabric().journal()) return;
  record({.kind = EventKind::token_forgotten, .reason = fmt::format("{} is forgotten", token_words(manager_, id))}, id);
}

}  // namespace scsi
