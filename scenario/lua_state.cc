#include "scenario/lua_state.h"

#include <fmt/format.h>

#include <lua.hpp>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace scenario {
namespace {

constexpr int kHookEvery = 1000;
constexpr unsigned kDeepestTable = 16;
constexpr int kSlots = 8;  // of Lua's stack, more than any function here needs at a time

/// What scripts hold of an object of ours. Trivial: no finalizer.
struct Userdata {
  const char* kind;  ///< belongs to the LuaState
  std::uint64_t id;
};

/// In the order of keys: numbers before strings, so that a run does not depend on where strings lie in memory.
constexpr const char* kPairs = R"(
local rawnext, sort, type = ...
local function before(a, b)
  local x, y = type(a), type(b)
  if x ~= y then return x < y end
  if x == "number" or x == "string" then return a < b end
  return false
end
function pairs(t)
  local keys, n = {}, 0
  for key in rawnext, t do
    n = n + 1
    keys[n] = key
  end
  sort(keys, before)
  local i = 0
  return function()
    while i < n do
      i = i + 1
      local value = t[keys[i]]
      if value ~= nil then return keys[i], value end
    end
  end, t, nil
end
)";

}  // namespace

json::value handle(std::string_view kind, std::uint64_t id) {
  return json::object{{kHandleKind, kind}, {kHandleId, static_cast<std::int64_t>(id)}};
}

LuaState& LuaState::of(lua_State* lua) { return **static_cast<LuaState**>(lua_getextraspace(lua)); }

void* LuaState::allocate(void* self, void* block, std::size_t old_size, std::size_t new_size) noexcept {
  auto& state = *static_cast<LuaState*>(self);
  if (!block) old_size = 0;  // then it says what kind of object it is for
  if (new_size == 0) {
    state.memory_used_ -= old_size;
    std::free(block);
    return nullptr;
  }
  if (new_size > old_size && new_size - old_size > state.limits_.memory_bytes - state.memory_used_) return nullptr;
  void* moved = std::realloc(block, new_size);
  if (moved) state.memory_used_ += new_size - old_size;
  return moved;
}

/// Once the limit is passed every instruction is an error, so that no pcall of the script survives.
void LuaState::count(lua_State* lua, lua_Debug*) {
  LuaState& state = of(lua);
  state.instructions_ += kHookEvery;
  if (state.instructions_ <= state.limits_.instructions) return;
  lua_sethook(lua, count, LUA_MASKCOUNT, 1);
  luaL_where(lua, 0);  // of the function that runs: a hook has no level of its own
  lua_pushfstring(lua, "the script went on for more than its %I instructions",
                  static_cast<lua_Integer>(state.limits_.instructions));
  lua_concat(lua, 2);
  lua_error(lua);
}

void LuaState::charge(std::uint64_t instructions) {
  instructions_ += instructions;
  if (instructions_ > limits_.instructions)
    throw ScriptError(fmt::format("the script went on for more than its {} instructions", limits_.instructions));
}

int LuaState::guarded_setmetatable(lua_State* lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  luaL_argexpected(lua, lua_isnoneornil(lua, 2) || lua_istable(lua, 2), 2, "nil or table");
  lua_settop(lua, 2);
  if (lua_istable(lua, 2)) {
    lua_pushliteral(lua, "__gc");
    if (lua_rawget(lua, 2) != LUA_TNIL) return luaL_error(lua, "there are no finalizers (__gc) here");
    lua_pop(lua, 1);
  }
  if (luaL_getmetafield(lua, 1, "__metatable") != LUA_TNIL)
    return luaL_error(lua, "cannot change a protected metatable");
  lua_setmetatable(lua, 1);
  return 1;
}

int LuaState::open_sandbox(lua_State* lua) {
  constexpr luaL_Reg kLibraries[] = {{LUA_GNAME, luaopen_base},       {LUA_COLIBNAME, luaopen_coroutine},
                                     {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
                                     {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8}};
  for (const luaL_Reg& library : kLibraries) {
    luaL_requiref(lua, library.name, library.func, 1);
    lua_pop(lua, 1);
  }
  if (luaL_loadbufferx(lua, kPairs, std::strlen(kPairs), "=pairs", "t") != LUA_OK) return lua_error(lua);
  lua_getglobal(lua, "next");
  lua_getglobal(lua, LUA_TABLIBNAME);
  lua_getfield(lua, -1, "sort");
  lua_remove(lua, -2);
  lua_getglobal(lua, "type");
  lua_call(lua, 3, 0);
  for (const char* name :
       {"dofile", "load", "loadfile", "collectgarbage", "next", "require", "warn", "print", "xpcall"}) {
    lua_pushnil(lua);
    lua_setglobal(lua, name);
  }
  lua_getglobal(lua, LUA_STRLIBNAME);
  lua_pushnil(lua);
  lua_setfield(lua, -2, "dump");
  lua_pushcfunction(lua, guarded_setmetatable);
  lua_setglobal(lua, "setmetatable");
  lua_getglobal(lua, LUA_MATHLIBNAME);
  lua_getfield(lua, -1, "randomseed");
  lua_pushinteger(lua, static_cast<lua_Integer>(of(lua).seed_));
  lua_call(lua, 1, 0);
  return 0;
}

LuaState::LuaState(const ScriptLimits& limits, std::uint64_t seed) : limits_(limits), seed_(seed) {
  lua_ = lua_newstate(allocate, this);
  if (!lua_) throw ScriptError("no memory for a Lua state");
  *static_cast<LuaState**>(lua_getextraspace(lua_)) = this;  // threads of the script inherit it
  protect(open_sandbox, nullptr);
  lua_sethook(lua_, count, LUA_MASKCOUNT, kHookEvery);
}

LuaState::~LuaState() { lua_close(lua_); }

/// Runs one of our own functions that may raise.
void LuaState::protect(int (*function)(lua_State*), void* argument) {
  if (!lua_checkstack(lua_, kSlots)) throw ScriptError("no memory for a Lua state");
  const int base = lua_gettop(lua_);
  lua_pushcfunction(lua_, function);  // no upvalues: raises nothing
  lua_pushlightuserdata(lua_, argument);
  const int status = lua_pcall(lua_, 1, 0, 0);
  std::string text = status != LUA_OK && lua_type(lua_, -1) == LUA_TSTRING ? lua_tostring(lua_, -1) : "no memory";
  lua_settop(lua_, base);
  if (status != LUA_OK) throw ScriptError(text);
}

int LuaState::make_kind(lua_State* lua) {
  auto& made = *static_cast<std::pair<const std::string, Kind>*>(lua_touserdata(lua, 1));
  lua_newtable(lua);
  lua_newtable(lua);
  lua_pushvalue(lua, -1);
  lua_setfield(lua, -3, "__index");
  made.second.methods = luaL_ref(lua, LUA_REGISTRYINDEX);
  lua_pushlstring(lua, made.first.data(), made.first.size());
  lua_pushvalue(lua, -1);
  lua_setfield(lua, -3, "__name");
  lua_setfield(lua, -2, "__metatable");
  made.second.metatable = luaL_ref(lua, LUA_REGISTRYINDEX);
  return 0;
}

int LuaState::register_function(lua_State* lua) {
  const auto& wanted = *static_cast<const Registration*>(lua_touserdata(lua, 1));
  lua_pushlightuserdata(lua, wanted.entry);
  lua_pushcclosure(lua, dispatch, 1);
  if (wanted.methods) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, *wanted.methods);
    lua_insert(lua, -2);
    lua_setfield(lua, -2, wanted.name->c_str());
  } else {
    lua_setglobal(lua, wanted.name->c_str());
  }
  return 0;
}

void LuaState::add_function(const std::string& name, Function function) {
  entries_.push_back({this, std::move(function)});
  Registration wanted{&name, &entries_.back(), nullptr};
  protect(register_function, &wanted);
}

void LuaState::add_method(const std::string& kind, const std::string& name, Function function) {
  auto [at, is_new] = kinds_.try_emplace(kind);
  if (is_new) protect(make_kind, &*at);
  entries_.push_back({this, std::move(function)});
  Registration wanted{&name, &entries_.back(), &at->second.methods};
  protect(register_function, &wanted);
}

int LuaState::push_global(lua_State* lua) {
  const auto& wanted = *static_cast<const std::pair<const char*, const json::value*>*>(lua_touserdata(lua, 1));
  push(lua, *wanted.second);
  lua_setglobal(lua, wanted.first);
  return 0;
}

void LuaState::set_global(const std::string& name, const json::value& value) {
  std::pair<const char*, const json::value*> wanted{name.c_str(), &value};
  protect(push_global, &wanted);
}

/// May raise: iterators of boost::json are pointers, nothing here has a destructor.
void LuaState::push(lua_State* lua, const json::value& value) {
  luaL_checkstack(lua, kSlots, "a result is too deep");
  switch (value.kind()) {
    case json::kind::null: return lua_pushnil(lua);
    case json::kind::bool_: return lua_pushboolean(lua, value.get_bool() ? 1 : 0);
    case json::kind::int64: return lua_pushinteger(lua, value.get_int64());
    case json::kind::uint64: return lua_pushinteger(lua, static_cast<lua_Integer>(value.get_uint64()));
    case json::kind::double_: return lua_pushnumber(lua, value.get_double());
    case json::kind::string: lua_pushlstring(lua, value.get_string().data(), value.get_string().size()); return;
    case json::kind::array: {
      lua_createtable(lua, static_cast<int>(value.get_array().size()), 0);
      lua_Integer index = 0;
      for (const json::value& each : value.get_array()) {
        push(lua, each);
        lua_rawseti(lua, -2, ++index);
      }
      return;
    }
    case json::kind::object: break;
  }
  const json::object& object = value.get_object();
  if (const json::value* kind = object.if_contains(kHandleKind)) {
    LuaState& state = of(lua);
    const json::value* id = object.if_contains(kHandleId);
    const json::string* name = kind->if_string();
    const std::int64_t* number = id ? id->if_int64() : nullptr;
    auto known = name ? state.kinds_.find(std::string_view(*name)) : state.kinds_.end();
    if (known == state.kinds_.end() || !number) return lua_pushnil(lua);
    auto* made = static_cast<Userdata*>(lua_newuserdatauv(lua, sizeof(Userdata), 0));
    *made = {known->first.c_str(), static_cast<std::uint64_t>(*number)};
    lua_rawgeti(lua, LUA_REGISTRYINDEX, known->second.metatable);
    lua_setmetatable(lua, -2);
    return;
  }
  lua_createtable(lua, 0, static_cast<int>(object.size()));
  for (const auto& field : object) {
    lua_pushlstring(lua, field.key().data(), field.key().size());
    push(lua, field.value());
    lua_rawset(lua, -3);
  }
}

/// Raises nothing of Lua; throws ScriptError.
json::value LuaState::to_json(lua_State* lua, int index, unsigned depth) const {
  switch (lua_type(lua, index)) {
    case LUA_TNIL:
    case LUA_TNONE: return nullptr;
    case LUA_TBOOLEAN: return lua_toboolean(lua, index) != 0;
    case LUA_TNUMBER: {
      if (lua_isinteger(lua, index)) return lua_tointegerx(lua, index, nullptr);
      const double number = lua_tonumberx(lua, index, nullptr);
      constexpr double kExact = 9007199254740992.0;  // 2^53
      if (std::trunc(number) == number && std::abs(number) <= kExact) return static_cast<std::int64_t>(number);
      return number;
    }
    case LUA_TSTRING: {
      std::size_t length = 0;
      const char* text = lua_tolstring(lua, index, &length);
      return json::string(std::string_view(text, length));
    }
    case LUA_TUSERDATA: {  // only push() makes any
      const auto* data = static_cast<const Userdata*>(lua_touserdata(lua, index));
      return handle(data->kind, data->id);
    }
    case LUA_TTABLE: return table_to_json(lua, lua_absindex(lua, index), depth);
    default: throw ScriptError(fmt::format("a {} is no value here", lua_typename(lua, lua_type(lua, index))));
  }
}

json::value LuaState::table_to_json(lua_State* lua, int index, unsigned depth) const {
  if (depth >= kDeepestTable) throw ScriptError(fmt::format("a table more than {} deep", kDeepestTable));
  if (!lua_checkstack(lua, kSlots)) throw ScriptError("not enough memory");
  const auto length = static_cast<lua_Integer>(lua_rawlen(lua, index));
  if (length > 0) {
    json::array array;
    for (lua_Integer i = 1; i <= length; ++i) {
      lua_rawgeti(lua, index, i);
      array.push_back(to_json(lua, -1, depth + 1));
      lua_pop(lua, 1);
    }
    std::size_t fields = 0;
    for (lua_pushnil(lua); lua_next(lua, index) != 0; lua_pop(lua, 1)) ++fields;
    if (fields == array.size()) return array;
    throw ScriptError("a table with both values in order and named ones");
  }
  std::map<std::string, json::value> sorted;  // Lua's order differs from run to run
  for (lua_pushnil(lua); lua_next(lua, index) != 0; lua_pop(lua, 1)) {
    if (lua_type(lua, -2) != LUA_TSTRING) throw ScriptError("a table whose keys are neither names nor 1, 2, 3...");
    std::size_t key_length = 0;
    const char* key = lua_tolstring(lua, -2, &key_length);
    sorted.emplace(std::string(key, key_length), to_json(lua, -1, depth + 1));
  }
  json::object object;
  for (auto& [key, value] : sorted) object.emplace(key, std::move(value));
  return object;
}

/// The C++ side of a call. Everything with a destructor lives and dies here; false: error_ says why.
bool LuaState::invoke(lua_State* lua, Entry& entry, const int* functions, int arguments) noexcept {
  lua_State* const outer = std::exchange(current_, lua);
  const int top = lua_gettop(lua);
  bool good = false;
  skipped_ = false;
  try {
    std::vector<json::value> values;
    for (int i = 1; i <= arguments; ++i) {
      const int function = functions[i - 1];
      values.push_back(function != 0 ? handle(kFunctionKind, static_cast<std::uint64_t>(function))
                                     : to_json(lua, i, 0));
    }
    json::value result = entry.function(values);
    result_ = std::move(result);
    good = true;
  } catch (const ScriptSkip& skip) {
    skipped_ = true;
    error_ = skip.what();
  } catch (const std::exception& error) {
    error_ = error.what();
  }
  lua_settop(lua, top);
  current_ = outer;
  return good;
}

int LuaState::dispatch(lua_State* lua) {
  auto* entry = static_cast<Entry*>(lua_touserdata(lua, lua_upvalueindex(1)));
  const int arguments = lua_gettop(lua);
  if (arguments > kMaximumArguments) return luaL_error(lua, "more than %d arguments", kMaximumArguments);
  int functions[kMaximumArguments] = {};
  for (int i = 1; i <= arguments; ++i) {
    if (!lua_isfunction(lua, i)) continue;
    lua_pushvalue(lua, i);
    functions[i - 1] = luaL_ref(lua, LUA_REGISTRYINDEX);  // kept as long as the state: few, and all of them small
  }
  LuaState& state = *entry->state;
  if (state.invoke(lua, *entry, functions, arguments)) {
    push(lua, state.result_);
    return 1;
  }
  luaL_where(lua, 1);
  lua_pushlstring(lua, state.error_.data(), state.error_.size());
  lua_concat(lua, 2);
  return lua_error(lua);
}

/// Makes of an error a table of two: the message and the calls.
int LuaState::message_handler(lua_State* lua) {
  luaL_tolstring(lua, 1, nullptr);
  luaL_traceback(lua, lua, nullptr, 1);
  lua_createtable(lua, 2, 0);
  lua_insert(lua, -3);
  lua_rawseti(lua, -3, 2);
  lua_rawseti(lua, -2, 1);
  return 1;
}

/// After a pcall; leaves the stack at `base`.
LuaState::Outcome LuaState::finish(lua_State* lua, int status, int base) {
  Outcome outcome;
  if (status != LUA_OK) {
    auto text_at = [&](int index) {
      return std::string(lua_type(lua, index) == LUA_TSTRING ? lua_tostring(lua, index) : "");
    };
    if (lua_istable(lua, -1)) {
      lua_rawgeti(lua, -1, 1);
      outcome.message = text_at(-1);
      lua_rawgeti(lua, -2, 2);
      outcome.traceback = text_at(-1);
    } else {
      outcome.message = text_at(-1);
    }
    if (status == LUA_ERRMEM)
      outcome.message = fmt::format("the script needs more than its {} bytes of memory", limits_.memory_bytes);
    // Not when the script caught it, and failed with something else.
    const bool skipped = std::exchange(skipped_, false) && outcome.message.ends_with(error_);
    outcome.kind = skipped ? Outcome::Kind::skipped : Outcome::Kind::failed;
    if (skipped) outcome.message = error_;
  }
  lua_settop(lua, base);
  return outcome;
}

LuaState::Outcome LuaState::run(std::string_view text, const std::string& name) {
  const int base = lua_gettop(lua_);
  lua_pushcfunction(lua_, message_handler);
  const std::string chunk = "@" + name;
  int status = luaL_loadbufferx(lua_, text.data(), text.size(), chunk.c_str(), "t");
  if (status == LUA_OK) status = lua_pcall(lua_, 0, 0, base + 1);
  return finish(lua_, status, base);
}

/// Calls a function by its reference; its argument is in result_.
int LuaState::call_with_argument(lua_State* lua) {
  lua_rawgeti(lua, LUA_REGISTRYINDEX, lua_tointeger(lua, 1));
  push(lua, of(lua).result_);
  lua_call(lua, 1, 0);
  return 0;
}

LuaState::Outcome LuaState::call(const json::value& function, const json::value& argument) {
  const json::object* object = function.if_object();
  const json::value* kind = object ? object->if_contains(kHandleKind) : nullptr;
  if (!kind || *kind != json::value(kFunctionKind)) throw ScriptError("no function");
  lua_State* lua = current_ ? current_ : lua_;
  if (!lua_checkstack(lua, kSlots)) throw ScriptError("not enough memory");
  const int base = lua_gettop(lua);
  lua_pushcfunction(lua, message_handler);
  result_ = argument;
  lua_pushcfunction(lua, call_with_argument);
  lua_pushinteger(lua, object->at(kHandleId).to_number<lua_Integer>());
  return finish(lua, lua_pcall(lua, 1, 0, base + 1), base);
}

std::string LuaState::place() const {
  lua_Debug frame{};
  if (!current_) return {};
  for (int level = 0; lua_getstack(current_, level, &frame) != 0; ++level) {
    if (lua_getinfo(current_, "Sl", &frame) == 0 || frame.currentline < 0) continue;
    return fmt::format("{}:{}", frame.short_src, frame.currentline);
  }
  return {};
}

}  // namespace scenario
