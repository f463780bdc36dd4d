// The control interface of odxd: where it listens, and what it is given to steer.
//
// Owns the Unix socket's file, of mode 0600, which it removes in the end: that of an odxd that is gone is replaced,
// that of one that lives is left alone. TCP asks for a bearer token. Thread: the loop's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "target/config.h"
#include "target/control/http_server.h"

namespace target {
class EventLoop;
}

namespace target::control {

struct Steered;

class ControlServer {
 public:
  /// Listens. Throws std::runtime_error: an address or path cannot be had. `steered` outlives the object.
  ControlServer(EventLoop& loop, const ControlConfig& config, Steered& steered, HttpLimits limits = {});
  ~ControlServer();

  /// Where it is reached: "unix:PATH", "http://ADDR:PORT".
  const std::vector<std::string>& urls() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace target::control
