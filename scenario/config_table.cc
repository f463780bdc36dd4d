#include "scenario/config_table.h"

#include <fmt/format.h>

#include <toml++/toml.h>

#include <boost/json.hpp>
#include <sstream>

#include "handlers/factory.h"
#include "scenario/arguments.h"
#include "scenario/lua_state.h"

namespace scenario {
namespace {

constexpr std::uint64_t kMemory = 1 << 30;  // that an array has unless it says another

void put(toml::table& table, std::string_view key, const json::value& value);
void append(toml::array& array, const json::value& value);

toml::table table_of(const json::object& object) {
  if (object.contains(kHandleKind)) throw ScriptError(fmt::format("{} in a configuration", shown(object)));
  toml::table table;
  for (const auto& field : object) put(table, field.key(), field.value());
  return table;
}

toml::array array_of(const json::array& array) {
  toml::array made;
  for (const json::value& each : array) append(made, each);
  return made;
}

/// Calls `take` with the value as toml++ has it.
template <typename Take>
void convert(const json::value& value, Take&& take) {
  switch (value.kind()) {
    case json::kind::null: return;
    case json::kind::bool_: return take(value.get_bool());
    case json::kind::int64: return take(value.get_int64());
    case json::kind::uint64: return take(static_cast<std::int64_t>(value.get_uint64()));
    case json::kind::double_: return take(value.get_double());
    case json::kind::string: return take(std::string(value.get_string()));
    case json::kind::array: return take(array_of(value.get_array()));
    case json::kind::object: return take(table_of(value.get_object()));
  }
}

void put(toml::table& table, std::string_view key, const json::value& value) {
  convert(value, [&](auto&& made) { table.insert_or_assign(key, std::forward<decltype(made)>(made)); });
}

void append(toml::array& array, const json::value& value) {
  convert(value, [&](auto&& made) { array.push_back(std::forward<decltype(made)>(made)); });
}

/// [[target.lun]] of what stands in `luns`.
json::array lun_tables(const json::array& luns) {
  json::array tables;
  for (const json::value& lun : luns) {
    if (lun.is_string())
      tables.push_back(json::object{{"store", lun}});
    else
      tables.push_back(lun);
  }
  return tables;
}

}  // namespace

json::object document_of(const json::value& table) {
  const json::object* object = table.if_object();
  if (!object && !table.is_array()) throw ScriptError(fmt::format("the array is {}; expected a table", shown(table)));
  json::object document;
  if (object)
    document = *object;
  else
    document["luns"] = table;
  const json::value* luns = document.if_contains("luns");
  if (!luns) return document;
  if (!luns->is_array()) throw ScriptError(fmt::format("luns is {}; expected a list of stores", shown(*luns)));
  if (document.contains("target")) throw ScriptError("luns stands beside target; expected one of them");
  json::array target{json::object{{"lun", lun_tables(luns->get_array())}}};
  document.erase("luns");
  document["target"] = std::move(target);
  return document;
}

namespace {

std::string granted_path(const std::string& name, const FileAccess& access, const std::string& key) {
  if (access.image_dir.empty())
    throw ScriptError(fmt::format("{} is \"{}\"; a script opens files only in the folder of --image-dir", key, name));
  if (name.empty() || name.front() == '.' || name.contains('/'))
    throw ScriptError(
        fmt::format("{} is \"{}\"; expected the plain name of a file in {}", key, name, access.image_dir));
  return access.image_dir + "/" + name;
}

void grant_files(target::Config& config, const FileAccess& access) {
  for (target::TargetConfig& target : config.targets) {
    for (target::LunConfig& lun : target.luns) {
      const handlers::StoreSpec spec = handlers::parse_store(lun.store);
      if (spec.kind != handlers::StoreSpec::Kind::file) continue;
      lun.store = "file:" + granted_path(spec.path, access, "target.lun.store");
      if (spec.read_only) lun.store += ",ro";
      if (spec.size) lun.store += fmt::format(",size={}", *spec.size);
    }
  }
  if (!config.state_dir.empty()) config.state_dir = granted_path(config.state_dir, access, "state_dir");
  if (!config.journal.file.empty()) throw ScriptError("journal.file: scenarios write no files");
  if (config.clock != base::ClockMode{}) throw ScriptError("clock: the time of a scenario moves by t:advance() alone");
  if (!config.peers.empty()) throw ScriptError("peer: scripts have no network");
}

}  // namespace

std::string odxd_toml(const json::value& table, const FileAccess& access, unsigned number) {
  const target::Config config = config_from(table, access, number);
  for (const target::TargetConfig& target : config.targets)
    for (const target::LunConfig& lun : target.luns)
      if (handlers::parse_store(lun.store).kind == handlers::StoreSpec::Kind::file)
        throw ScriptSkip("live: files as disks are for arrays in this process");
  json::object document = document_of(table);
  if (!document.contains("array") && !document.contains("id")) document["id"] = config.arrays.front().id;
  if (!document.contains("memory_limit")) document["memory_limit"] = kMemory;
  if (json::value* portals = document.if_contains("portal"))
    for (json::value& portal : portals->as_array()) portal.as_object()["listen"] = "127.0.0.1:0";
  std::ostringstream text;
  text << table_of(document) << "\n";
  return text.str();
}

target::Config config_from(const json::value& table, const FileAccess& access, unsigned number) {
  try {
    target::Config config = target::read_config(table_of(document_of(table)), "array");
    grant_files(config, access);
    if (!config.memory_limit) config.memory_limit = kMemory;
    for (target::ArrayConfig& array : config.arrays)
      if (array.id.empty()) array.id = fmt::format("scenario{}-{}", number, &array - config.arrays.data() + 1);
    return config;
  } catch (const target::ConfigError& error) {
    throw ScriptError(error.what());
  } catch (const handlers::OpenError& error) {
    throw ScriptError(error.what());
  }
}

}  // namespace scenario
