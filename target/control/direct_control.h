// The control interface without HTTP, for arrays that have no sockets: a request by its method, path and body, and what
// comes back. It knows of no session, and its process is no odxd. Thread: the one of the arrays.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace base {
class ArrayClock;
class Executor;
}  // namespace base

namespace target {
class Arrays;
struct Config;
}  // namespace target

namespace target::control {

class DirectControl {
 public:
  /// All outlive it. `executor` runs what takes more than a turn.
  DirectControl(Arrays& arrays, base::ArrayClock& clock, base::Executor& executor, const Config& started);
  ~DirectControl();

  struct Reply {
    unsigned status = 0;
    std::string text;  ///< a JSON document, or nothing
  };
  /// `body` empty: none. `step` does the next thing that is due, for answers that come later; false: there is none.
  Reply request(const std::string& method, const std::string& target, const std::string& body,
                const std::function<bool()>& step) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace target::control
