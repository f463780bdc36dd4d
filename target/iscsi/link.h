// What a session needs of its connection: a way to send, StatSN, and an end. Thread: the loop's.
#pragma once

#include <chrono>
#include <string>

#include "target/iscsi/pdu_writer.h"
#include "target/iscsi/serial.h"

namespace iscsi {

class Link {
 public:
  explicit Link(OutputQueue& output) : writer(output) {}
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  PduWriter writer;
  StatSn stat_sn{};  ///< of the next PDU that carries status

  /// PDUs were put into the writer, perhaps from outside Connection::received().
  virtual void output_added() = 0;
  /// Bytes that wait to be sent.
  virtual std::uint64_t unsent() const = 0;
  /// The connection is over; what output is left is sent first if `flush`. The session is not told about it again.
  virtual void finish(bool flush, std::string why) = 0;
  /// The initiator is to be asked to log out, and dropped if it has not `within` the time.
  virtual void request_logout(std::chrono::seconds within) = 0;
  /// For the log: who is at the other end.
  virtual const std::string& peer() const = 0;

 protected:
  ~Link() = default;
};

}  // namespace iscsi
