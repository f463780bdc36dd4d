#include "scsi/journal.h"

#include <algorithm>
#include <array>
#include <utility>

namespace scsi {
namespace {

struct KindName {
  EventKind kind;
  std::string_view name;
};
constexpr std::array kKindNames = {
    KindName{EventKind::command, "command"},
    KindName{EventKind::refusal, "refusal"},
    KindName{EventKind::copy_started, "copy_started"},
    KindName{EventKind::copy_ended, "copy_ended"},
    KindName{EventKind::token_created, "token_created"},
    KindName{EventKind::token_used, "token_used"},
    KindName{EventKind::token_ended, "token_ended"},
    KindName{EventKind::token_forgotten, "token_forgotten"},
    KindName{EventKind::task_management, "task_management"},
    KindName{EventKind::login, "login"},
    KindName{EventKind::logout, "logout"},
    KindName{EventKind::reachability, "reachability"},
    KindName{EventKind::clock, "clock"},
    KindName{EventKind::configuration, "configuration"},
    KindName{EventKind::rule_hit, "rule_hit"},
};

}  // namespace

std::string_view name_of(EventKind kind) {
  auto found = std::ranges::find(kKindNames, kind, &KindName::kind);
  return found == kKindNames.end() ? "" : found->name;
}

std::optional<EventKind> find_event_kind(std::string_view name) {
  auto found = std::ranges::find(kKindNames, name, &KindName::name);
  return found == kKindNames.end() ? std::nullopt : std::optional(found->kind);
}

Journal::Journal(const base::Clock& array_clock, std::size_t events)
    : clock_(array_clock), capacity_(std::max(events, kLeastEvents)) {}

std::uint64_t Journal::record(Event event) {
  event.sequence = ++last_;
  event.time = clock_.now();
  if (events_.size() == capacity_) events_.pop_front();
  events_.push_back(std::move(event));
  const std::uint64_t sequence = last_;
  if (std::exchange(showing_, true)) return sequence;  // whoever shows this one goes on with it
  while (shown_ < last_)
    if (const Event* next = find(++shown_)) show(*next);
  showing_ = false;
  std::erase_if(subscribers_, [](const auto& each) { return each.expired(); });
  return sequence;
}

void Journal::show(const Event& event) {
  for (std::size_t i = 0; i < subscribers_.size(); ++i)
    if (auto subscriber = subscribers_[i].lock()) (*subscriber)(event);
}

const Event* Journal::find(std::uint64_t sequence) const {
  if (events_.empty() || sequence < events_.front().sequence || sequence > last_) return nullptr;
  return &events_[sequence - events_.front().sequence];
}

std::vector<Event> Journal::since(std::uint64_t sequence, std::size_t most) const {
  auto first = std::ranges::upper_bound(events_, sequence, {}, &Event::sequence);
  auto count = std::min<std::size_t>(most, static_cast<std::size_t>(events_.end() - first));
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

std::shared_ptr<void> Journal::subscribe(Subscriber subscriber) {
  auto owned = std::make_shared<Subscriber>(std::move(subscriber));
  subscribers_.push_back(owned);
  return owned;
}

}  // namespace scsi
