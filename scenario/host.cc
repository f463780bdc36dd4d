#include "scenario/host.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/segments.h"
#include "scenario/in_process_array.h"
#include "scenario/lua_state.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"

namespace scenario {
namespace {

/// Sets a flag for as long as it lives.
class Busy {
 public:
  explicit Busy(bool& flag) : flag_(flag) { flag_ = true; }
  ~Busy() { flag_ = false; }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  bool& flag_;
};

}  // namespace

Path::Path(World& world, Host& host, std::string name, ArrayProcess& array, std::string target, std::uint16_t lun)
    : world_(world),
      host_(host),
      name_(std::move(name)),
      array_(&array),
      target_(std::move(target)),
      lun_(lun),
      way_(array.way(host, target_, lun)) {}

void Path::move_to(ArrayProcess& array) {
  if (busy_) throw ScriptError("a command is under way on this disk");
  array_ = &array;
  way_ = array.way(host_, target_, lun_);
}

initiator::Result Path::execute(const initiator::Command& command) {
  constexpr base::Duration kReconnectDelay = std::chrono::seconds(5), kHoldTime = std::chrono::seconds(60);
  if (busy_) throw ScriptError("a command is under way on this disk; take another disk object for the same LUN");
  const Busy busy(busy_);
  sequences_.push_back(world_.next_sequence());
  const base::TimePoint begin = world_.clock().now();
  const bool had_session = way_->had_session();
  initiator::Result result = attempt(command);
  while (result.transport == initiator::Transport::connection_lost && had_session &&
         world_.clock().now() - begin < kHoldTime) {
    world_.advance(kReconnectDelay);
    result = attempt(command);
  }
  return result;
}

initiator::Result Path::attempt(const initiator::Command& command) {
  const base::Duration sent = world_.elapsed();
  initiator::Result result = way_->execute(command);
  const base::Duration took = world_.elapsed() - sent;
  world_.timeline().add(world_.elapsed(), name_,
                        fmt::format("{}: {}{}", host::ClassDriver::command_name(command.cdb), outcome_text(result),
                                    took.count() == 0 ? "" : fmt::format(", after {} us", took.count())));
  return result;
}

/// Why there is no session, or nothing.
std::optional<std::string> InProcessWay::connect() {
  auto session = host_.session(array_, target_);
  if (!session) return session.error();
  if (initiator_ && nexus_ == session->nexus && start_ == session->start) return std::nullopt;
  nexus_ = session->nexus;
  start_ = session->start;
  initiator_.emplace(server(), nexus_, scsi::Lun{lun_}, world_.clock(), [this] { return world_.step(); });
  return std::nullopt;
}

scsi::DeviceServer& InProcessWay::server() const {
  auto node = array_.arrays().directory().find(target_);
  if (!node) throw ScriptError(fmt::format("{} has no target {}", array_.name(), target_));
  return *node->device_server;
}

initiator::Result InProcessWay::execute(const initiator::Command& command) {
  initiator::Result result;
  if (auto refused = connect()) {
    result.transport = initiator::Transport::connection_lost;
    result.reason = *refused;
    return result;
  }
  const unsigned start = start_;
  const scsi::NexusId nexus = nexus_;
  // So that a command that nobody answers ends at its time-out and not at the next thing that happens after it.
  const auto limit = world_.timers().at(world_.clock().now() + command.timeout, [] {});
  result = initiator_->execute(command);
  world_.timers().cancel(limit);
  auto session = array_.running() ? host_.session(array_, target_) : std::unexpected(std::string());
  if (!session || session->start != start || session->nexus != nexus) {
    result = {};
    result.transport = initiator::Transport::connection_lost;
    result.reason = "the session ended while the command was under way";
  } else if (result.transport == initiator::Transport::connection_lost) {
    host_.lose_session(array_, target_);
  }
  return result;
}

bool InProcessWay::had_session() const { return host_.had_session(array_, target_); }
void InProcessWay::log_out() { host_.end_session(array_, target_); }

bool InProcessWay::reset() {
  if (auto refused = connect()) throw ScriptError(*refused);
  auto response = std::make_shared<std::optional<scsi::TaskManagementResponse>>();
  server().manage(scsi::TaskManagementFunction::logical_unit_reset, nexus_, scsi::Lun{lun_}, 0,
                  [response](scsi::TaskManagementResponse answer) { *response = answer; });
  while (!*response && world_.step()) {
  }
  return *response == scsi::TaskManagementResponse::function_complete;
}

std::vector<std::uint8_t> InProcessWay::content(std::uint64_t offset, std::uint64_t length) {
  auto* unit = server().find(scsi::Lun{lun_});
  if (!unit) throw ScriptError(fmt::format("{} has no LUN {} in {}", array_.name(), lun_, target_));
  const std::string& name = unit->config().name;
  if (offset > unit->size_bytes() || length > unit->size_bytes() - offset)
    throw ScriptError(
        fmt::format("{} bytes from {} on are beyond the {} of \"{}\"", length, offset, unit->size_bytes(), name));
  base::Segments segments;
  if (auto read = unit->store().read({offset, length}, segments); !read)
    throw ScriptError(fmt::format("\"{}\" cannot be read at {}: {}", name, offset, read.error().reason));
  return segments.to_vector();
}

namespace {

host::ClassDriver::Config driver_config(World& world, base::Duration command_timeout) {
  host::ClassDriver::Config config;
  config.command_timeout = std::chrono::duration_cast<std::chrono::milliseconds>(command_timeout);
  config.wait = [&world](base::Duration duration) { world.advance(duration); };
  return config;
}

}  // namespace

Disk::Disk(World& world, Host& host, std::string name, ArrayProcess& array, const std::string& target,
           std::uint16_t lun, base::Duration command_timeout)
    : world_(world),
      host_(host),
      name_(std::move(name)),
      path_(world, host, name_, array, target, lun),
      driver_(path_, world.clock(), host.list_identifiers(), driver_config(world, command_timeout)) {}

std::vector<SentCommand> Disk::settle() {
  world_.settle();
  std::vector<host::TraceEntry> entries = driver_.take_trace();
  for (host::TraceEntry& entry : std::exchange(raw_, {})) entries.push_back(std::move(entry));
  const std::vector<std::uint64_t> sequences = path_.take_sequences();
  std::vector<SentCommand> commands;
  for (std::size_t i = 0; i < entries.size(); ++i) commands.push_back({std::move(entries[i]), sequences.at(i)});
  sent_.insert(sent_.end(), commands.begin(), commands.end());
  return commands;
}

std::vector<SentCommand> settle(Disk& one, Disk& other) {
  std::vector<SentCommand> commands = one.settle();
  std::ranges::move(other.settle(), std::back_inserter(commands));
  std::ranges::sort(commands, {}, &SentCommand::sequence);
  return commands;
}

void Disk::forget() {
  world_.settle();
  driver_.take_trace();
  raw_.clear();
  path_.take_sequences();
}

initiator::Result Disk::send(const initiator::Command& command) {
  const base::TimePoint sent = world_.clock().now();
  initiator::Result result = path_.execute(command);
  raw_.push_back({command.cdb, command.data_out.size(), result.data_in.size(), 0, command.untagged, result.transport,
                  result.status, result.sense, result.reason, sent, world_.clock().now() - sent,
                  host::interpret(result, host::CommandKind::query).status});
  return result;
}

Host::Host(World& world, std::string name, std::string iscsi_name, std::uint8_t number, std::uint16_t portal_group,
           std::optional<initiator::IscsiSession::Chap> chap)
    : world_(world),
      name_(std::move(name)),
      iscsi_name_(std::move(iscsi_name)),
      number_(number),
      portal_group_(portal_group),
      chap_(std::move(chap)),
      offload_memory_(world.clock()) {}

Disk& Host::add_disk(std::string name, ArrayProcess& array, const std::string& target, std::uint16_t lun,
                     base::Duration command_timeout) {
  disks_.push_back(std::make_unique<Disk>(world_, *this, std::move(name), array, target, lun, command_timeout));
  return *disks_.back();
}

std::expected<Host::Session, std::string> Host::session(InProcessArray& array, const std::string& target) {
  auto refuse = [](std::string why) { return std::unexpected(std::move(why)); };
  if (!array.running()) return refuse(fmt::format("{} does not answer", array.name()));
  Session& session = sessions_[{&array, target}];
  if (session.start == array.starts() && session.nexus != scsi::NexusId::none) return session;
  auto node = array.arrays().directory().find(target);
  if (!node) return refuse("login refused, 0203h: there is no such target");
  if (node->redirection) return refuse("login refused, 0101h or 0102h: the target is elsewhere");
  if (node->authenticates()) {
    const auto& asked = node->authentication_for(iscsi_name_).initiator;
    if (!asked || !chap_ || asked->name != chap_->name || asked->secret != chap_->secret)
      return refuse("login refused, 0201h: CHAP failed");
  }
  if (!node->allows(iscsi_name_)) return refuse("login refused, 0202h: the initiator is not allowed");
  if (!node->is_offered_in(portal_group_)) return refuse("login refused, 0203h: not in this portal group");
  // RFC 7143, 11.12.5: type 10b, random.
  scsi::ITNexus nexus{iscsi_name_, {0x80, 0, 0, 0, 0, number_}, node->name, portal_group_};
  session = {node->device_server->attach(std::move(nexus)), array.starts()};
  world_.timeline().add(world_.elapsed(), name_, "logs in to " + node->name);
  return session;
}

bool Host::had_session(const InProcessArray& array, const std::string& target) const {
  auto found = sessions_.find({&array, target});
  return found != sessions_.end() && found->second.start != 0;
}

void Host::detach(InProcessArray& array, const std::string& target, const Session& session) {
  if (session.nexus == scsi::NexusId::none || !array.running() || session.start != array.starts()) return;
  auto node = array.arrays().directory().find(target);
  if (!node) return;
  array.abort_all(*node->device_server, session.nexus);
  if (array.running() && session.start == array.starts()) node->device_server->detach(session.nexus);
}

void Host::lose_session(InProcessArray& array, const std::string& target) {
  Session& session = sessions_[{&array, target}];
  const Session lost = std::exchange(session, {scsi::NexusId::none, session.start});
  detach(array, target, lost);
  world_.timeline().add(world_.elapsed(), name_, "has lost its session with " + target);
}

void Host::end_session(InProcessArray& array, const std::string& target) {
  const Session ended = std::exchange(sessions_[{&array, target}], {});
  if (ended.nexus == scsi::NexusId::none) return;
  detach(array, target, ended);
  world_.timeline().add(world_.elapsed(), name_, "logs out of " + target);
}

void Host::log_out(const ArrayProcess& array) {
  for (const auto& disk : disks_)
    if (&disk->path().array() == &array) disk->path().way().log_out();
}

std::string outcome_text(const initiator::Result& result) {
  using initiator::Transport;
  switch (result.transport) {
    case Transport::delivered: break;
    case Transport::timed_out: return "timed out";
    case Transport::connection_lost: return "no connection: " + result.reason;
    case Transport::aborted: return "aborted";
  }
  if (auto sense = scsi::decode(result.sense))
    return fmt::format("CHECK CONDITION {} {}", scsi::code_text(*sense), scsi::describe(*sense));
  return scsi::describe(static_cast<scsi::Status>(result.status));
}

std::string outcome_text(const host::TraceEntry& entry) {
  initiator::Result result;
  result.transport = entry.transport;
  result.status = entry.status;
  result.sense = entry.sense;
  result.reason = entry.transport_reason;
  return outcome_text(result);
}

}  // namespace scenario
