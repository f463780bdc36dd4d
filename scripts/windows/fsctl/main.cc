// odx-fsctl: FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE on a Windows host with every field settable.

#include <algorithm>

#include "fsctl/commands.h"

namespace fsctl {
namespace {

constexpr std::string_view kIntroduction =
    R"(odx-fsctl: FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE with every field settable, through NtFsControlFile.

  odx-fsctl COMMAND [OPERAND...] [OPTION...]     what the commands below say
  odx-fsctl --layouts                            the structures as this program was compiled with them, as JSON
  odx-fsctl --statuses                           every NTSTATUS it can name, as JSON
  odx-fsctl --help

Numbers are decimal or 0x hex, with K, M, G or T for powers of 1024. Options take their value as the next word or
after =; -- ends them. Output is UTF-8.

Exit codes:
  0  the request was made, and its NTSTATUS is a success
  1  the request was made, and its NTSTATUS is a warning or an error; copy: not all was offloaded
  2  the command line is wrong; nothing was opened
  3  a file, volume or drive could not be opened, or not brought into the state asked for
  4  a file with a token could not be read or written

Commands:
)";

std::string help() {
  std::string text(kIntroduction);
  for (const Command& command : commands()) {
    text += "\n  " + utf8(command.name);
    for (const std::wstring_view operand : command.operands) text += " " + utf8(operand);
    text += "\n      " + utf8(command.help) + "\n";
    for (const auto rows : command.options) {
      for (const OptionRow& row : rows) {
        std::string left = "    " + utf8(row.name) + (row.value.empty() ? "" : " " + utf8(row.value));
        left.resize(std::max<std::size_t>(left.size() + 1, 32), ' ');
        text += left + utf8(row.help) + "\n";
      }
    }
  }
  return text;
}

std::string layouts_text() {
  Record record;
  record.number32("FSCTL_OFFLOAD_READ", FSCTL_OFFLOAD_READ);
  record.number32("FSCTL_OFFLOAD_WRITE", FSCTL_OFFLOAD_WRITE);
  record.number("OFFLOAD_READ_FLAG_ALL_ZERO_BEYOND_CURRENT_RANGE", OFFLOAD_READ_FLAG_ALL_ZERO_BEYOND_CURRENT_RANGE);
  for (const Layout& layout : layouts()) {
    Record& structure = record.item("structures");
    structure.text("name", std::string(layout.name));
    structure.number("size", layout.size);
    for (const FieldLayout& field : layout.fields) {
      Record& item = structure.item("fields");
      item.text("name", std::string(field.name));
      item.number("offset", field.offset);
      item.number("size", field.size);
    }
  }
  return record.as_json() + "\n";
}

std::string statuses_text() {
  Record record;
  for (const StatusName& status : status_names()) record.number(status.name, status.value);
  return record.as_json() + "\n";
}

ExitCode run(std::span<const std::wstring> words) {
  if (words.empty()) throw Failure(ExitCode::usage, "which command? --help lists them");
  const std::wstring& first = words[0];
  const bool is_text = first == L"--help" || first == L"-h" || first == L"--layouts" || first == L"--statuses";
  if (is_text) {
    if (words.size() > 1) throw Failure(ExitCode::usage, utf8(first) + ": takes nothing, not '" + utf8(words[1]) + "'");
    write_text(STD_OUTPUT_HANDLE, first == L"--layouts"    ? layouts_text()
                                  : first == L"--statuses" ? statuses_text()
                                                           : help());
    return ExitCode::done;
  }
  const auto all = commands();
  const auto command = std::ranges::find(all, std::wstring_view(first), &Command::name);
  if (command == all.end()) throw Failure(ExitCode::usage, "'" + utf8(first) + "': no such command; --help lists them");
  const Arguments arguments(words.subspan(1), command->options, command->operands);
  Record record;
  record.text("command", utf8(first));
  for (std::size_t i = 0; i < command->operands.size(); ++i) {
    record.text(utf8(command->operands[i]), utf8(arguments.operand(i)));
  }
  const ExitCode code = command->body(arguments, record);
  write_text(STD_OUTPUT_HANDLE, arguments.has(L"--json") ? record.as_json() + "\n" : record.as_text());
  return code;
}

}  // namespace
}  // namespace fsctl

int wmain(int count, wchar_t** words) {
  try {
    const std::vector<std::wstring> arguments(words + std::min(count, 1), words + count);
    return static_cast<int>(fsctl::run(arguments));
  } catch (const fsctl::Failure& failure) {
    fsctl::write_text(STD_ERROR_HANDLE, "odx-fsctl: " + std::string(failure.what()) + "\n");
    return static_cast<int>(failure.exit_code);
  } catch (const std::exception& error) {  // no memory left
    fsctl::write_text(STD_ERROR_HANDLE, "odx-fsctl: " + std::string(error.what()) + "\n");
    return static_cast<int>(fsctl::ExitCode::preparation);
  }
}
