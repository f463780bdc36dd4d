// The OpenAPI document of the table of routes.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>

#include "target/control/problem.h"
#include "target/control/route.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr Field kProblemFields[] = {
    {.name = "type", .about = "about:blank: the status says what kind of problem it is"},
    {.name = "title", .about = "the status in words"},
    {.name = "status", .kind = Kind::whole, .about = "the HTTP status"},
    {.name = "detail", .about = "what is wrong, in a sentence"},
    {.name = "name", .about = "the thing that is wrong: a key, a parameter, a header field"},
    {.name = "rule", .about = "what is expected of it"},
    {.name = "value", .kind = Kind::anything, .about = "what it is; null where that cannot be said"},
};
constexpr Shape kProblem{.name = "Problem", .about = "Why a request was refused (RFC 9457)", .fields = kProblemFields};

json::object content(std::string_view type, json::object schema) {
  json::object media;
  media[type] = json::object{{"schema", std::move(schema)}};
  return media;
}

/// "/v1/tokens/{id}/expire", POST: "post_tokens_expire".
std::string operation_id(const Route& route) {
  std::string id;
  for (char each : method_name(route.method)) id += static_cast<char>(std::tolower(each));
  bool parameter = false;
  for (char each : route.path.starts_with("/v1") ? route.path.substr(3) : route.path) {
    if (each == '{') parameter = true;
    if (!parameter && each != '}') id += std::isalnum(static_cast<unsigned char>(each)) ? each : '_';
    if (each == '}') {
      parameter = false;
      id += "one";
    }
  }
  return id;
}

json::array parameters(const Route& route) {
  json::array all;
  for (std::string_view rest = route.path; rest.contains('{');) {
    rest.remove_prefix(rest.find('{') + 1);
    all.push_back(json::object{{"name", rest.substr(0, rest.find('}'))},
                               {"in", "path"},
                               {"required", true},
                               {"schema", json::object{{"type", "string"}}}});
  }
  if (route.query)
    for (const Field& field : route.query->fields)
      all.push_back(json::object{{"name", field.name},
                                 {"in", "query"},
                                 {"required", field.required},
                                 {"description", field.about},
                                 {"schema", schema_of(field)}});
  return all;
}

json::object operation(const Route& route) {
  json::object good{{"description", reason_phrase(route.success)}};
  if (route.result)
    good["content"] = content(route.content_type, reference_to(*route.result));
  else if (route.success != 204)
    good["content"] = content(route.content_type, {{"type", "string"}});
  json::object responses;
  responses[fmt::format("{}", route.success)] = std::move(good);
  responses["default"] = json::object{{"description", "Refused"},
                                      {"content", content("application/problem+json", reference_to(kProblem))}};
  json::object object{{"operationId", operation_id(route)}, {"summary", route.summary}};
  if (json::array all = parameters(route); !all.empty()) object["parameters"] = std::move(all);
  if (route.body)
    object["requestBody"] = json::object{{"required", !route.body_optional},
                                         {"content", content("application/json", reference_to(*route.body))}};
  object["responses"] = std::move(responses);
  if (route.open_to_all) object["security"] = json::array{json::object{}};
  return object;
}

void add_schemas(json::object& schemas, const Shape* shape) {
  if (!shape || (!shape->name.empty() && schemas.contains(shape->name))) return;
  if (!shape->name.empty()) schemas[shape->name] = schema_of(*shape);
  for (const Field& field : shape->fields) add_schemas(schemas, field.shape);
}

}  // namespace

json::object openapi_document(std::span<const Route> routes) {
  json::object paths, schemas;
  add_schemas(schemas, &kProblem);
  for (const Route& route : routes) {
    std::string method;
    for (char each : method_name(route.method)) method += static_cast<char>(std::tolower(each));
    json::value& path = paths[route.path];
    if (!path.is_object()) path.emplace_object();
    path.get_object()[method] = operation(route);
    for (const Shape* shape : {route.body, route.result}) add_schemas(schemas, shape);
  }
  json::object security{{"token", json::object{{"type", "http"}, {"scheme", "bearer"}}}};
  return {{"openapi", "3.1.0"},
          {"info", json::object{{"title", "odxd control interface"},
                                {"description",
                                 "Steers a running odxd. Requests on TCP need the token of [control]; "
                                 "the Unix socket needs none."},
                                {"version", "1"}}},
          {"security", json::array{json::object{{"token", json::array{}}}, json::object{}}},
          {"paths", std::move(paths)},
          {"components", json::object{{"schemas", std::move(schemas)}, {"securitySchemes", std::move(security)}}}};
}

}  // namespace target::control
