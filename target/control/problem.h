// Why a request is refused: one shape for everything that can be wrong (RFC 9457). It names the thing, the rule and the
// value. Thread: any.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace target::control {

struct Problem {
  unsigned status = 400;       ///< HTTP's
  std::string detail;          ///< one sentence for people
  std::string name{};          ///< the thing: a key, a path parameter, a header field; empty: the request as a whole
  std::string rule{};          ///< what is expected of it
  boost::json::value value{};  ///< what it is; null where that cannot be said, or is a secret
};

/// Thrown by whatever answers a request, up to its dispatch.
class Refusal : public std::runtime_error {
 public:
  explicit Refusal(Problem problem) : std::runtime_error(problem.detail), problem_(std::move(problem)) {}
  const Problem& problem() const { return problem_; }

 private:
  Problem problem_;
};

/// Each byte that is not of UTF-8 (RFC 3629), which JSON is made of, becomes a question mark.
std::string as_utf8(std::string_view text);

/// "NAME is VALUE; expected RULE", or "NAME is missing; expected RULE" without a value.
Refusal not_as_expected(unsigned status, std::string name, std::string rule, const boost::json::value* value);
/// 404: "there is no THING VALUE".
Refusal no_such(std::string_view thing, std::string_view value);
/// 409
Refusal conflict(std::string detail, std::string name = {}, std::string rule = {});

/// Of an HTTP status that is used here: "Not Found".
std::string_view reason_phrase(unsigned status);

/// The document, of type application/problem+json.
boost::json::object to_json(const Problem& problem);

}  // namespace target::control
