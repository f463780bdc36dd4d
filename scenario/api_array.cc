// What scripts do with arrays, as their operator.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "scenario/api.h"
#include "scenario/arguments.h"
#include "scenario/control_client.h"
#include "tokens/rod_token.h"

namespace scenario {
namespace {

/// The identifier of a token: of its 512 bytes, or, as the journal tells it, 16 hexadecimal digits.
std::string token_id(const json::value& value) {
  constexpr std::size_t kIdentifier = 16;
  const std::string text = to_text(value, "the token");
  if (text.size() == kIdentifier) return text;
  if (text.size() != sizeof(tokens::RodToken))
    throw ScriptError(fmt::format("the token has {} bytes; expected {}", text.size(), sizeof(tokens::RodToken)));
  const auto image = base::load<tokens::RodToken>(base::bytes_of(text));
  return fmt::format("{:016x}", image.copy_manager_rod_token_identifier.value());
}

/// "/v1/targets/T/luns/N" of the LUN of that name.
std::string lun_path(ArrayProcess& process, const json::value& value) {
  const std::string name = to_text(value, "the LUN's name");
  const json::value document = process.control("GET", "/v1/luns");
  for (const json::value& lun : document.at("luns").get_array())
    if (lun.at("name") == value)
      return fmt::format("/v1/targets/{}/luns/{}", percent_encoded(json::value_to<std::string>(lun.at("target"))),
                         lun.at("number").to_number<unsigned>());
  throw ScriptError(fmt::format("{} has no LUN \"{}\"", process.name(), name));
}

}  // namespace

json::value unless_missing(const std::function<json::value()>& ask, const json::value& otherwise) {
  constexpr unsigned kNotFound = 404;
  try {
    return ask();
  } catch (const Refused& refused) {
    if (refused.status() != kNotFound) throw;
    return otherwise;
  }
}

json::value Api::add_new_array(const Arguments& arguments) {
  world_.add_array(argument(arguments, 1), access_);
  return handle("array", world_.arrays().size() - 1);
}

void Api::add_array() {
  auto start = [this](const Arguments& arguments) {
    ArrayProcess& array = array_of(arguments.at(0));
    if (const json::value& wanted = argument(arguments, 1); !wanted.is_null()) array.configure(wanted);
    array.start();
  };
  add_method("array", "stop", [this](const Arguments& arguments) -> json::value {
    array_of(arguments.at(0)).stop();
    return nullptr;
  });
  add_method("array", "start", [start](const Arguments& arguments) -> json::value {
    start(arguments);
    return nullptr;
  });
  add_method("array", "restart", [this, start](const Arguments& arguments) -> json::value {
    array_of(arguments.at(0)).stop();
    start(arguments);
    return nullptr;
  });
  add_method("array", "capture", [this](const Arguments& arguments) -> json::value {
    contents_.push_back(array_of(arguments.at(0)).capture());
    return handle("content", contents_.size() - 1);
  });
  lua_.add_method("content", "size", [this](const Arguments& arguments) -> json::value {
    std::uint64_t bytes = 0;
    for (const auto& [name, snapshot] : contents_.at(number_of(argument(arguments, 0), "content")))
      bytes += snapshot->size_bytes();
    return bytes;
  });
  add_method("array", "restore", [this](const Arguments& arguments) -> json::value {
    array_of(arguments.at(0)).restore(contents_.at(number_of(argument(arguments, 1), "content")));
    return nullptr;
  });
  // The same keys as [[unreachable]].
  add_method("array", "set_unreachable", [this](const Arguments& arguments) -> json::value {
    const json::value& wanted = argument(arguments, 1);
    const json::value pairs = wanted.is_array() ? wanted : json::array{};
    if (!wanted.is_array() && wanted != json::value(json::object{}))
      throw ScriptError(fmt::format("{} where a list of pairs is expected", shown(wanted)));
    array_of(arguments.at(0)).control("PUT", "/v1/reachability", json::object{{"unreachable", pairs}});
    return nullptr;
  });
  auto change_lun = [this](const Arguments& arguments, std::string_view key, const json::value& value) {
    ArrayProcess& process = array_of(arguments.at(0));
    process.control("PATCH", lun_path(process, argument(arguments, 1)), json::object{{key, value}});
  };
  add_method("array", "resize", [change_lun](const Arguments& arguments) -> json::value {
    change_lun(arguments, "size", to_size(argument(arguments, 2), "the size"));
    return nullptr;
  });
  add_method("array", "set_read_only", [change_lun](const Arguments& arguments) -> json::value {
    const json::value& wanted = argument(arguments, 2);
    change_lun(arguments, "read_only", wanted.is_null() || wanted == json::value(true));
    return nullptr;
  });
  add_method("array", "remove_lun", [this](const Arguments& arguments) -> json::value {
    ArrayProcess& process = array_of(arguments.at(0));
    process.control("DELETE", lun_path(process, argument(arguments, 1)));
    return nullptr;
  });
  add_method("array", "luns", [this](const Arguments& arguments) -> json::value {
    return array_of(arguments.at(0)).control("GET", "/v1/luns").at("luns");
  });
}

void Api::add_tokens() {
  add_method("array", "tokens", [this](const Arguments& arguments) -> json::value {
    json::array list;
    const double now = std::chrono::duration<double>(world_.elapsed()).count();
    for (std::string page = "/v1/tokens"; !page.empty();) {
      const json::value document = array_of(arguments.at(0)).control("GET", page);
      for (const json::value& token : document.at("tokens").get_array())
        list.push_back(json::object{{"id", token.at("id")},
                                    {"created", now - token.at("age_s").to_number<double>()},
                                    {"expires_in", token.at("ends_in_s")}});
      const json::value& next = document.at("next");
      page = next.is_string() ? fmt::format("/v1/tokens?after={}", std::string_view(next.get_string())) : "";
    }
    return list;
  });
  add_method("array", "token_state", [this](const Arguments& arguments) -> json::value {
    auto ask = [&] {
      return array_of(arguments.at(0)).control("GET", "/v1/tokens/" + token_id(argument(arguments, 1))).at("state");
    };
    return unless_missing(ask, "unknown");
  });
  for (const char* how : {"expire", "revoke", "cancel", "delete"})
    add_method("array", fmt::format("{}_token", how), [this, how](const Arguments& arguments) -> json::value {
      array_of(arguments.at(0)).control("POST", fmt::format("/v1/tokens/{}/{}", token_id(argument(arguments, 1)), how));
      return nullptr;
    });
}

}  // namespace scenario
