// What rules want of a command's PDUs and of its connection: the transport gate of scsi/rule_gates.h. Each place calls
// here only for a command that has met a rule.
#include <fmt/format.h>

#include <algorithm>

#include "target/iscsi/session.h"

namespace iscsi {

namespace action = scsi::action;
using scsi::find_fault;

/// The device server has ended a task that has met rules.
void Session::settle_by_rules(Command& command) {
  const bool aborted = command.abort_requested.load(std::memory_order_relaxed);
  const auto* end = find_fault<action::EndConnection>(command);
  if (!aborted && end && end->at == action::EndConnection::At::command) {
    const auto self = shared_from_this();  // another command's rule may end the session first
    Link& link = *command.link;
    const action::EndConnection copy = *end;
    forget(command);
    return break_off(link, copy);
  }
  const bool lost = find_fault<action::DropCommand>(command) || find_fault<action::DropResponse>(command);
  if (aborted || lost) return forget(command);
  conclude(command);
}

/// Whether the connection is to end here, `at` the `nth` PDU of its kind; remembered for after_answer().
bool Session::reaches_end(const Command& command, action::EndConnection::At at, std::uint32_t nth) {
  const auto* end = find_fault<action::EndConnection>(command);
  const bool counted = at != action::EndConnection::At::response;
  if (!end || end->at != at || (counted && end->nth != nth)) return false;
  command.faults->cut = true;
  return true;
}

/// Before the answer is put together.
void Session::spoil_answer(const Command& command) {
  if (const auto* digest = find_fault<action::DigestError>(command))
    command.link->writer.spoil(digest->of == action::DigestError::Of::header,
                               digest->of == action::DigestError::Of::data);
}

/// After an answer, or what a rule left of it. The command is gone.
void Session::after_answer(Link& link, const scsi::TaskFaults& faults) {
  link.writer.spoil(false, false);
  if (std::ranges::find(links_, &link) == links_.end()) return;  // what came with the answer has ended it
  for (const auto& rule : faults.hits) {
    if (const auto* end = std::get_if<action::EndConnection>(&rule->action)) {
      if (faults.cut || end->at == action::EndConnection::At::after_response) return break_off(link, *end);
    }
    const auto* message = std::get_if<action::AsyncMessage>(&rule->action);
    if (!message) continue;
    std::string why = scsi::describe(*rule);
    switch (message->event) {
      case action::AsyncMessage::Event::logout_request:
        link.request_logout(std::chrono::seconds(message->seconds));
        break;
      case action::AsyncMessage::Event::drop_connection:
        send_async(link, AsyncEvent::drop_connection, 0);
        return lost(link, true, std::move(why));
      case action::AsyncMessage::Event::drop_session: return drop(true, std::move(why));
    }
  }
}

/// A Data-Out of the command has come. Whether it is lost.
bool Session::spoil_data_out(Command& command, const Pdu& pdu) {
  ++command.faults->data_outs;
  Link& link = *command.link;
  if (reaches_end(command, action::EndConnection::At::data_out, command.faults->data_outs)) {
    break_off(link, *find_fault<action::EndConnection>(command));
    return true;
  }
  const auto* digest = find_fault<action::DigestError>(command);
  if (!digest || digest->of != action::DigestError::Of::received_data || digest->nth != command.faults->data_outs)
    return false;
  data_digest_failed(link, pdu);
  return true;
}

/// The connection ends as a broken one does, when what is queued was sent. The session may be gone afterwards.
void Session::break_off(Link& link, action::EndConnection end) {
  if (end.reset) link.end_with_reset();
  lost(link, true, fmt::format("a rule: {}", scsi::describe(scsi::Action(end))));
}

}  // namespace iscsi
