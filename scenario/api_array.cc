// What scripts do with arrays, as their operator.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "scenario/api.h"
#include "scenario/arguments.h"
#include "scsi/copy_manager.h"
#include "target/config_ports.h"
#include "tokens/token_manager.h"

namespace scenario {
namespace {

tokens::RodToken token_image(const json::value& value) {
  const std::string text = to_text(value, "the token");
  if (text.size() != sizeof(tokens::RodToken))
    throw ScriptError(fmt::format("the token has {} bytes; expected {}", text.size(), sizeof(tokens::RodToken)));
  return base::load<tokens::RodToken>(base::bytes_of(text));
}

std::string_view state_name(tokens::TokenState state) {
  switch (state) {
    case tokens::TokenState::valid: return "valid";
    case tokens::TokenState::expired: return "expired";
    case tokens::TokenState::cancelled: return "cancelled";
    case tokens::TokenState::revoked: return "revoked";
    case tokens::TokenState::deleted: return "deleted";
    case tokens::TokenState::unknown: return "unknown";
  }
  return "unknown";
}

struct Found {
  tokens::TokenManager* manager;
  tokens::TokenId id;
};

/// By its image, in whichever of the process's arrays made it.
Found find_token(ArrayProcess& process, const json::value& value) {
  const tokens::RodToken image = token_image(value);
  const tokens::TokenId id{image.copy_manager_rod_token_identifier.value()};
  for (const auto& array : process.arrays().all()) {
    tokens::TokenManager& manager = array->copy_manager().tokens();
    if (manager.created_here(image)) return {&manager, id};
  }
  throw ScriptError(fmt::format("the token was not made by {}", process.name()));
}

/// A LUN by its name.
const target::Array::ExportedLun& find_lun(ArrayProcess& process, const json::value& value) {
  const std::string name = to_text(value, "the LUN's name");
  for (const auto& array : process.arrays().all())
    for (const target::Array::ExportedLun& lun : array->luns())
      if (lun.config.name == name) return lun;
  throw ScriptError(fmt::format("{} has no LUN \"{}\"", process.name(), name));
}

}  // namespace

json::value Api::add_new_array(const Arguments& arguments) {
  const std::size_t number = world_.arrays().size();
  configurations_.push_back(argument(arguments, 1));
  target::Config config = config_from(configurations_.back(), access_, static_cast<unsigned>(number + 1));
  ArrayProcess& made = world_.add_array(fmt::format("array {}", number + 1), std::move(config));
  made.start();
  return handle("array", number);
}

void Api::add_array() {
  auto start = [this](const Arguments& arguments) {
    const std::uint64_t number = number_of(arguments.at(0), "array");
    if (const json::value& wanted = argument(arguments, 1); !wanted.is_null()) {
      configurations_.at(number) = wanted;
      array_of(arguments.at(0)).set_config(config_from(wanted, access_, static_cast<unsigned>(number + 1)));
    }
    array_of(arguments.at(0)).start();
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
  // The same keys as [[unreachable]], judged beside the configuration they belong to.
  add_method("array", "set_unreachable", [this](const Arguments& arguments) -> json::value {
    const std::uint64_t number = number_of(arguments.at(0), "array");
    json::value wanted = configurations_.at(number);
    if (wanted.is_array()) wanted = json::object{{"luns", wanted}};
    wanted.as_object()["unreachable"] = argument(arguments, 1);
    if (argument(arguments, 1) == json::value(json::object{})) wanted.as_object().erase("unreachable");
    const target::Config config = config_from(wanted, access_, static_cast<unsigned>(number + 1));
    array_of(arguments.at(0)).arrays().set_unreachable(config.unreachable);
    return nullptr;
  });
  add_method("array", "resize", [this](const Arguments& arguments) -> json::value {
    ArrayProcess& process = array_of(arguments.at(0));
    const auto& lun = find_lun(process, argument(arguments, 1));
    process.arrays().resize_lun(lun.target_name, lun.config.number, to_size(argument(arguments, 2), "the size"));
    return nullptr;
  });
  add_method("array", "remove_lun", [this](const Arguments& arguments) -> json::value {
    ArrayProcess& process = array_of(arguments.at(0));
    const auto& lun = find_lun(process, argument(arguments, 1));
    process.arrays().remove_lun(std::string(lun.target_name), lun.config.number);
    return nullptr;
  });
  add_method("array", "set_read_only", [this](const Arguments& arguments) -> json::value {
    ArrayProcess& process = array_of(arguments.at(0));
    const auto& lun = find_lun(process, argument(arguments, 1));
    const json::value& wanted = argument(arguments, 2);
    process.arrays().set_read_only(lun.target_name, lun.config.number, wanted.is_null() || wanted == json::value(true));
    return nullptr;
  });
}

void Api::add_tokens() {
  add_method("array", "tokens", [this](const Arguments& arguments) -> json::value {
    json::array list;
    for (const auto& array : array_of(arguments.at(0)).arrays().all()) {
      array->copy_manager().tokens().for_each([&](const tokens::TokenManager::Description& token) {
        list.push_back(
            json::object{{"id", static_cast<std::int64_t>(token.id)},
                         {"created", std::chrono::duration<double>(token.created - World::time_at({})).count()},
                         {"expires_in", std::chrono::duration<double>(token.expires - world_.clock().now()).count()}});
      });
    }
    return list;
  });
  add_method("array", "token_state", [this](const Arguments& arguments) -> json::value {
    const Found token = find_token(array_of(arguments.at(0)), argument(arguments, 1));
    return json::string(state_name(token.manager->state(token.id)));
  });
  auto ending = [this](const std::string& name, void (*end)(tokens::TokenManager&, tokens::TokenId)) {
    add_method("array", name, [this, end](const Arguments& arguments) -> json::value {
      const Found token = find_token(array_of(arguments.at(0)), argument(arguments, 1));
      end(*token.manager, token.id);
      return nullptr;
    });
  };
  ending("revoke_token", [](tokens::TokenManager& manager, tokens::TokenId id) { manager.revoke(id); });
  ending("cancel_token", [](tokens::TokenManager& manager, tokens::TokenId id) { manager.cancel(id); });
  ending("delete_token", [](tokens::TokenManager& manager, tokens::TokenId id) { manager.delete_by_client(id); });
}

}  // namespace scenario
