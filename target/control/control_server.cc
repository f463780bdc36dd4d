#include "target/control/control_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "target/control/route.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

constexpr int kBacklog = 64;

/// A descriptor until somebody else owns it.
class Socket {
 public:
  explicit Socket(int domain) : fd_(::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

[[noreturn]] void cannot_listen(const std::string& where, const std::string& why) {
  throw std::runtime_error(fmt::format("control: cannot listen on {}: {}", where, why));
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

/// A socket nobody listens on any more is removed. Whoever listens keeps it.
void make_room(const std::string& path) {
  const std::string where = "unix:" + path;
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return;
  if (error) cannot_listen(where, error.message());
  if (status.type() != std::filesystem::file_type::socket)
    cannot_listen(where, "there is a file of that name which is no socket");
  Socket probe(AF_UNIX);
  const sockaddr_un address = unix_address(path);
  if (::connect(probe.get(), generic(address), sizeof address) == 0 || errno == EAGAIN)
    cannot_listen(where, "another process listens there");
  if (errno != ECONNREFUSED && errno != ENOENT) cannot_listen(where, std::strerror(errno));
  std::filesystem::remove(path, error);
}

/// Listens with a file that its owner alone may use, from the first moment on.
int listen_unix(const std::string& path) {
  make_room(path);
  Socket socket(AF_UNIX);
  const sockaddr_un address = unix_address(path);
  const mode_t before = ::umask(0177);
  const int bound = ::bind(socket.get(), generic(address), sizeof address);
  const int error = errno;
  ::umask(before);
  if (bound != 0) cannot_listen("unix:" + path, std::strerror(error));
  if (::listen(socket.get(), kBacklog) != 0) cannot_listen("unix:" + path, std::strerror(errno));
  return socket.release();
}

int listen_tcp(const PortalConfig& where, std::string& url) {
  boost::asio::ip::tcp::endpoint endpoint(boost::asio::ip::make_address(where.host), where.port);
  Socket socket(endpoint.protocol().family());
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (endpoint.address().is_v6()) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(socket.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 ||
      ::listen(socket.get(), kBacklog) != 0)
    cannot_listen(where.text(), std::strerror(errno));
  socklen_t size = endpoint.capacity();
  if (::getsockname(socket.get(), endpoint.data(), &size) == 0) endpoint.resize(size);
  PortalConfig bound = where;
  bound.port = endpoint.port();
  url = "http://" + bound.text();
  return socket.release();
}

/// A file, told from another that took its name.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  static FileIdentity of(const std::string& path) {
    struct stat found{};
    return ::lstat(path.c_str(), &found) == 0 ? FileIdentity{found.st_dev, found.st_ino} : FileIdentity{};
  }
  bool operator==(const FileIdentity&) const = default;
};

}  // namespace

struct ControlServer::Impl {
  Impl(EventLoop& loop, Steered& steered, HttpLimits limits)
      : dispatcher(routes(), steered), http(loop, dispatcher, limits) {}

  Dispatcher dispatcher;
  HttpServer http;
  std::string unix_path;
  FileIdentity unix_file{};
  std::vector<std::string> urls;
};

ControlServer::ControlServer(EventLoop& loop, const ControlConfig& config, Steered& steered, HttpLimits limits)
    : impl_(std::make_unique<Impl>(loop, steered, limits)) {
  if (config.listen) {
    std::string url;
    impl_->http.serve(listen_tcp(*config.listen, url), config.token);
    impl_->urls.push_back(std::move(url));
  }
  if (!config.unix_path.empty()) {  // the last that may fail, so that no file is left
    impl_->http.serve(listen_unix(config.unix_path), {});
    impl_->unix_path = config.unix_path;
    impl_->unix_file = FileIdentity::of(config.unix_path);
    impl_->urls.insert(impl_->urls.begin(), "unix:" + config.unix_path);
  }
}

ControlServer::~ControlServer() {
  if (!impl_->unix_path.empty() && FileIdentity::of(impl_->unix_path) == impl_->unix_file)
    ::unlink(impl_->unix_path.c_str());
}

const std::vector<std::string>& ControlServer::urls() const { return impl_->urls; }

}  // namespace target::control
