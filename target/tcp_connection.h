// One accepted socket and the iscsi::Connection on it. Owns both; the server owns it.
//
// The socket belongs to one loop, and is touched by its thread alone: receiving, sending and waiting happen outside
// turns, with memory that what is said meanwhile leaves in place (PduDecoder and OutputQueue keep it). Where to receive
// is chosen when the connection begins to wait, so that what comes is received before a turn is asked for. What others
// want of the socket is done when that loop settles the connection. Thread: a turn of its loop, unless said otherwise.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "base/timer_queue.h"
#include "target/iscsi/connection.h"

namespace target {

class EventLoop;
class TcpConnection;

/// Who hears from a TcpConnection: the server.
class TcpConnectionOwner {
 public:
  virtual ~TcpConnectionOwner() = default;
  /// Something is to be done for it: settle() is to be called at the end of a turn of its loop, and is not yet going to
  /// be. In a turn of any loop.
  virtual void needs_settling(TcpConnection& connection) = 0;
  /// Its socket is closed; the owner may forget it.
  virtual void closed(TcpConnection& connection) = 0;
};

class TcpConnection final : public iscsi::ConnectionObserver, public std::enable_shared_from_this<TcpConnection> {
 public:
  /// Takes the non-blocking socket `fd`. In a turn of any loop.
  TcpConnection(EventLoop& loop, TcpConnectionOwner& owner, int fd, const iscsi::ConnectionContext& context,
                iscsi::ConnectionInfo info);
  ~TcpConnection() override;

  /// The end of a turn: sends, decides what to wait for, and closes what is over.
  void settle();
  /// Waits for that. After the turn, by the loop's thread.
  void wait();

  // In a turn of any loop.

  /// Starts reading.
  void start();
  void request_logout(std::chrono::seconds within);
  /// Ends it: the protocol says goodbye if it can.
  void drop(const std::string& reason);
  /// Ends it without a word when it is settled next.
  void abandon();

  // iscsi::ConnectionObserver, in a turn of any loop
  void output_ready(iscsi::Connection& connection) override;
  void finished(iscsi::Connection& connection, bool flush) override;

 private:
  enum class State {
    open,       ///< the protocol runs
    finishing,  ///< it is over; what output is left is being sent, for a limited time
    lingering,  ///< all is sent and we said so; the peer's close is awaited so that no reset overtakes the output
    closed,
  };

  /// What a system call said.
  struct Received {
    ssize_t count = 0;
    int error = 0;
  };

  bool choose_places();
  Received receive_there();
  bool received(const Received& received, base::TimePoint now);
  void receive(int times, base::TimePoint now);
  void readable();
  void discard();
  void send();
  bool sends() const { return !peer_gone_ && (state_ == State::open || (state_ == State::finishing && flush_)); }
  void wait_readable();
  void want_writable() { wants_writable_ = true; }
  void wait_writable();
  void give_way();
  void peer_gone();
  void schedule_tick();
  void set_timer(base::TimePoint when, base::TimerQueue::Callback callback);
  void want_settling();
  void linger();
  /// Closes it with a reset: the peer learns that nobody is there any more.
  void reset();
  void close();

  EventLoop& loop_;
  TcpConnectionOwner& owner_;
  int fd_;  // until the loop has it
  boost::asio::posix::stream_descriptor socket_;
  std::unique_ptr<iscsi::Connection> connection_;
  State state_ = State::open;
  /// What comes is served at once. Otherwise it gives way (EventLoop::give_way()); what ends a login that had to wait
  /// is noticed with the next bytes.
  bool logged_in_ = false;
  // Of the loop's thread, in turns and outside of them.
  bool wants_readable_ = false;
  bool wants_writable_ = false;
  bool waiting_readable_ = false;
  bool waiting_writable_ = false;
  std::array<iovec, iscsi::Connection::kMostReceiveBuffers> places_{};
  std::size_t places_count_ = 0;  ///< none: not chosen

  bool settling_wanted_ = false;
  bool flush_ = true;
  bool peer_gone_ = false;
  bool reset_ = false;
  bool abandoned_ = false;
  base::TimerQueue::Id timer_ = base::TimerQueue::Id::none;
  base::TimePoint timer_at_{};
};

}  // namespace target
