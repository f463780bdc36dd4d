#include "target/tcp_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "target/event_loop.h"
#include "target/tcp_connection.h"

namespace target {
namespace {

namespace log = base::log;

constexpr int kBacklog = 256;
constexpr std::chrono::milliseconds kLastWords{250};  // for what is sent to peers that are dropped at the end
constexpr std::chrono::seconds kAcceptRetry{1};       // when the process has no descriptor or memory left

using Endpoint = boost::asio::ip::tcp::endpoint;

/// The address without a zone, in brackets if IPv6.
iscsi::PortalAddress portal_address(const Endpoint& endpoint, std::uint16_t portal_group_tag) {
  if (endpoint.address().is_v4()) return {endpoint.address().to_string(), endpoint.port(), portal_group_tag};
  auto address = endpoint.address().to_v6();
  address.scope_id(0);
  return {fmt::format("[{}]", address.to_string()), endpoint.port(), portal_group_tag};
}

std::string text_of(const Endpoint& endpoint) {
  iscsi::PortalAddress address = portal_address(endpoint, {});
  return fmt::format("{}:{}", address.address, address.port);
}

Endpoint local_endpoint(int fd) {
  Endpoint endpoint;
  socklen_t size = endpoint.capacity();
  if (::getsockname(fd, endpoint.data(), &size) == 0) endpoint.resize(size);
  return endpoint;
}

void set_option(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0)
    log::debug("socket option {}/{} could not be set: {}", level, name, std::strerror(errno));
}

/// On short paths bbr paces what need not be paced: cubic moves 1.3 to 1.7 times as much on loopback. Other choices of
/// the system are left alone.
void prefer_cubic(int fd) {
  std::array<char, 16> name{};
  socklen_t size = name.size();
  constexpr std::string_view kBbr = "bbr";
  constexpr std::string_view kCubic = "cubic";
  if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) != 0) return;
  if (std::string_view(name.data()) != kBbr) return;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kCubic.data(), kCubic.size()) != 0)
    log::debug("congestion control stays {}: {}", name.data(), std::strerror(errno));
}

/// What accepted sockets inherit. Answers are sent in batches of our own, so Nagle's algorithm only delays; a peer that
/// vanished is found out by the kernel, without a wake-up of ours.
void set_inherited_options(int fd) {
  constexpr int kIdleSeconds = 60, kIntervalSeconds = 10, kProbes = 6;
  prefer_cubic(fd);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kIntervalSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
}

[[noreturn]] void cannot_listen(const PortalConfig& portal, int error) {
  std::string advice =
      error == EADDRINUSE ? "; another program has it: choose another with --portal ADDR:PORT (port 0 picks a free one)"
                          : "; choose another with --portal ADDR:PORT";
  throw std::runtime_error(
      fmt::format("{}: cannot listen on {}: {}{}", portal.place, portal.text(), std::strerror(error), advice));
}

/// Returns a listening, non-blocking socket. Throws std::runtime_error.
int open_listener(const PortalConfig& portal) {
  Endpoint endpoint(boost::asio::ip::make_address(portal.host), portal.port);
  int fd = ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) cannot_listen(portal, errno);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (endpoint.address().is_v6())
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);  // so that 0.0.0.0 and :: can both be portals
  set_inherited_options(fd);
  if (::bind(fd, endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 || ::listen(fd, kBacklog) != 0) {
    int error = errno;
    ::close(fd);
    cannot_listen(portal, error);
  }
  return fd;
}

}  // namespace

struct TcpServer::Impl {
  using Descriptor = boost::asio::posix::stream_descriptor;
  struct Listener {
    Descriptor socket;
    std::uint16_t portal_group_tag;
    Endpoint bound;
  };

  /// A loop and its connections.
  struct Side final : TcpConnectionOwner {
    Side(Impl& its_server, EventLoop& its_loop) : server(its_server), loop(its_loop) {
      loop.at_end_of_turn([this] { settle(); });
      loop.after_turn([this] { wait(); });
    }

    // TcpConnectionOwner
    void needs_settling(TcpConnection& connection) override {
      unsettled.push_back(connection.shared_from_this());
      if (!loop.has_turn()) loop.again();
    }
    void closed(TcpConnection& connection) override {
      --connections;
      server.forget(connection);
    }

    void settle() {
      // Settling one connection may give another something to do (a reset that ends its tasks).
      while (!unsettled.empty()) {
        std::swap(unsettled, settling);
        for (auto& connection : settling) {
          connection->settle();
          settled.push_back(std::move(connection));
        }
        settling.clear();
      }
    }
    void wait() {
      for (auto& connection : settled) connection->wait();
      settled.clear();
    }

    Impl& server;
    EventLoop& loop;
    std::size_t connections = 0;
    std::vector<std::shared_ptr<TcpConnection>> unsettled;
    std::vector<std::shared_ptr<TcpConnection>> settling, settled;  // of the loop's thread
  };

  Impl(EventLoop& first, const iscsi::Limits& limits_in, const std::vector<EventLoop*>& beside)
      : loop(first), limits(limits_in) {
    sides.push_back(std::make_unique<Side>(*this, first));
    for (EventLoop* each : beside) sides.push_back(std::make_unique<Side>(*this, *each));
  }

  void forget(TcpConnection& connection) {
    log::debug("connection closed, {} left", connections.size() - 1);
    connections.erase(&connection);
    full_reported = false;
    if (connections.empty() && emptied) std::exchange(emptied, {})();
  }

  void wait_for_peers(Listener& listener) {
    listener.socket.async_wait(Descriptor::wait_read, [this, &listener](const boost::system::error_code& error) {
      if (!error) accept_later(listener);
    });
  }

  /// One peer a step: whoever has a session goes first.
  void accept_later(Listener& listener) {
    loop.give_way([this, &listener] {
      if (context) accept(listener);
    });
  }

  void accept(Listener& listener) {
    Endpoint peer;
    socklen_t size = peer.capacity();
    int fd = ::accept4(listener.socket.native_handle(), peer.data(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      peer.resize(size);
      take(fd, peer, listener);
      return accept_later(listener);
    }
    if (errno == EAGAIN) return wait_for_peers(listener);
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
      return accept_later(listener);  // the peer was gone before it was taken
    if (!std::exchange(full_reported, true))
      log::warning("connections wait: {} (at {} connections)", std::strerror(errno), connections.size());
    loop.timers().at(loop.clock().now() + kAcceptRetry, [this, &listener] {
      if (context) wait_for_peers(listener);
    });
  }

  void take(int fd, const Endpoint& peer, const Listener& listener) {
    if (connections.size() >= limits.max_connections) {
      if (!std::exchange(full_reported, true))
        log::warning("{} is turned away: iscsi.max_connections is {}", text_of(peer), limits.max_connections);
      ::close(fd);
      return;
    }
    const Endpoint reached = listener.bound.address().is_unspecified() ? local_endpoint(fd) : listener.bound;
    iscsi::ConnectionInfo info{text_of(peer), portal_address(reached, listener.portal_group_tag)};
    log::debug("connection from {}", info.peer);
    Side& side = **std::ranges::min_element(sides, {}, [](const auto& each) { return each->connections; });
    auto connection = std::make_shared<TcpConnection>(side.loop, side, fd, *context, std::move(info));
    connections.emplace(connection.get(), connection);
    ++side.connections;
    connection->start();
  }

  std::vector<std::shared_ptr<TcpConnection>> all() const {
    std::vector<std::shared_ptr<TcpConnection>> list;
    for (const auto& [key, connection] : connections) list.push_back(connection);
    return list;
  }

  EventLoop& loop;
  const iscsi::Limits limits;
  const iscsi::ConnectionContext* context = nullptr;  // set while accepting
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<iscsi::PortalAddress> bound;
  std::vector<std::unique_ptr<Side>> sides;  // of the first loop, then of the others
  std::unordered_map<TcpConnection*, std::shared_ptr<TcpConnection>> connections;
  std::function<void()> emptied;
  bool full_reported = false;
};

TcpServer::TcpServer(EventLoop& loop, const iscsi::Limits& limits, const std::vector<EventLoop*>& beside)
    : impl_(std::make_unique<Impl>(loop, limits, beside)) {}

TcpServer::~TcpServer() {
  impl_->emptied = {};
  for (auto& connection : impl_->all()) {
    connection->abandon();
    connection->settle();
  }
}

void TcpServer::listen(const std::vector<PortalConfig>& portals) {
  for (const PortalConfig& portal : portals) {
    int fd = open_listener(portal);
    const Endpoint bound = local_endpoint(fd);
    impl_->listeners.push_back(
        std::make_unique<Impl::Listener>(Impl::Descriptor(impl_->loop.io(), fd), portal.group, bound));
    impl_->bound.push_back(portal_address(bound, portal.group));
  }
}

const std::vector<iscsi::PortalAddress>& TcpServer::bound() const { return impl_->bound; }

void TcpServer::serve(const iscsi::ConnectionContext& context) {
  impl_->context = &context;
  for (auto& listener : impl_->listeners) impl_->wait_for_peers(*listener);
}

void TcpServer::shut_down(std::chrono::seconds grace, std::function<void()> done) {
  impl_->context = nullptr;
  boost::system::error_code ignored;
  for (auto& listener : impl_->listeners) listener->socket.close(ignored);
  if (impl_->connections.empty()) return done();
  impl_->emptied = std::move(done);
  for (auto& connection : impl_->all()) connection->request_logout(grace);
  auto now = impl_->loop.clock().now();
  impl_->loop.timers().at(now + grace, [this] {
    for (auto& connection : impl_->all()) connection->drop("odxd is shutting down");
  });
  impl_->loop.timers().at(now + grace + kLastWords, [this] {
    for (auto& connection : impl_->all()) connection->abandon();
  });
}

std::size_t TcpServer::connections() const { return impl_->connections.size(); }

std::vector<std::size_t> TcpServer::connections_of_loops() const {
  std::vector<std::size_t> counts;
  for (const auto& side : impl_->sides) counts.push_back(side->connections);
  return counts;
}

}  // namespace target
