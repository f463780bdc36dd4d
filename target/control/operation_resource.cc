// Copy operations that are being processed: how far they are, and that they are stopped.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>

#include "scsi/copy_job.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/task_set.h"
#include "scsi/token_words.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr std::string_view kCommands[] = {"EXTENDED COPY(LID1)", "EXTENDED COPY(LID4)", "POPULATE TOKEN",
                                          "WRITE USING TOKEN"};
constexpr Field kOperationFields[] = {
    {.name = "id", .kind = Kind::whole, .about = "unique in the process, in the order they began"},
    {.name = "array", .about = "whose copy manager processes it"},
    {.name = "command", .about = "that began it", .words = kCommands},
    {.name = "initiator", .about = "whose it is; null: its session is gone", .nullable = true},
    {.name = "lun", .about = "the name of the LUN it was sent to"},
    {.name = "list_identifier", .kind = Kind::whole, .about = "LIST IDENTIFIER"},
    {.name = "in_background", .kind = Kind::flag, .about = "its command was answered (IMMED=1)"},
    {.name = "stopping", .kind = Kind::flag, .about = "it was told to stop and ends soon"},
    {.name = "bytes", .kind = Kind::whole, .about = "transferred so far"},
};
constexpr Shape kOperation{.name = "Operation", .about = "A copy operation in progress", .fields = kOperationFields};
constexpr Field kListFields[] = {
    {.name = "operations", .kind = Kind::objects, .about = "in the order they began", .shape = &kOperation}};
constexpr Shape kOperations{.name = "Operations", .about = "", .fields = kListFields};

json::object operation_document(const Array& array, const scsi::CopyJob& job) {
  const tokens::CopyOperation& operation = job.progress();
  const bool blocks = operation.units() == tokens::TransferCountUnits::blocks;
  json::object object{{"id", job.number()},
                      {"array", shown_name(array)},
                      {"command", scsi::name_of(operation.command())},
                      {"initiator", nullptr},
                      {"lun", job.lu().config().name},
                      {"list_identifier", operation.key().list_identifier},
                      {"in_background", operation.status() == tokens::CopyStatus::in_progress_background},
                      {"stopping", job.stopping()},
                      {"bytes", operation.outcome().transfer_count * (blocks ? job.lu().block_length() : 1)}};
  const auto& nexuses = job.server().nexuses();
  if (auto nexus = nexuses.find(job.nexus()); nexus != nexuses.end())
    object["initiator"] = nexus->second.initiator_name;
  return object;
}

Answer list_operations(Steered& steered, const Call&) {
  json::array items;
  for (const auto& array : steered.arrays.all())
    for (const auto& job : array->copy_manager().jobs()) items.push_back(operation_document(*array, *job));
  return document(list_of("operations", std::move(items)));
}

struct Found {
  Array& array;
  std::shared_ptr<scsi::CopyJob> job;
};

Found find_operation(const Steered& steered, const std::string& text) {
  const std::uint64_t number = number_of(text, "id", UINT64_MAX);
  for (const auto& array : steered.arrays.all())
    for (const auto& job : array->copy_manager().jobs())
      if (job->number() == number) return {*array, job};
  throw no_such("operation", text);
}

Answer get_operation(Steered& steered, const Call& call) {
  const Found found = find_operation(steered, call.parameter(0));
  return document(operation_document(found.array, *found.job));
}

/// Answered when nothing of it moves any more.
Answer abort_operation(Steered& steered, const Call& call) {
  auto job = find_operation(steered, call.parameter(0)).job;
  return {.begin = [job](Answer::Respond respond) {
    job->stop(std::make_shared<scsi::Rendezvous>(
        [respond = std::move(respond)]() mutable { respond(nothing_to_say().response); }));
  }};
}

constexpr Route kRoutes[] = {
    {.path = "/v1/operations",
     .summary = "Copy operations in progress",
     .handle = list_operations,
     .result = &kOperations},
    {.path = "/v1/operations/{id}",
     .summary = "A copy operation in progress",
     .handle = get_operation,
     .result = &kOperation},
    {.method = Method::post,
     .path = "/v1/operations/{id}/abort",
     .summary = "Stop it, as COPY OPERATION ABORT does: 0A/2F/02",
     .handle = abort_operation,
     .success = 204},
};

}  // namespace

std::span<const Route> operation_routes() { return kRoutes; }

}  // namespace target::control
