// One connection of a session, as the session sees it: a way to send, StatSN, what was negotiated for it, its text
// exchange, and an end. Owns what full-feature phase keeps for a connection; what the session's connections share
// (commands, their order, the I_T nexus) is the Session's. Thread: the loop's.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "target/iscsi/data_out_memory.h"
#include "target/iscsi/negotiation.h"
#include "target/iscsi/node.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/pdu_writer.h"
#include "target/iscsi/serial.h"
#include "target/iscsi/text_keys.h"

namespace iscsi {

/// A text negotiation in full-feature phase (RFC 7143, 11.10); a connection has one at a time.
struct TextExchange {
  TextAssembler in{};
  TextSlicer out{};
  std::uint32_t task_tag = kReservedTag;
  std::uint32_t transfer_tag = kReservedTag;
};

class Link {
 public:
  explicit Link(OutputQueue& output) : writer(output) {}
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  PduWriter writer;
  StatSn stat_sn{};  ///< of the next PDU that carries status

  // Set and used by the session, once the link has joined it.

  std::uint16_t cid = 0;
  StatSn acknowledged{};     ///< ExpStatSN of the initiator
  std::uint32_t number = 0;  ///< in its session; unlike the CID it is not given again
  PortalAddress local{};     ///< the address it reached, for SendTargets
  std::optional<Negotiation> negotiation{};
  TextExchange text{};
  DataOutMemory arriving{};                        ///< where the immediate data of the command now being received goes
  bool closing = false;                            ///< its logout is under way
  std::optional<std::uint32_t> logout_task_tag{};  ///< of the logout it gets a response to when it is over

  /// The values in force on it, those of its session included.
  const Parameters& parameters() const { return negotiation->parameters(); }

  /// PDUs were put into the writer, perhaps from outside Connection::received().
  virtual void output_added() = 0;
  /// Bytes that wait to be sent.
  virtual std::uint64_t unsent() const = 0;
  /// Nothing more is read: a logout is under way, and finish() follows.
  virtual void stop_reading() = 0;
  /// The connection is over; what output is left is sent first if `flush`. The session is not told about it again.
  virtual void finish(bool flush, std::string why) = 0;
  /// finish(), which follows, ends it with a TCP reset.
  virtual void end_with_reset() = 0;
  /// The initiator is to be asked to log out, and dropped if it has not `within` the time.
  virtual void request_logout(std::chrono::seconds within) = 0;
  /// For the log: who is at the other end.
  virtual const std::string& peer() const = 0;

 protected:
  ~Link() = default;
};

}  // namespace iscsi
