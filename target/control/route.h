// The resources of the control interface: one table. Dispatch, 404 and 405 with its Allow, the judgement of queries and
// bodies, the OpenAPI document and the list in docs/control.md follow from it. Thread: the loop's.
#pragma once

#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "target/control/message.h"
#include "target/control/shape.h"

namespace target::control {

struct Steered;

enum class Method : std::uint8_t { get, post, put, patch, remove };

/// "GET", "DELETE".
std::string_view method_name(Method method);

/// A request whose route was found and whose parts were judged.
struct Call {
  std::vector<std::string> parameters{};  ///< of the path, in its order, decoded
  boost::json::object query{};
  boost::json::object body{};
  std::string last_event_id{};

  const std::string& parameter(std::size_t index) const { return parameters.at(index); }
};

struct Route {
  Method method = Method::get;
  std::string_view path;  ///< "/v1/targets/{target}/luns/{number}"
  std::string_view summary;
  /// May throw Refusal, and what the arrays throw: ChangeError and StoreError become 409, ConfigError 422.
  Answer (*handle)(Steered&, const Call&) = nullptr;
  const Shape* query = nullptr;   ///< null: none
  const Shape* body = nullptr;    ///< null: none
  bool body_optional = false;     ///< without one it is an empty object
  const Shape* result = nullptr;  ///< of JSON; null: none, or other text
  unsigned success = 200;
  std::string_view content_type = "application/json";
  bool open_to_all = false;  ///< no token is asked for
};

/// All of them, in the order of the documents.
std::span<const Route> routes();

/// Answers requests by the table. Nothing is thrown.
class Dispatcher {
 public:
  /// `token` empty: nobody needs one. `steered` outlives the dispatcher.
  Dispatcher(std::span<const Route> routes, Steered& steered) : routes_(routes), steered_(steered) {}

  Answer answer(const Request& request) const;

  /// Before its body is read: 401 for a request without the bearer token that `token` asks for; 403, where no token
  /// is asked for, for one that a browser sends on behalf of another site's page.
  std::optional<Response> turned_away(const Request& request, const std::string& token) const;

 private:
  std::span<const Route> routes_;
  Steered& steered_;
};

/// The response that tells a problem.
Response problem_response(const struct Problem& problem);

/// OpenAPI 3.1 of the table.
boost::json::object openapi_document(std::span<const Route> routes);

}  // namespace target::control
