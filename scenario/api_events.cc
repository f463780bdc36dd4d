// What scripts read in the journal and expect of it, and the rules they set.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "scenario/api.h"
#include "scenario/arguments.h"
#include "target/journal_document.h"
#include "target/journal_explain.h"
#include "target/rule_document.h"

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

std::vector<json::object> matching(World& world, const Question& question) {
  std::vector<json::object> found;
  for (const scsi::Event& event : world.journal().since(question.since)) {
    if (question.window && event.time + *question.window < world.clock().now()) continue;
    json::object document = target::event_document(event);
    if (!difference(document, question.keys, "")) found.push_back(std::move(document));
  }
  return found;
}

std::string bounds(const Question& question) {
  if (question.at_least == question.at_most) return fmt::format("{}", *question.at_least);
  if (!question.at_most) return fmt::format("at least {}", *question.at_least);
  if (!question.at_least) return fmt::format("at most {}", *question.at_most);
  return fmt::format("{} to {}", *question.at_least, *question.at_most);
}

/// A rule's number.
scsi::RuleId rule_id(const json::value& value) {
  return scsi::RuleId{static_cast<std::uint32_t>(to_number(value, "the rule's number", 1, UINT32_MAX))};
}

}  // namespace

void Api::add_rules() {
  add_method("array", "add_rule", [this](const Arguments& arguments) -> json::value {
    scsi::RuleSet& rules = array_of(arguments.at(0)).arrays().rules();
    return static_cast<std::int64_t>(rules.add(target::rule_from(argument(arguments, 1))));
  });
  add_method("array", "remove_rule", [this](const Arguments& arguments) -> json::value {
    return array_of(arguments.at(0)).arrays().rules().remove(rule_id(argument(arguments, 1)));
  });
  add_method("array", "clear_rules", [this](const Arguments& arguments) -> json::value {
    array_of(arguments.at(0)).arrays().rules().clear();
    return nullptr;
  });
  add_method("array", "rules", [this](const Arguments& arguments) -> json::value {
    json::array list;
    for (const auto& listed : array_of(arguments.at(0)).arrays().rules().list())
      list.push_back(target::rule_document(listed));
    return list;
  });
  add_method("array", "rule", [this](const Arguments& arguments) -> json::value {
    auto listed = array_of(arguments.at(0)).arrays().rules().find(rule_id(argument(arguments, 1)));
    return listed ? json::value(target::rule_document(*listed)) : json::value();
  });
  add_method("array", "state", [this](const Arguments& arguments) -> json::value {
    return json::string(array_of(arguments.at(0)).arrays().rules().state());
  });
  add_method("array", "set_state", [this](const Arguments& arguments) -> json::value {
    array_of(arguments.at(0)).arrays().rules().set_state(to_text(argument(arguments, 1), "the state"));
    return nullptr;
  });
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
  add_method("scenario", "last_event",
             [this](const Arguments&) -> json::value { return static_cast<std::int64_t>(world_.journal().last()); });
  add_method("scenario", "explain", [this](const Arguments& arguments) -> json::value {
    const Fields fields(argument(arguments, 1), "explain", {"initiator", "target", "lun"});
    target::ExplainQuestion question;
    question.initiator = fields.text("initiator").value_or("");
    question.target = fields.text("target").value_or("");
    question.logical_unit = fields.text("lun").value_or("");
    return json::string(target::explain(world_.journal(), question, world_.clock().now()));
  });
}

}  // namespace scenario
