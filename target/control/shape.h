// What JSON documents of the control interface hold: one table of fields for each kind, from which come the judgement
// of requests, the OpenAPI document and what its readers are told. Plain data. Thread: any.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace target::control {

struct Shape;

enum class Kind : std::uint8_t {
  text,
  whole,   ///< a whole number
  number,  ///< any number
  flag,
  size,  ///< bytes: a whole number, or text such as "64G"
  object,
  objects,  ///< an array of objects
  texts,    ///< an array of text
  wholes,   ///< an array of whole numbers
  anything,
};

struct Field {
  std::string_view name;
  Kind kind = Kind::text;
  std::string_view about;  ///< what it means, in a few words
  bool required = true;
  bool nullable = false;
  std::uint64_t low = 0;                      ///< of numbers; of text its length
  std::uint64_t high = UINT64_MAX;            ///< UINT64_MAX: no limit
  std::span<const std::string_view> words{};  ///< text: one of these
  const Shape* shape = nullptr;               ///< of objects
  bool secret = false;                        ///< never repeated in an answer
};

struct Shape {
  std::string_view name;  ///< in #/components/schemas; empty: written where it is used
  std::string_view about;
  std::span<const Field> fields;
  bool open = false;  ///< further keys may be there
};

/// Throws Refusal (422) for the first thing in `body` that is not as `shape` says. `path` is what errors put before
/// names.
void judge(const Shape& shape, const boost::json::value& body, const std::string& path = {});

/// Makes a document of query parameters, which are text, as `shape` says. Throws Refusal (400).
struct QueryParameter {
  std::string name, value;
};
boost::json::object read_query(const Shape& shape, std::span<const QueryParameter> parameters);

/// The JSON Schema (draft 2020-12) of documents; named shapes inside are references.
boost::json::object schema_of(const Shape& shape);
boost::json::object schema_of(const Field& field);
/// A reference to a named shape, else the schema.
boost::json::object reference_to(const Shape& shape);

/// Bytes of a field of Kind::size that was judged.
std::uint64_t size_bytes(const boost::json::value& size);

}  // namespace target::control
