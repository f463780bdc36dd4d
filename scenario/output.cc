#include "scenario/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace scenario {
namespace {

using Kind = Verdict::Kind;

std::vector<std::string> events(const Result& result, const OutputOptions& options) {
  const auto& lines = result.verdict.timeline;
  if (options.all_events) return lines;
  if (result.verdict.kind != Kind::failed) return {};
  return {lines.end() - static_cast<std::ptrdiff_t>(std::min(options.events, lines.size())), lines.end()};
}

/// Every line of it, indented.
std::string indented(const std::string& text, std::string_view indent) {
  std::string made;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    made += fmt::format("{}{}\n", indent, text.substr(at, end - at));
    at = end + 1;
  }
  return made;
}

std::string details(const Result& result, const OutputOptions& options, const std::string& indent) {
  std::string text;
  if (result.verdict.kind == Kind::failed)
    text += indented(result.verdict.message, indent) + indented(result.verdict.traceback, indent);
  const auto lines = events(result, options);
  if (lines.empty()) return text;
  text += indent +
          (options.all_events ? "events (seconds since its start):\n" : "last events (seconds since its start):\n");
  for (const std::string& line : lines) text += indented(line, indent + "  ");
  return text;
}

/// What XML 1.0 cannot hold becomes a question mark: control characters, and bytes that are no UTF-8.
std::string xml(std::string_view text) {
  std::string made;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    switch (text[i]) {
      case '&': made += "&amp;"; continue;
      case '<': made += "&lt;"; continue;
      case '>': made += "&gt;"; continue;
      case '"': made += "&quot;"; continue;
      case '\n': made += "&#10;"; continue;
      default: break;
    }
    const bool allowed = (byte >= 0x20 && byte < 0x7F) || byte == '\t';
    made += allowed ? static_cast<char>(byte) : '?';
  }
  return made;
}

/// In a TAP line '#' begins a directive.
std::string tap_text(std::string_view text) {
  std::string made;
  for (char each : text) {
    if (each == '#' || each == '\\') made += '\\';
    made += each == '\n' ? ' ' : each;
  }
  return made;
}

}  // namespace

std::string_view word(Kind kind) {
  switch (kind) {
    case Kind::passed: return "passed";
    case Kind::failed: return "failed";
    case Kind::skipped: return "skipped";
  }
  return "?";
}

std::string text_of(const std::vector<Result>& results, const OutputOptions& options) {
  std::string text;
  for (const Result& result : results) {
    text += fmt::format("{} {}: {}", word(result.verdict.kind), result.file, result.name);
    if (result.verdict.kind == Kind::skipped) text += ": " + result.verdict.message;
    text += "\n" + details(result, options, "  ");
  }
  const Totals sum = totals(results);
  return text + fmt::format("{} passed, {} failed, {} skipped\n", sum.passed, sum.failed, sum.skipped);
}

std::string tap_of(const std::vector<Result>& results, std::uint64_t seed, const OutputOptions& options) {
  std::string text = fmt::format("TAP version 13\n1..{}\n# seed {}\n", results.size(), seed);
  std::size_t number = 0;
  for (const Result& result : results) {
    const bool failed = result.verdict.kind == Kind::failed;
    text += fmt::format("{} {} - {}", failed ? "not ok" : "ok", ++number, tap_text(result.file + ": " + result.name));
    if (result.verdict.kind == Kind::skipped) text += " # SKIP " + tap_text(result.verdict.message);
    text += "\n";
    const std::string more = details(result, options, "      ");
    if (!more.empty()) text += fmt::format("  ---\n    message: |\n{}  ...\n", more);
  }
  return text;
}

std::string junit_of(const std::vector<Result>& results, std::uint64_t seed, const OutputOptions& options) {
  std::map<std::string, std::vector<Result>> by_file;
  for (const Result& result : results) by_file[result.file].push_back(result);
  const Totals sum = totals(results);
  std::string text = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
      results.size(), sum.failed, sum.skipped);
  for (const auto& [file, of_file] : by_file) {
    const Totals some = totals(of_file);
    text += fmt::format("  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"0\">\n",
                        xml(file), of_file.size(), some.failed, some.skipped);
    text += fmt::format("    <properties><property name=\"seed\" value=\"{}\"/></properties>\n", seed);
    for (const Result& result : of_file) {
      text += fmt::format("    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\">", xml(file), xml(result.name),
                          result.seconds);
      if (result.verdict.kind == Kind::skipped)
        text += fmt::format("<skipped message=\"{}\"/>", xml(result.verdict.message));
      if (result.verdict.kind == Kind::failed)
        text += fmt::format("<failure message=\"{}\">{}</failure>", xml(result.verdict.message),
                            xml(details(result, options, "")));
      text += "</testcase>\n";
    }
    text += "  </testsuite>\n";
  }
  return text + "</testsuites>\n";
}

}  // namespace scenario
