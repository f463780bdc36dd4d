#include "target/control/problem.h"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace target::control {
namespace {

/// A value as errors repeat it.
boost::json::value shortened(const boost::json::value& value) {
  constexpr std::size_t kLongest = 200;
  if (const auto* text = value.if_string(); text && text->size() <= kLongest) return value;
  if (value.is_primitive() && !value.is_string()) return value;
  std::string text = value.is_string() ? std::string(value.get_string()) : boost::json::serialize(value);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return boost::json::value(text);
}

}  // namespace

Refusal not_as_expected(unsigned status, std::string name, std::string rule, const boost::json::value* value) {
  Problem problem{.status = status, .name = std::move(name), .rule = std::move(rule)};
  if (value) problem.value = shortened(*value);
  problem.detail =
      value ? fmt::format("{} is {}; expected {}", problem.name, boost::json::serialize(problem.value), problem.rule)
            : fmt::format("{} is missing; expected {}", problem.name, problem.rule);
  return Refusal(std::move(problem));
}

Refusal no_such(std::string_view thing, std::string_view value) {
  return Refusal({.status = 404,
                  .detail = fmt::format("there is no {} {}", thing, value),
                  .name = std::string(thing),
                  .rule = "one that there is",
                  .value = shortened(boost::json::value(value))});
}

Refusal conflict(std::string detail, std::string name, std::string rule) {
  return Refusal(
      {.status = 409, .detail = std::move(detail), .name = std::move(name), .rule = std::move(rule), .value = {}});
}

std::string_view reason_phrase(unsigned status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 422: return "Unprocessable Content";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    case 507: return "Insufficient Storage";
    default: return "Error";
  }
}

boost::json::object to_json(const Problem& problem) {
  return {{"type", "about:blank"},    {"title", reason_phrase(problem.status)},
          {"status", problem.status}, {"detail", problem.detail},
          {"name", problem.name},     {"rule", problem.rule},
          {"value", problem.value}};
}

}  // namespace target::control
