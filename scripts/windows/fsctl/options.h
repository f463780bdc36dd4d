// The command line: a command, what it acts on, and options with values. Each error names the option and its value.
// Does not: know the commands.
// Thread: one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fsctl {

/// How the program ends.
enum class ExitCode : int {
  done = 0,
  refused = 1,      ///< the request was made, and its NTSTATUS is a warning or an error
  usage = 2,        ///< the command line is wrong; nothing was opened
  preparation = 3,  ///< a file, volume or drive could not be opened or brought into the state asked for
  local_file = 4,   ///< a file with a token could not be read or written
};

/// Ends the program with a message and an exit code.
struct Failure : std::runtime_error {
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), exit_code(code) {}
  ExitCode exit_code;
};

struct OptionRow {
  std::wstring_view name;   ///< with its dashes
  std::wstring_view value;  ///< what the help calls it; empty for a switch
  std::wstring_view help;
};

class Arguments {
 public:
  /// `words` without the program's name and the command. Throws Failure(usage).
  Arguments(std::span<const std::wstring> words, std::span<const std::span<const OptionRow>> rows,
            std::span<const std::wstring_view> operands);

  const std::wstring& operand(std::size_t index) const { return operands_[index]; }
  bool has(std::wstring_view option) const { return values_.contains(option); }
  std::optional<std::wstring> text(std::wstring_view option) const;
  /// Decimal or 0x hex, with K, M, G or T for powers of 1024.
  std::optional<std::uint64_t> number(std::wstring_view option, std::uint64_t largest = UINT64_MAX) const;
  std::uint32_t number32(std::wstring_view option, std::uint32_t otherwise) const;
  std::uint64_t number64(std::wstring_view option, std::uint64_t otherwise) const;
  /// Hex digits, blanks allowed between bytes.
  std::optional<std::vector<std::uint8_t>> bytes(std::wstring_view option) const;
  /// At most one of the options may be there.
  void exclusive(std::span<const std::wstring_view> options) const;

 private:
  std::vector<std::wstring> operands_;
  std::map<std::wstring, std::wstring, std::less<>> values_;
};

/// Throws Failure(usage) in the name of `option`.
[[noreturn]] void bad_value(std::wstring_view option, std::wstring_view value, std::string_view rule);
std::uint64_t parse_number(std::wstring_view option, std::wstring_view value, std::uint64_t largest);

}  // namespace fsctl
