// Text requests in full-feature phase (RFC 7143, 11.10, 11.11): SendTargets, and what may be declared again.
#include <algorithm>

#include "base/log.h"
#include "target/iscsi/discovery.h"
#include "target/iscsi/session.h"

namespace iscsi {

void Session::text_request(Link& link, const Pdu& pdu) {
  auto bhs = header_as<TextRequestBhs>(pdu.bhs);
  TextExchange& text = link.text;
  if (bhs.target_transfer_tag == kReservedTag) {
    // A new exchange ends the one before it (RFC 7143, 11.10.4).
    text.in.take();
    text.out.clear();
    text.task_tag = bhs.initiator_task_tag;
  } else if (bhs.target_transfer_tag != text.transfer_tag || bhs.initiator_task_tag != text.task_tag) {
    return reject_served(link, pdu.bhs, RejectReason::protocol_error);
  }
  text.transfer_tag = kReservedTag;
  if (text.out.pending()) {
    // Our last response had the C bit: the initiator asks for the rest with an empty request (RFC 7143, 6.2).
    if (!pdu.data.empty()) return reject_served(link, pdu.bhs, RejectReason::protocol_error);
    return send_text_response(link, bhs);
  }
  bool continued = (bhs.flags & kContinue) != 0;
  if ((continued && (bhs.flags & kFinal)) || !text.in.add(pdu.data))
    return reject_served(link, pdu.bhs, RejectReason::protocol_error);
  if (!continued && !answer_text(link, text.in.take()))
    return reject_served(link, pdu.bhs, RejectReason::protocol_error);
  send_text_response(link, bhs);
}

/// Puts the answer to one complete text into the connection's exchange; false when the text breaks a rule.
bool Session::answer_text(Link& link, std::string_view text) {
  link.text.out.clear();
  auto pairs = parse_text(text);
  if (!pairs) {
    base::log::info("{}: text refused: {}", link.peer(), pairs.error());
    return false;
  }
  std::string answers;
  auto wanted = std::ranges::find(*pairs, "SendTargets", &TextPair::key);
  if (wanted != pairs->end()) {
    auto targets =
        send_targets(directory_, {identity_.initiator_name, identity_.target.get(), link.local}, wanted->value);
    if (targets) {
      answers += *targets;
    } else {
      append_pair(answers, "SendTargets", "Reject");
    }
  }
  if (auto good = link.negotiation->exchange(*pairs, NegotiationStage::full_feature, answers); !good) {
    base::log::info("{}: text refused: {}", link.peer(), good.error());
    return false;
  }
  link.text.out.add(answers);
  return true;
}

void Session::send_text_response(Link& link, const TextRequestBhs& request) {
  TextSlicer::Piece piece = link.text.out.next(link.parameters().number(Key::max_recv_data_segment_length));
  TextResponseBhs answer;
  answer.initiator_task_tag = request.initiator_task_tag;
  bool final = piece.last && (request.flags & kFinal);
  if (final) {
    answer.flags = kFinal;
  } else {
    answer.flags = piece.last ? 0 : kContinue;
    if (++last_target_transfer_tag_ == kReservedTag) last_target_transfer_tag_ = 1;
    link.text.transfer_tag = last_target_transfer_tag_;
  }
  answer.target_transfer_tag = link.text.transfer_tag;
  stamp_status(link, answer);
  link.writer.put(answer, base::bytes_of(piece.text));
  link.output_added();
}

}  // namespace iscsi
