// A client of odxd's control interface (docs/control.md): one request, one document; or a response that goes on. Waits
// for each answer. Thread: main's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace boost::json {
class value;
}

namespace scenario {

/// There is no answer: nobody listens, or what came is none.
class NoControl : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class ControlClient {
 public:
  /// `url`: "unix:PATH" or "http://HOST:PORT". `token` empty: none is sent. Connects. Throws std::invalid_argument for
  /// a URL that is none, NoControl.
  ControlClient(const std::string& url, std::string token);
  ~ControlClient();

  struct Reply {
    unsigned status = 0;
    std::string text{};               ///< as it came
    boost::json::value body() const;  ///< null where it is no JSON
    bool good() const { return status >= 200 && status < 300; }
  };
  /// Throws NoControl. `wait`: how much longer than others the answer may take.
  Reply request(const std::string& method, const std::string& target, const boost::json::value* body = nullptr,
                std::chrono::seconds wait = {});

  /// GET of a response that goes on: `each` gets its text piece by piece, until it says false or the other end closes.
  /// What is not 200 is returned as of request(). Throws NoControl.
  Reply follow(const std::string& target, const std::function<bool(std::string_view)>& each);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What a refusal says for people: the problem's detail (docs/control.md), or the status where it has none.
std::string problem_text(unsigned status, const boost::json::value& problem);

/// The token that TCP asks for: the first line of that file, or where `file` is empty what ODX_CONTROL_TOKEN says.
/// Throws std::invalid_argument: the file cannot be read, or is empty.
std::string control_token(const std::string& file);

/// Percent-encoded for a path or a query.
std::string percent_encoded(std::string_view text);

}  // namespace scenario
