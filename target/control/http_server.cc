#include "target/control/http_server.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <deque>
#include <exception>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/log.h"
#include "target/control/problem.h"
#include "target/control/route.h"
#include "target/event_loop.h"

namespace target::control {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Error = boost::system::error_code;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;

constexpr std::size_t kReadAhead = 64 << 10;  // beside a header: so much is read of a body, or its chunks, at once
constexpr std::size_t kBytesAfterRefusal = 4 << 20;  // that are read and dropped, so that a client reads why
constexpr std::chrono::seconds kLinger{2};
constexpr std::chrono::seconds kAcceptRetry{1};
constexpr int kAcceptsPerTurn = 16;

Response response_to(const Error& error, const HttpLimits& limits) {
  if (error == http::error::body_limit)
    return problem_response({.status = 413,
                             .detail = "the body is too large",
                             .name = "the body",
                             .rule = fmt::format("at most {} bytes", limits.body_bytes),
                             .value = {}});
  if (error == http::error::header_limit)
    return problem_response({.status = 431,
                             .detail = "the header is too large",
                             .name = "the header",
                             .rule = fmt::format("at most {} bytes", limits.header_bytes),
                             .value = {}});
  return problem_response({.status = 400,
                           .detail = fmt::format("the request is not HTTP: {}", error.message()),
                           .name = "the request",
                           .rule = "HTTP/1.1 (RFC 9112)",
                           .value = {}});
}

/// Whether what failed is the client's writing, and it may still be told.
bool is_protocol_error(const Error& error) {
  return error.category() == http::make_error_code(http::error::bad_method).category() &&
         error != http::error::end_of_stream && error != http::error::partial_message;
}

}  // namespace

/// A connection, from its acceptance to its end. It keeps itself alive while something of it is under way.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  /// Its server's side. Null once the server is gone.
  struct Owner {
    EventLoop& loop;
    const Dispatcher& dispatcher;
    const HttpLimits& limits;
    const std::string& token;
    std::set<std::shared_ptr<HttpConnection>>& connections;
  };

  HttpConnection(Owner owner, Stream::socket_type socket)
      : owner_(owner),
        stream_(std::move(socket)),
        keep_alive_timer_(owner.loop.io()),
        buffer_(owner.limits.header_bytes + kReadAhead) {}

  void start() { read_head(); }

  /// The server ends.
  void abandon() {
    owner_.reset();
    feed_.reset();
    wait_.reset();
    Error ignored;
    stream_.socket().close(ignored);
    stream_.cancel();
    keep_alive_timer_.cancel();
  }

 private:
  using Parser = http::request_parser<http::string_body>;

  void close() {
    if (!owner_) return;
    auto& connections = owner_->connections;
    auto self = shared_from_this();
    abandon();
    connections.erase(self);
  }

  /// What is to be done when something ended, in a turn of the loop; nothing once the server is gone.
  template <typename Then>
  auto then(Then then) {
    return [self = shared_from_this(), then = std::move(then)](const Error& error, auto&&...) mutable {
      if (!self->owner_) return;
      self->owner_->loop.turn([&] { then(error); });
    };
  }

  void read_head() {
    request_ = {};
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(owner_->limits.header_bytes));
    parser_->body_limit(owner_->limits.body_bytes);
    stream_.expires_after(owner_->limits.request);
    http::async_read_header(stream_, buffer_, *parser_, then([this](const Error& error) { head_read(error); }));
  }

  void head_read(const Error& error) {
    if (is_protocol_error(error)) return refuse(response_to(error, owner_->limits));
    if (error) return close();
    const auto& head = parser_->get();
    request_ = {.method = std::string(head.method_string()),
                .target = std::string(head.target()),
                .content_type = std::string(head[http::field::content_type]),
                .authorization = std::string(head[http::field::authorization]),
                .host = std::string(head[http::field::host]),
                .origin = std::string(head[http::field::origin]),
                .last_event_id = std::string(head["Last-Event-ID"]),
                .body = {}};
    if (auto refusal = owner_->dispatcher.turned_away(request_, owner_->token)) return refuse(std::move(*refusal));
    if (beast::iequals(head[http::field::expect], "100-continue")) return invite_body();
    read_body();
  }

  void invite_body() {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kContinue), then([this](const Error& error) {
                        if (error) return close();
                        read_body();
                      }));
  }

  void read_body() {
    http::async_read(stream_, buffer_, *parser_, then([this](const Error& error) {
                       if (is_protocol_error(error)) return refuse(response_to(error, owner_->limits));
                       if (error) return close();
                       request_.body = std::move(parser_->get().body());
                       serve();
                     }));
  }

  void serve() {
    base::log::debug("control: {} {}", request_.method, request_.target);
    Answer answer = owner_->dispatcher.answer(request_);
    if (answer.feed && request_.method != "HEAD") return begin_feed(std::move(answer));
    if (!answer.begin) return respond(std::move(answer.response), parser_->keep_alive());
    wait_ = answer.wait;
    answer.begin([self = shared_from_this(), &loop = owner_->loop](Response response) {
      loop.in_turn([self, response = std::move(response)]() mutable {
        self->wait_.reset();
        if (self->owner_) self->respond(std::move(response), self->parser_->keep_alive());
      });
    });
    if (wait_) watch_client();
  }

  /// Closes when the client has gone, or has said that it sends nothing more. What it sends already for later is left
  /// where it is, and then nobody looks.
  void watch_client() {
    stream_.socket().async_wait(asio::socket_base::wait_read, then([this](const Error& error) {
                                  if (!wait_) return;
                                  char next = 0;
                                  const auto got =
                                      error ? 0 : ::recv(stream_.socket().native_handle(), &next, 1, MSG_PEEK);
                                  if (got < 0 && errno == EAGAIN) return watch_client();
                                  if (got <= 0) close();
                                }));
  }

  void set_head(http::response_header<>& head, const Response& response) const {
    head.result(response.status);
    head.reason(reason_phrase(response.status));
    head.set(http::field::server, "odxd");
    head.set(http::field::cache_control, "no-store");
    if (!response.content_type.empty()) head.set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers) head.set(name, value);
  }

  void respond(Response response, bool keep_alive) {
    outgoing_ = {};
    outgoing_.version(11);
    set_head(outgoing_, response);
    outgoing_.keep_alive(keep_alive);
    if (response.status != 204) outgoing_.content_length(response.body.size());
    if (request_.method != "HEAD") outgoing_.body() = std::move(response.body);
    stream_.expires_after(owner_->limits.response);
    http::async_write(stream_, outgoing_, then([this, keep_alive](const Error& error) {
                        if (error) return close();
                        if (keep_alive) return read_head();
                        linger();
                      }));
  }

  /// Before all of the request is read: nothing that follows on the connection means anything.
  void refuse(Response response) { respond(std::move(response), false); }

  /// A socket that is closed with unread bytes takes what was sent away from its reader.
  void linger() {
    Error ignored;
    stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
    stream_.expires_after(kLinger);
    drop_input();
  }

  void drop_input() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(kReadAhead),
                            [self = shared_from_this()](const Error& error, std::size_t bytes) {
                              if (!self->owner_) return;
                              self->dropped_ += bytes;
                              if (error || self->dropped_ > kBytesAfterRefusal) return self->close();
                              self->drop_input();
                            });
  }

  // A response that goes on: its head, then chunks whenever there is something and the last is sent. The client says
  // nothing more; what it sends, or that it goes, ends it.

  void begin_feed(Answer answer) {
    feed_ = std::move(answer.feed);
    std::string head = "HTTP/1.1 200 OK\r\nServer: odxd\r\nCache-Control: no-store\r\nConnection: close\r\n";
    head += fmt::format("Content-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n", answer.response.content_type);
    std::weak_ptr<HttpConnection> weak = shared_from_this();
    feed_->on_more([weak, &loop = owner_->loop] {
      loop.in_turn([weak] {
        if (auto self = weak.lock()) self->feed_more();
      });
    });
    stream_.expires_never();
    watch_for_end();
    write_piece(std::move(head));
  }

  void watch_for_end() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(1), then([this](const Error&) { close(); }));
  }

  void feed_more() {
    if (!owner_ || !feed_ || writing_) return;
    std::string text = feed_->take();
    if (text.empty()) return wait_for_more();
    write_piece(fmt::format("{:x}\r\n{}\r\n", text.size(), text));
  }

  void wait_for_more() {
    keep_alive_timer_.expires_after(owner_->limits.keep_alive);
    keep_alive_timer_.async_wait(then([this](const Error& error) {
      if (!error && feed_ && !writing_) write_piece("3\r\n:\n\n\r\n");
    }));
  }

  void write_piece(std::string piece) {
    writing_ = true;
    piece_ = std::move(piece);
    stream_.expires_after(owner_->limits.response);  // of the write: the read that waits keeps its own
    asio::async_write(stream_, asio::buffer(piece_), then([this](const Error& error) {
                        writing_ = false;
                        if (error) return close();
                        feed_more();
                      }));
  }

  std::optional<Owner> owner_;
  Stream stream_;
  asio::steady_timer keep_alive_timer_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Request request_;
  http::response<http::string_body> outgoing_;
  std::size_t dropped_ = 0;
  std::unique_ptr<Feed> feed_;
  std::shared_ptr<void> wait_;  ///< for the answer to come
  std::string piece_;
  bool writing_ = false;
};

struct HttpServer::Impl {
  using Descriptor = asio::posix::stream_descriptor;
  struct Listener {
    Listener(asio::io_context& io, int fd, std::string its_token) : socket(io, fd), token(std::move(its_token)) {}
    Descriptor socket;
    std::string token;
    std::set<std::shared_ptr<HttpConnection>> connections;
    bool full_reported = false;
  };

  void wait(Listener& listener) {
    listener.socket.async_wait(Descriptor::wait_read, [this, &listener](const Error& error) {
      if (error) return;
      loop.turn([&] {
        if (accept(listener)) return wait(listener);
        loop.timers().at(loop.clock().now() + kAcceptRetry, [this, &listener] { wait(listener); });
      });
    });
  }

  /// False when the process cannot take more now.
  bool accept(Listener& listener) {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = ::accept4(listener.socket.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
      take(listener, fd);
    }
    return true;
  }

  void take(Listener& listener, int fd) {
    if (listener.connections.size() >= limits.connections) {
      if (!std::exchange(listener.full_reported, true))
        base::log::warning("control: a client is turned away: there are {} connections", limits.connections);
      constexpr std::string_view kFull =
          "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
      (void)!::send(fd, kFull.data(), kFull.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      ::close(fd);
      return;
    }
    listener.full_reported = false;
    int domain = 0;
    socklen_t size = sizeof domain;
    (void)::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    Stream::socket_type socket(loop.io());
    Error error;
    socket.assign(asio::generic::stream_protocol(domain, 0), fd, error);
    if (error) {
      ::close(fd);
      return;
    }
    auto connection = std::make_shared<HttpConnection>(
        HttpConnection::Owner{loop, dispatcher, limits, listener.token, listener.connections}, std::move(socket));
    listener.connections.insert(connection);
    connection->start();
  }

  EventLoop& loop;
  const Dispatcher& dispatcher;
  const HttpLimits limits;
  std::deque<Listener> listeners{};
};

HttpServer::HttpServer(EventLoop& loop, const Dispatcher& dispatcher, HttpLimits limits)
    : impl_(new Impl{loop, dispatcher, limits}) {}

HttpServer::~HttpServer() {
  for (Impl::Listener& listener : impl_->listeners)
    for (const auto& connection : std::exchange(listener.connections, {})) connection->abandon();
}

void HttpServer::serve(int socket, std::string token) {
  impl_->wait(impl_->listeners.emplace_back(impl_->loop.io(), socket, std::move(token)));
}

std::size_t HttpServer::connections() const {
  std::size_t count = 0;
  for (const Impl::Listener& listener : impl_->listeners) count += listener.connections.size();
  return count;
}

}  // namespace target::control
