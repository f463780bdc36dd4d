// REQUEST SENSE (SPC-4 6.39).
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"
#include "scsi/unit_attentions.h"

namespace scsi {
namespace {

constexpr std::uint8_t kDesc = 0x01;

struct RequestSenseCdb {
  std::uint8_t operation_code;
  std::uint8_t desc;
  base::be16 reserved;
  std::uint8_t allocation_length;
  std::uint8_t control;
};
static_assert(sizeof(RequestSenseCdb) == 6);

/// What there is to say: the LUN's absence, a unit attention condition (which is cleared by it), the access state of
/// the target port, the logical unit's own state.
Sense pending_sense(CommandContext& context) {
  if (!context.lu) return Sense{SenseKey::illegal_request, AdditionalSense::logical_unit_not_supported};
  if (auto attention = context.lu->unit_attentions().take(context.task.nexus)) return std::move(*attention);
  std::uint16_t port = context.server.target_port(context.task.nexus);
  if (auto refusal = context.lu->target_port_groups().refusal(port, AccessGate::active)) return *std::move(refusal);
  if (auto not_ready = context.lu->why_not_ready()) return *std::move(not_ready);
  return {};
}

}  // namespace

std::uint64_t request_sense_length(const Task& task, const LogicalUnit*) {
  return base::load<RequestSenseCdb>(task.cdb).allocation_length;
}

std::expected<void, Sense> request_sense(CommandContext& context) {
  Sense sense = pending_sense(context);
  bool descriptor_format = context.cdb_as<RequestSenseCdb>().desc & kDesc;
  context.respond(descriptor_format ? encode_descriptor(sense) : encode_fixed(sense));
  return {};
}

}  // namespace scsi
