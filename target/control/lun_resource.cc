// LUNs: what they are, that they come and go, grow, shrink, are protected, and change their access states.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "scsi/logical_unit.h"
#include "scsi/reservations.h"
#include "target/config_ports.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kHighestLun = 16383;
constexpr auto kStates = spelled(kAccessStateWords);
constexpr std::string_view kProvisioning[] = {"thin", "thick"};

constexpr Field kAccessFields[] = {
    {.name = "group", .kind = Kind::whole, .about = "a portal group of the target", .low = 1, .high = 65535},
    {.name = "state", .about = "the access state through it; active/optimized", .required = false, .words = kStates},
    {.name = "preferred", .kind = Kind::flag, .about = "the PREF bit", .required = false},
};
constexpr Shape kAccess{
    .name = "Access", .about = "How a LUN is reached through a portal group (ALUA)", .fields = kAccessFields};

constexpr Field kLunFields[] = {
    {.name = "target", .about = "the target's iSCSI name"},
    {.name = "number", .kind = Kind::whole, .about = "the logical unit number"},
    {.name = "name", .about = "unique in the process"},
    {.name = "array", .about = "the array it is of"},
    {.name = "store", .about = "where its blocks live"},
    {.name = "urls", .kind = Kind::texts, .about = "where it is reached, one for each portal group"},
    {.name = "size_bytes", .kind = Kind::whole, .about = "its capacity"},
    {.name = "block_size", .kind = Kind::whole, .about = "bytes of a logical block"},
    {.name = "provisioning", .about = "thin or thick", .words = kProvisioning},
    {.name = "read_only", .kind = Kind::flag, .about = "every write is refused"},
    {.name = "removable", .kind = Kind::flag, .about = "its medium can be ejected"},
    {.name = "stopped", .kind = Kind::flag, .about = "by START STOP UNIT"},
    {.name = "serial", .about = "VPD page 80h"},
    {.name = "naa", .about = "VPD page 83h, NAA"},
    {.name = "allowed_initiators", .kind = Kind::texts, .about = "for whom it is there; none: everybody"},
    {.name = "access", .kind = Kind::objects, .about = "its access states; none without ALUA", .shape = &kAccess},
    {.name = "registrants", .kind = Kind::whole, .about = "I_T nexuses registered for persistent reservations"},
    {.name = "reservation_type", .kind = Kind::whole, .about = "of the persistent reservation", .nullable = true},
    {.name = "bytes_read", .kind = Kind::whole, .about = "by good commands, since it was made"},
    {.name = "bytes_written", .kind = Kind::whole, .about = "by good commands, since it was made"},
};
constexpr Field kNewFields[] = {
    {.name = "store", .about = "memory:SIZE or file:PATH[,ro][,size=SIZE]", .low = 1},
    {.name = "number",
     .kind = Kind::whole,
     .about = "one that the target has not; the next",
     .required = false,
     .high = kHighestLun},
    {.name = "name", .about = "unique in the process; lunN", .required = false, .low = 1, .high = 64},
    {.name = "block_size", .kind = Kind::whole, .about = "512 or 4096; 512", .required = false, .high = 4096},
    {.name = "physical_block_exponent", .kind = Kind::whole, .about = "0 to 15; 0", .required = false, .high = 15},
    {.name = "read_only", .kind = Kind::flag, .about = "false", .required = false},
    {.name = "removable", .kind = Kind::flag, .about = "false", .required = false},
    {.name = "provisioning", .about = "thin", .required = false, .words = kProvisioning},
    {.name = "self_encrypting", .kind = Kind::flag, .about = "false", .required = false},
    {.name = "soft_threshold",
     .kind = Kind::size,
     .about = "none",
     .required = false,
     .low = 1,
     .high = static_cast<std::uint64_t>(INT64_MAX)},
    {.name = "allowed_initiators", .kind = Kind::texts, .about = "everybody", .required = false},
    {.name = "serial", .about = "VPD page 80h; derived", .required = false, .low = 1, .high = 20},
    {.name = "naa", .about = "VPD page 83h; derived", .required = false, .low = 32, .high = 36},
    {.name = "access", .kind = Kind::objects, .about = "access states", .required = false, .shape = &kAccess},
};
constexpr Field kListFields[] = {{.name = "luns", .kind = Kind::objects, .about = "all of them", .shape = &kLunShape}};
constexpr Shape kLuns{.name = "Luns", .about = "", .fields = kListFields};
constexpr Field kChangeFields[] = {
    {.name = "size",
     .kind = Kind::size,
     .about = "the capacity it is to have: memory grows and shrinks, a file grows",
     .required = false,
     .low = 1,
     .high = std::uint64_t{1} << 62},  // as of any store
    {.name = "read_only", .kind = Kind::flag, .about = "whether writes are refused", .required = false},
    {.name = "access",
     .kind = Kind::objects,
     .about = "access states; a portal group that is not named is active/optimized",
     .required = false,
     .shape = &kAccess},
};
constexpr Shape kChange{.name = "LunChange", .about = "What is to be another", .fields = kChangeFields};

AccessConfig access_of(const json::object& keys) {
  AccessConfig access{.group = keys.at("group").to_number<std::uint16_t>()};
  if (const json::value* state = keys.if_contains("state"))
    access.state = *find_word(kAccessStateWords, state->get_string());
  if (const json::value* preferred = keys.if_contains("preferred")) access.preferred = preferred->get_bool();
  return access;
}

json::array access_document(const scsi::LogicalUnit& unit) {
  json::array states;
  for (const scsi::TargetPortGroup& group : unit.target_port_groups().groups())
    states.push_back(json::object{
        {"group", group.number}, {"state", word_of(kAccessStateWords, group.state)}, {"preferred", group.preferred}});
  return states;
}

Answer list_luns(Steered& steered, const Call&) {
  json::array items;
  for (const auto& node : steered.arrays.directory().targets)
    for (const Array::ExportedLun& lun : steered.arrays.find_array(node->name)->luns())
      if (lun.target_name == node->name)
        items.push_back(lun_document(steered, steered.arrays.find_lun(node->name, lun.config.number)));
  return document(list_of("luns", std::move(items)));
}

Answer list_luns_of_target(Steered& steered, const Call& call) {
  const std::string name = find_target(steered, call.parameter(0))->name;
  json::array items;
  for (const Array::ExportedLun& lun : steered.arrays.find_array(name)->luns())
    if (lun.target_name == name)
      items.push_back(lun_document(steered, steered.arrays.find_lun(name, lun.config.number)));
  return document(list_of("luns", std::move(items)));
}

Answer get_lun(Steered& steered, const Call& call) {
  return document(lun_document(steered, find_lun(steered, call.parameter(0), call.parameter(1))));
}

/// A LUN is judged as one of its target, whose other keys matter to some of its own.
LunConfig lun_config(const Steered& steered, const iscsi::TargetNode& node, json::object keys) {
  const Array& array = *steered.arrays.find_array(node.name);
  if (!keys.contains("number")) {
    std::uint64_t next = 0;
    for (const Array::ExportedLun& lun : array.luns())
      if (lun.target_name == node.name) next = std::max<std::uint64_t>(next, lun.config.number + 1u);
    keys["number"] = next;
  }
  json::object target{{"name", node.name},
                      {"alua", word_of(kAluaWords, array.alua(node.name))},
                      {"portal_groups", json::array(node.portal_group_tags.begin(), node.portal_group_tags.end())},
                      {"lun", json::array{std::move(keys)}}};
  if (!node.allowed_initiators.empty())
    target["allowed_initiators"] = json::array(node.allowed_initiators.begin(), node.allowed_initiators.end());
  try {
    Config judged = steered.started;
    judged.targets = {target_config(target)};
    check_portal_groups(judged, "the request");
    return judged.targets.front().luns.front();
  } catch (const ConfigError& error) {
    constexpr std::string_view kPrefix = "lun.";
    auto bare = [&](std::string text) { return text.starts_with(kPrefix) ? text.substr(kPrefix.size()) : text; };
    throw Refusal(
        {.status = 422, .detail = bare(error.text()), .name = bare(error.key()), .rule = error.rule(), .value = {}});
  }
}

Answer add_lun(Steered& steered, const Call& call) {
  auto node = find_target(steered, call.parameter(0));
  LunConfig lun = lun_config(steered, *node, call.body);
  tell_apart(steered, lun);
  steered.arrays.add_lun(node->name, lun);
  note(steered, fmt::format("LUN {} of {} is added: {}", lun.number, node->name, lun.store));
  return document(lun_document(steered, steered.arrays.find_lun(node->name, lun.number)), 201);
}

std::vector<AccessConfig> judged_access(const Arrays::OfferedLun& lun, const json::array& wanted) {
  const scsi::TargetPortGroups& groups = lun.lun->logical_unit->target_port_groups();
  if (!groups.change_implicitly())
    throw conflict(fmt::format("\"{}\" has no access states that the array changes", lun.lun->config.name), "access",
                   "a target with alua implicit or both");
  std::vector<AccessConfig> access;
  for (const json::value& each : wanted) {
    access.push_back(access_of(each.get_object()));
    if (!groups.find(access.back().group))
      throw not_as_expected(422, "access.group", "a portal group of the target", &each.at("group"));
  }
  return access;
}

void change_access(Steered& steered, const Arrays::OfferedLun& lun, const std::vector<AccessConfig>& access) {
  look_at_access(*lun.lun);
  steered.arrays.change_access(lun.lun->target_name, lun.lun->config.number, access);
}

/// All is judged before anything is done, and what a file system may refuse comes first.
Answer change_lun(Steered& steered, const Call& call) {
  const Arrays::OfferedLun lun = find_lun(steered, call.parameter(0), call.parameter(1));
  const std::string target = lun.lun->target_name;
  const std::uint16_t number = lun.lun->config.number;
  const json::value* size = call.body.if_contains("size");
  const json::value* read_only = call.body.if_contains("read_only");
  const json::value* access = call.body.if_contains("access");
  if (size) Array::judge_size(*lun.lun, size_bytes(*size));
  if (read_only) Array::judge_read_only(*lun.lun, read_only->get_bool());
  std::vector<AccessConfig> states;
  if (access) states = judged_access(lun, access->get_array());
  if (size) steered.arrays.resize_lun(target, number, size_bytes(*size));
  if (access) change_access(steered, lun, states);
  if (read_only) steered.arrays.set_read_only(target, number, read_only->get_bool());
  note(steered, fmt::format("LUN {} of {} is changed: {}", number, target, json::serialize(call.body)));
  return document(lun_document(steered, steered.arrays.find_lun(target, number)));
}

Answer remove_lun(Steered& steered, const Call& call) {
  const Arrays::OfferedLun lun = find_lun(steered, call.parameter(0), call.parameter(1));
  const std::string target = lun.lun->target_name;
  const std::uint16_t number = lun.lun->config.number;
  steered.arrays.remove_lun(target, number);
  note(steered, fmt::format("LUN {} of {} is removed", number, target));
  return nothing_to_say();
}

}  // namespace

constexpr Shape kLunShape{.name = "Lun", .about = "A logical unit as a target offers it", .fields = kLunFields};
constexpr Shape kNewLunShape{
    .name = "NewLun", .about = "A LUN to be added, by the keys of [[target.lun]]", .fields = kNewFields};

void look_at_access(Array::ExportedLun& lun) {
  const scsi::TargetPortGroups& groups = lun.logical_unit->target_port_groups();
  if (!groups.change_implicitly()) return;
  lun.config.access.clear();
  for (const scsi::TargetPortGroup& group : groups.groups())
    lun.config.access.push_back({.group = group.number, .state = group.state, .preferred = group.preferred});
}

json::object lun_document(const Steered& steered, const Arrays::OfferedLun& lun) {
  const scsi::LogicalUnit& unit = *lun.lun->logical_unit;
  const LunConfig& config = lun.lun->config;
  auto node = steered.arrays.directory().find(lun.lun->target_name);
  json::array urls;
  for (const ServedPortal& portal : steered.portals)
    if (node && node->is_offered_in(portal.group))
      urls.emplace_back(fmt::format("iscsi://{}/{}/{}", portal.address, lun.lun->target_name, config.number));
  const auto& initiators = unit.config().allowed_initiators;
  json::object object{{"target", lun.lun->target_name},
                      {"number", config.number},
                      {"name", unit.config().name},
                      {"array", shown_name(*lun.array)},
                      {"store", config.store},
                      {"urls", std::move(urls)},
                      {"size_bytes", unit.size_bytes()},
                      {"block_size", unit.block_length()},
                      {"provisioning", unit.config().thin ? "thin" : "thick"},
                      {"read_only", unit.read_only()},
                      {"removable", unit.config().removable},
                      {"stopped", unit.stopped()},
                      {"serial", unit.identity().serial},
                      {"naa", hexadecimal(unit.identity().naa)},
                      {"allowed_initiators", json::array(initiators.begin(), initiators.end())},
                      {"access", access_document(unit)},
                      {"registrants", unit.reservations().registrations().size()},
                      {"reservation_type", nullptr},
                      {"bytes_read", unit.statistics().read.bytes},
                      {"bytes_written", unit.statistics().write.bytes}};
  if (auto type = unit.reservations().type()) object["reservation_type"] = static_cast<unsigned>(*type);
  return object;
}

void tell_apart(const Steered& steered, LunConfig& lun) {
  const std::set<std::string> names = steered.arrays.lun_names();
  for (unsigned target = 2; !lun.named && names.contains(lun.name); ++target)
    lun.name = fmt::format("target{}-lun{}", target, lun.number);
  for (const auto& array : steered.arrays.all()) {
    if (array->name() == lun.name)
      throw conflict(fmt::format("an array has the name \"{}\"", lun.name), "name", "a name that nothing else has");
    for (const Array::ExportedLun& other : array->luns()) {
      const scsi::LogicalUnit& unit = *other.logical_unit;
      if (unit.config().name == lun.name)
        throw conflict(fmt::format("a LUN has the name \"{}\" already", lun.name), "name", "a name that no LUN has");
      if (!lun.serial.empty() && unit.identity().serial == lun.serial)
        throw conflict(fmt::format("\"{}\" has the serial {}", unit.config().name, lun.serial), "serial",
                       "a serial that no other LUN has");
      if (lun.naa && unit.identity().naa == *lun.naa)
        throw conflict(fmt::format("\"{}\" has that NAA", unit.config().name), "naa", "an NAA that no other LUN has");
    }
  }
}

namespace {
constexpr Route kRoutes[] = {
    {.path = "/v1/luns", .summary = "The LUNs of all targets", .handle = list_luns, .result = &kLuns},
    {.path = "/v1/targets/{target}/luns",
     .summary = "The LUNs of a target",
     .handle = list_luns_of_target,
     .result = &kLuns},
    {.method = Method::post,
     .path = "/v1/targets/{target}/luns",
     .summary = "Add a LUN",
     .handle = add_lun,
     .body = &kNewLunShape,
     .result = &kLunShape,
     .success = 201},
    {.path = "/v1/targets/{target}/luns/{number}", .summary = "A LUN", .handle = get_lun, .result = &kLunShape},
    {.method = Method::patch,
     .path = "/v1/targets/{target}/luns/{number}",
     .summary = "Change a LUN's size, its write protection or its access states",
     .handle = change_lun,
     .body = &kChange,
     .result = &kLunShape},
    {.method = Method::remove,
     .path = "/v1/targets/{target}/luns/{number}",
     .summary = "Remove a LUN",
     .handle = remove_lun,
     .success = 204},
};
}  // namespace

std::span<const Route> lun_routes() { return kRoutes; }

}  // namespace target::control
