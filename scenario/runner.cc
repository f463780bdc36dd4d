#include "scenario/runner.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <list>
#include <system_error>

#include "scenario/child.h"

namespace scenario {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> files_of(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file() && entry.path().extension() == ".lua") files.push_back(entry.path().string());
  std::ranges::sort(files);
  if (files.empty()) throw ScriptError(fmt::format("{}: holds no .lua file", path));
  return files;
}

std::string text_of(const Verdict& verdict) {
  auto lines = [](const std::vector<std::string>& texts) { return json::value_from(texts); };
  return json::serialize(json::object{{"kind", static_cast<int>(verdict.kind)},
                                      {"message", verdict.message},
                                      {"traceback", verdict.traceback},
                                      {"seconds", verdict.virtual_seconds},
                                      {"timeline", lines(verdict.timeline)},
                                      {"journal", lines(verdict.journal)}});
}

Verdict to_verdict(const std::string& text) {
  const json::value document = json::parse(text);
  Verdict verdict;
  verdict.kind = static_cast<Verdict::Kind>(document.at("kind").to_number<int>());
  verdict.message = json::value_to<std::string>(document.at("message"));
  verdict.traceback = json::value_to<std::string>(document.at("traceback"));
  verdict.virtual_seconds = document.at("seconds").to_number<double>();
  verdict.timeline = json::value_to<std::vector<std::string>>(document.at("timeline"));
  verdict.journal = json::value_to<std::vector<std::string>>(document.at("journal"));
  return verdict;
}

/// One that nobody sees but who waits for it.
std::expected<std::string, std::string> run_alone(const std::function<std::string()>& function,
                                                  std::chrono::milliseconds timeout) {
  Child child(function, timeout);
  for (;;) {
    if (auto done = child.poll()) return *done;
    pollfd wait{child.descriptor(), POLLIN, 0};
    ::poll(&wait, 1, 100);
  }
}

std::vector<std::string> names_of(const Script& script, const RunOptions& options) {
  auto listed = run_alone(
      [&] {
        json::array names;
        for (const std::string& name : list_scenarios(script, options.script)) names.push_back(json::string(name));
        return json::serialize(names);
      },
      options.timeout);
  if (!listed) {
    const bool placed = listed.error().starts_with(script.name);
    throw ScriptError(placed ? listed.error() : fmt::format("{}: {}", script.name, listed.error()));
  }
  return json::value_to<std::vector<std::string>>(json::parse(*listed));
}

/// A scenario that is being run.
struct Running {
  std::size_t index;
  std::unique_ptr<Child> child;
};

void wait_for_any(const std::list<Running>& running) {
  std::vector<pollfd> descriptors;
  auto first = std::chrono::steady_clock::time_point::max();
  for (const Running& each : running) {
    descriptors.push_back({each.child->descriptor(), POLLIN, 0});
    first = std::min(first, each.child->deadline());
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(first - std::chrono::steady_clock::now());
  ::poll(descriptors.data(), descriptors.size(),
         static_cast<int>(std::clamp<std::int64_t>(left.count() + 1, 0, 60'000)));
}

}  // namespace

Selection select(const std::vector<std::string>& paths, const RunOptions& options) {
  Selection selection;
  for (const std::string& path : paths) {
    for (const std::string& file : files_of(path)) {
      selection.scripts.push_back(load_script(file));
      const Script& script = selection.scripts.back();
      for (const std::string& name : names_of(script, options))
        if ((script.name + ": " + name).contains(options.filter))
          selection.scenarios.push_back({selection.scripts.size() - 1, name});
    }
  }
  return selection;
}

std::vector<Result> run(const Selection& selection, const RunOptions& options) {
  std::vector<Result> results(selection.scenarios.size());
  std::list<Running> running;
  std::size_t next = 0;
  while (next < results.size() || !running.empty()) {
    while (next < results.size() && running.size() < std::max(options.jobs, 1u)) {
      const Selected& selected = selection.scenarios[next];
      const Script& script = selection.scripts.at(selected.script);
      results[next].file = script.name;
      results[next].name = selected.name;
      auto work = [&] { return text_of(run_scenario(script, selected.name, options.script)); };
      running.push_back({next++, std::make_unique<Child>(work, options.timeout)});
    }
    wait_for_any(running);
    for (auto each = running.begin(); each != running.end();) {
      auto done = each->child->poll();
      if (!done) {
        ++each;
        continue;
      }
      Result& result = results[each->index];
      result.seconds = each->child->seconds();
      if (*done)
        result.verdict = to_verdict(**done);
      else
        result.verdict = {Verdict::Kind::failed, done->error()};
      each = running.erase(each);
    }
  }
  return results;
}

Totals totals(const std::vector<Result>& results) {
  Totals sum;
  for (const Result& result : results) {
    switch (result.verdict.kind) {
      case Verdict::Kind::passed: ++sum.passed; break;
      case Verdict::Kind::failed: ++sum.failed; break;
      case Verdict::Kind::skipped: ++sum.skipped; break;
    }
  }
  return sum;
}

}  // namespace scenario
