// Text requests in full-feature phase (RFC 7143, 11.10, 11.11): SendTargets, and what may be declared again.
#include <algorithm>

#include "base/log.h"
#include "target/iscsi/discovery.h"
#include "target/iscsi/session.h"

namespace iscsi {

void Session::text_request(const Pdu& pdu) {
  auto bhs = header_as<TextRequestBhs>(pdu.bhs);
  if (bhs.target_transfer_tag == kReservedTag) {
    // A new exchange ends the one before it (RFC 7143, 11.10.4).
    text_in_.take();
    text_out_.clear();
    text_task_tag_ = bhs.initiator_task_tag;
  } else if (bhs.target_transfer_tag != text_transfer_tag_ || bhs.initiator_task_tag != text_task_tag_) {
    return reject(pdu.bhs, RejectReason::protocol_error);
  }
  text_transfer_tag_ = kReservedTag;
  if (text_out_.pending()) {
    // Our last response had the C bit: the initiator asks for the rest with an empty request (RFC 7143, 6.2).
    if (!pdu.data.empty()) return reject(pdu.bhs, RejectReason::protocol_error);
    return send_text_response(bhs);
  }
  bool continued = (bhs.flags & kContinue) != 0;
  if ((continued && (bhs.flags & kFinal)) || !text_in_.add(pdu.data))
    return reject(pdu.bhs, RejectReason::protocol_error);
  if (!continued && !answer_text(text_in_.take())) return reject(pdu.bhs, RejectReason::protocol_error);
  send_text_response(bhs);
}

/// Puts the answer to one complete text into text_out_; false when the text breaks a rule.
bool Session::answer_text(std::string_view text) {
  text_out_.clear();
  auto pairs = parse_text(text);
  if (!pairs) {
    base::log::info("{}: text refused: {}", link_->peer(), pairs.error());
    return false;
  }
  std::string answers;
  auto wanted = std::ranges::find(*pairs, "SendTargets", &TextPair::key);
  if (wanted != pairs->end()) {
    auto targets = send_targets(directory_, {identity_.initiator_name, identity_.target.get(), local_}, wanted->value);
    if (targets) {
      answers += *targets;
    } else {
      append_pair(answers, "SendTargets", "Reject");
    }
  }
  if (auto good = negotiation_.exchange(*pairs, NegotiationStage::full_feature, answers); !good) {
    base::log::info("{}: text refused: {}", link_->peer(), good.error());
    return false;
  }
  text_out_.add(answers);
  return true;
}

void Session::send_text_response(const TextRequestBhs& request) {
  TextSlicer::Piece piece = text_out_.next(parameters().number(Key::max_recv_data_segment_length));
  TextResponseBhs answer;
  answer.initiator_task_tag = request.initiator_task_tag;
  bool final = piece.last && (request.flags & kFinal);
  if (final) {
    answer.flags = kFinal;
  } else {
    answer.flags = piece.last ? 0 : kContinue;
    if (++last_target_transfer_tag_ == kReservedTag) last_target_transfer_tag_ = 1;
    text_transfer_tag_ = last_target_transfer_tag_;
  }
  answer.target_transfer_tag = text_transfer_tag_;
  stamp_status(answer);
  link_->writer.put(answer, base::bytes_of(piece.text));
  link_->output_added();
}

}  // namespace iscsi
