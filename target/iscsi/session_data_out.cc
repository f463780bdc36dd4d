// Gathering data-out: immediate, unsolicited and solicited data (RFC 7143, 4.2.3 and 11.7, 11.8).
//
// WINDOWS: the LUN of a Data-Out is not looked at, since Windows leaves it blank (SCST commit 82e07ddb7); neither is
// its CmdSN field, which libiscsi fills.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/log.h"
#include "target/iscsi/session.h"

namespace iscsi {
namespace {

/// A write announced as longer than this gets its buffer in two steps, so that a claim alone costs little.
constexpr std::size_t kTrustedLength = 4 << 20;

scsi::Sense data_phase_error(std::string rule) {
  return {scsi::SenseKey::aborted_command, scsi::AdditionalSense::data_phase_error, {}, {}, std::move(rule)};
}

}  // namespace

Places Session::destination(Link& link, const Pdu& pdu) {
  std::size_t length = pdu.bhs.data_segment_length;
  if (!server_) return {};
  if (pdu.bhs.code() == Opcode::scsi_command) {
    auto bhs = header_as<ScsiCommandBhs>(pdu.bhs);
    if (!(bhs.flags & kCommandWrite) || length > link.parameters().number(Key::first_burst_length)) return {};
    std::size_t announced = bhs.expected_data_transfer_length;
    auto lun = scsi::decode_lun(bhs.lun);
    link.arriving.clear();
    if (!lun || announced < length || !server_->lend(nexus_, *lun, bhs.cdb, announced, link.arriving.loan))
      link.arriving.buffer = buffers_->take(std::max(length, std::min(announced, kTrustedLength)));
    return link.arriving.places(0, length);
  }
  if (pdu.bhs.code() != Opcode::data_out) return {};
  auto bhs = header_as<DataOutBhs>(pdu.bhs);
  Command* command = commands_.find(bhs.initiator_task_tag);
  if (!command || command->link != &link || command->phase != Command::Phase::gathering) return {};
  // What nobody asked for is not to lie over what has come.
  std::uint64_t offset = command->unsolicited;
  if (bhs.target_transfer_tag != kReservedTag) {
    auto r2t = std::ranges::find(command->r2ts, bhs.target_transfer_tag.value(), &OutstandingR2t::target_transfer_tag);
    if (r2t == command->r2ts.end()) return {};
    offset = r2t->offset + r2t->received;
  }
  if (bhs.buffer_offset != offset) return {};
  if (offset + length > std::min<std::uint64_t>(command->wanted, command->memory.capacity())) return {};
  return command->memory.places(offset, length);
}

/// Starts gathering for a command just admitted, or runs it when all its data is here.
void Session::gather(Command& command, const Pdu& pdu) {
  command.phase = Command::Phase::gathering;
  command.wanted = static_cast<std::uint32_t>(
      command.write ? std::min<std::uint64_t>(command.expected_length, command.data_out_length) : 0);
  DataOutMemory& arrived = command.link->arriving;
  const bool in_place = arrived.begins_with(pdu) && arrived.capacity() >= command.wanted;
  if (!command.unsolicited_open && command.unsolicited >= command.wanted) {
    if (in_place) {
      std::swap(command.memory, arrived);
      return run_gathered(command);
    }
    // The usual small write: the data stays where it was received.
    if (pdu.placed.empty()) return run(command, pdu.data.first(command.wanted), {});
  }
  if (command.unsolicited > 0 || command.unsolicited_open) {
    if (!fits(command)) {
      // Unsolicited data has to be taken, whatever is being gathered already: FirstBurstLength and the command window
      // bound it. Room for the rest comes with reserve().
      command.memory.buffer =
          buffers_->take(std::min(command.wanted, command.link->parameters().number(Key::first_burst_length)));
    } else {
      charge(command);
      if (in_place)
        std::swap(command.memory, arrived);
      else
        take_memory(command, command.memory);
    }
    keep(command, 0, pdu);
  }
  command.next_offset = std::min(command.unsolicited, command.wanted);
  proceed(command);
}

bool Session::fits(const Command& command) const {
  return gathered_bytes_ + command.wanted <= directory_.limits.max_session_data_out;
}

void Session::charge(Command& command) {
  command.charged = command.wanted;
  gathered_bytes_ += command.charged;
}

/// Memory for all data of a command.
void Session::take_memory(const Command& command, DataOutMemory& memory) {
  memory.clear();
  if (!server_->lend(nexus_, command.lun, command.cdb, command.wanted, memory.loan))
    memory.buffer = buffers_->take(command.wanted);
}

/// Makes room for all data of a write; false when the session gathers enough already. A write longer than the limit is
/// gathered when no other is.
bool Session::reserve(Command& command) {
  if (command.charged > 0) return true;
  if (gathered_bytes_ > 0 && !fits(command)) return false;
  if (command.memory.capacity() == 0) {
    take_memory(command, command.memory);
  } else if (command.memory.capacity() < command.wanted) {
    DataOutMemory whole;
    take_memory(command, whole);
    whole.put(0, command.memory.buffer->bytes().first(command.unsolicited));
    std::swap(command.memory, whole);
  }
  charge(command);
  return true;
}

void Session::run(Command& command, base::Bytes data_out, base::Ref<const base::RefCounted> owner) {
  command.phase = Command::Phase::serving;
  command.data_out = data_out;
  command.data_out_owner = std::move(owner);
  command.in_call = true;
  server_->execute(command);
  command.in_call = false;
  if (command.state == scsi::Task::State::completed) settle(command);
}

/// run() with what was gathered. What rules may look at or alter is brought into one piece first.
void Session::run_gathered(Command& command) {
  DataOutMemory& memory = command.memory;
  assert(memory.capacity() >= command.wanted);
  memory.cut(command.wanted);
  if (!memory.loan.empty() && command.faults) [[unlikely]] {
    DataOutMemory whole{buffers_->take(command.wanted), {}};
    std::size_t offset = 0;
    for (const handlers::LoanPart& part : std::exchange(memory.loan, {})) {
      whole.put(offset, part.bytes);
      offset += part.bytes.size();
    }
    memory = std::move(whole);
  }
  if (memory.loan.empty()) return run(command, memory.buffer->bytes().first(command.wanted), memory.buffer);
  command.loan = &memory.loan;
  command.loan_length = command.wanted;
  run(command, {}, {});
}

/// After data came: runs the command, or asks for what is missing.
/// DEVIATION: an unsolicited burst that ends before FirstBurstLength (RFC 7143, 11.7.1) is no error: the rest is asked
/// for.
void Session::proceed(Command& command) {
  if (command.unsolicited_open) return;
  if (std::min(command.unsolicited, command.wanted) + command.solicited == command.wanted) return run_gathered(command);
  if (command.next_offset == command.wanted) return;
  if (reserve(command)) return send_r2ts(command);
  if (std::ranges::find(deferred_, command.tag) == deferred_.end()) deferred_.push_back(command.tag);
}

void Session::send_r2ts(Command& command) {
  Link& link = *command.link;
  std::uint32_t burst = link.parameters().number(Key::max_burst_length);
  std::uint32_t most = link.parameters().number(Key::max_outstanding_r2t);
  while (command.r2ts.size() < most && command.next_offset < command.wanted) {
    if (command.faults && reaches_end(command, scsi::action::EndConnection::At::r2t, command.r2t_sn + 1)) [[unlikely]]
      return break_off(link, *scsi::find_fault<scsi::action::EndConnection>(command));
    if (++last_target_transfer_tag_ == kReservedTag) last_target_transfer_tag_ = 1;
    OutstandingR2t& r2t = command.r2ts.emplace_back();
    r2t.target_transfer_tag = last_target_transfer_tag_;
    r2t.offset = command.next_offset;
    r2t.length = std::min(burst, command.wanted - command.next_offset);
    command.next_offset += r2t.length;
    R2tBhs bhs;
    bhs.lun = command.lun_field;
    bhs.initiator_task_tag = command.tag;
    bhs.target_transfer_tag = r2t.target_transfer_tag;
    bhs.r2t_sn = command.r2t_sn++;
    bhs.buffer_offset = r2t.offset;
    bhs.desired_data_transfer_length = r2t.length;
    stamp(bhs);
    bhs.stat_sn = link.stat_sn.value;  // the next one, not used up (RFC 7143, 11.8.3)
    link.writer.put(bhs);
  }
  link.output_added();
}

void Session::retry_deferred() {
  if (deferred_.empty()) return;
  auto self = shared_from_this();  // asking for data may be where a rule ends the connection
  while (!deferred_.empty()) {
    Command* command = commands_.find(deferred_.front());
    bool waits = command && command->phase == Command::Phase::gathering;
    if (waits && !reserve(*command)) return;
    deferred_.erase(deferred_.begin());
    if (waits) send_r2ts(*command);
  }
}

void Session::data_out(Link& link, const Pdu& pdu) {
  auto bhs = header_as<DataOutBhs>(pdu.bhs);
  if (Command* command = commands_.find(bhs.initiator_task_tag)) {
    // The data of a command comes on the command's connection (RFC 7143, 4.2.5.1).
    if (command->link != &link) return reject(link, pdu.bhs, RejectReason::protocol_error);
    switch (command->phase) {
      case Command::Phase::discarding: return discard(*command, bhs);
      case Command::Phase::serving:
      case Command::Phase::fenced: break;
      case Command::Phase::gathering:
        if (command->faults && spoil_data_out(*command, pdu)) [[unlikely]]
          return;
        return bhs.target_transfer_tag == kReservedTag ? unsolicited_data(*command, pdu)
                                                       : solicited_data(*command, pdu);
    }
  }
  auto held = std::ranges::find_if(
      held_, [&](const Held& each) { return each.bhs.initiator_task_tag == bhs.initiator_task_tag && !each.plug; });
  if (held != held_.end()) {
    if (held->link != &link) return reject(link, pdu.bhs, RejectReason::protocol_error);
    held->data_outs.push_back({pdu.bhs, pdu.data_copy()});
    return held_more(sizeof(Held::DataOut) + held->data_outs.back().data.size());
  }
  // Data of a task that was aborted, or refused for its CmdSN: nobody wants it any more.
  base::log::debug("{}: Data-Out for task tag {:08X}h, which is not waiting for data", link.peer(),
                   bhs.initiator_task_tag.value());
}

void Session::unsolicited_data(Command& command, const Pdu& pdu) {
  auto bhs = header_as<DataOutBhs>(pdu.bhs);
  if (!command.unsolicited_open) {
    return fail(command, {scsi::SenseKey::aborted_command,
                          scsi::AdditionalSense::unexpected_unsolicited_data,
                          {},
                          {},
                          "unsolicited data was not agreed on, or had ended"});
  }
  bool final = (bhs.flags & kFinal) != 0;
  if (final) command.unsolicited_open = false;
  std::uint32_t limit = std::min(command.link->parameters().number(Key::first_burst_length), command.expected_length);
  auto length = static_cast<std::uint32_t>(pdu.data_length());
  if (bhs.data_sn != command.unsolicited_data_sn || bhs.buffer_offset != command.unsolicited ||
      length > limit - command.unsolicited) {
    return fail(command, data_phase_error(fmt::format(
                             "unsolicited Data-Out DataSN {} offset {} length {}; expected DataSN {} offset {}",
                             bhs.data_sn.value(), bhs.buffer_offset.value(), length, command.unsolicited_data_sn,
                             command.unsolicited)));
  }
  keep(command, command.unsolicited, pdu);
  ++command.unsolicited_data_sn;
  command.unsolicited += length;
  command.next_offset = std::min(command.unsolicited, command.wanted);
  proceed(command);
}

void Session::solicited_data(Command& command, const Pdu& pdu) {
  auto bhs = header_as<DataOutBhs>(pdu.bhs);
  auto r2t = std::ranges::find(command.r2ts, bhs.target_transfer_tag.value(), &OutstandingR2t::target_transfer_tag);
  if (r2t == command.r2ts.end()) {
    base::log::info("{}: Data-Out for task tag {:08X}h answers no R2T", command.link->peer(), command.tag);
    return;
  }
  auto length = static_cast<std::uint32_t>(pdu.data_length());
  bool final = (bhs.flags & kFinal) != 0;
  bool right = bhs.data_sn == r2t->data_sn && bhs.buffer_offset == r2t->offset + r2t->received &&
               length <= r2t->length - r2t->received;
  if (!right) {
    std::string rule =
        fmt::format("Data-Out DataSN {} offset {} length {}; expected DataSN {} offset {}", bhs.data_sn.value(),
                    bhs.buffer_offset.value(), length, r2t->data_sn, r2t->offset + r2t->received);
    if (final) command.r2ts.erase(r2t);
    return fail(command, data_phase_error(std::move(rule)));
  }
  keep(command, bhs.buffer_offset, pdu);
  ++r2t->data_sn;
  r2t->received += length;
  command.solicited += length;
  bool complete = r2t->received == r2t->length;
  if (!complete && !final) return;
  command.r2ts.erase(r2t);
  if (!complete) {
    return fail(command, {scsi::SenseKey::aborted_command,
                          scsi::AdditionalSense::not_enough_unsolicited_data,
                          {},
                          {},
                          "a Data-Out sequence ended before all that was asked for had come"});
  }
  proceed(command);
}

/// Puts data in its place, as far as the command wants it and unless it was received there.
void Session::keep(const Command& command, std::size_t offset, const Pdu& pdu) {
  pdu.for_each_run([&](base::Bytes run) {
    if (offset < command.wanted) command.memory.put(offset, run.first(std::min(run.size(), command.wanted - offset)));
    offset += run.size();
  });
}

/// Data of a command whose outcome is known already.
void Session::discard(Command& command, const DataOutBhs& bhs) {
  if (!(bhs.flags & kFinal)) return;
  if (bhs.target_transfer_tag == kReservedTag)
    command.unsolicited_open = false;
  else
    std::erase_if(command.r2ts, [&](const OutstandingR2t& each) {
      return each.target_transfer_tag == bhs.target_transfer_tag.value();
    });
  conclude(command);
}

void Session::data_digest_failed(Link& link, const Pdu& pdu) {
  reject(link, pdu.bhs, RejectReason::data_digest_error);
  // A command with bad immediate data was not received: its CmdSN stays open (RFC 7143, 11.17.1).
  if (!server_ || pdu.bhs.code() != Opcode::data_out) return;
  auto bhs = header_as<DataOutBhs>(pdu.bhs);
  Command* command = commands_.find(bhs.initiator_task_tag);
  if (!command || command->link != &link) return;
  if (command->phase == Command::Phase::serving || command->phase == Command::Phase::fenced) return;
  if (command->phase == Command::Phase::discarding) return discard(*command, bhs);
  if (bhs.flags & kFinal) {
    if (bhs.target_transfer_tag == kReservedTag) command->unsolicited_open = false;
    std::erase_if(command->r2ts, [&](const OutstandingR2t& each) {
      return each.target_transfer_tag == bhs.target_transfer_tag.value();
    });
  }
  fail(*command, {scsi::SenseKey::aborted_command,
                  scsi::AdditionalSense::protocol_service_crc_error,
                  {},
                  {},
                  "the data digest of a Data-Out is wrong"});
}

}  // namespace iscsi
