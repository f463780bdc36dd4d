// What an initiator answers to a CHAP challenge, for conversations in which CHAP is not the point (chap_test.cc proves
// the hashes by vectors computed elsewhere).
#pragma once

#include <string>

#include "target/iscsi/chap.h"
#include "test/iscsi/conversation.h"

namespace test {

/// The value of one key in an answer; empty when it is not there.
inline std::string value_of(const Answer& answer, const std::string& key) {
  std::string text = '\0' + std::string(answer.data.begin(), answer.data.end());
  std::size_t at = text.find('\0' + key + "=");
  if (at == std::string::npos) return "";
  at += key.size() + 2;
  return text.substr(at, text.find('\0', at) - at);
}

/// CHAP_N and CHAP_R for the challenge in `answer`.
inline ByteVector chap_answer(const std::string& name, const std::string& secret, const Answer& answer) {
  auto algorithm = static_cast<iscsi::ChapAlgorithm>(iscsi::parse_number(value_of(answer, "CHAP_A")).value_or(0));
  auto identifier = static_cast<std::uint8_t>(iscsi::parse_number(value_of(answer, "CHAP_I")).value_or(0));
  auto challenge =
      iscsi::parse_binary(value_of(answer, "CHAP_C"), iscsi::Chap::kMaxBinaryLength).value_or(ByteVector{});
  ByteVector response = iscsi::chap_response(algorithm, identifier, secret, challenge);
  return pairs("CHAP_N=" + name, "CHAP_R=" + iscsi::format_binary(response));
}

}  // namespace test
