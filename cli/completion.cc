// `odx completion`: what a shell needs to complete a command line of odx, from the command line's own description.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <string>

#include "cli/sub_commands.h"

namespace cli {
namespace {

/// The words that may follow `app`: its sub-commands, and the options of it and of what it is in.
std::string words_after(const CLI::App& app) {
  std::string words;
  for (const CLI::App* each : app.get_subcommands({})) words += each->get_name() + " ";
  for (const CLI::App* at = &app; at; at = at->get_parent())
    for (const CLI::Option* option : at->get_options({}))
      for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  if (!words.empty()) words.pop_back();
  return words;
}

void add_cases(std::string& cases, const CLI::App& app, const std::string& path) {
  cases += fmt::format("    '{}') words='{}' ;;\n", path, words_after(app));
  for (const CLI::App* each : app.get_subcommands({}))
    add_cases(cases, *each, path.empty() ? each->get_name() : path + " " + each->get_name());
}

std::string bash_completion(const CLI::App& app) {
  std::string cases, paths;
  add_cases(cases, app, "");
  return fmt::format(R"(# Completion of odx for bash, made by `odx completion`.
_odx() {{
  local word path='' words=''
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    [[ $word == -* ]] && continue
    _odx_words "${{path:+$path }}$word" && path="${{path:+$path }}$word"
  done
  _odx_words "$path"
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}")
  if [[ ${{#COMPREPLY[@]}} -eq 0 ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}")
  fi
}}

# Sets words to what may follow a path of sub-commands; fails when there is no such path.
_odx_words() {{
  case $1 in
{}    *) return 1 ;;
  esac
}}

complete -o filenames -F _odx odx
)",
                     cases);
}

}  // namespace

void add_completion(CLI::App& app, const CommonOptions&, Run& run) {
  CLI::App* command =
      app.add_subcommand("completion", "Print completions for bash, to be put where bash looks for them");
  command->callback([&app, &run] {
    run = [&app] {
      fmt::print("{}", bash_completion(app));
      return Report{.silent = true};
    };
  });
}

}  // namespace cli
