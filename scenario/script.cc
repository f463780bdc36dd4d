#include "scenario/script.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <optional>

#include "base/log.h"
#include "scenario/api.h"
#include "scenario/arguments.h"

namespace scenario {
namespace {

constexpr std::size_t kLongestScript = 1 << 20;

/// What the file's own statements declare.
class Declared {
 public:
  Declared(LuaState& lua, const ScriptOptions& options) {
    json::object parameters;
    for (const auto& [key, value] : options.parameters) parameters[key] = value;
    lua.set_global("param", parameters);
    lua.add_function("scenario", [this](const std::vector<json::value>& arguments) -> json::value {
      const std::string name = to_text(argument(arguments, 0), "the name of a scenario");
      if (name.empty() || name.find_first_of("\n\r") != std::string::npos)
        throw ScriptError("the name of a scenario is one line of text");
      number_of(argument(arguments, 1), kFunctionKind);
      if (closed_) throw ScriptError("scenario() inside of a scenario");
      if (std::ranges::find(names_, name) != names_.end())
        throw ScriptError(fmt::format("there is a scenario \"{}\" already", name));
      names_.push_back(name);
      functions_.push_back(argument(arguments, 1));
      return nullptr;
    });
  }

  const std::vector<std::string>& names() const { return names_; }
  const json::value* find(const std::string& name) {
    closed_ = true;
    auto found = std::ranges::find(names_, name);
    return found == names_.end() ? nullptr : &functions_[static_cast<std::size_t>(found - names_.begin())];
  }

 private:
  std::vector<std::string> names_;
  std::vector<json::value> functions_;
  bool closed_ = false;
};

Verdict verdict_of(const LuaState::Outcome& outcome) {
  using Kind = LuaState::Outcome::Kind;
  Verdict verdict;
  verdict.message = outcome.message;
  verdict.traceback = outcome.traceback;
  verdict.kind = outcome.kind == Kind::good      ? Verdict::Kind::passed
                 : outcome.kind == Kind::skipped ? Verdict::Kind::skipped
                                                 : Verdict::Kind::failed;
  return verdict;
}

}  // namespace

Script load_script(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file) throw ScriptError(fmt::format("{}: cannot be read", path));
  if (text.size() > kLongestScript)
    throw ScriptError(fmt::format("{}: has {} bytes; expected at most {}", path, text.size(), kLongestScript));
  return {path, std::move(text)};
}

std::vector<std::string> list_scenarios(const Script& script, const ScriptOptions& options) {
  World world(options.seed);
  LuaState lua(options.limits, options.seed);
  Api api(world, lua, options.files, options.seed);
  Declared declared(lua, options);
  const LuaState::Outcome outcome = lua.run(script.text, script.name);
  if (outcome.kind == LuaState::Outcome::Kind::skipped) throw ScriptError(script.name + ": skips itself");
  if (outcome.kind != LuaState::Outcome::Kind::good) throw ScriptError(outcome.message);
  if (declared.names().empty()) throw ScriptError(script.name + ": has no scenario");
  return declared.names();
}

Verdict run_scenario(const Script& script, const std::string& scenario, const ScriptOptions& options) {
  // Refusals are what scenarios are about; the timeline has them.
  base::log::set_level(base::log::Level::off);
  World world(options.seed, options.live);
  LuaState lua(options.limits, options.seed);
  Api api(world, lua, options.files, options.seed);
  Declared declared(lua, options);
  Verdict verdict = verdict_of(lua.run(script.text, script.name));
  if (verdict.kind == Verdict::Kind::passed) {
    const json::value* function = declared.find(scenario);
    if (!function) {
      verdict = {Verdict::Kind::failed, fmt::format("{}: has no scenario \"{}\"", script.name, scenario)};
    } else {
      verdict = verdict_of(lua.call(*function, Api::context()));
      auto pending = api.take_pending();
      if (pending && verdict.kind == Verdict::Kind::passed) verdict = verdict_of(*pending);
    }
  }
  verdict.timeline.assign(world.timeline().lines().begin(), world.timeline().lines().end());
  if (options.journal)
    for (const json::object& event : world.events(0)) verdict.journal.push_back(json::serialize(event));
  verdict.virtual_seconds = std::chrono::duration<double>(world.elapsed()).count();
  return verdict;
}

}  // namespace scenario
