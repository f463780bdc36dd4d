#include "scsi/device_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <iterator>
#include <stdexcept>

#include "base/log.h"
#include "scsi/block_cdb.h"
#include "scsi/block_io.h"
#include "scsi/block_layouts.h"
#include "scsi/command_counts.h"
#include "scsi/command_events.h"
#include "scsi/command_table.h"
#include "scsi/copy_layouts.h"
#include "scsi/copy_manager.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/medium.h"
#include "scsi/mode_pages.h"
#include "scsi/provisioning_thresholds.h"
#include "scsi/reservation_changes.h"
#include "scsi/reservations.h"
#include "scsi/rule_gates.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "scsi/unit_settings.h"
#include "scsi/work_queue.h"

namespace scsi {
namespace {

using Outcome = std::expected<void, Sense>;

/// Numbers are unique in the process, since logical units and the copy manager are shared by device servers.
NexusId next_nexus_id() {
  static std::atomic<std::uint32_t> last{0};
  return static_cast<NexusId>(++last);
}

/// An operation code without row, or a service action without row.
Sense unsupported(const CommandLookup& lookup, const Task& task) {
  std::uint8_t opcode = task.cdb[0];
  unsigned service_action = task.cdb[kServiceActionByte] & kServiceActionMask;
  if (!lookup.opcode_known) {
    return Sense::illegal_request(AdditionalSense::invalid_command_operation_code,
                                  fmt::format("operation code {:02X}h is not supported", opcode), FieldPointer::cdb(0));
  }
  std::string rule = fmt::format("operation code {:02X}h has no service action {:02X}h", opcode, service_action);
  // Third-party copy commands share operation codes but are supported one by one (SPC-4 table 108), and every client
  // tells a missing one by 20h/00h: iscsi-test-cu, sg3_utils and ddpt do, and tgt and LIO answer so.
  if (opcode == kThirdPartyCopyOut || opcode == kThirdPartyCopyIn) {
    return Sense::illegal_request(AdditionalSense::invalid_command_operation_code, std::move(rule),
                                  FieldPointer::cdb(kServiceActionByte, kServiceActionHighBit));
  }
  return Sense::invalid_field_in_cdb(kServiceActionByte, kServiceActionHighBit, std::move(rule));
}

Outcome check_bits(const CommandDescriptor& row, const Task& task) {
  auto wrong = forbidden_bit(row, task.cdb);
  if (!wrong) return {};
  return std::unexpected(Sense::illegal_request(
      AdditionalSense::invalid_field_in_cdb,
      fmt::format("byte {} bit {} must be zero, the byte is {:02X}h", wrong->byte, *wrong->bit, task.cdb[wrong->byte]),
      wrong));
}

/// START=1 with no POWER CONDITION (SBC-3 table 13).
bool starts(const Task& task) {
  std::uint8_t flags = base::load<StartStopUnitCdb>(task.cdb).flags;
  return (flags & StartStopUnitCdb::kStart) && !(flags & StartStopUnitCdb::kPowerCondition);
}

/// PREVENT not 00b (SPC-4 table 65).
bool prevents(const Task& task) {
  return (base::load<PreventAllowMediumRemovalCdb>(task.cdb).prevent & PreventAllowMediumRemovalCdb::kPrevent) != 0;
}

bool passes(ReservationGate gate, const Task& task, const Reservations& reservations) {
  switch (gate) {
    case ReservationGate::none: return true;
    case ReservationGate::read: return reservations.may_read(reservations.find(task.nexus));
    case ReservationGate::write: return reservations.may_write(reservations.find(task.nexus));
    case ReservationGate::start_stop: return starts(task) || reservations.may_write(reservations.find(task.nexus));
    case ReservationGate::prevent: return !prevents(task) || reservations.may_write(reservations.find(task.nexus));
    case ReservationGate::registered: return reservations.find(task.nexus) != nullptr;
  }
  return false;
}

bool passes(UnitReservationGate gate, const Task& task, const Reservations& reservations) {
  switch (gate) {
    case UnitReservationGate::none: return true;
    case UnitReservationGate::others: return !reservations.unit_reserved_by_another(task.nexus);
    case UnitReservationGate::anybody: return !reservations.unit_reserved();
  }
  return false;
}

std::unexpected<Sense> conflict(Task& task, std::string rule) {
  task.status = Status::reservation_conflict;
  return std::unexpected(Sense{.rule = std::move(rule)});
}

/// What the medium's state makes of a command.
Outcome check_medium(const Gates& gates, const LogicalUnit& lu) {
  const Medium& medium = lu.medium();
  if (medium.usable()) [[likely]]
    return {};
  if (medium.removed()) return std::unexpected(medium.condition());
  bool busy = medium.operation() != Medium::Operation::none;
  if (busy ? gates.during_format : !gates.ready && !gates.medium) return {};
  return std::unexpected(medium.condition());
}

Outcome check_access(AccessGate gate, const Task& task, const LogicalUnit& lu) {
  const TargetPortGroups& groups = lu.target_port_groups();
  if (groups.all_active()) [[likely]]
    return {};
  auto refusal = groups.refusal(task.server->target_port(task.nexus), gate);
  return refusal ? Outcome(std::unexpected(*std::move(refusal))) : Outcome();
}

/// The gates of a row, in their order.
Outcome check_gates(const Gates& gates, Task& task, LogicalUnit& lu) {
  if (lu.mode_pages().thresholds_enabled()) [[unlikely]]
    lu.thresholds().look(task.nexus);
  if (gates.unit_attention) {
    if (auto attention = lu.unit_attentions().take(task.nexus)) {
      if (attention->code == AdditionalSense::thin_provisioning_soft_threshold_reached)
        attention->information = lu.thresholds().notified();
      return std::unexpected(std::move(*attention));
    }
  }
  if (!passes(gates.unit_reservation, task, lu.reservations())) return conflict(task, "the logical unit is reserved");
  if (!passes(gates.reservation, task, lu.reservations())) {
    return conflict(task, gates.reservation == ReservationGate::registered ? "this I_T nexus is not registered"
                                                                           : "another I_T nexus holds a reservation");
  }
  if (auto good = check_access(gates.access, task, lu); !good) return good;
  if (auto good = check_medium(gates, lu); !good) return good;
  if (gates.ready && lu.stopped()) return std::unexpected(*lu.why_not_ready());
  if (gates.write && lu.read_only())
    return std::unexpected(Sense{SenseKey::data_protect, AdditionalSense::write_protected, {}, {}, "read-only"});
  if (gates.write && lu.mode_pages().software_write_protect()) {
    return std::unexpected(
        Sense{SenseKey::data_protect, AdditionalSense::logical_unit_software_write_protected, {}, {}, "SWP is one"});
  }
  return {};
}

void count_error(const Task& task) {
  const bool uncorrected = task.sense.key == SenseKey::medium_error || task.sense.key == SenseKey::hardware_error;
  if (uncorrected && task.descriptor && task.descriptor->counted != Counted::nothing)
    ++task.logical_unit->statistics().of(task.descriptor->counted).uncorrected;
}

/// A logical unit knows the nexuses that may use it, and no others.
void introduce(LogicalUnit& lu, NexusId id, const ITNexus& nexus) {
  if (!lu.allows(nexus.initiator_name)) return;
  lu.unit_attentions().attach(id, AdditionalSense::power_on_reset_or_bus_device_reset_occurred);
  lu.reservations().attach(id, nexus);
}

}  // namespace

struct DeviceServer::Impl {
  /// REPORTED LUNS DATA HAS CHANGED, on every logical unit, for everybody who may use `changed`.
  void announce_inventory(const LogicalUnit& changed);

  Config config;
  const base::Clock& clock;
  base::Executor* executor;
  CopyManager& copy_manager;
  RuleSet& rules;
  std::map<Lun, std::shared_ptr<LogicalUnit>> logical_units{};
  std::vector<std::shared_ptr<LogicalUnit>> leaving{};  ///< removed, but still in use
  std::map<NexusId, ITNexus> nexuses{};
  std::map<NexusId, base::Ref<const tokens::InitiatorName>> initiators{};
  CommandCounts counts{};
};

DeviceServer::DeviceServer(Config config, const base::Clock& array_clock, base::Executor* executor,
                           CopyManager& copy_manager)
    : impl_(new Impl{std::move(config), array_clock, executor, copy_manager, copy_manager.fabric().rules()}) {}
DeviceServer::~DeviceServer() = default;

const DeviceServer::Config& DeviceServer::config() const { return impl_->config; }
std::vector<std::uint16_t> DeviceServer::target_ports() const {
  std::vector<std::uint16_t> ports{impl_->config.target_portal_group_tag};
  ports.insert(ports.end(), impl_->config.further_portal_group_tags.begin(),
               impl_->config.further_portal_group_tags.end());
  return ports;
}
std::uint16_t DeviceServer::target_port(NexusId id) const {
  auto found = impl_->nexuses.find(id);
  return found == impl_->nexuses.end() ? impl_->config.target_portal_group_tag : found->second.target_portal_group_tag;
}
CopyManager& DeviceServer::copy_manager() const { return impl_->copy_manager; }
const CommandCounts& DeviceServer::counts() const { return impl_->counts; }
const base::Clock& DeviceServer::clock() const { return impl_->clock; }
base::Executor* DeviceServer::executor() const { return impl_->executor; }
base::Executor* DeviceServer::long_work() const { return impl_->executor ? &impl_->executor->long_work() : nullptr; }
const std::map<Lun, std::shared_ptr<LogicalUnit>>& DeviceServer::logical_units() const { return impl_->logical_units; }

const std::vector<std::shared_ptr<LogicalUnit>>& DeviceServer::leaving() const { return impl_->leaving; }

void DeviceServer::Impl::announce_inventory(const LogicalUnit& changed) {
  for (auto& [id, nexus] : nexuses) {
    if (!changed.allows(nexus.initiator_name)) continue;
    for (auto& [number, lu] : logical_units)
      lu->unit_attentions().establish(id, AdditionalSense::reported_luns_data_has_changed);
  }
}

void DeviceServer::add(Lun lun, std::shared_ptr<LogicalUnit> logical_unit) {
  if (impl_->logical_units.contains(lun))
    throw std::invalid_argument(fmt::format("LUN {} is taken", static_cast<unsigned>(lun)));
  impl_->announce_inventory(*logical_unit);
  for (auto& [id, nexus] : impl_->nexuses) introduce(*logical_unit, id, nexus);
  impl_->copy_manager.exported(*logical_unit, impl_->config.target_name);
  impl_->logical_units.emplace(lun, std::move(logical_unit));
}

void DeviceServer::remove(Lun lun) {
  auto found = impl_->logical_units.find(lun);
  if (found == impl_->logical_units.end()) return;
  std::shared_ptr<LogicalUnit> lu = std::move(found->second);
  impl_->logical_units.erase(found);
  impl_->leaving.push_back(lu);
  impl_->announce_inventory(*lu);
  lu->medium().remove();
  // Afresh after each: an observer may send or withdraw other tasks.
  auto not_begun = [&]() -> Task* {
    for (Task* task = lu->tasks().oldest(); task; task = task->younger)
      if (task->state == Task::State::admitted || task->dormant) return task;
    return nullptr;
  };
  while (Task* task = not_begun()) task->server->finish(*task, std::unexpected(lu->medium().condition()));
  impl_->copy_manager.logical_unit_removed(*lu, std::make_shared<Rendezvous>([] {}));
  // Here and now, so that nothing of it comes between what is kept of whoever has its place in the end.
  lu->reservation_changes().submit(
      nullptr,
      [](Reservations& reservations) {
        reservations.forget();
        return Reservations::Result();
      },
      [](const Reservations::Result&) {});
  lu->settings_changes().submit(
      nullptr,
      [](UnitSettings& settings) -> std::expected<bool, Sense> {
        restore(settings, {});
        return true;
      },
      [](const std::expected<bool, Sense>&) {});
}

std::vector<std::shared_ptr<LogicalUnit>> DeviceServer::take_unused() {
  auto in_use = [this](const auto& lu) { return !lu->idle() || impl_->copy_manager.in_use(*lu); };
  auto unused = std::ranges::stable_partition(impl_->leaving, in_use);
  std::vector<std::shared_ptr<LogicalUnit>> taken(std::make_move_iterator(unused.begin()),
                                                  std::make_move_iterator(unused.end()));
  impl_->leaving.erase(unused.begin(), unused.end());
  return taken;
}

LogicalUnit* DeviceServer::find(Lun lun) const {
  auto found = impl_->logical_units.find(lun);
  return found == impl_->logical_units.end() ? nullptr : found->second.get();
}

bool DeviceServer::may_use(NexusId nexus, const LogicalUnit& lu) {
  return !lu.restricted() || lu.unit_attentions().attached(nexus);
}

LogicalUnit* DeviceServer::find(NexusId nexus, Lun lun) const {
  LogicalUnit* lu = find(lun);
  return lu && may_use(nexus, *lu) ? lu : nullptr;
}

bool DeviceServer::may_use_all(NexusId nexus) const {
  return std::ranges::all_of(impl_->logical_units, [&](const auto& entry) { return may_use(nexus, *entry.second); });
}

NexusId DeviceServer::attach(ITNexus nexus) {
  NexusId id = next_nexus_id();
  for (auto& [lun, lu] : impl_->logical_units) introduce(*lu, id, nexus);
  if (Journal* journal = impl_->copy_manager.journal()) record_nexus(*journal, EventKind::login, *this, nexus);
  impl_->initiators.emplace(id, base::make_ref<const tokens::InitiatorName>(nexus.initiator_name));
  impl_->nexuses.emplace(id, std::move(nexus));
  return id;
}

base::Ref<const tokens::InitiatorName> DeviceServer::initiator(NexusId id) const {
  auto found = impl_->initiators.find(id);
  return found == impl_->initiators.end() ? base::Ref<const tokens::InitiatorName>() : found->second;
}
const ITNexus& DeviceServer::nexus(NexusId id) const { return impl_->nexuses.at(id); }
const std::map<NexusId, ITNexus>& DeviceServer::nexuses() const { return impl_->nexuses; }

void DeviceServer::detach(NexusId id) {
  for (auto& [lun, lu] : impl_->logical_units) {
    lu->unit_attentions().detach(id);
    lu->reservations().detach(id);
    lu->medium().allow_removal(id);
  }
  impl_->copy_manager.nexus_lost(id);
  if (Journal* journal = impl_->copy_manager.journal(); journal && impl_->nexuses.contains(id))
    record_nexus(*journal, EventKind::logout, *this, nexus(id));
  impl_->initiators.erase(id);
  impl_->nexuses.erase(id);
}

std::expected<void, Sense> DeviceServer::judge(Task& task) {
  task.server = this;
  task.logical_unit = find(task.nexus, task.lun);
  CommandLookup lookup = find_command(task.cdb);
  if (lookup.row && !offers(impl_->copy_manager.profile(), task.logical_unit, *lookup.row)) {
    lookup = {.opcode_known = lookup.row->service_action.has_value()};
  }
  task.descriptor = lookup.row;
  if (!task.logical_unit && (!lookup.row || lookup.row->gates.logical_unit)) {
    return std::unexpected(Sense::illegal_request(AdditionalSense::logical_unit_not_supported,
                                                  find(task.lun)
                                                      ? "the initiator may not use the logical unit that has this LUN"
                                                      : "no logical unit has this LUN"));
  }
  if (!lookup.row) return std::unexpected(unsupported(lookup, task));
  if (auto good = check_bits(*lookup.row, task); !good) return good;
  if (task.logical_unit) {
    if (auto good = check_gates(lookup.row->gates, task, *task.logical_unit); !good) return good;
  }
  std::uint64_t length = lookup.row->transfer_length ? lookup.row->transfer_length(task, task.logical_unit) : 0;
  task.data_in_length = lookup.row->direction == DataDirection::in ? length : 0;
  task.data_out_length = lookup.row->direction == DataDirection::out ? length : 0;
  if (!lookup.row->check) return {};
  return lookup.row->check(CommandContext{*this, task.logical_unit, task});
}

void DeviceServer::admit(Task& task) {
  assert(task.state == Task::State::idle);
  if (auto good = judge(task); !good) return finish(task, std::move(good));
  if (impl_->rules.concern(task.cdb[0])) [[unlikely]] {
    if (auto end = meet_rules(task)) return finish(task, *std::move(end));
  }
  task.state = Task::State::admitted;
  if (task.logical_unit) task.logical_unit->tasks().enter(task);
  if (!task.has_data_out()) execute(task);
}

std::optional<std::expected<void, Sense>> DeviceServer::meet_rules(Task& task) {
  gate::Admission admission = gate::admission(impl_->rules, task);
  if (admission.end || !admission.judge_again) return std::move(admission.end);
  auto good = judge(task);
  return good ? std::nullopt : std::optional(std::move(good));
}

bool DeviceServer::lend(NexusId nexus, Lun lun, base::Bytes cdb, std::uint64_t length, handlers::Loan& loan) {
  const CommandDescriptor* row = find_command(cdb).row;
  if (!row || !row->takes_loans || impl_->rules.concern(cdb[0])) return false;
  LogicalUnit* lu = find(nexus, lun);
  if (!lu) return false;
  const BlockCdb block = parse_block_cdb(cdb);
  if (!check_blocks(*lu, block)) return false;
  const handlers::ByteRange range = byte_range(*lu, block);
  return range.length == length && lu->store().lend(range, loan);
}

void DeviceServer::execute(Task& task) {
  assert(task.state == Task::State::admitted);
  if (task.logical_unit && !task.logical_unit->tasks().may_begin(task)) {
    task.keep_data_out();
    task.state = Task::State::waiting;
    task.logical_unit->tasks().sleep(task);
    return;
  }
  run(task);
}

void DeviceServer::run(Task& task) {
  if (task.faults && !gate::begin(task)) [[unlikely]]
    return;
  CommandContext context{*this, task.logical_unit, task};
  // The medium may have gone, be about to be erased, or have lost blocks, while the data came or the task waited for
  // its turn.
  if (const LogicalUnit* lu = task.logical_unit) {
    if (auto good = check_medium(task.descriptor->gates, *lu); !good) return finish(task, std::move(good));
    if (lu->has_shrunk() && task.descriptor->check) [[unlikely]]
      if (auto good = task.descriptor->check(context); !good) return finish(task, std::move(good));
  }
  Outcome outcome = task.descriptor->body(context);
  if (context.started == CommandContext::Started::pending) {
    assert(outcome && "a body that started work fails through it");
    return;
  }
  if (outcome && context.started == CommandContext::Started::finished) outcome = std::move(context.outcome);
  finish(task, std::move(outcome));
}

void DeviceServer::withdraw(Task& task) {
  assert(task.state == Task::State::admitted);
  LogicalUnit* lu = task.logical_unit;
  if (lu) lu->tasks().leave(task);
  task.state = Task::State::idle;
  if (lu) wake_dormant(*lu);
}

void DeviceServer::finish(Task& task, std::expected<void, Sense> outcome) {
  LogicalUnit* lu = task.logical_unit;
  bool member = lu && task.state != Task::State::idle;
  if (task.faults && member && !gate::completion(task, outcome)) [[unlikely]]
    return;
  if (task.abort_requested.load(std::memory_order_relaxed)) {
    task.status = Status::task_aborted;
    task.drop_data_in();
    tell_copy(task);
  } else if (outcome) {
    task.status = Status::good;
    task.data_in.truncate(task.data_in_length);
    if (const Counted counted = task.descriptor->counted; counted != Counted::nothing)
      lu->statistics().of(counted).bytes += task.data_in.size() + task.data_out_size();
    else
      tell_copy(task);
  } else {
    task.drop_data_in();
    tell_refusal(task, std::move(outcome.error()));
  }
  impl_->counts.count(task.descriptor, task.status);
  if (member) lu->tasks().leave(task);
  task.state = Task::State::completed;
  task.observer->completed(task);
  if (member) wake_dormant(*lu);
}

void DeviceServer::wake_dormant(LogicalUnit& lu) {
  lu.tasks().collect_stopped();
  lu.tasks().wake([](Task& task) { task.server->run(task); });
}

void DeviceServer::tell_refusal(Task& task, Sense sense) {
  using enum base::log::Level;
  std::string outcome;
  base::log::Level level = info;
  if (task.status != Status::good) {
    outcome = describe(task.status);
  } else {
    task.status = Status::check_condition;
    task.sense = sense;
    count_error(task);
    bool expected = sense.key == SenseKey::unit_attention || sense.key == SenseKey::miscompare;
    level = expected ? debug : info;
    if (base::log::enabled(level)) outcome = describe(sense);
  }
  if (Journal* journal = impl_->copy_manager.journal()) record_outcome(*journal, *this, task, sense.rule);
  if (base::log::enabled(level)) log_task(level, task, outcome + (sense.rule.empty() ? "" : ": " + sense.rule));
}

void DeviceServer::tell_copy(const Task& task) const {
  if (!is_recorded(task)) return;
  if (Journal* journal = impl_->copy_manager.journal()) record_outcome(*journal, *this, task, "");
  if (base::log::enabled(base::log::Level::debug))
    log_task(base::log::Level::debug, task, task.status == Status::good ? "GOOD" : "TASK ABORTED");
}

void DeviceServer::record_answered(const Task& task, const std::string& reason) const {
  if (Journal* journal = impl_->copy_manager.journal()) record_outcome(*journal, *this, task, reason);
}

void DeviceServer::log_task(base::log::Level level, const Task& task, std::string_view outcome) const {
  auto nexus = impl_->nexuses.find(task.nexus);
  base::log::format(level, "{} from {} to LUN {}: {}",
                    task.descriptor ? std::string(task.descriptor->name) : fmt::format("CDB {:02X}h", task.cdb[0]),
                    nexus == impl_->nexuses.end() ? "an unknown initiator" : nexus->second.initiator_name,
                    static_cast<unsigned>(task.lun), outcome);
}

std::vector<std::uint8_t> DeviceServer::sense_data(const Task& task) const {
  // A task that ended may outlive its logical unit while a peer still sends the data that was asked for.
  const LogicalUnit* lu = find(task.lun);
  bool descriptor_format = lu && lu == task.logical_unit && lu->mode_pages().descriptor_format_sense();
  return descriptor_format ? encode_descriptor(task.sense) : encode_fixed(task.sense);
}

std::expected<base::Bytes, Sense> CommandContext::parameter_list() const {
  if (task.data_out.size() >= task.data_out_length) return task.data_out.first(task.data_out_length);
  return std::unexpected(Sense::illegal_request(
      AdditionalSense::parameter_list_length_error,
      fmt::format("PARAMETER LIST LENGTH is {}, {} bytes came", task.data_out_length, task.data_out.size())));
}

std::unexpected<Sense> CommandContext::reservation_conflict(std::string rule) {
  return conflict(task, std::move(rule));
}

void CommandContext::start(Access access, handlers::ByteRange range, Work work, Then then, Durability durability,
                           AtOnce at_once) {
  assert(started == Started::no);
  if (auto done = lu->work().try_now(access, range, server.executor(), work, durability)) {
    outcome = *std::move(done);
    if (then) outcome = then(std::move(outcome));
    started = Started::finished;
    return;
  }
  // A change that is made aside would need its data kept.
  const bool aside = at_once && access == Access::shared && server.executor() && server.executor()->aside();
  const bool done = at_once && !aside && lu->work().try_at_once(access, range, task, at_once);
  if (done && lu->work().flush_at_once(access, durability)) {
    if (then) outcome = then({});
    started = Started::finished;
    return;
  }
  started = Started::pending;
  // What was lent may be gone from now on, and is not looked at any more.
  if (done) return lu->work().submit_flush(task, access, range, *server.executor(), std::move(then));
  task.keep_data_out();
  lu->work().submit(task, access, range, server.executor(), std::move(work), std::move(then), durability,
                    aside ? at_once : nullptr);
}

void CommandContext::defer(Abortable& runner) {
  assert(started == Started::no);
  started = Started::pending;
  task.state = Task::State::running;
  task.runner = &runner;
}

}  // namespace scsi
