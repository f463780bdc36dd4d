#include "scenario/control_client.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

namespace scenario {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Error = boost::system::error_code;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;

constexpr std::chrono::seconds kPatience{60};  // a restore waits for copies to stop
constexpr int kConnectSeconds = 10;
constexpr std::uint64_t kLargestAnswer = 256ull << 20;
constexpr std::string_view kUnix = "unix:", kHttp = "http://";

struct Connected {
  int domain;
  int fd;
};

void limit_connecting(int fd) {
  const timeval limit{kConnectSeconds, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/// Only for connecting: what follows has its own limits.
void unlimit(int fd) {
  const timeval none{};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
}

Connected connect_unix(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path)
    throw std::invalid_argument(fmt::format("unix:{} is no path of a socket", path));
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return {AF_UNIX, fd};
  const int error = errno;
  ::close(fd);
  throw NoControl(fmt::format("unix:{}: {}", path, std::strerror(error)));
}

/// "HOST:PORT", "[::1]:PORT".
std::pair<std::string, std::string> split_host_port(const std::string& url) {
  std::string where = url.substr(kHttp.size());
  if (where.ends_with('/')) where.pop_back();
  const std::size_t colon = where.rfind(':');
  std::string host = where.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (colon == std::string::npos || host.empty() || colon + 1 == where.size() || where.contains('/'))
    throw std::invalid_argument(fmt::format("\"{}\" is no control URL; expected unix:PATH or http://HOST:PORT", url));
  return {host, where.substr(colon + 1)};
}

Connected connect_tcp(const std::string& url) {
  const auto [host, port] = split_host_port(url);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0)
    throw NoControl(fmt::format("{}: {}", url, ::gai_strerror(error)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, ::freeaddrinfo);
  int error = 0;
  for (const addrinfo* each = all.get(); each; each = each->ai_next) {
    const int fd = ::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_connecting(fd);
    if (::connect(fd, each->ai_addr, each->ai_addrlen) == 0) {
      unlimit(fd);
      return {each->ai_family, fd};
    }
    error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    ::close(fd);
  }
  throw NoControl(fmt::format("{}: {}", url, std::strerror(error)));
}

}  // namespace

struct ControlClient::Impl {
  Impl(std::string its_url, std::string its_token) : url(std::move(its_url)), token(std::move(its_token)) {
    const bool is_unix = url.starts_with(kUnix);
    if (!is_unix && !url.starts_with(kHttp))
      throw std::invalid_argument(fmt::format("\"{}\" is no control URL; expected unix:PATH or http://HOST:PORT", url));
    const Connected connected = is_unix ? connect_unix(url.substr(kUnix.size())) : connect_tcp(url);
    stream.socket().assign(asio::generic::stream_protocol(connected.domain, 0), connected.fd);
    host = is_unix ? "odxd" : url.substr(kHttp.size());
    if (host.ends_with('/')) host.pop_back();
  }

  /// Runs one operation to its end.
  template <typename Start>
  Error run(Start start) {
    Error outcome;
    start([&outcome](const Error& error, auto&&...) { outcome = error; });
    io.restart();
    io.run();
    return outcome;
  }

  [[noreturn]] void give_up(const Error& error) const {
    throw NoControl(fmt::format("{}: {}", url, error == beast::error::timeout ? "no answer" : error.message()));
  }

  void send(const std::string& method, const std::string& target, const boost::json::value* body) {
    http::request<http::string_body> request;
    request.version(11);
    request.method_string(method);
    request.target(target);
    request.set(http::field::host, host);
    request.set(http::field::user_agent, "odx");
    if (!token.empty()) request.set(http::field::authorization, "Bearer " + token);
    if (body) {
      request.set(http::field::content_type, "application/json");
      request.body() = boost::json::serialize(*body);
    }
    request.prepare_payload();
    stream.expires_after(kPatience);
    const Error error = run([&](auto done) { http::async_write(stream, request, done); });
    // Who is refused before all was sent still finds out why.
    if (error && error != boost::system::errc::broken_pipe && error != boost::system::errc::connection_reset)
      give_up(error);
  }

  std::string url;
  std::string host;
  std::string token;
  asio::io_context io;
  Stream stream{io};
  beast::flat_buffer buffer;
};

ControlClient::ControlClient(const std::string& url, std::string token)
    : impl_(std::make_unique<Impl>(url, std::move(token))) {}
ControlClient::~ControlClient() = default;

boost::json::value ControlClient::Reply::body() const {
  Error error;
  boost::json::value parsed = boost::json::parse(text, error);
  return error ? boost::json::value() : parsed;
}

ControlClient::Reply ControlClient::request(const std::string& method, const std::string& target,
                                            const boost::json::value* body, std::chrono::seconds wait) {
  impl_->send(method, target, body);
  impl_->stream.expires_after(kPatience + wait);
  http::response_parser<http::string_body> parser;
  parser.body_limit(kLargestAnswer);
  const Error error = impl_->run([&](auto done) { http::async_read(impl_->stream, impl_->buffer, parser, done); });
  if (error) impl_->give_up(error);
  return {parser.get().result_int(), std::move(parser.get().body())};
}

ControlClient::Reply ControlClient::follow(const std::string& target,
                                           const std::function<bool(std::string_view)>& each) {
  impl_->send("GET", target, nullptr);
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  Error error = impl_->run([&](auto done) { http::async_read_header(impl_->stream, impl_->buffer, parser, done); });
  if (error) impl_->give_up(error);
  const unsigned status = parser.get().result_int();
  impl_->stream.expires_never();
  std::string all;
  while (!error && !parser.is_done()) {
    error = impl_->run([&](auto done) { http::async_read_some(impl_->stream, impl_->buffer, parser, done); });
    const std::string piece = std::exchange(parser.get().body(), {});
    if (status != 200) all += piece;
    if (status == 200 && !piece.empty() && !each(piece)) return {.status = status};
  }
  if (error && error != http::error::partial_message && error != http::error::end_of_stream) impl_->give_up(error);
  return {status, std::move(all)};
}

std::string problem_text(unsigned status, const boost::json::value& problem) {
  const boost::json::object* object = problem.if_object();
  const boost::json::value* detail = object ? object->if_contains("detail") : nullptr;
  return detail && detail->is_string() ? std::string(detail->get_string())
                                       : fmt::format("odxd answered with status {}", status);
}

std::string control_token(const std::string& file) {
  const char* set = std::getenv("ODX_CONTROL_TOKEN");
  if (file.empty()) return set ? set : "";
  std::ifstream stream(file);
  std::string token;
  if (!std::getline(stream, token))
    throw std::invalid_argument(fmt::format("--token-file: {} cannot be read, or is empty", file));
  return token;
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char each : text) {
    const auto byte = static_cast<unsigned char>(each);
    if (std::isalnum(byte) || std::string_view("-._~:@").contains(each))
      out += each;
    else
      out += fmt::format("%{:02X}", byte);
  }
  return out;
}

}  // namespace scenario
