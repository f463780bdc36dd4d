// The journal: events that were, events as they come, and why a copy was not offloaded.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <memory>

#include "scsi/journal.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"
#include "target/event_loop.h"
#include "target/journal_document.h"
#include "target/journal_explain.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kUsualLimit = 100;
constexpr std::uint64_t kMostEvents = 1000;    // in one answer
constexpr std::size_t kEventsOfAStep = 1000;   // looked at in one turn of the loop
constexpr std::size_t kPieceBytes = 64 << 10;  // of a stream, at once

constexpr Field kEventFields[] = {
    {.name = "sequence", .kind = Kind::whole, .about = "from 1, without gaps"},
    {.name = "time_us", .kind = Kind::whole, .about = "of the array clock, since odxd started"},
    {.name = "kind", .about = "what kind of event"},
    {.name = "reason", .about = "in words", .required = false},
};
constexpr Shape kEvent{.name = "Event",
                       .about = "An event; docs/journal.md has every key, which stand in a fixed order",
                       .fields = kEventFields,
                       .open = true};
constexpr Field kListFields[] = {
    {.name = "events", .kind = Kind::objects, .about = "oldest first", .shape = &kEvent},
    {.name = "next", .kind = Kind::whole, .about = "what \"since\" is to be to go on from here"},
    {.name = "last", .kind = Kind::whole, .about = "the number of the last event there was"},
    {.name = "lost", .kind = Kind::whole, .about = "events behind \"since\" that are not kept any more"},
};
constexpr Shape kEvents{.name = "Events", .about = "", .fields = kListFields};

constexpr Field kKindField{.name = "kind", .about = "only these kinds, with commas between", .required = false};
constexpr Field kInitiatorField{.name = "initiator", .about = "only those of this iSCSI name", .required = false};
constexpr Field kUnitField{.name = "logical_unit", .about = "only those of the LUN of this name", .required = false};
constexpr Field kQueryFields[] = {
    kKindField,
    kInitiatorField,
    kUnitField,
    {.name = "since",
     .kind = Kind::whole,
     .about = "only those behind this number; without, the last",
     .required = false},
    {.name = "limit",
     .kind = Kind::whole,
     .about = "at most so many; 100",
     .required = false,
     .low = 1,
     .high = kMostEvents},
    {.name = "wait_s",
     .kind = Kind::whole,
     .about = "where there are none, wait so many seconds of real time for the first",
     .required = false,
     .high = 600},
};
constexpr Shape kQuery{.name = "", .about = "", .fields = kQueryFields};
constexpr Field kStreamFields[] = {
    kKindField,
    kInitiatorField,
    kUnitField,
    {.name = "since",
     .kind = Kind::whole,
     .about = "begin behind this number; without, with what comes; the header Last-Event-ID says the same",
     .required = false},
};
constexpr Shape kStream{.name = "", .about = "", .fields = kStreamFields};
constexpr Field kExplainFields[] = {
    kInitiatorField,
    {.name = "target", .about = "only copies through this target", .required = false},
    {.name = "lun", .kind = Kind::whole, .about = "its LUN of this number", .required = false, .high = 16383},
    kUnitField,
};
constexpr Shape kExplain{.name = "", .about = "", .fields = kExplainFields};
constexpr Field kExplanationFields[] = {{.name = "text", .about = "several lines"}};
constexpr Shape kExplanation{.name = "Explanation",
                             .about = "Why copies were not offloaded, from the last events",
                             .fields = kExplanationFields};

scsi::Journal& journal(const Steered& steered) {
  if (scsi::Journal* found = steered.arrays.journal()) return *found;
  throw conflict("there is no journal", "journal.events", "a number of events to keep, not 0");
}

/// Which events somebody wants to see.
struct Filter {
  std::vector<scsi::EventKind> kinds{};
  std::string initiator{};
  std::string logical_unit{};

  explicit Filter(const json::object& query) {
    if (const json::value* text = query.if_contains("kind")) read_kinds(text->get_string(), *text);
    if (const json::value* text = query.if_contains("initiator")) initiator = text->get_string();
    if (const json::value* text = query.if_contains("logical_unit")) logical_unit = text->get_string();
  }
  void read_kinds(std::string_view words, const json::value& given) {
    for (;;) {
      const std::size_t comma = words.find(',');
      auto kind = scsi::find_event_kind(words.substr(0, comma));
      if (!kind) throw not_as_expected(400, "kind", "kinds of events, with commas between", &given);
      kinds.push_back(*kind);
      if (comma == std::string_view::npos) return;
      words.remove_prefix(comma + 1);
    }
  }
  bool operator()(const scsi::Event& event) const {
    return (kinds.empty() || std::ranges::find(kinds, event.kind) != kinds.end()) &&
           (initiator.empty() || event.initiator == initiator) &&
           (logical_unit.empty() || event.logical_unit == logical_unit);
  }
};

/// Where the kept events behind `sequence` begin.
auto first_behind(const std::deque<scsi::Event>& events, std::uint64_t sequence) {
  return std::ranges::upper_bound(events, sequence, {}, &scsi::Event::sequence);
}

std::uint64_t lost_behind(const scsi::Journal& journal, std::uint64_t sequence) {
  if (journal.events().empty()) return journal.last() - std::min(journal.last(), sequence);
  const std::uint64_t first = journal.events().front().sequence;
  return first > sequence + 1 ? first - sequence - 1 : 0;
}

/// The events behind a number, or the last ones. They are looked at a few at a time: of a million there may be, few may
/// be wanted, and nobody waits for those that are not.
class EventSearch {
 public:
  EventSearch(const scsi::Journal& journal, Filter wanted, std::optional<std::uint64_t> since, std::uint64_t limit)
      : journal_(journal),
        wanted_(std::move(wanted)),
        forward_(since.has_value()),
        limit_(limit),
        at_(since.value_or(journal.last())),
        next_(at_) {}

  bool wants(const scsi::Event& event) const { return wanted_(event); }
  bool found_any() const { return !found_.empty(); }

  /// Looks at some more. Returns whether that was all.
  bool step() { return forward_ ? step_forward() : step_backward(); }
  /// Forward: none up to this number is wanted.
  void pass(std::uint64_t sequence) { at_ = next_ = sequence; }
  json::object document();

 private:
  bool step_forward();
  bool step_backward();
  void take(const scsi::Event& event) { found_.push_back(event_document(event)); }
  bool full() const { return found_.size() == limit_; }

  const scsi::Journal& journal_;
  const Filter wanted_;
  const bool forward_;
  const std::uint64_t limit_;
  std::uint64_t at_;    ///< the number of the last event that was looked at; backwards, of the next one
  std::uint64_t next_;  ///< as in kListFields, and so is this:
  std::uint64_t lost_ = 0;
  json::array found_;
};

bool EventSearch::step_forward() {
  const std::uint64_t lost = lost_behind(journal_, at_);
  lost_ += lost;
  at_ += lost;
  const std::deque<scsi::Event>& kept = journal_.events();
  auto at = first_behind(kept, at_);
  for (std::size_t left = kEventsOfAStep; left > 0 && at != kept.end() && !full(); ++at, --left) {
    at_ = at->sequence;
    if (wanted_(*at)) take(*at);
  }
  next_ = std::min(at_, journal_.last());
  return full() || at == kept.end();
}

bool EventSearch::step_backward() {
  const std::deque<scsi::Event>& kept = journal_.events();
  auto at = first_behind(kept, at_);
  for (std::size_t left = kEventsOfAStep; left > 0 && at != kept.begin() && !full(); --left) {
    --at;
    at_ = at->sequence - 1;
    if (wanted_(*at)) take(*at);
  }
  return full() || at == kept.begin();
}

json::object EventSearch::document() {
  if (!forward_) std::ranges::reverse(found_);
  json::object list = list_of("events", std::move(found_));
  list["next"] = next_;
  list["last"] = journal_.last();
  list["lost"] = lost_;
  return list;
}

/// A request that is answered later: when all there is was looked at and, where nothing is wanted, at the first event
/// that is.
class Waiting : public std::enable_shared_from_this<Waiting> {
 public:
  Waiting(Steered& steered, scsi::Journal& events, EventSearch search, std::chrono::seconds most)
      : loop_(steered.loop), executor_(steered.executor), events_(events), search_(std::move(search)), most_(most) {}
  ~Waiting() { loop_.timers().cancel(timer_); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  void begin(bool all_seen, Answer::Respond respond) {
    respond_ = std::move(respond);
    all_seen ? wait() : search();
  }

 private:
  void search() {
    executor_.later([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      if (!self->search_.step()) return self->search();
      self->search_.found_any() || self->most_.count() == 0 ? self->answer() : self->wait();
    });
  }

  void wait() {
    timer_ = loop_.timers().at(loop_.clock().now() + most_, [this] {
      search_.pass(events_.last());
      answer();
    });
    subscription_ = events_.subscribe([this](const scsi::Event& event) {
      if (!search_.wants(event)) return;
      search_.pass(event.sequence - 1);
      search_.step();
      answer();
    });
  }

  void answer() {
    const auto self = shared_from_this();   // whoever is answered lets go
    auto ended = std::move(subscription_);  // perhaps called from inside it
    loop_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
    if (auto respond = std::exchange(respond_, nullptr)) respond(document(search_.document()).response);
  }

  EventLoop& loop_;
  base::Executor& executor_;
  scsi::Journal& events_;
  EventSearch search_;
  const std::chrono::seconds most_;  ///< from the moment at which there is nothing
  Answer::Respond respond_{};
  std::shared_ptr<void> subscription_;
  base::TimerQueue::Id timer_ = base::TimerQueue::Id::none;
};

Answer list_events(Steered& steered, const Call& call) {
  const scsi::Journal& events = journal(steered);
  Filter wanted(call.query);
  auto number = [&](const char* key, std::uint64_t otherwise) {
    const json::value* value = call.query.if_contains(key);
    return value ? value->to_number<std::uint64_t>() : otherwise;
  };
  const std::chrono::seconds most(number("wait_s", 0));
  std::optional<std::uint64_t> since;
  if (call.query.contains("since")) since = number("since", 0);
  if (!since && most.count() > 0) since = events.last();
  EventSearch search(events, std::move(wanted), since, number("limit", kUsualLimit));
  const bool all_seen = search.step();
  if (all_seen && (most.count() == 0 || search.found_any())) return document(search.document());
  auto waiting = std::make_shared<Waiting>(steered, journal(steered), std::move(search), most);
  auto begin = [weak = std::weak_ptr(waiting), all_seen](Answer::Respond respond) {
    if (auto whose = weak.lock()) whose->begin(all_seen, std::move(respond));
  };
  return {.begin = std::move(begin), .wait = std::move(waiting)};
}

/// Events as they come. It keeps the number of the last one only: a client that is slower than the journal forgets is
/// told what it missed.
class EventFeed final : public Feed {
 public:
  EventFeed(scsi::Journal& journal, Filter wanted, std::uint64_t since)
      : journal_(journal), wanted_(std::move(wanted)), last_(since) {}

  std::string take() override {
    std::string text;
    if (const std::uint64_t lost = lost_behind(journal_, last_); lost > 0) {
      text += fmt::format("event: lost\ndata: {{\"lost\":{}}}\n\n", lost);
      last_ += lost;
    }
    const std::deque<scsi::Event>& kept = journal_.events();
    auto at = first_behind(kept, last_);
    for (std::size_t left = kEventsOfAStep; left > 0 && at != kept.end() && text.size() < kPieceBytes; ++at, --left) {
      last_ = at->sequence;
      if (wanted_(*at))
        text += fmt::format("id: {}\nevent: {}\ndata: {}\n\n", at->sequence, scsi::name_of(at->kind),
                            json::serialize(event_document(*at)));
    }
    // A comment, where there is nothing to say yet: an empty piece would say that there is no more.
    return text.empty() && at != kept.end() ? ":\n\n" : text;
  }

  void on_more(std::function<void()> wake) override {
    subscription_ = journal_.subscribe([this, wake = std::move(wake)](const scsi::Event& event) {
      if (wanted_(event)) wake();
    });
  }

 private:
  scsi::Journal& journal_;
  const Filter wanted_;
  std::uint64_t last_;
  std::shared_ptr<void> subscription_;
};

Answer stream_events(Steered& steered, const Call& call) {
  scsi::Journal& events = journal(steered);
  std::uint64_t since = events.last();
  if (!call.last_event_id.empty()) since = number_of(call.last_event_id, "Last-Event-ID", UINT64_MAX);
  if (const json::value* value = call.query.if_contains("since")) since = value->to_number<std::uint64_t>();
  return {.response = {.content_type = "text/event-stream"},
          .feed = std::make_unique<EventFeed>(events, Filter(call.query), std::min(since, events.last()))};
}

Answer clear_events(Steered& steered, const Call&) {
  journal(steered).clear();
  return nothing_to_say();
}

Answer explain_copies(Steered& steered, const Call& call) {
  ExplainQuestion question;
  auto text = [&](const char* key) {
    const json::value* value = call.query.if_contains(key);
    return value ? std::string(value->get_string()) : std::string();
  };
  question.initiator = text("initiator");
  question.target = text("target");
  question.logical_unit = text("logical_unit");
  if (const json::value* lun = call.query.if_contains("lun"))
    question.lun = static_cast<scsi::Lun>(lun->to_number<std::uint16_t>());
  return document(json::object{{"text", explain(journal(steered), question, steered.array_clock.now())}});
}

constexpr Route kRoutes[] = {
    {.path = "/v1/events",
     .summary = "Events of the journal: the last ones, those behind a number, or the next to come",
     .handle = list_events,
     .query = &kQuery,
     .result = &kEvents},
    {.method = Method::remove,
     .path = "/v1/events",
     .summary = "Forget all events; numbers go on",
     .handle = clear_events,
     .success = 204},
    {.path = "/v1/events/stream",
     .summary = "Events as they come, as server-sent events: their number, kind and document",
     .handle = stream_events,
     .query = &kStream,
     .content_type = "text/event-stream"},
    {.path = "/v1/explain",
     .summary = "Why copies were not offloaded",
     .handle = explain_copies,
     .query = &kExplain,
     .result = &kExplanation},
};

}  // namespace

std::span<const Route> event_routes() { return kRoutes; }

}  // namespace target::control
