#include "target/tcp_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <span>

#include "base/log.h"
#include "target/event_loop.h"

namespace target {
namespace {

// What one turn does for one connection, so that a busy one does not hold up the others.
constexpr int kReceivesPerTurn = 4;
constexpr int kSendsPerTurn = 4;
// How long the last output may take to reach a peer, and the peer to close.
constexpr std::chrono::seconds kFarewell{5};

/// Into one place by the call that costs less.
ssize_t receive_into(int fd, std::span<const iovec> places) {
  if (places.size() == 1) return ::recv(fd, places[0].iov_base, places[0].iov_len, MSG_DONTWAIT);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(places.data());
  message.msg_iovlen = places.size();
  return ::recvmsg(fd, &message, MSG_DONTWAIT);
}

}  // namespace

TcpConnection::TcpConnection(EventLoop& loop, TcpConnectionOwner& owner, int fd,
                             const iscsi::ConnectionContext& context, iscsi::ConnectionInfo info)
    : loop_(loop),
      owner_(owner),
      fd_(fd),
      socket_(loop.io()),
      connection_(std::make_unique<iscsi::Connection>(context, std::move(info), *this, loop.clock().now())) {}

TcpConnection::~TcpConnection() {
  // Whoever lets go of it last does so outside turns, but only when close() has left nothing to do in one.
  if (state_ != State::closed) loop_.timers().cancel(timer_);
  if (fd_ >= 0) ::close(fd_);
}

void TcpConnection::start() { want_settling(); }

void TcpConnection::want_settling() {
  if (settling_wanted_ || state_ == State::closed) return;
  settling_wanted_ = true;
  owner_.needs_settling(*this);
}

void TcpConnection::output_ready(iscsi::Connection&) { want_settling(); }

void TcpConnection::finished(iscsi::Connection& connection, bool flush) {
  if (state_ != State::open) return;
  state_ = State::finishing;
  flush_ = flush;
  reset_ = connection.ends_with_reset();
  set_timer(loop_.clock().now() + kFarewell, [this] { close(); });
  want_settling();
}

void TcpConnection::request_logout(std::chrono::seconds within) {
  if (state_ == State::open) connection_->request_logout(within);
  want_settling();
}

void TcpConnection::drop(const std::string& reason) {
  if (state_ == State::open) connection_->drop(reason);
  want_settling();
}

void TcpConnection::abandon() {
  if (state_ == State::open) connection_->peer_closed();
  abandoned_ = true;
  want_settling();
}

void TcpConnection::peer_gone() {
  peer_gone_ = true;
  loop_.give_way([self = shared_from_this()] {
    if (self->state_ == State::open) self->connection_->peer_closed();
    self->want_settling();
  });
}

void TcpConnection::set_timer(base::TimePoint when, base::TimerQueue::Callback callback) {
  loop_.timers().cancel(timer_);
  timer_at_ = when;
  timer_ = loop_.timers().at(when, [this, callback = std::move(callback)]() mutable {
    timer_ = base::TimerQueue::Id::none;
    callback();
  });
}

void TcpConnection::wait_readable() {
  if (waiting_readable_) return;
  waiting_readable_ = true;
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       if (error) return;
                       if (!self->logged_in_) return self->give_way();
                       self->waiting_readable_ = false;
                       self->loop_.turn([&] {
                         self->receive();
                         self->want_settling();
                       });
                     });
}

void TcpConnection::give_way() {
  loop_.give_way([self = shared_from_this()] {
    self->waiting_readable_ = false;
    if (self->state_ == State::lingering) self->discard();
    self->receive();
    self->logged_in_ = self->state_ == State::open && self->connection_->full_feature();
    self->want_settling();
  });
}

void TcpConnection::wait_writable() {
  if (waiting_writable_) return;
  waiting_writable_ = true;
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_write,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->waiting_writable_ = false;
                       if (!error) self->loop_.turn([&] { self->want_settling(); });
                     });
}

void TcpConnection::receive() {
  base::TimePoint now = loop_.clock().now();
  std::array<iovec, iscsi::Connection::kMostReceiveBuffers> buffers;
  for (int i = 0; i < kReceivesPerTurn && state_ == State::open && !peer_gone_; ++i) {
    const std::span<const iovec> places = std::span(buffers).first(connection_->receive_buffers(buffers));
    if (places.empty()) return;
    std::size_t room = 0;
    for (const iovec& place : places) room += place.iov_len;
    ssize_t count = 0;
    int error = 0;
    loop_.outside_turn([&] {
      count = receive_into(socket_.native_handle(), places);
      error = errno;
    });
    if (state_ != State::open) return;  // another loop's turn has ended it
    if (count < 0 && (error == EAGAIN || error == EINTR)) return;
    if (count <= 0) return peer_gone();
    connection_->received(static_cast<std::size_t>(count), now);
    if (static_cast<std::size_t>(count) < room) return;
  }
}

void TcpConnection::discard() {
  std::array<std::uint8_t, 16384> nowhere;
  ssize_t count = ::recv(socket_.native_handle(), nowhere.data(), nowhere.size(), MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) close();
}

void TcpConnection::send() {
  if (waiting_writable_) return;
  std::array<iovec, IOV_MAX> parts;
  for (int i = 0; sends() && connection_->output_size() > 0; ++i) {
    if (i == kSendsPerTurn) return wait_writable();
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = connection_->output(parts);
    ssize_t count = 0;
    int error = 0;
    loop_.outside_turn([&] {
      count = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      error = errno;
    });
    if (count < 0 && error == EINTR) continue;
    if (count < 0 && error == EAGAIN) {
      if (state_ == State::open) connection_->output_blocked();
      return wait_writable();
    }
    if (count < 0) return state_ == State::open ? peer_gone() : close();
    connection_->sent(static_cast<std::size_t>(count));
  }
}

void TcpConnection::settle() {
  settling_wanted_ = false;
  if (state_ == State::closed) return;
  if (fd_ >= 0) socket_.assign(std::exchange(fd_, -1));
  if (abandoned_) return close();
  send();
  switch (state_) {
    case State::open:
      if (!peer_gone_ && !connection_->receive_buffer().empty()) wait_readable();
      schedule_tick();
      break;
    case State::finishing:
      if (peer_gone_ || !flush_)
        close();
      else if (connection_->output_size() == 0)
        reset_ ? reset() : linger();
      break;
    case State::lingering: wait_readable(); break;
    case State::closed: break;
  }
}

void TcpConnection::schedule_tick() {
  // A deadline that moved away is noticed when the old one comes: I/O does not touch the timers.
  auto deadline = connection_->deadline();
  if (timer_ != base::TimerQueue::Id::none && deadline && timer_at_ <= *deadline) return;
  loop_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
  if (!deadline) return;
  set_timer(*deadline, [this] {
    base::TimePoint now = loop_.clock().now();
    if (auto due = connection_->deadline(); due && *due <= now) connection_->tick(now);
    want_settling();
  });
}

void TcpConnection::linger() {
  if (::shutdown(socket_.native_handle(), SHUT_WR) != 0) return close();
  state_ = State::lingering;
  logged_in_ = false;
  connection_.reset();
  wait_readable();
}

void TcpConnection::reset() {
  const struct linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close();
}

void TcpConnection::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  loop_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
  connection_.reset();
  boost::system::error_code ignored;
  socket_.close(ignored);
  owner_.closed(*this);
}

}  // namespace target
