// The sandbox and its borders.
//
// Not tested, and why: how much real memory a script may make the arrays of its world take, which is the array's own
// limit (handlers' tests).
#include "scenario/lua_state.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <memory>

namespace {

using scenario::LuaState;
using scenario::ScriptError;
using scenario::ScriptLimits;
using Kind = LuaState::Outcome::Kind;
namespace json = boost::json;

/// Counts those that are alive: a longjmp over one of them would leave it behind.
struct Witness {
  inline static int alive = 0;
  Witness() { ++alive; }
  Witness(const Witness&) { ++alive; }
  ~Witness() { --alive; }
};

struct Sandbox {
  explicit Sandbox(ScriptLimits limits = {}) : lua(limits, 1) {
    lua.add_function("told", [this](const std::vector<json::value>& arguments) -> json::value {
      told = arguments;
      return arguments.empty() ? json::value() : arguments.front();
    });
    lua.add_function("fails", [](const std::vector<json::value>&) -> json::value {
      Witness witness;
      std::string text(1000, 'x');
      throw ScriptError("it fails");
    });
    lua.add_function("calls", [this](const std::vector<json::value>& arguments) -> json::value {
      Witness witness;
      std::string text(1000, 'x');
      LuaState::Outcome outcome = lua.call(arguments.at(0));
      return json::string(outcome.message);
    });
    lua.add_method("thing", "number", [](const std::vector<json::value>& arguments) -> json::value {
      return arguments.at(0).at(scenario::kHandleId);
    });
    lua.set_global("thing", scenario::handle("thing", 7));
  }
  LuaState::Outcome run(std::string_view text) { return lua.run(text, "test.lua"); }
  std::string why(std::string_view text) {
    LuaState::Outcome outcome = run(text);
    CHECK(outcome.kind == Kind::failed);
    return outcome.message;
  }

  std::vector<json::value> told;
  LuaState lua;
};

std::string_view text_of(const json::value& value) { return value.get_string(); }

}  // namespace

TEST_CASE("nothing of a script reaches files, processes, the loader or the debugger") {
  Sandbox sandbox;
  for (const char* name : {"io", "os", "package", "debug", "require", "dofile", "loadfile", "load", "loadstring",
                           "collectgarbage", "next", "warn", "xpcall", "_LOADED"}) {
    CAPTURE(name);
    REQUIRE(sandbox.run("told(" + std::string(name) + " == nil)").kind == Kind::good);
    CHECK(sandbox.told.at(0) == json::value(true));
  }
  REQUIRE(sandbox.run("told(string.dump == nil, ('').dump == nil)").kind == Kind::good);
  CHECK(sandbox.told == std::vector<json::value>{true, true});
}

TEST_CASE("bytecode is no script") {
  Sandbox sandbox;
  CHECK(sandbox.why(std::string_view("\x1bLua\x54\0\x19\x93", 8)).contains("attempt to load a binary chunk"));
}

TEST_CASE("what a script holds of us cannot be looked into or changed") {
  Sandbox sandbox;
  REQUIRE(sandbox.run("told(getmetatable(thing), thing:number())").kind == Kind::good);
  CHECK(sandbox.told.at(0) == json::value("thing"));
  CHECK(sandbox.told.at(1) == json::value(7));
  CHECK(sandbox.why("thing.number = nil").contains("attempt to index"));
  CHECK(sandbox.why("setmetatable(thing, {})").contains("table expected"));
}

TEST_CASE("there are no finalizers, which no limit would stop") {
  Sandbox sandbox;
  CHECK(sandbox.why("setmetatable({}, {__gc = function() while true do end end})").contains("no finalizers"));
  // A field that comes later does not make one.
  CHECK(sandbox.run("local m = {}; setmetatable({}, m); m.__gc = function() while true do end end").kind == Kind::good);
}

TEST_CASE("a script that goes on and on is stopped, whatever it catches") {
  for (const char* text : {
           "while true do end",
           "while true do pcall(function() while true do end end) end",
           "local function again() pcall(again) return again() end again()",
           "while true do local c = coroutine.wrap(function() while true do end end) pcall(c) end",
           "local t = setmetatable({}, {__index = function(t, k) while true do end end}) local x = t.x",
           "local s <close> = setmetatable({}, {__close = function() while true do end end}) error('x')",
           "table.sort({1, 2, 3}, function() while true do end end)",
       }) {
    CAPTURE(text);
    Sandbox sandbox({.instructions = 200'000});
    CHECK(sandbox.why(text).contains("went on for more than its 200000 instructions"));
  }
}

TEST_CASE("a script that takes too much memory is stopped, and the rest goes on") {
  for (const char* text : {
           "local s = 'x' while true do s = s .. s end", "string.rep('x', 1 << 40)",
           "local t = {} for i = 1, 1 << 40 do t[i] = i end",
           "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
           "told(string.rep('x', 3 << 20))",  // one copy is there, another is not to be had
       }) {
    CAPTURE(text);
    Sandbox sandbox({.memory_bytes = 4 << 20});
    LuaState::Outcome outcome = sandbox.run(text);
    CHECK(outcome.kind == Kind::failed);
    CHECK(sandbox.run("told('still here')").kind == Kind::good);
    CHECK(sandbox.told.at(0) == json::value("still here"));
  }
}

TEST_CASE("deep recursion ends as an error") {
  Sandbox sandbox;
  CHECK(sandbox.why("local function f() return 1 + f() end f()").contains("of memory"));  // before the stack is full
  CHECK(sandbox.why("local function f() fails_not = calls(f) error(fails_not) end f()").size() > 0);
  CHECK(Witness::alive == 0);
}

TEST_CASE("exceptions become errors of the script, with its line, and leave nothing behind") {
  Sandbox sandbox;
  CHECK(sandbox.why("\n\nfails()") == "test.lua:3: it fails");
  CHECK(sandbox.run("told(select(2, pcall(fails)))").kind == Kind::good);
  CHECK(sandbox.told.at(0) == json::value("it fails"));
  CHECK(sandbox.run("told(calls(function() error('inner') end))").kind == Kind::good);
  CHECK(text_of(sandbox.told.at(0)).contains("test.lua:1: inner"));
  CHECK(sandbox.run("told(calls(function() fails() end))").kind == Kind::good);
  CHECK(Witness::alive == 0);
}

TEST_CASE("what is no table, number or text is refused as an argument, and so are cycles") {
  Sandbox sandbox;
  CHECK(sandbox.why("told({function() end})").contains("a function is no value here"));
  CHECK(sandbox.why("told(coroutine.create(function() end))").contains("a thread is no value here"));
  CHECK(sandbox.why("local t = {} t.t = t told(t)").contains("more than 16 deep"));
  CHECK(sandbox.why("told({1, 2, x = 3})").contains("both values in order and named ones"));
  CHECK(sandbox.why("told({[1.5] = 1})").contains("neither names nor 1, 2, 3"));
  CHECK(sandbox.why("told(table.unpack({}, 1, 17))").contains("more than 16 arguments"));
}

TEST_CASE("values go to us and back as they are") {
  Sandbox sandbox;
  const char* text = R"(
    local t = {a = {1, 2, {b = "\0\255"}}, n = -9007199254740993, f = 1.5, whole = 8 / 2, yes = true}
    local back = told(t)
    told(back.a[3].b == t.a[3].b, back.n == t.n, back.f, back.whole, back.yes, math.type(back.whole), back.none))";
  REQUIRE(sandbox.run(text).message == "");
  CHECK(sandbox.told == std::vector<json::value>{true, true, 1.5, 4, true, "integer", nullptr});
}

TEST_CASE("a forged handle is a table like any other") {
  Sandbox sandbox;
  CHECK(sandbox.run("told({['$kind'] = 'nothing', ['$id'] = 'x'})").kind == Kind::good);
  CHECK(sandbox.run("local x = told({['$kind'] = 'thing', ['$id'] = 'x'}) told(x == nil)").kind == Kind::good);
  CHECK(sandbox.why("calls({['$kind'] = 'function', ['$id'] = 'x'})").size() > 0);
  REQUIRE(sandbox.run("told(calls({['$kind'] = 'function', ['$id'] = 2}))").kind == Kind::good);
  CHECK(text_of(sandbox.told.at(0)).contains("attempt to call"));
}

TEST_CASE("the order of pairs and random numbers are the same in every run") {
  const char* text = R"(
    local keys, t = {}, {}
    for i = 1, 50 do t["key" .. i * 7919 % 1000] = i end
    for key in pairs(t) do keys[#keys + 1] = key end
    told(table.concat(keys, " "), math.random(1 << 40)))";
  Sandbox first, second;
  REQUIRE(first.run(text).message == "");
  REQUIRE(second.run(text).message == "");
  CHECK(first.told == second.told);
}

TEST_CASE("pairs goes through a table as usual") {
  Sandbox sandbox;
  const char* text = R"(
    local sum, names = 0, ""
    for key, value in pairs({10, 20, x = 30, [2.5] = 40}) do sum = sum + value names = names .. tostring(key) .. "," end
    local t = {a = 1, b = 2, c = 3}
    for key in pairs(t) do t[key] = nil end
    for _ in pairs(t) do error("left") end
    told(sum, names))";
  REQUIRE(sandbox.run(text).message == "");
  CHECK(sandbox.told == std::vector<json::value>{100, "1,2,2.5,x,"});
}

TEST_CASE("a bad script is told with its line") {
  Sandbox sandbox;
  CHECK(sandbox.why("local x =\n\nend") == "test.lua:3: unexpected symbol near 'end'");
  CHECK(sandbox.why("\nlocal x = nil + 1").starts_with("test.lua:2: attempt to perform arithmetic on a nil value"));
  CHECK(sandbox.why("error({1})").size() > 0);
  CHECK(sandbox.why("error()").size() > 0);
}
