#include "target/control/route.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <new>

#include "base/log.h"
#include "target/array.h"
#include "target/config.h"
#include "target/control/problem.h"
#include "target/rule_document.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr Shape kNothing{};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// Percent-encoding (RFC 3986, 2.1); `plus`: a plus sign is a blank, as in queries.
std::string decoded(std::string_view text, std::string_view what, bool plus) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += plus && text[i] == '+' ? ' ' : text[i];
      continue;
    }
    unsigned char byte = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || error != std::errc{} || end != digits.data() + 2 || byte == 0) {
      const json::value given(text);
      throw not_as_expected(400, std::string(what), "two hexadecimal digits, not 00, behind each %", &given);
    }
    out += static_cast<char>(byte);
    i += 2;
  }
  if (as_utf8(out) != out) {
    const json::value given(text);
    throw not_as_expected(400, std::string(what), "UTF-8", &given);
  }
  return out;
}

/// The parameters of `path` when it is one of the template.
std::optional<std::vector<std::string>> match(std::string_view path_template, std::string_view path) {
  std::vector<std::pair<std::string_view, std::string_view>> found;  // with their names, in braces
  for (;;) {
    const std::size_t fixed = std::min(path_template.find('{'), path_template.size());
    if (path.substr(0, fixed) != path_template.substr(0, fixed)) return std::nullopt;
    path_template.remove_prefix(fixed);
    path.remove_prefix(fixed);
    if (path_template.empty()) break;
    const std::string_view name = path_template.substr(0, path_template.find('}') + 1);
    const std::string_view value = path.substr(0, path.find('/'));
    if (value.empty()) return std::nullopt;
    found.emplace_back(name, value);
    path_template.remove_prefix(name.size());
    path.remove_prefix(value.size());
  }
  if (!path.empty()) return std::nullopt;
  std::vector<std::string> parameters;
  for (const auto& [name, value] : found) parameters.push_back(decoded(value, name, false));
  return parameters;
}

std::vector<QueryParameter> query_parameters(std::string_view query) {
  std::vector<QueryParameter> parameters;
  if (query.empty()) return parameters;
  for (std::string_view each : split(query, '&')) {
    const std::size_t equals = each.find('=');
    parameters.push_back({decoded(each.substr(0, equals), "the query", true),
                          equals == std::string_view::npos ? "" : decoded(each.substr(equals + 1), "the query", true)});
  }
  return parameters;
}

bool is_json(std::string_view content_type) {
  const std::string_view type = content_type.substr(0, content_type.find_first_of("; "));
  return std::ranges::equal(type, std::string_view("application/json"),
                            [](unsigned char a, unsigned char b) { return std::tolower(a) == b; });
}

json::object read_body(const Route& route, const Request& request) {
  if (request.body.empty() && (!route.body || route.body_optional)) return {};
  if (!route.body)
    throw Refusal(
        {.status = 400, .detail = "this request has no body", .name = "the body", .rule = "none", .value = {}});
  const json::value type(request.content_type);
  if (!request.body.empty() && !is_json(request.content_type))
    throw not_as_expected(415, "Content-Type", "application/json", request.content_type.empty() ? nullptr : &type);
  boost::system::error_code error;
  json::value value = json::parse(request.body, error);
  if (error)
    throw Refusal({.status = 400,
                   .detail = fmt::format("the body is no JSON: {}", error.message()),
                   .name = "the body",
                   .rule = "a JSON document (RFC 8259)",
                   .value = {}});
  judge(*route.body, value);
  return std::move(value.get_object());
}

/// Where no token is asked for, a browser that reaches the socket through a forward must not be used by a page from
/// elsewhere: neither by one that just sends (its Origin is another), nor by one whose own name was made to lead here
/// (DNS rebinding: Host is a domain name, which nobody has for a forward).
bool is_of_another_site(const Request& request) {
  constexpr std::string_view kScheme = "http://";
  const std::string_view origin = request.origin;
  if (!origin.empty() && !(origin.starts_with(kScheme) && origin.substr(kScheme.size()) == request.host)) return true;
  const std::string_view host = request.host;
  if (host.starts_with('[')) return false;
  const std::string_view name = host.substr(0, host.find(':'));
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view last = name.substr(dot + 1);  // of an address a number
  return last.empty() || !std::ranges::all_of(last, [](unsigned char each) { return std::isdigit(each); });
}

/// What arrays and configuration say of what cannot be.
Problem problem_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Refusal& refusal) {
    return refusal.problem();
  } catch (const ConfigError& error) {
    return {.status = 422, .detail = error.text(), .name = error.key(), .rule = error.rule(), .value = {}};
  } catch (const RuleError& error) {
    return {.status = 422, .detail = error.what(), .name = "rule", .rule = "a rule (docs/faults.md)", .value = {}};
  } catch (const ChangeError& error) {
    return {.status = 409, .detail = error.what(), .value = {}};
  } catch (const StoreError& error) {
    return {.status = 409, .detail = error.what(), .name = "store", .value = {}};
  } catch (const std::bad_alloc&) {
    return {.status = 503, .detail = "out of memory", .value = {}};
  } catch (const std::exception& error) {
    base::log::error("control: {}", error.what());
    return {.status = 500, .detail = error.what(), .value = {}};
  }
}

}  // namespace

std::string_view method_name(Method method) {
  switch (method) {
    case Method::get: return "GET";
    case Method::post: return "POST";
    case Method::put: return "PUT";
    case Method::patch: return "PATCH";
    case Method::remove: return "DELETE";
  }
  return "";
}

Answer document(const json::value& value, unsigned status) {
  return {.response = {.status = status, .body = json::serialize(value) + "\n"}};
}

Answer nothing_to_say() { return {.response = {.status = 204, .content_type = ""}}; }

Response problem_response(const Problem& problem) {
  return {.status = problem.status,
          .body = json::serialize(to_json(problem)) + "\n",
          .content_type = "application/problem+json"};
}

Answer Dispatcher::answer(const Request& request) const {
  std::string allowed;
  try {
    const std::string_view target = request.target;
    if (std::ranges::any_of(target, [](unsigned char each) { return each <= 0x20 || each >= 0x7F; })) {
      const json::value given(target);
      throw not_as_expected(400, "the target", "printable ASCII characters (RFC 3986)", &given);
    }
    const std::size_t question = target.find('?');
    const std::string_view path = target.substr(0, question);
    const Route* found = nullptr;
    Call call{.last_event_id = request.last_event_id};
    for (const Route& route : routes_) {
      auto parameters = match(route.path, path);
      if (!parameters) continue;
      const std::string_view name = method_name(route.method);
      allowed += fmt::format("{}{}{}", allowed.empty() ? "" : ", ", name, route.method == Method::get ? ", HEAD" : "");
      if (request.method != name && !(route.method == Method::get && request.method == "HEAD")) continue;
      found = &route;
      call.parameters = std::move(*parameters);
    }
    if (allowed.empty()) throw no_such("resource", path);
    if (!found) {
      const json::value method(request.method);
      throw not_as_expected(405, "the method", fmt::format("one of {}", allowed), &method);
    }
    const auto query = question == std::string::npos ? std::string_view{} : target.substr(question + 1);
    call.query = read_query(found->query ? *found->query : kNothing, query_parameters(query));
    call.body = read_body(*found, request);
    return found->handle(steered_, call);
  } catch (...) {
    Problem problem = problem_of(std::current_exception());
    Answer answer{.response = problem_response(problem)};
    if (problem.status == 405) answer.response.headers.emplace_back("Allow", allowed);
    return answer;
  }
}

std::optional<Response> Dispatcher::turned_away(const Request& request, const std::string& token) const {
  if (token.empty()) {
    if (!is_of_another_site(request)) return std::nullopt;
    return problem_response({.status = 403,
                             .detail = "a page of another site may not steer the array",
                             .name = "Host",
                             .rule = "an address, localhost or odxd, and the page's own",
                             .value = {}});
  }
  const std::string_view target = request.target;
  const std::string_view path = target.substr(0, target.find('?'));
  for (const Route& route : routes_)
    if (route.open_to_all && route.path == path) return std::nullopt;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view given = request.authorization;
  const bool is_bearer =
      given.size() > kScheme.size() &&
      std::ranges::equal(given.substr(0, kScheme.size()), kScheme,
                         [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  const std::string_view shown = is_bearer ? given.substr(kScheme.size()) : std::string_view{};
  // Its length may be found out, nothing else.
  if (shown.size() == token.size() && CRYPTO_memcmp(shown.data(), token.data(), token.size()) == 0) return std::nullopt;
  Response response = problem_response({.status = 401,
                                        .detail = is_bearer ? "the bearer token is not the one of [control]"
                                                            : "Authorization is missing; expected Bearer TOKEN",
                                        .name = "Authorization",
                                        .rule = "Bearer and the token of [control] (RFC 6750)",
                                        .value = {}});
  response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"odxd\"");
  return response;
}

}  // namespace target::control
