// The table of commands, and those that only look or only set.

#include "fsctl/commands.h"

#include <cstring>

#include "fsctl/device.h"
#include "fsctl/situation.h"
#include "fsctl/token.h"

namespace fsctl {
namespace {

constexpr auto kBufferOverflow = static_cast<NTSTATUS>(0x80000005);

/// The copy-offload property of a disk: what the class driver keeps of VPD 8Fh and B0h.
ExitCode property(const Arguments& arguments, Record& record) {
  const std::uint64_t number = parse_number(L"DRIVE", arguments.operand(0), 9999);
  const std::wstring path = L"\\\\.\\PhysicalDrive" + std::to_wstring(number);
  record.text("drive", utf8(path));
  const Handle drive = open_or_fail(path, {FILE_READ_ATTRIBUTES});
  STORAGE_PROPERTY_QUERY query = {};
  query.PropertyId = static_cast<STORAGE_PROPERTY_ID>(kCopyOffloadProperty);
  query.QueryType = PropertyStandardQuery;
  CopyOffloadDescriptor descriptor = {};
  const Answer answer = device_control(drive.get(), IOCTL_STORAGE_QUERY_PROPERTY, bytes_of(query), sizeof descriptor);
  record.status("status", answer.status);
  record.number("information", answer.information);
  record.bytes("reply_bytes", answer.reply);
  if (!NT_SUCCESS(answer.status)) return ExitCode::refused;
  std::memcpy(&descriptor, answer.reply.data(), std::min(answer.reply.size(), sizeof descriptor));
  Record& reply = record.record("reply");
  reply.number("MaximumTokenLifetime", descriptor.MaximumTokenLifetime);
  reply.number("DefaultTokenLifetime", descriptor.DefaultTokenLifetime);
  reply.number("MaximumTransferSize", descriptor.MaximumTransferSize);
  reply.number("OptimalTransferCount", descriptor.OptimalTransferCount);
  reply.number("MaximumDataDescriptors", descriptor.MaximumDataDescriptors);
  reply.number("MaximumTransferLengthPerDescriptor", descriptor.MaximumTransferLengthPerDescriptor);
  reply.number("OptimalTransferLengthPerDescriptor", descriptor.OptimalTransferLengthPerDescriptor);
  reply.number("OptimalTransferLengthGranularity", descriptor.OptimalTransferLengthGranularity);
  return ExitCode::done;
}

/// Where the file lies: one item for each run of clusters. STATUS_END_OF_FILE for a file without any (resident, empty).
ExitCode extents(const Arguments& arguments, Record& record) {
  constexpr std::uint32_t kReplyLength = 64 * 1024;
  const Handle file = open_or_fail(arguments.operand(0), {FILE_READ_ATTRIBUTES});
  record.list("extents");
  STARTING_VCN_INPUT_BUFFER from = {};
  Answer answer;
  do {
    answer = fs_control(file.get(), FSCTL_GET_RETRIEVAL_POINTERS, bytes_of(from), kReplyLength);
    if (!NT_SUCCESS(answer.status) && answer.status != kBufferOverflow) break;
    RETRIEVAL_POINTERS_BUFFER reply = {};
    constexpr std::size_t kFirst = offsetof(RETRIEVAL_POINTERS_BUFFER, Extents);
    if (answer.reply.size() < kFirst) break;
    std::memcpy(&reply, answer.reply.data(), kFirst);
    LONGLONG vcn = reply.StartingVcn.QuadPart;
    for (DWORD i = 0; i < reply.ExtentCount && kFirst + (i + 1) * 16 <= answer.reply.size(); ++i) {
      LARGE_INTEGER next_and_lcn[2];
      std::memcpy(next_and_lcn, answer.reply.data() + kFirst + i * 16, sizeof next_and_lcn);
      if (next_and_lcn[0].QuadPart <= vcn) break;  // no run: what follows means nothing
      Record& extent = record.item("extents");
      extent.number("vcn", static_cast<std::uint64_t>(vcn));
      extent.number("clusters", static_cast<std::uint64_t>(next_and_lcn[0].QuadPart - vcn));
      const bool hole = next_and_lcn[1].QuadPart == -1;
      extent.boolean("hole", hole);
      if (!hole) extent.number("lcn", static_cast<std::uint64_t>(next_and_lcn[1].QuadPart));
      vcn = next_and_lcn[0].QuadPart;
    }
    if (vcn <= from.StartingVcn.QuadPart) break;  // nothing new: do not ask for ever
    from.StartingVcn.QuadPart = vcn;
  } while (answer.status == kBufferOverflow);
  record.status("status", answer.status);
  return NT_SUCCESS(answer.status) ? ExitCode::done : ExitCode::refused;
}

ExitCode set_eof(const Arguments& arguments, Record& record) {
  const std::uint64_t size = parse_number(L"SIZE", arguments.operand(1), INT64_MAX);
  Opening how{FILE_GENERIC_READ | FILE_GENERIC_WRITE};
  if (arguments.has(L"--create")) how.disposition = FILE_OPEN_IF;
  const Handle file = open_or_fail(arguments.operand(0), how);
  const NTSTATUS status = set_end_of_file(file.get(), size);
  std::uint64_t now = 0;
  require(end_of_file(file.get(), now), "size of '" + utf8(arguments.operand(0)) + "'");
  record.number("end_of_file", now);
  record.status("status", status);
  return NT_SUCCESS(status) ? ExitCode::done : ExitCode::refused;
}

/// Writes a token to a file: the zero token, or the bytes given.
ExitCode token_command(const Arguments& arguments, Record& record) {
  const OffloadToken token = token_of(arguments);
  note_token(record, token);
  if (const auto path = arguments.text(L"--save-token")) save_token(*path, token);
  return ExitCode::done;
}

constexpr std::wstring_view kFile[] = {L"FILE"};
constexpr std::wstring_view kDrive[] = {L"DRIVE"};
constexpr std::wstring_view kFileAndSize[] = {L"FILE", L"SIZE"};
constexpr std::wstring_view kSourceAndDestination[] = {L"SOURCE", L"DESTINATION"};

constexpr OptionRow kJson[] = {{L"--json", L"", L"print one JSON object instead of lines"}};
constexpr OptionRow kBuffers[] = {
    {L"--size", L"N", L"field Size (default: that of the structure)"},
    {L"--flags", L"N", L"field Flags (default 0)"},
    {L"--file-offset", L"N", L"field FileOffset, bytes (default 0)"},
    {L"--copy-length", L"N", L"field CopyLength, bytes (default 0)"},
    {L"--input-length", L"N", L"cut the input buffer to so many bytes, or fill it up with zeros"},
    {L"--input-hex", L"HEX", L"the input buffer itself, instead of the fields"},
    {L"--output-length", L"N", L"length of the output buffer (default: that of the structure)"},
};
constexpr OptionRow kRead[] = {
    {L"--token-time-to-live", L"N", L"field TokenTimeToLive, milliseconds (default 0: the array's)"},
    {L"--reserved", L"N", L"field Reserved (default 0)"},
    {L"--save-token", L"FILE", L"write the 512 bytes of the token there"},
};
constexpr OptionRow kTokenSource[] = {
    {L"--token-file", L"FILE", L"the token: a file of 512 bytes"},
    {L"--token-hex", L"HEX", L"the token in hex; what is left out at the end is zero"},
    {L"--zero-token", L"", L"the well-known token that reads as zeros"},
};
constexpr OptionRow kWrite[] = {
    {L"--transfer-offset", L"N", L"field TransferOffset, bytes into the token (default 0)"}};
constexpr OptionRow kSave[] = {{L"--save-token", L"FILE", L"write the 512 bytes there"}};
constexpr OptionRow kSetEof[] = {{L"--create", L"", L"create the file if there is none"}};
constexpr OptionRow kCopy[] = {
    {L"--read-length", L"N", L"longest CopyLength of a read (default: all that is left)"},
    {L"--chunk", L"N", L"longest CopyLength of a write (default 256M, as CopyFile)"},
    {L"--token-time-to-live", L"N", L"field TokenTimeToLive of the reads (default 0)"},
    {L"--overwrite", L"", L"replace DESTINATION; without it an existing one is an error"},
    {L"--fallback", L"", L"after a refusal copy the rest by read and write, as CopyFile does"},
};

using Rows = std::span<const OptionRow>;
const Rows kReadOptions[] = {kBuffers, kRead, file_options(), kJson};
const Rows kWriteOptions[] = {kBuffers, kWrite, kTokenSource, file_options(), kJson};
const Rows kCopyOptions[] = {kCopy, kJson};
const Rows kSetEofOptions[] = {kSetEof, kJson};
const Rows kTokenOptions[] = {kTokenSource, kSave, kJson};
const Rows kPlainOptions[] = {kJson};

const Command kCommands[] = {
    {L"offload-read", kFile, kReadOptions, L"FSCTL_OFFLOAD_READ: a token for a range of a file", offload_read},
    {L"offload-write", kFile, kWriteOptions, L"FSCTL_OFFLOAD_WRITE: a token's data into a range of a file",
     offload_write},
    {L"copy", kSourceAndDestination, kCopyOptions,
     L"a whole file by both requests (data only: no times, no attributes, no streams)", copy},
    {L"property", kDrive, kPlainOptions,
     L"IOCTL_STORAGE_QUERY_PROPERTY 13 of \\\\.\\PhysicalDrive DRIVE: is ODX recognised, and its limits", property},
    {L"extents", kFile, kPlainOptions, L"FSCTL_GET_RETRIEVAL_POINTERS: runs of clusters", extents},
    {L"set-eof", kFileAndSize, kSetEofOptions, L"SetEndOfFile: sizes a file without writing it", set_eof},
    {L"token", {}, kTokenOptions, L"decode a token, or save one to a file", token_command},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace fsctl
