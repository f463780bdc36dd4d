// Sockets of the server, with sessions of the real protocol: who is served in what order, and what sockets inherit.
// Server and clients are one process and one thread, so that a client can wait until what it asks has arrived; where
// there are two loops, the second has a thread.
//
// Not tested, and why: limits of connections and descriptors (the system tests do it); how long anything takes
// (scripts/bench measures it, parts load and targets); what sessions on two loops do to each other (the system tests
// with ODX_THREADS=2, and the thread sanitizer).
#include "target/tcp_server.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/entropy.h"
#include "target/event_loop.h"
#include "target/further_loops.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/session_registry.h"

namespace {

constexpr int kForEver = 5'000;  // milliseconds; only a failure takes them

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  address.sin_port = htons(port);
  return address;
}

class Client {
 public:
  explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(port);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~Client() { ::close(fd_); }
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Client(const Client&) = delete;

  template <typename Header>
  void send(Header header, const std::string& text) {
    header.data_segment_length = static_cast<std::uint32_t>(text.size());
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    bytes += text;
    bytes.resize(bytes.size() + iscsi::padding(text.size()));
    REQUIRE(::send(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  }

  /// A login to a discovery session, which needs no target.
  void log_in() {
    iscsi::LoginRequestBhs request;
    request.flags = 0x87;  // T, from LoginOperationalNegotiation to FullFeaturePhase
    send(request, std::string("InitiatorName=iqn.2025-01.example:host\0SessionType=Discovery\0", 61));
  }
  /// Something that a session answers.
  void ask() {
    iscsi::TextRequestBhs request;
    request.opcode |= iscsi::kImmediate;  // its place among others does not matter
    request.flags = 0x80;                 // F
    send(request, std::string("SendTargets=All\0", 16));
  }
  /// The same, until the server's end has it. `end` is other_end().
  void ask(int end) {
    ask();
    pollfd arrived{end, POLLIN, 0};
    REQUIRE(::poll(&arrived, 1, kForEver) == 1);
  }

  /// Whether the server's end has all that was sent, read or not.
  bool all_arrived() const {
    int on_its_way = -1;
    REQUIRE(::ioctl(fd_, TIOCOUTQ, &on_its_way) == 0);
    return on_its_way == 0;
  }

  bool has_answer(int within_ms) const {
    pollfd waiting{fd_, POLLIN, 0};
    return ::poll(&waiting, 1, within_ms) == 1;
  }
  /// All that has come. False when the server has closed.
  bool take() {
    std::vector<char> nowhere(65536);
    ssize_t count = 1;
    while (count > 0) count = ::recv(fd_, nowhere.data(), nowhere.size(), MSG_DONTWAIT);
    return count < 0 && errno == EAGAIN;
  }

  /// The server's end, which this process has too.
  int other_end() const {
    sockaddr_in mine{}, peer{};
    socklen_t size = sizeof mine;
    REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&mine), &size) == 0);
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int fd = 0; fd < static_cast<int>(limit.rlim_cur); ++fd) {
      size = sizeof peer;
      if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 && peer.sin_port == mine.sin_port)
        return fd;
    }
    return -1;
  }

 private:
  int fd_;
};

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  CHECK(::getsockopt(fd, level, name, &value, &size) == 0);
  return value;
}

/// Whether nothing waits in a socket for its program.
bool is_empty(int fd) {
  int waiting = -1;
  CHECK(::ioctl(fd, FIONREAD, &waiting) == 0);
  return waiting == 0;
}

class Server {
 public:
  explicit Server(unsigned further_loops = 0) : further_(loop_, further_loops) {
    loop_.at_end_of_any_turn([this] { after_turn_(); });
    server_.listen({{.host = "127.0.0.1", .port = 0}});
    server_.serve(context_);
    further_.start();
  }

  Client connect() { return Client(server_.bound().front().port); }
  /// As many as have come, and how many of them are logged in.
  std::size_t connections() const { return server_.connections(); }
  std::size_t sessions() const { return sessions_.size(); }

  std::vector<std::size_t> connections_of_loops() const { return server_.connections_of_loops(); }
  /// The first loop asks for it, and ends when it is done.
  void shut_down() {
    loop_.io().restart();
    loop_.turn([this] {
      loop_.timers().at(loop_.clock().now(),
                        [this] { server_.shut_down(std::chrono::seconds(0), [this] { loop_.stop(); }); });
    });
    loop_.run();
    further_.stop();
  }

  /// A turn of the first loop.
  void turn(std::function<void()> work) { loop_.turn(work); }

  /// Asked when a turn of any loop is over.
  void run_until(std::function<bool()> over) {
    loop_.io().restart();
    loop_.turn([&] {
      after_turn_ = [&] {
        if (over()) loop_.stop();
      };
    });
    loop_.run();
    loop_.turn([&] { after_turn_ = [] {}; });
  }

  Client log_in() {
    Client client = connect();
    client.log_in();
    run_until([&] { return client.has_answer(0); });
    client.take();
    return client;
  }

 private:
  target::EventLoop loop_{1};
  target::FurtherLoops further_;
  iscsi::Directory directory_{.targets = {}, .discovery = {}, .limits = {}};
  iscsi::SessionRegistry sessions_{directory_.limits};
  base::SeededEntropy entropy_{1};
  iscsi::ConnectionContext context_{directory_, sessions_, entropy_};
  target::TcpServer server_{loop_, directory_.limits, further_.all()};
  std::function<void()> after_turn_ = [] {};
};

std::vector<Client> newcomers(Server& server, std::size_t count) {
  std::vector<Client> clients;
  for (std::size_t i = 0; i < count; ++i) {
    clients.push_back(server.connect());
    clients.back().log_in();
  }
  return clients;
}

}  // namespace

TEST_SUITE("tcp server") {
  TEST_CASE("a session is served between any two steps of a hundred peers that connect and log in") {
    constexpr std::size_t kNewcomers = 100;
    Server server;
    Client session = server.log_in();
    const int end = session.other_end();
    std::vector<Client> others = newcomers(server, kNewcomers);
    session.ask(end);
    std::size_t steps = 0, most = 0;
    std::size_t before = server.connections() + server.sessions();
    server.run_until([&] {
      std::size_t now = server.connections() + server.sessions();
      if (now == before) return false;
      most = std::max(most, now - before);
      before = now;
      ++steps;
      REQUIRE(session.has_answer(kForEver));
      session.take();
      session.ask(end);
      return server.sessions() == kNewcomers + 1;
    });
    CHECK(most == 1);
    CHECK(steps == 2 * kNewcomers);
  }

  TEST_CASE("peers connect and log in while a session has something to do at any time") {
    constexpr std::size_t kNewcomers = 20;
    Server server;
    Client session = server.log_in();
    const int end = session.other_end();
    std::vector<Client> others = newcomers(server, kNewcomers);
    session.ask(end);
    std::size_t turns = 0;
    server.run_until([&] {
      ++turns;
      session.take();
      session.ask(end);
      return server.sessions() == kNewcomers + 1;
    });
    // The first of all may come at once; the listener has a last step, which finds nobody.
    constexpr std::size_t kSteps = 2 * kNewcomers;
    CHECK(turns >= (kSteps - 1) * target::EventLoop::kTurnsBeforeStep);
    CHECK(turns <= (kSteps + 2) * (target::EventLoop::kTurnsBeforeStep + 2));
  }

  TEST_CASE("a hundred sessions whose peers go away end one by one, between answers to another") {
    constexpr std::size_t kOthers = 100;
    Server server;
    Client session = server.log_in();
    const int end = session.other_end();
    std::vector<Client> others;
    for (std::size_t i = 0; i < kOthers; ++i) others.push_back(server.log_in());
    others.clear();
    session.ask(end);
    std::size_t before = server.sessions(), most = 0;
    server.run_until([&] {
      std::size_t now = server.sessions();
      if (now == before) return false;
      most = std::max(most, before - now);
      before = now;
      REQUIRE(session.has_answer(kForEver));
      session.take();
      session.ask(end);
      return now == 1;
    });
    CHECK(most == 1);
  }

  TEST_CASE("accepted sockets send at once and find out that a peer has vanished") {
    Server server;
    Client client = server.log_in();
    int fd = client.other_end();
    REQUIRE(fd >= 0);
    CHECK(option(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK(option(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 60);
    CHECK(option(fd, IPPROTO_TCP, TCP_KEEPINTVL) == 10);
    CHECK(option(fd, IPPROTO_TCP, TCP_KEEPCNT) == 6);
  }

  TEST_CASE("of two loops each has every second connection, and both end when one of them shuts down") {
    Server server(1);
    std::vector<Client> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(server.log_in());
    server.run_until([&] { return server.connections_of_loops() == std::vector<std::size_t>{2, 2}; });
    for (Client& client : clients) {
      client.ask();
      server.run_until([&] { return client.has_answer(0); });
      CHECK(client.take());
    }
    server.shut_down();
    CHECK(server.connections() == 0);
    CHECK(server.sessions() == 0);
    for (Client& client : clients) CHECK_FALSE(client.take());
  }

  TEST_CASE("what comes to a session of one loop is received while another loop has its turn, and served afterwards") {
    Server server(1);
    std::vector<Client> clients;
    for (int i = 0; i < 2; ++i) clients.push_back(server.log_in());
    Client& of_second = clients.back();
    const int end = of_second.other_end();
    server.turn([&] {
      REQUIRE(server.connections_of_loops() == std::vector<std::size_t>{1, 1});
      of_second.ask();
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(kForEver);
      while (!(of_second.all_arrived() && is_empty(end)) && std::chrono::steady_clock::now() < give_up)
        std::this_thread::yield();
      CHECK(of_second.all_arrived());
      CHECK(is_empty(end));
      CHECK_FALSE(of_second.has_answer(0));
    });
    CHECK(of_second.has_answer(kForEver));
    server.shut_down();
  }
}
