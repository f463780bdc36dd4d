// Sequencing (RFC 7143, 4.2.2.1), NOP, logout, asynchronous messages, reject, and the end of a session.
#include "target/iscsi/session.h"

#include <algorithm>

#include "base/log.h"
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
      negotiation_(std::move(config.negotiation)),
      tsih_(config.tsih),
      server_(identity_.target ? identity_.target->device_server : nullptr),
      window_(CmdSn(identity_.cmd_sn), std::max(1u, directory_.limits.command_window)),
      in_flight_(registry_.data_in_flight()),
      commands_(server_ ? expected_commands(directory_.limits) : 0) {
  if (!server_) return;
  nexus_ = server_->attach(
      {identity_.initiator_name, identity_.isid, identity_.target->name, identity_.target->portal_group_tag});
}

Session::~Session() = default;

void Session::bind(Link& link, PortalAddress local) {
  link_ = &link;
  local_ = std::move(local);
}

void Session::renegotiated(LoginIdentity identity, Negotiation negotiation) {
  identity.target = identity_.target;
  identity_ = std::move(identity);
  negotiation_ = std::move(negotiation);
  text_in_.take();
  text_out_.clear();
  text_task_tag_ = text_transfer_tag_ = kReservedTag;
}

void Session::receive(Pdu& pdu) {
  switch (pdu.bhs.code()) {
    case Opcode::scsi_command:
    case Opcode::task_management_request:
    case Opcode::text_request:
    case Opcode::nop_out:
    case Opcode::logout_request: return sequence(pdu);
    case Opcode::data_out: return server_ ? data_out(pdu) : reject(pdu.bhs, RejectReason::protocol_error);
    // There is nothing to acknowledge or to repeat at ErrorRecoveryLevel 0 (RFC 7143, 11.16).
    case Opcode::snack_request: return reject(pdu.bhs, RejectReason::snack_reject);
    case Opcode::login_request: return reject(pdu.bhs, RejectReason::protocol_error);
    default: return reject(pdu.bhs, RejectReason::command_not_supported);
  }
}

/// What makes a request unfit to be served at all. Such a request does not use up its CmdSN (RFC 7143, 11.17.1).
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

void Session::sequence(Pdu& pdu) {
  CmdSn cmd_sn(header_as<RequestBhs>(pdu.bhs).cmd_sn);
  bool immediate = pdu.bhs.immediate();
  CommandWindow::Place place = immediate ? CommandWindow::Place::expected : window_.place(cmd_sn);
  if (place == CommandWindow::Place::outside) {
    base::log::debug("{}: CmdSN {} is not in {}..{}: ignored", link_->peer(), cmd_sn.value, window_.expected().value,
                     window_.max().value);
    return;
  }
  if (auto reason = refusal(pdu.bhs)) return reject(pdu.bhs, *reason);
  if (place == CommandWindow::Place::ahead) return hold(pdu, cmd_sn);
  if (!immediate) window_.advance();
  serve(pdu);
  if (!held_.empty()) deliver_held();
}

void Session::serve(Pdu& pdu) {
  bool numbered = !pdu.bhs.immediate();
  switch (pdu.bhs.code()) {
    case Opcode::scsi_command: return scsi_command(pdu);
    case Opcode::task_management_request: return task_management(pdu);
    default: break;
  }
  // The rest is over before the next PDU is looked at.
  if (numbered) window_.done();
  switch (pdu.bhs.code()) {
    case Opcode::text_request: return text_request(pdu);
    case Opcode::nop_out: return nop_out(pdu);
    case Opcode::logout_request: return logout(pdu);
    default: return;
  }
}

std::uint64_t Session::Held::size() const {
  std::uint64_t bytes = sizeof(Held) + ahs.size() + data.size();
  for (const DataOut& each : data_outs) bytes += sizeof(DataOut) + each.data.size();
  return bytes;
}

void Session::hold(const Pdu& pdu, CmdSn cmd_sn) {
  // The same number twice: the second is a duplicate, to be ignored (RFC 7143, 4.2.2.1).
  if (std::ranges::any_of(held_, [&](const Held& each) { return each.cmd_sn == cmd_sn; })) return;
  held_.push_back({cmd_sn, false, pdu.bhs, {pdu.ahs.begin(), pdu.ahs.end()}, {pdu.data.begin(), pdu.data.end()}, {}});
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
  while (!ending_ && link_) {
    auto next = std::ranges::find(held_, window_.expected(), &Held::cmd_sn);
    if (next == held_.end()) return;
    Held held = std::move(*next);
    held_.erase(next);
    held_bytes_ -= held.size();
    in_flight_.remove(held.size());
    window_.advance();
    if (held.plug) {
      window_.done();
      continue;
    }
    Pdu pdu{held.bhs, held.ahs, held.data, {}};
    serve(pdu);
    for (Held::DataOut& each : held.data_outs) {
      Pdu data{each.bhs, {}, each.data, {}};
      if (link_ && !ending_) data_out(data);
    }
  }
}

void Session::nop_out(const Pdu& pdu) {
  if (pdu.bhs.initiator_task_tag == kReservedTag) return;  // the answer to our ping: the bytes alone show life
  NopInBhs answer;
  answer.lun = pdu.bhs.lun;
  answer.initiator_task_tag = pdu.bhs.initiator_task_tag;
  stamp_status(answer);
  std::size_t limit = parameters().number(Key::max_recv_data_segment_length);
  link_->writer.put(answer, pdu.data.first(std::min(pdu.data.size(), limit)));
  link_->output_added();
}

void Session::ping() {
  NopInBhs nop;
  nop.initiator_task_tag = kReservedTag;
  if (++last_target_transfer_tag_ == kReservedTag) last_target_transfer_tag_ = 1;
  nop.target_transfer_tag = last_target_transfer_tag_;
  stamp(nop);
  nop.stat_sn = link_->stat_sn.value;  // the next one, not used up (RFC 7143, 11.19.4)
  link_->writer.put(nop);
  link_->output_added();
}

void Session::send_async(AsyncEvent event, std::uint16_t seconds) {
  AsyncMessageBhs message;
  message.async_event = static_cast<std::uint8_t>(event);
  if (event == AsyncEvent::drop_connection) {
    message.parameter1 = identity_.cid;
    message.parameter2 = static_cast<std::uint16_t>(parameters().number(Key::default_time2wait));
  }
  message.parameter3 = seconds;
  stamp_status(message);
  link_->writer.put(message);
  link_->output_added();
}

void Session::reject(const Bhs& bhs, RejectReason reason) {
  base::log::info("{} ({}): rejected opcode {:02X}h, reason {:02X}h", link_->peer(), identity_.initiator_name,
                  bhs.opcode & kOpcodeMask, static_cast<unsigned>(reason));
  RejectBhs answer;
  answer.reason = static_cast<std::uint8_t>(reason);
  stamp_status(answer);
  link_->writer.put(answer, base::bytes_of(bhs));
  link_->output_added();
}

void Session::logout(const Pdu& pdu) {
  auto bhs = header_as<LogoutRequestBhs>(pdu.bhs);
  std::uint8_t reason = bhs.reason & kLogoutReasonMask;
  switch (static_cast<LogoutReason>(reason)) {
    case LogoutReason::close_session: break;
    case LogoutReason::close_connection:
      if (bhs.cid != identity_.cid) return send_logout_response(bhs.initiator_task_tag, LogoutStatus::cid_not_found);
      break;
    case LogoutReason::remove_for_recovery:
      return send_logout_response(bhs.initiator_task_tag, LogoutStatus::recovery_not_supported);
    default: return reject(pdu.bhs, RejectReason::invalid_pdu_field);
  }
  logout_task_tag_ = bhs.initiator_task_tag;
  end();
}

void Session::send_logout_response(std::uint32_t initiator_task_tag, LogoutStatus status) {
  LogoutResponseBhs answer;
  answer.initiator_task_tag = initiator_task_tag;
  answer.response = static_cast<std::uint8_t>(status);
  answer.time2wait = static_cast<std::uint16_t>(parameters().number(Key::default_time2wait));
  answer.time2retain = static_cast<std::uint16_t>(parameters().number(Key::default_time2retain));
  stamp_status(answer);
  link_->writer.put(answer);
  link_->output_added();
}

void Session::drop_commands() {
  held_.clear();
  in_flight_.remove(std::exchange(held_bytes_, 0));
  deferred_.clear();
  // Tasks that wait for data end here; those the device server works on end through it.
  std::vector<Command*> waiting;
  commands_.for_each([&](Command& command) {
    if (command.phase != Command::Phase::serving) waiting.push_back(&command);
  });
  for (Command* command : waiting) {
    if (command->phase == Command::Phase::gathering) server_->withdraw(*command);
    forget(*command);
  }
}

void Session::end() {
  if (ending_) return;
  ending_ = true;
  auto self = shared_from_this();
  if (!server_) return ended();
  drop_commands();
  server_->abort_all(nexus_, [self] { self->ended(); });
}

void Session::ended() {
  if (server_) server_->detach(nexus_);
  if (link_ && logout_task_tag_) {
    send_logout_response(*logout_task_tag_, LogoutStatus::closed);
    std::exchange(link_, nullptr)->finish(true, "logged out");
  }
  registry_.left(*this);
}

void Session::drop(bool flush, std::string why) {
  if (Link* link = std::exchange(link_, nullptr)) link->finish(flush, std::move(why));
  end();
}

void Session::request_logout(std::chrono::seconds within) {
  if (!link_) return end();  // between two connections: there is nobody to ask
  link_->request_logout(within);
}

void Session::replace_link(std::string why) {
  if (Link* link = std::exchange(link_, nullptr)) link->finish(false, std::move(why));
}

void Session::restart(std::move_only_function<void()> done) {
  if (!server_) return done();
  drop_commands();
  server_->abort_all(nexus_, std::move(done));
}

}  // namespace iscsi
