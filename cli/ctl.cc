// `odx ctl`: the remote control of a running odxd. Every row of ctl_command.h becomes a sub-command.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/ctl_command.h"
#include "cli/exit_code.h"
#include "cli/sub_commands.h"
#include "scenario/control_client.h"

namespace cli {
namespace {

namespace json = boost::json;
using scenario::ControlClient;
using scenario::NoControl;
using scenario::percent_encoded;
using Kind = CtlArgument::Kind;
using Place = CtlArgument::Place;

struct Connection {
  std::string url;
  std::string token_file;
};

/// What was written for each argument of a command.
struct Values {
  std::map<std::string_view, std::vector<std::string>> words{};
  bool follow = false;
};

class WrongUsage : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename Number>
std::optional<Number> parsed(std::string_view text) {
  Number value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

json::value number(const CtlArgument& argument, std::string_view text) {
  if (auto whole = parsed<std::uint64_t>(text)) return *whole;
  if (auto real = parsed<double>(text)) return *real;
  throw WrongUsage(fmt::format("{} is \"{}\"; expected a number", argument.name, text));
}

/// "GROUP=STATE[,preferred]" for access states, "A=B" for unreachable ones.
json::object pair(const CtlArgument& argument, std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos)
    throw WrongUsage(fmt::format("{} is \"{}\"; expected {}", argument.name, text, argument.about));
  const std::string_view left = text.substr(0, equals);
  std::string_view right = text.substr(equals + 1);
  if (argument.name != "access") return {{"a", left}, {"b", right}};
  constexpr std::string_view kPreferred = ",preferred";
  const bool preferred = right.ends_with(kPreferred);
  if (preferred) right.remove_suffix(kPreferred.size());
  return {{"group", number(argument, left)}, {"state", right}, {"preferred", preferred}};
}

/// JSON text, or of a file.
json::value document(const CtlArgument& argument, const std::string& text) {
  std::string content = text;
  if (text.starts_with('@')) {
    std::ifstream file(text.substr(1));
    content.assign(std::istreambuf_iterator<char>(file), {});
    if (!file) throw WrongUsage(fmt::format("{}: {} cannot be read", argument.name, text.substr(1)));
  }
  boost::system::error_code error;
  json::value value = json::parse(content, error);
  if (error) throw WrongUsage(fmt::format("{} is no JSON document: {}", argument.name, error.message()));
  return value;
}

json::value value_of(const CtlArgument& argument, const std::vector<std::string>& words) {
  json::array all;
  switch (argument.kind) {
    case Kind::text: return json::value(words.front());
    case Kind::number: return number(argument, words.front());
    case Kind::flag:
      if (words.front() != "true" && words.front() != "false")
        throw WrongUsage(fmt::format("{} is \"{}\"; expected true or false", argument.name, words.front()));
      return words.front() == "true";
    case Kind::size: return json::value(words.front());
    case Kind::texts:
      for (const std::string& word : words)
        if (!word.empty()) all.emplace_back(word);
      return all;
    case Kind::numbers:
      for (const std::string& word : words) all.emplace_back(number(argument, word));
      return all;
    case Kind::document: return document(argument, words.front());
    case Kind::pair:
      for (const std::string& word : words) all.push_back(pair(argument, word));
      return all;
  }
  return nullptr;
}

/// The path with what stands for its parameters, and the query.
std::string target_of(const CtlCommand& command, const Values& values) {
  constexpr std::string_view kOursToDo[] = {"limit", "wait_s"};  // where events are followed
  std::string target(values.follow ? command.stream : command.path);
  std::string query;
  for (const CtlArgument& argument : command.arguments) {
    auto given = values.words.find(argument.name);
    if (given == values.words.end() || given->second.empty()) continue;
    if (values.follow && std::ranges::find(kOursToDo, argument.name) != std::end(kOursToDo)) continue;
    const std::string text = percent_encoded(given->second.front());
    const std::string placeholder = fmt::format("{{{}}}", argument.name);
    if (argument.place == Place::path) target.replace(target.find(placeholder), placeholder.size(), text);
    if (argument.place == Place::query) query += fmt::format("{}{}={}", query.empty() ? '?' : '&', argument.name, text);
  }
  return target + query;
}

std::optional<json::value> body_of(const CtlCommand& command, const Values& values) {
  json::object body;
  bool has_body = false;
  for (const CtlArgument& argument : command.arguments) {
    if (argument.place != Place::body) continue;
    has_body = true;
    auto given = values.words.find(argument.name);
    if (argument.kind == Kind::document) return value_of(argument, given->second);
    if (given != values.words.end() && !given->second.empty())
      body[argument.name] = value_of(argument, given->second);
    else if (command.method == "PUT" && argument.kind == Kind::pair)
      body[argument.name] = json::array{};  // all there is
  }
  if (!has_body) return std::nullopt;
  return body;
}

/// The rows of a list, with the columns that people want to see.
json::array with_columns(const json::array& rows, std::string_view columns) {
  if (columns.empty()) return rows;
  json::array chosen;
  for (const json::value& row : rows) {
    json::object object;
    for (std::string_view rest = columns; !rest.empty();) {
      const std::string_view column = rest.substr(0, rest.find(' '));
      rest.remove_prefix(std::min(rest.size(), column.size() + 1));
      if (const json::value* value = row.get_object().if_contains(column)) object[column] = *value;
    }
    chosen.push_back(std::move(object));
  }
  return chosen;
}

std::string text_of(const CtlCommand& command, const ControlClient::Reply& reply) {
  const json::value document = reply.body();
  const json::object* body = document.if_object();
  if (!body) return reply.text;
  const json::value* list = command.list.empty() ? nullptr : body->if_contains(command.list);
  if (list && list->is_string())
    return std::string(list->get_string()) + (list->get_string().ends_with('\n') ? "" : "\n");
  if (list && list->is_array()) return render_table(with_columns(list->get_array(), command.columns));
  return render_text({.body = *body});
}

std::string json_of(const ControlClient::Reply& reply) {
  const json::value document = reply.body();
  return document.is_object() ? render_json({.body = document.get_object()}) : reply.text;
}

/// What a problem says, on standard error.
int refused(const ControlClient::Reply& reply) {
  fmt::print(stderr, "odx ctl: {}\n", scenario::problem_text(reply.status, reply.body()));
  return kFailed;
}

/// One line for people: "12.5 s  refusal  WRITE USING TOKEN of iqn...: token 17 expired 12 s ago".
std::string event_text(const json::object& event) {
  constexpr double kMicroseconds = 1e6;
  auto text = [&](std::string_view key) {
    const json::value* value = event.if_contains(key);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  const json::value* time = event.if_contains("time_us");
  const json::value* lost = event.if_contains("lost");
  if (lost) return fmt::format("{} events were lost\n", json::serialize(*lost));
  return fmt::format("{:>14.6f} s  {:<15}  {}\n", time ? time->to_number<double>() / kMicroseconds : 0.0, text("kind"),
                     text("reason"));
}

/// Shows events as they come, until there were as many as --limit says, or odxd ends.
int follow(const CtlCommand& command, const Connection& connection, const Values& values, bool as_json) {
  auto limit = values.words.find("limit");
  std::uint64_t left = UINT64_MAX;
  if (limit != values.words.end() && !limit->second.empty())
    left = parsed<std::uint64_t>(limit->second.front()).value_or(UINT64_MAX);
  std::string pending;
  ControlClient client(connection.url, scenario::control_token(connection.token_file));
  const ControlClient::Reply reply = client.follow(target_of(command, values), [&](std::string_view piece) {
    pending += piece;
    for (std::size_t end; left > 0 && (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      constexpr std::string_view kData = "data: ";
      const std::string_view line = std::string_view(pending).substr(0, end);
      if (!line.starts_with(kData)) continue;
      const std::string_view document = line.substr(kData.size());
      --left;
      if (as_json)
        fmt::print("{}\n", document);
      else
        fmt::print("{}", event_text(json::parse(document).get_object()));
    }
    std::fflush(stdout);
    return left > 0;
  });
  if (!reply.good()) return refused(reply);
  if (left == 0) return kOk;
  throw NoControl("odxd has ended");
}

/// How long odxd is asked to wait before it answers; what is no number it refuses.
std::chrono::seconds wait_of(const Values& values) {
  constexpr std::uint32_t kMost = 3600;
  auto given = values.words.find("wait_s");
  if (given == values.words.end() || given->second.empty()) return {};
  return std::chrono::seconds(std::min(parsed<std::uint32_t>(given->second.front()).value_or(0), kMost));
}

/// A list that comes in pages as one document: that of the first page with what the others have, and what the last one
/// says of a next.
ControlClient::Reply all_pages(const CtlCommand& command, ControlClient& client, Values values) {
  std::vector<std::string>& limit = values.words["limit"];
  std::vector<std::string>& after = values.words["after"];
  std::uint64_t left = UINT64_MAX;
  if (!limit.empty()) {
    const auto wanted = parsed<std::uint64_t>(limit.front());
    if (!wanted || *wanted == 0) return client.request("GET", target_of(command, values));  // which says what is wrong
    left = *wanted;
  }
  json::object all;
  for (;;) {
    limit = {fmt::format("{}", std::min(left, command.page))};
    ControlClient::Reply reply = client.request("GET", target_of(command, values));
    json::value document = reply.body();
    json::object* page = reply.good() ? document.if_object() : nullptr;
    json::value* rows = page ? page->if_contains(command.list) : nullptr;
    if (!rows || !rows->is_array()) return reply;
    left -= std::min<std::uint64_t>(left, rows->get_array().size());
    const json::value* next = page->if_contains("next");
    const bool ends = !next || !next->is_string() || left == 0;
    if (!ends) after = {std::string(next->get_string())};
    if (all.empty()) {
      all = std::move(*page);
    } else {
      json::array& into = all.at(command.list).get_array();
      into.insert(into.end(), rows->get_array().begin(), rows->get_array().end());
      all["next"] = next ? *next : json::value(nullptr);
    }
    if (ends) return {.status = reply.status, .text = json::serialize(all)};
  }
}

int ask(const CtlCommand& command, const Connection& connection, const Values& values, bool as_json) {
  ControlClient client(connection.url, scenario::control_token(connection.token_file));
  const auto reply = [&] {
    if (command.page > 0) return all_pages(command, client, values);
    const auto body = body_of(command, values);
    return client.request(std::string(command.method), target_of(command, values), body ? &*body : nullptr,
                          wait_of(values));
  }();
  if (reply.good() || as_json) fmt::print("{}", as_json ? json_of(reply) : text_of(command, reply));
  if (reply.good()) return kOk;
  return refused(reply);
}

/// What went wrong before there was an answer, as an exit code.
template <typename Do>
Report guarded(const Connection& connection, Do act) {
  Report report{.silent = true};
  try {
    if (connection.url.empty()) throw WrongUsage("where odxd is is not said; expected --url or ODX_CONTROL");
    report.exit_code = act();
  } catch (const NoControl& error) {
    fmt::print(stderr, "odx ctl: {}\n", error.what());
    report.exit_code = kNoConnection;
  } catch (const WrongUsage& error) {
    fmt::print(stderr, "odx ctl: {}\n", error.what());
    report.exit_code = kUsage;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "odx ctl: {}\n", error.what());
    report.exit_code = kUsage;
  }
  return report;
}

std::string option_name(std::string_view name) {
  std::string option = "--" + std::string(name);
  std::ranges::replace(option, '_', '-');
  return option;
}

void add_arguments(CLI::App& app, const CtlCommand& command, Values& values) {
  for (const CtlArgument& argument : command.arguments) {
    std::vector<std::string>& words = values.words[argument.name];
    const bool positional = argument.required;
    CLI::Option* option = app.add_option(positional ? std::string(argument.name) : option_name(argument.name), words,
                                         std::string(argument.about));
    if (positional) option->required();
    const bool several = argument.kind == Kind::texts || argument.kind == Kind::numbers || argument.kind == Kind::pair;
    if (several)
      option->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    else
      option->expected(1)->allow_extra_args(false);
  }
}

}  // namespace

void add_ctl(CLI::App& app, const CommonOptions& common, Run& run) {
  auto connection = std::make_shared<Connection>();
  CLI::App* ctl = app.add_subcommand("ctl", "Inspect and steer a running odxd");
  ctl->require_subcommand(1);
  ctl->fallthrough();
  ctl->add_option("--url", connection->url, "unix:PATH or http://HOST:PORT, as odxd's line \"control\" says")
      ->envname("ODX_CONTROL");
  ctl->add_option("--token-file", connection->token_file, "A file whose first line is the token that TCP asks for");
  std::map<std::string_view, CLI::App*> groups{{"", ctl}};
  for (const CtlGroup& group : ctl_groups()) {
    CLI::App* added = ctl->add_subcommand(std::string(group.name), std::string(group.about));
    added->require_subcommand(1);
    added->fallthrough();
    groups[group.name] = added;
  }
  for (const CtlCommand& command : ctl_commands()) {
    auto values = std::make_shared<Values>();
    CLI::App* added = groups.at(command.group);
    if (command.name.empty())
      added->require_subcommand(0, 1);
    else
      added = added->add_subcommand(std::string(command.name), std::string(command.about));
    added->fallthrough();
    add_arguments(*added, command, *values);
    if (!command.stream.empty())
      added->add_flag("--follow", values->follow, "those that come, until --limit or the end");
    added->callback([added, &command, &common, &run, connection, values] {
      if (!added->get_subcommands().empty()) return;  // the group's own command was not meant
      run = [&command, &common, connection, values] {
        return guarded(*connection, [&] {
          return values->follow ? follow(command, *connection, *values, common.json)
                                : ask(command, *connection, *values, common.json);
        });
      };
    });
  }
}

}  // namespace cli
