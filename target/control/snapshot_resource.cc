// Snapshots of all disks in memory, and the way back to them.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>

#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr Field kLunFields[] = {
    {.name = "target", .about = "the target's iSCSI name"},
    {.name = "number", .kind = Kind::whole, .about = "the logical unit number"},
    {.name = "name", .about = "the LUN's name"},
    {.name = "size_bytes", .kind = Kind::whole, .about = "its capacity at the time"},
    {.name = "captured", .kind = Kind::flag, .about = "whether its data is in the snapshot"},
    {.name = "why_not", .about = "null where it is", .nullable = true},
};
constexpr Shape kLun{.name = "SnapshotLun", .about = "A LUN at the time of a snapshot", .fields = kLunFields};
constexpr Field kSnapshotFields[] = {
    {.name = "name", .about = "what it was called"},
    {.name = "age_s", .kind = Kind::number, .about = "since it was taken, by the array clock"},
    {.name = "luns", .kind = Kind::objects, .about = "all there were", .shape = &kLun},
};
constexpr Shape kSnapshot{
    .name = "Snapshot", .about = "The disks of all arrays at one moment", .fields = kSnapshotFields};
constexpr Field kListFields[] = {
    {.name = "snapshots", .kind = Kind::objects, .about = "in the order they were taken", .shape = &kSnapshot}};
constexpr Shape kSnapshots{.name = "Snapshots", .about = "", .fields = kListFields};
constexpr Field kNewFields[] = {{.name = "name", .about = "a name that no snapshot has", .low = 1, .high = 64}};
constexpr Shape kNew{.name = "NewSnapshot", .about = "What a snapshot is to be called", .fields = kNewFields};

json::object snapshot_document(const Steered& steered, const Snapshots::Snapshot& snapshot) {
  json::array luns;
  for (const Snapshots::Lun& lun : snapshot.luns) {
    json::object object{{"target", lun.target},
                        {"number", lun.number},
                        {"name", lun.name},
                        {"size_bytes", lun.size_bytes},
                        {"captured", lun.data.get() != nullptr},
                        {"why_not", nullptr}};
    if (!lun.data) object["why_not"] = lun.why_not;
    luns.push_back(std::move(object));
  }
  return {{"name", snapshot.name},
          {"age_s", seconds(steered.array_clock.now() - snapshot.taken)},
          {"luns", std::move(luns)}};
}

const Snapshots::Snapshot& find_snapshot(const Steered& steered, const std::string& name) {
  auto found = steered.snapshots.all().find(name);
  if (found == steered.snapshots.all().end()) throw no_such("snapshot", name);
  return found->second;
}

Answer list_snapshots(Steered& steered, const Call&) {
  std::vector<const Snapshots::Snapshot*> all;
  for (const auto& [name, snapshot] : steered.snapshots.all()) all.push_back(&snapshot);
  std::ranges::sort(all, {}, &Snapshots::Snapshot::number);
  json::array items;
  for (const auto* snapshot : all) items.push_back(snapshot_document(steered, *snapshot));
  return document(list_of("snapshots", std::move(items)));
}

Answer take_snapshot(Steered& steered, const Call& call) {
  const std::string name(call.body.at("name").get_string());
  const Snapshots::Snapshot& taken = steered.snapshots.take(name);
  note(steered, fmt::format("snapshot \"{}\" is taken", name));
  return document(snapshot_document(steered, taken), 201);
}

Answer get_snapshot(Steered& steered, const Call& call) {
  return document(snapshot_document(steered, find_snapshot(steered, call.parameter(0))));
}

Answer remove_snapshot(Steered& steered, const Call& call) {
  find_snapshot(steered, call.parameter(0));
  steered.snapshots.remove(call.parameter(0));
  note(steered, fmt::format("snapshot \"{}\" is let go of", call.parameter(0)));
  return nothing_to_say();
}

/// Answered when it is done, with what of the snapshot is back, and why the rest is not.
Answer restore_snapshot(Steered& steered, const Call& call) {
  const Snapshots::Snapshot& snapshot = find_snapshot(steered, call.parameter(0));
  Response good = document(snapshot_document(steered, snapshot)).response;
  auto later = std::make_shared<Answer::Respond>();
  note(steered, fmt::format("the disks go back to the snapshot \"{}\"", snapshot.name));
  steered.snapshots.restore(snapshot.name, [later, good](const std::vector<std::string>& failures) mutable {
    (*later)(failures.empty() ? std::move(good) : not_all_done(failures));
  });
  return {.begin = [later](Answer::Respond respond) { *later = std::move(respond); }};
}

constexpr Route kRoutes[] = {
    {.path = "/v1/snapshots", .summary = "All snapshots", .handle = list_snapshots, .result = &kSnapshots},
    {.method = Method::post,
     .path = "/v1/snapshots",
     .summary = "Take a snapshot of every LUN in memory, all of one moment",
     .handle = take_snapshot,
     .body = &kNew,
     .result = &kSnapshot,
     .success = 201},
    {.path = "/v1/snapshots/{snapshot}", .summary = "A snapshot", .handle = get_snapshot, .result = &kSnapshot},
    {.method = Method::post,
     .path = "/v1/snapshots/{snapshot}/restore",
     .summary = "Go back to it: hosts are told POWER ON (06/29/00), tokens are unknown from then on",
     .handle = restore_snapshot,
     .result = &kSnapshot},
    {.method = Method::remove,
     .path = "/v1/snapshots/{snapshot}",
     .summary = "Let go of a snapshot",
     .handle = remove_snapshot,
     .success = 204},
};

}  // namespace

std::span<const Route> snapshot_routes() { return kRoutes; }

}  // namespace target::control
