// What scripts read in the journal and expect of it, and the rules they set.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdio>

#include "scenario/api.h"
#include "scenario/arguments.h"
#include "scenario/control_client.h"
#include "scsi/journal.h"

namespace scenario {
namespace {

/// Keys of a question that are no keys of events.
constexpr std::string_view kSince = "since", kWindow = "window", kAtLeast = "at_least", kAtMost = "at_most",
                           kExactly = "exactly";

struct Question {
  std::uint64_t since = 0;
  std::optional<base::Duration> window{};
  std::optional<std::int64_t> at_least{}, at_most{};
  json::object keys{};  ///< what an event has to have

  explicit Question(const json::value& value) {
    if (value.is_null()) return;
    if (!value.is_object()) throw ScriptError(fmt::format("{} where a table is expected", shown(value)));
    auto count = [](const json::value& number, std::string_view of) { return to_number(number, of, 0, INT64_MAX); };
    for (const auto& field : value.get_object()) {
      const std::string_view key = field.key();
      if (key == kSince)
        since = static_cast<std::uint64_t>(count(field.value(), key));
      else if (key == kWindow)
        window = to_duration(field.value(), key);
      else if (key == kAtLeast)
        at_least = count(field.value(), key);
      else if (key == kAtMost)
        at_most = count(field.value(), key);
      else if (key == kExactly)
        at_least = at_most = count(field.value(), key);
      else
        keys.emplace(key, field.value());
    }
    if (const json::value* kind = keys.if_contains("kind"))
      if (!scsi::find_event_kind(to_text(*kind, "kind")))
        throw ScriptError(fmt::format("{} is no kind of event", shown(*kind)));
  }
};

bool is_like(const json::object& event, const Question& question) { return !difference(event, question.keys, ""); }

std::vector<json::object> matching(World& world, const Question& question) {
  std::vector<json::object> found = world.events(question.since);
  std::erase_if(found, [&](const json::object& event) {
    const base::Duration at(event.at("time_us").to_number<std::int64_t>());
    return (question.window && at + *question.window < world.elapsed()) || !is_like(event, question);
  });
  return found;
}

std::string bounds(const Question& question) {
  if (question.at_least == question.at_most) return fmt::format("{}", *question.at_least);
  if (!question.at_most) return fmt::format("at least {}", *question.at_least);
  if (!question.at_least) return fmt::format("at most {}", *question.at_most);
  return fmt::format("{} to {}", *question.at_least, *question.at_most);
}

std::string rule_path(const json::value& number) {
  return fmt::format("/v1/rules/{}", to_number(number, "the rule's number", 1, UINT32_MAX));
}

}  // namespace

void Api::add_rules() {
  add_method("array", "add_rule", [this](const Arguments& arguments) -> json::value {
    return array_of(arguments.at(0)).control("POST", "/v1/rules", argument(arguments, 1)).at("id");
  });
  add_method("array", "remove_rule", [this](const Arguments& arguments) -> json::value {
    auto remove = [&]() -> json::value {
      array_of(arguments.at(0)).control("DELETE", rule_path(argument(arguments, 1)));
      return true;
    };
    return unless_missing(remove, false);
  });
  add_method("array", "clear_rules", [this](const Arguments& arguments) -> json::value {
    array_of(arguments.at(0)).control("DELETE", "/v1/rules");
    return nullptr;
  });
  add_method("array", "rules", [this](const Arguments& arguments) -> json::value {
    return array_of(arguments.at(0)).control("GET", "/v1/rules").at("rules");
  });
  add_method("array", "rule", [this](const Arguments& arguments) -> json::value {
    auto ask = [&] { return array_of(arguments.at(0)).control("GET", rule_path(argument(arguments, 1))); };
    return unless_missing(ask, nullptr);
  });
  add_method("array", "state", [this](const Arguments& arguments) -> json::value {
    return array_of(arguments.at(0)).control("GET", "/v1/rules").at("state");
  });
  add_method("array", "set_state", [this](const Arguments& arguments) -> json::value {
    const json::string state(to_text(argument(arguments, 1), "the state"));
    array_of(arguments.at(0)).control("PUT", "/v1/rules/state", json::object{{"state", state}});
    return nullptr;
  });
}

/// Live it waits by real time, in this process until nothing is left to happen.
json::value Api::wait_for_event(const Arguments& arguments) {
  Question question(argument(arguments, 1));
  if (question.keys.empty()) throw ScriptError("wait_for: which event is missing; expected a table of its keys");
  if (world_.arrays().empty()) throw ScriptError("wait_for: there is no array");
  if (question.since == 0) question.since = waited_for_;
  const base::Duration timeout = to_duration(argument(arguments, 2), "the time-out");
  const auto until = std::chrono::steady_clock::now() + timeout;
  const base::TimePoint limit = world_.clock().now() + timeout;
  const auto reached = world_.timers().at(limit, [] {});
  for (;;) {
    world_.settle();
    const auto found = matching(world_, question);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    const bool over = world_.live() ? left.count() <= 0 : world_.clock().now() >= limit;
    if (found.empty() && !over) {
      if (world_.live())
        world_.arrays().front()->wait_for_event(left);
      else
        world_.step();
      continue;
    }
    world_.timers().cancel(reached);
    if (found.empty())
      throw ScriptError(fmt::format("no event like {} came in {} s", shown(question.keys),
                                    std::chrono::duration<double>(timeout).count()));
    waited_for_ = found.front().at("sequence").to_number<std::uint64_t>();
    return found.front();
  }
}

void Api::add_events() {
  add_method("scenario", "events", [this](const Arguments& arguments) -> json::value {
    json::array list;
    for (json::object& event : matching(world_, Question(argument(arguments, 1)))) list.push_back(std::move(event));
    return list;
  });
  add_method("scenario", "expect_events", [this](const Arguments& arguments) -> json::value {
    Question question(argument(arguments, 1));
    if (!question.at_least && !question.at_most) question.at_least = 1;
    const auto found = static_cast<std::int64_t>(matching(world_, question).size());
    if (found < question.at_least.value_or(0) || found > question.at_most.value_or(INT64_MAX))
      throw ScriptError(
          fmt::format("{} events are like {}; expected {}", found, shown(question.keys), bounds(question)));
    return found;
  });
  add_method("scenario", "wait_for", [this](const Arguments& arguments) { return wait_for_event(arguments); });
  add_method("scenario", "ask", [this](const Arguments& arguments) -> json::value {
    const std::string what = to_text(argument(arguments, 1), "what a person has to do");
    if (!world_.live())
      throw ScriptSkip("a person at a Windows host has to: " + what + " (odx scenario run --live URL)");
    fmt::print(stderr, "At the Windows host: {}\n", what);
    std::fflush(stderr);
    world_.timeline().add(world_.elapsed(), "script", "asks: " + what);
    return nullptr;
  });
  add_method("scenario", "last_event",
             [this](const Arguments&) -> json::value { return static_cast<std::int64_t>(world_.last_event()); });
  add_method("scenario", "explain", [this](const Arguments& arguments) -> json::value {
    const Fields fields(argument(arguments, 1), "explain", {"initiator", "target", "lun"});
    std::string query;
    constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
        {"initiator", "initiator"}, {"target", "target"}, {"logical_unit", "lun"}};
    for (const auto& [key, ours] : kKeys)
      if (auto text = fields.text(ours))
        query += fmt::format("{}{}={}", query.empty() ? '?' : '&', key, percent_encoded(*text));
    if (world_.arrays().empty()) throw ScriptError("explain: there is no array");
    return world_.arrays().front()->control("GET", "/v1/explain" + query).at("text");
  });
}

}  // namespace scenario
