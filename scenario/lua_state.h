// One Lua state in a sandbox: what a script may use, how much of it, and how it calls functions of ours.
//
// Lua is compiled as C: an error of it is a longjmp that runs no destructor. So there are two kinds of functions here,
// and no third. Functions that may raise a Lua error (all of the API that the manual marks "m", "v" or "e") keep
// nothing with a destructor on their frame; what they need belongs to the LuaState. Functions that have such objects
// use only the part of the API that raises nothing (marked "-": lua_type, lua_tolstring of a string, lua_rawgeti,
// lua_next over a table nobody changes, ...) and turn their exceptions into an error that is kept here and raised by
// their caller, when they are gone. Lua is entered from C++ only through lua_pcall.
//
// The sandbox: base, coroutine, table, string, math and utf8, without what loads code or files, without string.dump and
// without finalizers and xpcall, whose functions run where no hook is called. Memory is counted by the allocator, work
// by a hook. What depends on addresses and on the time is not there or is replaced: `pairs` goes through the keys in
// their order, `next` and collectgarbage are missing, math.random begins with the seed it is given. Thread: one at a
// time.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct lua_State;
struct lua_Debug;

namespace scenario {

namespace json = boost::json;

/// A script that is wrong, or an expectation of it that was not met. what() is for people.
class ScriptError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The script says that it cannot run here. what() is the reason.
class ScriptSkip : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ScriptLimits {
  std::size_t memory_bytes = 64 << 20;
  std::uint64_t instructions = 100'000'000;  ///< of the virtual machine, to the next 1000
};

/// An object that a script holds and only we can look into: "disk" 3. In JSON an object with these two keys, which no
/// script can forge to reach anything but what it was given anyway: who takes one looks it up.
json::value handle(std::string_view kind, std::uint64_t id);
inline constexpr std::string_view kHandleKind = "$kind";
inline constexpr std::string_view kHandleId = "$id";
inline constexpr std::string_view kFunctionKind = "function";  ///< a Lua function: an argument for call()

class LuaState {
 public:
  /// What a script's call has for us: its arguments, `self` first for a method. The result is pushed for the script.
  /// Throws ScriptError, or ScriptSkip; any other exception becomes an error of the script too.
  using Function = std::function<json::value(const std::vector<json::value>& arguments)>;

  LuaState(const ScriptLimits& limits, std::uint64_t seed);
  ~LuaState();
  LuaState(const LuaState&) = delete;
  LuaState& operator=(const LuaState&) = delete;

  void add_function(const std::string& name, Function function);
  /// A method of objects of that kind. All are added before the first script runs.
  void add_method(const std::string& kind, const std::string& name, Function function);
  void set_global(const std::string& name, const json::value& value);

  /// How a script or a function of it ended.
  struct Outcome {
    enum class Kind { good, failed, skipped } kind = Kind::good;
    std::string message{};    ///< "FILE:LINE: what"
    std::string traceback{};  ///< the script's calls, innermost first
  };
  /// Runs a script's text; `name` is what errors call it.
  Outcome run(std::string_view text, const std::string& name);
  /// Calls a function that was an argument. May be used while a script is calling us.
  Outcome call(const json::value& function, const json::value& argument = nullptr);

  /// Counts work that is done for the script against its limit. Throws ScriptError.
  void charge(std::uint64_t instructions);
  /// "FILE:LINE" of the statement that is calling us; empty when none is.
  std::string place() const;

 private:
  struct Entry {
    LuaState* state;
    Function function;
  };
  struct Registration {
    const std::string* name;
    Entry* entry;
    const int* methods;  ///< reference of the table it goes into; null: the globals
  };
  static constexpr int kMaximumArguments = 16;

  static void* allocate(void* self, void* block, std::size_t old_size, std::size_t new_size) noexcept;
  static void count(lua_State* lua, lua_Debug*);
  static int open_sandbox(lua_State* lua);
  static int guarded_setmetatable(lua_State* lua);
  static int register_function(lua_State* lua);
  static int make_kind(lua_State* lua);
  static int push_global(lua_State* lua);
  static int dispatch(lua_State* lua);
  static int call_with_argument(lua_State* lua);
  static int message_handler(lua_State* lua);
  static void push(lua_State* lua, const json::value& value);
  static LuaState& of(lua_State* lua);

  bool invoke(lua_State* lua, Entry& entry, const int* functions, int arguments) noexcept;
  json::value to_json(lua_State* lua, int index, unsigned depth) const;
  json::value table_to_json(lua_State* lua, int index, unsigned depth) const;
  void protect(int (*function)(lua_State*), void* argument);
  Outcome finish(lua_State* lua, int status, int base);

  ScriptLimits limits_;
  std::uint64_t seed_;
  std::size_t memory_used_ = 0;
  std::uint64_t instructions_ = 0;
  lua_State* lua_ = nullptr;
  lua_State* current_ = nullptr;  ///< the thread that is calling us
  std::list<Entry> entries_;
  struct Kind {
    int metatable;
    int methods;
  };
  std::map<std::string, Kind, std::less<>> kinds_;
  // What functions that may raise leave behind.
  json::value result_;
  std::string error_;
  bool skipped_ = false;
};

}  // namespace scenario
