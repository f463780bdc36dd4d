// TCP for the iSCSI portals: listens, accepts, and moves bytes between sockets and iscsi::Connection objects.
//
// Owns the sockets and the connections on them; parses nothing. Each turn of the loop receives a bounded amount from
// a ready socket, and sends all output the turn produced on a connection with one gathered send. A peer that does
// not read gets no more served than iscsi::Connection buffers. The first loop listens and accepts; each connection
// goes to the loop that has the fewest. Thread: a turn of any loop, unless said otherwise.
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
  /// `loop`, the first, and those beside it outlive the server, but run no turn without it.
  TcpServer(EventLoop& loop, const iscsi::Limits& limits, const std::vector<EventLoop*>& beside = {});
  /// No loop runs any more.
  ~TcpServer();

  /// Binds and listens on every portal. Throws std::runtime_error naming the portal and where it was written.
  void listen(const std::vector<PortalConfig>& portals);
  /// The bound addresses, in the order of the portals, with the ports the system chose for 0.
  const std::vector<iscsi::PortalAddress>& bound() const;

  /// Starts accepting. `context` outlives the server. Thread: the first loop's.
  void serve(const iscsi::ConnectionContext& context);

  /// Accepts no more, asks every session to log out, and after `grace` drops what is left; then calls `done`,
  /// perhaps from inside, in a turn of any loop. In a turn of the first loop.
  void shut_down(std::chrono::seconds grace, std::function<void()> done);

  std::size_t connections() const;
  /// How many each loop has, the first loop's first.
  std::vector<std::size_t> connections_of_loops() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace target
