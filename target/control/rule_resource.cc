// Rules: failures on demand, added, listed with what they have counted, and removed.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "scsi/rules.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"
#include "target/rule_document.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kHighestId = UINT32_MAX;

constexpr Field kRuleFields[] = {
    {.name = "id", .kind = Kind::whole, .about = "given when it is added", .required = false},
    {.name = "match", .kind = Kind::object, .about = "the commands it is for", .required = false},
};
constexpr Shape kRule{.name = "Rule",
                      .about = "A rule; docs/faults.md has every key, and the name of each action",
                      .fields = kRuleFields,
                      .open = true};
constexpr Field kListFields[] = {
    {.name = "rules", .kind = Kind::objects, .about = "in the order they are tried", .shape = &kRule},
    {.name = "state", .about = "the state that rules share"},
};
constexpr Shape kRules{.name = "Rules", .about = "", .fields = kListFields};
constexpr Field kStateFields[] = {{.name = "state", .about = "a name", .low = 1, .high = 64}};
constexpr Shape kState{.name = "RuleState", .about = "The state that rules share", .fields = kStateFields};

Answer rules_document(const Steered& steered, unsigned status = 200) {
  const scsi::RuleSet& rules = steered.arrays.rules();
  json::array items;
  for (const scsi::RuleSet::Listed& each : rules.list()) items.push_back(rule_document(each));
  json::object list = list_of("rules", std::move(items));
  list["state"] = rules.state();
  return document(list, status);
}

scsi::RuleId id_of(const Call& call) {
  return static_cast<scsi::RuleId>(number_of(call.parameter(0), "id", kHighestId));
}

Answer list_rules(Steered& steered, const Call&) { return rules_document(steered); }

Answer get_rule(Steered& steered, const Call& call) {
  auto found = steered.arrays.rules().find(id_of(call));
  if (!found) throw no_such("rule", call.parameter(0));
  return document(rule_document(*found));
}

Answer add_rule(Steered& steered, const Call& call) {
  const scsi::RuleId id = steered.arrays.rules().add(rule_from(call.body));
  note(steered, fmt::format("rule {} is added", static_cast<unsigned>(id)));
  return document(rule_document(*steered.arrays.rules().find(id)), 201);
}

Answer remove_rule(Steered& steered, const Call& call) {
  if (!steered.arrays.rules().remove(id_of(call))) throw no_such("rule", call.parameter(0));
  note(steered, fmt::format("rule {} is removed", call.parameter(0)));
  return nothing_to_say();
}

Answer clear_rules(Steered& steered, const Call&) {
  steered.arrays.rules().clear();
  note(steered, "all rules are removed");
  return nothing_to_say();
}

Answer put_state(Steered& steered, const Call& call) {
  steered.arrays.rules().set_state(std::string(call.body.at("state").get_string()));
  note(steered, fmt::format("the state of rules is \"{}\"", steered.arrays.rules().state()));
  return rules_document(steered);
}

Answer start_over(Steered& steered, const Call&) {
  steered.arrays.rules().start_over();
  note(steered, "all rules count from the start");
  return rules_document(steered);
}

constexpr Route kRoutes[] = {
    {.path = "/v1/rules", .summary = "All rules, and what each has counted", .handle = list_rules, .result = &kRules},
    {.method = Method::post,
     .path = "/v1/rules",
     .summary = "Add a rule behind the others",
     .handle = add_rule,
     .body = &kRule,
     .result = &kRule,
     .success = 201},
    {.method = Method::remove,
     .path = "/v1/rules",
     .summary = "Remove all rules",
     .handle = clear_rules,
     .success = 204},
    {.method = Method::put,
     .path = "/v1/rules/state",
     .summary = "Set the state that rules share",
     .handle = put_state,
     .body = &kState,
     .result = &kRules},
    {.method = Method::post,
     .path = "/v1/rules/start-over",
     .summary = "All rules count from the start, and the state is the first one",
     .handle = start_over,
     .result = &kRules},
    {.path = "/v1/rules/{id}", .summary = "A rule, and what it has counted", .handle = get_rule, .result = &kRule},
    {.method = Method::remove,
     .path = "/v1/rules/{id}",
     .summary = "Remove a rule",
     .handle = remove_rule,
     .success = 204},
};

}  // namespace

std::span<const Route> rule_routes() { return kRoutes; }

}  // namespace target::control
