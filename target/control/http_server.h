// HTTP/1.1 for the control interface: sockets, requests, responses and their limits. Knows no resource.
//
// Owns listening sockets and connections. Everything happens on the event loop, and each request is answered inside a
// turn of it; reading and writing wait for nobody. Thread: the loop's.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

namespace target {
class EventLoop;
}

namespace target::control {

class Dispatcher;

struct HttpLimits {
  std::size_t connections = 64;               ///< of one listening socket; beyond: 503 and closed
  std::size_t header_bytes = 16 << 10;        ///< beyond: 431
  std::size_t body_bytes = 1 << 20;           ///< beyond: 413
  std::chrono::milliseconds request{30'000};  ///< from the response before, or the connection, to a request's last byte
  std::chrono::milliseconds response{30'000};    ///< to send a response, or the next piece of one that goes on
  std::chrono::milliseconds keep_alive{15'000};  ///< a comment is sent when a response that goes on had nothing else
};

class HttpServer {
 public:
  HttpServer(EventLoop& loop, const Dispatcher& dispatcher, HttpLimits limits);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Serves connections of `socket`, which listens and does not block, and closes it in the end. `token`: what each
  /// request has to bring; empty: nothing.
  void serve(int socket, std::string token);

  std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace target::control
