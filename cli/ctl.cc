// `odx ctl`: the remote control of a running odxd. Every row of ctl_command.h becomes a sub-command.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/control_client.h"
#include "cli/ctl_command.h"
#include "cli/exit_code.h"
#include "cli/sub_commands.h"

namespace cli {
namespace {

namespace json = boost::json;
using Kind = CtlArgument::Kind;
using Place = CtlArgument::Place;

struct Connection {
  std::string url;
  std::string token;
  std::string token_file;
};

/// What was written for each argument of a command.
using Values = std::map<std::string_view, std::vector<std::string>>;

class WrongUsage : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

std::uint64_t number(const CtlArgument& argument, std::string_view text) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty())
    throw WrongUsage(fmt::format("{} is \"{}\"; expected a whole number", argument.name, text));
  return value;
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
    case Kind::pair:
      for (const std::string& word : words) all.push_back(pair(argument, word));
      return all;
  }
  return nullptr;
}

/// The path with what stands for its parameters, and the query.
std::string target_of(const CtlCommand& command, const Values& values) {
  std::string target(command.path);
  std::string query;
  for (const CtlArgument& argument : command.arguments) {
    auto given = values.find(argument.name);
    if (given == values.end() || given->second.empty()) continue;
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
    auto given = values.find(argument.name);
    if (given != values.end() && !given->second.empty())
      body[argument.name] = value_of(argument, given->second);
    else if (command.method == "PUT")
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
  const json::object* body = reply.body.if_object();
  if (!body) return reply.text;
  const json::value* list = command.list.empty() ? nullptr : body->if_contains(command.list);
  if (list && list->is_array()) return render_table(with_columns(list->get_array(), command.columns));
  return render_text({.body = *body});
}

std::string json_of(const ControlClient::Reply& reply) {
  return reply.body.is_object() ? render_json({.body = reply.body.get_object()}) : reply.text;
}

std::string token_of(const Connection& connection) {
  if (connection.token_file.empty()) return connection.token;
  std::ifstream file(connection.token_file);
  std::string token;
  if (!std::getline(file, token))
    throw WrongUsage(fmt::format("--token-file: {} cannot be read, or is empty", connection.token_file));
  return token;
}

int ask(const CtlCommand& command, const Connection& connection, const Values& values, bool as_json) {
  const std::string target = target_of(command, values);
  const auto body = body_of(command, values);
  ControlClient client(connection.url, token_of(connection));
  const ControlClient::Reply reply = client.request(std::string(command.method), target, body);
  if (reply.good() || as_json) fmt::print("{}", as_json ? json_of(reply) : text_of(command, reply));
  if (reply.good()) return kOk;
  const json::object* problem = reply.body.if_object();
  const json::value* detail = problem ? problem->if_contains("detail") : nullptr;
  fmt::print(stderr, "odx ctl: {}\n",
             detail ? std::string(detail->get_string()) : fmt::format("odxd answered with status {}", reply.status));
  return kFailed;
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
    std::vector<std::string>& words = values[argument.name];
    const bool positional = argument.required;
    CLI::Option* option = app.add_option(positional ? std::string(argument.name) : option_name(argument.name), words,
                                         std::string(argument.about));
    if (positional) option->required();
    const bool several = argument.kind == Kind::texts || argument.kind == Kind::numbers || argument.kind == Kind::pair;
    if (several)
      option->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    else
      option->expected(1);
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
  if (const char* token = std::getenv("ODX_CONTROL_TOKEN")) connection->token = token;
  std::map<std::string_view, CLI::App*> groups{{"", ctl}};
  for (const CtlGroup& group : ctl_groups()) {
    CLI::App* added = ctl->add_subcommand(std::string(group.name), std::string(group.about));
    added->require_subcommand(1);
    added->fallthrough();
    groups[group.name] = added;
  }
  for (const CtlCommand& command : ctl_commands()) {
    auto values = std::make_shared<Values>();
    CLI::App* added = groups.at(command.group)->add_subcommand(std::string(command.name), std::string(command.about));
    added->fallthrough();
    add_arguments(*added, command, *values);
    added->callback([&command, &common, &run, connection, values] {
      run = [&command, &common, connection, values] {
        return guarded(*connection, [&] { return ask(command, *connection, *values, common.json); });
      };
    });
  }
}

}  // namespace cli
