// One iSCSI connection (RFC 7143), without a socket: bytes and time in, bytes and orders out.
//
// Owns the receive buffer, digests, login phase and the queue of bytes to send; finds its session in the
// SessionRegistry once logged in. It never reads a clock and never touches a socket: the event loop in
// target/ moves the bytes, a test does so by hand. Thread: the loop's.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/entropy.h"
#include "target/iscsi/node.h"
#include "target/iscsi/pdu_decoder.h"

namespace iscsi {

class SessionRegistry;
class Connection;

/// What the event loop hears from a connection, perhaps from inside a call into it.
class ConnectionObserver {
 public:
  virtual ~ConnectionObserver() = default;
  /// There is output where there was none. Not repeated until the output has been drained.
  virtual void output_ready(Connection& connection) = 0;
  /// The connection is over: send what output is left if `flush`, then close the socket and destroy it (not
  /// from inside this call).
  virtual void finished(Connection& connection, bool flush) = 0;
};

/// Shared by all connections of a portal group. References outlive every connection.
struct ConnectionContext {
  const Directory& directory;
  SessionRegistry& sessions;
  base::Entropy& entropy;
};

struct ConnectionInfo {
  std::string peer;       ///< "192.0.2.7:51234", for the log
  PortalAddress local{};  ///< what the peer reached: the bound address, and the portal group
};

class Connection {
 public:
  /// `now` and every later time are wire-clock times. The login timer starts now.
  Connection(const ConnectionContext& context, ConnectionInfo info, ConnectionObserver& observer, base::TimePoint now);
  ~Connection();

  /// Where the next received bytes go, one after another: fills the front of `out` and returns how many it filled.
  /// None while the connection does not want more: its output is over a limit, its login waits for another session to
  /// end, or it is over. Ask again after sent() and output_ready().
  std::size_t receive_buffers(std::span<iovec> out);
  static constexpr std::size_t kMostReceiveBuffers = PduDecoder::kMostBuffers;
  /// The first of them; empty where there is none.
  base::MutableBytes receive_buffer();
  /// `count` bytes were put there. Parses and serves all whole PDUs.
  void received(std::size_t count, base::TimePoint now);

  /// The peer closed, or the socket failed.
  void peer_closed();

  /// Fills `out` with the next bytes to send; returns how many entries. The bytes stay valid until sent().
  std::size_t output(std::span<iovec> out) const;
  std::uint64_t output_size() const;
  /// The first `count` bytes of the output were sent.
  void sent(std::size_t count);

  /// When tick() has something to do at the latest; nothing when no timer runs.
  std::optional<base::TimePoint> deadline() const;
  void tick(base::TimePoint now);

  /// Asks the initiator to log out (Async Message event 1, RFC 7143, 11.9.1), for shutdown. A connection that
  /// is not in full-feature phase finishes, with status 0301h where a login waits for its answer. Without a logout
  /// `within` seconds of the next tick(), which is due at once, the connection is dropped.
  void request_logout(std::chrono::seconds within);
  /// Ends the connection now: Async Message event 2 when in full-feature phase.
  void drop(std::string reason);

  const ConnectionInfo& info() const;
  bool full_feature() const;
  /// Whether it is to end with a TCP reset, when ConnectionObserver::finished() is called.
  bool ends_with_reset() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace iscsi
