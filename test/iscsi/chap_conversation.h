// Logins with CHAP, step by step.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "target/iscsi/chap.h"
#include "test/iscsi/conversation.h"

namespace test {

inline const char* const kUser = "host";
inline const char* const kSecret = "initiator-secret";
inline const char* const kOurName = "array";
inline const char* const kOurSecret = "another-secret-0";

inline void require_chap(Array& array, bool mutual = false) {
  array.target().authentication.initiator = iscsi::ChapCredentials{kUser, kSecret};
  if (mutual) array.target().authentication.target = iscsi::ChapCredentials{kOurName, kOurSecret};
}

inline std::string value_of(const Answer& answer, const std::string& key) {
  std::string text(answer.data.begin(), answer.data.end());
  std::size_t at = text.find(key + "=");
  if (at == std::string::npos) return "";
  return text.substr(at + key.size() + 1, text.find('\0', at) - at - key.size() - 1);
}

inline std::uint16_t status_of(const Answer& answer) { return answer.as<iscsi::LoginResponseBhs>().status; }

struct Challenge {
  std::uint8_t identifier = 0;
  ByteVector bytes{};
};

/// Up to our challenge.
inline Challenge begin(Peer& peer, const std::string& algorithms = "5",
                       const std::string& initiator = std::string(kInitiator)) {
  Answer method = peer.login_step(
      0x00, pairs("InitiatorName=" + initiator, "TargetName=iqn.2025-01.example:target", "AuthMethod=CHAP,None"));
  CHECK(method.text() == "AuthMethod=CHAP TargetPortalGroupTag=1");
  Answer answer = peer.login_step(0x00, pairs("CHAP_A=" + algorithms));
  return {static_cast<std::uint8_t>(*iscsi::parse_number(value_of(answer, "CHAP_I"))),
          *iscsi::parse_binary(value_of(answer, "CHAP_C"), 1024)};
}

inline std::string hex(const ByteVector& bytes) { return iscsi::format_binary(bytes); }

inline std::string right(const Challenge& challenge, iscsi::ChapAlgorithm algorithm = iscsi::ChapAlgorithm::md5) {
  return hex(iscsi::chap_response(algorithm, challenge.identifier, kSecret, challenge.bytes));
}

/// The answer to CHAP_N and CHAP_R (and more).
template <typename... More>
Answer respond(Peer& peer, const std::string& name, const std::string& response, More... more) {
  return peer.login_step(0x81, pairs("CHAP_N=" + name, "CHAP_R=" + response, more...));
}

}  // namespace test
