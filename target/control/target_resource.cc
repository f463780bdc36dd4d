// Targets: which there are, who may log in, and that they come and go.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <set>

#include "target/config_ports.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr Field kTargetFields[] = {
    {.name = "name", .about = "its iSCSI name"},
    {.name = "array", .about = "the array whose target it is"},
    {.name = "alias", .about = "text that hosts show"},
    {.name = "portal_groups", .kind = Kind::wholes, .about = "the portal groups it is offered in"},
    {.name = "alua", .about = "who changes access states"},
    {.name = "allowed_initiators", .kind = Kind::texts, .about = "who may log in; none: everybody"},
    {.name = "chap", .kind = Kind::flag, .about = "whether initiators prove who they are"},
    {.name = "redirect", .about = "where whoever logs in is sent instead", .nullable = true},
    {.name = "luns", .kind = Kind::wholes, .about = "the numbers of its LUNs"},
    {.name = "sessions", .kind = Kind::whole, .about = "sessions with it"},
};
constexpr Shape kTarget{.name = "Target", .about = "An iSCSI target", .fields = kTargetFields};
constexpr Field kListFields[] = {{.name = "targets", .kind = Kind::objects, .about = "all of them", .shape = &kTarget}};
constexpr Shape kTargets{.name = "Targets", .about = "", .fields = kListFields};

constexpr Field kMutualFields[] = {
    {.name = "name", .about = "the array's CHAP name", .low = 1, .high = 255},
    {.name = "secret", .about = "what the array proves", .low = 1, .high = 255, .secret = true},
    {.name = "required", .kind = Kind::flag, .about = "whether an initiator must ask for it", .required = false},
};
constexpr Shape kMutual{.name = "MutualChap", .about = "What the array proves", .fields = kMutualFields};
constexpr Field kChapFields[] = {
    {.name = "name", .about = "the initiator's CHAP name", .low = 1, .high = 255},
    {.name = "secret", .about = "what the initiator proves", .low = 1, .high = 255, .secret = true},
    {.name = "mutual", .kind = Kind::object, .about = "what the array proves", .required = false, .shape = &kMutual},
};
constexpr Shape kChap{.name = "Chap", .about = "What initiators prove (RFC 7143, 12.1.3)", .fields = kChapFields};
constexpr auto kAlua = spelled(kAluaWords);
constexpr Field kNewFields[] = {
    {.name = "name", .about = "an iSCSI name that no target has", .low = 1, .high = 223},
    {.name = "array", .about = "whose target it is; the only array", .required = false},
    {.name = "alias", .about = "text that hosts show", .required = false, .high = 255},
    {.name = "portal_groups",
     .kind = Kind::wholes,
     .about = "where it is offered; all",
     .required = false,
     .low = 1,
     .high = 65535},
    {.name = "alua", .about = "who changes access states; none", .required = false, .words = kAlua},
    {.name = "allowed_initiators", .kind = Kind::texts, .about = "who may log in; everybody", .required = false},
    {.name = "redirect", .about = "ADDR:PORT where whoever logs in is sent, this time", .required = false},
    {.name = "redirect_permanently", .about = "the same for good", .required = false},
    {.name = "chap", .kind = Kind::object, .about = "", .required = false, .shape = &kChap},
    {.name = "luns", .kind = Kind::objects, .about = "its LUNs", .required = false, .shape = &kNewLunShape},
};
constexpr Shape kNewTarget{
    .name = "NewTarget", .about = "A target to be added, by the keys of [[target]]", .fields = kNewFields};
constexpr Field kChangeFields[] = {
    {.name = "alias", .about = "text that hosts show", .required = false, .high = 255},
    {.name = "allowed_initiators", .kind = Kind::texts, .about = "who may log in from now on", .required = false},
};
constexpr Shape kChange{.name = "TargetChange", .about = "What is to be another", .fields = kChangeFields};
constexpr Field kRemovalFields[] = {{.name = "grace_s",
                                     .kind = Kind::whole,
                                     .about = "how long its sessions may take to log out; 3",
                                     .required = false,
                                     .high = 3600}};
constexpr Shape kRemoval{.name = "", .about = "", .fields = kRemovalFields};

json::object target_document(const Steered& steered, const iscsi::TargetNode& node) {
  const Array& array = *steered.arrays.find_array(node.name);
  json::array luns;
  for (const Array::ExportedLun& lun : array.luns())
    if (lun.target_name == node.name) luns.emplace_back(lun.config.number);
  const auto sessions = steered.sessions.list();
  json::object target{
      {"name", node.name},
      {"array", shown_name(array)},
      {"alias", node.alias},
      {"portal_groups", json::array(node.portal_group_tags.begin(), node.portal_group_tags.end())},
      {"alua", word_of(kAluaWords, array.alua(node.name))},
      {"allowed_initiators", json::array(node.allowed_initiators.begin(), node.allowed_initiators.end())},
      {"chap", node.authenticates()},
      {"redirect", nullptr},
      {"luns", std::move(luns)},
      {"sessions", std::ranges::count(sessions, node.name, &iscsi::SessionInfo::target_name)}};
  if (node.redirection)
    target["redirect"] = fmt::format("{}:{}", node.redirection->to.address, node.redirection->to.port);
  return target;
}

Answer list_targets(Steered& steered, const Call&) {
  json::array items;
  for (const auto& node : steered.arrays.directory().targets) items.push_back(target_document(steered, *node));
  return document(list_of("targets", std::move(items)));
}

Answer get_target(Steered& steered, const Call& call) {
  return document(target_document(steered, *find_target(steered, call.parameter(0))));
}

std::size_t array_index(const Steered& steered, const json::object& body) {
  const auto& all = steered.arrays.all();
  const json::value* wanted = body.if_contains("array");
  if (!wanted && all.size() > 1) throw not_as_expected(422, "array", "the name of an array", nullptr);
  if (!wanted) return 0;
  const Array& array = find_array(steered, std::string(wanted->get_string()));
  auto found = std::ranges::find(all, &array, [](const auto& each) { return each.get(); });
  return static_cast<std::size_t>(found - all.begin());
}

void refuse_other_groups(const Steered& steered, const TargetConfig& target) {
  Config judged = steered.started;
  judged.targets = {target};
  check_portal_groups(judged, "the request");
}

/// All of it or nothing: the stores are opened first.
Answer add_target(Steered& steered, const Call& call) {
  json::object keys = call.body;
  const std::size_t array = array_index(steered, keys);
  keys.erase("array");
  if (json::value* luns = keys.if_contains("luns")) {
    json::value moved = std::move(*luns);
    keys.erase("luns");
    keys["lun"] = std::move(moved);
  }
  TargetConfig config = target_config(keys);
  config.array = array;
  refuse_other_groups(steered, config);
  if (steered.arrays.target_names().contains(config.name))
    throw conflict(fmt::format("there is a target {} already, or it is still being removed", config.name), "name",
                   "a name that no target has");
  std::vector<Array::OpenLun> opened;
  std::set<std::string> names;
  for (LunConfig& lun : config.luns) {
    tell_apart(steered, lun);
    if (!names.insert(lun.name).second)
      throw conflict(fmt::format("two LUNs would have the name \"{}\"", lun.name), "name", "a name that no LUN has");
    opened.push_back(steered.arrays.open_lun(array, lun));
  }
  steered.arrays.add_target(config);
  for (Array::OpenLun& lun : opened) steered.arrays.add_lun(config.name, std::move(lun));
  note(steered, fmt::format("{} is added with {} LUNs", config.name, config.luns.size()));
  return document(target_document(steered, *find_target(steered, config.name)), 201);
}

Answer change_target(Steered& steered, const Call& call) {
  auto node = find_target(steered, call.parameter(0));
  TargetConfig config{.name = node->name,
                      .alias = node->alias,
                      .authentication = node->authentication,
                      .authentication_of = node->authentication_of,
                      .allowed_initiators = node->allowed_initiators,
                      .redirection = node->redirection};
  json::object keys = call.body;
  if (const json::value* names = keys.if_contains("allowed_initiators"); names && names->get_array().empty()) {
    keys.erase("allowed_initiators");  // for everybody
    config.allowed_initiators.clear();
  }
  const TargetConfig wanted = target_config(keys);
  if (keys.contains("alias")) config.alias = wanted.alias;
  if (keys.contains("allowed_initiators")) config.allowed_initiators = wanted.allowed_initiators;
  if (steered.arrays.set_login(config)) note(steered, fmt::format("who may log in to {} is changed", node->name));
  return document(target_document(steered, *find_target(steered, node->name)));
}

Answer remove_target(Steered& steered, const Call& call) {
  constexpr std::uint64_t kGrace = 3;
  const std::string name = find_target(steered, call.parameter(0))->name;
  const json::value* grace = call.query.if_contains("grace_s");
  steered.arrays.remove_target(name);
  note(steered, fmt::format("{} is removed", name));
  steered.sessions.request_logout(name, std::chrono::seconds(grace ? grace->to_number<std::uint64_t>() : kGrace));
  return nothing_to_say();
}

constexpr Route kRoutes[] = {
    {.path = "/v1/targets", .summary = "All targets", .handle = list_targets, .result = &kTargets},
    {.method = Method::post,
     .path = "/v1/targets",
     .summary = "Add a target, with LUNs or without",
     .handle = add_target,
     .body = &kNewTarget,
     .result = &kTarget,
     .success = 201},
    {.path = "/v1/targets/{target}", .summary = "A target", .handle = get_target, .result = &kTarget},
    {.method = Method::patch,
     .path = "/v1/targets/{target}",
     .summary = "Change who may log in to a target, and its alias",
     .handle = change_target,
     .body = &kChange,
     .result = &kTarget},
    {.method = Method::remove,
     .path = "/v1/targets/{target}",
     .summary = "Remove a target: its sessions are asked to log out, then its LUNs go",
     .handle = remove_target,
     .query = &kRemoval,
     .success = 204},
};

}  // namespace

std::span<const Route> target_routes() { return kRoutes; }

}  // namespace target::control
