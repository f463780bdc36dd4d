#include "target/iscsi/login.h"

#include <fmt/format.h>

#include <algorithm>

#include "target/iscsi/discovery.h"
#include "target/iscsi/name.h"

namespace iscsi {
namespace {

bool lists(std::string_view list, std::string_view entry) {
  while (true) {
    std::size_t comma = list.find(',');
    if (list.substr(0, comma) == entry) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

std::uint8_t current_stage(std::uint8_t flags) { return (flags / kCurrentStageFactor) & kStageMask; }
std::uint8_t next_stage(std::uint8_t flags) { return flags & kStageMask; }

}  // namespace

Login::Verdict Login::request(const LoginRequestBhs& bhs, base::Bytes data) {
  response_ = {};
  response_text_.clear();
  response_.isid = bhs.isid;
  response_.tsih = bhs.tsih;
  response_.initiator_task_tag = bhs.initiator_task_tag;
  if (Checked good = check_header(bhs); !good) return refuse(std::move(good.error()));

  if (slicer_.pending()) {
    // Our last response had the C bit: the initiator asks for the rest with an empty request (RFC 7143, 6.2).
    if (!data.empty()) return refuse(LoginStatus::initiator_error, "text while ours is not finished");
    return answer();
  }
  if (!assembler_.add(data)) return refuse(LoginStatus::initiator_error, "too much text");
  if (bhs.flags & kContinue) return answer();
  std::string text = assembler_.take();
  if (Checked good = serve_text(text); !good) return refuse(std::move(good.error()));
  return answer();
}

Login::Verdict Login::refuse(LoginStatus status, std::string why) { return refuse({status, std::move(why)}); }

Login::Verdict Login::refuse(Refusal refusal) {
  status_ = refusal.status;
  reason_ = std::move(refusal.why);
  bool over = phase_.stage() == LoginStage::full_feature_phase;
  response_.flags = over ? std::uint8_t{0} : static_cast<std::uint8_t>(code_of(phase_.stage()) * kCurrentStageFactor);
  response_.status = static_cast<std::uint16_t>(status_);
  response_text_ = std::move(refusal.text);
  if (phase_.stage() != LoginStage::full_feature_phase && phase_.stage() != LoginStage::failed)
    phase_.enter(LoginStage::failed);
  return Verdict::refuse;
}

Login::Checked Login::check_header(const LoginRequestBhs& bhs) {
  auto refused = [](LoginStatus status, std::string why) { return std::unexpected(Refusal{status, std::move(why)}); };
  // Only version 0 exists (RFC 7143, 11.12.4).
  if (bhs.version_min > 0)
    return refused(LoginStatus::unsupported_version, fmt::format("Version-min {}", bhs.version_min));
  auto current = stage_of(current_stage(bhs.flags));
  if (!current || *current == LoginStage::full_feature_phase)
    return refused(LoginStatus::initiator_error, fmt::format("flags {:02X}h: no such CSG", bhs.flags));
  bool transit = (bhs.flags & kTransit) != 0;
  auto next = stage_of(next_stage(bhs.flags));
  if (transit && ((bhs.flags & kContinue) || !next || !is_legal(*current, *next)))
    return refused(LoginStatus::initiator_error, fmt::format("flags {:02X}h: no such transition", bhs.flags));

  if (phase_.stage() == LoginStage::initial) {
    identity_.isid = bhs.isid;
    identity_.tsih = bhs.tsih;
    identity_.cid = bhs.cid;
    identity_.initiator_task_tag = bhs.initiator_task_tag;
    identity_.cmd_sn = bhs.cmd_sn;
    phase_.enter(*current);
  } else if (identity_.isid != bhs.isid || identity_.tsih != bhs.tsih || identity_.cid != bhs.cid ||
             identity_.initiator_task_tag != bhs.initiator_task_tag) {
    return refused(LoginStatus::initiator_error, "ISID, TSIH, CID or task tag changed within the login");
  }
  if (*current != phase_.stage())
    return refused(LoginStatus::initiator_error, fmt::format("flags {:02X}h: not the current stage", bhs.flags));
  requested_ = transit ? next : std::nullopt;
  return {};
}

Login::Checked Login::serve_text(std::string_view text) {
  auto pairs = parse_text(text);
  if (!pairs) return std::unexpected(Refusal{LoginStatus::initiator_error, std::move(pairs.error())});
  std::string answers;
  bool first = !identified_;
  if (first) {
    if (Checked good = identify(*pairs); !good) return good;
  } else if (!same_identity(*pairs)) {
    return std::unexpected(Refusal{LoginStatus::initiator_error, "InitiatorName, TargetName or SessionType changed"});
  }
  if (phase_.stage() == LoginStage::security_negotiation) {
    if (Checked good = authenticate(*pairs, answers); !good) return good;
  } else if (!authenticated()) {
    return std::unexpected(Refusal{LoginStatus::authentication_failure, "authentication was skipped"});
  }
  // Not before: who cannot prove anything is not told which names may log in.
  if (authenticated() && identity_.target && !identity_.target->allows(identity_.initiator_name))
    return std::unexpected(Refusal{LoginStatus::authorization_failure, "not among allowed_initiators"});
  if (first && identity_.target) {
    // WINDOWS: waits for it until its login timer ends (iScsiPrt event 43); RFC 7143, 13.9 wants it too.
    append_pair(answers, "TargetPortalGroupTag", fmt::format("{}", identity_.portal_group_tag));
    if (!identity_.target->alias.empty()) append_pair(answers, "TargetAlias", identity_.target->alias);
  }
  if (chap_ && phase_.stage() == LoginStage::security_negotiation)
    std::erase_if(*pairs, [](const TextPair& each) { return each.key.starts_with("CHAP_"); });
  auto stage =
      phase_.stage() == LoginStage::security_negotiation ? NegotiationStage::security : NegotiationStage::operational;
  if (auto good = negotiation_->exchange(*pairs, stage, answers); !good)
    return std::unexpected(Refusal{LoginStatus::initiator_error, std::move(good.error())});
  slicer_.clear();
  slicer_.add(answers);
  return decide_transit();
}

/// Sent away by the first response, not after CHAP (RFC 7143, 11.13.5 has both): libiscsi 1.19 goes on with CHAP where
/// it left off when it is redirected later. The address goes without the portal group tag (RFC 7143, 13.8).
Login::Refusal Login::refusal_of(const Redirection& redirection) {
  Refusal refusal{redirection.permanent ? LoginStatus::target_moved_permanently : LoginStatus::target_moved_temporarily,
                  "redirected to " + format_portal(redirection.to)};
  append_pair(refusal.text, "TargetAddress", format_portal(redirection.to));
  return refusal;
}

Login::Checked Login::identify(std::span<const TextPair> pairs) {
  auto refused = [](LoginStatus status, std::string why) { return std::unexpected(Refusal{status, std::move(why)}); };
  auto initiator = value_of(pairs, "InitiatorName");
  if (!initiator) return refused(LoginStatus::missing_parameter, "no InitiatorName");
  auto name = initiator_name(*initiator);
  if (!name) return refused(LoginStatus::initiator_error, "InitiatorName is not an iSCSI name");
  identity_.initiator_name = std::move(*name);
  identity_.initiator_alias = value_of(pairs, "InitiatorAlias").value_or("");

  std::string_view type = value_of(pairs, "SessionType").value_or("Normal");
  if (type != "Normal" && type != "Discovery")
    return refused(LoginStatus::session_type_not_supported, "SessionType is neither Normal nor Discovery");
  identity_.discovery = type == "Discovery";
  if (!identity_.discovery) {
    auto target = value_of(pairs, "TargetName");
    if (!target) return refused(LoginStatus::missing_parameter, "no TargetName");
    auto target_name = normalised_name(*target);
    identity_.target = target_name ? directory_.find(*target_name) : nullptr;
    if (!identity_.target) return refused(LoginStatus::target_not_found, "no such target");
    if (!identity_.target->is_offered_in(identity_.portal_group_tag))
      return refused(LoginStatus::target_not_found,
                     fmt::format("the target is not offered in portal group {}", identity_.portal_group_tag));
    const auto& redirection = identity_.target->redirection;
    if (redirection && identity_.target->allows(identity_.initiator_name))
      return std::unexpected(refusal_of(*redirection));
    if (!identity_.target->device_server) return refused(LoginStatus::service_unavailable, "the target is not ready");
  }
  negotiation_.emplace(directory_.limits, identity_.discovery, identity_.tsih == 0);
  identified_ = true;
  return {};
}

// DEVIATION: no key is to be declared twice (RFC 7143, 6.3). libiscsi 1.19 says these again in the operational stage
// when it has a CHAP name and we ask for none; what they say has not changed.
bool Login::same_identity(std::span<const TextPair> pairs) const {
  auto initiator = value_of(pairs, "InitiatorName");
  auto type = value_of(pairs, "SessionType");
  auto target = value_of(pairs, "TargetName");
  return (!initiator || initiator_name(*initiator) == identity_.initiator_name) &&
         (!type || *type == (identity_.discovery ? "Discovery" : "Normal")) &&
         (!target || !identity_.target || normalised_name(*target) == identity_.target->name);
}

const Authentication& Login::authentication() const {
  return identity_.target ? identity_.target->authentication_for(identity_.initiator_name) : directory_.discovery;
}

bool Login::authentication_required() const {
  return identity_.target ? identity_.target->authenticates() : directory_.discovery.initiator.has_value();
}

bool Login::authenticated() const {
  return !authentication_required() || (chap_ && chap_->state() == Chap::State::succeeded);
}

Login::Checked Login::authenticate(std::span<const TextPair> pairs, std::string& answers) {
  if (auto list = value_of(pairs, "AuthMethod")) {
    if (auth_method_offered_)
      return std::unexpected(Refusal{LoginStatus::initiator_error, "AuthMethod negotiated twice"});
    auth_method_offered_ = true;
    if (Checked good = choose_method(*list, answers); !good) return good;
  }
  if (!chap_) return {};
  if (auto good = chap_->step(pairs, answers); !good)
    return std::unexpected(Refusal{LoginStatus::authentication_failure, std::move(good.error())});
  return {};
}

Login::Checked Login::choose_method(std::string_view list, std::string& answers) {
  bool required = authentication_required();
  if (required && lists(list, "CHAP")) {
    chap_.emplace(authentication(), entropy_);
    append_pair(answers, "AuthMethod", "CHAP");
    return {};
  }
  if (!required && lists(list, "None")) {
    append_pair(answers, "AuthMethod", "None");
    return {};
  }
  // What the initiator offered is not logged: it may hold anything.
  return std::unexpected(
      Refusal{LoginStatus::authentication_failure,
              required ? "CHAP is required and was not offered" : "None was not offered; there are no secrets"});
}

Login::Checked Login::decide_transit() {
  transit_.reset();
  if (!requested_) return {};
  if (!authenticated()) {
    // Half-way through CHAP we stay in the stage; without CHAP there is no way on.
    if (chap_) return {};
    return std::unexpected(Refusal{LoginStatus::authentication_failure, "CHAP is required and was not offered"});
  }
  transit_ = requested_;
  return {};
}

Login::Verdict Login::answer() {
  std::uint8_t flags = static_cast<std::uint8_t>(code_of(phase_.stage()) * kCurrentStageFactor);
  // The default length holds during login, whatever was declared (RFC 7143, 13.12).
  TextSlicer::Piece piece = slicer_.next(kDefaultMaxRecvDataSegmentLength);
  response_text_ = piece.text;
  if (!piece.last) {
    response_.flags = flags | kContinue;
    return Verdict::respond;
  }
  slicer_.clear();
  if (!transit_) {
    response_.flags = flags;
    return Verdict::respond;
  }
  LoginStage next = *transit_;
  transit_.reset();
  response_.flags = flags | kTransit | code_of(next);
  phase_.enter(next);
  return next == LoginStage::full_feature_phase ? Verdict::complete : Verdict::respond;
}

}  // namespace iscsi
