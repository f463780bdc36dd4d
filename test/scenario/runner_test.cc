// Choosing, processes of their own, and the documents that come of it.
//
// Not tested, and why: that a JUnit document fits every reader's schema; there is no one schema. Its form is checked
// by an XML parser in test/cli/scenario_test.py.
#include "scenario/runner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <fstream>

#include "scenario/child.h"
#include "scenario/output.h"
#include "test/handlers/store_kinds.h"

namespace {

using scenario::Result;
using scenario::RunOptions;
using scenario::ScriptError;
using scenario::Verdict;
using Kind = Verdict::Kind;

struct Folder {
  handlers::TemporaryFolder folder;
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = folder.file(name);
    std::ofstream(path) << text;
    return path;
  }
};

constexpr const char* kThree = R"(
scenario("good", function(t) t:advance("1h") end)
scenario("bad", function(t) expect(1, 2) end)
scenario("not here", function(t) t:skip("no # reason") end)
)";

std::vector<Result> run(const std::vector<std::string>& paths, const RunOptions& options = {}) {
  return scenario::run(scenario::select(paths, options), options);
}

}  // namespace

TEST_CASE("each scenario has its verdict, in their order, however many run at once") {
  Folder folder;
  std::string text;
  for (int i = 0; i < 12; ++i)
    text += "scenario('n" + std::to_string(i) + "', function(t) expect(" + std::to_string(i % 3) + " > 0) end)\n";
  const std::string path = folder.write("many.lua", text);
  for (unsigned jobs : {1u, 5u}) {
    RunOptions options;
    options.jobs = jobs;
    const auto results = run({path}, options);
    REQUIRE(results.size() == 12);
    for (std::size_t i = 0; i < results.size(); ++i) {
      CHECK(results[i].name == "n" + std::to_string(i));
      CHECK((results[i].verdict.kind == Kind::passed) == (i % 3 > 0));
    }
  }
}

TEST_CASE("a filter chooses by file and name") {
  Folder folder;
  const std::string path = folder.write("three.lua", kThree);
  RunOptions options;
  options.filter = "three.lua: good";
  CHECK(scenario::select({path}, options).scenarios.size() == 1);
  options.filter = "nothing like it";
  CHECK(scenario::select({path}, options).scenarios.empty());
}

TEST_CASE("what hangs is stopped, what crashes is told, and the others have their verdicts") {
  Folder folder;
  // A pattern that goes back and forth for ever, where no instruction is counted.
  const std::string path = folder.write("hangs.lua", R"(
    scenario("hangs", function() local s = ("a"):rep(60) string.find(s, ("a-"):rep(30) .. "b") end)
    scenario("is fine", function() end))");
  RunOptions options;
  options.timeout = std::chrono::milliseconds(1500);
  options.jobs = 2;
  const auto results = run({path}, options);
  REQUIRE(results.size() == 2);
  CHECK(results[0].verdict.kind == Kind::failed);
  CHECK(results[0].verdict.message == "stopped after 1.5 s");
  CHECK(results[1].verdict.kind == Kind::passed);
}

TEST_CASE("a process that dies or throws is a failure with its reason") {
  auto end_of = [](const std::function<std::string()>& function) {
    scenario::Child child(function, std::chrono::seconds(30));
    for (;;)
      if (auto done = child.poll()) return *done;
  };
  CHECK(end_of([] { return std::string("text"); }).value() == "text");
  CHECK(end_of([]() -> std::string { throw ScriptError("why"); }).error() == "why");
  CHECK(end_of([]() -> std::string {
          std::raise(SIGKILL);
          return {};
        })
            .error()
            .contains("signal 9"));
  const std::string large(3 << 20, 'x');
  CHECK(end_of([&] { return large; }).value() == large);
}

TEST_CASE("paths and scripts that are wrong are told by their place") {
  Folder folder;
  auto why = [](const std::string& path) {
    try {
      scenario::select({path}, {});
    } catch (const ScriptError& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  CHECK(why(folder.folder.file("none.lua")).ends_with("none.lua: cannot be read"));
  const std::string bad = folder.write("bad.lua", "\n\nscenario(");
  CHECK(why(bad).starts_with(bad + ":3:"));
  const std::string loops = folder.write("loops.lua", "while true do end");
  CHECK(why(loops).starts_with(loops + ":1: the script went on"));
}

TEST_CASE("TAP has a plan, a line for each, directives and the details of failures") {
  Folder folder;
  const std::string tap = scenario::tap_of(run({folder.write("three.lua", kThree)}), 7, {});
  CHECK(tap.starts_with("TAP version 13\n1..3\n# seed 7\nok 1 - "));
  CHECK(tap.contains("three.lua: good\nnot ok 2 - "));
  CHECK(tap.contains("  ---\n    message: |\n"));
  CHECK(tap.contains("three.lua:3: it is 1; expected 2"));
  CHECK(tap.contains("ok 3 - "));
  CHECK(tap.ends_with("not here # SKIP no \\# reason\n"));
}

TEST_CASE("JUnit's XML escapes what it has to") {
  Result result;
  result.file = "a&b.lua";
  result.name = "<\"it\">";
  result.verdict = {Kind::failed, "1 < 2\n\x01\xff", "trace", {"event"}};
  const std::string xml = scenario::junit_of({result}, 1, {});
  CHECK(xml.contains("classname=\"a&amp;b.lua\" name=\"&lt;&quot;it&quot;&gt;\""));
  CHECK(xml.contains("<failure message=\"1 &lt; 2&#10;??\">"));
  CHECK(xml.contains("tests=\"1\" failures=\"1\" skipped=\"0\""));
}

TEST_CASE("text ends with the sums, and events are shown for failures or for all") {
  Folder folder;
  const auto results = run({folder.write("three.lua", kThree)});
  const std::string text = scenario::text_of(results, {});
  CHECK(text.ends_with("1 passed, 1 failed, 1 skipped\n"));
  CHECK(text.contains("skipped "));
  CHECK(scenario::text_of(results, {.all_events = true}).size() >= text.size());
}
