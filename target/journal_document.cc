#include "target/journal_document.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/array_clock.h"
#include "scsi/command_events.h"
#include "scsi/token_words.h"

namespace target {
namespace {

namespace json = boost::json;

std::string_view copy_status_name(tokens::CopyStatus status) {
  switch (status) {
    case tokens::CopyStatus::completed: return "completed";
    case tokens::CopyStatus::completed_with_errors: return "completed with errors";
    case tokens::CopyStatus::completed_partial: return "completed partial";
    case tokens::CopyStatus::completed_residual: return "completed residual";
    case tokens::CopyStatus::in_progress:
    case tokens::CopyStatus::in_progress_foreground:
    case tokens::CopyStatus::in_progress_background: return "in progress";
    case tokens::CopyStatus::terminated: break;
  }
  return "terminated";
}

void add_text(json::object& object, std::string_view key, const std::string& text) {
  if (!text.empty()) object[key] = text;
}

template <typename T>
void add_number(json::object& object, std::string_view key, const std::optional<T>& number) {
  if (number) object[key] = static_cast<std::uint64_t>(*number);
}

json::object sense_document(const scsi::Sense& sense) {
  json::object object{{"code", scsi::code_text(sense)},
                      {"key", static_cast<unsigned>(sense.key)},
                      {"asc", sense.asc()},
                      {"ascq", sense.ascq()},
                      {"text", scsi::describe(sense)}};
  add_number(object, "information", sense.information);
  if (sense.field) {
    json::object& field = object["field"].emplace_object();
    field["in"] = sense.field->in_cdb ? "cdb" : sense.field->in_segment ? "segment" : "data-out";
    field["byte"] = sense.field->byte;
    add_number(field, "bit", sense.field->bit);
  }
  return object;
}

void add_token(json::object& object, const scsi::EventToken& token) {
  if (token.number != 0) object["token"] = token.number;
  add_text(object, "token_array", token.array);
  object["token_id"] = fmt::format("{:016x}", static_cast<std::uint64_t>(token.id));
}

}  // namespace

boost::json::object event_document(const scsi::Event& event) {
  json::object object{{"sequence", event.sequence},
                      {"time_us", base::ArrayClock::since_start(event.time).count()},
                      {"kind", scsi::name_of(event.kind)}};
  add_text(object, "array", event.array);
  add_text(object, "target", event.target);
  add_number(object, "lun", event.lun);
  add_text(object, "logical_unit", event.logical_unit);
  add_text(object, "initiator", event.initiator);
  add_text(object, "command", event.command);
  add_number(object, "opcode", event.opcode);
  add_number(object, "service_action", event.service_action);
  add_number(object, "page", event.page);
  add_number(object, "list_identifier", event.list_identifier);
  if (event.token) add_token(object, *event.token);
  add_number(object, "lba", event.lba);
  add_number(object, "blocks", event.blocks);
  add_number(object, "bytes", event.bytes);
  if (event.status) object["status"] = scsi::describe(*event.status);
  if (event.sense) object["sense"] = sense_document(*event.sense);
  if (event.copy_status) {
    object["copy_status"] = copy_status_name(*event.copy_status);
    object["copy_status_code"] = static_cast<unsigned>(*event.copy_status);
  }
  if (event.transfer_count) {
    object["transfer_count"] = *event.transfer_count;
    object["transfer_count_units"] =
        event.transfer_count_units == tokens::TransferCountUnits::bytes ? "bytes" : "blocks";
  }
  if (event.token_state) object["token_state"] = scsi::name_of(*event.token_state);
  add_text(object, "rule", event.rule);
  add_number(object, "left_out", event.left_out);
  add_text(object, "reason", event.reason);
  return object;
}

std::string event_line(const scsi::Event& event) { return json::serialize(event_document(event)) + "\n"; }

}  // namespace target
