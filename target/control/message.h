// A request and an answer of the control interface, apart from how they travel. Thread: the loop's.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace target::control {

struct Request {
  std::string method;  ///< "GET"
  std::string target;  ///< path and query, as they came: "/v1/tokens?limit=5"
  std::string content_type{};
  std::string authorization{};
  std::string host{};    ///< as it came
  std::string origin{};  ///< that of the page whose script asks; empty: no browser asks, or for a page
  std::string last_event_id{};
  std::string body{};
};

struct Response {
  unsigned status = 200;
  std::string body{};
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers{};
};

/// A response that goes on: text is taken whenever the client has room for more, so that a slow one makes nobody keep
/// anything for it.
class Feed {
 public:
  virtual ~Feed() = default;
  /// What there is to send by now; empty: nothing yet.
  virtual std::string take() = 0;
  /// Calls `wake`, perhaps more than once, when take() has something again.
  virtual void on_more(std::function<void()> wake) = 0;
};

/// What a request gets: a response at once or later, or one that goes on.
struct Answer {
  using Respond = std::move_only_function<void(Response)>;

  Response response{};                             ///< with a feed: its head
  std::move_only_function<void(Respond)> begin{};  ///< not null: responds, once, perhaps from inside
  /// With `begin`: what is done for the client alone, and ends with the last reference to it. It is let go of when the
  /// client has gone.
  std::shared_ptr<void> wait{};
  std::unique_ptr<Feed> feed{};
};

/// A document.
Answer document(const boost::json::value& value, unsigned status = 200);
/// 204: done, and nothing to say.
Answer nothing_to_say();

}  // namespace target::control
