// SCSI commands and their outcome (RFC 7143, 11.3, 11.4, 11.7).
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "target/iscsi/session.h"
#include "target/iscsi/session_registry.h"

namespace iscsi {
namespace {

scsi::TaskAttribute attribute_of(std::uint8_t flags) {
  std::uint8_t code = flags & kCommandAttributeMask;
  // DEVIATION: 5 to 7 are reserved (RFC 7143, 11.3.1); served as SIMPLE, since nothing is lost by it.
  return code <= static_cast<std::uint8_t>(scsi::TaskAttribute::aca) ? static_cast<scsi::TaskAttribute>(code)
                                                                     : scsi::TaskAttribute::simple;
}

scsi::Sense aborted(scsi::AdditionalSense code, std::string rule) {
  return {scsi::SenseKey::aborted_command, code, {}, {}, std::move(rule)};
}

}  // namespace

void Session::scsi_command(Link& link, Pdu& pdu) {
  auto bhs = header_as<ScsiCommandBhs>(pdu.bhs);
  Command& command = commands_.take(bhs.initiator_task_tag);
  command.link = &link;
  command.immediate = pdu.bhs.immediate();
  if (command.immediate) ++immediate_in_progress_;
  command.read = (bhs.flags & kCommandRead) != 0;
  command.write = (bhs.flags & kCommandWrite) != 0;
  command.unsolicited_open = command.write && !(bhs.flags & kFinal);
  command.lun_field = bhs.lun;
  command.expected_length = bhs.expected_data_transfer_length;
  command.unsolicited = static_cast<std::uint32_t>(pdu.data_length());
  command.nexus = nexus_;
  command.attribute = attribute_of(bhs.flags);
  command.cdb = bhs.cdb;
  command.observer = this;
  command.expected_data_length = command.expected_length;
  command.data_in_room = command.read ? command.expected_length : 0;
  if (auto sense = refuse_command(pdu, command)) return fail(command, std::move(*sense));
  command.lun = *scsi::decode_lun(bhs.lun);
  admit(command, pdu);
}

/// What is wrong with a command before its CDB is looked at.
std::optional<scsi::Sense> Session::refuse_command(const Pdu& pdu, const Command& command) const {
  using scsi::AdditionalSense;
  if (!scsi::decode_lun(command.lun_field))
    return scsi::Sense::illegal_request(AdditionalSense::logical_unit_not_supported, "a LUN of another form");
  if (!pdu.ahs.empty() || (command.read && command.write)) {
    // Longer CDBs and bidirectional commands exist, but none that is served here.
    return scsi::Sense::illegal_request(AdditionalSense::invalid_command_operation_code,
                                        "additional header segments or both directions");
  }
  if (command.unsolicited == 0 && !command.unsolicited_open) return std::nullopt;
  const Parameters& agreed = command.link->parameters();
  if (command.unsolicited > 0 && (!command.write || !agreed.yes(Key::immediate_data)))
    return aborted(AdditionalSense::unexpected_unsolicited_data, "immediate data was not agreed on");
  if (command.unsolicited_open && agreed.yes(Key::initial_r2t))
    return aborted(AdditionalSense::unexpected_unsolicited_data, "unsolicited data was not agreed on");
  if (command.unsolicited > std::min(agreed.number(Key::first_burst_length), command.expected_length))
    return aborted(AdditionalSense::unexpected_unsolicited_data, "more immediate data than FirstBurstLength or EDTL");
  return std::nullopt;
}

/// Whether `more` bytes of data would be too many beside what all sessions have under way.
bool Session::crowded(std::uint64_t more) const {
  std::uint64_t own = in_flight_.bytes();
  for (const Link* link : links_) own += link->unsent();
  return !registry_.data_in_flight().admits(own, more, registry_.size());
}

void Session::admit(Command& command, const Pdu& pdu) {
  // What a store reads while the host takes nothing is kept, and the command window does not know of bytes (SAM-5,
  // TASK SET FULL).
  bool full = command.read && reading_bytes_ >= directory_.limits.max_session_data_in;
  if (full || (command.expected_length > 0 && crowded(command.expected_length))) [[unlikely]] {
    command.status = scsi::Status::task_set_full;
    server_->record_answered(command, full ? "the session's READs wait to be taken (max_session_data_in)"
                                           : "data under way is at its limit (max_data_in_flight)");
    return conclude(command);
  }
  command.in_flight = command.expected_length;
  in_flight_.add(command.in_flight);
  command.in_call = true;
  server_->admit(command);
  command.in_call = false;
  if (command.state == scsi::Task::State::completed) return settle(command);
  if (command.state == scsi::Task::State::admitted) return gather(command, pdu);
  command.reading = std::min(command.data_in_length, *command.data_in_room);
  reading_bytes_ += command.reading;
}

/// The device server has ended the task: answer, or swallow first what is still to come.
void Session::settle(Command& command) {
  if (!command.link) return forget(command);
  if (command.faults) [[unlikely]]
    return settle_by_rules(command);
  if (command.status == scsi::Status::task_aborted) return forget(command);
  conclude(command);
}

void Session::completed(scsi::Task& task) {
  auto& command = static_cast<Command&>(task);
  if (command.in_call) return;
  settle(command);
}

/// Ends a command that the device server does not have, or has not begun.
void Session::fail(Command& command, scsi::Sense sense) {
  auto lun = scsi::decode_lun(command.lun_field);
  base::log::info("{}: CDB {:02X}h from {} to LUN {}, task tag {:08X}h: {}: {}", command.link->peer(), command.cdb[0],
                  identity_.initiator_name, lun ? fmt::format("{}", static_cast<unsigned>(*lun)) : "of another form",
                  command.tag, scsi::describe(sense), sense.rule);
  if (command.phase == Command::Phase::gathering) server_->withdraw(command);
  command.status = scsi::Status::check_condition;
  command.sense = std::move(sense);
  command.drop_data_in();
  conclude(command);
}

/// Answers once no data that was asked for or announced is to come any more (RFC 7143, 11.17.1).
void Session::conclude(Command& command) {
  if (!command.unsolicited_open && command.r2ts.empty()) return respond(command);
  command.phase = Command::Phase::discarding;
}

void Session::respond(Command& command) {
  if (fence_up_) [[unlikely]]
    return wait_behind_fence(command);
  if (command.faults) [[unlikely]]
    spoil_answer(command);
  // The window opens with this answer, not with the next.
  if (command.immediate) {
    --immediate_in_progress_;
  } else {
    window_.done();
  }
  // Residuals (RFC 7143, 11.4.5): what was expected against what the command had, or wanted. Announced for the other
  // direction, nothing of what was expected moves.
  bool out = command.has_data_out();
  std::uint64_t had = out ? command.data_out_length : command.data_in_size();
  std::uint64_t expected = command.expected_length;
  if (expected > 0 && !(out ? command.write : command.read)) had = 0;
  std::uint8_t flags = had > expected ? kResidualOverflow : had < expected ? kResidualUnderflow : 0;
  std::uint64_t difference = had > expected ? had - expected : expected - had;
  auto residual = static_cast<std::uint32_t>(std::min<std::uint64_t>(difference, 0xFFFFFFFF));

  auto length = static_cast<std::uint32_t>(
      command.read ? std::min<std::uint64_t>(command.data_in.size(), command.expected_length) : 0);
  if (length == 0 || !send_data_in(command, length, flags, residual))
    send_response(command, flags, residual, command.r2t_sn);
  Link& link = *command.link;
  auto faults = std::move(command.faults);
  const auto self = faults ? shared_from_this() : nullptr;  // another command's rule may end the session first
  in_flight_.remove(command.in_flight);
  reading_bytes_ -= command.reading;
  if (command.charged > 0) {
    gathered_bytes_ -= command.charged;
    commands_.release(command);
    retry_deferred();
  } else {
    commands_.release(command);
  }
  link.output_added();
  if (faults) [[unlikely]]
    after_answer(link, *faults);
}

/// Sends `length` bytes of data-in; GOOD status goes with the last of them (RFC 7143, 4.2.3.3), then true. True, too,
/// where a rule ends the connection before.
bool Session::send_data_in(Command& command, std::uint32_t length, std::uint8_t residual_flags,
                           std::uint32_t residual) {
  Link& link = *command.link;
  std::uint32_t segment = link.parameters().number(Key::max_recv_data_segment_length);
  std::uint32_t burst = link.parameters().number(Key::max_burst_length);
  bool collapse = command.status == scsi::Status::good;
  SegmentCursor cursor;
  std::uint32_t in_burst = 0;
  for (std::uint32_t offset = 0; offset < length;) {
    std::uint32_t run = std::min({segment, length - offset, burst - in_burst});
    bool last = offset + run == length;
    using At = scsi::action::EndConnection::At;
    if (command.faults && (reaches_end(command, At::data_in, command.r2t_sn + 1) ||
                           (last && collapse && reaches_end(command, At::response)))) [[unlikely]]
      return true;
    DataInBhs bhs;
    bhs.initiator_task_tag = command.tag;
    bhs.data_sn = command.r2t_sn++;
    bhs.buffer_offset = offset;  // WINDOWS: in every PDU, the one with status included (tgt commit 26cf5c9)
    in_burst += run;
    if (last || in_burst == burst) {
      bhs.flags = kFinal;
      in_burst = 0;
    }
    if (last && collapse) {
      bhs.flags |= kDataInStatus | residual_flags;
      bhs.status = static_cast<std::uint8_t>(command.status);
      bhs.residual_count = residual;
      stamp_status(link, bhs);
    } else {
      stamp(bhs);
    }
    link.writer.put(bhs, command.data_in, cursor, run);
    offset += run;
  }
  return collapse;
}

/// `data_sn` is how many R2T and Data-In PDUs the command had (ExpDataSN, RFC 7143, 11.4.8).
void Session::send_response(Command& command, std::uint8_t residual_flags, std::uint32_t residual,
                            std::uint32_t data_sn) {
  if (command.faults && reaches_end(command, scsi::action::EndConnection::At::response)) [[unlikely]]
    return;
  Link& link = *command.link;
  ScsiResponseBhs bhs;
  bhs.flags |= residual_flags;
  bhs.status = static_cast<std::uint8_t>(command.status);
  bhs.initiator_task_tag = command.tag;
  bhs.exp_data_sn = data_sn;
  bhs.residual_count = residual;
  stamp_status(link, bhs);
  // Sense data may go with GOOD, too (SPC-4 6.4.2, G_SENSE).
  bool sensed = command.status == scsi::Status::good && command.sense.key != scsi::SenseKey::no_sense;
  if (command.status != scsi::Status::check_condition && !sensed) return link.writer.put(bhs);
  std::vector<std::uint8_t> sense = server_->sense_data(command);
  std::vector<std::uint8_t> data;
  base::ByteWriter writer(data);
  writer.layout(SenseHead{static_cast<std::uint16_t>(sense.size())});
  writer.bytes(sense);
  link.writer.put(bhs, data);
}

/// The command is over without an answer.
void Session::forget(Command& command) {
  if (command.phase == Command::Phase::fenced) std::erase(fenced_, command.tag);
  if (command.immediate) {
    --immediate_in_progress_;
  } else {
    window_.done();
  }
  in_flight_.remove(command.in_flight);
  reading_bytes_ -= command.reading;
  gathered_bytes_ -= command.charged;
  commands_.release(command);
  if (!ending_) retry_deferred();
}

}  // namespace iscsi
