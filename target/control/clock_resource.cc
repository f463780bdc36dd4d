// The array clock: how it runs, and that it is moved.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>
#include <optional>
#include <utility>

#include "base/array_clock.h"
#include "target/clock_changes.h"
#include "target/config_clock.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;
using base::ClockMode;

constexpr auto kModes = spelled(kClockModeWords);
constexpr double kLongestStep = 1e9;  // some 30 years

constexpr Field kClockFields[] = {
    {.name = "mode", .about = "real, manual or scaled", .words = kModes},
    {.name = "factor", .kind = Kind::number, .about = "how fast it runs; 0: it stands"},
    {.name = "now_s", .kind = Kind::number, .about = "what it shows: seconds since odxd started, by this clock"},
    {.name = "next_in_s",
     .kind = Kind::number,
     .about = "until something is due on it; null: nothing is",
     .nullable = true},
    {.name = "timers", .kind = Kind::whole, .about = "what is still to be due"},
    {.name = "commands", .kind = Kind::whole, .about = "of all sessions, under way"},
    {.name = "waiting_for_clock",
     .kind = Kind::whole,
     .about = "of these commands: nothing becomes of them before this clock moves"},
};
constexpr Shape kClock{
    .name = "Clock", .about = "The time that tokens, copies and delays go by", .fields = kClockFields};
constexpr Field kModeFields[] = {
    {.name = "mode", .about = "real, manual or scaled", .words = kModes},
    {.name = "factor", .kind = Kind::number, .about = "of scaled: 0.001 to 100000", .required = false},
};
constexpr Shape kMode{.name = "ClockMode", .about = "How the array clock is to run", .fields = kModeFields};
constexpr std::string_view kNext[] = {"next"};
constexpr Field kStepFields[] = {
    {.name = "duration_s", .kind = Kind::number, .about = "seconds it moves on by", .required = false},
    {.name = "to", .about = "next: on to when something is due", .required = false, .words = kNext},
};
constexpr Shape kStep{.name = "ClockStep", .about = "One of the two", .fields = kStepFields};
constexpr Field kMovedFields[] = {
    {.name = "advanced_s", .kind = Kind::number, .about = "what it moved on by"},
    {.name = "clock", .kind = Kind::object, .about = "what it shows now", .shape = &kClock},
};
constexpr Shape kMoved{.name = "ClockMoved", .about = "What a step did", .fields = kMovedFields};

json::object clock_document(const Steered& steered) {
  const base::ArrayClock& clock = steered.array_clock;
  const ClockMode mode = clock.mode();
  const bool runs = mode.kind != ClockMode::Kind::manual;
  json::object object{{"mode", word_of(kClockModeWords, mode.kind)},
                      {"factor", runs ? (mode.kind == ClockMode::Kind::scaled ? mode.factor : 1.0) : 0.0},
                      {"now_s", seconds(base::ArrayClock::since_start(clock.now()))},
                      {"next_in_s", nullptr},
                      {"timers", clock.timers().size()}};
  std::size_t commands = 0, waiting = 0;
  for (const iscsi::SessionInfo& each : steered.sessions.list()) {
    commands += each.commands;
    waiting += each.waiting_for_clock;
  }
  object["commands"] = commands;
  object["waiting_for_clock"] = waiting;
  if (auto next = clock.timers().next()) object["next_in_s"] = seconds(*next - clock.now());
  return object;
}

Answer get_clock(Steered& steered, const Call&) { return document(clock_document(steered)); }

Answer put_clock(Steered& steered, const Call& call) {
  const json::value* factor = call.body.if_contains("factor");
  ClockMode mode{.kind = *find_word(kClockModeWords, call.body.at("mode").get_string())};
  const std::string rule = fmt::format("a number from {} to {}", ClockMode::kMinimumFactor, ClockMode::kMaximumFactor);
  if (mode.kind != ClockMode::Kind::scaled && factor)
    throw not_as_expected(422, "factor", "none, but with mode scaled", factor);
  if (mode.kind == ClockMode::Kind::scaled) {
    if (!factor) throw not_as_expected(422, "factor", rule, nullptr);
    mode.factor = factor->to_number<double>();
    if (!(mode.factor >= ClockMode::kMinimumFactor && mode.factor <= ClockMode::kMaximumFactor))
      throw not_as_expected(422, "factor", rule, factor);
  }
  set_clock_mode(steered.array_clock, mode, steered.arrays.journal());
  return document(clock_document(steered));
}

Answer advance(Steered& steered, const Call& call) {
  base::ArrayClock& clock = steered.array_clock;
  const json::value* duration = call.body.if_contains("duration_s");
  if ((duration != nullptr) == call.body.contains("to"))
    throw not_as_expected(422, "duration_s", "either a number of seconds, or to, which is \"next\"", duration);
  std::optional<base::Duration> by;
  if (duration) {
    const auto wanted = duration->to_number<double>();
    if (!(wanted >= 0 && wanted <= kLongestStep))
      throw not_as_expected(422, "duration_s", fmt::format("a number from 0 to {}", kLongestStep), duration);
    by = base::Duration(std::llround(wanted * 1e6));
  } else if (!clock.timers().next()) {
    throw conflict("nothing is due on the array clock, ever", "to", "a timer that is set");
  }
  return {.begin = [&steered, &clock, by](Answer::Respond respond) {
    auto done = [&steered, &clock, before = clock.now(), respond = std::move(respond)]() mutable {
      respond(document(json::object{{"advanced_s", seconds(clock.now() - before)}, {"clock", clock_document(steered)}})
                  .response);
    };
    if (by)
      advance_clock(clock, *by, steered.arrays.journal(), std::move(done));
    else
      advance_clock_to_next(clock, steered.arrays.journal(), std::move(done));
  }};
}

constexpr Route kRoutes[] = {
    {.path = "/v1/clock",
     .summary = "How the array clock runs, and what it shows",
     .handle = get_clock,
     .result = &kClock},
    {.method = Method::put,
     .path = "/v1/clock",
     .summary = "Have it run otherwise",
     .handle = put_clock,
     .body = &kMode,
     .result = &kClock},
    {.method = Method::post,
     .path = "/v1/clock/advance",
     .summary = "Move it on: what is due until then happens, in order, each at its own time, and then this is answered",
     .handle = advance,
     .body = &kStep,
     .result = &kMoved},
};

}  // namespace

std::span<const Route> clock_routes() { return kRoutes; }

}  // namespace target::control
