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

void TcpConnection::wait() {
  if (std::exchange(wants_readable_, false)) wait_readable();
  if (std::exchange(wants_writable_, false)) wait_writable();
}

void TcpConnection::wait_readable() {
  if (waiting_readable_) return;
  waiting_readable_ = true;
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       if (!error) self->readable();
                     });
}

void TcpConnection::wait_writable() {
  waiting_writable_ = true;
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_write,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->waiting_writable_ = false;
                       if (!error) self->loop_.turn([&] { self->want_settling(); });
                     });
}

void TcpConnection::readable() {
  if (!logged_in_) return give_way();
  waiting_readable_ = false;
  const base::TimePoint now = loop_.clock().now();
  const bool there = places_count_ > 0;
  const Received first = there ? receive_there() : Received{};
  loop_.turn([&] {
    if (!there || received(first, now)) receive(kReceivesPerTurn - 1, now);
    want_settling();
  });
}

void TcpConnection::give_way() {
  loop_.give_way([self = shared_from_this()] {
    self->waiting_readable_ = false;
    if (self->state_ == State::lingering) self->discard();
    self->receive(kReceivesPerTurn, self->loop_.clock().now());
    self->logged_in_ = self->state_ == State::open && self->connection_->full_feature();
    self->want_settling();
  });
}

/// Where the next bytes go; false when none are wanted.
bool TcpConnection::choose_places() {
  places_count_ = state_ == State::open && !peer_gone_ ? connection_->receive_buffers(places_) : 0;
  return places_count_ > 0;
}

/// Outside of turns.
TcpConnection::Received TcpConnection::receive_there() {
  const ssize_t count = receive_into(socket_.native_handle(), std::span(places_).first(places_count_));
  return {count, errno};
}

/// Serves what came; true when there may be more.
bool TcpConnection::received(const Received& received, base::TimePoint now) {
  const std::size_t places = std::exchange(places_count_, 0);
  if (state_ != State::open) return false;  // another loop's turn has ended it
  if (received.count < 0 && (received.error == EAGAIN || received.error == EINTR)) return false;
  if (received.count <= 0) {
    peer_gone();
    return false;
  }
  std::size_t room = 0;
  for (const iovec& place : std::span(places_).first(places)) room += place.iov_len;
  const auto count = static_cast<std::size_t>(received.count);
  connection_->received(count, now);
  return count == room;
}

void TcpConnection::receive(int times, base::TimePoint now) {
  for (int i = 0; i < times && choose_places(); ++i) {
    Received more;
    loop_.outside_turn([&] { more = receive_there(); });
    if (!received(more, now)) return;
  }
}

void TcpConnection::discard() {
  std::array<std::uint8_t, 16384> nowhere;
  ssize_t count = ::recv(socket_.native_handle(), nowhere.data(), nowhere.size(), MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) close();
}

void TcpConnection::send() {
  if (waiting_writable_ || wants_writable_) return;
  std::array<iovec, IOV_MAX> parts;
  for (int i = 0; sends() && connection_->output_size() > 0; ++i) {
    if (i == kSendsPerTurn) return want_writable();
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
    if (count < 0 && error == EAGAIN) return want_writable();
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
      wants_readable_ = choose_places();
      schedule_tick();
      break;
    case State::finishing:
      if (peer_gone_ || !flush_)
        close();
      else if (connection_->output_size() == 0)
        reset_ ? reset() : linger();
      break;
    case State::lingering: wants_readable_ = true; break;
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
  wants_readable_ = true;
  places_count_ = 0;
  connection_.reset();
}

void TcpConnection::reset() {
  const struct linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close();
}

void TcpConnection::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  wants_readable_ = wants_writable_ = false;
  places_count_ = 0;
  loop_.timers().cancel(std::exchange(timer_, base::TimerQueue::Id::none));
  connection_.reset();
  boost::system::error_code ignored;
  socket_.close(ignored);
  owner_.closed(*this);
}

}  // namespace target
