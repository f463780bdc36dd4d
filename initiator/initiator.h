// Sends SCSI commands and gives back everything a test could ask about the answer. One interface, two ways:
// libiscsi over the network, or straight into a DeviceServer in the same process.
// Thread: one command at a time per object.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace initiator {

struct Command {
  std::vector<std::uint8_t> cdb;
  std::vector<std::uint8_t> data_out{};      ///< sent when not empty
  std::uint32_t data_in_length = 0;          ///< expected data-in bytes; 0: none. Not both.
  std::chrono::milliseconds timeout{60000};  ///< WINDOWS: the installed disk timeout
  /// Asks for task attribute UNTAGGED. libiscsi 1.19 always sends SIMPLE; in process it is honoured.
  bool untagged = false;
  /// Looked at every 100 ms or so over the network: true gives the command up (Transport::aborted) and drops the
  /// session.
  std::function<bool()> stop{};
};

/// What became of a command below SCSI.
enum class Transport : std::uint8_t {
  delivered,  ///< a SCSI status came back
  timed_out,
  connection_lost,
  aborted,
};

struct Result {
  Transport transport = Transport::delivered;
  std::uint8_t status = 0;              ///< SCSI status byte, when delivered
  std::vector<std::uint8_t> sense{};    ///< as received, without the iSCSI length prefix
  std::vector<std::uint8_t> data_in{};  ///< what really came
  enum class Residual : std::uint8_t { none, underflow, overflow } residual = Residual::none;
  std::uint32_t residual_count = 0;
  std::string reason{};  ///< for people, when not delivered

  bool good() const { return transport == Transport::delivered && status == 0; }
};

/// TCP payload bytes (PDU headers, data, digests; login included) that crossed the wire since the session began. 0 in
/// process. Initiators that share a session share its counters.
struct WireCounters {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
};

class Initiator {
 public:
  virtual ~Initiator() = default;
  virtual Result execute(const Command& command) = 0;
  virtual WireCounters wire() const = 0;
};

}  // namespace initiator
