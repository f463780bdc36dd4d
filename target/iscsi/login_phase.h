// The stages of a login (RFC 7143, 6.3), as a state machine without any text. Thread: any.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <optional>

namespace iscsi {

enum class LoginStage : std::uint8_t {
  initial,                  ///< no request has come
  security_negotiation,     ///< CSG 0
  operational_negotiation,  ///< CSG 1, LoginOperationalNegotiation
  full_feature_phase,       ///< 3; the login is over
  failed,                   ///< a Login Response with an error status ended it
};

struct LoginTransition {
  LoginStage from;
  LoginStage to;
};

/// RFC 7143, 6.3 and 11.12.3: stages are entered in order, may be skipped, and are never gone back to.
inline constexpr std::array<LoginTransition, 8> kLoginTransitions{{
    {LoginStage::initial, LoginStage::security_negotiation},
    {LoginStage::initial, LoginStage::operational_negotiation},
    {LoginStage::initial, LoginStage::failed},
    {LoginStage::security_negotiation, LoginStage::operational_negotiation},
    {LoginStage::security_negotiation, LoginStage::full_feature_phase},
    {LoginStage::security_negotiation, LoginStage::failed},
    {LoginStage::operational_negotiation, LoginStage::full_feature_phase},
    {LoginStage::operational_negotiation, LoginStage::failed},
}};

constexpr bool is_legal(LoginStage from, LoginStage to) {
  for (const LoginTransition& each : kLoginTransitions)
    if (each.from == from && each.to == to) return true;
  return false;
}

/// CSG and NSG values of RFC 7143, 11.12.3; nothing for the reserved one.
constexpr std::optional<LoginStage> stage_of(std::uint8_t code) {
  switch (code) {
    case 0: return LoginStage::security_negotiation;
    case 1: return LoginStage::operational_negotiation;
    case 3: return LoginStage::full_feature_phase;
    default: return std::nullopt;
  }
}
constexpr std::uint8_t code_of(LoginStage stage) {
  switch (stage) {
    case LoginStage::operational_negotiation: return 1;
    case LoginStage::full_feature_phase: return 3;
    case LoginStage::initial:
    case LoginStage::security_negotiation:
    case LoginStage::failed: return 0;
  }
  return 0;
}

class LoginPhase {
 public:
  LoginStage stage() const { return stage_; }
  void enter(LoginStage next) {
    assert(is_legal(stage_, next));
    stage_ = next;
  }

 private:
  LoginStage stage_ = LoginStage::initial;
};

}  // namespace iscsi
