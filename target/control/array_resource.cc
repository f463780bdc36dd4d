// Arrays, and the ready-made profiles.
#include <boost/json.hpp>

#include "scsi/copy_manager.h"
#include "scsi/profiles.h"
#include "target/control/problem.h"
#include "target/control/profile_document.h"
#include "target/control/resources.h"
#include "target/control/steered.h"
#include "tokens/copy_operation.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr Field kArrayFields[] = {
    {.name = "id", .about = "the array's id, from which serials and designators follow"},
    {.name = "name", .about = "its name; the id where it is the only array"},
    {.name = "id_is_stable", .kind = Kind::flag, .about = "whether it has the same id after the next start"},
    {.name = "targets", .kind = Kind::texts, .about = "iSCSI names, of those that are being removed, too"},
    {.name = "luns", .kind = Kind::whole, .about = "how many"},
    {.name = "tokens", .kind = Kind::whole, .about = "ROD tokens, those included that ended a moment ago"},
    {.name = "maximum_tokens", .kind = Kind::whole, .about = "beyond, POPULATE TOKEN is refused"},
    {.name = "ended_tokens", .kind = Kind::whole, .about = "tokens that ended and whose reason is remembered"},
    {.name = "operations", .kind = Kind::whole, .about = "copy operations being processed"},
    {.name = "results", .kind = Kind::whole, .about = "results of copy operations that are kept"},
    {.name = "odx", .kind = Kind::flag, .about = "whether POPULATE TOKEN and WRITE USING TOKEN are offered"},
};
constexpr Shape kArray{.name = "Array", .about = "One array: a copy manager with its targets", .fields = kArrayFields};
constexpr Field kListFields[] = {{.name = "arrays", .kind = Kind::objects, .about = "all of them", .shape = &kArray}};
constexpr Shape kArrays{.name = "Arrays", .about = "", .fields = kListFields};

constexpr Field kNamedFields[] = {
    {.name = "name", .about = "what odxd.toml calls it"},
    {.name = "summary", .about = "one line for people"},
};
constexpr Shape kNamed{.name = "ProfileName", .about = "A ready-made profile", .fields = kNamedFields};
constexpr Field kProfileListFields[] = {
    {.name = "profiles", .kind = Kind::objects, .about = "all there are", .shape = &kNamed}};
constexpr Shape kProfiles{.name = "Profiles", .about = "", .fields = kProfileListFields};

json::object array_document(const Array& array) {
  scsi::CopyManager& manager = array.copy_manager();
  const std::vector<std::string> names = array.target_names();
  const std::size_t running = manager.operations().in_progress();
  return {{"id", array.id()},
          {"name", shown_name(array)},
          {"id_is_stable", array.id_is_stable()},
          {"targets", json::array(names.begin(), names.end())},
          {"luns", array.luns().size()},
          {"tokens", manager.tokens().tokens()},
          {"maximum_tokens", manager.profile().maximum_tokens},
          {"ended_tokens", manager.tokens().tombstones()},
          {"operations", running},
          {"results", manager.operations().size() - std::min(running, manager.operations().size())},
          {"odx", manager.profile().odx}};
}

Answer list_arrays(Steered& steered, const Call&) {
  json::array items;
  for (const auto& array : steered.arrays.all()) items.push_back(array_document(*array));
  return document(list_of("arrays", std::move(items)));
}

Answer get_array(Steered& steered, const Call& call) {
  return document(array_document(find_array(steered, call.parameter(0))));
}

Answer get_array_profile(Steered& steered, const Call& call) {
  return document(profile_document(find_array(steered, call.parameter(0)).copy_manager().profile()));
}

Answer list_profiles(Steered&, const Call&) {
  json::array items;
  for (const scsi::NamedProfile& each : scsi::profiles())
    items.push_back(json::object{{"name", each.name}, {"summary", each.summary}});
  return document(list_of("profiles", std::move(items)));
}

Answer get_profile(Steered&, const Call& call) {
  auto profile = scsi::find_profile(call.parameter(0));
  if (!profile) throw no_such("profile", call.parameter(0));
  return document(profile_document(*profile));
}

constexpr Route kRoutes[] = {
    {.path = "/v1/arrays", .summary = "All arrays", .handle = list_arrays, .result = &kArrays},
    {.path = "/v1/arrays/{array}", .summary = "An array by its id or name", .handle = get_array, .result = &kArray},
    {.path = "/v1/arrays/{array}/profile",
     .summary = "Whose limits an array has, by the keys of odxd.toml",
     .handle = get_array_profile,
     .result = &kProfileShape},
    {.path = "/v1/profiles", .summary = "The ready-made profiles", .handle = list_profiles, .result = &kProfiles},
    {.path = "/v1/profiles/{profile}",
     .summary = "The limits of a ready-made profile, by the keys of odxd.toml",
     .handle = get_profile,
     .result = &kProfileShape},
};

}  // namespace

std::span<const Route> array_routes() { return kRoutes; }

}  // namespace target::control
