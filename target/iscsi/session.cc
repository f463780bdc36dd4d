// Sequencing over all connections of a session (RFC 7143, 4.2.2.1), NOP, asynchronous messages and reject.
#include "target/iscsi/session.h"

#include <algorithm>

#include "base/log.h"
#include "scsi/task_set.h"
#include "target/iscsi/session_registry.h"

namespace iscsi {
namespace {

std::size_t expected_commands(const Limits& limits) { return limits.command_window + limits.immediate_commands; }

}  // namespace

Session::Session(Config config)
    : directory_(config.directory),
      registry_(config.registry),
      buffers_(std::move(config.buffers)),
      identity_(std::move(config.identity)),
      parameters_(config.parameters),
      tsih_(config.tsih),
      server_(identity_.target ? identity_.target->device_server : nullptr),
      window_(CmdSn(identity_.cmd_sn), std::max(1u, directory_.limits.command_window)),
      in_flight_(registry_.data_in_flight()),
      commands_(server_ ? expected_commands(directory_.limits) : 0) {
  if (!server_) return;
  nexus_ =
      server_->attach({identity_.initiator_name, identity_.isid, identity_.target->name, identity_.portal_group_tag});
}

std::size_t Session::commands_waiting_for_clock() const {
  std::size_t count = 0;
  commands_.for_each([&](const Command& command) {
    if (command.phase == Command::Phase::serving && scsi::waits_for_clock(command)) ++count;
  });
  return count;
}

Session::~Session() = default;

void Session::receive(Link& link, Pdu& pdu) {
  acknowledge(link, StatSn(header_as<RequestBhs>(pdu.bhs).exp_stat_sn));
  switch (pdu.bhs.code()) {
    case Opcode::scsi_command:
    case Opcode::task_management_request:
    case Opcode::text_request:
    case Opcode::nop_out:
    case Opcode::logout_request: return sequence(link, pdu);
    case Opcode::data_out: return server_ ? data_out(link, pdu) : reject(link, pdu.bhs, RejectReason::protocol_error);
    // There is nothing to acknowledge or to repeat at ErrorRecoveryLevel 0 (RFC 7143, 11.16).
    case Opcode::snack_request: return reject(link, pdu.bhs, RejectReason::snack_reject);
    case Opcode::login_request: return reject(link, pdu.bhs, RejectReason::protocol_error);
    default: return reject(link, pdu.bhs, RejectReason::command_not_supported);
  }
}

/// What makes a request unfit to be served at all. Such a request does not use up its CmdSN (RFC 7143, 7.3).
std::optional<RejectReason> Session::refusal(const Bhs& bhs) const {
  Opcode code = bhs.code();
  bool needs_server = code == Opcode::scsi_command || code == Opcode::task_management_request;
  // A discovery session takes SendTargets and Logout (RFC 7143, 4.3).
  if (!server_ && (needs_server || code == Opcode::nop_out)) return RejectReason::protocol_error;
  std::uint32_t tag = bhs.initiator_task_tag;
  if (code == Opcode::nop_out) {
    // Without a task tag it answers our ping and has no place in the order (RFC 7143, 11.18.1).
    if (tag == kReservedTag && !bhs.immediate()) return RejectReason::protocol_error;
    return std::nullopt;
  }
  if (tag == kReservedTag) return RejectReason::invalid_pdu_field;
  if (needs_server && bhs.immediate() && immediate_in_progress_ >= directory_.limits.immediate_commands)
    return RejectReason::too_many_immediate_commands;
  if (code == Opcode::scsi_command && commands_.find(tag)) return RejectReason::task_in_progress;
  return std::nullopt;
}

void Session::sequence(Link& link, Pdu& pdu) {
  CmdSn cmd_sn(header_as<RequestBhs>(pdu.bhs).cmd_sn);
  bool immediate = pdu.bhs.immediate();
  CommandWindow::Place place = immediate ? CommandWindow::Place::expected : window_.place(cmd_sn);
  if (place == CommandWindow::Place::outside) {
    base::log::debug("{}: CmdSN {} is not in {}..{}: ignored", link.peer(), cmd_sn.value, window_.expected().value,
                     window_.max().value);
    return;
  }
  if (auto reason = refusal(pdu.bhs)) return reject(link, pdu.bhs, *reason);
  if (place == CommandWindow::Place::ahead) return hold(link, pdu, cmd_sn);
  if (!immediate) window_.advance();
  serve(link, pdu);
  if (!held_.empty()) deliver_held();
}

void Session::serve(Link& link, Pdu& pdu) {
  bool numbered = !pdu.bhs.immediate();
  if (numbered && !overtaken_.empty() && was_overtaken(pdu.bhs)) [[unlikely]]
    return window_.done();
  switch (pdu.bhs.code()) {
    case Opcode::scsi_command: return scsi_command(link, pdu);
    case Opcode::task_management_request: return task_management(link, pdu);
    default: break;
  }
  // The rest is over before the next PDU is looked at.
  if (numbered) window_.done();
  switch (pdu.bhs.code()) {
    case Opcode::text_request: return text_request(link, pdu);
    case Opcode::nop_out: return nop_out(link, pdu);
    case Opcode::logout_request: return logout(link, pdu);
    default: return;
  }
}

/// Rejects the text or logout request now served: its CmdSN, if it has one, counts as not received (RFC 7143, 7.3).
void Session::reject_served(Link& link, const Bhs& bhs, RejectReason reason) {
  if (!bhs.immediate()) window_.take_back();
  reject(link, bhs, reason);
}

std::uint64_t Session::Held::size() const {
  std::uint64_t bytes = sizeof(Held) + ahs.size() + data.size();
  for (const DataOut& each : data_outs) bytes += sizeof(DataOut) + each.data.size();
  return bytes;
}

void Session::hold(Link& link, const Pdu& pdu, CmdSn cmd_sn) {
  // The same number twice: the second is a duplicate, to be ignored (RFC 7143, 4.2.2.1).
  if (std::ranges::any_of(held_, [&](const Held& each) { return each.cmd_sn == cmd_sn; })) return;
  held_.push_back({cmd_sn, &link, false, pdu.bhs, {pdu.ahs.begin(), pdu.ahs.end()}, pdu.data_copy(), {}});
  held_more(held_.back().size());
}

/// `more` bytes are held, too. What is held came against the order of the session, so no more of it is kept than can
/// be.
void Session::held_more(std::uint64_t more) {
  bool too_many = held_bytes_ + more > directory_.limits.max_session_data_out || crowded(more);
  held_bytes_ += more;
  in_flight_.add(more);
  if (too_many) drop(false, "too much held before its turn");
}

void Session::deliver_held() {
  while (!ending_) {
    auto next = std::ranges::find(held_, window_.expected(), &Held::cmd_sn);
    if (next == held_.end()) return;
    Held held = std::move(*next);
    held_.erase(next);
    held_bytes_ -= held.size();
    in_flight_.remove(held.size());
    // What was fit when it came need not be any more: its task tag may be in use by now.
    if (auto reason = held.plug ? std::nullopt : refusal(held.bhs)) return reject(*held.link, held.bhs, *reason);
    window_.advance();
    if (held.plug) {
      window_.done();
      continue;
    }
    Pdu pdu{held.bhs, held.ahs, held.data, {}};
    serve(*held.link, pdu);
    for (Held::DataOut& each : held.data_outs) {
      Pdu data{each.bhs, {}, each.data, {}};
      data_out(*held.link, data);
    }
  }
}

void Session::nop_out(Link& link, const Pdu& pdu) {
  if (pdu.bhs.initiator_task_tag == kReservedTag) return;  // the answer to our ping: the bytes alone show life
  NopInBhs answer;
  answer.lun = pdu.bhs.lun;
  answer.initiator_task_tag = pdu.bhs.initiator_task_tag;
  stamp_status(link, answer);
  std::size_t limit = link.parameters().number(Key::max_recv_data_segment_length);
  link.writer.put(answer, pdu.data.first(std::min(pdu.data.size(), limit)));
  link.output_added();
}

void Session::ping(Link& link) {
  NopInBhs nop;
  nop.initiator_task_tag = kReservedTag;
  if (++last_target_transfer_tag_ == kReservedTag) last_target_transfer_tag_ = 1;
  nop.target_transfer_tag = last_target_transfer_tag_;
  stamp(nop);
  nop.stat_sn = link.stat_sn.value;  // the next one, not used up (RFC 7143, 11.19.4)
  link.writer.put(nop);
  link.output_added();
}

void Session::send_async(Link& link, AsyncEvent event, std::uint16_t seconds) {
  AsyncMessageBhs message;
  message.async_event = static_cast<std::uint8_t>(event);
  if (event == AsyncEvent::drop_connection) message.parameter1 = link.cid;
  if (event == AsyncEvent::drop_connection || event == AsyncEvent::drop_session)
    message.parameter2 = static_cast<std::uint16_t>(parameters_.number(Key::default_time2wait));
  message.parameter3 = seconds;
  stamp_status(link, message);
  link.writer.put(message);
  link.output_added();
}

void Session::reject(Link& link, const Bhs& bhs, RejectReason reason) {
  base::log::info("{} ({}): rejected opcode {:02X}h, reason {:02X}h", link.peer(), identity_.initiator_name,
                  bhs.opcode & kOpcodeMask, static_cast<unsigned>(reason));
  RejectBhs answer;
  answer.reason = static_cast<std::uint8_t>(reason);
  stamp_status(link, answer);
  link.writer.put(answer, base::bytes_of(bhs));
  link.output_added();
}

}  // namespace iscsi
