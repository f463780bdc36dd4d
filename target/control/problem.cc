#include "target/control/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

namespace target::control {
namespace {

/// The length of the character at the start of `text`, which is not empty; 0: none of UTF-8 stands there.
std::size_t character_length(std::string_view text) {
  auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  // Overlong forms, surrogates, and what lies above U+10FFFF.
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
      (first == 0xF4 && second > 0x8F))
    return 0;
  const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (std::size_t at = 1; at < length; ++at)
    if ((byte(at) & 0xC0) != 0x80) return 0;
  return length;
}

/// A value as errors repeat it.
boost::json::value shortened(const boost::json::value& value) {
  constexpr std::size_t kLongest = 200;
  if (value.is_primitive() && !value.is_string()) return value;
  std::string text = as_utf8(value.is_string() ? std::string(value.get_string()) : boost::json::serialize(value));
  if (text.size() > kLongest) {
    std::size_t end = kLongest;
    while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // between two characters
    text = text.substr(0, end) + "...";
  }
  return boost::json::value(text);
}

}  // namespace

std::string as_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    out += length > 0 ? text.substr(0, length) : "?";
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

Refusal not_as_expected(unsigned status, std::string name, std::string rule, const boost::json::value* value) {
  Problem problem{.status = status, .name = std::move(name), .rule = std::move(rule)};
  if (value) problem.value = shortened(*value);
  problem.detail =
      value ? fmt::format("{} is {}; expected {}", problem.name, boost::json::serialize(problem.value), problem.rule)
            : fmt::format("{} is missing; expected {}", problem.name, problem.rule);
  return Refusal(std::move(problem));
}

Refusal no_such(std::string_view thing, std::string_view value) {
  boost::json::value given = shortened(boost::json::value(value));
  return Refusal({.status = 404,
                  .detail = fmt::format("there is no {} {}", thing, std::string_view(given.get_string())),
                  .name = std::string(thing),
                  .rule = "one that there is",
                  .value = std::move(given)});
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
