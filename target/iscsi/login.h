// The target's side of a login (RFC 7143, 6.3): Login Requests in, Login Responses out, until both sides agree.
//
// Owns the login phase, the negotiation and CHAP of one connection; knows no session and no sequence numbers. What
// it answers has StatSN, ExpCmdSN, MaxCmdSN and (in the final response) TSIH left to be filled in. Thread: the loop's.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/entropy.h"
#include "target/iscsi/chap.h"
#include "target/iscsi/login_phase.h"
#include "target/iscsi/negotiation.h"
#include "target/iscsi/node.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/text_keys.h"

namespace iscsi {

/// Who logs in, and where to.
struct LoginIdentity {
  std::string initiator_name;
  std::string initiator_alias;
  Isid isid{};
  std::uint16_t tsih = 0;  ///< as requested: 0 for a new session
  std::uint16_t cid = 0;
  std::uint32_t initiator_task_tag = 0;
  std::uint32_t cmd_sn = 0;
  bool discovery = false;
  std::shared_ptr<const TargetNode> target{};  ///< null in a discovery session
  std::uint16_t portal_group_tag = 1;          ///< of the portal that was reached
};

class Login {
 public:
  enum class Verdict {
    respond,   ///< send response() and go on
    complete,  ///< open the session, then send response() with its TSIH: full-feature phase begins
    refuse,    ///< send response(), then close; a redirection is one of these
  };

  /// A login through a portal of that group. References outlive the object.
  Login(const Directory& directory, base::Entropy& entropy, std::uint16_t portal_group_tag)
      : directory_(directory), entropy_(entropy), identity_{.portal_group_tag = portal_group_tag} {}

  /// Judges one Login Request.
  Verdict request(const LoginRequestBhs& bhs, base::Bytes data);
  /// Ends the login for a reason outside it (RFC 7143, 11.13.5); `why` is for the log.
  Verdict refuse(LoginStatus status, std::string why);

  const LoginResponseBhs& response() const { return response_; }
  std::string_view response_text() const { return response_text_; }

  LoginStage stage() const { return phase_.stage(); }
  const LoginIdentity& identity() const { return identity_; }
  /// Once a request has named the initiator.
  const Negotiation& negotiation() const { return *negotiation_; }
  LoginStatus status() const { return status_; }
  /// After refuse: why, for the log.
  const std::string& reason() const { return reason_; }

 private:
  struct Refusal {
    LoginStatus status;
    std::string why;
    std::string text{};  ///< what is told with the status
  };
  static Refusal refusal_of(const Redirection& redirection);
  using Checked = std::expected<void, Refusal>;

  Verdict refuse(Refusal refusal);
  Checked check_header(const LoginRequestBhs& bhs);
  Checked serve_text(std::string_view text);
  Checked identify(std::span<const TextPair> pairs);
  bool same_identity(std::span<const TextPair> pairs) const;
  Checked authenticate(std::span<const TextPair> pairs, std::string& answers);
  Checked choose_method(std::string_view list, std::string& answers);
  Checked decide_transit();
  Verdict answer();
  const Authentication& authentication() const;
  bool authentication_required() const;
  bool authenticated() const;

  const Directory& directory_;
  base::Entropy& entropy_;
  LoginPhase phase_;
  LoginIdentity identity_{};
  bool identified_ = false;
  std::optional<Negotiation> negotiation_;
  std::optional<Chap> chap_;
  bool auth_method_offered_ = false;

  TextAssembler assembler_;
  TextSlicer slicer_;
  std::optional<LoginStage> requested_;  // NSG of the request being served, when it has T
  std::optional<LoginStage> transit_;    // what the response, once complete, goes to

  LoginResponseBhs response_{};
  std::string response_text_;
  LoginStatus status_ = LoginStatus::success;
  std::string reason_;
};

}  // namespace iscsi
