// Judges every PDU a target sends by the rules of RFC 7143, 11: opcode, reserved fields, flags, sequence numbers,
// lengths, residuals. Knows what was asked of the target only as far as it is told; what it was not told it does not
// judge.
//
// Owns the expectations of one connection. StatSN and digests are Peer's to check. Thread: the test's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/iscsi/pdu.h"

namespace test {

class PduChecker {
 public:
  using Data = std::vector<std::uint8_t>;

  /// The initiator is about to send this PDU.
  void sent(const iscsi::Bhs& bhs, const Data& data);
  /// Bytes are sent that nobody cut into PDUs: tags and limits are not known any more.
  void sent_raw() { raw_ = true; }
  /// The rule that the target's PDU breaks; empty: none.
  std::string received(const iscsi::Bhs& bhs, const Data& data);

 private:
  struct Sent {
    std::uint32_t expected_length = 0;
    std::uint8_t flags = 0;
  };
  /// Commands sent under one task tag and not answered yet. More than one when the initiator misbehaves: then any of
  /// them explains an answer.
  struct Task {
    std::vector<Sent> sent{};
    std::uint32_t data_sn = 0;
    std::uint32_t r2t_sn = 0;
    std::uint32_t data_in = 0;   ///< bytes come
    std::uint32_t in_burst = 0;  ///< of them in the current sequence
  };

  std::string window(const iscsi::Bhs& bhs);
  std::string data_in(const iscsi::Bhs& bhs, std::size_t length);
  std::string r2t(const iscsi::Bhs& bhs);
  std::string response(const iscsi::Bhs& bhs, const Data& data);
  std::string login_response(const iscsi::Bhs& bhs, const Data& data);
  std::string text_response(const iscsi::Bhs& bhs, const Data& data);
  std::string nop_in(const iscsi::Bhs& bhs, const Data& data) const;
  std::string other(const iscsi::Bhs& bhs, const Data& data) const;
  std::string residual(Task& task, std::uint8_t flags, std::uint32_t count) const;
  Task* find(std::uint32_t tag);

  bool raw_ = false;
  std::map<std::uint32_t, Task> tasks_;
  std::optional<std::uint32_t> exp_cmd_sn_{};
  std::optional<std::uint32_t> max_cmd_sn_{};
  std::uint32_t segment_ = iscsi::kDefaultMaxRecvDataSegmentLength;  ///< what we declared
  std::optional<std::uint32_t> declared_{};                          ///< declared, not answered yet
  std::uint32_t burst_ = 262144;
};

}  // namespace test
