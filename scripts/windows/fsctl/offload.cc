// offload-read and offload-write: one request each, every field as the options say.

#include <algorithm>
#include <cstring>

#include "fsctl/commands.h"
#include "fsctl/device.h"
#include "fsctl/situation.h"
#include "fsctl/token.h"

namespace fsctl {
namespace {

/// The input buffer: the structure, or --input-hex, then cut or filled with zeros to --input-length.
std::vector<std::uint8_t> input_buffer(const Arguments& arguments, std::span<const std::uint8_t> structure) {
  auto input = arguments.bytes(L"--input-hex").value_or(std::vector(structure.begin(), structure.end()));
  input.resize(arguments.number(L"--input-length", 1 << 20).value_or(input.size()));
  return input;
}

void note_request(Record& record, std::string_view name, std::uint32_t code, std::span<const std::uint8_t> input,
                  std::uint32_t output_length) {
  Record& request = record.record("request");
  request.text("name", std::string(name));
  request.number32("control_code", code);
  request.number("input_length", input.size());
  request.bytes("input", input);
  request.number("output_length", output_length);
}

/// The bytes, and each field of the layout that lies wholly in them.
void note_answer(Record& record, const Answer& answer, std::string_view layout_name) {
  record.status("status", answer.status);
  record.number("information", answer.information);
  record.bytes("reply_bytes", answer.reply);
  if (answer.reply.empty()) return;
  Record& reply = record.record("reply");
  const auto all = layouts();
  const auto layout = std::ranges::find(all, layout_name, &Layout::name);
  for (const FieldLayout& field : layout->fields) {
    if (field.offset + field.size > answer.reply.size()) break;
    const std::uint8_t* const from = answer.reply.data() + field.offset;
    std::uint64_t value = 0;
    if (field.size <= sizeof value) {
      std::memcpy(&value, from, field.size);
      reply.number(field.name, value);
    } else {
      OffloadToken token;
      std::memcpy(&token, from, sizeof token);
      note_token(reply.record(field.name), token);
    }
  }
}

}  // namespace

ExitCode offload_read(const Arguments& arguments, Record& record) {
  OffloadReadInput input = {};
  input.Size = arguments.number32(L"--size", sizeof input);
  input.Flags = arguments.number32(L"--flags", 0);
  input.TokenTimeToLive = arguments.number32(L"--token-time-to-live", 0);
  input.Reserved = arguments.number32(L"--reserved", 0);
  input.FileOffset = arguments.number64(L"--file-offset", 0);
  input.CopyLength = arguments.number64(L"--copy-length", 0);
  const auto buffer = input_buffer(arguments, bytes_of(input));
  const auto output_length =
      static_cast<std::uint32_t>(arguments.number(L"--output-length", 1 << 20).value_or(sizeof(OffloadReadOutput)));

  const Situation situation(arguments, arguments.operand(0), FILE_GENERIC_READ, record);
  note_request(record, "FSCTL_OFFLOAD_READ", FSCTL_OFFLOAD_READ, buffer, output_length);
  const Answer answer = fs_control(situation.handle(), FSCTL_OFFLOAD_READ, buffer, output_length);
  note_answer(record, answer, "FSCTL_OFFLOAD_READ_OUTPUT");
  if (!NT_SUCCESS(answer.status)) return ExitCode::refused;
  if (const auto path = arguments.text(L"--save-token")) {
    OffloadReadOutput output = {};
    if (answer.reply.size() < sizeof output) {
      throw Failure(ExitCode::local_file,
                    "--save-token: the reply of " + std::to_string(answer.reply.size()) + " bytes holds no token");
    }
    std::memcpy(&output, answer.reply.data(), sizeof output);
    save_token(*path, output.Token);
  }
  return ExitCode::done;
}

ExitCode offload_write(const Arguments& arguments, Record& record) {
  OffloadWriteInput input = {};
  input.Size = arguments.number32(L"--size", sizeof input);
  input.Flags = arguments.number32(L"--flags", 0);
  input.FileOffset = arguments.number64(L"--file-offset", 0);
  input.CopyLength = arguments.number64(L"--copy-length", 0);
  input.TransferOffset = arguments.number64(L"--transfer-offset", 0);
  input.Token = token_of(arguments);
  const auto buffer = input_buffer(arguments, bytes_of(input));
  const auto output_length =
      static_cast<std::uint32_t>(arguments.number(L"--output-length", 1 << 20).value_or(sizeof(OffloadWriteOutput)));

  const Situation situation(arguments, arguments.operand(0), FILE_GENERIC_READ | FILE_GENERIC_WRITE, record);
  note_request(record, "FSCTL_OFFLOAD_WRITE", FSCTL_OFFLOAD_WRITE, buffer, output_length);
  const Answer answer = fs_control(situation.handle(), FSCTL_OFFLOAD_WRITE, buffer, output_length);
  note_answer(record, answer, "FSCTL_OFFLOAD_WRITE_OUTPUT");
  return NT_SUCCESS(answer.status) ? ExitCode::done : ExitCode::refused;
}

}  // namespace fsctl
