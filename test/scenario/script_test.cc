// Scripts against arrays under virtual time: what they can do, and what they are told.
//
// Not tested, and why: each answer of an array (scsi's tests and the library, which `odx scenario run` goes through).
#include "scenario/script.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "scenario/lua_state.h"

namespace {

using scenario::Script;
using scenario::ScriptError;
using scenario::ScriptOptions;
using scenario::Verdict;
using Kind = Verdict::Kind;

/// One scenario with this body and two disks of one host, `a` and `b`.
Script script(const std::string& body) {
  return {"test.lua",
          "scenario(\"it\", function(t) local array = t:array {\"memory:1G\", \"memory:1G\"} "
          "local host = t:host() local a, b = host:disk(array, 0), host:disk(array, 1)\n" +
              body + "\nend)"};
}
Verdict run(const std::string& body, const ScriptOptions& options = {}) {
  return scenario::run_scenario(script(body), "it", options);
}
std::string why(const std::string& body, const ScriptOptions& options = {}) {
  Verdict verdict = run(body, options);
  CHECK(verdict.kind == Kind::failed);
  return verdict.message;
}
std::string list_error(const std::string& text) {
  try {
    scenario::list_scenarios({"test.lua", text}, {});
  } catch (const ScriptError& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("a scenario copies, and the data is there") {
  Verdict verdict = run(R"(
    a:fill { seed = 1, length = "8M" }
    expect(a:copy_to(b, { length = "8M" }), { status = "STATUS_SUCCESS", tokens = 1, offloaded = size("8M"),
      commands = { "POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION", "WRITE USING TOKEN" } })
    b:expect_data { seed = 1, length = "8M" }
    expect(b:count("READ"), 0)
    expect(b:read { offset = 512, length = 512 }.data, pattern(1, 512, 512)))");
  CHECK(verdict.message == "");
  CHECK(verdict.kind == Kind::passed);
}

TEST_CASE("a scenario sees all tokens, also more than a page of the control interface has") {
  Verdict verdict = run(R"(
    for i = 1, 1002 do a:offload_read { length = "4K" } end
    local all = array:tokens()
    expect(#all, 1002)
    expect(all[1].id ~= all[1001].id))");
  CHECK(verdict.message == "");
  CHECK(verdict.kind == Kind::passed);
}

TEST_CASE("a failure names the script's line, and the last events are there") {
  Verdict verdict = run("t:advance(5)\nexpect(a:flush(), { status = 'STATUS_INVALID_TOKEN' })");
  CHECK(verdict.message == R"(test.lua:3: status is "STATUS_SUCCESS"; expected "STATUS_INVALID_TOKEN")");
  CHECK(verdict.traceback.contains("test.lua:3"));
  REQUIRE(!verdict.timeline.empty());
  CHECK(verdict.timeline.back().contains("5.000000  disk 1       SYNCHRONIZE CACHE(10): GOOD"));
  CHECK(verdict.virtual_seconds == 5);
}

TEST_CASE("data that is not as expected is told by its first byte") {
  CHECK(why("a:fill { seed = 1, length = '1M' } a:expect_data { seed = 2, length = '1M' }")
            .starts_with("test.lua:2: byte 0 (block 0"));
  CHECK(why("a:fill { seed = 1, length = '1M' } a:expect_data { seed = 1, length = '2M' }") ==
        "test.lua:2: byte 1048576 (block 2048 of 512) is 00h, as all of its block is; expected byte 1048576 of pattern "
        "1");
}

TEST_CASE("expectations are judged by what they name") {
  CHECK(run("expect({ a = 1, b = { 2, 3 } }, { b = { 2, 3 } }) expect(1.0, 1) expect('x')").kind == Kind::passed);
  CHECK(why("expect({ a = 1 }, { a = 2 }, 'so it is')") == "test.lua:2: so it is: a is 1; expected 2");
  CHECK(why("expect({ a = { b = 1 } }, { a = { c = 2 } })") == "test.lua:2: a.c is nil; expected 2");
  CHECK(why("expect({ a = { 1 } }, { a = { 1, 2 } })") == "test.lua:2: a is {1}; expected {1, 2}");
  CHECK(why("expect(nil)") == "test.lua:2: nil where something is expected");
  CHECK(why("expect(a:flush(), { status = 'STATUS_SUCESS' })").contains("is no NTSTATUS"));
}

TEST_CASE("an array is configured as odxd is, with its words for what is wrong") {
  CHECK(why("t:array { luns = { 'memory:1X' } }")
            .starts_with("test.lua:2: array: target.lun.store is \"memory:1X\"; expected"));
  CHECK(why("t:array { target = { { lun = { { store = 'memory:1G', block_size = 520 } } } } }") ==
        "test.lua:2: array: target.lun.block_size is 520; expected 512 or 4096");
  CHECK(why("t:array { luns = { 'memory:1G' }, colour = 'red' }")
            .starts_with("test.lua:2: array: colour is not a key here"));
  CHECK(why("t:array(array)").contains("a array in a configuration"));
  CHECK(why("t:array(1)").contains("expected a table"));
  CHECK(run("t:array()").kind == Kind::skipped);
}

TEST_CASE("files are opened in the granted folder only") {
  CHECK(why("t:array { 'file:disk.img,size=1M' }").contains("only in the folder of --image-dir"));
  ScriptOptions options;
  options.files.image_dir = "/nonexistent";
  for (const char* name : {"../disk.img", "/etc/passwd", "a/b", ".hidden", ".."})
    CHECK(why("t:array { 'file:" + std::string(name) + "' }", options).contains("expected the plain name of a file"));
  CHECK(why("t:array { 'file:disk.img' }", options).contains("/nonexistent/disk.img"));
  CHECK(why("t:array { state_dir = 'x', luns = { 'memory:1G' } }").contains("--image-dir"));
  CHECK(why("t:array { luns = { 'memory:1G' }, peer = { { portal = '127.0.0.1', target = 'iqn.2026-11.example:x' } } }")
            .contains("no network"));
}

TEST_CASE("what a function is given is judged") {
  CHECK(why("a:fill { seed = 1, lenght = '1M' }") ==
        "test.lua:2: fill.lenght is not a key here; expected seed, offset, length, from");
  CHECK(why("a:fill { seed = 1 }") == "test.lua:2: fill.length is missing");
  CHECK(why("t:advance('1 week')").starts_with("test.lua:2: the time is \"1 week\"; expected seconds"));
  CHECK(why("t:advance(-1)").contains("expected seconds"));
  CHECK(why("a.flush()").contains("write object:method()"));
  CHECK(why("a.flush(array)").contains("a array where a disk is expected"));
  CHECK(why("host:disk(array, 5)").contains("array 1 has no LUN 5"));
  CHECK(why("a:command { cdb = 'x' }").contains("expected 6 to 16"));
  CHECK(why("b:offload_write { token = 'x', length = 512 }").contains("expected 512, or \"zero\""));
}

TEST_CASE("functions run at their time, also while a command is under way") {
  Verdict verdict = run(R"(
    local seen = {}
    t:after("2s", function() seen[#seen + 1] = t:now() end)
    t:at("1s", function() seen[#seen + 1] = t:now() t:after("0.5s", function() seen[#seen + 1] = t:now() end) end)
    t:advance("10s")
    expect(seen, { 1, 1.5, 2 })
    expect(t:now(), 10))");
  CHECK(verdict.message == "");
}

TEST_CASE("what goes wrong in such a function fails the scenario") {
  CHECK(why("t:after('1s', function() expect(false) end)\nt:advance('2s')")
            .contains("test.lua:2: false where something"));
  CHECK(run("t:after('1s', function() expect(false) end)").kind == Kind::passed);  // its time never came
}

TEST_CASE("a scenario that skips itself says why") {
  Verdict verdict = run("t:skip('not today')");
  CHECK(verdict.kind == Kind::skipped);
  CHECK(verdict.message == "not today");
  CHECK(run("pcall(t.skip, t, 'x') error('y')").kind == Kind::failed);
}

TEST_CASE("parameters and the seed reach the script") {
  ScriptOptions options;
  options.parameters = {{"size", "4M"}};
  options.seed = 42;
  CHECK(run("expect(param.size, '4M') expect(param.other == nil) expect(t:seed(), 42)", options).message == "");
}

TEST_CASE("files are listed by their scenarios, and wrong ones refused") {
  CHECK(scenario::list_scenarios({"x.lua", "for i = 1, 3 do scenario('n' .. i, function() end) end"}, {}) ==
        std::vector<std::string>{"n1", "n2", "n3"});
  CHECK(list_error("") == "test.lua: has no scenario");
  CHECK(list_error("scenario('a', function() end) scenario('a', function() end)") ==
        "test.lua:1: there is a scenario \"a\" already");
  CHECK(list_error("scenario('a')").contains("nil where a function is expected"));
  CHECK(list_error("scenario(function() end)").contains("the name of a scenario is a function; expected text"));
  CHECK(list_error("this is no Lua").starts_with("test.lua:1: syntax error"));
  CHECK(why("scenario('inner', function() end)").contains("inside of a scenario"));
}

TEST_CASE("the same script and seed give the same events, byte for byte; tokens are others with another seed") {
  const std::string body = R"(
    t:after("30s", function() array:restart() end)
    for i = 1, 20 do
      a:fill { seed = i, length = "1M" }
      local read = a:offload_read { length = "1M", time_to_live = 5 }
      print(sha256(read.token))
      t:advance(math.random(1, 9))
      b:offload_write { token = read.token, length = "1M" }
    end)";
  ScriptOptions options;
  const Verdict first = run(body, options), second = run(body, options);
  REQUIRE(first.message == "");
  CHECK(first.timeline.size() > 80);
  CHECK(first.timeline == second.timeline);
  options.seed = 2;
  CHECK(run(body, options).timeline != first.timeline);
}

TEST_CASE("rules and the journal are tables of the documents everybody else has") {
  Verdict verdict = run(R"(
    local id = array:add_rule { name = "once", match = { command = "WRITE USING TOKEN", nth = 1 },
      action = { type = "sense", sense = "05/23/06" } }
    a:fill { seed = 1, length = "1M" }
    local before = t:last_event()
    expect(a:copy_to(b, { length = "1M" }), { status = "STATUS_INVALID_TOKEN", sense = "05/23/06" })
    expect(array:rule(id), { name = "once", hits = 1, spent = true })
    expect(#array:rules(), 1)
    t:expect_events { kind = "rule_hit", since = before, exactly = 1 }
    t:expect_events { kind = "refusal", sense = { code = "05/23/06" }, command = "WRITE USING TOKEN" }
    t:expect_events { kind = "command", command = "READ", exactly = 0 }
    expect(t:explain():find("WRITE USING TOKEN") ~= nil)
    expect(array:remove_rule(id), true)
    expect(array:rule(id) == nil)
    t:advance("1h")
    t:expect_events { kind = "refusal", window = "59m", exactly = 0 })");
  CHECK(verdict.message == "");
  CHECK(why("t:expect_events { kind = 'command', at_least = 3 }").contains("expected at least 3"));
  CHECK(why("t:expect_events { kind = 'comand' }").contains("is no kind of event"));
  CHECK(why("t:wait_for({ kind = 'rule_hit' }, '1s')").contains("came in 1 s"));
  const Script without{"test.lua", "scenario('it', function(t) t:wait_for({ kind = 'refusal' }, 1) end)"};
  CHECK(scenario::run_scenario(without, "it", {}).message.contains("there is no array"));
  CHECK(why("array:add_rule { match = { nth = 0 }, action = { type = 'nothing' } }").contains("match.nth is 0"));
}

TEST_CASE("a session that breaks is made again, and what was under way is sent again") {
  Verdict verdict = run(R"(
    array:add_rule { match = { command = "WRITE", nth = 1 }, action = { type = "reset_connection", at = "data_out" } }
    expect(a:fill { seed = 1, length = "1M" }, { status = "STATUS_SUCCESS" })
    expect(t:now(), 5)
    a:expect_data { seed = 1, length = "1M" }
    array:stop()
    expect(a:flush(), { status = "STATUS_DEVICE_NOT_CONNECTED" })
    expect(t:now(), 65))");
  CHECK(verdict.message == "");
}

TEST_CASE("files are copied by blocks, and read back") {
  Verdict verdict = run(R"(
    local x, y = host:volume(a, { length = "256M" }), host:volume(b, { fragment_clusters = 4 })
    x:create("file", { seed = 3, length = "3M" })
    expect(x:copy("file", y), { status = "STATUS_SUCCESS", offloaded = size("3M"), fallback = 0, tokens = 1 })
    y:expect_file("file", { seed = 3, length = "3M" })
    y:create("copy", { length = "1M" })
    local from, to = x:open("file"), y:open("copy")
    local read = expect(from:offload_read { offset = "1M", length = "1M" }, { length = size("1M"), flags = 0 })
    expect(to:offload_write { token = read.token, length = "1M" }, { length = size("1M") })
    expect(from:offload_read { length = 100 }, { status = "STATUS_INVALID_PARAMETER", commands = {} }))");
  CHECK(verdict.message == "");
  CHECK(why("host:volume(a, {}):open('none')").contains("STATUS_OBJECT_NAME_NOT_FOUND"));
  CHECK(why("host:volume(a, { offset = '2G' })").contains("does not fit"));
  CHECK(why("host:volume(a, { cluster = 4294971392 })").contains("no power of two"));
  CHECK(why("host:volume(a, {}):create('x', { kind = { 'strange' } })").contains("expected sparse"));
  CHECK(why("host:volume(a, {}):create('x', { valid = '4K' })").contains("create.valid is not a key here"));
  constexpr const char* kOpened =
      "local x = host:volume(a, {}) x:create('f', { seed = 1, length = '3M' }) local f = x:open('f') ";
  for (const char* time : {"'0.5ms'", "'50d'"})
    CHECK(why(kOpened + fmt::format("f:offload_read {{ length = '1M', time_to_live = {} }}", time))
              .contains("expected a multiple of 0.001 s"));
  CHECK(why(kOpened + std::string("x:expect_file('f', { seed = 2 })")).contains("\"f\": byte 0 is "));
  CHECK(why(kOpened + std::string("x:expect_file('f', { seed = 1, length = '4M' })")).contains("has 3145728 bytes"));
}

TEST_CASE("an array that was stopped keeps its disks and forgets its tokens") {
  Verdict verdict = run(R"(
    a:fill { seed = 1, length = "1M" }
    local read = a:offload_read { length = "1M" }
    array:stop()
    expect(a:flush(), { status = "STATUS_DEVICE_NOT_CONNECTED" })
    expect(select(2, pcall(array.stop, array)):find("is stopped") ~= nil)
    array:start()
    a:expect_data { seed = 1, length = "1M" }
    expect(b:offload_write { token = read.token, length = "1M" }, { status = "STATUS_INVALID_TOKEN" }))");
  CHECK(verdict.message == "");
}
