// Which pairs of LUNs and arrays cannot move data between them.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "scsi/copy_fabric.h"
#include "scsi/copy_manager.h"
#include "target/config_profile.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr auto kRefusals = spelled(kRefusalWords);
constexpr Field kPairFields[] = {
    {.name = "a", .about = "the name of a LUN or an array"},
    {.name = "b", .about = "the name of another"},
    {.name = "refusal",
     .about = "what a copy is refused with; the profile of the destination's array says",
     .required = false,
     .words = kRefusals},
};
constexpr Shape kPair{.name = "UnreachablePair", .about = "No data moves between them", .fields = kPairFields};
constexpr Field kMatrixFields[] = {{.name = "unreachable", .kind = Kind::objects, .about = "", .shape = &kPair}};
constexpr Shape kMatrix{
    .name = "Reachability", .about = "All pairs that are unreachable, and no others", .fields = kMatrixFields};
constexpr Field kEndsFields[] = {
    {.name = "a", .about = "the name of a LUN or an array"},
    {.name = "b", .about = "the name of another"},
};
constexpr Shape kEnds{.name = "Pair", .about = "Two LUNs or arrays", .fields = kEndsFields};

scsi::Reachability& reachability(const Steered& steered) {
  return steered.arrays.all().front()->copy_manager().reachability();
}

std::vector<UnreachablePair> pairs(const Steered& steered) {
  std::vector<UnreachablePair> all;
  for (const auto& cut : reachability(steered).cuts()) all.push_back({cut.a, cut.b, cut.refusal});
  return all;
}

Answer matrix_document(const Steered& steered) {
  json::array items;
  for (const auto& cut : reachability(steered).cuts()) {
    json::object pair{{"a", cut.a}, {"b", cut.b}};
    if (cut.refusal) pair["refusal"] = word_of(kRefusalWords, *cut.refusal);
    items.push_back(std::move(pair));
  }
  return document(list_of("unreachable", std::move(items)));
}

UnreachablePair pair_of(const Steered& steered, const json::object& keys) {
  std::set<std::string> names = steered.arrays.lun_names();
  for (const auto& array : steered.arrays.all())
    if (!array->name().empty()) names.insert(array->name());
  for (const char* key : {"a", "b"})
    if (!names.contains(std::string(keys.at(key).get_string())))
      throw not_as_expected(422, key, fmt::format("one of {}", fmt::join(names, ", ")), &keys.at(key));
  UnreachablePair pair{std::string(keys.at("a").get_string()), std::string(keys.at("b").get_string()), {}};
  if (const json::value* refusal = keys.if_contains("refusal"))
    pair.refusal = find_word(kRefusalWords, refusal->get_string());
  return pair;
}

bool same_ends(const UnreachablePair& one, const UnreachablePair& other) {
  return (one.a == other.a && one.b == other.b) || (one.a == other.b && one.b == other.a);
}

Answer get_matrix(Steered& steered, const Call&) { return matrix_document(steered); }

Answer put_matrix(Steered& steered, const Call& call) {
  std::vector<UnreachablePair> wanted;
  for (const json::value& each : call.body.at("unreachable").get_array())
    wanted.push_back(pair_of(steered, each.get_object()));
  steered.arrays.set_unreachable(wanted);
  return matrix_document(steered);
}

Answer cut(Steered& steered, const Call& call) {
  const UnreachablePair pair = pair_of(steered, call.body);
  std::vector<UnreachablePair> all = pairs(steered);
  std::erase_if(all, [&](const auto& each) { return same_ends(each, pair); });
  all.push_back(pair);
  steered.arrays.set_unreachable(all);
  return matrix_document(steered);
}

Answer mend(Steered& steered, const Call& call) {
  const UnreachablePair pair = pair_of(steered, call.body);
  std::vector<UnreachablePair> all = pairs(steered);
  if (std::erase_if(all, [&](const auto& each) { return same_ends(each, pair); }) == 0)
    throw conflict(fmt::format("\"{}\" and \"{}\" are not cut", pair.a, pair.b), "a", "a pair that is unreachable");
  steered.arrays.set_unreachable(all);
  return matrix_document(steered);
}

constexpr Route kRoutes[] = {
    {.path = "/v1/reachability", .summary = "Unreachable pairs", .handle = get_matrix, .result = &kMatrix},
    {.method = Method::put,
     .path = "/v1/reachability",
     .summary = "These pairs are unreachable from now on, and no others",
     .handle = put_matrix,
     .body = &kMatrix,
     .result = &kMatrix},
    {.method = Method::post,
     .path = "/v1/reachability/cut",
     .summary = "Make one more pair unreachable",
     .handle = cut,
     .body = &kPair,
     .result = &kMatrix},
    {.method = Method::post,
     .path = "/v1/reachability/mend",
     .summary = "Make a pair reachable again",
     .handle = mend,
     .body = &kEnds,
     .result = &kMatrix},
};

}  // namespace

std::span<const Route> reachability_routes() { return kRoutes; }

}  // namespace target::control
