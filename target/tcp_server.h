// TCP for the iSCSI portals: listens, accepts, and moves bytes between sockets and iscsi::Connection objects.
//
// Owns the sockets and the connections on them; parses nothing. Each turn of the loop receives a bounded amount from
// a ready socket, and sends all output the turn produced on a connection with one gathered send. A peer that does
// not read gets no more served than iscsi::Connection buffers. Thread: the loop's.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "target/config.h"
#include "target/iscsi/connection.h"

namespace target {

class EventLoop;

class TcpServer {
 public:
  /// `loop` outlives the server, but runs no turn without it.
  TcpServer(EventLoop& loop, const iscsi::Limits& limits);
  ~TcpServer();

  /// Binds and listens on every portal. Throws std::runtime_error naming the portal and where it was written.
  void listen(const std::vector<PortalConfig>& portals);
  /// The bound addresses, in the order of the portals, with the ports the system chose for 0.
  const std::vector<iscsi::PortalAddress>& bound() const;

  /// Starts accepting. `context` outlives the server.
  void serve(const iscsi::ConnectionContext& context);

  /// Accepts no more, asks every session to log out, and after `grace` drops what is left; then calls `done`,
  /// perhaps from inside.
  void shut_down(std::chrono::seconds grace, std::function<void()> done);

  std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace target
